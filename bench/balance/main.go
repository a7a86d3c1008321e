// Command balance compares balancing policies over backends of which one is slow.
//
//	go run ./bench/balance [-rate 800] [-duration 5s] [-rounds 2] [-policies p2c-ewma,prequal,round-robin,least-request]
//
// The gateway is Banyan's own, with its own HTTP; the backends are HTTP servers on loopback in this process. A backend
// has a number of workers, and each request keeps one for an exponentially distributed time with the given mean, by a
// timer and not by work, so that the processor of this machine is not what is measured; those that find all busy
// wait in line. One backend's mean is longer by the given factor. Requests arrive at random (Poisson) at the given rate,
// whatever has been answered, and their latency counts from the instant at which each was due. Retries and breakers
// are off: it is the choice of the backend that is compared.
//
// Rounds of all policies are interleaved, each round's policies in another order; the first fifth of each run is not
// counted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

type options struct {
	backends int
	workers  int
	service  time.Duration
	slower   float64
	rate     float64
	duration time.Duration
	rounds   int
	policies []topology.Balance
}

// tally is what one policy's runs gave.
type tally struct {
	latency *stats.Histogram
	failed  int64 // other than answered with 200
	slow    int64 // requests that the slow backend was given
	all     int64 // and those given to any
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "balance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	tallies := map[topology.Balance]*tally{}
	for _, p := range o.policies {
		tallies[p] = &tally{latency: stats.NewHistogram(3)}
	}
	for round := range o.rounds {
		for k := range o.policies {
			p := o.policies[(k+round)%len(o.policies)]
			if err := o.measure(ctx, p, uint64(round), tallies[p]); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, p, err)
			}
		}
	}
	fmt.Fprintf(out, "%d backends of %d workers, %v on average, one of them %gx as slow; %g requests/s for %d x %v\n\n",
		o.backends, o.workers, o.service, o.slower, o.rate, o.rounds, o.duration)
	fmt.Fprintf(out, "%-22s %9s %9s %9s %9s %9s %9s %7s\n", "policy", "requests", "p50", "p90", "p99", "p99.9", "to slow", "failed")
	for _, p := range o.policies {
		t := tallies[p]
		q := func(q float64) string { return fmt.Sprintf("%.1fms", float64(t.latency.Quantile(q))/1e6) }
		fmt.Fprintf(out, "%-22s %9d %9s %9s %9s %9s %8.2f%% %7d\n", p, t.latency.Count(), q(0.5), q(0.9), q(0.99), q(0.999),
			100*float64(t.slow)/float64(max(t.all, 1)), t.failed)
	}
	return nil
}

func parse(args []string) (*options, error) {
	o := &options{}
	var policies string
	f := flag.NewFlagSet("balance", flag.ContinueOnError)
	f.IntVar(&o.backends, "backends", 10, "backends, the slow one included")
	f.IntVar(&o.workers, "workers", 16, "requests that a backend handles at once")
	f.DurationVar(&o.service, "service", 10*time.Millisecond, "mean time of a request at a backend")
	f.Float64Var(&o.slower, "slower", 10, "how many times as long a request takes at the slow backend")
	f.Float64Var(&o.rate, "rate", 800, "requests a second")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "length of one run")
	f.IntVar(&o.rounds, "rounds", 2, "runs of each policy")
	f.StringVar(&policies, "policies", "p2c-ewma,prequal,round-robin,least-request", "policies to compare, or all")
	if err := f.Parse(args); err != nil {
		return nil, fmt.Errorf("reading the flags: %w", err)
	}
	if policies == "all" {
		o.policies = topology.Balances()
	} else {
		for name := range strings.SplitSeq(policies, ",") {
			o.policies = append(o.policies, topology.Balance(strings.TrimSpace(name)))
		}
	}
	if o.backends < 1 || o.backends > 1000 || o.workers < 1 || o.service <= 0 || o.slower <= 0 || o.rate <= 0 || o.rate > 1e5 ||
		o.duration <= 0 || o.duration > time.Hour || o.rounds < 1 {
		return nil, errors.New("a flag is out of its range: want numbers above 0, at most 1,000 backends, 100,000 requests/s and 1h")
	}
	return o, nil
}

// server is one backend.
type server struct {
	http    *http.Server
	address string
	workers chan struct{}
	mean    time.Duration
	served  atomic.Int64
}

func startServer(workers int, mean time.Duration, serving *sync.WaitGroup) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for a backend: %w", err)
	}
	s := &server{address: l.Addr().String(), workers: make(chan struct{}, workers), mean: mean}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	serving.Go(func() { _ = s.http.Serve(l) }) // returns when it is closed
	return s, nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.served.Add(1)
	select {
	case s.workers <- struct{}{}:
		defer func() { <-s.workers }()
	case <-r.Context().Done():
		return
	}
	timer := time.NewTimer(time.Duration(rand.ExpFloat64() * float64(s.mean)))
	defer timer.Stop()
	select {
	case <-timer.C:
		_, _ = io.WriteString(w, "done\n") // a client that is gone is counted where it is
	case <-r.Context().Done():
	}
}

// measure runs one policy once, with backends and a gateway of its own.
func (o *options) measure(ctx context.Context, p topology.Balance, seed uint64, into *tally) error {
	in := topology.Inbound{Balance: p, Timeout: topology.Duration(30 * time.Second)}
	g, err := gateway.New(gateway.Config{System: &topology.System{
		Listen:   "127.0.0.1:0",
		Services: map[string]*topology.Service{"web": {Inbound: in}},
		Routes:   []*topology.Route{{Name: "all", Path: "/", To: "web", Inbound: in}},
	}})
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	var servers []*server
	defer func() {
		for _, s := range servers {
			_ = s.http.Close()
		}
	}()
	for i := range o.backends {
		mean := o.service
		if i == 0 {
			mean = time.Duration(float64(mean) * o.slower)
		}
		s, err := startServer(o.workers, mean, &serving)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		id := fmt.Sprint("web-", i)
		g.Add("web", gateway.Backend{ID: id, Address: s.address})
		g.SetReady("web", id, true)
	}
	if err := g.Listen(); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	serving.Go(func() { ended <- g.Run(running) })
	counted := o.offer(ctx, "http://"+g.Addr().String()+"/", seed, into)
	for i, s := range servers {
		into.all += s.served.Load()
		if i == 0 {
			into.slow += s.served.Load()
		}
	}
	stop()
	return errors.Join(counted, <-ended)
}

// offer sends the requests when they are due, and waits for all answers.
func (o *options) offer(ctx context.Context, url string, seed uint64, into *tally) error {
	transport := &http.Transport{MaxIdleConnsPerHost: 4096}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 40 * time.Second}
	rng := rand.New(rand.NewPCG(seed, 77))
	recorder := stats.NewRecorder(3)
	var failed atomic.Int64
	var flying sync.WaitGroup
	defer flying.Wait()
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due := time.Duration(0); due < o.duration; due += time.Duration(rng.ExpFloat64() / o.rate * float64(time.Second)) {
		timer.Reset(due - time.Since(start))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		flying.Go(func() {
			ok := get(ctx, client, url)
			switch took := time.Since(start) - due; {
			case due < o.duration/5:
			case !ok:
				failed.Add(1)
				fallthrough
			default:
				recorder.Record(took)
			}
		})
	}
	flying.Wait()
	into.failed += failed.Load()
	return into.latency.Merge(recorder.Snapshot())
}

func get(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode == http.StatusOK
}
