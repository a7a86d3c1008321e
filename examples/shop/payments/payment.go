package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// What becomes of a payment. It never changes again, but that one that was
// approved may be refunded.
const (
	approved  = "approved"
	declined  = "declined"
	cancelled = "cancelled"
	refunded  = "refunded" // it was approved, and is paid back
	card      = "card"     // no payment but a card that one may be made with
)

// Payment is what became of one idempotency key.
type Payment struct {
	Key         string `json:"key"`
	Status      string `json:"status"`
	AmountCents int64  `json:"amount_cents"`
	LastFour    string `json:"last_four,omitempty"` // of the card; the number itself is never kept
	Reference   string `json:"reference,omitempty"` // the acquirer's
	At          int64  `json:"at"`                  // Unix seconds
	// Declines says of a card that payments with it will be declined.
	Declines bool `json:"declines,omitempty"`
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

// ledger keeps the payments: a journal, or a table.
type ledger interface {
	get(ctx context.Context, key string) (p Payment, ok bool, err error)
	// record makes p the payment of its key if the key has none, and returns
	// the payment that the key has then.
	record(ctx context.Context, p Payment) (is Payment, made bool, err error)
	// refund pays back what a key was charged, or has it never be charged.
	refund(ctx context.Context, key string) (Payment, error)
}

// service charges cards.
type service struct {
	ledger     ledger
	acquirer   acquirer
	ready, run func(context.Context) error // of the program; nil: nothing to do
}

// payment is what became of a key, or a 404.
func (s service) payment(ctx context.Context, key string) (Payment, error) {
	p, ok, err := s.ledger.get(ctx, key)
	if err == nil && !ok {
		err = httpserve.Errorf(http.StatusNotFound, "no_such_payment", "nothing was paid with the key %.64q", key)
	}
	return p, err
}

// pay charges a card, unless something has become of the key already.
func (s service) pay(ctx context.Context, key, card string, amount int64) (p Payment, made bool, err error) {
	wanted := Payment{Key: key, AmountCents: amount, LastFour: card[len(card)-4:]}
	if wanted.Status, wanted.Reference, err = s.acquirer.decide(ctx, key, card); err != nil {
		return Payment{}, false, err
	}
	if p, made, err = s.ledger.record(ctx, wanted); err != nil {
		return Payment{}, false, err
	}
	if p.Status != cancelled && (p.AmountCents != wanted.AmountCents || p.LastFour != wanted.LastFour) {
		return Payment{}, false, httpserve.Errorf(http.StatusUnprocessableEntity, "key_reused",
			"the key was used for another payment: %d cents with the card ending in %s", p.AmountCents, p.LastFour)
	}
	return p, made, nil
}
