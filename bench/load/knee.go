//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// kneeTarget is one target whose knee is searched for.
type kneeTarget struct {
	name    string
	slo     string
	about   float64 // where the sweep looks for the knee, per second
	formula float64 // the knee by formula; 0: there is none
	start   func() (cfg load.Config, stop func(), err error)
}

// A single server with exponential service times, first come first served: the response time is exponential with rate
// mu - lambda (M/M/1), so that its 99th percentile is at the limit where lambda = mu - ln(100)/limit.
const (
	sinkRate  = 1000
	sinkLimit = 100 * time.Millisecond
)

// slowAcquirer holds the shop back where its processors do not: payments takes two at once, each for 40 ms, and all that
// comes are checkouts, evenly spaced, so that its queue grows from 49 requests/s on and is empty below. A processor's speed
// drifts by a quarter within minutes on a shared host, and the knee of the shop as it is drifts with it; so did that of
// Poisson arrivals at an acquirer of 15 ms, whose 99th percentile was processors' work for the most part: 79 to 97/s in one
// search. The limit is one of the 90th percentile, for of the 500 requests of a probe one per cent are five, which any pause of a
// tenth of a second makes late. One replica of each that has a journal: where two share one, the other reads it anew after it was compacted,
// which takes most of a second.
const slowAcquirer = `
services:
  payments: {env: {ACQUIRER_DELAY: 40ms}, concurrency: 2, replicas: {min: 1, max: 1}}
  orders: {replicas: {min: 1, max: 1}}
  cart: {replicas: {min: 1, max: 1}}
workload: {arrivals: constant, mix: {browse: 0%, search: 0%, checkout: 100%}}
`

func kneeTargets() []kneeTarget {
	sink := sinkRate - math.Log(100)/sinkLimit.Seconds()
	return []kneeTarget{
		{"server", "p99<100ms", sink, sink, startSink},
		{"nginx", "p99<250ms,errors<1%", 290, 0, func() (load.Config, func(), error) {
			n, err := startNginx(nginxLimited(300, 100))
			if err != nil {
				return load.Config{}, nil, err
			}
			return getting(n.url, n.stop)
		}},
		{"shop", "p99<250ms,errors<1%", 0, 0, func() (load.Config, func(), error) { return startShop("") }},
		{"acquirer", "p90<250ms,errors<1%", 0, 0, func() (load.Config, func(), error) { return startShop(slowAcquirer) }},
	}
}

// kneeOptions of the command.
type kneeOptions struct {
	repeats int
	probe   time.Duration
	targets string
	step    float64
	steps   int
}

