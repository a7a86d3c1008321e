package plan

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Options of a prediction. The zero value takes all from the file.
type Options struct {
	// Cores of the machine, where the file does not say.
	Cores float64
	// Replicas overrides the number of replicas, by service.
	Replicas map[string]int
	// CPU overrides the CPU limit of one replica in cores (0: none), by service.
	CPU map[string]float64
	// Curves from live traffic, by cache of the file: what share of the lookups it would answer with other amounts of memory, in order of these.
	Curves map[string][]CurvePoint
}

// Prediction is what a system is expected to do under a load.
type Prediction struct {
	Load Load `json:"load"`
	// Method of the solution, in words.
	Method string `json:"method"`
	// Saturated means that the load is more than the system holds. Then throughput is what it holds and latencies
	// are not given: they grow for as long as the load lasts.
	Saturated bool `json:"saturated"`
	// Bottleneck is the service with the highest utilisation of its limit, the places of one (see PlacesOf), or the machine.
	Bottleneck string `json:"bottleneck"`
	// Throughput of all routes in requests a second that are answered, not refused.
	Throughput float64             `json:"throughput"`
	Routes     []RoutePrediction   `json:"routes"`
	Services   []ServicePrediction `json:"services"`
	Machine    MachinePrediction   `json:"machine"`
	// Bound of requests in flight by 'adaptive'; nil where nothing bounds them, or where it is not modelled (see Beyond).
	Bound *BoundPrediction `json:"bound,omitempty"`
	// Claims say of each kind of figure by which method it was found and how far it is to be trusted.
	Claims []Claim `json:"claims"`
	// Queues are those that were simulated, by name; see Simulate.
	Queues []QueuePrediction `json:"queues,omitempty"`
	// Beyond names what the closed form leaves out, or knows too roughly at this load, and the simulator knows; see Simulate.
	Beyond []string `json:"beyond,omitempty"`
	// Caches of the file whose keys are known.
	Caches []CachePrediction `json:"caches,omitempty"`
	// Tables that the load asks; what their nodes use stands in Services too.
	Tables []TablePrediction `json:"tables,omitempty"`
	// Notes on what the prediction leaves out.
	Notes []string `json:"notes,omitempty"`
}

// RoutePrediction is what clients of a route are expected to see.
type RoutePrediction struct {
	Route string  `json:"route"`
	Rate  float64 `json:"rate"`
	// Mean and percentiles of the latency; 0 where the system is saturated.
	Mean   time.Duration `json:"mean_ns"`
	StdDev time.Duration `json:"stddev_ns"`
	P50    time.Duration `json:"p50_ns"`
	P95    time.Duration `json:"p95_ns"`
	P99    time.Duration `json:"p99_ns"`
	// HitRatio of its http_cache: the share of all its requests that no service is asked for. Nil where it has none, or
	// where nothing tells which answers are asked for.
	HitRatio *float64 `json:"hit_ratio,omitempty"`
}

// ServicePrediction is what a service is expected to use.
type ServicePrediction struct {
	Service  string `json:"service"`
	Replicas int    `json:"replicas"`
	// Rate of visits a second, all replicas together.
	Rate float64 `json:"rate"`
	// CPU in cores, all replicas together.
	CPU float64 `json:"cpu"`
	// Limit of one replica in cores, 0 for none.
	Limit float64 `json:"limit"`
	// Utilisation of the limit, or of the machine where there is none: 0 to 1.
	Utilisation float64 `json:"utilisation"`
	// Concurrency limit of one replica, 0 for none. Places is the share of all that it leaves that are held, 0 to 1, and Wait
	// how long a call waits for one.
	Concurrency int           `json:"concurrency,omitempty"`
	Places      float64       `json:"places,omitempty"`
	Wait        time.Duration `json:"wait_ns,omitempty"`
}

// MachinePrediction is what the machine is expected to carry.
type MachinePrediction struct {
	Cores       float64 `json:"cores"`
	CPU         float64 `json:"cpu"`
	Utilisation float64 `json:"utilisation"`
}

// Predict solves the model of a system under a load.
func Predict(sys *topology.System, load Load, o Options) (*Prediction, error) {
	m, err := newModel(sys, load, o)
	if err != nil {
		return nil, err
	}
	s, err := m.compile(sys, m.mixOf(load))
	if err != nil {
		return nil, err
	}
	return s.predictOf(m, sys, load)
}

// predictOf is predict with what the system's calibration and the model have to say.
func (s *steady) predictOf(m *model, sys *topology.System, load Load) (*Prediction, error) {
	p, err := s.predict(load, m.notes)
	if err != nil {
		return nil, err
	}
	calibrated := 0.0
	if sys.Calibration != nil {
		calibrated = sys.Calibration.Throughput
		p.Notes = append(p.Notes, beyondSweep(sys.Calibration.USL, p.Throughput)...)
	}
	rates := map[string]float64{}
	for i := range s.routes {
		rates[s.routes[i].name] = p.Throughput * s.routes[i].share
	}
	if err := m.describeCaches(p, rates); err != nil {
		return nil, err
	}
	p.Claims = s.claims(p, m.beyond, calibrated)
	p.Beyond = slices.Clone(m.beyond)
	if name := s.throttled(p.Throughput); name != "" && !p.Saturated {
		p.Beyond = append(p.Beyond, "what waits for the CPU limit of "+name)
	}
	return p, nil
}

