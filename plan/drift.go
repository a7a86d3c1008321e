package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// WatchInterval is what was observed of a running system over a few seconds.
type WatchInterval struct {
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds"`
	// Busy is the number of the machine's cores that were busy, by whatever process.
	Busy float64 `json:"busy"`
	// Requests from outside that ended, by route.
	Requests map[string]float64 `json:"requests"`
	// CPU seconds used, by service, the gateway too.
	CPU map[string]float64 `json:"cpu"`
	// Visits to each service, and the time that they took, calls to others taken out, in seconds.
	Visits map[string]float64 `json:"visits"`
	Own    map[string]float64 `json:"own"`
}

// Quantities that are watched at each service.
const (
	WatchCPU    = "CPU of a visit"
	WatchTime   = "time of a visit"
	WatchVisits = "visits"
)

// Departure says that the live system left the model.
type Departure struct {
	Service  string `json:"service"`
	Quantity string `json:"quantity"`
	// Ratio of what is observed to what the model says, from Since on.
	Ratio float64 `json:"ratio"`
	// Observed and Predicted in seconds, or in visits a second.
	Observed  float64   `json:"observed"`
	Predicted float64   `json:"predicted"`
	Since     time.Time `json:"since"`
	At        time.Time `json:"at"`
}

// WatchOptions say what counts as leaving the model.
type WatchOptions struct {
	// Tolerance is by how much the CPU time and the number of visits may differ from the model's for good, as a share;
	// default 0.25. The time of a visit may by twice as much, for the model predicts it less well.
	Tolerance float64
	// FalseAlarm is how long it takes on average until a system that stays within the tolerance is said to have left it, all
	// that is watched taken together; default 24 hours.
	FalseAlarm time.Duration
	// Interval between two calls of Observe; default 5 s.
	Interval time.Duration
}

// Watch holds a running system against its model, interval by interval.
type Watch struct {
	sys    *topology.System
	m      *model
	o      WatchOptions
	bias   map[string]float64 // of the time of a visit, at the calibration
	charts []*chart
	limit  float64
	seen   int
}

// NewWatch prepares to watch a calibrated system.
func NewWatch(sys *topology.System, o Options, w WatchOptions) (*Watch, error) {
	k := sys.Calibration
	if k == nil || len(k.Rates) == 0 {
		return nil, errors.New("watching a system against its model: there is no calibration, or an old one: run 'banyan load' and 'banyan calibrate'")
	}
	w.Tolerance = cmp.Or(w.Tolerance, 0.25)
	w.FalseAlarm = cmp.Or(w.FalseAlarm, 24*time.Hour)
	w.Interval = cmp.Or(w.Interval, 5*time.Second)
	if !(w.Tolerance > 0 && w.Tolerance <= 10) || w.Interval <= 0 || w.FalseAlarm < 20*w.Interval {
		return nil, fmt.Errorf("watching a system: tolerance %v, interval %v, a false alarm in %v: want a tolerance of up to 10 and a false alarm in 20 intervals at most", w.Tolerance, w.Interval, w.FalseAlarm)
	}
	m, err := newModel(sys, Load{Rates: k.Rates}, o)
	if err != nil {
		return nil, err
	}
	m.services = append(m.services, service{name: others, replicas: 1})
	out := &Watch{sys: sys, m: m, o: w, bias: map[string]float64{}}
	at, err := out.expect(k.Rates)
	if err != nil {
		return nil, fmt.Errorf("predicting the calibration's own load: %w", err)
	}
	for _, s := range m.services {
		if s.name == Client || s.name == others || isTable(s.name) || at.visits[s.name] == 0 {
			continue
		}
		out.charts = append(out.charts, &chart{service: s.name, quantity: WatchCPU, tolerance: math.Log1p(w.Tolerance)})
		if s.name == Gateway {
			continue
		}
		out.charts = append(out.charts, &chart{service: s.name, quantity: WatchVisits, tolerance: math.Log1p(w.Tolerance)})
		if c := k.Services[s.name]; c != nil && c.Time > 0 && at.own[s.name] > 0 {
			out.bias[s.name] = c.Time.Std().Seconds() / at.own[s.name]
			out.charts = append(out.charts, &chart{service: s.name, quantity: WatchTime, tolerance: math.Log1p(2 * w.Tolerance)})
		}
	}
	if len(out.charts) == 0 {
		return nil, errors.New("watching a system: its calibration names no service")
	}
	// Each side of each chart has its part of the false alarms.
	out.limit = cusumLimit(w.FalseAlarm.Seconds() / w.Interval.Seconds() * 2 * float64(len(out.charts)))
	return out, nil
}

