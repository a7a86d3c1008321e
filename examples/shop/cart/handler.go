package main

import (
	"net/http"
	"regexp"
	"strconv"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)

func (s service) service() httpserve.Service {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request, id string) (Cart, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			id := r.PathValue("cart")
			if !validID.MatchString(id) {
				httpserve.WriteError(w, httpserve.Errorf(http.StatusBadRequest, "bad_cart",
					"a cart's id has 8 to 64 letters, digits, - and _"))
				return
			}
			cart, err := f(r, id)
			if err != nil {
				httpserve.WriteError(w, err)
				return
			}
			httpserve.WriteJSON(w, http.StatusOK, cart)
		})
	}
	handle("GET /carts/{cart}", func(r *http.Request, id string) (Cart, error) { return s.get(r.Context(), id) })
	handle("POST /carts/{cart}/items", func(r *http.Request, id string) (Cart, error) {
		var item Item
		if err := httpserve.ReadJSON(r, &item); err != nil {
			return Cart{}, err
		}
		if item.Product < 1 || item.Quantity < 1 || item.Quantity > maxQuantity {
			return Cart{}, httpserve.Errorf(http.StatusUnprocessableEntity, "bad_item",
				"want a product_id from 1 and a quantity from 1 to %d", maxQuantity)
		}
		return s.add(r.Context(), id, item)
	})
	handle("DELETE /carts/{cart}/items/{product}", func(r *http.Request, id string) (Cart, error) {
		product, err := strconv.Atoi(r.PathValue("product"))
		if err != nil {
			return Cart{}, httpserve.Errorf(http.StatusBadRequest, "bad_product", "%.20q is not the number of a product", r.PathValue("product"))
		}
		return s.remove(r.Context(), id, product)
	})
	handle("DELETE /carts/{cart}", func(r *http.Request, id string) (Cart, error) {
		version, err := strconv.ParseInt(r.URL.Query().Get("version"), 10, 64)
		if err != nil {
			return Cart{}, httpserve.Errorf(http.StatusBadRequest, "bad_version", "version: want the version of the cart that is to be emptied")
		}
		return s.empty(r.Context(), id, version)
	})
	return httpserve.Service{Handler: mux, Ready: s.ready, Run: s.run}
}
