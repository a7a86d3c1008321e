package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// bars are the greatest medians of the errors, as shares.
const (
	meanBar, p99Bar, throughputBar, kneeBar = 0.10, 0.25, 0.03, 0.05
)

// chosenOn are the topologies on which the constants of package plan were chosen (plan/wake.go); the errors of the others are
// those of a model that has not seen them.
var chosenOn = []string{"chain", "fan-out", "diamond", "shared-database", "skewed", "shop"}

// verdict gathers the errors of topologies at all loads, without signs.
type verdict struct {
	mean, p99, throughput, knee errorsOf
}

// errorsOf are errors of the prediction and of the simulation.
type errorsOf struct{ predicted, simulated []float64 }

func (e *errorsOf) add(p pair) {
	e.predicted = append(e.predicted, math.Abs(p.Error))
	if p.Simulated != 0 {
		e.simulated = append(e.simulated, math.Abs(p.SimulatedError))
	}
}

func judge(all []*record) verdict {
	var v verdict
	for _, r := range all {
		v.knee.add(r.held())
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

// held is what the system holds.
func (r *record) held() pair {
	p := pair{Predicted: r.Predicted, Measured: r.Holds, Error: r.Predicted/r.Holds - 1, Simulated: r.Simulated}
	if r.Simulated != 0 {
		p.SimulatedError = r.Simulated/r.Holds - 1
	}
	return p
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

Written by ` + "`go run ./bench/twin -md docs/twin-accuracy.md`" + `: each topology runs for real on a machine that also runs the load
generator and the gateway. It is calibrated from load tests at 30% of what it holds, and from nothing else; then it is loaded
at 50, 70 and 80%, and each of these loads is predicted (` + "`plan`" + `) and simulated (` + "`simulate`" + `). Where each load is measured several
times, ` + "`calibrate`" + ` takes the test at 30% with the median CPU time of a request, and of the others that with the median mean latency
counts. What it holds is measured once, with 48 users who do not think. The synthetic topologies are in [examples/synthetic](../examples/synthetic), the shop in
[examples/shop](../examples/shop). A measurement beside which other programs or the hypervisor used more than a small part of the machine was
left out and made again, and so was one within which the CPU time of a request changed by more than a tenth. Figures beyond their bar are marked with *, medians beyond theirs with **missed**.

`)
	w.WriteString(machine(all))
	if left := missing(all); len(left) > 0 {
		fmt.Fprintf(&w, "\n**Not measured yet**, for want of a quiet machine: %s.\n", strings.Join(left, ", "))
	}
	seen, unseen := split(all)
	medians(&w, fmt.Sprintf("All %d topologies", len(all)), all)
	medians(&w, "Those that the constants of the model were chosen on: "+names(seen), seen)
	medians(&w, "Those that the constants have not seen: "+names(unseen), unseen)
	w.WriteString("\n## What each holds, in requests a second\n\n" +
		"| topology | measured | predicted | | by | simulated | |\n|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		p := r.held()
		fmt.Fprintf(&w, "| %s | %.0f | %.0f | %s | %s | %s |\n", r.Topology, p.Measured, p.Predicted, deviation(p.Error, kneeBar), r.By, simulatedCell(p, kneeBar, func(v float64) string { return fmt.Sprintf("%.0f", v) }))
	}
	w.WriteString("\n## Every load\n")
	row := func(figure string, p pair, bar float64, format func(float64) string) {
		fmt.Fprintf(&w, "%s | %s | %s | %s | %s |\n", figure, format(p.Measured), format(p.Predicted), deviation(p.Error, bar), simulatedCell(p, bar, format))
	}
	for _, r := range all {
		fmt.Fprintf(&w, "\n### %s\n\n| route | load | figure | measured | predicted | | simulated | |\n|---|---|---|---|---|---|---|---|\n", r.Topology)
		for _, p := range r.Points {
			for _, name := range slices.Sorted(maps.Keys(p.Compared.Routes)) {
				c := p.Compared.Routes[name]
				head := fmt.Sprintf("| %s | %.0f%% | ", name, 100*p.Share)
				row(head+"requests/s", c.Throughput, throughputBar, func(v float64) string { return fmt.Sprintf("%.1f", v) })
				row("| | | mean", c.Mean, meanBar, ms)
				row("| | | p99", c.P99, p99Bar, ms)
			}
			for _, name := range slices.Sorted(maps.Keys(p.Compared.Tables)) {
				c := p.Compared.Tables[name]
				head := fmt.Sprintf("| %s | %.0f%% | ", name, 100*p.Share)
				row(head+"operations/s", c.Rate, throughputBar, func(v float64) string { return fmt.Sprintf("%.1f", v) })
				row("| | | a read", c.Read, meanBar, ms)
				row("| | | a write", c.Write, meanBar, ms)
				row("| | | CPU, cores", c.CPU, meanBar, func(v float64) string { return fmt.Sprintf("%.3f", v) })
				row("| | | log busy", c.Log, meanBar, func(v float64) string { return fmt.Sprintf("%.3f", v) })
			}
		}
	}
	return w.String()
}

// missing are the topologies without a whole record.
func missing(all []*record) []string {
	var left []string
	for _, name := range topologies {
		if !slices.ContainsFunc(all, func(r *record) bool { return r.Topology == name }) {
			left = append(left, name)
		}
	}
	return left
}

// split divides the records into those that constants were chosen on and the others.
func split(all []*record) (seen, unseen []*record) {
	for _, r := range all {
		if slices.Contains(chosenOn, r.Topology) {
			seen = append(seen, r)
		} else {
			unseen = append(unseen, r)
		}
	}
	return seen, unseen
}

func names(all []*record) string {
	var list []string
	for _, r := range all {
		list = append(list, r.Topology)
	}
	return strings.Join(list, ", ")
}

// medians writes the table of medians against the bars.
func medians(w *strings.Builder, title string, all []*record) {
	if len(all) == 0 {
		return
	}
	v := judge(all)
	fmt.Fprintf(w, "\n%s:\n\n| median error of | bar | predicted | simulated | figures |\n|---|---|---|---|---|\n", title)
	cell := func(values []float64, bar float64) string {
		switch m := median(values); {
		case len(values) == 0:
			return "-"
		case m < bar:
			return fmt.Sprintf("%.1f%%", 100*m)
		default:
			return fmt.Sprintf("%.1f%% **missed**", 100*m)
		}
	}
	for _, row := range []struct {
		what string
		bar  float64
		e    errorsOf
	}{{"mean latency", meanBar, v.mean}, {"p99 latency", p99Bar, v.p99}, {"throughput", throughputBar, v.throughput}, {"what the system holds", kneeBar, v.knee}} {
		fmt.Fprintf(w, "| %s | %.0f%% | %s | %s | %d |\n", row.what, 100*row.bar, cell(row.e.predicted, row.bar), cell(row.e.simulated, row.bar), len(row.e.predicted))
	}
}

// machine says what the measurements were made on, and when.
func machine(all []*record) string {
	model, kernel := "unknown", "unknown"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(data))
	}
	if len(all) == 0 {
		return "Nothing is measured yet.\n"
	}
	var first, last time.Time
	seconds, repeats := 0.0, math.MaxInt
	for _, r := range all {
		if first.IsZero() || r.At.Before(first) {
			first = r.At
		}
		if r.At.After(last) {
			last = r.At
		}
		seconds = max(seconds, r.Seconds)
		repeats = min(repeats, len(r.Calibrations))
		for _, p := range r.Points {
			repeats = min(repeats, len(p.Runs))
		}
	}
	return fmt.Sprintf("Measured from %s to %s, each load %s for %g s, on %d virtual cores of a shared machine (%s), Linux %s, %s.\n",
		first.Format("2006-01-02 15:04"), last.Format("2006-01-02 15:04 MST"), times(repeats), seconds, runtime.NumCPU(), model, kernel, runtime.Version())
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func simulatedCell(p pair, bar float64, format func(float64) string) string {
	if p.Simulated == 0 {
		return "- | "
	}
	return format(p.Simulated) + " | " + deviation(p.SimulatedError, bar)
}

func deviation(err, bar float64) string {
	mark := ""
	if math.Abs(err) >= bar {
		mark = "*"
	}
	return fmt.Sprintf("%+.1f%%%s", 100*err, mark)
}

func ms(seconds float64) string { return fmt.Sprintf("%.3g ms", 1000*seconds) }
