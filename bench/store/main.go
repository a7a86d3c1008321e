// Command store holds the tables of banyan store beside PostgreSQL and Redis on the same work in one run, and then three nodes of them beside
// three of etcd: items of 1 KB, 64 clients, every write on disk before it is acknowledged. It needs Debian's packages postgresql,
// redis-server and etcd-server.
//
//	go run ./bench/store              all of it, in rounds that take turns
//	go run ./bench/store -only banyan only our own, for profiles; nodes: three of them
//	go run ./bench/store death        a node of three is killed (SIGKILL) under load, again and again: how long the others' clients wait
//	go run ./bench/store faults       nodes are killed, stopped, cut off, damaged and robbed of their disks, at random, and a history of all requests is held against what is promised
//	go run ./bench/store idle         what nodes of a cluster use while nobody asks them anything
//	go run ./bench/store items        ten million items of 1 KB on one node: loading, memory, disk, reads, coming back
//	go run ./bench/store splits       the ranges of three nodes are split under load, up to sixteen; then one is hot, until the nodes split it by themselves
//
// It prints operations per second, per second of the server's CPU, and the 50th and 99th percentile of latency. PostgreSQL is loaded by
// pgbench (prepared statements, one row for each key) and Redis by redis-benchmark, both written in C; ours by a client in Go that
// speaks HTTP with the headers that an AWS SDK sends; etcd's speaks gRPC. All share the machine's cores with what they load.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// options of a run.
type options struct {
	clients, keys, rounds int
	length                time.Duration
	only, binary          string
	dir                   string
}

// outcome of one phase on one server.
type outcome struct {
	operations int
	took, cpu  time.Duration
	p50, p99   time.Duration
}

func (o outcome) rate() float64 { return float64(o.operations) / o.took.Seconds() }

func (o outcome) perCPU() float64 { return float64(o.operations) / max(o.cpu.Seconds(), 0.001) }

// peer is a server under load.
type peer interface {
	name() string
	// run carries out one of the phases: write, read or mixed (95 reads to 5 writes).
	run(ctx context.Context, phase string, o options) (outcome, error)
	phases() []string
	stop()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/store:", err)
		os.Exit(1)
	}
}

// run does what the arguments say: a command, or the comparison with other servers.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "death":
			return death(ctx, args[1:])
		case "faults":
			return faults(ctx, args[1:])
		case "idle":
			return idle(ctx, args[1:])
		case "items":
			return items(ctx, args[1:])
		case "splits":
			return splits(ctx, args[1:])
		}
	}
	var o options
	flag.IntVar(&o.clients, "clients", 64, "clients at once")
	flag.IntVar(&o.keys, "keys", 100_000, "different keys")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; medians are printed")
	flag.DurationVar(&o.length, "for", 8*time.Second, "length of a phase")
	flag.StringVar(&o.only, "only", "", "only these, such as banyan,redis")
	flag.StringVar(&o.binary, "binary", "", "banyan program (default: built)")
	flag.Parse()
	return bench(ctx, o)
}

func bench(ctx context.Context, o options) (err error) {
	if o.dir, err = os.MkdirTemp("", "bench-store-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if err := os.Chmod(o.dir, 0o755); err != nil { // for PostgreSQL, which refuses to run as root
		return err
	}
	o.binary, err = program(o.dir, o.binary)
	if err != nil {
		return err
	}
	fmt.Printf("%d clients, %d keys, items of 1 KB, %d rounds of %s each; medians\n", o.clients, o.keys, o.rounds, o.length)
	only := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range only {
		if !slices.ContainsFunc(compared, func(c comparison) bool { return c.has(name) }) {
			return fmt.Errorf("-only %s: expected banyan, postgresql, redis, nodes or etcd", name)
		}
	}
	for _, c := range compared {
		if err := c.run(ctx, o, only); err != nil {
			return err
		}
	}
	return nil
}

// comparison is of servers that take turns. The first is ours.
type comparison []struct {
	name  string
	start func(context.Context, options) (peer, error)
}

var compared = []comparison{
	{{"banyan", startBanyan}, {"postgresql", startPostgres}, {"redis", startRedis}},
	{{"nodes", startNodes}, {"etcd", startEtcd}},
}

func (c comparison) has(name string) bool {
	for _, p := range c {
		if p.name == name {
			return true
		}
	}
	return false
}

// run compares those that are asked for, or all.
func (c comparison) run(ctx context.Context, o options, only []string) error {
	var peers []peer
	for _, each := range c {
		if len(only) > 0 && !slices.Contains(only, each.name) {
			continue
		}
		p, err := each.start(ctx, o)
		if err != nil {
			return fmt.Errorf("starting %s: %w", each.name, err)
		}
		defer p.stop()
		peers = append(peers, p)
	}
	for _, phase := range []string{"write", "read", "mixed"} {
		results := make([][]outcome, len(peers))
		for range o.rounds {
			for i, p := range peers {
				if !slices.Contains(p.phases(), phase) {
					continue
				}
				r, err := p.run(ctx, phase, o)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", p.name(), phase, err)
				}
				results[i] = append(results[i], r)
			}
		}
		printPhase(phase, peers, results)
	}
	return nil
}

func median(all []outcome, of func(outcome) float64) float64 {
	values := make([]float64, len(all))
	for i, r := range all {
		values[i] = of(r)
	}
	slices.SortFunc(values, cmp.Compare)
	return values[len(values)/2]
}

func printPhase(phase string, peers []peer, results [][]outcome) {
	if !slices.ContainsFunc(results, func(r []outcome) bool { return len(r) > 0 }) {
		return
	}
	what := map[string]string{"write": "writes (PutItem, single-row upsert, SET, Put)", "read": "reads (GetItem, SELECT, GET)", "mixed": "95 reads to 5 writes"}[phase]
	fmt.Printf("\n%-46s %12s %18s %10s %10s   of it the first's per s, per CPU-s\n", what, "per second", "per CPU-second", "p50 ms", "p99 ms")
	for i, p := range peers {
		r := results[i]
		if len(r) == 0 {
			continue
		}
		rate, per := median(r, outcome.rate), median(r, outcome.perCPU)
		fmt.Printf("%-46s %12.0f %18.0f %10.2f %10.2f", p.name(), rate, per,
			median(r, func(o outcome) float64 { return o.p50.Seconds() * 1000 }), median(r, func(o outcome) float64 { return o.p99.Seconds() * 1000 }))
		if i > 0 && len(results[0]) > 0 {
			fmt.Printf("   %.2f, %.2f", median(results[0], outcome.rate)/rate, median(results[0], outcome.perCPU)/per)
		}
		fmt.Println()
	}
}
