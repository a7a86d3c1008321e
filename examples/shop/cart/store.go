package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/journal"
)

const (
	maxItems    = 50 // products in a cart
	maxQuantity = 99 // of one product
	// A cart that nobody touched for so long is forgotten, and the ones
	// touched last are kept if there are more than fit in so many bytes.
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

// record is the whole of a cart after a change: the last one counts.
type record struct {
	Cart
	At int64 `json:"at"` // Unix seconds
}

// store is the carts by id. Each is held as its record's bytes, which are small
// and which the garbage collector need not look into.
type store struct {
	journal *journal.Journal
	now     func() time.Time
	carts   map[string]held
}

type held struct {
	record []byte
	at     int64
}

func openStore(dir string, log *slog.Logger) (*store, error) {
	s := &store{now: time.Now}
	var err error
	s.journal, err = journal.Open(journal.Config{Dir: dir, Name: "carts", State: s, Snapshot: s.snapshot, Log: log})
	return s, err
}

// Reset is part of journal.State.
func (s *store) Reset() { s.carts = map[string]held{} }

// Fresh and Become are part of journal.Renewable.
func (s *store) Fresh() journal.State { return &store{now: s.now} }

// Become takes the carts of a fresh store over.
func (s *store) Become(fresh journal.State) { s.carts = fresh.(*store).carts }

// Apply is part of journal.State.
func (s *store) Apply(_ journal.Position, data []byte) error {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("decoding a cart: %w", err)
	}
	if len(r.Items) == 0 && r.Version == 0 {
		delete(s.carts, r.ID)
		return nil
	}
	s.carts[r.ID] = held{slices.Clone(data), r.At}
	return nil
}

func (s *store) snapshot(keep func([]byte) error, _ func(journal.Position) error) error {
	oldest := s.now().Add(-keepFor).Unix()
	all := slices.SortedFunc(maps.Values(s.carts), func(a, b held) int { return cmp.Compare(b.at, a.at) })
	size := 0
	for _, h := range all {
		if size += len(h.record); h.at < oldest || size > keepBytes {
			break
		}
		if err := keep(h.record); err != nil {
			return err
		}
	}
	return nil
}

// find returns a cart; called inside View or Update.
func (s *store) find(id string) (Cart, error) {
	h, ok := s.carts[id]
	if !ok {
		return Cart{ID: id, Items: []Item{}}, nil
	}
	var r record
	if err := json.Unmarshal(h.record, &r); err != nil {
		return Cart{}, fmt.Errorf("decoding a cart: %w", err)
	}
	return r.Cart, nil
}

func (s *store) get(id string) (cart Cart, err error) {
	err = s.journal.View(func() error {
		cart, err = s.find(id)
		return err
	})
	return cart, err
}

// change applies f to a cart durably and returns what it has become. A cart
// that f leaves empty is forgotten.
func (s *store) change(ctx context.Context, id string, f func(*Cart) error) (Cart, error) {
	var cart Cart
	err := s.journal.Update(ctx, func() ([]byte, error) {
		c, err := s.find(id)
		if err != nil {
			return nil, err
		}
		was := len(c.Items)
		if err := f(&c); err != nil {
			return nil, err
		}
		// A version is an instant in microseconds, so that a cart that was
		// emptied and filled again never has one that it had before.
		c.Version = max(c.Version+1, s.now().UnixMicro())
		if len(c.Items) == 0 {
			c.Version = 0 // nothing is left to be remembered
		}
		cart = c
		if was == 0 && len(c.Items) == 0 {
			return nil, nil
		}
		return json.Marshal(record{c, s.now().Unix()})
	})
	if err != nil {
		return Cart{}, err
	}
	return cart, nil
}

func (s *store) add(ctx context.Context, id string, item Item) (Cart, error) {
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

func (s *store) remove(ctx context.Context, id string, product int) (Cart, error) {
	return s.change(ctx, id, func(c *Cart) error {
		c.Items = slices.DeleteFunc(c.Items, func(i Item) bool { return i.Product == product })
		return nil
	})
}

// empty forgets a cart, if it still has the version that the caller saw.
func (s *store) empty(ctx context.Context, id string, version int64) (Cart, error) {
	return s.change(ctx, id, func(c *Cart) error {
		if c.Version != version && c.Version != 0 {
			return httpserve.Errorf(http.StatusConflict, "cart_changed", "the cart has changed: it has version %d, not %d", c.Version, version)
		}
		c.Items = []Item{}
		return nil
	})
}
