// Command cart keeps the shopping carts.
//
//	GET    /carts/{cart}                     its items; an unknown cart is empty
//	POST   /carts/{cart}/items               {"product_id": 7, "quantity": 2} adds
//	DELETE /carts/{cart}/items/{product}     takes a product out
//	DELETE /carts/{cart}?version=N           empties it, if nothing changed since N
//
// Its replicas share one table, if their environment names an endpoint of
// tables (AWS_ENDPOINT_URL_DYNAMODB), and one journal otherwise: each reads and
// writes every cart. The other choices for files were a cart signed into the
// cookie (no state at all, but an API client would have to carry it and could
// bring back an old one), and a file for each cart (simple, but an fsync and a
// rename for every change, where the journal shares one fsync among all that
// wait).
package main

import (
	"context"
	"os"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/tables"
)

// The tables must answer within so long when the program starts.
const openTime = 5 * time.Second

func main() {
	os.Exit(httpserve.Main("cart", 8092, func(env httpserve.Env) (httpserve.Service, error) {
		s, err := open(env)
		if err != nil {
			return httpserve.Service{}, err
		}
		return s.service(), nil
	}))
}

// open finds where the carts are kept.
func open(env httpserve.Env) (service, error) {
	client, err := tables.Open(env.Getenv)
	if err != nil {
		return service{}, err
	}
	if client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), openTime)
		defer cancel()
		s, err := openTable(ctx, client)
		return service{store: s}, err
	}
	s, err := openJournal(env.Data, env.Log)
	if err != nil {
		return service{}, err
	}
	return service{store: s, ready: func(context.Context) error { return s.journal.Err() }, run: s.journal.Run}, nil
}
