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
	"github.com/banyanhq/banyan/bench/autoscale/traffic"
)

// unseen plays the predictive policy and Kubernetes' against traffic that no default was chosen on.
func unseen(args []string) error {
	fl := flag.NewFlagSet("unseen", flag.ExitOnError)
	folder := fl.String("traces", "../shared/traces", "`folder` of recorded traffic to cut pieces from; empty: generated traffic alone")
	startUp := fl.Duration("startup", 180*time.Second, "start-up delay of a replica")
	hold := fl.Float64("hold", 0.995, "share of the steps that must hold")
	seeds := fl.Int("seeds", 2, "traces of each process")
	most := fl.Int("most", 70_000, "leave out pieces of more `steps`")
	_ = fl.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	all, err := pieces(*folder)
	if err != nil {
		return err
	}
	byKind := map[string][]float64{}
	fmt.Printf("%-62s %6s %9s %11s %8s %9s\n", "COST OVER THE ORACLE'S", "STEPS", "REPLICAS", "predictive", "hpa", "PRED/HPA")
	for _, t := range slices.Concat(all, traffic.Generated(*seeds)) {
		if len(t.Rates) > *most {
			continue
		}
		for _, peak := range peaksOf(t) {
			c, err := play(ctx, t.Trace, peak, *startUp, []string{"predictive", "hpa"}, *hold)
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
			predictive, hpa := c.Of("predictive"), c.Of("hpa")
			ratio := predictive.Cost / hpa.Cost
			switch {
			case !hpa.Reached:
				continue // nothing to compare with
			case !predictive.Reached:
				ratio = math.Inf(1)
			}
			fmt.Printf("%-62s %6d %9.0f %11.3f %8.3f %9.3f\n", t.Name, c.Steps, peak, predictive.Cost, hpa.Cost, ratio)
			for _, kind := range []string{kindOf(t), "all"} {
				byKind[kind] = append(byKind[kind], ratio)
			}
		}
	}
	if len(byKind["all"]) == 0 {
		return errors.New("no trace could be compared")
	}
	fmt.Println()
	for _, kind := range []string{"of up to 300 steps", "longer, without days", "of several days", "all"} {
		if ratios := byKind[kind]; len(ratios) > 0 {
			fmt.Printf("predictive over hpa, %-21s %s\n", kind+":", summary(ratios))
		}
	}
	return nil
}

// pieces of the recorded traces, and those of an hour in coarser steps.
func pieces(folder string) ([]traffic.Trace, error) {
	if folder == "" {
		return nil, nil
	}
	files, err := recorded(folder)
	if err != nil {
		return nil, err
	}
	var out []traffic.Trace
	for _, file := range files {
		series, err := read(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		tr := replay.Trace{Step: series.Step, Rates: series.Rates()}.Coarser(autoscale.Interval)
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		out = append(out, traffic.Parts(traffic.Trace{Name: name, Diurnal: true, Trace: tr})...)
		if len(tr.Rates) <= few {
			out = append(out, traffic.Trace{Name: name + ", coarser", Trace: tr.Coarser(2 * autoscale.Interval)})
		}
	}
	return out, nil
}

// few steps: chance decides much there, so that they are played at several sizes.
const few = 300

func peaksOf(t traffic.Trace) []float64 {
	if len(t.Rates) <= few {
		return []float64{12, 50, 200}
	}
	return []float64{50}
}

func kindOf(t traffic.Trace) string {
	switch {
	case len(t.Rates) <= few:
		return "of up to 300 steps"
	case t.Diurnal:
		return "of several days"
	}
	return "longer, without days"
}

func summary(ratios []float64) string {
	slices.Sort(ratios)
	over := 0
	for _, r := range ratios {
		if r > 1.02 {
			over++
		}
	}
	return fmt.Sprintf("median %.3f, worst %.3f, %d of %d above 1.02", ratios[len(ratios)/2], ratios[len(ratios)-1], over, len(ratios))
}
