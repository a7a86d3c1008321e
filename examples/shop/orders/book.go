package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
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
// Sold begins a file that was rewritten: what the orders that it forgot have taken.
type record struct {
	Order  *Order        `json:"order,omitempty"`
	Print  string        `json:"print,omitempty"` // of the request, with Order
	Settle *settle       `json:"settle,omitempty"`
	Sold   map[int]int64 `json:"sold,omitempty"`
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
	keep    int // orders that are settled
	orders  map[string]places
	pending map[string]*Order
	taken   map[int]int64 // pieces reserved or sold, by product
	sold    map[int]int64 // of these, by orders that are forgotten
}

// places is where an order is in the journal, and what it has taken for good.
type places struct {
	reserved, settled journal.Position
	takes             []take
}

type take struct {
	product  int32
	quantity int32
}

// keepOrders is how many settled orders are remembered, the newest; with an
// older one its Idempotency-Key is forgotten too.
const keepOrders = 50_000

const unsettled = journal.Position(-1)

func openBook(dir string, log *slog.Logger) (*book, error) {
	return openBookKeeping(dir, log, keepOrders, 0)
}

// openBookKeeping opens a book that remembers so many orders, and whose file
// is rewritten above a size (0: the journal's default).
func openBookKeeping(dir string, log *slog.Logger, keep int, compactAbove int64) (*book, error) {
	b := &book{keep: keep}
	var err error
	b.journal, err = journal.Open(journal.Config{Dir: dir, Name: "orders", State: b, Snapshot: b.snapshot, CompactAbove: compactAbove, Log: log})
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
	b.orders, b.pending, b.taken, b.sold = map[string]places{}, map[string]*Order{}, map[int]int64{}, map[int]int64{}
}

// Fresh is part of journal.Renewable.
func (b *book) Fresh() journal.State { return &book{keep: b.keep} }

// Become is part of journal.Renewable.
func (b *book) Become(fresh journal.State) {
	f := fresh.(*book)
	b.orders, b.pending, b.taken, b.sold = f.orders, f.pending, f.taken, f.sold
}

// snapshot keeps the orders that are pending and the newest of the others; of
// those that it forgets it keeps what they took.
func (b *book) snapshot(keep func([]byte) error, move func(journal.Position) error) error {
	var settled, all []places
	for _, p := range b.orders {
		all = append(all, p)
		if p.settled != unsettled {
			settled = append(settled, p)
		}
	}
	byTime := func(a, b places) int { return cmp.Compare(a.reserved, b.reserved) }
	slices.SortFunc(all, byTime)
	slices.SortFunc(settled, byTime)
	sold := maps.Clone(b.sold)
	oldest := journal.Position(0)
	if n := len(settled) - b.keep; n > 0 {
		oldest = settled[n-1].reserved + 1
		for _, p := range settled[:n] {
			for _, t := range p.takes {
				sold[int(t.product)] += int64(t.quantity)
			}
		}
	}
	if len(sold) > 0 {
		data, err := json.Marshal(record{Sold: sold})
		if err != nil {
			return err
		}
		if err := keep(data); err != nil {
			return err
		}
	}
	for _, p := range all {
		if p.settled != unsettled && p.reserved < oldest {
			continue
		}
		if err := move(p.reserved); err != nil {
			return err
		}
		if p.settled != unsettled {
			if err := move(p.settled); err != nil {
				return err
			}
		}
	}
	return nil
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
		b.orders[r.Order.ID] = places{reserved: at, settled: unsettled}
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
		p := places{reserved: b.orders[o.ID].reserved, settled: at}
		if r.Settle.Status == confirmed {
			for _, l := range o.Lines {
				p.takes = append(p.takes, take{int32(l.Product), int32(l.Quantity)})
			}
		}
		b.orders[o.ID] = p
		delete(b.pending, o.ID)
	case r.Sold != nil:
		for product, n := range r.Sold {
			b.sold[product] += n
			b.taken[product] += n
		}
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
