package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/banyanhq/banyan/plan"
)

// gain is what mending a fault saves, as shares of the mean latency of all requests.
type gain struct {
	fault               fault
	predicted, measured float64
}

func (g gain) error() float64 { return math.Abs(g.predicted - g.measured) }

// gains are those of the faults that were found at the first place.
type gains []gain

// measure runs the system of a fault once more, mended, and holds what that saves against what the finding predicts.
func (all *gains) measure(ctx context.Context, b *bench, f fault, seen *plan.Observation, found *plan.Finding) error {
	after, err := b.recorded(ctx, f.mended())
	if err != nil {
		return err
	}
	before, mended := meanTime(seen), meanTime(after.Observation)
	g := gain{fault: f, predicted: found.Gain.Seconds() / found.Mean.Seconds(), measured: 1 - mended/before}
	fmt.Printf("      mended: %.1f ms become %.1f, %.0f %% less; %.0f %% were predicted\n", 1000*before, 1000*mended, 100*g.measured, 100*g.predicted)
	*all = append(*all, g)
	return nil
}

// meanTime of a request, in seconds, as the gateway saw it.
func meanTime(o *plan.Observation) float64 {
	var calls, time float64
	for _, r := range o.Routes {
		calls, time = calls+r.Calls, time+r.Time
	}
	return time / max(calls, 1)
}

func (all gains) print() {
	if len(all) == 0 {
		return
	}
	fmt.Println("\nWhat mending the first finding saves of the mean latency, predicted against measured, in percentage points.")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tfaults\tpredicted\tmeasured\tmedian error\tworst\t")
	for _, class := range append(slices.Clone(classes), "") {
		var of gains
		for _, g := range all {
			if class == "" || g.fault.Class == class {
				of = append(of, g)
			}
		}
		if len(of) > 0 {
			fmt.Fprintf(w, "%s\t%d\t%.0f %%\t%.0f %%\t%.1f\t%.1f\t\n", cmp.Or(class, "all"), len(of),
				100*median(of, func(g gain) float64 { return g.predicted }), 100*median(of, func(g gain) float64 { return g.measured }),
				100*median(of, gain.error), 100*slices.MaxFunc(of, func(a, b gain) int { return cmp.Compare(a.error(), b.error()) }).error())
		}
	}
	w.Flush()
}

func median(all gains, of func(gain) float64) float64 {
	var values []float64
	for _, g := range all {
		values = append(values, of(g))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