// knee holds the search for the knee against a sweep: every rate of a grid about the knee is probed several times as the
// search probes it, and the knee of the sweep is the rate at which half of the probes hold. Searches and passes of the
// sweep take turns, so that a machine whose speed drifts is as slow for the one as for the other.
func knee(args []string) error {
	var o kneeOptions
	fl := flag.NewFlagSet("knee", flag.ExitOnError)
	fl.IntVar(&o.repeats, "repeats", 3, "searches of each target, and times that each rate of the sweep is probed")
	fl.DurationVar(&o.probe, "probe", 10*time.Second, "length of a probe")
	fl.StringVar(&o.targets, "targets", "server,nginx", "targets: server, nginx, shop, acquirer (the shop whose payments are slow)")
	fl.Float64Var(&o.step, "step", 0.025, "between the rates of the sweep, as a share")
	fl.IntVar(&o.steps, "steps", 4, "rates of the sweep on each side of where the knee is thought to be")
	_ = fl.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, t := range kneeTargets() {
		if !has(o.targets, t.name) {
			continue
		}
		if err := o.hold(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// hold searches and sweeps one target.
func (o kneeOptions) hold(ctx context.Context, t kneeTarget) error {
	cfg, stop, err := t.start()
	if err != nil {
		return err
	}
	defer stop()
	slo, err := load.ParseSLO(t.slo)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s, %s, probes of %s\n", t.name, t.slo, o.probe)
	var found []float64
	seed := uint64(1_000_000)
	swept := sweep{about: t.about, rates: 2*o.steps + 1, step: o.step}
	for i := range o.repeats {
		cfg.Seed = uint64(100 + i)
		k, err := load.FindKnee(ctx, load.KneeConfig{Config: cfg, SLO: slo, Probe: o.probe, Search: load.SearchOptions{Start: 50}, OnProbe: show})
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Printf("  search %d: %.1f/s (95%%: %.1f to %.1f), found %v, %d probes, %.0f s %s %s\n", i+1, k.Knee, k.Low, k.High, k.Found, len(k.Probes),
			k.End.Sub(k.Start).Seconds(), k.Why, strings.Join(k.Warnings, "; "))
		if k.Knee <= 0 {
			continue
		}
		found = append(found, k.Knee)
		if swept.about == 0 {
			swept.about = k.Knee
		}
		if err := swept.pass(func(rate float64) (bool, error) {
			// Not twice the same, or the idempotency keys of one probe are those of another, which the shop refuses.
			seed++
			return o.holds(ctx, cfg, t.slo, rate, seed)
		}); err != nil {
			return err
		}
	}
	o.conclude(t, found, swept.knee())
	return nil
}

// getting is a load of GETs for one address.
func getting(url string, stop func()) (load.Config, func(), error) {
	w, target, err := load.AdHoc(url, load.AdHocOptions{Rate: 1, Timeout: 5 * time.Second})
	if err != nil {
		stop()
		return load.Config{}, nil, err
	}
	return load.Config{Target: target, Workload: w}, stop, nil
}

func show(p load.KneeProbe) {
	fmt.Printf("    %8.1f/s %-10s p99 %-8s %s\n", p.Rate, p.Verdict, micro(p.P99), p.Why)
}

// conclude prints how far the searches are from the truth, and from each other.
func (o kneeOptions) conclude(t kneeTarget, found []float64, swept float64) {
	if len(found) == 0 {
		fmt.Println("  no search has found a knee")
		return
	}
	mean, spread := 0.0, 0.0
	for _, k := range found {
		mean += k / float64(len(found))
	}
	for _, k := range found {
		spread += (k - mean) * (k - mean) / float64(max(len(found)-1, 1))
	}
	off := func(truth float64) string {
		if truth == 0 {
			return "unknown"
		}
		worst := 0.0
		for _, k := range found {
			worst = max(worst, math.Abs(k/truth-1))
		}
		return fmt.Sprintf("%.1f/s (mean %+.1f%%, worst %.1f%%)", truth, 100*(mean/truth-1), 100*worst)
	}
	fmt.Printf("  mean of %d searches %.1f/s, deviation between them %.1f%%; by the sweep %s; by formula %s\n", len(found), mean, 100*math.Sqrt(spread)/mean, off(swept), off(t.formula))
}

// sweep probes the rates of a grid about a rate, again and again.
type sweep struct {
	about, step float64
	rates       int
	held        []float64 // for each rate, the passes in which it held
	passes      int
}

func (s *sweep) rate(i int) float64 { return s.about * (1 + s.step*float64(i-s.rates/2)) }

// pass probes each rate once, upward and downward in turn.
func (s *sweep) pass(holds func(rate float64) (bool, error)) error {
	if s.held == nil {
		s.held = make([]float64, s.rates)
	}
	for k := range s.rates {
		i := k
		if s.passes%2 == 1 {
			i = s.rates - 1 - k
		}
		ok, err := holds(s.rate(i))
		if err != nil {
			return err
		}
		if ok {
			s.held[i]++
		}
	}
	s.passes++
	fmt.Printf("  sweep after %d:", s.passes)
	for i, n := range s.held {
		fmt.Printf(" %.0f/s %.0f", s.rate(i), n)
	}
	fmt.Println()
	return nil
}

// knee returns the rate at which half of the probes hold: where the smoothed share of those that held crosses a half.
func (s *sweep) knee() float64 {
	share := make([]float64, len(s.held))
	for i, n := range s.held {
		share[i] = n / float64(s.passes)
	}
	falling(share)
	for i := range share {
		if share[i] > 0.5 {
			continue
		}
		if i == 0 || share[i-1] == share[i] {
			return s.rate(i)
		}
		return s.rate(i-1) + (s.rate(i)-s.rate(i-1))*(share[i-1]-0.5)/(share[i-1]-share[i])
	}
	return s.rate(len(share) - 1)
}

// falling makes x the nearest sequence that never rises (pool adjacent violators: M. Ayer et al., 1955).
func falling(x []float64) {
	type block struct{ sum, n float64 }
	var blocks []block
	for _, v := range x {
		b := block{v, 1}
		for len(blocks) > 0 {
			last := blocks[len(blocks)-1]
			if last.sum/last.n >= b.sum/b.n {
				break
			}
			b = block{b.sum + last.sum, b.n + last.n}
			blocks = blocks[:len(blocks)-1]
		}
		blocks = append(blocks, b)
	}
	i := 0
	for _, b := range blocks {
		for range int(b.n) {
			x[i] = b.sum / b.n
			i++
		}
	}
}

// holds runs one probe and lets the target rest after it.
func (o kneeOptions) holds(ctx context.Context, cfg load.Config, slo string, rate float64, seed uint64) (bool, error) {
	w := *cfg.Workload
	w.Users, w.Stages, w.Trace = 0, nil, nil
	w.Rate, w.Duration, w.Warmup = topology.Rate(rate), topology.Duration(o.probe), topology.Duration(o.probe/5)
	w.Thresholds = strings.Split(slo, ",")
	cfg.Workload, cfg.Seed = &w, seed
	r, err := load.Run(ctx, cfg)
	if err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	time.Sleep(time.Second)
	return r.OK(), nil
}
