package main

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/journal"
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
}

// record is a line of the journal: a reservation (Order) or its outcome (Settle).
type record struct {
	Order  *Order  `json:"order,omitempty"`
	Print  string  `json:"print,omitempty"` // of the request, with Order
	Settle *settle `json:"settle,omitempty"`
}

type settle struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	Reference string `json:"reference,omitempty"`
}

// book is all orders and what they take from the stock. In memory there is
// only where each order is in the journal; what is pending is held whole.
type book struct {
	journal *journal.Journal
	orders  map[string]places
	pending map[string]*Order
	taken   map[int]int64 // pieces reserved or sold, by product
}

type places struct{ reserved, settled journal.Position }

const unsettled = journal.Position(-1)

func openBook(dir string, log *slog.Logger) (*book, error) {
	b := &book{}
	var err error
	// No snapshot: orders are kept for ever, so there is nothing to leave out.
	b.journal, err = journal.Open(journal.Config{Dir: dir, Name: "orders", State: b, Log: log})
	return b, err
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

// Reset is part of journal.State.
func (b *book) Reset() {
	b.orders, b.pending, b.taken = map[string]places{}, map[string]*Order{}, map[int]int64{}
}

// Apply is part of journal.State.
func (b *book) Apply(at journal.Position, data []byte) error {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("decoding an order: %w", err)
	}
	switch {
	case r.Order != nil:
		if _, ok := b.orders[r.Order.ID]; ok {
			return fmt.Errorf("order %s is there twice", r.Order.ID)
		}
		b.orders[r.Order.ID] = places{at, unsettled}
		b.pending[r.Order.ID] = r.Order
		for _, l := range r.Order.Lines {
			b.taken[l.Product] += int64(l.Quantity)
		}
	case r.Settle != nil:
		o, ok := b.pending[r.Settle.ID]
		if !ok {
			return fmt.Errorf("order %s is settled but not pending", r.Settle.ID)
		}
		if r.Settle.Status != confirmed {
			for _, l := range o.Lines {
				b.taken[l.Product] -= int64(l.Quantity)
			}
		}
		b.orders[o.ID] = places{b.orders[o.ID].reserved, at}
		delete(b.pending, o.ID)
	default:
		return fmt.Errorf("an empty record")
	}
	return nil
}

// find returns an order and the fingerprint of its request; inside View and
// Update.
func (b *book) find(id string) (o Order, print string, ok bool, err error) {
	at, ok := b.orders[id]
	if !ok {
		return Order{}, "", false, nil
	}
	r, err := b.read(at.reserved)
	if err != nil {
		return Order{}, "", false, err
	}
	o = *r.Order
	if at.settled != unsettled {
		s, err := b.read(at.settled)
		if err != nil {
			return Order{}, "", false, err
		}
		o.Status, o.Reference = s.Settle.Status, s.Settle.Reference
	}
	return o, r.Print, true, nil
}

func (b *book) read(at journal.Position) (r record, err error) {
	data, err := b.journal.Read(at)
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("decoding an order: %w", err)
	}
	return r, nil
}

// get returns an order as it is now.
func (b *book) get(id string) (o Order, ok bool, err error) {
	err = b.journal.View(func() error {
		o, _, ok, err = b.find(id)
		return err
	})
	return o, ok, err
}

func (b *book) stockTaken(product int) (n int64, err error) {
	err = b.journal.View(func() error {
		n = b.taken[product]
		return nil
	})
	return n, err
}

// reserve writes o down and takes its pieces from the stock, all or none. If
// the order is there already, it is returned instead, provided that print is
// the same. editions has how many pieces there are of each product.
func (b *book) reserve(ctx context.Context, o Order, print string, editions map[int]int64) (is Order, made bool, err error) {
	err = b.journal.Update(ctx, func() ([]byte, error) {
		was, wasPrint, ok, err := b.find(o.ID)
		if err != nil {
			return nil, err
		}
		if ok {
			is = was
			return nil, sameRequest(was, wasPrint, o.Lines, print)
		}
		if len(o.Lines) == 0 {
			return nil, httpserve.Errorf(http.StatusUnprocessableEntity, "empty_order", "the order has no items")
		}
		for _, l := range o.Lines {
			if left := editions[l.Product] - b.taken[l.Product]; int64(l.Quantity) > left {
				return nil, httpserve.Errorf(http.StatusConflict, "out_of_stock",
					"%s: %d wanted, %d left", l.Name, l.Quantity, max(left, 0))
			}
		}
		is, made = o, true
		return json.Marshal(record{Order: &o, Print: print})
	})
	if err != nil {
		return Order{}, false, err
	}
	return is, made, nil
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

// settle gives a pending order its outcome and returns the order. An order
// that has one keeps it.
func (b *book) settle(ctx context.Context, to settle) (o Order, err error) {
	err = b.journal.Update(ctx, func() ([]byte, error) {
		was, _, ok, err := b.find(to.ID)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("settling order %s: there is no such order", to.ID)
		}
		o = was
		if was.Status != pending {
			return nil, nil
		}
		o.Status, o.Reference = to.Status, to.Reference
		return json.Marshal(record{Settle: &to})
	})
	if err != nil {
		return Order{}, err
	}
	return o, nil
}

// unsettledSince returns up to limit orders that were reserved before an
// instant in Unix milliseconds and have no outcome.
func (b *book) unsettledSince(before int64, limit int) (ids []string, err error) {
	err = b.journal.View(func() error {
		for id, o := range b.pending {
			if o.At < before && len(ids) < limit {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, err
}
