package main

import (
	"net/http"
	"strings"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// reservation is the body of the requests by which a workflow carries an order
// through: it pays by itself, so no card is in it.
type reservation struct {
	Key        string   `json:"key"`
	Cart       string   `json:"cart"`
	Items      []item   `json:"items"`
	Customer   Customer `json:"customer"`
	LastFour   string   `json:"last_four"`
	TotalCents int64    `json:"total_cents"`
	Reference  string   `json:"reference"`
}

// reservations adds the requests of workflows. Each may be repeated; a release
// makes the key final, so that a reservation that comes late is refused.
func (s *service) reservations(mux *http.ServeMux) {
	handle := func(path string, f func(*http.Request, reservation) (Order, bool, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var body reservation
			err := httpserve.ReadJSON(r, &body)
			if err == nil && !validKey.MatchString(body.Key) {
				err = httpserve.Errorf(http.StatusUnprocessableEntity, "bad_key", "key: want 16 to 128 letters, digits, - and _")
			}
			var o Order
			var made bool
			if err == nil {
				o, made, err = f(r, body)
			}
			switch {
			case err != nil:
				httpserve.WriteError(w, err)
			case made:
				httpserve.WriteJSON(w, http.StatusCreated, o)
			default:
				httpserve.WriteJSON(w, http.StatusOK, o)
			}
		})
	}
	handle("/reservations", s.handleReserve)
	handle("/reservations/confirm", func(r *http.Request, b reservation) (Order, bool, error) {
		o, err := s.book.settle(r.Context(), settle{ID: orderID(b.Key), Status: confirmed, Reference: b.Reference})
		return mustBe(o, confirmed, err)
	})
	handle("/reservations/release", func(r *http.Request, b reservation) (Order, bool, error) {
		o, err := s.book.void(r.Context(), orderID(b.Key), s.now().UnixMilli())
		return mustBe(o, cancelled, err)
	})
}

// mustBe refuses an order that was settled otherwise.
func mustBe(o Order, status string, err error) (Order, bool, error) {
	if err == nil && o.Status != status {
		err = httpserve.Errorf(http.StatusConflict, "settled", "the order is %s", o.Status)
	}
	return o, false, err
}

func (s *service) handleReserve(r *http.Request, b reservation) (Order, bool, error) {
	// Only the last digits of the card are known here; the rest is for the check.
	body := request{Cart: b.Cart, Items: b.Items, Customer: b.Customer, Card: strings.Repeat("0", 12) + b.LastFour, TotalCents: b.TotalCents}
	if len(b.LastFour) != 4 {
		return Order{}, false, httpserve.Errorf(http.StatusUnprocessableEntity, "invalid", "last_four: want four digits")
	}
	if err := body.check(); err != nil {
		return Order{}, false, err
	}
	wanted, editions, known, err := s.wanted(r.Context(), b.Key, body)
	if err != nil {
		return Order{}, false, err
	}
	wanted.Held = true
	if err := wanted.atTotal(body.TotalCents, known); err != nil {
		return Order{}, false, err
	}
	o, made, err := s.book.reserve(r.Context(), wanted, body.print(), editions)
	if err == nil && (o.Status == cancelled || o.Status == declined) {
		err = httpserve.Errorf(http.StatusConflict, "cancelled", "the order was cancelled before it was reserved")
	}
	return o, made, err
}
