package plan

import (
	"math"

	"github.com/banyanhq/banyan/topology"
)

// dispersionSpan is the span over which bursts count, in pulses: a second, about as long as a queue remembers them.
const dispersionSpan = 5

// What is believed of the dispersion before the pulses are looked at: that sessions come independently of each other.
const (
	dispersionPrior      = 2.0
	dispersionPriorError = 1.5
)

// minPulses is how many pulses it takes to say anything at all.
const minPulses = 30

// dispersion is the index of dispersion of the work that comes to the CPU (Fendick and Whitt, 'Measurements and
// approximations to describe the offered traffic and predict the average workload in a single-server queue', 1989): the
// variance of the work of a short span over its mean, here as a multiple of half of what sessions that come independently of
// each other have by chance alone, which is the mean square of a session's work over its mean. So it is 2 for those, and
// waiting grows in proportion to it. The variance is taken from successive differences (von Neumann 1941), so that a load
// that changes slowly does not count as bursts. Without enough pulses it is 2.
func dispersion(beats []float64, session moments) float64 {
	n := float64(len(beats))
	var sum float64
	for _, cpu := range beats {
		sum += cpu
	}
	if n < minPulses || sum == 0 || session.mean <= 0 {
		return 2
	}
	// The difference of two neighbouring spans, wherever they can lie.
	var square, pairs float64
	for i := 0; i+2*dispersionSpan <= len(beats); i++ {
		var d float64
		for j := range dispersionSpan {
			d += beats[i+dispersionSpan+j] - beats[i+j]
		}
		square += d * d
		pairs++
	}
	variance, mean := square/pairs/2, dispersionSpan*sum/n
	found := 2 * variance / mean / (session.square / session.mean)
	// Spans that overlap tell no more than those that do not; a variance from k of them errs by sqrt(2/k).
	err := max(found, 1) * math.Sqrt(2*dispersionSpan/n)
	w, prior := 1/(err*err), 1.0/(dispersionPriorError*dispersionPriorError)
	return min(max((found*w+dispersionPrior*prior)/(w+prior), 1), 20)
}

// moments are the mean and the mean square of an amount of work, in CPU seconds.
type moments struct{ mean, square float64 }

// apart is a pause after which a user's next request is not counted with those before: about as long as a span.
const apart = 0.5

// session is the work of what comes together: the requests that a scenario makes one soon after the other. Where the file
// has no scenarios, each request comes by itself.
func (c *calibration) session() moments {
	var all moments
	var rate float64
	add := func(m moments, r float64) {
		all.mean += r * m.mean
		all.square += r * m.square
		rate += r
	}
	if w := c.sys.Workload; w != nil && len(w.Scenarios) > 0 {
		router := topology.NewRouter(c.sys.Routes)
		for name, s := range w.Scenarios {
			share := 1.0
			if len(w.Mix) > 0 {
				share = float64(w.Mix[name])
			}
			for _, m := range c.together(router, w, s) {
				add(m, share)
			}
		}
	}
	if rate == 0 || all.mean == 0 {
		all, rate = moments{}, 0
		for _, route := range c.routes {
			add(c.request(route), c.rate(route))
		}
	}
	if rate == 0 {
		return moments{}
	}
	return moments{mean: all.mean / rate, square: all.square / rate}
}

// together is the work of a scenario's requests, in groups between which its user pauses.
func (c *calibration) together(router *topology.Router, w *topology.Workload, s *topology.Scenario) []moments {
	var groups []moments
	var mean, variance float64
	end := func() {
		if mean > 0 {
			groups = append(groups, moments{mean: mean, square: variance + mean*mean})
		}
		mean, variance = 0, 0
	}
	for _, st := range s.Steps {
		if !st.IsRouted() {
			continue
		}
		route := router.OfStep(st)
		if route == nil || c.cpu[route.Name] == nil {
			continue
		}
		weight := float64(st.Weight)
		if weight == 0 {
			weight = 1
		}
		m := c.request(route.Name)
		mean += weight * m.mean
		variance += weight*m.square - weight*weight*m.mean*m.mean
		if w.ThinkAfter(s, st).Std().Seconds() >= apart {
			end()
		}
	}
	end()
	return groups
}

// request is the work of a request of a route, of all services together.
func (c *calibration) request(route string) moments {
	var mean, variance float64
	for svc, cpu := range c.cpu[route] {
		v := c.visits[route][svc]
		if svc == Client || v <= 0 {
			continue
		}
		scv := 1.0
		switch s := c.out.Calibration.Services[svc]; {
		case svc == Gateway:
			scv = 0
		case s != nil:
			scv = s.SCV
		}
		mean += cpu
		variance += scv * cpu * cpu / v
	}
	return moments{mean: mean, square: variance + mean*mean}
}
