package main

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

var validKey = regexp.MustCompile(`^[A-Za-z0-9_-]{8,128}$`)

const maxAmount = 100_000_000 // cents

func (s service) service() httpserve.Service {
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
		p, err := s.payment(r.Context(), r.PathValue("key"))
		if err == nil && p.Status == card {
			err = httpserve.Errorf(http.StatusNotFound, "no_such_payment", "this is no payment")
		}
		return p, false, err
	})
	s.workflowRoutes(handle)
	handle("POST /payments/{key}/resolve", func(r *http.Request) (Payment, bool, error) {
		key := r.PathValue("key")
		if err := checkKey(key); err != nil {
			return Payment{}, false, err
		}
		p, _, err := s.ledger.record(r.Context(), Payment{Key: key, Status: cancelled})
		return p, false, err
	})
	return httpserve.Service{Handler: mux, Ready: s.ready, Run: s.run}
}

func (s service) handlePay(r *http.Request) (Payment, bool, error) {
	var body struct {
		AmountCents int64  `json:"amount_cents"`
		Card        string `json:"card"`
	}
	key, err := keyed(r, &body)
	if err != nil {
		return Payment{}, false, err
	}
	if err := checkAmount(body.AmountCents); err != nil {
		return Payment{}, false, err
	}
	number, err := cardNumber(body.Card)
	if err != nil {
		return Payment{}, false, err
	}
	return s.pay(r.Context(), key, number, body.AmountCents)
}

// cardNumber takes out what people write between the digits.
func cardNumber(text string) (string, error) {
	number := strings.Map(func(c rune) rune {
		if c == ' ' || c == '-' {
			return -1
		}
		return c
	}, text)
	if !validCard(number) {
		return "", httpserve.Errorf(http.StatusUnprocessableEntity, "bad_card", "this is not the number of a card")
	}
	return number, nil
}

// keyed reads the body of a request that may be sent again under its Idempotency-Key.
func keyed(r *http.Request, body any) (key string, err error) {
	key = r.Header.Get("Idempotency-Key")
	if err := checkKey(key); err != nil {
		return "", err
	}
	return key, httpserve.ReadJSON(r, body)
}

func checkAmount(cents int64) error {
	if cents < 1 || cents > maxAmount {
		return httpserve.Errorf(http.StatusUnprocessableEntity, "bad_amount", "amount_cents is %d: want 1 to %d", cents, maxAmount)
	}
	return nil
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
