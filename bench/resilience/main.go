// Command resilience overloads a service behind the gateway, and breaks its replicas, and counts what clients see of it.
//
//	go run ./bench/resilience overload [-duration 20s]
//	go run ./bench/resilience failures [-duration 20s]
//
// Replicas are processes of their own on loopback. Each has eight workers; a request keeps one for an exponentially
// distributed time, by a timer and not by work, so that the processor of this machine is not what is measured. Those that
// find all busy wait in line, and are worked on even where their client has gone, as in most servers. Requests arrive at
// random (Poisson) at a fixed rate, whatever has been answered, and their latency counts from the instant at which each was
// due. The gateway runs in this process.
//
// overload offers three times what the replicas can do, with and without 'adaptive: {}'. Good is what was answered 200
// within half a second of when it was due.
//
// failures kills one replica of eight, stops one (SIGSTOP), and has one answer 500, all at once, a second after load has begun and until its end; once
// with and once without retries, breakers and a time-out for each try. Nothing checks the replicas: what the gateway knows of
// them it learns from requests.
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
	duration := flags.Duration("duration", 20*time.Second, "of each run")
	mean := flags.Duration("mean", 0, "of a replica's work, for its own use")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "replica":
		return replica(*mean)
	case "overload":
		return overload(ctx, out, *duration)
	case "failures":
		return failures(ctx, out, *duration)
	}
	return fmt.Errorf("%q: want overload or failures", args[0])
}

const workers = 8

// replica serves until its standard input ends.
func replica(mean time.Duration) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	places := make(chan struct{}, workers)
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
			time.Sleep(time.Duration(rand.ExpFloat64() * float64(mean)))
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

func start(ctx context.Context, n int, mean time.Duration, in topology.Inbound) (*fleet, error) {
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
		cmd := exec.CommandContext(ctx, os.Args[0], "replica", "-mean", mean.String())
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

func overload(ctx context.Context, out io.Writer, duration time.Duration) error {
	const replicas, within = 2, 500 * time.Millisecond
	mean := 40 * time.Millisecond
	capacity := replicas * workers / mean.Seconds()
	fmt.Fprintf(out, "two replicas that can do %.0f requests a second together, offered %.0f\n\n", capacity, 3*capacity)
	fmt.Fprintln(out, "| | good of capacity | refused at once | p50 of what was answered | p99 |\n|---|---|---|---|---|")
	for _, with := range []bool{false, true} {
		in := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(5 * time.Second)}
		name := "without"
		if with {
			in.Adaptive = &topology.Adaptive{Initial: 20, Min: 20, Max: 200, Tolerance: 1.5}
			name = "`adaptive: {}`"
		}
		f, err := start(ctx, replicas, mean, in)
		if err != nil {
			return err
		}
		s := f.offer(ctx, 3*capacity, duration, duration/5, within)
		f.end()
		counted := duration.Seconds() * 4 / 5
		p50, p99 := "none was", "none was"
		if s.latency.Count() > 0 {
			p50, p99 = s.latency.QuantileDuration(0.5).Round(time.Millisecond).String(), s.latency.QuantileDuration(0.99).Round(time.Millisecond).String()
		}
		fmt.Fprintf(out, "| %s | %.1f %% | %.1f %% | %s | %s |\n", name, 100*float64(s.good)/(capacity*counted), 100*float64(s.refused)/float64(max(s.all, 1)), p50, p99)
	}
	return ctx.Err()
}

func failures(ctx context.Context, out io.Writer, duration time.Duration) error {
	const replicas, rate = 8, 300
	fmt.Fprintf(out, "eight replicas, of which one is killed, one stopped and one answers 500; %d requests a second for %v\n\n", rate, duration)
	fmt.Fprintln(out, "| | requests | errors | retries | p50 | p99 |\n|---|---|---|---|---|---|")
	for _, with := range []bool{false, true} {
		in := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(5 * time.Second)}
		name := "nothing"
		if with {
			in.TryTimeout = topology.Duration(250 * time.Millisecond)
			in.Retry = &topology.Retry{Attempts: 4, Budget: 0.2, MinPerSecond: 10, Backoff: topology.Duration(5 * time.Millisecond), On: []int{500, 502, 503, 504}}
			in.Breaker = &topology.Breaker{Failures: 5, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(30 * time.Second), MaxEjected: 0.5}
			name = "retries, breakers, `try_timeout: 250ms`"
		}
		f, err := start(ctx, replicas, 5*time.Millisecond, in)
		if err != nil {
			return err
		}
		hurt := make(chan error, 1)
		time.AfterFunc(time.Second, func() { hurt <- f.hurt() })
		s := f.offer(ctx, rate, duration+time.Second, 0, time.Hour)
		if err := <-hurt; err != nil {
			f.end()
			return err
		}
		retries := f.gate.Stats().Routes[0].Retries
		f.end()
		fmt.Fprintf(out, "| %s | %d | %d (%.3f %%) | %d (%.2f %%) | %v | %v |\n", name, s.all, s.failed, 100*float64(s.failed)/float64(max(s.all, 1)),
			retries, 100*float64(retries)/float64(max(s.all, 1)), s.latency.QuantileDuration(0.5).Round(100*time.Microsecond),
			s.latency.QuantileDuration(0.99).Round(100*time.Microsecond))
	}
	return ctx.Err()
}

// hurt breaks three replicas.
func (f *fleet) hurt() error {
	res, err := http.Get("http://" + f.address[2] + "/break")
	if err != nil {
		return fmt.Errorf("breaking a replica: %w", err)
	}
	_ = res.Body.Close()
	if err := f.replicas[1].Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping a replica: %w", err)
	}
	if err := f.replicas[0].Process.Kill(); err != nil {
		return fmt.Errorf("killing a replica: %w", err)
	}
	return nil
}
