// Command orders places orders: it checks prices with catalog, reserves stock
// that can never be oversold, has payments charge the card, and confirms or
// releases. Everything it does for one Idempotency-Key makes one order.
//
//	POST /orders            header Idempotency-Key; places the order of the key
//	GET  /orders/{id}       an order
//	GET  /stock/{product}   how many pieces are reserved or sold
//
// Or a workflow carries the order through, with the order's key in each body:
//
//	POST /reservations          takes the pieces from the stock
//	POST /reservations/confirm  the order is paid
//	POST /reservations/release  it comes to nothing, whether it was reserved or not
//
// An order is reserved, durably, before the card is charged, and its payment
// has the order's id as its key. So whoever finds a reservation without an
// outcome (a retry, another replica, the next start after a crash) may finish
// it: charging again gives the same answer, and settling again changes nothing.
//
// Orders and stock are in tables if the environment names an endpoint of them
// (AWS_ENDPOINT_URL_DYNAMODB), and in a journal otherwise; the replicas share
// either.
package main

import (
	"context"
	"os"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/tables"
)

func main() {
	os.Exit(httpserve.Main("orders", 8093, func(env httpserve.Env) (httpserve.Service, error) {
		catalog, err := env.URL("catalog", 8091)
		if err != nil {
			return httpserve.Service{}, err
		}
		payments, err := env.URL("payments", 8094)
		if err != nil {
			return httpserve.Service{}, err
		}
		s, err := open(env)
		if err != nil {
			return httpserve.Service{}, err
		}
		s.catalog = httpserve.NewClient("catalog", catalog, 2*time.Second)
		s.payments = httpserve.NewClient("payments", payments, 5*time.Second)
		return s.service(), nil
	}))
}

// open finds where orders and stock are kept.
func open(env httpserve.Env) (*service, error) {
	s := &service{log: env.Log, now: time.Now}
	client, err := tables.Open(env.Getenv)
	if err != nil {
		return nil, err
	}
	if client != nil {
		s.book = &tableBook{client: client}
		return s, nil
	}
	b, err := openJournal(env.Data, env.Log)
	if err != nil {
		return nil, err
	}
	s.book, s.ready, s.beside = b, func(context.Context) error { return b.journal.Err() }, b.journal.Run
	return s, nil
}
