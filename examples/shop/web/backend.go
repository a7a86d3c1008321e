package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// backend is the services that web uses, in its own words.
type backend struct {
	catalog, cart, orders *httpserve.Client
	// workflow carries checkouts through where the surroundings have one; nil:
	// orders does.
	workflow *workflow
	caches
	// For what a page shows on the side, nobody waits longer than this.
	sideTime time.Duration
}

// caches of what the others answer; each may be nil. What is in them is as old
// as their ttl at most.
type caches struct {
	products *cache // by id: the catalogue's answer
	pages    *cache // by the query: lists of products
	sessions *cache // by the cart's id: how many things are in it
}

const (
	productTTL = 10 * time.Minute
	pageTTL    = 10 * time.Second
	sessionTTL = time.Minute
)

func newCaches(env httpserve.Env, wait time.Duration) (c caches, err error) {
	for _, one := range []struct {
		into **cache
		name string
		ttl  time.Duration
	}{{&c.products, "products", productTTL}, {&c.pages, "pages", pageTTL}, {&c.sessions, "sessions", sessionTTL}} {
		if *one.into, err = newCache(env, one.name, one.ttl, wait); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c caches) close() error {
	return errors.Join(c.products.close(), c.pages.close(), c.sessions.close())
}

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

const sideTime = 300 * time.Millisecond

// list asks the catalogue for products.
func (b backend) list(ctx context.Context, path string) (p productPage, err error) {
	_, err = b.catalog.Do(ctx, httpserve.Call{Path: path, Out: &p})
	return p, err
}

// products is list by way of the cache: visitors share what they ask for.
func (b backend) products(ctx context.Context, path string) (p productPage, err error) {
	err = b.catalogued(ctx, b.caches.pages, "page:"+path, path, &p)
	return p, err
}

func (b backend) product(ctx context.Context, id string) (p product, err error) {
	path := "/products/" + url.PathEscape(id)
	err = b.catalogued(ctx, b.caches.products, "product:"+id, path, &p)
	return p, err
}

// catalogued reads what the catalogue answers to a path, or has answered lately.
func (b backend) catalogued(ctx context.Context, c *cache, key, path string, out any) error {
	if body, found := c.get(ctx, key); found && json.Unmarshal(body, out) == nil {
		return nil
	}
	var body []byte
	if _, err := b.catalog.Do(ctx, httpserve.Call{Path: path, Out: &body}); err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &httpserve.Unavailable{Service: "catalog", Err: fmt.Errorf("an answer that cannot be read: %w", err)}
	}
	c.set(ctx, key, body)
	return nil
}

func (b backend) getCart(ctx context.Context, id string) (c cart, err error) {
	_, err = b.cart.Do(ctx, httpserve.Call{Path: "/carts/" + url.PathEscape(id), Out: &c})
	return c, err
}

// sessionKey is where a visitor's session is: what every page shows of it.
func sessionKey(cart string) string { return "session:" + cart }

// inCart is how many things there are in a cart. It may be as old as a session.
func (b backend) inCart(ctx context.Context, id string) (int, error) {
	if v, found := b.sessions.get(ctx, sessionKey(id)); found {
		if n, err := strconv.Atoi(string(v)); err == nil {
			return n, nil
		}
	}
	c, err := b.getCart(ctx, id)
	if err != nil {
		return 0, err
	}
	b.sessions.fill(ctx, sessionKey(id), c.count())
	return c.count(), nil
}

func (b backend) addItem(ctx context.Context, id string, i item) (c cart, err error) {
	_, err = b.cart.Do(ctx, httpserve.Call{Method: http.MethodPost, Path: "/carts/" + url.PathEscape(id) + "/items", In: i, Out: &c})
	if err != nil {
		b.sessions.forget(ctx, sessionKey(id)) // it may have been added all the same
		return c, err
	}
	b.sessions.set(ctx, sessionKey(id), c.count())
	return c, nil
}

func (b backend) removeItem(ctx context.Context, id string, product int) error {
	_, err := b.cart.Do(ctx, httpserve.Call{Method: http.MethodDelete, Path: "/carts/" + url.PathEscape(id) + "/items/" + strconv.Itoa(product)})
	b.sessions.forget(ctx, sessionKey(id))
	return err
}

// emptyCart takes a cart away after it was bought, unless it has changed since.
func (b backend) emptyCart(ctx context.Context, id string, version int64) error {
	_, err := b.cart.Do(ctx, httpserve.Call{Method: http.MethodDelete, Path: "/carts/" + url.PathEscape(id) + "?version=" + strconv.FormatInt(version, 10)})
	b.sessions.forget(ctx, sessionKey(id))
	if httpserve.IsStatus(err, http.StatusConflict) {
		return nil
	}
	return err
}

func (b backend) placeOrder(ctx context.Context, key string, r orderRequest) (o order, status int, err error) {
	if b.workflow != nil {
		return b.workflow.placeOrder(ctx, key, r)
	}
	status, err = b.orders.Do(ctx, httpserve.Call{Method: http.MethodPost, Path: "/orders", Key: key, In: r, Out: &o})
	return o, status, err
}

func (b backend) order(ctx context.Context, id string) (o order, err error) {
	_, err = b.orders.Do(ctx, httpserve.Call{Path: "/orders/" + url.PathEscape(id), Out: &o})
	return o, err
}

// stockLeft is how many pieces of a limited edition can still be bought.
func (b backend) stockLeft(ctx context.Context, p product) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.sideTime)
	defer cancel()
	var answer struct {
		Left  *int64 `json:"left"`
		Taken int64  `json:"taken"`
	}
	_, err := b.orders.Do(ctx, httpserve.Call{Path: "/stock/" + strconv.Itoa(p.ID), Out: &answer})
	if answer.Left != nil {
		return *answer.Left, err
	}
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
	page, err := b.list(ctx, "/products?ids="+strings.Join(ids, ","))
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
