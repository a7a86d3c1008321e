// Command gateway compares Banyan's gateway with other HTTP/1.1 proxies on this machine.
//
//	go run ./bench/gateway [-parts throughput,latency,idle] [-peers banyan,haproxy,nginx] [-rounds 3] [-seconds 3]
//	                       [-conns 64,1000] [-bodies 1,64] [-idle 10000] [-cores 2]
//
// All proxies stand in front of the same backend, an nginx that answers with files of 1 KB and 64 KB, and are driven by
// wrk over keep-alive connections, one after the other in each round, each round in another order. All share the
// machine's cores with the backend and with wrk, so that what counts is not requests per second but requests per second of
// processor time that the proxy's processes used (user and system, from /proc). Medians over the rounds are printed.
//
// Peers: banyan (both tiers), banyan-full (the full tier alone), haproxy, nginx, caddy where it is installed, reverseproxy
// (net/http/httputil, as a stand-in for Go proxies). nginx, haproxy and wrk are Debian's packages; those that are not in
// the PATH are left out. nginx and haproxy get as many workers as Banyan gets processors, keep-alive to the backend, and
// add X-Forwarded-For, as Banyan does. Everything is written to a directory in the system's place for temporary files, and
// removed at the end.
//
// throughput drives each with all that wrk has. latency drives each at the same rate, half of what the slowest of the
// first three peers could carry, and compares with the backend alone. idle opens connections, asks for one answer on each, and
// reads the memory that the proxy then has: its own (RSS), and what the kernel's slabs and TCP hold more than before.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
)

type options struct {
	parts   []string
	peers   []string
	rounds  int
	seconds int
	conns   []int
	bodies  []int
	idle    int
	cores   int
	rate    int
	backend string
	also    []*peer
}

func main() {
	if kind := os.Getenv(childEnv); kind != "" {
		if err := child(kind, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "gateway bench, child:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gateway bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("gateway", flag.ContinueOnError)
	parts := f.String("parts", "throughput,latency,idle", "what to measure")
	peers := f.String("peers", strings.Join(allPeers, ","), "what to compare")
	conns := f.String("conns", "64,1000", "client connections")
	bodies := f.String("bodies", "1,64", "sizes of the answers in KB")
	f.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement")
	f.IntVar(&o.seconds, "seconds", 3, "seconds of each run")
	f.IntVar(&o.idle, "idle", 10_000, "idle connections")
	f.IntVar(&o.cores, "cores", 2, "workers of each proxy")
	f.IntVar(&o.rate, "rate", 0, "requests per second of the latency part; 0: half of what the slowest of banyan, haproxy and nginx can carry")
	f.Func("also", "one more proxy, which runs already and has the bench's backend behind it: name=host:port,pid", func(s string) error {
		name, rest, _ := strings.Cut(s, "=")
		address, pid, _ := strings.Cut(rest, ",")
		n, err := strconv.Atoi(pid)
		o.also = append(o.also, &peer{name, address, n})
		return err
	})
	f.StringVar(&o.backend, "backend", "", "address of the backend, host:port; by default a free one")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.parts, o.peers = strings.Split(*parts, ","), strings.Split(*peers, ",")
	for _, list := range []struct {
		text string
		to   *[]int
	}{{*conns, &o.conns}, {*bodies, &o.bodies}} {
		for _, s := range strings.Split(list.text, ",") {
			n, err := strconv.Atoi(s)
			if err != nil || n <= 0 {
				return nil, fmt.Errorf("%q: want numbers above 0, separated by commas", list.text)
			}
			*list.to = append(*list.to, n)
		}
	}
	for _, p := range o.parts {
		if !slices.Contains([]string{"throughput", "latency", "idle"}, p) {
			return nil, fmt.Errorf("no part %q: want throughput, latency or idle", p)
		}
	}
	if o.rounds < 1 || o.seconds < 1 || o.cores < 1 || o.idle < 1 {
		return nil, errors.New("rounds, seconds, cores and idle must be above 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lab := &lab{options: o, dir: dir, out: out}
	defer lab.stop()
	if err := lab.start(ctx); err != nil {
		return err
	}
	began := time.Now()
	for _, part := range o.parts {
		switch part {
		case "throughput":
			err = lab.throughput(ctx)
		case "latency":
			err = lab.latency(ctx)
		case "idle":
			err = lab.idleMemory(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	fmt.Fprintf(out, "\nmeasured in %v\n", time.Since(began).Round(time.Second))
	return nil
}
