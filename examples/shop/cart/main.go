// Command cart keeps the shopping carts.
//
//	GET    /carts/{cart}                     its items; an unknown cart is empty
//	POST   /carts/{cart}/items               {"product_id": 7, "quantity": 2} adds
//	DELETE /carts/{cart}/items/{product}     takes a product out
//	DELETE /carts/{cart}?version=N           empties it, if nothing changed since N
//
// Its replicas share one journal: each reads and writes every cart. The other
// choices were a cart signed into the cookie (no state at all, but an API
// client would have to carry it and could bring back an old one), and a file
// for each cart (simple, but an fsync and a rename for every change, where the
// journal shares one fsync among all that wait).
package main

import (
	"os"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func main() {
	os.Exit(httpserve.Main("cart", 8092, func(env httpserve.Env) (httpserve.Service, error) {
		s, err := openStore(env.Data, env.Log)
		if err != nil {
			return httpserve.Service{}, err
		}
		return s.service(), nil
	}))
}
