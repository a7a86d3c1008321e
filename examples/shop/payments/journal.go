package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/banyanhq/banyan/examples/shop/journal"
)

// keepPayments is how many payments are remembered, the newest: some more than
// the shop keeps orders. The key of an older one would be charged again.
const keepPayments = 150_000

// journalLedger is the payments by key, in a journal that the replicas share. In memory there is only where each is in the
// journal, so that many fit.
type journalLedger struct {
	journal  *journal.Journal
	now      func() time.Time
	keep     int
	payments map[string]journal.Position
}

func openJournal(dir string, log *slog.Logger) (*journalLedger, error) {
	return openJournalKeeping(dir, log, keepPayments, 0)
}

// openJournalKeeping opens a ledger that remembers so many payments, and whose
// file is rewritten above a size (0: the journal's default).
func openJournalKeeping(dir string, log *slog.Logger, keep int, compactAbove int64) (*journalLedger, error) {
	s := &journalLedger{now: time.Now, keep: keep}
	var err error
	s.journal, err = journal.Open(journal.Config{Dir: dir, Name: "payments", State: s, Snapshot: s.snapshot, CompactAbove: compactAbove, Log: log})
	return s, err
}

// Fresh is part of journal.Renewable.
func (s *journalLedger) Fresh() journal.State { return &journalLedger{} }

// Become is part of journal.Renewable.
func (s *journalLedger) Become(fresh journal.State) { s.payments = fresh.(*journalLedger).payments }

// snapshot keeps the newest payments.
func (s *journalLedger) snapshot(_ func([]byte) error, move func(journal.Position) error) error {
	all := slices.Sorted(maps.Values(s.payments))
	for _, at := range all[max(0, len(all)-s.keep):] {
		if err := move(at); err != nil {
			return err
		}
	}
	return nil
}

// Reset is part of journal.State.
func (s *journalLedger) Reset() { s.payments = map[string]journal.Position{} }

// Apply is part of journal.State.
func (s *journalLedger) Apply(at journal.Position, data []byte) error {
	var p Payment
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("decoding a payment: %w", err)
	}
	if _, ok := s.payments[p.Key]; ok && p.Status != refunded {
		return fmt.Errorf("payment %s is there twice", p.Key)
	}
	s.payments[p.Key] = at
	return nil
}

// find returns the payment of a key; called inside View or Update.
func (s *journalLedger) find(key string) (p Payment, ok bool, err error) {
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

func (s *journalLedger) get(_ context.Context, key string) (p Payment, ok bool, err error) {
	err = s.journal.View(func() error {
		p, ok, err = s.find(key)
		return err
	})
	return p, ok, err
}

func (s *journalLedger) record(ctx context.Context, p Payment) (is Payment, made bool, err error) {
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

func (s *journalLedger) refund(ctx context.Context, key string) (is Payment, err error) {
	err = s.journal.Update(ctx, func() ([]byte, error) {
		was, ok, err := s.find(key)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok:
			is = Payment{Key: key, Status: cancelled, At: s.now().Unix()}
		case was.Status == approved:
			is = was
			is.Status, is.At = refunded, s.now().Unix()
		default:
			is = was
			return nil, nil
		}
		return json.Marshal(is)
	})
	if err != nil {
		return Payment{}, err
	}
	return is, nil
}
