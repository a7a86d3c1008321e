// Command autoscale plays recorded traffic against Banyan's predictive autoscaler and its peers, all with one frozen set
// of defaults, and prints what each costs at equal service.
//
//	go run ./bench/autoscale [-traces ../shared/traces] [-startup 180s] [-hold 0.995]
//
// The traces are CSV files, plain or gzip'd, of a time and a count or a rate; any folder of such files will do. One
// replica holds a fiftieth of what the trace reaches in its busiest thousandth, so that some fifty replicas serve the
// peak. Traces of seconds are taken as means of 15 s. It also prints how often the upper quantiles of the forecast held.
//
//	go run ./bench/autoscale live [-traces ../shared/traces]
//
// plays the steepest rise of a recorded trace, 60 times faster, against the example shop, whose payments are scaled by
// the real autoscaler with real processes (see live.go).
package main

import (
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
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
	if len(os.Args) > 1 && os.Args[1] == "live" {
		if err := live(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "autoscale live:", err)
			os.Exit(1)
		}
		return
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
	files, err := filepath.Glob(filepath.Join(folder, "*.csv*"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no recorded traffic in %s", folder)
	}
	names := replay.Policies()
	fmt.Printf("%-38s %6s", "COST OVER THE ORACLE'S", "STEPS")
	for _, n := range names {
		fmt.Printf(" %10s", n)
	}
	fmt.Printf(" %9s  %s\n", "PRED/HPA", "95% HELD 99% HELD (4 steps ahead)")
	var ratios []float64
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "m4_") {
			continue // a competition's series, which go test ./forecast scores
		}
		line, ratio, err := one(ctx, file, names, startUp, hold)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Println(line)
		if !math.IsNaN(ratio) {
			ratios = append(ratios, ratio)
		}
	}
	slices.Sort(ratios)
	fmt.Printf("predictive over hpa: median %.3f, worst %.3f, of %d\n", ratios[len(ratios)/2], ratios[len(ratios)-1], len(ratios))
	return nil
}

func one(ctx context.Context, file string, names []string, startUp time.Duration, hold float64) (string, float64, error) {
	series, err := read(file)
	if err != nil {
		return "", 0, err
	}
	trace := replay.Trace{Step: series.Step, Rates: series.Rates()}.Coarser(autoscale.Interval)
	sorted := slices.DeleteFunc(slices.Clone(trace.Rates), math.IsNaN)
	slices.Sort(sorted)
	capacity, err := autoscale.LinearCapacity(sorted[len(sorted)*999/1000] / 50)
	if err != nil {
		return "", 0, err
	}
	plant := replay.Plant{Capacity: capacity, StartUp: startUp, Tick: autoscale.Interval, Min: 1, Max: 1000,
		WarmUp: min(int(48*time.Hour/trace.Step), len(trace.Rates)/5)}
	c, err := replay.Compare(ctx, trace, plant, names, hold)
	if err != nil {
		return "", 0, err
	}
	cost := map[string]float64{}
	name, _, _ := strings.Cut(filepath.Base(file), ".")
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
	scores, _, err := forecast.Backtest(trace.Rates, forecast.Config{Step: trace.Step, Horizons: []int{4}}, plant.WarmUp, []float64{0.95, 0.99})
	if err != nil {
		return "", 0, err
	}
	return line + fmt.Sprintf(" %9.3f  %8.2f %8.2f", ratio, 100*scores[0].Coverage[0], 100*scores[0].Coverage[1]), ratio, nil
}

func read(file string) (forecast.Series, error) {
	f, err := os.Open(file)
	if err != nil {
		return forecast.Series{}, err
	}
	defer f.Close() // nothing was written
	var in io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return forecast.Series{}, errors.Join(errors.New("not gzip"), err)
		}
		in = z
	}
	return forecast.ReadCSV(in, 0)
}
