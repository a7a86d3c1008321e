package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// backend is the services that web uses, in its own words.
type backend struct{ catalog, cart, orders *httpserve.Client }

// Of what the services answer, web reads what it shows.
type (
	product struct {
		ID          int    `json:"id"`
		Name        string `json:"name"`
		Category    string `json:"category"`
		Maker       string `json:"maker"`
		Description string `json:"description"`
		PriceCents  int64  `json:"price_cents"`
		Rating      int    `json:"rating"`
		Reviews     int    `json:"reviews"`
		Hue         int    `json:"hue"`
		Edition     int64  `json:"edition"`
		Limited     bool   `json:"limited"`
	}
	productPage struct {
		Total      int       `json:"total"`
		Products   []product `json:"products"`
		Categories []struct {
			Name     string `json:"name"`
			Products int    `json:"products"`
		} `json:"categories"`
	}
	item struct {
		Product  int `json:"product_id"`
		Quantity int `json:"quantity"`
	}
	cart struct {
		ID      string `json:"cart"`
		Version int64  `json:"version"`
		Items   []item `json:"items"`
	}
	customer struct {
		Name    string `json:"name"`
		Email   string `json:"email"`
		Address string `json:"address"`
	}
	orderRequest struct {
		Cart       string   `json:"cart"`
		Items      []item   `json:"items"`
		Customer   customer `json:"customer"`
		Card       string   `json:"card"`
		TotalCents int64    `json:"total_cents"`
	}
	order struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Lines  []struct {
			Product    int    `json:"product_id"`
			Name       string `json:"name"`
			Quantity   int    `json:"quantity"`
			PriceCents int64  `json:"price_cents"`
		} `json:"lines"`
		TotalCents int64    `json:"total_cents"`
		Customer   customer `json:"customer"`
		LastFour   string   `json:"last_four"`
		At         int64    `json:"at"`
	}
)

// For what a page shows on the side, nobody waits longer than this.
const sideTime = 300 * time.Millisecond

func (b backend) products(ctx context.Context, path string) (p productPage, err error) {
	_, err = b.catalog.Do(ctx, httpserve.Call{Path: path, Out: &p})
	return p, err
}

func (b backend) product(ctx context.Context, id string) (p product, err error) {
	_, err = b.catalog.Do(ctx, httpserve.Call{Path: "/products/" + url.PathEscape(id), Out: &p})
	return p, err
}

func (b backend) getCart(ctx context.Context, id string) (c cart, err error) {
	_, err = b.cart.Do(ctx, httpserve.Call{Path: "/carts/" + url.PathEscape(id), Out: &c})
	return c, err
}

func (b backend) addItem(ctx context.Context, id string, i item) (c cart, err error) {
	_, err = b.cart.Do(ctx, httpserve.Call{Method: http.MethodPost, Path: "/carts/" + url.PathEscape(id) + "/items", In: i, Out: &c})
	return c, err
}

func (b backend) removeItem(ctx context.Context, id string, product int) error {
	_, err := b.cart.Do(ctx, httpserve.Call{Method: http.MethodDelete, Path: "/carts/" + url.PathEscape(id) + "/items/" + strconv.Itoa(product)})
	return err
}

// emptyCart takes a cart away after it was bought, unless it has changed since.
func (b backend) emptyCart(ctx context.Context, id string, version int64) error {
	_, err := b.cart.Do(ctx, httpserve.Call{Method: http.MethodDelete, Path: "/carts/" + url.PathEscape(id) + "?version=" + strconv.FormatInt(version, 10)})
	if httpserve.IsStatus(err, http.StatusConflict) {
		return nil
	}
	return err
}

func (b backend) placeOrder(ctx context.Context, key string, r orderRequest) (o order, status int, err error) {
	status, err = b.orders.Do(ctx, httpserve.Call{Method: http.MethodPost, Path: "/orders", Key: key, In: r, Out: &o})
	return o, status, err
}

func (b backend) order(ctx context.Context, id string) (o order, err error) {
	_, err = b.orders.Do(ctx, httpserve.Call{Path: "/orders/" + url.PathEscape(id), Out: &o})
	return o, err
}

// stockLeft is how many pieces of a limited edition can still be bought.
func (b backend) stockLeft(ctx context.Context, p product) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, sideTime)
	defer cancel()
	var answer struct {
		Taken int64 `json:"taken"`
	}
	_, err := b.orders.Do(ctx, httpserve.Call{Path: "/stock/" + strconv.Itoa(p.ID), Out: &answer})
	return max(p.Edition-answer.Taken, 0), err
}

// line is an item with what there is to say about its product.
type line struct {
	Product  product `json:"product"`
	Quantity int     `json:"quantity"`
	SumCents int64   `json:"sum_cents"`
}

// pricedCart is a cart as it is shown.
type pricedCart struct {
	ID         string `json:"cart"`
	Version    int64  `json:"version"`
	Lines      []line `json:"lines"`
	TotalCents int64  `json:"total_cents"`
	Count      int    `json:"count"`
}

// price looks up the products of a cart, with one call.
func (b backend) price(ctx context.Context, c cart) (pricedCart, error) {
	priced := pricedCart{ID: c.ID, Version: c.Version, Lines: []line{}}
	if len(c.Items) == 0 {
		return priced, nil
	}
	ids := make([]string, len(c.Items))
	for i := range c.Items {
		ids[i] = strconv.Itoa(c.Items[i].Product)
	}
	page, err := b.products(ctx, "/products?ids="+strings.Join(ids, ","))
	if err != nil {
		return pricedCart{}, err
	}
	for _, i := range c.Items {
		for _, p := range page.Products {
			if p.ID == i.Product {
				l := line{Product: p, Quantity: i.Quantity, SumCents: p.PriceCents * int64(i.Quantity)}
				priced.Lines = append(priced.Lines, l)
				priced.TotalCents += l.SumCents
				priced.Count += l.Quantity
				break
			}
		}
	}
	return priced, nil
}

func (c cart) count() (n int) {
	for _, i := range c.Items {
		n += i.Quantity
	}
	return n
}
