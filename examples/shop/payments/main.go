// Command payments charges cards through a simulated acquirer, at most once for
// each idempotency key.
//
//	POST /payments                  header Idempotency-Key; charges, or says what
//	                                became of the key before
//	GET  /payments/{key}            what became of it
//	POST /payments/{key}/resolve    the same, and if nothing did, cancels the key
//	                                for good: a charge that comes late is refused
//
// And for workflows, which may keep no card's number:
//
//	POST /cards                     header Idempotency-Key; a token for a card
//	POST /charges                   the same as POST /payments with a token: 402 if declined
//	POST /payments/{key}/refund     pays back, or has the key never be charged
//
// The acquirer declines the cards whose number ends in 0002 and approves all
// others; ACQUIRER_DELAY (such as 20ms) makes it take its time, and START_DELAY
// the program until it serves, as one does that has much to load. As it is a
// simulation the charge and its record are one and the same; with a real
// acquirer the key would go to it too.
//
// The payments are in a table that the replicas share if their environment
// names an endpoint of tables (AWS_ENDPOINT_URL_DYNAMODB), and in a journal
// otherwise.
package main

import (
	"context"
	"os"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/tables"
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
		s, err := open(env)
		if err != nil {
			return httpserve.Service{}, err
		}
		s.acquirer = acquirer{delay: delay, after: time.After}
		return s.service(), nil
	}))
}

// open finds where the payments are kept.
func open(env httpserve.Env) (service, error) {
	client, err := tables.Open(env.Getenv)
	if err != nil {
		return service{}, err
	}
	if client != nil {
		return service{ledger: &tableLedger{client: client, now: time.Now}}, nil
	}
	l, err := openJournal(env.Data, env.Log)
	if err != nil {
		return service{}, err
	}
	return service{ledger: l, ready: func(context.Context) error { return l.journal.Err() }, run: l.journal.Run}, nil
}
