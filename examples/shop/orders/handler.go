package main

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// A key shorter than this could be guessed, and the order with it.
var validKey = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)

const (
	maxItems    = 50
	maxQuantity = 99
	maxText     = 300 // bytes of a name or an address
)

func (s *service) service() httpserve.Service {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", s.handlePlace)
	s.reservations(mux)
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		o, ok, err := s.book.get(r.Context(), r.PathValue("id"))
		if err == nil && !ok {
			err = httpserve.Errorf(http.StatusNotFound, "no_such_order", "there is no order %.40q", r.PathValue("id"))
		}
		if err != nil {
			httpserve.WriteError(w, err)
			return
		}
		httpserve.WriteJSON(w, http.StatusOK, o)
	})
	mux.HandleFunc("GET /stock/{product}", func(w http.ResponseWriter, r *http.Request) {
		product, err := strconv.Atoi(r.PathValue("product"))
		if err != nil {
			httpserve.WriteError(w, httpserve.Errorf(http.StatusBadRequest, "bad_product", "%.20q is not the number of a product", r.PathValue("product")))
			return
		}
		stock, err := s.book.stock(r.Context(), product)
		if err != nil {
			httpserve.WriteError(w, err)
			return
		}
		httpserve.WriteJSON(w, http.StatusOK, stock)
	})
	return httpserve.Service{
		Handler: mux,
		Ready:   s.ready,
		Run:     s.run,
	}
}

// run sweeps until ctx ends, and does what else the program has to.
func (s *service) run(ctx context.Context) error {
	sweeping, stop := context.WithCancel(ctx)
	var sweeper sync.WaitGroup
	sweeper.Go(func() { s.keepSweeping(sweeping) })
	var err error
	if s.beside != nil {
		err = s.beside(ctx)
	} else {
		<-ctx.Done()
	}
	stop()
	sweeper.Wait()
	return err
}

func (s *service) keepSweeping(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *service) handlePlace(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	var body request
	err := func() error {
		if !validKey.MatchString(key) {
			return httpserve.Errorf(http.StatusBadRequest, "bad_key",
				"Idempotency-Key: want 16 to 128 letters, digits, - and _, a new one for each order")
		}
		if err := httpserve.ReadJSON(r, &body); err != nil {
			return err
		}
		return body.check()
	}()
	if err != nil {
		httpserve.WriteError(w, err)
		return
	}
	o, made, err := s.place(r.Context(), key, body)
	switch {
	case err != nil:
		httpserve.WriteError(w, err)
	case o.Status == declined:
		httpserve.WriteError(w, httpserve.Errorf(http.StatusPaymentRequired, "declined", "the card was declined; nothing was charged"))
	case o.Status == cancelled:
		httpserve.WriteError(w, httpserve.Errorf(http.StatusConflict, "cancelled", "the order was cancelled before it was paid; nothing was charged"))
	case made:
		httpserve.WriteJSON(w, http.StatusCreated, o)
	default:
		httpserve.WriteJSON(w, http.StatusOK, o)
	}
}

func (r *request) check() error {
	invalid := func(format string, args ...any) error {
		return httpserve.Errorf(http.StatusUnprocessableEntity, "invalid", format, args...)
	}
	if len(r.Items) > maxItems {
		return invalid("%d items, the most is %d", len(r.Items), maxItems)
	}
	seen := map[int]bool{}
	for _, i := range r.Items {
		if i.Product < 1 || i.Quantity < 1 || i.Quantity > maxQuantity || seen[i.Product] {
			return invalid("items: want each product_id once, with a quantity from 1 to %d", maxQuantity)
		}
		seen[i.Product] = true
	}
	for _, field := range []struct {
		name     string
		text     *string
		required bool
	}{
		{"cart", &r.Cart, false},
		{"name", &r.Customer.Name, true},
		{"email", &r.Customer.Email, true},
		{"address", &r.Customer.Address, true},
	} {
		*field.text = strings.TrimSpace(*field.text)
		if len(*field.text) > maxText || *field.text == "" && field.required {
			return invalid("%s: want 1 to %d bytes", field.name, maxText)
		}
	}
	if at := strings.IndexByte(r.Customer.Email, '@'); at < 1 || at == len(r.Customer.Email)-1 {
		return invalid("email: %.60q is no address", r.Customer.Email)
	}
	r.Card = strings.Join(strings.Fields(strings.ReplaceAll(r.Card, "-", " ")), "")
	if len(r.Card) < 12 || len(r.Card) > 19 || strings.Trim(r.Card, "0123456789") != "" {
		return invalid("card: want its number, 12 to 19 digits")
	}
	return nil
}
