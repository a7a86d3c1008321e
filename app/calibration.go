package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/atomicfile"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// CalibrationFile is where the calibration of a topology lies: banyan.calibration.yaml beside banyan.yaml.
func CalibrationFile(topologyFile string) string {
	base := filepath.Base(topologyFile)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	return filepath.Join(filepath.Dir(topologyFile), base+".calibration.yaml")
}

// WriteCalibration writes demands as an overlay of the topology file.
func WriteCalibration(file string, c *plan.Calibrated) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by 'banyan calibrate' from %s.\n", c.Calibration.Source)
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "# Note: %s.\n", n)
	}
	k := c.Calibration
	fmt.Fprintf(&b, "calibration:\n  source: %q\n  at: %q\n  cores: %s\n  throughput: %.3f\n  dispersion: %.3f\n  slice: %s\n  apart: %g\n  idle:\n",
		k.Source, k.At, k.Cores, k.Throughput, k.Dispersion, k.Slice.Std(), k.Apart)
	for _, svc := range slices.Sorted(maps.Keys(k.Idle)) {
		fmt.Fprintf(&b, "    %s: %.5f\n", svc, k.Idle[svc])
	}
	fmt.Fprintln(&b, "  rates:")
	for _, route := range slices.Sorted(maps.Keys(k.Rates)) {
		fmt.Fprintf(&b, "    %q: %.5g\n", route, k.Rates[route])
	}
	writeVariation(&b, k)
	writeTables(&b, c.Tables)
	fmt.Fprintln(&b, "demands:")
	for _, route := range slices.Sorted(maps.Keys(c.Demands)) {
		fmt.Fprintf(&b, "  %q:\n", route)
		for _, svc := range slices.Sorted(maps.Keys(c.Demands[route])) {
			fmt.Fprintf(&b, "    %s: {%s}\n", svc, demandText(c.Demands[route][svc]))
		}
	}
	if err := atomicfile.Replace(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the calibration: %w", err)
	}
	return nil
}

// writeTables writes what operations on tables cost.
func writeTables(b *bytes.Buffer, tables map[string]*topology.Table) {
	if len(tables) > 0 {
		fmt.Fprintln(b, "tables:")
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		t := tables[name]
		var costs []string
		for _, c := range []struct {
			key  string
			cost *topology.Cost
		}{{"read", t.Read}, {"write", t.Write}, {"follow", t.Follow}} {
			if c.cost != nil {
				costs = append(costs, fmt.Sprintf("%s: {cpu: %s, delay: %s}", c.key, c.cost.CPU, c.cost.Delay))
			}
		}
		fmt.Fprintf(b, "  %s: {%s}\n", name, strings.Join(append(costs, "fsync: "+t.Fsync.String()), ", "))
	}
}

// writeVariation writes what was found besides demands.
func writeVariation(b *bytes.Buffer, k *topology.Calibration) {
	if len(k.Services) > 0 {
		fmt.Fprintln(b, "  services:")
	}
	for _, svc := range slices.Sorted(maps.Keys(k.Services)) {
		s := k.Services[svc]
		fmt.Fprintf(b, "    %s: {time: %s, scv: %.4g, scv_error: %.3g", svc, s.Time, s.SCV, s.SCVError)
		if s.Distribution != "" {
			fmt.Fprintf(b, ", distribution: %s, misfit: %.3g", s.Distribution, s.Misfit)
		}
		fmt.Fprintln(b, "}")
	}
	if len(k.Edges) > 0 {
		fmt.Fprintln(b, "  edges:")
	}
	for _, e := range k.Edges {
		fmt.Fprintf(b, "    - {from: %s, to: %s, calls: %.5g, error: %.3g}\n", e.From, e.To, e.Calls, e.Error)
	}
	if len(k.HitRatios) > 0 {
		fmt.Fprintln(b, "  hit_ratios:")
	}
	for _, route := range slices.Sorted(maps.Keys(k.HitRatios)) {
		fmt.Fprintf(b, "    %q: {share: %.5g, error: %.3g}\n", route, k.HitRatios[route].Share, k.HitRatios[route].Error)
	}
	if u := k.USL; u != nil {
		fmt.Fprintf(b, "  usl: {alpha: %.5g, alpha_error: %.3g, beta: %.5g, beta_error: %.3g, gamma: %.5g, gamma_error: %.3g, most: %g}\n",
			u.Alpha, u.AlphaError, u.Beta, u.BetaError, u.Gamma, u.GammaError, u.Most)
	}
}

// demandText writes a demand as a YAML flow map, without what is nothing.
func demandText(d *topology.Demand) string {
	text := fmt.Sprintf("visits: %.5g", d.Visits)
	if d.Writes != nil {
		text += fmt.Sprintf(", writes: %.4g%%", 100*float64(*d.Writes))
	}
	for _, f := range []struct {
		key string
		d   topology.Duration
	}{{"cpu", d.CPU}, {"cpu_error", d.CPUError}, {"async", d.Async}, {"wake", d.Wake}, {"delay", d.Delay}} {
		if f.d > 0 {
			text += fmt.Sprintf(", %s: %s", f.key, f.d)
		}
	}
	if d.SCV != nil {
		text += fmt.Sprintf(", scv: %.4g", *d.SCV)
	}
	if len(d.Calls) > 0 {
		var calls []string
		for _, to := range slices.Sorted(maps.Keys(d.Calls)) {
			calls = append(calls, fmt.Sprintf("%s: %.5g", to, d.Calls[to]))
		}
		text += ", calls: {" + strings.Join(calls, ", ") + "}"
	}
	if d.Delay > 0 && d.DelaySCV != nil {
		text += fmt.Sprintf(", delay_scv: %.5g", *d.DelaySCV)
	}
	return text
}

// USL puts a sweep's fitted law into a calibration's terms; nil where nothing was fitted.
func USL(s *load.Sweep) (*topology.CalibratedUSL, error) {
	if s.Fit == nil {
		return nil, nil
	}
	law := queueing.USL{Alpha: s.Fit.Alpha, Beta: s.Fit.Beta, Gamma: s.Fit.Gamma}
	var points []queueing.USLPoint
	k := &topology.CalibratedUSL{Alpha: law.Alpha, Beta: law.Beta, Gamma: law.Gamma}
	for _, p := range s.Points {
		if p.Throughput > 0 {
			points = append(points, queueing.USLPoint{N: float64(p.Users), X: p.Throughput})
			k.Most = max(k.Most, float64(p.Users))
		}
	}
	e, err := law.Errors(points)
	if err != nil {
		return nil, fmt.Errorf("the sweep's fitted law: %w", err)
	}
	if !math.IsInf(e.Alpha, 0) { // as it is with three points
		k.AlphaError, k.BetaError, k.GammaError = e.Alpha, e.Beta, e.Gamma
	}
	return k, nil
}

// OpenSweep reads the record of a sweep by its file, or the newest one in the state directory where name is empty; nil
// where there is none.
func OpenSweep(stateDir, name string) (*load.Sweep, error) {
	if name == "" {
		files, err := filepath.Glob(filepath.Join(stateDir, "searches", "*-sweep.json"))
		if err != nil {
			return nil, fmt.Errorf("looking for sweeps: %w", err)
		}
		if len(files) == 0 {
			return nil, nil
		}
		name = slices.Max(files) // names begin with the time
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading a sweep: %w", err)
	}
	var s load.Sweep
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("reading the sweep %s: %w", name, err)
	}
	return &s, nil
}
