// Command payments charges cards through a simulated acquirer, at most once for
// each idempotency key.
//
//	POST /payments                  header Idempotency-Key; charges, or says what
//	                                became of the key before
//	GET  /payments/{key}            what became of it
//	POST /payments/{key}/resolve    the same, and if nothing did, cancels the key
//	                                for good: a charge that comes late is refused
//
// The acquirer declines the cards whose number ends in 0002 and approves all
// others; ACQUIRER_DELAY (such as 20ms) makes it take its time, and START_DELAY
// the program until it serves, as one does that has much to load. As it is a
// simulation the charge and its record are one and the same; with a real
// acquirer the key would go to it too.
package main

import (
	"os"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func main() {
	os.Exit(httpserve.Main("payments", 8094, func(env httpserve.Env) (httpserve.Service, error) {
		delay, err := env.Duration("ACQUIRER_DELAY", 0)
		if err != nil {
			return httpserve.Service{}, err
		}
		start, err := env.Duration("START_DELAY", 0)
		if err != nil {
			return httpserve.Service{}, err
		}
		time.Sleep(start)
		s, err := openStore(env.Data, env.Log, acquirer{delay: delay, after: time.After})
		if err != nil {
			return httpserve.Service{}, err
		}
		return s.service(), nil
	}))
}
