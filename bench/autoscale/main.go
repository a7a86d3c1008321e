// Command autoscale plays recorded traffic against Banyan's predictive autoscaler and its peers, all with one frozen set
// of defaults, and prints what each costs at equal service.
//
//	go run ./bench/autoscale [-traces ../shared/traces] [-startup 180s] [-hold 0.995]
//
// The traces are CSV files, plain or gzip'd, of a time and a count or a rate; any folder of such files will do. One
// replica holds a fiftieth of what the trace reaches in its busiest thousandth, so that some fifty replicas serve the
// peak. Traces of seconds are taken as means of 15 s. It also prints how often the upper quantiles of the forecast held.
//
//	go run ./bench/autoscale unseen [-traces ../shared/traces] [-startup 180s] [-hold 0.995]
//
// compares the predictive policy with Kubernetes' on traffic that no default was chosen on: drawn from known processes
// (package traffic), and cut from the recorded traces, backwards too.
//
//	go run ./bench/autoscale live [-traces ../shared/traces]
//
// plays the steepest rise of a recorded trace, 60 times faster, against the example shop, whose payments are scaled by
// the real autoscaler with real processes (see live.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/autoscale/replay"
	"github.com/banyanhq/banyan/forecast"
)

func main() {
	if len(os.Args) > 1 {
		if command := map[string]func([]string) error{"live": live, "unseen": unseen}[os.Args[1]]; command != nil {
			if err := command(os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "autoscale %s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	folder := flag.String("traces", "../shared/traces", "`folder` of recorded traffic")
	startUp := flag.Duration("startup", 180*time.Second, "start-up delay of a replica")
	hold := flag.Float64("hold", 0.995, "share of the steps that must hold")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *folder, *startUp, *hold); err != nil {
		fmt.Fprintln(os.Stderr, "autoscale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string, startUp time.Duration, hold float64) error {
	files, err := recorded(folder)
	if err != nil {
		return err
	}
	names := replay.Policies()
	fmt.Printf("%-38s %6s", "COST OVER THE ORACLE'S", "STEPS")
	for _, n := range names {
		fmt.Printf(" %10s", n)
	}
	fmt.Printf(" %9s  %s\n", "PRED/HPA", "95% HELD 99% HELD (4 steps ahead)")
	var ratios []float64
	for _, file := range files {
		line, ratio, err := one(ctx, file, names, startUp, hold)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Println(line)
		if !math.IsNaN(ratio) {
			ratios = append(ratios, ratio)
		}
	}
	if len(ratios) == 0 {
		return errors.New("on no trace do both the predictive policy and Kubernetes' reach the objective")
	}
	fmt.Println("predictive over hpa:", summary(ratios))
	return nil
}

// recorded traces in a folder, but for a competition's series, which go test ./forecast scores.
func recorded(folder string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.csv*"))
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasPrefix(filepath.Base(f), "m4_") })
	if len(files) == 0 {
		return nil, fmt.Errorf("no recorded traffic in %s", folder)
	}
	return files, nil
}

func one(ctx context.Context, file string, names []string, startUp time.Duration, hold float64) (string, float64, error) {
	series, err := read(file)
	if err != nil {
		return "", 0, err
	}
	trace := replay.Trace{Step: series.Step, Rates: series.Rates()}.Coarser(autoscale.Interval)
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	c, err := play(ctx, trace, peakReplicas, startUp, names, hold)
	if err != nil {
		return "", 0, err
	}
	cost := map[string]float64{}
	line := fmt.Sprintf("%-38s %6d", name, c.Steps)
	for _, r := range c.Results {
		cost[r.Policy] = math.NaN()
		if !r.Reached {
			line += fmt.Sprintf(" %10s", "missed")
			continue
		}
		cost[r.Policy] = r.Cost
		line += fmt.Sprintf(" %10.3f", r.Cost)
	}
	ratio := cost["predictive"] / cost["hpa"]
	scores, _, err := forecast.Backtest(trace.Rates, forecast.Config{Step: trace.Step, Horizons: []int{4}}, warmUp(trace.Step, len(trace.Rates)), []float64{0.95, 0.99})
	if err != nil {
		return "", 0, err
	}
	return line + fmt.Sprintf(" %9.3f  %8.2f %8.2f", ratio, 100*scores[0].Coverage[0], 100*scores[0].Coverage[1]), ratio, nil
}

// peakReplicas serve what a trace reaches in its busiest thousandth.
const peakReplicas = 50

// play a trace against policies, so many replicas serving its peak.
func play(ctx context.Context, t replay.Trace, peak float64, startUp time.Duration, names []string, hold float64) (*replay.Comparison, error) {
	sorted := slices.DeleteFunc(slices.Clone(t.Rates), math.IsNaN)
	if len(sorted) == 0 {
		return nil, errors.New("no value is known")
	}
	slices.Sort(sorted)
	capacity, err := autoscale.LinearCapacity(sorted[len(sorted)*999/1000] / peak)
	if err != nil {
		return nil, err
	}
	plant := replay.Plant{Capacity: capacity, StartUp: startUp, Tick: autoscale.Interval, Min: 1, Max: 1000, WarmUp: warmUp(t.Step, len(t.Rates))}
	return replay.Compare(ctx, t, plant, names, hold)
}

// warmUp is how many steps are played and not scored: two days, or a fifth of the trace.
func warmUp(step time.Duration, steps int) int { return min(int(48*time.Hour/step), steps/5) }

func read(file string) (forecast.Series, error) {
	f, err := os.Open(file)
	if err != nil {
		return forecast.Series{}, err
	}
	defer f.Close() // nothing was written
	return forecast.ReadCSV(f, 0)
}
