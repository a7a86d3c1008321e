package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// What the live comparison plays. A payment takes 200 ms, one at a time, so that a replica makes five in a second and its
// processor is idle: how fast the machine is decides little. A replica serves 3 s after it was started, which are three
// minutes of the trace. Arrivals are evenly spaced: chance would weigh eight times as much in a sixtieth of the requests as it
// did in the traffic that was recorded.
const (
	lapse     = 60
	each      = 5.0  // payments a second that a replica makes
	peak      = 50.0 // of the checkouts, a second
	lead      = 45 * time.Minute
	climb     = time.Hour // over which the rise is the steepest
	tail      = 45 * time.Minute
	before    = 8 * 24 * time.Hour // of history, at most
	slow      = time.Second
	mayBeSlow = 0.01
)

const scaledPayments = `
services:
  payments:
    env: {ACQUIRER_DELAY: 200ms, START_DELAY: 3s}
    concurrency: 1
    replicas: {min: 2, max: 40}
    scale: {target: {requests: %.3f/s, utilization: %.1f%%}, predict: %v, history: %s}
workload: {mix: {browse: 0%%, search: 0%%, checkout: 100%%}}
`

// live plays the rise against each policy at several targets, and says what the cheapest of each that holds costs.
func live(args []string) error {
	fl := flag.NewFlagSet("live", flag.ExitOnError)
	folder := fl.String("traces", "../shared/traces", "`folder` of recorded traffic")
	name := fl.String("trace", "worldcup98_until_jun15_1m.csv.gz", "trace in it")
	hpa := fl.String("hpa", "0.5,0.6,0.7,0.8", "targets of Kubernetes' rule, as shares of what a replica makes")
	predictive := fl.String("predictive", "0.6,0.7,0.8,0.9", "targets of the predictive policy")
	_ = fl.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "banyan-bench-live-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "banyan")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/banyan").CombinedOutput(); err != nil {
		return fmt.Errorf("building banyan (run this in the repository): %w: %s", err, out)
	}
	rise, err := steepest(filepath.Join(*folder, *name))
	if err != nil {
		return err
	}
	fmt.Printf("%s from step %d: %.1f checkouts/s to %.1f/s within %v of the trace, which are %v here\n\n", *name, rise.at, rise.low, rise.high, climb, climb/lapse)
	fmt.Printf("%-12s %7s %16s %10s %10s %8s %7s\n", "POLICY", "TARGET", "REPLICA-SECONDS", "CHECKOUTS", "OVER 1s", "ERRORS", "HOLDS")
	best := map[bool]float64{}
	for _, p := range []struct {
		predict bool
		targets string
	}{{false, *hpa}, {true, *predictive}} {
		for text := range strings.SplitSeq(p.targets, ",") {
			target, err := strconv.ParseFloat(text, 64)
			if err != nil || !(target > 0 && target < 2) {
				return fmt.Errorf("target %q: want a share such as 0.7", text)
			}
			r, err := rise.play(ctx, dir, binary, p.predict, target)
			if err != nil {
				return err
			}
			fmt.Println(r)
			if r.holds() && (best[p.predict] == 0 || r.replicaSeconds < best[p.predict]) {
				best[p.predict] = r.replicaSeconds
			}
		}
	}
	if best[false] == 0 || best[true] == 0 {
		return errors.New("a policy held at none of its targets")
	}
	fmt.Printf("\npredictive over hpa, the cheapest of each that holds: %.3f\n", best[true]/best[false])
	return nil
}

// riseOf a trace, in checkouts a second.
type riseOf struct {
	rates     []float64 // all of the trace, scaled
	step      time.Duration
	at        int // step at which the steepest rise begins
	low, high float64
}

// steepest finds it, in means of five steps.
func steepest(file string) (*riseOf, error) {
	series, err := read(file)
	if err != nil {
		return nil, err
	}
	r := &riseOf{rates: series.Rates(), step: series.Step}
	for i, v := range r.rates {
		if math.IsNaN(v) && i > 0 {
			r.rates[i] = r.rates[i-1] // recorded gaps of a minute or two
		}
	}
	mean := func(i int) float64 {
		sum := 0.0
		for _, v := range r.rates[i-2 : i+3] {
			sum += v / 5
		}
		return sum
	}
	over, edge := int(climb/r.step), int(max(lead, tail)/r.step)+3
	for i := edge; i+over+edge < len(r.rates); i++ {
		if up := mean(i+over) - mean(i); up > r.high-r.low {
			r.at, r.low, r.high = i, mean(i), mean(i+over)
		}
	}
	if r.at == 0 {
		return nil, fmt.Errorf("%s is too short or never rises", file)
	}
	from, to := r.window()
	top := peak / slices.Max(r.rates[from:to])
	for i := range r.rates {
		r.rates[i] *= top
	}
	r.low, r.high = r.low*top, r.high*top
	return r, nil
}