// throttledUse is how much of its CPU limit a service uses where what waits for the next period is no longer small. The closed
// form takes periods to be independent of each other, and what one leaves to the next grows with the use.
const throttledUse = 0.5

// throttled is the service that uses most of its CPU limit at throughput x, where that is much.
func (s *steady) throttled(x float64) (name string) {
	most := throttledUse
	for i := range s.services {
		st := &s.services[i]
		if !st.limited(s.cores) || st.serving() == 0 {
			continue
		}
		if used := s.cpuOf(i, x) / (st.limit * st.alike()); used >= most {
			name, most = st.name, used
		}
	}
	return name
}

// predict describes the system under a load; notes are those of the model.
func (s *steady) predict(load Load, notes []string) (*Prediction, error) {
	p := &Prediction{Load: load, Notes: slices.Clone(notes)}
	x, err := s.settle(load, p)
	if err != nil {
		return nil, err
	}
	p.Throughput, p.Bottleneck = x, s.busiest(x)
	if p.Saturated {
		_, p.Bottleneck = s.held()
	}
	for i := range s.routes {
		pass := &s.routes[i]
		r := RoutePrediction{Route: pass.name, Rate: x * pass.share}
		if pass.cache != nil {
			r.HitRatio = &pass.cache.hit
		}
		if !p.Saturated {
			if err := s.describe(&r, i); err != nil {
				return nil, err
			}
		}
		p.Routes = append(p.Routes, r)
	}
	s.describeUse(p, x)
	s.describeTables(p, x)
	s.turned = 0
	return p, nil
}

// settle solves the system under a load, and returns its throughput.
func (s *steady) settle(load Load, p *Prediction) (x float64, err error) {
	s.turned = 0
	x, ok, err := s.unbounded(load)
	if err != nil {
		return 0, fmt.Errorf("solving the model: %w", err)
	}
	if p.Method = s.method("closed form of an open network"); load.Users > 0 {
		p.Method = s.method("mean value analysis of users who wait and think")
	}
	if s.bound != nil {
		return s.bounded(load, x, ok, p)
	}
	if !ok {
		// It serves what it holds, of every route alike.
		held, _ := s.held()
		p.Saturated, p.Method, x = true, "operational bounds: saturated", min(held, x)
		s.loseToLimits(x)
	}
	return x, nil
}

// reach solves the system under a load, for what is asked about its latencies next. It reports false where the load is more than is held.
func (s *steady) reach(load Load) (bool, error) {
	var p Prediction
	_, err := s.settle(load, &p)
	s.turned = 0
	return err == nil && !p.Saturated, err
}

// unbounded solves a load that nothing refuses. It reports false where that is more than is held.
func (s *steady) unbounded(load Load) (x float64, ok bool, err error) {
	if load.Users > 0 {
		x, err = s.closed(load.Users, load.Think.Seconds())
		return x, err == nil, err
	}
	x = load.Total()
	ok, err = s.solve(x)
	return x, ok, err
}

// method names how the system is solved, from how its CPU is.
func (s *steady) method(cpu string) string {
	if s.layered {
		return "layers of calls over the " + cpu
	}
	return cpu
}

// describe fills in the latency of a route after a solve.
func (s *steady) describe(r *RoutePrediction, i int) error {
	cache, mean, variance := s.routes[i].cache, s.mean[i], s.variance[i]
	r.Mean, r.StdDev = seconds(mean), seconds(math.Sqrt(cache.variance(mean, variance)))
	for k, to := range []*time.Duration{&r.P50, &r.P95, &r.P99} {
		var v float64
		var err error
		if q := percentiles[k]; cache != nil && cache.hit > 0 {
			v, err = cache.quantile(mean, variance, q)
		} else {
			v, err = s.at(i, &curve{q: q})
		}
		if err != nil {
			return fmt.Errorf("route %s: %w", r.Route, err)
		}
		*to = seconds(v)
	}
	return nil
}

// percentiles that are predicted.
var percentiles = [...]float64{0.5, 0.95, 0.99}

func (s *steady) describeUse(p *Prediction, x float64) {
	p.Machine.Cores = s.cores
	for i := range s.services {
		st := &s.services[i]
		sp := ServicePrediction{Service: st.name, Replicas: st.replicas, Limit: st.limit, Rate: x * st.visits, CPU: s.cpuOf(i, x), Concurrency: st.places}
		if st.limit > 0 {
			sp.Utilisation = sp.CPU / (st.limit * float64(st.replicas))
			if st.table != nil { // of its busiest node
				sp.Utilisation = sp.CPU / (st.limit * st.spread)
			}
		} else {
			sp.Utilisation = sp.CPU / s.cores
		}
		if st.places > 0 && !p.Saturated {
			sp.Places, sp.Wait = s.waits[i].used, seconds(s.waits[i].mean)
		}
		p.Machine.CPU += sp.CPU
		p.Services = append(p.Services, sp)
	}
	p.Machine.Utilisation = p.Machine.CPU / s.cores
}

func seconds(s float64) time.Duration {
	if s > math.MaxInt64/1e9 {
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}
