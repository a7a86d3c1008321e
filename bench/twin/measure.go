package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/plan"
)

// loads at which predictions are tried, as shares of what the system holds; calibrated is where it is calibrated.
var loads = []float64{0.5, 0.7, 0.8}

const calibrated = 0.3

// holdingUsers are how many users, who do not think, find out what a system holds.
const holdingUsers = "48"

// warming is for how many seconds they do so where a topology was started again.
const warming = 10.0

// record is what is known of one topology.
type record struct {
	Topology string    `json:"topology"`
	At       time.Time `json:"at"`
	Seconds  float64   `json:"seconds"`
	// Holds is the measured throughput with many users who do not think, in requests a second.
	Holds        float64  `json:"holds"`
	Starts       float64  `json:"starts"`       // of scenarios, at that throughput
	Calibrations []string `json:"calibrations"` // runs, of which calibrate takes the one in the middle
	Points       []*point `json:"points"`
	// Predicted is what the model says the system holds, and by what.
	Predicted float64 `json:"predicted"`
	By        string  `json:"by"`
	// Simulated is the throughput of the same users in the simulator.
	Simulated float64 `json:"simulated"`
}

// point is one load.
type point struct {
	Share float64  `json:"share"`
	Runs  []string `json:"runs"`
	// Compared is of the run with the median mean latency.
	Compared comparison `json:"compared"`
}

// loadRun is the part of a load test's record that is needed here.
type loadRun struct {
	Name   string
	Result struct {
		Total struct {
			Requests int64
			Rate     float64
		}
		Scenarios struct{ Started int64 }
	}
	Measurement plan.Measurement
}

// strangers is how many cores processes used that are no part of the system.
func (r loadRun) strangers() float64 {
	other := r.Measurement.MachineCPU
	for _, s := range r.Measurement.Services {
		other -= s.CPU
	}
	return other
}

// maxTries is how often a measurement that was disturbed is made again at once. After that it is left for another call.
const maxTries = 8

// alike is by how much two disturbed measurements of what a system holds may differ that count all the same: what holds it back
// then is not what the others took.
const alike = 0.03

type pair struct {
	Predicted, Measured, Error float64
	Simulated                  float64
	SimulatedError             float64 `json:"simulated_error"`
}

type comparison struct {
	Routes     map[string]routePairs
	Machine    pair
	Throughput pair
	Tables     map[string]tablePairs
	Validity   []string
}

type tablePairs struct{ Rate, Read, Write, CPU, Log pair }

type routePairs struct{ Throughput, Mean, P99 pair }

func (b *bench) state(name string) string { return filepath.Join(b.keep, name) }

// measure starts a topology, finds what it holds, and loads it. What a record has already is not measured again. It reports
// false where the time of this call was over, or other programs disturbed it, before all was measured.
func (b *bench) measure(ctx context.Context, r *record) (whole bool, err error) {
	name := r.Topology
	if err := b.clean(name); err != nil {
		return false, err
	}
	started := false
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if _, e := b.banyan(late, name, "down"); started {
			err = errors.Join(err, e) // otherwise there may be nothing to end, or what an interrupt left behind
		}
	}()
	if _, err := b.banyan(ctx, name, "up", "--detach"); err != nil {
		return false, err
	}
	started = true
	r.At, r.Seconds = time.Now().UTC().Round(time.Second), b.seconds
	fill := func(seconds float64) []string {
		return []string{"--users", holdingUsers, "--think", "0s", "--warmup", "3s", "--duration", fmt.Sprintf("%gs", seconds)}
	}
	if r.Holds > 0 { // started again: its caches are as full and its connections as many as they were when it was calibrated
		if err := b.ask(ctx, name, new(loadRun), append([]string{"load"}, fill(warming)...)...); err != nil {
			return false, err
		}
	} else {
		run, ok, err := b.try(ctx, r, "what it holds", fill(max(3, b.seconds/2))...)
		if err != nil || !ok {
			return false, err
		}
		// A rate is of scenarios; one may have several steps.
		total := run.Result.Total
		r.Holds, r.Starts = total.Rate, total.Rate*float64(run.Result.Scenarios.Started)/float64(total.Requests)
		fmt.Printf("   holds %.1f requests/s\n", r.Holds)
	}
	load := func(share float64) (loadRun, bool, error) {
		return b.try(ctx, r, fmt.Sprintf("%.0f%%", 100*share), "--rate", fmt.Sprintf("%.2f/s", share*r.Starts), "--warmup", "2s", "--duration", fmt.Sprintf("%gs", b.seconds))
	}
	whole = true
	for len(r.Calibrations) < b.repeats {
		run, ok, err := load(calibrated)
		if err != nil {
			return false, err
		}
		if !ok {
			whole = false
			break
		}
		r.Calibrations = append(r.Calibrations, run.Name)
	}
	for _, share := range loads {
		p := r.point(share)
		for len(p.Runs) < b.repeats {
			run, ok, err := load(share)
			if err != nil {
				return false, err
			}
			if !ok {
				whole = false
				break
			}
			p.Runs = append(p.Runs, run.Name)
		}
	}
	return whole, nil
}

