package main

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// What an order is. It begins pending; each of the others is final.
const (
	pending   = "pending"   // stock is reserved, the payment has no known outcome
	confirmed = "confirmed" // paid
	declined  = "declined"  // the card was declined, the stock is released
	cancelled = "cancelled" // not paid in time or not payable, the stock is released
)

// Line is some number of one product at the price of the moment.
type Line struct {
	Product    int    `json:"product_id"`
	Name       string `json:"name"`
	Quantity   int    `json:"quantity"`
	PriceCents int64  `json:"price_cents"` // of one
}

// Customer is who gets it.
type Customer struct {
	Name    string `json:"name"`
	Email   string `json:"email"`
	Address string `json:"address"`
}

// Order is one purchase.
type Order struct {
	ID         string   `json:"id"`
	Status     string   `json:"status"`
	Lines      []Line   `json:"lines"`
	TotalCents int64    `json:"total_cents"`
	Customer   Customer `json:"customer"`
	LastFour   string   `json:"last_four"` // of the card
	Reference  string   `json:"reference,omitempty"`
	At         int64    `json:"at"` // Unix milliseconds
	// Held says that a workflow settles it: the sweep leaves it alone.
	Held bool `json:"held,omitempty"`
}

type settle struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	Reference string `json:"reference,omitempty"`
}

// stock is how many pieces of a product are reserved or sold and, where that
// is known, how many can still be bought.
type stock struct {
	Product int    `json:"product_id"`
	Left    *int64 `json:"left,omitempty"`
	Taken   int64  `json:"taken"`
}

// book keeps the orders and the stock: a journal, or tables. What it has
// answered is durable, and known to every replica.
type book interface {
	// get returns an order as it is now.
	get(ctx context.Context, id string) (o Order, ok bool, err error)
	stock(ctx context.Context, product int) (stock, error)
	// reserve writes o down and takes its pieces from the stock, all or none.
	// If the order is there already, it is returned instead, provided that
	// print is the same. editions has how many pieces there are of each
	// product.
	reserve(ctx context.Context, o Order, print string, editions map[int]int64) (is Order, made bool, err error)
	// settle gives a pending order its outcome and returns the order. An order
	// that has one keeps it.
	settle(ctx context.Context, to settle) (Order, error)
	// void has an order come to nothing: one that is pending is cancelled, and
	// one that is not there yet is made as a cancelled one without items, so
	// that a reservation that is still on its way is refused. now is in Unix
	// milliseconds.
	void(ctx context.Context, id string, now int64) (Order, error)
	// unsettledSince returns up to limit orders that were reserved before an
	// instant in Unix milliseconds, have no outcome, and are not held.
	unsettledSince(ctx context.Context, before int64, limit int) (ids []string, err error)
}

// orderID is the id of a key's order. As it follows from the key, no second
// index is needed and two replicas cannot give one key two orders.
func orderID(key string) string {
	sum := sha256.Sum256([]byte("order of " + key))
	return "o" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// fingerprint tells two requests with the same key apart.
func fingerprint(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// sameRequest refuses a key that comes back with another request. A request
// without items stands for the order that the key made: the cart it was made
// from may be empty by now.
func sameRequest(was Order, wasPrint string, lines []Line, print string) error {
	same := wasPrint == print
	if len(lines) > 0 {
		same = same && len(lines) == len(was.Lines)
		for i := range lines {
			same = same && lines[i].Product == was.Lines[i].Product && lines[i].Quantity == was.Lines[i].Quantity
		}
	}
	if !same {
		return httpserve.Errorf(http.StatusUnprocessableEntity, "key_reused", "the Idempotency-Key was used for a different order")
	}
	return nil
}

func emptyOrder() error {
	return httpserve.Errorf(http.StatusUnprocessableEntity, "empty_order", "the order has no items")
}

func outOfStock(l Line, left int64) error {
	return httpserve.Errorf(http.StatusConflict, "out_of_stock", "%s: %d wanted, %d left", l.Name, l.Quantity, max(left, 0))
}
