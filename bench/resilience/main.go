// Command resilience overloads a service behind the gateway, and breaks its replicas, and counts what clients see of it.
//
//	go run ./bench/resilience overload [-duration 10s] [-rounds 3]
//	go run ./bench/resilience failures [-duration 20s] [-rounds 3]
//
// Replicas are processes of their own on loopback. Requests arrive at random (Poisson) at a fixed rate, whatever has been
// answered, and their latency counts from the instant at which each was due. The gateway runs in this process. Both
// variants run in turn, in each round, and the table has the medians; all rounds are printed as they end.
//
// overload: two replicas share the last core of the machine, which nothing else of the benchmark may use. A request is
// work for the processor (SHA-256 over and over), exponentially distributed around 5 ms; replicas take any number at once
// and go on with those whose client has gone, as most servers do. What they can do is measured first, with 16 requests at
// a time; offered is three times that, with and without 'adaptive: {}'. Good is what was answered 200 within half a second
// of when it was due.
//
// failures: each replica has eight workers; a request keeps one for some 5 ms, by a timer, so that the processor is not what
// is measured. One replica of eight is killed, one stopped (SIGSTOP), and one answers 500, all at once, a second after load
// has begun and until its end; once with and once without retries, breakers and a time-out for each try. Nothing checks the
// replicas: what the gateway knows of them it learns from requests.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "resilience:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want overload or failures")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	duration := flags.Duration("duration", map[bool]time.Duration{true: 10 * time.Second, false: 20 * time.Second}[args[0] == "overload"], "of each run")
	rounds := flags.Int("rounds", 3, "of both variants")
	mean := flags.Duration("mean", 0, "of a replica's work, for its own use")
	spin := flags.Bool("spin", false, "the replica works on the last core rather than by a timer, for its own use")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "replica":
		return replica(*mean, *spin)
	case "overload":
		return overload(ctx, out, *duration, *rounds)
	case "failures":
		return failures(ctx, out, *duration, *rounds)
	}
	return fmt.Errorf("%q: want overload or failures", args[0])
}

const workers = 8

// replica serves until its standard input ends.
func replica(mean time.Duration, spin bool) error {
	work := func(d time.Duration) { time.Sleep(d) }
	places := make(chan struct{}, workers)
	if spin {
		if err := pin(runtime.NumCPU()-1, runtime.NumCPU()); err != nil {
			return err
		}
		runtime.GOMAXPROCS(1)
		work, places = hashing(), make(chan struct{}, 100_000)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	var broken atomic.Bool
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/break" {
				broken.Store(true)
				return
			}
			if broken.Load() {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			places <- struct{}{}
			work(time.Duration(rand.ExpFloat64() * float64(mean)))
			<-places
			_, _ = w.Write(make([]byte, 1024))
		}))
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// fleet is a set of replicas behind a gateway.
type fleet struct {
	gate     *gateway.Gateway
	replicas []*exec.Cmd
	address  []string
	end      func()
}

func start(ctx context.Context, n int, mean time.Duration, spin bool, in topology.Inbound) (*fleet, error) {
	sys := &topology.System{
		Listen:   "127.0.0.1:0",
		Services: map[string]*topology.Service{"web": {Inbound: in}},
		Routes:   []*topology.Route{{Name: "web", Path: "/", To: "web", Inbound: in}},
	}
	g, err := gateway.New(gateway.Config{System: sys, FullTierOnly: true})
	if err != nil {
		return nil, err
	}
	f := &fleet{gate: g}
	var inputs []io.Closer
	for i := range n {
		cmd := exec.CommandContext(ctx, os.Args[0], "replica", "-mean", mean.String(), fmt.Sprintf("-spin=%v", spin))
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("starting a replica: %w", err)
		}
		inputs = append(inputs, in)
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("reading a replica's address: %w", err)
		}
		f.replicas, f.address = append(f.replicas, cmd), append(f.address, strings.TrimSpace(line))
		id := fmt.Sprintf("web-%d", i)
		g.Add("web", gateway.Backend{ID: id, Address: f.address[i]})
		g.SetReady("web", id, true)
	}
	if err := g.Listen(); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- g.Run(running) }()
	f.end = func() {
		cancel()
		<-done
		for i, cmd := range f.replicas {
			_ = inputs[i].Close()
			_ = cmd.Process.Signal(syscall.SIGCONT)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	return f, nil
}

// seen is what clients saw.
type seen struct {
	mu      sync.Mutex
	latency *stats.Histogram
	all     int
	good    int // answered 200 within the time that counts
	refused int // answered 503
	failed  int // anything else than 200
}

// offer sends requests at a rate; what was due before skip is not counted.
func (f *fleet) offer(ctx context.Context, rate float64, duration, skip, within time.Duration) *seen {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}, Timeout: 10 * time.Second}
	url := "http://" + f.gate.Addr().String() + "/"
	s := &seen{latency: stats.NewHistogram(3)}
	begin := time.Now()
	due := begin
	var sent sync.WaitGroup
	for ctx.Err() == nil {
		due = due.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
		if due.Sub(begin) > duration {
			break
		}
		time.Sleep(time.Until(due))
		at, counts := due, due.Sub(begin) > skip
		sent.Go(func() {
			status := 0
			if res, err := client.Get(url); err == nil {
				if _, err := io.Copy(io.Discard, res.Body); err == nil {
					status = res.StatusCode
				}
				_ = res.Body.Close()
			}
			took := time.Since(at)
			if !counts {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all++
			switch {
			case status == http.StatusOK:
				s.latency.RecordDuration(took)
				if took <= within {
					s.good++
				}
			case status == http.StatusServiceUnavailable:
				s.refused++
				s.failed++
			default:
				s.failed++
			}
		})
	}
	sent.Wait()
	client.CloseIdleConnections()
	return s
}
