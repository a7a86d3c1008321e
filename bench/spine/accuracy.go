package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// run is the part of a load test's record that is needed here.
type run struct {
	Name   string
	Result struct {
		Total struct {
			Requests int64
			Rate     float64
		}
		Scenarios struct{ Started int64 }
	}
}

type pair struct{ Predicted, Measured, Error float64 }

type comparison struct {
	Routes map[string]struct {
		Throughput, Mean, P99 pair
	}
	Machine    pair
	Throughput pair
	Validity   []string
}

// predict: calibrate at 30% of what the shop holds, predict 50% and 70%.
func predict(ctx context.Context, b *bench) error {
	if _, err := b.up(ctx); err != nil {
		return err
	}
	calibration := strings.TrimSuffix(strings.Split(b.file, ",")[0], ".yaml") + ".calibration.yaml"
	if _, err := os.Stat(calibration); err == nil {
		return fmt.Errorf("%s exists: move it away first", filepath.Base(calibration))
	}
	defer os.Remove(calibration)
	var full run
	if err := b.ask(ctx, &full, "load", "--users", "48", "--think", "0s", "--warmup", "3s", "--duration", "12s"); err != nil {
		return err
	}
	// A rate is of scenarios; the shop's scenarios have several steps.
	total := full.Result.Total
	capacity := total.Rate * float64(full.Result.Scenarios.Started) / float64(total.Requests)
	fmt.Printf("     holds %.0f requests/s with 48 users who do not think\n", total.Rate)
	rate := func(share float64) string { return fmt.Sprintf("%.1f/s", capacity*share) }
	if _, err := b.banyan(ctx, "load", "--rate", rate(0.3), "--warmup", "3s", "--duration", "30s"); err != nil {
		return err
	}
	if _, err := b.banyan(ctx, "calibrate"); err != nil {
		return err
	}
	for _, share := range []float64{0.3, 0.5, 0.7} {
		if share > 0.3 {
			if _, err := b.banyan(ctx, "load", "--rate", rate(share), "--warmup", "3s", "--duration", "30s"); err != nil {
				return err
			}
		}
		var c comparison
		if err := b.ask(ctx, &c, "compare"); err != nil {
			return err
		}
		if os.Getenv("SPINE_SHOW") != "" {
			out, _ := b.banyan(ctx, "compare")
			fmt.Println(string(out))
		}
		b.judge(share, c)
	}
	return nil
}

func (b *bench) judge(share float64, c comparison) {
	var means, p99s []float64
	weighted, total := 0.0, 0.0
	for _, r := range c.Routes {
		means = append(means, math.Abs(r.Mean.Error))
		p99s = append(p99s, math.Abs(r.P99.Error))
		weighted += r.Throughput.Measured * math.Abs(r.Mean.Error)
		total += r.Throughput.Measured
	}
	sort.Float64s(means)
	sort.Float64s(p99s)
	at := fmt.Sprintf("at %.0f%%: ", 100*share)
	b.check(at+"mean latency within 25%", weighted/total < 0.25, fmt.Sprintf("%.1f%% (by requests), median route %.1f%%, worst %.1f%%", 100*weighted/total, 100*means[len(means)/2], 100*means[len(means)-1]))
	b.check(at+"throughput within 5%", math.Abs(c.Throughput.Error) < 0.05, fmt.Sprintf("%+.1f%%", 100*c.Throughput.Error))
	b.check(at+"CPU within 10%", math.Abs(c.Machine.Error) < 0.10, fmt.Sprintf("%+.1f%% (%.2f cores measured)", 100*c.Machine.Error, c.Machine.Measured))
	fmt.Printf("     p99: median route %.1f%% off\n", 100*p99s[len(p99s)/2])
}

// trace: the busiest recorded hour of the 1998 World Cup's site, replayed 60 times faster.
func trace(ctx context.Context, b *bench) error {
	file := filepath.Join(b.root, "..", "shared", "traces", "worldcup98_until_jun15_1m.csv.gz")
	if _, err := os.Stat(file); err != nil {
		fmt.Println("     skipped: the trace is not here")
		return nil
	}
	from, peak, err := busiestHour(file)
	if err != nil {
		return err
	}
	if _, err := b.up(ctx); err != nil {
		return err
	}
	// The shop on a small machine holds a share of that site's peak.
	scale := 400 / peak // at this speed a minute's count is sent in a second
	out, err := b.banyan(ctx, "load", "--trace", file, "--speed", "60", "--from", from.String(), "--length", "1h", "--scale", fmt.Sprintf("%.6f", scale))
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	return nil
}
