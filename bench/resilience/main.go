//go:build linux

// Command resilience overloads a service behind the gateway, and breaks its replicas, and counts what clients see of it.
//
//	go run ./bench/resilience overload [-work timer,processor] [-duration 20s] [-rounds 3] [-full]
//	go run ./bench/resilience failures [-duration 20s] [-rounds 1] [-full]
//
// Replicas are processes of their own on loopback. Requests arrive at random (Poisson) at a fixed rate, whatever has been
// answered, and their latency counts from the instant at which each was due. The gateway runs in this process. Variants run
// in turn in each round; the tables have the medians. Nothing runs for longer than its time and a minute: what does is an error.
//
// overload offers three times what two replicas can do, with and without 'adaptive: {}'. Good is what was answered 200 within
// half a second of when it was due. Requests are worked on even where their client has gone, as in most servers. With -work
// timer each replica has eight workers, and a request keeps one for an exponentially distributed time around 40 ms; those
// that find all busy wait in line. With -work processor a request is SHA-256 over and over, exponentially distributed around
// 5 ms; each replica takes any number at once, and both share the last core of the machine, which the rest of the benchmark
// stays off. What they can do is measured first, by 16 requests at a time past the gateway.
//
// failures kills one replica of eight, stops one (SIGSTOP), and has one answer 500, all at once, a second after load has begun
// and until its end; once with and once without retries, breakers and a time-out for each try. Work is by a timer, some 5 ms.
// Nothing checks the replicas: what the gateway knows of them it learns from requests.
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
	"runtime"
	"sync/atomic"
	"time"
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
	rounds := flags.Int("rounds", 1, "of all variants")
	kinds := flags.String("work", "timer,processor", "what a request of overload does: timer, processor or both")
	mean := flags.Duration("mean", 0, "of a replica's work, for its own use")
	core := flags.Int("core", -1, "that a replica works on rather than by a timer, for its own use")
	full := flags.Bool("full", false, "have net/http carry all, and not the fast tier")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "replica":
		return replica(*mean, *core)
	case "overload":
		return overload(ctx, out, *kinds, *full, *duration, *rounds)
	case "failures":
		return failures(ctx, out, *full, *duration, *rounds)
	}
	return fmt.Errorf("%q: want overload or failures", args[0])
}

// workers is how many requests a replica that works by a timer works on at once.
const workers = 8

// replica serves until its standard input ends.
func replica(mean time.Duration, core int) error {
	work := func(d time.Duration) { time.Sleep(d) }
	places := make(chan struct{}, workers)
	if core >= 0 {
		if err := pin(core, core+1); err != nil {
			return err
		}
		runtime.GOMAXPROCS(1)
		work, places = hashing(), make(chan struct{}, 1_000_000)
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
