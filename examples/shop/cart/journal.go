package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/banyanhq/banyan/examples/shop/journal"
)

// record is the whole of a cart after a change: the last one counts.
type record struct {
	Cart
	At int64 `json:"at"` // Unix seconds
}

// journalStore is the carts by id, in a journal that the replicas share. Each
// is held as its record's bytes, which are small and which the garbage
// collector need not look into.
type journalStore struct {
	journal *journal.Journal
	now     func() time.Time
	carts   map[string]held
}

type held struct {
	record []byte
	at     int64
}

func openJournal(dir string, log *slog.Logger) (*journalStore, error) {
	s := &journalStore{now: time.Now}
	var err error
	s.journal, err = journal.Open(journal.Config{Dir: dir, Name: "carts", State: s, Snapshot: s.snapshot, Log: log})
	return s, err
}

// Reset is part of journal.State.
func (s *journalStore) Reset() { s.carts = map[string]held{} }

// Fresh and Become are part of journal.Renewable.
func (s *journalStore) Fresh() journal.State { return &journalStore{now: s.now} }

// Become takes the carts of a fresh store over.
func (s *journalStore) Become(fresh journal.State) { s.carts = fresh.(*journalStore).carts }

// Apply is part of journal.State.
func (s *journalStore) Apply(_ journal.Position, data []byte) error {
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

func (s *journalStore) snapshot(keep func([]byte) error, _ func(journal.Position) error) error {
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
func (s *journalStore) find(id string) (Cart, error) {
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

func (s *journalStore) get(_ context.Context, id string) (cart Cart, err error) {
	err = s.journal.View(func() error {
		cart, err = s.find(id)
		return err
	})
	return cart, err
}

func (s *journalStore) change(ctx context.Context, id string, f func(*Cart) error) (Cart, error) {
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
		c.renew(s.now())
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
