package main

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// apiRoutes adds the JSON API. What a service answers is passed on as it is
// where web has nothing to add.
func (w *web) apiRoutes(mux *http.ServeMux) {
	handle := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Cache-Control", "no-store")
			if err := f(rw, r); err != nil {
				httpserve.WriteError(rw, err)
			}
		})
	}
	pass := func(client *httpserve.Client, path func(*http.Request) string) func(http.ResponseWriter, *http.Request) error {
		return func(rw http.ResponseWriter, r *http.Request) error {
			var body []byte
			status, err := client.Do(r.Context(), httpserve.Call{Path: path(r), Out: &body})
			if err != nil {
				return err
			}
			httpserve.WriteRaw(rw, status, body)
			return nil
		}
	}
	handle("GET /api/products", pass(w.backend.catalog, func(r *http.Request) string {
		return "/products?" + r.URL.Query().Encode()
	}))
	handle("GET /api/products/{id}", pass(w.backend.catalog, func(r *http.Request) string {
		return "/products/" + url.PathEscape(r.PathValue("id"))
	}))
	handle("GET /api/search", pass(w.backend.catalog, func(r *http.Request) string {
		return "/search?" + r.URL.Query().Encode()
	}))
	handle("GET /api/orders/{id}", pass(w.backend.orders, func(r *http.Request) string {
		return "/orders/" + url.PathEscape(r.PathValue("id"))
	}))
	handle("GET /api/cart/{cart}", w.apiCart)
	handle("POST /api/cart/{cart}/items", w.apiAdd)
	handle("POST /api/checkout", w.apiCheckout)
	handle("/api/", func(_ http.ResponseWriter, r *http.Request) error {
		return httpserve.Errorf(http.StatusNotFound, "no_such_path", "there is no %s %.100s", r.Method, r.URL.Path)
	})
}

func (w *web) apiCart(rw http.ResponseWriter, r *http.Request) error {
	c, err := w.backend.getCart(r.Context(), r.PathValue("cart"))
	if err != nil {
		return err
	}
	priced, err := w.backend.price(r.Context(), c)
	if err != nil {
		return err
	}
	httpserve.WriteJSON(rw, http.StatusOK, priced)
	return nil
}

func (w *web) apiAdd(rw http.ResponseWriter, r *http.Request) error {
	i := item{Quantity: 1}
	if err := httpserve.ReadJSON(r, &i); err != nil {
		return err
	}
	c, err := w.add(r, r.PathValue("cart"), i)
	if err != nil {
		return err
	}
	httpserve.WriteJSON(rw, http.StatusCreated, c)
	return nil
}

// apiCheckout buys what is in a cart. A repeated key gives the order that it
// made, although the cart is empty by then.
func (w *web) apiCheckout(rw http.ResponseWriter, r *http.Request) error {
	var body struct {
		Cart     string   `json:"cart"`
		Customer customer `json:"customer"`
		Card     string   `json:"card"`
		// What the buyer has seen; left out: whatever it costs.
		TotalCents int64 `json:"total_cents"`
	}
	if err := httpserve.ReadJSON(r, &body); err != nil {
		return err
	}
	c, err := w.backend.getCart(r.Context(), body.Cart)
	if err != nil {
		return err
	}
	o, status, err := w.buy(r, r.Header.Get("Idempotency-Key"), c.Version, orderRequest{
		Cart: body.Cart, Items: c.Items, Customer: body.Customer, Card: body.Card, TotalCents: body.TotalCents,
	})
	if err != nil {
		return err
	}
	rw.Header().Set("Location", "/api/orders/"+o.ID)
	httpserve.WriteJSON(rw, status, o)
	return nil
}

// add puts an item into a cart, if there is such a product.
func (w *web) add(r *http.Request, id string, i item) (cart, error) {
	if _, err := w.backend.product(r.Context(), strconv.Itoa(i.Product)); err != nil {
		return cart{}, err
	}
	return w.backend.addItem(r.Context(), id, i)
}

// buy places an order and takes the cart away that it came from.
func (w *web) buy(r *http.Request, key string, version int64, request orderRequest) (order, int, error) {
	o, status, err := w.backend.placeOrder(r.Context(), key, request)
	if err != nil {
		return order{}, 0, err
	}
	if len(request.Items) > 0 {
		if err := w.backend.emptyCart(r.Context(), request.Cart, version); err != nil {
			// The order stands; the buyer finds a cart that was bought already.
			w.log.Warn("a cart stays full after its order", "order", o.ID, "error", err)
		}
	}
	return o, status, nil
}
