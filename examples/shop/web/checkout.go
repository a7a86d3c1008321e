package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func (w *web) cart(rw http.ResponseWriter, r *http.Request) error {
	priced, err := w.visitorsCart(r)
	if err != nil {
		return err
	}
	return w.show(rw, http.StatusOK, "cart", view{Title: "Your cart", CartCount: priced.Count, Page: priced})
}

func (w *web) visitorsCart(r *http.Request) (pricedCart, error) {
	id := cartID(r)
	if id == "" {
		return pricedCart{}, nil
	}
	c, err := w.backend.getCart(r.Context(), id)
	if err != nil {
		return pricedCart{}, err
	}
	return w.backend.price(r.Context(), c)
}

func (w *web) addToCart(rw http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	product, err := formNumber(r, "product", 1<<31)
	if err != nil {
		return err
	}
	quantity, err := formNumber(r, "quantity", 99)
	if err != nil {
		return err
	}
	id := cartID(r)
	if id == "" {
		id = newID()
	}
	if _, err := w.add(r, id, item{product, quantity}); err != nil {
		return err
	}
	http.SetCookie(rw, &http.Cookie{
		Name: cartCookie, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int((30 * 24 * time.Hour).Seconds()),
	})
	http.Redirect(rw, r, "/cart", http.StatusSeeOther)
	return nil
}

func (w *web) removeFromCart(rw http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	product, err := formNumber(r, "product", 1<<31)
	if err != nil {
		return err
	}
	if id := cartID(r); id != "" {
		if err := w.backend.removeItem(r.Context(), id, product); err != nil {
			return err
		}
	}
	http.Redirect(rw, r, "/cart", http.StatusSeeOther)
	return nil
}

// checkoutPage is the form. What is bought is in its hidden fields: the buyer
// gets what the page showed, at the price that it showed, once for each Key.
type checkoutPage struct {
	pricedCart
	Items    string
	Key      string
	Customer customer
	Problem  string
}

func (w *web) checkout(rw http.ResponseWriter, r *http.Request) error {
	priced, err := w.visitorsCart(r)
	if err != nil {
		return err
	}
	if len(priced.Lines) == 0 {
		http.Redirect(rw, r, "/cart", http.StatusSeeOther)
		return nil
	}
	return w.showCheckout(rw, http.StatusOK, checkoutPage{pricedCart: priced, Key: newID()})
}

func (w *web) showCheckout(rw http.ResponseWriter, status int, page checkoutPage) error {
	var items []string
	for _, l := range page.Lines {
		items = append(items, fmt.Sprintf("%dx%d", l.Product.ID, l.Quantity))
	}
	page.Items = strings.Join(items, ",")
	return w.show(rw, status, "checkout", view{Title: "Checkout", CartCount: page.Count, Page: page})
}

func (w *web) placeOrder(rw http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	items, err := parseItems(r.PostForm.Get("items"))
	if err != nil {
		return err
	}
	total, err := formNumber(r, "total", 1<<40)
	if err != nil {
		return err
	}
	version, err := formNumber(r, "version", 1<<60)
	if err != nil {
		return err
	}
	request := orderRequest{
		Cart: cartID(r), Items: items, TotalCents: int64(total), Card: r.PostForm.Get("card"),
		Customer: customer{Name: r.PostForm.Get("name"), Email: r.PostForm.Get("email"), Address: r.PostForm.Get("address")},
	}
	key := r.PostForm.Get("key")
	o, _, err := w.buy(r, key, int64(version), request)
	if err == nil {
		http.Redirect(rw, r, "/orders/"+o.ID, http.StatusSeeOther)
		return nil
	}
	page := checkoutPage{Key: newID(), Customer: request.Customer}
	status := http.StatusServiceUnavailable
	var refused *httpserve.Error
	switch {
	case !errors.As(err, &refused):
		// Whether it was bought is unknown. The key stays, so that sending the
		// form again finishes the same order.
		page.Key, page.Problem = key, "We could not finish this just now. Press Pay again in a few seconds: you will not pay twice."
		w.log.Warn("an order got no answer", "error", err)
	case refused.Code == "key_reused":
		return httpserve.Errorf(http.StatusConflict, "sent_before", "this form was sent before, with other details; look into your cart to see what is left to buy")
	case refused.Status == http.StatusNotFound:
		return err
	default:
		// The buyer may put it right; the old key was spent on an order that
		// came to nothing.
		status, page.Problem = refused.Status, upperFirst(refused.Message)+"."
	}
	var e error
	if page.pricedCart, e = w.backend.price(r.Context(), cart{ID: request.Cart, Version: int64(version), Items: items}); e != nil {
		return errors.Join(err, e)
	}
	return w.showCheckout(rw, status, page)
}

func parseForm(r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return httpserve.Errorf(http.StatusRequestEntityTooLarge, "too_large", "the form is larger than %d bytes", tooLarge.Limit)
		}
		return httpserve.Errorf(http.StatusBadRequest, "bad_form", "the form cannot be read")
	}
	return nil
}

func formNumber(r *http.Request, name string, most int) (int, error) {
	n, err := strconv.Atoi(r.PostForm.Get(name))
	if err != nil || n < 1 || n > most {
		return 0, httpserve.Errorf(http.StatusBadRequest, "bad_form", "%s: want a number from 1 to %d", name, most)
	}
	return n, nil
}

// parseItems reads "12x1,99x2".
func parseItems(s string) ([]item, error) {
	bad := httpserve.Errorf(http.StatusBadRequest, "bad_form", "items: want a list such as 12x1,99x2")
	var items []item
	for part := range strings.SplitSeq(s, ",") {
		product, quantity, _ := strings.Cut(part, "x")
		p, err1 := strconv.Atoi(product)
		q, err2 := strconv.Atoi(quantity)
		if err1 != nil || err2 != nil || len(items) == 50 {
			return nil, bad
		}
		items = append(items, item{p, q})
	}
	return items, nil
}
