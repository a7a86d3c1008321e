package plan

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"
)

// Comparison holds a prediction against a measurement.
type Comparison struct {
	System   string                     `json:"system"`
	Source   string                     `json:"source"`
	Method   string                     `json:"method"`
	Routes   map[string]RouteComparison `json:"routes"`
	Services map[string]Pair            `json:"services"` // CPU in cores, all replicas together
	Machine  Pair                       `json:"machine"`  // CPU in cores
	Total    Pair                       `json:"throughput"`
	// Validity says in plain sentences where the model is outside of what it knows.
	Validity []string `json:"validity"`
}

// RouteComparison is predicted against measured for one route; latencies in seconds.
type RouteComparison struct {
	Throughput Pair `json:"throughput"`
	Mean       Pair `json:"mean"`
	P99        Pair `json:"p99"`
}

// Pair is a predicted and a measured figure.
type Pair struct {
	Predicted float64 `json:"predicted"`
	Measured  float64 `json:"measured"`
	// Error is the predicted figure's deviation from the measured one as a share of the measured one; 0 where nothing
	// was measured.
	Error float64 `json:"error"`
}

func pair(predicted, measured float64) Pair {
	p := Pair{Predicted: predicted, Measured: measured}
	if measured != 0 {
		p.Error = (predicted - measured) / measured
	}
	return p
}

// Compare holds p against m. calibrated is the throughput of the run that the demands come from, 0 if they were
// declared.
func Compare(p *Prediction, m *Measurement, calibrated float64) *Comparison {
	c := &Comparison{System: m.System, Source: m.Source, Method: p.Method,
		Routes: map[string]RouteComparison{}, Services: map[string]Pair{}}
	secs := m.Seconds()
	var total float64
	for _, r := range p.Routes {
		mr, ok := m.Routes[r.Route]
		if !ok {
			continue
		}
		total += float64(mr.Requests) / secs
		c.Routes[r.Route] = RouteComparison{
			Throughput: pair(r.Rate, float64(mr.Requests)/secs),
			Mean:       pair(r.Mean.Seconds(), mr.Mean.Seconds()),
			P99:        pair(r.P99.Seconds(), mr.P99.Seconds()),
		}
	}
	c.Total = pair(p.Throughput, total)
	for _, s := range p.Services {
		if ms, ok := m.Services[s.Service]; ok {
			c.Services[s.Service] = pair(s.CPU, ms.CPU)
		}
	}
	c.Machine = pair(p.Machine.CPU, m.MachineCPU)
	c.Validity = validity(p, m, c, calibrated)
	return c
}

// validity names each known reason for which the prediction should not be trusted here.
func validity(p *Prediction, m *Measurement, c *Comparison, calibrated float64) []string {
	var v []string
	say := func(format string, a ...any) { v = append(v, fmt.Sprintf(format, a...)) }
	if calibrated == 0 {
		say("The demands were declared in the file, not measured: run 'banyan calibrate' for figures of this machine.")
	} else if ratio := c.Total.Measured / calibrated; ratio > 3 {
		say("The load is %.1f times that of the calibration: costs for each request may have changed on the way.", ratio)
	}
	if p.Saturated {
		say("The load is more than the model holds (%s is full): latencies grow for as long as it lasts, so none are predicted.", p.Bottleneck)
	} else if p.Machine.Utilisation > 0.85 {
		say("The machine is predicted to be %.0f%% busy: this close to full, a small error in the demands is a large one in the latencies.", 100*p.Machine.Utilisation)
	}
	if other := m.MachineCPU - knownCPU(m); other > 0.1*m.Cores {
		say("Processes that are not part of the system used %.2f of %.0f cores during the run: the model does not know them.", other, m.Cores)
	}
	var failed, all int64
	for _, r := range m.Routes {
		failed += r.Errors
		all += r.Requests
	}
	if all > 0 && float64(failed) > 0.01*float64(all) {
		say("%.1f%% of the requests failed: the model knows only answered ones.", 100*float64(failed)/float64(all))
	}
	if m.NotSent > 0 {
		say("%d requests were due and never sent: less was offered than the load says.", m.NotSent)
	}
	v = append(v, suspects(c)...)
	v = append(v, m.Notes...)
	v = append(v, p.Notes...)
	if len(v) == 0 {
		say("Within the model's validity: moderate load, measured demands, no failures.")
	}
	return v
}

func knownCPU(m *Measurement) float64 {
	var sum float64
	for _, s := range m.Services {
		sum += s.CPU
	}
	return sum
}

// suspects names routes that are much slower than predicted although the CPU is as predicted: they wait for something
// that the model has no station for.
func suspects(c *Comparison) []string {
	if math.Abs(c.Machine.Error) > 0.15 {
		return nil
	}
	var slow []string
	for name, r := range c.Routes {
		if r.Mean.Predicted > 0 && r.Mean.Measured > 1.5*r.Mean.Predicted && r.Mean.Measured-r.Mean.Predicted > time.Millisecond.Seconds() {
			slow = append(slow, name)
		}
	}
	if len(slow) == 0 {
		return nil
	}
	sort.Strings(slow)
	return []string{fmt.Sprintf("%s: much slower than predicted while the CPU is as predicted: something there queues that the model counts as a fixed delay (a lock, a disk, a pool).", strings.Join(slow, ", "))}
}
