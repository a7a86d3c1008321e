package app

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/autoscale/replay"
	"github.com/banyanhq/banyan/forecast"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// leastHistory that a policy is proved on: some hundred decisions.
const leastHistory = time.Hour

// maxHistory bounds how far back it goes.
const maxHistory = 31 * 24 * time.Hour

// ScaleHistory is the recorded rate of a service's requests, all runs in the state directory together, and how many
// requests a second one replica holds: more than it takes at its target. What was not recorded is missing in it.
func ScaleHistory(dir string, sys *topology.System, service string) (replay.Trace, float64, error) {
	svc := sys.Services[service]
	switch {
	case svc == nil:
		return replay.Trace{}, 0, fmt.Errorf("there is no service %q", service)
	case svc.Scale == nil:
		return replay.Trace{}, 0, fmt.Errorf("service %s is not scaled: the file does not say 'scale' of it", service)
	}
	recording, err := observe.ReadRecording(filepath.Join(dir, "samples"))
	if err != nil {
		return replay.Trace{}, 0, fmt.Errorf("reading what was recorded of %s: %w", service, err)
	}
	from := recording.Runs[0].From
	if oldest := recording.Last().To.Add(-maxHistory); from.Before(oldest) {
		from = oldest
	}
	w, err := recording.Window(from, time.Time{})
	if err != nil {
		return replay.Trace{}, 0, fmt.Errorf("reading what was recorded of %s: %w", service, err)
	}
	if w.Covered < leastHistory {
		return replay.Trace{}, 0, fmt.Errorf("%v were recorded of %s: a policy is proved on an hour at least, better on days", w.Covered.Round(time.Second), sys.Name)
	}
	each, busy := policy.Takes(svc.Scale.Target, costOf(w, svc, service))
	if each == 0 {
		return replay.Trace{}, 0, errors.New("what one replica takes is not known: that wants a target of requests, or one of CPU and traffic that cost some")
	}
	return replay.Trace{Step: autoscale.Interval, Rates: ratesOf(w, service, autoscale.Interval)}, each / busy, nil
}

const (
	// learnt is how far back a forecast starts from: two weeks show the second season.
	learnt = 14 * 24 * time.Hour
	// maxLearnt bounds it in steps.
	maxLearnt = 100_000
)

// learnFrom is what is known of a service's requests a second up to now, in steps: what the file names as its history,
// and over it what earlier runs recorded. Nil: nothing is.
func (a *App) learnFrom(service string, step time.Duration) []float64 {
	now := time.Now()
	n := int(min(learnt/step, maxLearnt))
	var rates []float64
	if file := a.cfg.System.Services[service].Scale.History; file != "" {
		series, err := readSeries(a.cfg.System.Path(file))
		if err != nil {
			a.cfg.Log.Warn("the forecast starts without the history that the file names", "service", service, "error", err)
		}
		rates = series.Steps(step, now, n)
	}
	recorded := a.recorded(service, step).Steps(step, now, n)
	if missing := len(recorded) - len(rates); missing > 0 { // before the file begins
		rates = append(slices.Repeat([]float64{math.NaN()}, missing), rates...)
	}
	for i, v := range recorded {
		if !math.IsNaN(v) {
			rates[len(rates)-len(recorded)+i] = v
		}
	}
	return rates
}

// recorded rates of a service, of earlier runs and of this one.
func (a *App) recorded(service string, step time.Duration) forecast.Series {
	recording, err := observe.ReadRecording(filepath.Join(a.cfg.Dir, "samples"))
	if err != nil {
		return forecast.Series{} // a first run has none
	}
	w, err := recording.Window(time.Now().Add(-learnt), time.Time{})
	if err != nil || len(w.Intervals) == 0 {
		return forecast.Series{}
	}
	return forecast.Series{Start: w.Intervals[0].Start, Step: step, Values: ratesOf(w, service, step), Rate: true}
}

// readSeries reads a CSV file, gzip'd or not.
func readSeries(name string) (forecast.Series, error) {
	f, err := os.Open(name)
	if err != nil {
		return forecast.Series{}, err
	}
	defer f.Close() // nothing was written
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") { // here, for it is what is unpacked that is bounded
		if in, err = gzip.NewReader(f); err != nil {
			return forecast.Series{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	series, err := forecast.ReadCSV(io.LimitReader(in, maxHistoryBytes), 0)
	if err != nil {
		return forecast.Series{}, fmt.Errorf("%s: %w", name, err)
	}
	return series, nil
}

// maxHistoryBytes of a file are read.
const maxHistoryBytes = 256 << 20

// ratesOf a service in steps, from the first interval on.
func ratesOf(w *observe.Window, service string, step time.Duration) []float64 {
	first := w.Intervals[0].Start
	last := w.Intervals[len(w.Intervals)-1].Start
	rates := make([]float64, int(last.Sub(first)/step)+1)
	known := make([]time.Duration, len(rates))
	for i := range w.Intervals {
		iv := &w.Intervals[i]
		k := int(iv.Start.Sub(first) / step)
		if k < 0 || k >= len(rates) {
			continue
		}
		known[k] += iv.Duration()
		for _, e := range iv.Edges {
			if e.To == service {
				rates[k] += float64(e.Requests)
			}
		}
	}
	for k := range rates {
		if known[k] < step/2 {
			rates[k] = math.NaN()
			continue
		}
		rates[k] /= known[k].Seconds()
	}
	return rates
}

// costOf one request a second, as a share of a replica's CPU; 0: not known.
func costOf(w *observe.Window, svc *topology.Service, service string) float64 {
	requests := int64(0)
	for _, e := range w.Edges {
		if e.To == service {
			requests += e.Requests
		}
	}
	use, ok := w.Service(service)
	if !ok || requests == 0 {
		return 0
	}
	cores := float64(svc.Limits.CPU)
	if cores == 0 {
		cores = 1
	}
	return use.CPU.Seconds() / float64(requests) / cores
}
