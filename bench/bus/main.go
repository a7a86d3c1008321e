// Command bus compares banyan's queues with plain JetStream and with RabbitMQ, side by side in one run, and has an auditor
// watch while the process is killed again and again.
//
//	go run ./bench/bus [-rounds 3] [-time 5s] [-kills 200] [-leader] [-client both] [-iops N] [publish] [relaxed] [consume] [order] [schedule] [kills] [nodes]
//
// JetStream's server is built from the module that go.mod names; RabbitMQ takes part if rabbitmq-server is installed (Debian's
// package). All servers write to the same disk, and each client waits for each acknowledgement. With -iops the disk takes so many
// writes a second from all of them: what a server gains by syncing many messages at once depends on what a sync costs.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type options struct {
	rounds, producers, size, kills, iops int
	time                                 time.Duration
	dir, banyan, nats                    string
	leader                               bool
	also, client                         string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds, of which the median is told")
	flag.DurationVar(&o.time, "time", 5*time.Second, "length of a round")
	flag.IntVar(&o.producers, "producers", 64, "producers at once")
	flag.IntVar(&o.size, "size", 256, "bytes of a message")
	flag.IntVar(&o.kills, "kills", 200, "kills of the auditor's run")
	flag.IntVar(&o.iops, "iops", 0, "writes a second that the disk takes (by cgroups, as root); 0: all that it can")
	flag.BoolVar(&o.leader, "leader", false, "kill the node that leads, always")
	flag.StringVar(&o.also, "also", "", "another build of banyan, that takes part in publish and relaxed")
	flag.StringVar(&o.client, "client", "both", "of NATS, in publish and relaxed: lean, nats.go or both")
	flag.StringVar(&o.banyan, "banyan", "", "the build of banyan to measure (default: one is made)")
	flag.StringVar(&o.nats, "nats", "", "the build of nats-server to compare with (default: one is made)")
	flag.StringVar(&o.dir, "dir", "", "folder on the disk that is measured (default: a temporary one)")
	flag.Parse()
	if err := run(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/bus:", err)
		os.Exit(1)
	}
}

func run(o options, what []string) error {
	if len(o.natsClients()) == 0 {
		return fmt.Errorf("-client %q: expected lean, nats.go or both", o.client)
	}
	dir, err := os.MkdirTemp(o.dir, "bench-bus")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir
	for _, build := range []struct {
		binary    *string
		name, pkg string
	}{{&o.banyan, "banyan", "./cmd/banyan"}, {&o.nats, "nats-server", "github.com/nats-io/nats-server/v2"}} {
		if *build.binary != "" {
			continue
		}
		*build.binary = filepath.Join(dir, build.name)
		if text, err := exec.Command("go", "build", "-o", *build.binary, build.pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", build.name, err, text)
		}
	}
	if o.iops > 0 {
		release, err := slowDisk(dir, o.iops)
		if err != nil {
			return err
		}
		defer release()
	}
	all := []struct {
		name string
		run  func(options) error
	}{{"publish", publish}, {"relaxed", relaxed}, {"consume", consume}, {"order", order}, {"schedule", schedule}, {"kills", kills}, {"nodes", nodes}}
	for _, part := range all {
		if len(what) > 0 && !slices.Contains(what, part.name) {
			continue
		}
		if err := part.run(o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// figures of a round.
type figures struct {
	rate     float64 // a second
	p50, p99 time.Duration
	messages int
	cpu      time.Duration // of the server, while it was worked with; 0: not known
	own      time.Duration // CPU of the client, which is this process
	switches int           // between threads, of the server likewise
}

// contender is a server that takes part.
type contender struct {
	name  string
	start func(o options, dir string) (*process, error)
	work  func(ctx context.Context, p *process, o options) (figures, error)
}

// compete runs all contenders in turn, round after round, and prints the medians and their ratio to the first one.
func compete(o options, title string, contenders []contender) error {
	results := make([][]figures, len(contenders))
	for round := range o.rounds {
		for i, c := range contenders {
			f, err := c.round(o, fmt.Sprintf("%s-%d-%d", strings.ReplaceAll(title, " ", "-"), round, i))
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			results[i] = append(results[i], f)
		}
	}
	fmt.Printf("\n%s (median of %d rounds)\n%-34s %12s %10s %10s %8s %12s %12s %17s\n", title, o.rounds, "", "a second", "p50", "p99", "ratio", "CPU/message", "the client's", "switches/message")
	base := median(results[0], func(f figures) float64 { return f.rate })
	for i, c := range contenders {
		rate := median(results[i], func(f figures) float64 { return f.rate })
		fmt.Printf("%-34s %12.0f %10s %10s %8.2f %12s %12s %17s\n", c.name, rate, milliseconds(median(results[i], func(f figures) float64 { return float64(f.p50) })),
			milliseconds(median(results[i], func(f figures) float64 { return float64(f.p99) })), rate/base,
			cpuEach(results[i], func(f figures) time.Duration { return f.cpu }), cpuEach(results[i], func(f figures) time.Duration { return f.own }), switchesEach(results[i]))
	}
	return nil
}

// cpuEach is what a message costs a process; nothing where that is not known.
func cpuEach(all []figures, of func(figures) time.Duration) string {
	us := median(all, func(f figures) float64 { return float64(of(f).Microseconds()) / float64(max(f.messages, 1)) })
	if us == 0 {
		return ""
	}
	return fmt.Sprintf("%.1fus", us)
}

// switchesEach is how often a thread of the server's process stopped for each message.
func switchesEach(all []figures) string {
	each := median(all, func(f figures) float64 { return float64(f.switches) / float64(max(f.messages, 1)) })
	if each == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", each)
}

func milliseconds(ns float64) string { return fmt.Sprintf("%.2fms", ns/1e6) }

func median(all []figures, of func(figures) float64) float64 {
	values := make([]float64, 0, len(all))
	for _, f := range all {
		values = append(values, of(f))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (c contender) round(o options, name string) (f figures, err error) {
	dir := filepath.Join(o.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return f, err
	}
	p, err := c.start(o, dir)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.stop(), os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(context.Background(), o.time+time.Minute)
	defer cancel()
	cpu, own, switches := p.cpu(), cpuOf(os.Getpid()), p.switches()
	f, err = c.work(ctx, p, o)
	f.cpu, f.own, f.switches = p.cpu()-cpu, cpuOf(os.Getpid())-own, p.switches()-switches
	return f, err
}

// summarise turns latencies into figures.
func summarise(latencies []time.Duration, took time.Duration) figures {
	slices.SortFunc(latencies, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	if len(latencies) == 0 {
		return figures{}
	}
	return figures{messages: len(latencies), rate: float64(len(latencies)) / took.Seconds(), p50: latencies[len(latencies)/2], p99: latencies[len(latencies)*99/100]}
}