// window of steps that are played.
func (r *riseOf) window() (from, to int) {
	return r.at - int(lead/r.step), r.at + int((climb+tail)/r.step)
}

// played is what one run cost and gave.
type played struct {
	policy         string
	target         float64
	replicaSeconds float64
	checkouts      int64
	over, failed   int64
}

func (p played) holds() bool {
	return float64(p.over+p.failed) <= mayBeSlow*float64(p.checkouts)
}

func (p played) String() string {
	return fmt.Sprintf("%-12s %6.0f%% %16.0f %10d %10d %8d %7v", p.policy, 100*p.target, p.replicaSeconds, p.checkouts, p.over, p.failed, p.holds())
}

// play runs the shop and the load of the rise on it.
func (r *riseOf) play(ctx context.Context, dir, binary string, predict bool, target float64) (p played, err error) {
	p = played{policy: "hpa", target: target}
	if predict {
		p.policy = "predictive"
	}
	state := filepath.Join(dir, fmt.Sprintf("%s-%.2f", p.policy, target))
	if err := os.MkdirAll(state, 0o755); err != nil {
		return p, err
	}
	history, over := filepath.Join(state, "history.csv"), filepath.Join(state, "over.yaml")
	if err := os.WriteFile(over, fmt.Appendf(nil, scaledPayments, each*target, min(100*target, 100), predict, history), 0o644); err != nil {
		return p, err
	}
	from, _ := r.window()
	if err := r.write(history, max(0, from-int(before/r.step)), from, true); err != nil {
		return p, err
	}
	files := []string{filepath.Join("examples", "shop", "banyan.yaml"), over}
	sys, err := topology.Load(files...)
	if err != nil {
		return p, err
	}
	banyan := func(verb ...string) error {
		args := append(verb, "--state", state)
		for _, f := range files {
			args = append(args, "-f", f)
		}
		if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("banyan %s: %w: %s", verb[0], err, out)
		}
		return nil
	}
	if err := banyan("up", "--detach", "--lapse", strconv.Itoa(lapse)); err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, banyan("down")) }()
	return p, r.load(ctx, sys, state, &p)
}

// load plays the window and counts what it took.
func (r *riseOf) load(ctx context.Context, sys *topology.System, state string, p *played) error {
	client := control.Dial(state)
	info, err := client.Info(ctx)
	if err != nil {
		return err
	}
	from, to := r.window()
	trace := filepath.Join(state, "trace.csv")
	if err := r.write(trace, from, to, false); err != nil {
		return err
	}
	w := *sys.Workload
	w.Users, w.Think, w.Arrivals = 0, 0, "constant"
	w.Trace = &topology.Trace{File: trace, Speed: lapse, Scale: 1.0 / lapse}
	w.Duration = topology.Duration(time.Duration(to-from) * r.step / lapse)
	watching, stop := context.WithCancel(ctx)
	cost := make(chan float64, 1)
	go func() { cost <- replicaSeconds(watching, client) }()
	result, err := load.Run(ctx, load.Config{Target: "http://" + info.Address, Workload: &w, Router: topology.NewRouter(sys.Routes), Dir: state, Seed: 1})
	stop()
	p.replicaSeconds = <-cost
	if err != nil {
		return err
	}
	for _, s := range result.Steps {
		if strings.Contains(s.Name, "/api/checkout") {
			p.checkouts, p.failed = s.Requests, s.Failed()
			p.over = s.Latency.CountAbove(int64(slow))
		}
	}
	if p.checkouts == 0 {
		return errors.New("no checkout was made")
	}
	return ctx.Err()
}

// replicaSeconds of payments until ctx ends: of all that are wanted, starting ones too.
func replicaSeconds(ctx context.Context, client *control.Client) (sum float64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return sum
		case now := <-tick.C:
			services, err := client.Replicas(ctx)
			if err != nil {
				continue // the next look counts for both
			}
			for _, s := range services {
				if s.Service == "payments" {
					sum += float64(s.Desired) * now.Sub(last).Seconds()
				}
			}
			last = now
		}
	}
}

// write makes a CSV file of some steps; as a history they end now.
func (r *riseOf) write(name string, from, to int, untilNow bool) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	start := time.Now().Add(-time.Duration(to-from) * r.step)
	_ = w.Write([]string{"time", "rate"}) // errors stay with the writer
	for i := from; i < to; i++ {
		at := time.Duration(i-from) * r.step
		when := strconv.FormatInt(int64(at.Seconds()), 10)
		if untilNow {
			when = start.Add(at).UTC().Format(time.RFC3339)
		}
		_ = w.Write([]string{when, strconv.FormatFloat(r.rates[i], 'g', 6, 64)})
	}
	w.Flush()
	return errors.Join(w.Error(), f.Close())
}
