package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/banyanhq/banyan/examples/shop/journal"
)

// record is a line of the journal: a reservation (Order) or its outcome (Settle).
// Sold begins a file that was rewritten: what the orders that it forgot have taken.
type record struct {
	Order  *Order        `json:"order,omitempty"`
	Print  string        `json:"print,omitempty"` // of the request, with Order
	Settle *settle       `json:"settle,omitempty"`
	Sold   map[int]int64 `json:"sold,omitempty"`
}

// journalBook is all orders and what they take from the stock, in a journal
// that the replicas share. In memory there is
// only where each order is in the journal; what is pending is held whole.
type journalBook struct {
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

func openJournal(dir string, log *slog.Logger) (*journalBook, error) {
	return openJournalKeeping(dir, log, keepOrders, 0)
}

// openJournalKeeping opens a book that remembers so many orders, and whose file
// is rewritten above a size (0: the journal's default).
func openJournalKeeping(dir string, log *slog.Logger, keep int, compactAbove int64) (*journalBook, error) {
	b := &journalBook{keep: keep}
	var err error
	b.journal, err = journal.Open(journal.Config{Dir: dir, Name: "orders", State: b, Snapshot: b.snapshot, CompactAbove: compactAbove, Log: log})
	return b, err
}

// Reset is part of journal.State.
func (b *journalBook) Reset() {
	b.orders, b.pending, b.taken, b.sold = map[string]places{}, map[string]*Order{}, map[int]int64{}, map[int]int64{}
}

// Fresh is part of journal.Renewable.
func (b *journalBook) Fresh() journal.State { return &journalBook{keep: b.keep} }

// Become is part of journal.Renewable.
func (b *journalBook) Become(fresh journal.State) {
	f := fresh.(*journalBook)
	b.orders, b.pending, b.taken, b.sold = f.orders, f.pending, f.taken, f.sold
}

// snapshot keeps the orders that are pending and the newest of the others; of
// those that it forgets it keeps what they took.
func (b *journalBook) snapshot(keep func([]byte) error, move func(journal.Position) error) error {
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
func (b *journalBook) Apply(at journal.Position, data []byte) error {
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
func (b *journalBook) find(id string) (o Order, print string, ok bool, err error) {
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

func (b *journalBook) read(at journal.Position) (r record, err error) {
	data, err := b.journal.Read(at)
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("decoding an order: %w", err)
	}
	return r, nil
}

func (b *journalBook) get(_ context.Context, id string) (o Order, ok bool, err error) {
	err = b.journal.View(func() error {
		o, _, ok, err = b.find(id)
		return err
	})
	return o, ok, err
}

func (b *journalBook) stock(_ context.Context, product int) (s stock, err error) {
	err = b.journal.View(func() error {
		s = stock{Product: product, Taken: b.taken[product]}
		return nil
	})
	return s, err
}

func (b *journalBook) reserve(ctx context.Context, o Order, print string, editions map[int]int64) (is Order, made bool, err error) {
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
			return nil, emptyOrder()
		}
		for _, l := range o.Lines {
			if left := editions[l.Product] - b.taken[l.Product]; int64(l.Quantity) > left {
				return nil, outOfStock(l, left)
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

func (b *journalBook) settle(ctx context.Context, to settle) (o Order, err error) {
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

func (b *journalBook) void(ctx context.Context, id string, now int64) (Order, error) {
	err := b.journal.Update(ctx, func() ([]byte, error) {
		if _, _, ok, err := b.find(id); ok || err != nil {
			return nil, err
		}
		return json.Marshal(record{Order: &Order{ID: id, Status: pending, At: now, Held: true}})
	})
	if err != nil {
		return Order{}, err
	}
	return b.settle(ctx, settle{ID: id, Status: cancelled})
}

func (b *journalBook) unsettledSince(_ context.Context, before int64, limit int) (ids []string, err error) {
	err = b.journal.View(func() error {
		for id, o := range b.pending {
			if o.At < before && !o.Held && len(ids) < limit {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, err
}
