package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// workflowRoutes are the requests by which a workflow pays: with a token that
// stands for a card, as its number may not be kept by anybody, and with a
// status for a card that was declined.
func (s service) workflowRoutes(handle func(pattern string, f func(*http.Request) (Payment, bool, error))) {
	handle("POST /cards", s.handleCard)
	handle("POST /charges", s.handleCharge)
	handle("POST /payments/{key}/refund", func(r *http.Request) (Payment, bool, error) {
		key := r.PathValue("key")
		if err := checkKey(key); err != nil {
			return Payment{}, false, err
		}
		p, err := s.ledger.refund(r.Context(), key)
		return p, false, err
	})
}

// handleCard gives a card a token that follows from the Idempotency-Key. What
// is kept is the last four digits, and what the acquirer will say.
func (s service) handleCard(r *http.Request) (Payment, bool, error) {
	var body struct {
		Card string `json:"card"`
	}
	key, err := keyed(r, &body)
	if err != nil {
		return Payment{}, false, err
	}
	number, err := cardNumber(body.Card)
	if err != nil {
		return Payment{}, false, err
	}
	status, _, err := s.acquirer.decide(r.Context(), key, number)
	if err != nil {
		return Payment{}, false, err
	}
	sum := sha256.Sum256([]byte("card of " + key))
	wanted := Payment{Key: "tok_" + hex.EncodeToString(sum[:16]), Status: card, LastFour: number[len(number)-4:], Declines: status != approved}
	p, made, err := s.ledger.record(r.Context(), wanted)
	if err == nil && (p.Status != card || p.LastFour != wanted.LastFour) {
		err = httpserve.Errorf(http.StatusUnprocessableEntity, "key_reused", "the key was used for another card")
	}
	return p, made, err
}

// handleCharge charges the card of a token: 402 if it is declined.
func (s service) handleCharge(r *http.Request) (Payment, bool, error) {
	var body struct {
		AmountCents int64  `json:"amount_cents"`
		Token       string `json:"token"`
	}
	key, err := keyed(r, &body)
	if err != nil {
		return Payment{}, false, err
	}
	if err := checkAmount(body.AmountCents); err != nil {
		return Payment{}, false, err
	}
	c, err := s.payment(r.Context(), body.Token)
	if err != nil || c.Status != card {
		if err == nil || httpserve.IsStatus(err, http.StatusNotFound) {
			err = httpserve.Errorf(http.StatusUnprocessableEntity, "bad_token", "there is no such card")
		}
		return Payment{}, false, err
	}
	wanted := Payment{Key: key, AmountCents: body.AmountCents, LastFour: c.LastFour, Status: approved, Reference: "acq-" + key}
	if c.Declines {
		wanted.Status, wanted.Reference = declined, ""
	}
	p, made, err := s.ledger.record(r.Context(), wanted)
	switch {
	case err != nil:
	case p.Status == declined:
		err = httpserve.Errorf(http.StatusPaymentRequired, "declined", "the card was declined; nothing was charged")
	case p.Status != approved:
		err = httpserve.Errorf(http.StatusConflict, "cancelled", "the payment was %s", p.Status)
	case p.AmountCents != wanted.AmountCents || p.LastFour != wanted.LastFour:
		err = httpserve.Errorf(http.StatusUnprocessableEntity, "key_reused", "the key was used for another payment")
	}
	return p, made, err
}
