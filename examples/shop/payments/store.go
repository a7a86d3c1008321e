package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/journal"
)

// What becomes of a payment. It never changes again.
const (
	approved  = "approved"
	declined  = "declined"
	cancelled = "cancelled"
)

// Payment is what became of one idempotency key.
type Payment struct {
	Key         string `json:"key"`
	Status      string `json:"status"`
	AmountCents int64  `json:"amount_cents"`
	LastFour    string `json:"last_four,omitempty"` // of the card; the number itself is never kept
	Reference   string `json:"reference,omitempty"` // the acquirer's
	At          int64  `json:"at"`                  // Unix seconds
}

// acquirer stands for the bank's side.
type acquirer struct {
	delay time.Duration
	after func(time.Duration) <-chan time.Time
}

// decide answers for a card. It is a function of its arguments alone.
func (a acquirer) decide(ctx context.Context, key, card string) (status, reference string, err error) {
	if a.delay > 0 {
		select {
		case <-a.after(a.delay):
		case <-ctx.Done():
			return "", "", fmt.Errorf("waiting for the acquirer: %w", context.Cause(ctx))
		}
	}
	if strings.HasSuffix(card, "0002") {
		return declined, "", nil
	}
	return approved, "acq-" + key, nil
}

// keepPayments is how many payments are remembered, the newest: some more than
// the shop keeps orders. The key of an older one would be charged again.
const keepPayments = 100_000

// store is the payments by key. In memory there is only where each is in the
// journal, so that many fit.
type store struct {
	journal  *journal.Journal
	acquirer acquirer
	now      func() time.Time
	keep     int
	payments map[string]journal.Position
}

func openStore(dir string, log *slog.Logger, a acquirer) (*store, error) {
	return openStoreKeeping(dir, log, a, keepPayments, 0)
}

// openStoreKeeping opens a store that remembers so many payments, and whose
// file is rewritten above a size (0: the journal's default).
func openStoreKeeping(dir string, log *slog.Logger, a acquirer, keep int, compactAbove int64) (*store, error) {
	s := &store{now: time.Now, acquirer: a, keep: keep}
	var err error
	s.journal, err = journal.Open(journal.Config{Dir: dir, Name: "payments", State: s, Snapshot: s.snapshot, CompactAbove: compactAbove, Log: log})
	return s, err
}

// Fresh is part of journal.Renewable.
func (s *store) Fresh() journal.State { return &store{} }

// Become is part of journal.Renewable.
func (s *store) Become(fresh journal.State) { s.payments = fresh.(*store).payments }

// snapshot keeps the newest payments.
func (s *store) snapshot(_ func([]byte) error, move func(journal.Position) error) error {
	all := slices.Sorted(maps.Values(s.payments))
	for _, at := range all[max(0, len(all)-s.keep):] {
		if err := move(at); err != nil {
			return err
		}
	}
	return nil
}

// Reset is part of journal.State.
func (s *store) Reset() { s.payments = map[string]journal.Position{} }

// Apply is part of journal.State.
func (s *store) Apply(at journal.Position, data []byte) error {
	var p Payment
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("decoding a payment: %w", err)
	}
	if _, ok := s.payments[p.Key]; ok {
		return fmt.Errorf("payment %s is there twice", p.Key)
	}
	s.payments[p.Key] = at
	return nil
}

// find returns the payment of a key; called inside View or Update.
func (s *store) find(key string) (p Payment, ok bool, err error) {
	at, ok := s.payments[key]
	if !ok {
		return Payment{}, false, nil
	}
	data, err := s.journal.Read(at)
	if err != nil {
		return Payment{}, false, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return Payment{}, false, fmt.Errorf("decoding a payment: %w", err)
	}
	return p, true, nil
}

func (s *store) get(key string) (p Payment, err error) {
	err = s.journal.View(func() error {
		var ok bool
		if p, ok, err = s.find(key); err == nil && !ok {
			return httpserve.Errorf(http.StatusNotFound, "no_such_payment", "nothing was paid with the key %.64q", key)
		}
		return err
	})
	return p, err
}

// record makes p the payment of its key if the key has none, and returns the
// payment that the key has then.
func (s *store) record(ctx context.Context, p Payment) (is Payment, made bool, err error) {
	err = s.journal.Update(ctx, func() ([]byte, error) {
		was, ok, err := s.find(p.Key)
		if err != nil {
			return nil, err
		}
		if ok {
			is = was
			return nil, nil
		}
		p.At = s.now().Unix()
		is, made = p, true
		return json.Marshal(p)
	})
	if err != nil {
		return Payment{}, false, err
	}
	return is, made, nil
}

// pay charges a card, unless something has become of the key already.
func (s *store) pay(ctx context.Context, key, card string, amount int64) (p Payment, made bool, err error) {
	wanted := Payment{Key: key, AmountCents: amount, LastFour: card[len(card)-4:]}
	if wanted.Status, wanted.Reference, err = s.acquirer.decide(ctx, key, card); err != nil {
		return Payment{}, false, err
	}
	if p, made, err = s.record(ctx, wanted); err != nil {
		return Payment{}, false, err
	}
	if p.Status != cancelled && (p.AmountCents != wanted.AmountCents || p.LastFour != wanted.LastFour) {
		return Payment{}, false, httpserve.Errorf(http.StatusUnprocessableEntity, "key_reused",
			"the key was used for another payment: %d cents with the card ending in %s", p.AmountCents, p.LastFour)
	}
	return p, made, nil
}
