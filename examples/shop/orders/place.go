package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

const (
	// A checkout goes on for so long when its client has gone away.
	finishTime = 8 * time.Second
	// A reservation that is older than this has been left behind: whoever
	// made it has given up by then. Longer than finishTime.
	abandonedAfter = 15 * time.Second
	sweepEvery     = time.Second
	sweepAtOnce    = 100
)

// service places orders; see the package comment.
type service struct {
	book     book
	catalog  *httpserve.Client
	payments *httpserve.Client
	log      *slog.Logger
	now      func() time.Time

	ready  func(context.Context) error // of the program; nil: always
	beside func(context.Context) error // what runs beside the sweep; nil: nothing
}

// request is the body of POST /orders.
type request struct {
	Cart     string   `json:"cart"` // where the items come from, for the fingerprint
	Items    []item   `json:"items"`
	Customer Customer `json:"customer"`
	Card     string   `json:"card"`
	// What the buyer was shown; 0: whatever it costs.
	TotalCents int64 `json:"total_cents"`
}

type item struct {
	Product  int `json:"product_id"`
	Quantity int `json:"quantity"`
}

func (r request) lastFour() string { return r.Card[len(r.Card)-4:] }

func (r request) print() string {
	return fingerprint(r.Cart, r.Customer.Name, r.Customer.Email, r.Customer.Address, r.lastFour())
}

// place makes the order of a key, or finds the one that it made. made says
// which. The order returned is settled.
func (s *service) place(ctx context.Context, key string, r request) (o Order, made bool, err error) {
	wanted, editions, known, err := s.wanted(ctx, key, r)
	if err != nil {
		return Order{}, false, err
	}
	if err := wanted.atTotal(r.TotalCents, known); err != nil {
		return Order{}, false, err
	}
	if o, made, err = s.book.reserve(ctx, wanted, r.print(), editions); err != nil {
		return Order{}, false, err
	}
	if o.Status != pending {
		return o, made, nil
	}
	// From here on it is better to finish than to leave it to the sweep, even
	// if the client has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	o, err = s.charge(ctx, o, r.Card)
	return o, made, err
}

// wanted is the order that a request asks for, priced unless its key is known
// already, and how many pieces there are of what is in it.
func (s *service) wanted(ctx context.Context, key string, r request) (o Order, editions map[int]int64, known bool, err error) {
	o = Order{ID: orderID(key), Status: pending, Customer: r.Customer, LastFour: r.lastFour(), At: s.now().UnixMilli()}
	if _, known, err = s.book.get(ctx, o.ID); err != nil {
		return Order{}, nil, false, err
	}
	if known {
		for _, i := range r.Items {
			o.Lines = append(o.Lines, Line{Product: i.Product, Quantity: i.Quantity})
		}
	} else if o.Lines, editions, err = s.price(ctx, r.Items); err != nil {
		return Order{}, nil, false, err
	}
	for _, l := range o.Lines {
		o.TotalCents += l.PriceCents * int64(l.Quantity)
	}
	return o, editions, known, nil
}

// atTotal refuses a new order at another total than the buyer was shown; 0: any.
func (o Order) atTotal(shown int64, known bool) error {
	if !known && shown != 0 && shown != o.TotalCents {
		return httpserve.Errorf(http.StatusConflict, "price_changed", "the total is %d cents, not %d", o.TotalCents, shown)
	}
	return nil
}

// price asks catalog what the items cost and how many pieces there are.
func (s *service) price(ctx context.Context, items []item) ([]Line, map[int]int64, error) {
	if len(items) == 0 {
		return nil, nil, nil
	}
	ids := make([]string, len(items))
	for i := range items {
		ids[i] = strconv.Itoa(items[i].Product)
	}
	var answer struct {
		Products []struct {
			ID         int    `json:"id"`
			Name       string `json:"name"`
			PriceCents int64  `json:"price_cents"`
			Edition    int64  `json:"edition"`
		} `json:"products"`
	}
	if _, err := s.catalog.Do(ctx, httpserve.Call{Path: "/products?ids=" + strings.Join(ids, ","), Out: &answer}); err != nil {
		return nil, nil, err
	}
	lines := make([]Line, 0, len(items))
	editions := map[int]int64{}
	for _, i := range items {
		found := false
		for _, p := range answer.Products {
			if p.ID == i.Product {
				found = true
				lines = append(lines, Line{Product: p.ID, Name: p.Name, Quantity: i.Quantity, PriceCents: p.PriceCents})
				editions[p.ID] = p.Edition
				break
			}
		}
		if !found {
			return nil, nil, httpserve.Errorf(http.StatusUnprocessableEntity, "no_such_product", "there is no product %d", i.Product)
		}
	}
	return lines, editions, nil
}

// payment is what payments answers.
type payment struct {
	Status    string `json:"status"`
	Reference string `json:"reference"`
}

// charge has the card charged for a pending order and settles it. If payments
// gives no answer the order stays pending: a retry with the same key or the
// sweep will learn what became of the payment.
func (s *service) charge(ctx context.Context, o Order, card string) (Order, error) {
	var p payment
	_, err := s.payments.Do(ctx, httpserve.Call{
		Method: http.MethodPost, Path: "/payments", Key: o.ID, Out: &p,
		In: map[string]any{"amount_cents": o.TotalCents, "card": card},
	})
	var refused *httpserve.Error
	if errors.As(err, &refused) {
		// It was not even tried, such as for a mistyped number. Resolving the
		// key makes sure that it never will be.
		settled, err := s.resolve(ctx, o.ID)
		if err != nil {
			return Order{}, err
		}
		if settled.Status == cancelled {
			return Order{}, refused
		}
		return settled, nil
	}
	if err != nil {
		return Order{}, err
	}
	return s.settle(ctx, o.ID, p)
}

// resolve settles an order whose payment has no known outcome. payments
// decides, and cancels the key if it was never charged, so that a charge which
// is still on its way to it comes too late.
func (s *service) resolve(ctx context.Context, id string) (Order, error) {
	var p payment
	call := httpserve.Call{Method: http.MethodPost, Path: "/payments/" + id + "/resolve", Key: id, Out: &p}
	if _, err := s.payments.Do(ctx, call); err != nil {
		return Order{}, err
	}
	return s.settle(ctx, id, p)
}

func (s *service) settle(ctx context.Context, id string, p payment) (Order, error) {
	to := settle{ID: id, Reference: p.Reference}
	switch p.Status {
	case "approved":
		to.Status = confirmed
	case "declined":
		to.Status = declined
	case "cancelled":
		to.Status = cancelled
	default:
		return Order{}, &httpserve.Unavailable{Service: "payments", Err: errors.New("unknown status " + strconv.Quote(p.Status))}
	}
	return s.book.settle(ctx, to)
}

// sweep settles what was left behind: by a process that was killed between
// reserving and settling, or by a checkout that got no answer from payments.
// Every replica sweeps; that two settle the same order does no harm.
func (s *service) sweep(ctx context.Context) {
	ids, err := s.book.unsettledSince(ctx, s.now().Add(-abandonedAfter).UnixMilli(), sweepAtOnce)
	if err != nil {
		s.log.Error("looking for orders without an outcome", "error", err)
		return
	}
	for _, id := range ids {
		o, err := s.resolve(ctx, id)
		if err != nil {
			// The next sweep tries again; the rest would fail alike.
			s.log.Warn("an order without an outcome stays so", "order", id, "error", err)
			return
		}
		s.log.Info("settled an order that was left behind", "order", id, "status", o.Status)
	}
}
