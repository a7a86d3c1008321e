// Command orders places orders: it checks prices with catalog, reserves stock
// that can never be oversold, has payments charge the card, and confirms or
// releases. Everything it does for one Idempotency-Key makes one order.
//
//	POST /orders            header Idempotency-Key; places the order of the key
//	GET  /orders/{id}       an order
//	GET  /stock/{product}   how many pieces are reserved or sold
//
// An order is reserved, durably, before the card is charged, and its payment
// has the order's id as its key. So whoever finds a reservation without an
// outcome (a retry, another replica, the next start after a crash) may finish
// it: charging again gives the same answer, and settling again changes nothing.
package main

import (
	"os"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
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
		book, err := openBook(env.Data, env.Log)
		if err != nil {
			return httpserve.Service{}, err
		}
		s := &service{
			book:     book,
			catalog:  httpserve.NewClient("catalog", catalog, 2*time.Second),
			payments: httpserve.NewClient("payments", payments, 5*time.Second),
			log:      env.Log,
			now:      time.Now,
		}
		return s.service(), nil
	}))
}
