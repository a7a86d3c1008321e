package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// Above that use of the machine, latencies say more of queueing than of the work.
const lowLoad = 0.6

// leastCallsShape is how many calls a shape is derived from.
const leastCallsShape = 200

// times is what is known of the latencies of calls: for one visit, mean and variance in seconds, and the variance of the
// estimated variance.
type times struct{ mean, variance, doubt float64 }

func timesOf(h *stats.Histogram) times {
	n := float64(h.Count())
	if n < 2 {
		return times{}
	}
	t := times{mean: h.Mean() / 1e9, variance: h.StdDev() * h.StdDev() / 1e18}
	var fourth float64
	for _, b := range h.Buckets() {
		d := (float64(b.Low)+float64(b.High))/2e9 - t.mean
		fourth += float64(b.Count) * d * d * d * d / n
	}
	t.doubt = max(0, fourth-t.variance*t.variance) / n
	return t
}

// findShapes derives how each service's own time varies from the latencies of the calls to it and of those that it makes,
// which are taken to be independent and made one after the other. Where the calls take most of the time, or more than it,
// nothing is said. Of a service that calls nobody the law that fits best is found too.
func (c *calibration) findShapes() error {
	services := map[string]*topology.CalibratedService{}
	into, out := map[string]*stats.Histogram{}, map[string][]EdgeMeasurement{}
	for _, e := range c.m.Edges {
		if e.Histogram == nil || e.Count == 0 {
			continue
		}
		if into[e.To] == nil {
			into[e.To] = e.Histogram.Clone()
		} else if err := into[e.To].Merge(e.Histogram); err != nil {
			return fmt.Errorf("calibrating: the latencies of %s: %w", e.To, err)
		}
		if e.From != "" {
			out[e.From] = append(out[e.From], e)
		}
	}
	if busy := c.m.MachineCPU / c.m.Cores; busy > lowLoad {
		if len(into) > 0 {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("the machine was %.0f%% busy: how times vary is not derived, for latencies are mostly waiting", 100*busy))
		}
		return nil
	}
	for svc, h := range into {
		if h.Count() < leastCallsShape || c.asksTables(svc) { // how the time at tables varies, nobody has seen
			continue
		}
		own := timesOf(h)
		whole := own.mean
		for _, e := range out[svc] {
			called, calls := timesOf(e.Histogram), float64(e.Count)/float64(h.Count())
			rest := calls - math.Floor(calls)
			own.mean -= calls * called.mean
			own.variance -= calls*called.variance + rest*(1-rest)*called.mean*called.mean
			own.doubt += calls * calls * called.doubt
		}
		if own.mean < 0.2*whole || own.variance < 0 {
			continue
		}
		square := own.mean * own.mean
		s := &topology.CalibratedService{Time: topology.Duration(seconds(own.mean)), SCV: own.variance / square, SCVError: math.Sqrt(own.doubt) / square}
		if len(out[svc]) == 0 {
			fits, err := queueing.FitLaws(binsOf(h))
			if err != nil {
				return fmt.Errorf("calibrating: the latencies of %s: %w", svc, err)
			}
			s.Distribution, s.Misfit = fits[0].Law, fits[0].KS
		}
		services[svc] = s
	}
	c.out.Calibration.Services = services
	return nil
}

func binsOf(h *stats.Histogram) []queueing.Bin {
	var bins []queueing.Bin
	for _, b := range h.Buckets() {
		bins = append(bins, queueing.Bin{Low: float64(b.Low) / 1e9, High: float64(b.High) / 1e9, Count: float64(b.Count)})
	}
	return bins
}

// mostlyCPU reports whether a service's own time is CPU time for the most part, so that how the one varies says how the
// other does.
func (c *calibration) mostlyCPU(svc string) bool {
	var cpu, own float64
	for _, r := range c.routes {
		cpu += c.rate(r) * c.cpu[r][svc]
		own += c.rate(r) * max(0, c.own[r][svc])
	}
	return cpu > 0.5*own
}

// countEdges counts how often a visit to each service calls each other; the standard error comes from how the seconds differ.
func (c *calibration) countEdges() {
	visits := map[string]int64{}
	for _, e := range c.m.Edges {
		visits[e.To] += e.Count
	}
	for _, e := range c.m.Edges {
		if e.From == "" || visits[e.From] == 0 {
			continue
		}
		edge := topology.CalibratedEdge{From: e.From, To: e.To, Calls: float64(e.Count) / float64(visits[e.From])}
		edge.Error = math.Sqrt(c.m.callsVariance(e, edge.Calls, c.m.PerSecond))
		c.out.Calibration.Edges = append(c.out.Calibration.Edges, edge)
	}
	slices.SortFunc(c.out.Calibration.Edges, func(a, b topology.CalibratedEdge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
}

// findHits takes over the hit ratios of caches, with the error of a share.
func (c *calibration) findHits() {
	for route, share := range c.m.HitRatios {
		n := float64(c.m.Routes[route].Requests)
		if n < minRequests || !(share >= 0 && share <= 1) {
			continue
		}
		if c.out.Calibration.HitRatios == nil {
			c.out.Calibration.HitRatios = map[string]*topology.CalibratedShare{}
		}
		c.out.Calibration.HitRatios[route] = &topology.CalibratedShare{Share: share, Error: math.Sqrt(share * (1 - share) / n)}
	}
}
