package main

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

var validKey = regexp.MustCompile(`^[A-Za-z0-9_-]{8,128}$`)

const maxAmount = 100_000_000 // cents

func (s *store) service() httpserve.Service {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (Payment, bool, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			p, made, err := f(r)
			if err != nil {
				httpserve.WriteError(w, err)
				return
			}
			status := http.StatusOK
			if made {
				status = http.StatusCreated
			}
			httpserve.WriteJSON(w, status, p)
		})
	}
	handle("POST /payments", s.handlePay)
	handle("GET /payments/{key}", func(r *http.Request) (Payment, bool, error) {
		p, err := s.get(r.PathValue("key"))
		return p, false, err
	})
	handle("POST /payments/{key}/resolve", func(r *http.Request) (Payment, bool, error) {
		key := r.PathValue("key")
		if err := checkKey(key); err != nil {
			return Payment{}, false, err
		}
		p, _, err := s.record(r.Context(), Payment{Key: key, Status: cancelled})
		return p, false, err
	})
	return httpserve.Service{
		Handler: mux,
		Ready:   func(context.Context) error { return s.journal.Err() },
		Run:     s.journal.Run,
	}
}

func (s *store) handlePay(r *http.Request) (Payment, bool, error) {
	var body struct {
		AmountCents int64  `json:"amount_cents"`
		Card        string `json:"card"`
	}
	key := r.Header.Get("Idempotency-Key")
	if err := checkKey(key); err != nil {
		return Payment{}, false, err
	}
	if err := httpserve.ReadJSON(r, &body); err != nil {
		return Payment{}, false, err
	}
	if body.AmountCents < 1 || body.AmountCents > maxAmount {
		return Payment{}, false, httpserve.Errorf(http.StatusUnprocessableEntity, "bad_amount",
			"amount_cents is %d: want 1 to %d", body.AmountCents, maxAmount)
	}
	card := strings.Map(func(c rune) rune {
		if c == ' ' || c == '-' {
			return -1
		}
		return c
	}, body.Card)
	if !validCard(card) {
		return Payment{}, false, httpserve.Errorf(http.StatusUnprocessableEntity, "bad_card", "this is not the number of a card")
	}
	return s.pay(r.Context(), key, card, body.AmountCents)
}

func checkKey(key string) error {
	if !validKey.MatchString(key) {
		return httpserve.Errorf(http.StatusBadRequest, "bad_key",
			"Idempotency-Key: want 8 to 128 letters, digits, - and _, a new one for each payment")
	}
	return nil
}

// validCard checks the length and the check digit (ISO/IEC 7812-1, annex B:
// the Luhn formula).
func validCard(number string) bool {
	if len(number) < 12 || len(number) > 19 {
		return false
	}
	sum := 0
	for i := range len(number) {
		d := int(number[len(number)-1-i]) - '0'
		if d < 0 || d > 9 {
			return false
		}
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
