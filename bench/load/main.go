//go:build linux

// Command load compares Banyan's load generator with its peers (wrk, hey, vegeta, fortio) and holds it to its own bars,
// on loopback.
//
//	go run ./bench/load [-rounds 3] [-duration 3s] [-only closed,open,stall]   # against one nginx process
//	go run ./bench/load knee [-repeats 3] [-targets server,nginx,shop]        # --find-knee against a sweep
//	go run ./bench/load scale                                                  # 10,000 connections, 20,000 users
//
// The first has three tables. closed: the generator's CPU time (user and system of the whole process) for a request, as
// fast as it goes, over a few numbers of connections. open: the same at a fixed rate, and how late requests were sent.
// stall: what each reports of a server that is stopped for a second in the middle of a run at a fixed rate, of which the
// truth is known. Generators run in turn and rounds are interleaved, so that a noisy machine treats all alike; the median
// round is shown.
//
// wrk, hey and nginx come from Debian's packages (apt-get install wrk hey nginx-light); vegeta and fortio are built from
// their Go modules in a temporary directory, with GOFLAGS=-mod=mod. What cannot be had is left out, with a line that says
// so.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

// options of all commands.
type options struct {
	duration    time.Duration
	rounds      int
	connections []int
	rates       []float64
	stallRate   float64
	only        string
	peers       string
}

func main() {
	args := os.Args[1:]
	command := "compare"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	if command != "child" {
		runtime.LockOSThread() // children die with the thread that started them
	}
	commands := map[string]func([]string) error{"compare": compare, "knee": knee, "scale": scale, "child": beBanyan, "sink": beSink}
	run, ok := commands[command]
	if !ok {
		fmt.Fprintf(os.Stderr, "bench/load: no command %q: want knee, scale or none\n", command)
		os.Exit(2)
	}
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "bench/load:", err)
		os.Exit(1)
	}
}

func compare(args []string) error {
	o := options{connections: []int{16, 64, 256}, rates: []float64{3000, 5000}}
	fl := flag.NewFlagSet("load", flag.ExitOnError)
	fl.DurationVar(&o.duration, "duration", 3*time.Second, "length of each run")
	fl.IntVar(&o.rounds, "rounds", 3, "rounds, of which the median is shown")
	fl.Float64Var(&o.stallRate, "stall-rate", 3000, "requests a second of the run in which the server stalls")
	fl.StringVar(&o.only, "only", "closed,open,stall", "tables to make")
	fl.StringVar(&o.peers, "peers", "wrk,hey,vegeta,fortio", "peers to compare with")
	_ = fl.Parse(args)
	n, err := startNginx(nginxPlain)
	if err != nil {
		return err
	}
	defer n.stop()
	gens, clean := generators(o.peers)
	defer clean()
	for _, table := range []struct {
		name string
		make func(options, []generator, *nginx) error
	}{{"closed", closedTable}, {"open", openTable}, {"stall", stallTable}} {
		if !has(o.only, table.name) {
			continue
		}
		if err := table.make(o, gens, n); err != nil {
			return fmt.Errorf("%s: %w", table.name, err)
		}
	}
	return nil
}