// others is what processes outside of the system use.
const others = "others"

// expected is what the model says of a load: a second's CPU seconds and visits, and the mean time of a visit.
type expected struct {
	cpu, visits, own map[string]float64
	saturated        bool
}

func (w *Watch) expect(rates map[string]float64) (*expected, error) {
	load := Load{Rates: rates}
	s, err := w.m.compile(w.sys, w.m.mixOf(load))
	if err != nil {
		return nil, err
	}
	p, err := s.predict(load, nil)
	if err != nil {
		return nil, err
	}
	e := &expected{cpu: map[string]float64{}, visits: map[string]float64{}, own: map[string]float64{}, saturated: p.Saturated}
	for _, s := range p.Services {
		e.cpu[s.Service] += s.CPU
		e.visits[s.Service] = s.Rate
		if isTable(s.Service) {
			e.cpu[Gateway] += s.CPU // tables run inside of its process
		}
	}
	for i, r := range p.Routes {
		stretch := 1.0
		if cpu := s.routes[i].cpu; cpu > 0 {
			delay := s.routes[i].delay
			for _, c := range s.routes[i].at {
				asked, _ := s.tableWait(&c)
				delay += c.demand.visits * asked
			}
			stretch = max(1, (r.Mean.Seconds()-delay)/cpu)
		}
		for svc, d := range w.m.demands[r.Route] {
			e.own[svc] += r.Rate * d.visits * (d.cpu*stretch + d.delay)
		}
	}
	for svc, v := range e.visits {
		if v > 0 {
			e.own[svc] /= v
		}
	}
	return e, nil
}

// leastWatched is how many visits to a service in an interval are told from chance.
const leastWatched = 20

// Observe takes the next interval in and returns what has left the model with it, each thing once. An interval with few
// requests tells nothing.
func (w *Watch) Observe(iv *WatchInterval) ([]Departure, error) {
	if !(iv.Seconds > 0) {
		return nil, fmt.Errorf("watching a system: an interval of %v s", iv.Seconds)
	}
	rates, known := map[string]float64{}, 0.0
	for _, route := range w.m.routes {
		if n := iv.Requests[route]; n > 0 {
			rates[route] = n / iv.Seconds
			known += n
		}
	}
	if known < leastWatched {
		return nil, nil
	}
	busy := iv.Busy
	for _, cpu := range iv.CPU {
		busy -= cpu / iv.Seconds
	}
	w.m.idle[others] = max(0, busy)
	e, err := w.expect(rates)
	if err != nil {
		return nil, err
	}
	var left []Departure
	for _, c := range w.charts {
		var observed, predicted float64
		visits := iv.Visits[c.service]
		switch {
		case c.quantity == WatchVisits:
			observed, predicted = visits/iv.Seconds, e.visits[c.service]
		case c.quantity == WatchCPU && (visits >= leastWatched || c.service == Gateway):
			// Per visit that was made, so that more visits do not count twice.
			if visits == 0 {
				visits = e.visits[c.service] * iv.Seconds
			}
			observed, predicted = iv.CPU[c.service]/visits, e.cpu[c.service]/e.visits[c.service]
		case c.quantity == WatchTime && visits >= leastWatched && !e.saturated:
			observed, predicted = iv.Own[c.service]/visits, w.bias[c.service]*e.own[c.service]
		}
		if e.visits[c.service]*iv.Seconds < leastWatched || !(observed > 0 && predicted > 0) {
			continue
		}
		if d, ok := c.add(observed, predicted, iv.Start, w.limit); ok {
			d.At = iv.Start.Add(time.Duration(iv.Seconds * float64(time.Second)))
			left = append(left, d)
		}
	}
	w.seen++
	slices.SortStableFunc(left, func(a, b Departure) int {
		return cmp.Compare(math.Abs(math.Log(b.Ratio)), math.Abs(math.Log(a.Ratio)))
	})
	return left, nil
}

// Intervals that told something.
func (w *Watch) Intervals() int { return w.seen }
