// Command catalog knows the products of the shop: two thousand of them, made by
// rule, the same in every replica and at every start. It is read-only and keeps
// no file. Search is an inverted index in memory.
//
//	GET /products?limit=&offset=&category=   a page of them
//	GET /products?featured=N                 today's choice
//	GET /products?ids=1,2,3                  these
//	GET /products/{id}                       one
//	GET /search?q=&category=&limit=          by words, best first
package main

import (
	"os"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func main() {
	os.Exit(httpserve.Main("catalog", 8091, func(httpserve.Env) (httpserve.Service, error) {
		c, err := newCatalog(generate(productCount))
		if err != nil {
			return httpserve.Service{}, err
		}
		return httpserve.Service{Handler: c.handler()}, nil
	}))
}
