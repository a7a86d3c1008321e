// Command worker is a service whose behaviour is data: the variable WORK says, step by step, what a request does to it.
// The topologies beside it are made of it. They are for finding out what a planner knows, for trying out faults, and
// for drawing up a system before its programs are written.
//
//	WORK="cpu 1ms; acquire 4; wait 20ms exp; release; call db 0.3; call a|b"
//
//	cpu 2ms [exp|erlang] uses so much CPU time: of the thread's own clock, so that a slow or shared core changes nothing
//	wait 20ms [exp|erlang]  does nothing for so long
//	call NAME [0.3]      calls a service, always or in a share of the requests
//	call A|B|C           calls services at the same time
//	shard A B C          calls the one of them that the key belongs to
//	get NAME             reads the item of the key from a table
//	put NAME 1000        writes it, of so many bytes
//	cache 200            answers at once if the key is among so many least recently used ones
//	fail 5%              answers 503 in a share of the requests
//	acquire 4, release   takes one of so many permits of this replica, and gives it back
//	lock, unlock         the same with one permit
//
// exp makes a time exponentially distributed, erlang the sum of four such parts, which varies half as much. The key is the last element of the request's path. A call that fails makes
// the request fail with 502. Numbers are bounded: times to a minute, permits and keys to a million, steps to a hundred.
package main

import (
	"errors"
	"net/http"
	"os"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func main() {
	os.Exit(httpserve.Main("worker", 8095, func(env httpserve.Env) (httpserve.Service, error) {
		steps, err := parse(os.Getenv("WORK"))
		if err != nil {
			return httpserve.Service{}, err
		}
		w := newWorker(steps)
		for _, name := range w.calls() {
			url, err := env.URL(name, 0)
			if err != nil {
				return httpserve.Service{}, err
			}
			w.clients[name] = httpserve.NewClient(name, url, callTimeout)
		}
		if w.asksTables() {
			w.tables = &tables{endpoint: os.Getenv("AWS_ENDPOINT_URL_DYNAMODB"), client: &http.Client{Timeout: callTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
			if w.tables.endpoint == "" {
				return httpserve.Service{}, errors.New("AWS_ENDPOINT_URL_DYNAMODB is not set: a service that asks tables has them in 'uses'")
			}
		}
		return httpserve.Service{Handler: w}, nil
	}))
}
