package main

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

const (
	maxItems    = 50 // products in a cart
	maxQuantity = 99 // of one product
	// A cart that nobody touched for so long is forgotten. Of those in a
	// journal the ones touched last are kept if there are more than fit in so
	// many bytes.
	keepFor   = 30 * 24 * time.Hour
	keepBytes = 8 << 20
)

// Item is some number of one product.
type Item struct {
	Product  int `json:"product_id"`
	Quantity int `json:"quantity"`
}

// Cart is what one buyer has chosen. Version grows with each change.
type Cart struct {
	ID      string `json:"cart"`
	Version int64  `json:"version"`
	Items   []Item `json:"items"`
}

// renew gives a cart that was changed its next version: an instant in
// microseconds, so that a cart that was emptied and filled again never has one
// that it had before.
func (c *Cart) renew(now time.Time) {
	c.Version = max(c.Version+1, now.UnixMicro())
	if len(c.Items) == 0 {
		c.Version = 0 // nothing is left to be remembered
	}
}

// store keeps the carts: a journal, or a table.
type store interface {
	// get returns a cart; one that is not there is empty.
	get(ctx context.Context, id string) (Cart, error)
	// change applies f to a cart durably and returns what it has become. f may
	// be called again with what others have made of the cart meanwhile. A cart
	// that f leaves empty is forgotten.
	change(ctx context.Context, id string, f func(*Cart) error) (Cart, error)
}

// service is what can be done with carts.
type service struct {
	store
	ready, run func(context.Context) error // of the program; nil: nothing to do
}

func (s service) add(ctx context.Context, id string, item Item) (Cart, error) {
	return s.change(ctx, id, func(c *Cart) error {
		for i := range c.Items {
			if c.Items[i].Product == item.Product {
				c.Items[i].Quantity = min(c.Items[i].Quantity+item.Quantity, maxQuantity)
				return nil
			}
		}
		if len(c.Items) == maxItems {
			return httpserve.Errorf(http.StatusConflict, "cart_full", "a cart holds %d different products at most", maxItems)
		}
		c.Items = append(c.Items, item)
		return nil
	})
}

func (s service) remove(ctx context.Context, id string, product int) (Cart, error) {
	return s.change(ctx, id, func(c *Cart) error {
		c.Items = slices.DeleteFunc(c.Items, func(i Item) bool { return i.Product == product })
		return nil
	})
}

// empty forgets a cart, if it still has the version that the caller saw.
func (s service) empty(ctx context.Context, id string, version int64) (Cart, error) {
	return s.change(ctx, id, func(c *Cart) error {
		if c.Version != version && c.Version != 0 {
			return httpserve.Errorf(http.StatusConflict, "cart_changed", "the cart has changed: it has version %d, not %d", c.Version, version)
		}
		c.Items = []Item{}
		return nil
	})
}
