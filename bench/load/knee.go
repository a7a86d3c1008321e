//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
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
	sinkRate  = 300
	sinkLimit = 250 * time.Millisecond
)

func kneeTargets() []kneeTarget {
	sink := sinkRate - math.Log(100)/sinkLimit.Seconds()
	return []kneeTarget{
		{"server", "p99<250ms", sink, sink, startSink},
		{"nginx", "p99<250ms,errors<1%", 290, 0, func() (load.Config, func(), error) {
			n, err := startNginx(nginxLimited(300, 100))
			if err != nil {
				return load.Config{}, nil, err
			}
			return getting(n.url, n.stop)
		}},
		{"shop", "p99<250ms,errors<1%", 0, 0, startShop},
	}
}

// kneeOptions of the command.
type kneeOptions struct {
	repeats int
	sweeps  int
	probe   time.Duration
	targets string
	step    float64
	steps   int
}

// knee holds the search for the knee against a sweep: every rate of a grid about the knee is probed several times as the
// search probes it, and the knee of the sweep is the rate at which half of the probes hold.
func knee(args []string) error {
	var o kneeOptions
	fl := flag.NewFlagSet("knee", flag.ExitOnError)
	fl.IntVar(&o.repeats, "repeats", 3, "searches of each target")
	fl.IntVar(&o.sweeps, "sweeps", 2, "times that each rate of the sweep is probed")
	fl.DurationVar(&o.probe, "probe", 10*time.Second, "length of a probe")
	fl.StringVar(&o.targets, "targets", "server,nginx", "targets: server, nginx, shop")
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
		if k.Knee > 0 {
			found = append(found, k.Knee)
		}
	}
	about := t.about
	if about == 0 && len(found) > 0 {
		about = slices.Sorted(slices.Values(found))[len(found)/2]
	}
	swept, err := o.sweep(ctx, cfg, t.slo, about)
	if err != nil {
		return err
	}
	o.conclude(t, found, swept)
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

// sweep returns the rate at which half of the probes hold: where the smoothed share of those that held crosses a half.
func (o kneeOptions) sweep(ctx context.Context, cfg load.Config, slo string, about float64) (float64, error) {
	n := 2*o.steps + 1
	rates, held := make([]float64, n), make([]float64, n)
	for k := range o.sweeps {
		for i := range n {
			rates[i] = about * (1 + o.step*float64(i-o.steps))
			ok, err := o.holds(ctx, cfg, slo, rates[i], uint64(1000*k+i))
			if err != nil {
				return 0, err
			}
			if ok {
				held[i] += 1 / float64(o.sweeps)
			}
		}
	}
	fmt.Printf("  sweep:")
	for i := range n {
		fmt.Printf(" %.0f/s %.0f%%", rates[i], 100*held[i])
	}
	fmt.Println()
	falling(held)
	for i := range n {
		if held[i] <= 0.5 {
			switch {
			case i == 0:
				return rates[0], nil
			case held[i-1] == held[i]:
				return rates[i], nil
			}
			return rates[i-1] + (rates[i]-rates[i-1])*(held[i-1]-0.5)/(held[i-1]-held[i]), nil
		}
	}
	return rates[n-1], nil
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
