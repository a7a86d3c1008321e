// Command web is what a buyer sees of the shop: pages made on the server, which
// need no script, and the same as a JSON API. It keeps no state; the cart's id
// is in a cookie.
//
//	GET  /                      featured products
//	GET  /search?q=&category=   what was found
//	GET  /product/{id}          one product
//	GET  /cart                  POST /cart adds, POST /cart/remove takes out
//	GET  /checkout              POST /checkout places the order
//	GET  /orders/{id}           the confirmation
//	GET  /assets/shop.css
//
//	GET  /api/products          GET /api/products/{id}     GET /api/search?q=
//	GET  /api/cart/{cart}       POST /api/cart/{cart}/items
//	POST /api/checkout          header Idempotency-Key     GET /api/orders/{id}
//
// A page costs one call to catalog and one to cart at most, and none where a
// cache has what they would answer (PRODUCTS_REDIS_URL, PAGES_REDIS_URL,
// SESSIONS_REDIS_URL; see cache.go). When cart does not
// answer, pages that only show its count are served without it; when a service
// that a page cannot do without does not answer, the buyer reads so, with
// status 503.
package main

import (
	"context"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func main() {
	os.Exit(httpserve.Main("web", 8090, func(env httpserve.Env) (httpserve.Service, error) {
		clients := map[string]*httpserve.Client{}
		for _, s := range []struct {
			name    string
			port    int
			timeout time.Duration
		}{
			{"catalog", 8091, 2 * time.Second},
			{"cart", 8092, 3 * time.Second},
			// Longer than orders itself goes on trying.
			{"orders", 8093, 12 * time.Second},
		} {
			url, err := env.URL(s.name, s.port)
			if err != nil {
				return httpserve.Service{}, err
			}
			clients[s.name] = httpserve.NewClient(s.name, url, s.timeout)
		}
		flow, err := newWorkflow(env)
		if err != nil {
			return httpserve.Service{}, err
		}
		redis.SetLogger(quiet{})
		caches, err := newCaches(env, cacheTime)
		if err != nil {
			return httpserve.Service{}, err
		}
		w, err := newWeb(backend{catalog: clients["catalog"], cart: clients["cart"], orders: clients["orders"], workflow: flow, caches: caches, sideTime: sideTime}, env.Log)
		if err != nil {
			return httpserve.Service{}, err
		}
		return httpserve.Service{Handler: w.handler(), Run: func(ctx context.Context) error {
			<-ctx.Done()
			return caches.close()
		}}, nil
	}))
}
