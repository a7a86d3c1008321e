package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// bars are the greatest medians of the errors, as shares.
const (
	meanBar, p99Bar, throughputBar, kneeBar = 0.10, 0.25, 0.03, 0.05
)

// verdict gathers the errors of all topologies and loads, without signs.
type verdict struct {
	mean, p99, throughput, knee errors2
}

// errors2 are errors of the prediction and of the simulation.
type errors2 struct{ predicted, simulated []float64 }

func (e *errors2) add(p pair) {
	e.predicted = append(e.predicted, math.Abs(p.Error))
	if p.Simulated != 0 {
		e.simulated = append(e.simulated, math.Abs(p.SimulatedError))
	}
}

func judge(all []*record) verdict {
	var v verdict
	for _, r := range all {
		if r.Holds > 0 {
			v.knee.predicted = append(v.knee.predicted, math.Abs(r.Predicted/r.Holds-1))
		}
		for _, p := range r.Points {
			for _, route := range p.Compared.Routes {
				v.mean.add(route.Mean)
				v.p99.add(route.P99)
			}
			v.throughput.add(p.Compared.Throughput)
		}
	}
	return v
}

func (v verdict) held() bool {
	return median(v.mean.predicted) < meanBar && median(v.p99.predicted) < p99Bar && median(v.throughput.predicted) < throughputBar && median(v.knee.predicted) < kneeBar
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func report(all []*record) string {
	var w strings.Builder
	w.WriteString(`# How accurate the twin is

Written by ` + "`go run ./bench/twin`" + `: each topology runs for real on two cores that also run the load generator and the
gateway. It is calibrated from one load test at 30% of what it holds, and from nothing else; then it is loaded at 50, 70 and
80%, and each of these loads is predicted (` + "`plan`" + `) and simulated. The synthetic topologies are in
[examples/synthetic](../examples/synthetic), the shop in [examples/shop](../examples/shop).

`)
	v := judge(all)
	w.WriteString("| median error | bar | predicted | simulated |\n|---|---|---|---|\n")
	row := func(what string, bar float64, e errors2) {
		sim := "-"
		if len(e.simulated) > 0 {
			sim = fmt.Sprintf("%.1f%%", 100*median(e.simulated))
		}
		mark := ""
		if !(median(e.predicted) < bar) {
			mark = " **missed**"
		}
		fmt.Fprintf(&w, "| %s (%d) | %.0f%% | %.1f%%%s | %s |\n", what, len(e.predicted), 100*bar, 100*median(e.predicted), mark, sim)
	}
	row("mean latency", meanBar, v.mean)
	row("p99 latency", p99Bar, v.p99)
	row("throughput", throughputBar, v.throughput)
	row("what the system holds", kneeBar, v.knee)
	w.WriteString("\nWhat each holds, in requests a second: predicted from the calibration, measured with 48 users who do not think.\n\n" +
		"| topology | predicted | by | measured | error |\n|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&w, "| %s | %.0f | %s | %.0f | %+.1f%%%s |\n", r.Topology, r.Predicted, r.By, r.Holds, 100*(r.Predicted/r.Holds-1), miss(r.Predicted/r.Holds-1, kneeBar))
	}
	w.WriteString("\nEvery load; an error beyond its bar is marked with *.\n\n" +
		"| topology, route | load | req/s | mean | predicted | | simulated | | p99 | predicted | | simulated | |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		for _, p := range r.Points {
			for _, name := range slices.Sorted(maps.Keys(p.Compared.Routes)) {
				c := p.Compared.Routes[name]
				fmt.Fprintf(&w, "| %s, %s | %.0f%% | %.0f |%s%s\n", r.Topology, name, 100*p.Share, c.Throughput.Measured, cells(c.Mean, meanBar), cells(c.P99, p99Bar))
			}
		}
	}
	return w.String()
}

func cells(p pair, bar float64) string {
	text := fmt.Sprintf(" %s | %s | %+.0f%%%s |", ms(p.Measured), ms(p.Predicted), 100*p.Error, miss(p.Error, bar))
	if p.Simulated == 0 {
		return text + " - | |"
	}
	return text + fmt.Sprintf(" %s | %+.0f%%%s |", ms(p.Simulated), 100*p.SimulatedError, miss(p.SimulatedError, bar))
}

func miss(err, bar float64) string {
	if math.Abs(err) < bar {
		return ""
	}
	return "*"
}

func ms(seconds float64) string { return fmt.Sprintf("%.3g ms", 1000*seconds) }