// try makes a load test, and again where other programs disturbed it. It reports false where none was good, or no time is left.
func (b *bench) try(ctx context.Context, r *record, what string, args ...string) (run loadRun, ok bool, err error) {
	last := 0.0
	for range maxTries {
		if time.Now().After(b.until) {
			fmt.Printf("   %s: no time left\n", what)
			return run, false, nil
		}
		run = loadRun{}
		before := b.slower()
		if err := b.ask(ctx, r.Topology, &run, append([]string{"load"}, args...)...); err != nil {
			return run, false, err
		}
		strangers, stolen := run.strangers(), run.Measurement.Stolen()
		slower := max(before, b.slower())
		if slower > b.pace {
			fmt.Printf("   %s: the machine was %.0f%% slower than it can be: left out\n", what, 100*slower)
			continue
		}
		// What a limit holds back is held back all the same beside others, as long as the machine is not full.
		room := r.Holds == 0 && run.Measurement.MachineCPU < 0.85*run.Measurement.Cores
		rate := run.Result.Total.Rate
		again := r.Holds == 0 && last > 0 && math.Abs(rate/last-1) < alike
		// A run in which the machine itself became faster or slower is two measurements in one.
		if change := run.Measurement.Unsteady(); r.Holds > 0 && math.Abs(change) > b.unsteady {
			fmt.Printf("   %s: the CPU time of a request changed by %+.0f%% within the run: left out\n", what, 100*change)
			continue
		}
		if last = rate; rate > 0 && (strangers <= b.strangers && stolen <= b.stolen || room || again) {
			fmt.Printf("   %s: %s, the machine %.0f%% slower than it can be\n", what, run.Name, 100*slower)
			return run, true, b.save(r)
		}
		fmt.Printf("   %s: other programs used %.2f cores, the hypervisor %.3f: left out\n", what, strangers, stolen)
	}
	return run, false, nil
}

// point is the record of a load, made where there is none.
func (r *record) point(share float64) *point {
	for _, p := range r.Points {
		if p.Share == share {
			return p
		}
	}
	p := &point{Share: share}
	r.Points = append(r.Points, p)
	return p
}

// whole says that nothing is left to be measured where each load is to be measured so often.
func (r *record) whole(repeats int) bool {
	for _, share := range loads {
		if len(r.point(share).Runs) < repeats {
			return false
		}
	}
	return r.Holds > 0 && len(r.Calibrations) >= repeats
}

// clean removes a calibration that would be taken for the file's own.
func (b *bench) clean(name string) error {
	err := os.Remove(strings.TrimSuffix(b.file(name), ".yaml") + ".calibration.yaml")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// predict calibrates from the record and compares at each load.
func (b *bench) predict(ctx context.Context, r *record) error {
	name := r.Topology
	defer b.clean(name)
	if _, err := b.banyan(ctx, name, append([]string{"calibrate"}, r.Calibrations...)...); err != nil {
		return err
	}
	var planned struct {
		Saturation struct {
			Throughput float64
			By         string
		}
	}
	if err := b.ask(ctx, name, &planned, "plan", "--rate", "1/s"); err != nil {
		return err
	}
	r.Predicted, r.By = planned.Saturation.Throughput, planned.Saturation.By
	var simulated struct {
		All struct {
			Throughput struct{ Value float64 }
		}
	}
	if err := b.ask(ctx, name, &simulated, "simulate", "--users", holdingUsers, "--think", "0s", "--duration", "20s", "--replications", "2", "--fixed"); err != nil {
		return err
	}
	r.Simulated = simulated.All.Throughput.Value
	for _, p := range r.Points {
		var all []comparison
		for _, run := range p.Runs {
			var c comparison
			if err := b.ask(ctx, name, &c, "compare", run); err != nil {
				return err
			}
			all = append(all, c)
		}
		slices.SortFunc(all, func(a, b comparison) int { return cmp.Compare(a.mean(), b.mean()) })
		p.Compared = all[len(all)/2]
	}
	return nil
}

// mean latency over all requests.
func (c comparison) mean() float64 {
	var sum, n float64
	for _, r := range c.Routes {
		sum += r.Throughput.Measured * r.Mean.Measured
		n += r.Throughput.Measured
	}
	return sum / max(n, 1e-9)
}

func (b *bench) save(r *record) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.keep, r.Topology+".json"), data, 0o644)
}

func (b *bench) load(name string) (*record, error) {
	data, err := os.ReadFile(filepath.Join(b.keep, name+".json"))
	if err != nil {
		return nil, err
	}
	r := new(record)
	return r, json.Unmarshal(data, r)
}

// banyan runs a subcommand and returns its standard output. Exit code 1 is an answer, not an error.
func (b *bench) banyan(ctx context.Context, name string, args ...string) ([]byte, error) {
	args = append([]string{"--state", b.state(name), "-f", b.file(name), "-f", b.overlay()}, args...)
	cmd := exec.CommandContext(ctx, b.bin, args...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && len(exit.Stderr) == 0 {
		return out, nil
	}
	if errors.As(err, &exit) {
		return out, fmt.Errorf("banyan %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

// ask runs a subcommand with --json and reads its answer.
func (b *bench) ask(ctx context.Context, name string, into any, args ...string) error {
	out, err := b.banyan(ctx, name, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("banyan %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
