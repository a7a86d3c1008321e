package observe

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Window is everything that happened over a span. The embedded Interval holds the sums, with Start and End of what was
// really covered: whole intervals whose middle lies in the span that was asked for.
type Window struct {
	Interval
	// Covered is the time of all intervals together. It is less than End - Start where samples are missing.
	Covered time.Duration `json:"covered_ns"`
	// Precision of the latencies in significant decimal digits: 2, or 1 where the span reaches back further than the
	// fine history, ten minutes.
	Precision int `json:"precision_digits"`
	// Services says what each service used, by name. Gateway is one of them.
	Services []ServiceUse `json:"services"`
	// Intervals are the parts that were added up, in order, without latency distributions (the sums of latencies are
	// there): what a regression needs.
	Intervals []Interval `json:"intervals"`
}

// ServiceUse is what all replicas of a service used together.
type ServiceUse struct {
	Service string `json:"service"`
	// Cores of CPU used, on average over the window.
	Cores float64 `json:"cores"`
	// CPU time in total, and how long limits held replicas back.
	CPU       time.Duration `json:"cpu_ns"`
	Throttled time.Duration `json:"throttled_ns"`
	// Waited is how long threads were ready to run and did not, all of them together.
	Waited time.Duration `json:"waited_ns"`
	// Running is the mean number of replicas that had a process.
	Running float64 `json:"running"`
	// Memory in bytes, all replicas together, on average over the window.
	Memory int64 `json:"memory_bytes"`
	// Replicas that had a process at any time in the window.
	Replicas []ProcessSums `json:"replicas"`
}

// Rate returns n per second of the time covered.
func (w *Window) Rate(n int64) float64 {
	if w.Covered <= 0 {
		return 0
	}
	return float64(n) / w.Covered.Seconds()
}

// Cores returns the CPU cores that the whole machine used on average.
func (w *Window) Cores() float64 { return ratio(w.Machine.Busy, w.Covered) }

// Route returns the sums of a route, and false if nothing happened on it.
func (w *Window) Route(name string) (CallSums, bool) {
	i := slices.IndexFunc(w.Routes, func(c CallSums) bool { return c.Route == name })
	if i < 0 {
		return CallSums{}, false
	}
	return w.Routes[i], true
}

// Edge returns the sums of an edge, and false if nothing happened on it.
func (w *Window) Edge(from, to string) (CallSums, bool) {
	i := slices.IndexFunc(w.Edges, func(c CallSums) bool { return c.From == from && c.To == to })
	if i < 0 {
		return CallSums{}, false
	}
	return w.Edges[i], true
}

// Service returns what a service used, and false if it had no process.
func (w *Window) Service(name string) (ServiceUse, bool) {
	i := slices.IndexFunc(w.Services, func(s ServiceUse) bool { return s.Service == name })
	if i < 0 {
		return ServiceUse{}, false
	}
	return w.Services[i], true
}

// Window returns everything that happened between from and to, as far as it is kept: seconds for ten minutes, ten
// seconds each for six hours. It returns an error that wraps ErrNoData if nothing of it is.
func (o *Observer) Window(from, to time.Time) (*Window, error) {
	_, _, items := o.snapshot(from, to)
	w, err := windowOf(func(yield func(*Interval, error) bool) {
		for _, s := range items {
			if iv, err := s.decode(); !yield(iv, err) || err != nil {
				return
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("window from %s to %s: %w", from.Format(time.RFC3339), to.Format(time.RFC3339), err)
	}
	return w, nil
}

// windowOf adds intervals up.
func windowOf(intervals iter.Seq2[*Interval, error]) (*Window, error) {
	w := &Window{}
	total := newSums(Digits)
	for iv, err := range intervals {
		if err == nil {
			total.reduce(iv.digits)
			err = total.add(iv)
		}
		if err != nil {
			return nil, err
		}
		w.Intervals = append(w.Intervals, withoutLatency(iv))
	}
	if len(w.Intervals) == 0 {
		return nil, ErrNoData
	}
	w.Interval, w.Covered, w.Precision = *total.interval(), total.covered, total.digits
	w.Services = servicesOf(w.Processes, w.Covered)
	return w, nil
}

// withoutLatency lets go of the memory that the latencies share with their stored form.
func withoutLatency(iv *Interval) Interval {
	bare := *iv
	for _, calls := range [][]CallSums{bare.Routes, bare.Edges} {
		for i := range calls {
			calls[i].Latency, calls[i].packed = nil, nil
		}
	}
	for i := range bare.Backends {
		bare.Backends[i].Latency, bare.Backends[i].packed = nil, nil
	}
	return bare
}

func servicesOf(processes []ProcessSums, covered time.Duration) []ServiceUse {
	var services []ServiceUse
	var memory float64
	for i, p := range processes { // ordered by service
		if i == 0 || processes[i-1].Service != p.Service {
			services = append(services, ServiceUse{Service: p.Service})
			memory = 0
		}
		s := &services[len(services)-1]
		s.Replicas = append(s.Replicas, p)
		s.CPU += p.CPU
		s.Throttled += p.Throttled
		s.Waited += p.Waited
		s.Cores = ratio(s.CPU, covered)
		s.Running += ratio(p.Alive, covered)
		memory += float64(p.Memory) * ratio(p.Alive, covered)
		s.Memory = int64(memory)
	}
	return services
}
