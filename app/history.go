package app

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/autoscale/replay"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/topology"
)

// leastHistory that a policy is proved on: some hundred decisions.
const leastHistory = time.Hour

// maxHistory bounds how far back it goes.
const maxHistory = 31 * 24 * time.Hour

// ScaleHistory is the recorded rate of a service's requests, all runs in the state directory together, and how many
// requests a second one replica takes at its target. What was not recorded is missing in it.
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
	each := eachOf(w, svc, service)
	if each == 0 {
		return replay.Trace{}, 0, errors.New("what one replica takes is not known: that wants a target of requests, or one of CPU and traffic that cost some")
	}
	return replay.Trace{Step: autoscale.Interval, Rates: ratesOf(w, service)}, each, nil
}

// ratesOf a service in steps of the autoscaler's interval.
func ratesOf(w *observe.Window, service string) []float64 {
	first := w.Intervals[0].Start
	last := w.Intervals[len(w.Intervals)-1].Start
	rates := make([]float64, int(last.Sub(first)/autoscale.Interval)+1)
	known := make([]time.Duration, len(rates))
	for i := range w.Intervals {
		iv := &w.Intervals[i]
		k := int(iv.Start.Sub(first) / autoscale.Interval)
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
		if known[k] < autoscale.Interval/2 {
			rates[k] = math.NaN()
			continue
		}
		rates[k] /= known[k].Seconds()
	}
	return rates
}

// eachOf is how many requests a second one replica takes at the tightest of its targets.
func eachOf(w *observe.Window, svc *topology.Service, service string) float64 {
	each := math.Inf(1)
	if t := float64(svc.Scale.Target.Requests); t > 0 {
		each = t
	}
	requests := int64(0)
	for _, e := range w.Edges {
		if e.To == service {
			requests += e.Requests
		}
	}
	if use, ok := w.Service(service); ok && svc.Scale.Target.CPU > 0 && requests > 0 && use.CPU > 0 {
		cores := float64(svc.Limits.CPU)
		if cores == 0 {
			cores = 1
		}
		each = math.Min(each, float64(svc.Scale.Target.CPU)*cores/(use.CPU.Seconds()/float64(requests)))
	}
	if math.IsInf(each, 1) {
		return 0
	}
	return each
}
