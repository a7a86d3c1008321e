package observe

import (
	"time"

	"github.com/banyanhq/banyan/stats"
)

// sums adds intervals up: ten seconds into a coarse interval, or a span into a window. Gauges become means over time.
type sums struct {
	start, end time.Time
	covered    time.Duration // of all intervals, gaps left out
	digits     int
	routes     map[callKey]*CallSums
	edges      map[callKey]*CallSums
	attributed map[callKey]*AttributedSums
	backends   map[replicaKey]*BackendSums
	processes  map[replicaKey]*ProcessSums
	bounds     map[string]*boundSum
	machine    MachineSums
	memory     float64 // of the machine, byte-seconds
	load       float64
}

// boundSum is a bound times how long it stood there, and how long that was.
type boundSum struct{ limit, seconds float64 }

// newSums returns empty sums whose histograms have the given precision; with 0 digits latencies are left out.
func newSums(digits int) *sums {
	return &sums{digits: digits, routes: map[callKey]*CallSums{}, edges: map[callKey]*CallSums{},
		attributed: map[callKey]*AttributedSums{}, backends: map[replicaKey]*BackendSums{}, processes: map[replicaKey]*ProcessSums{}, bounds: map[string]*boundSum{}}
}

func (s *sums) add(iv *Interval) error {
	length := iv.Duration()
	if s.covered == 0 || iv.Start.Before(s.start) {
		s.start = iv.Start
	}
	if s.covered == 0 || iv.End.After(s.end) {
		s.end = iv.End
	}
	s.covered += length
	for i := range iv.Routes {
		c := &iv.Routes[i]
		if err := s.addCalls(s.routes, callKey{route: c.Route}, c, length); err != nil {
			return err
		}
	}
	for i := range iv.Edges {
		c := &iv.Edges[i]
		if err := s.addCalls(s.edges, callKey{from: c.From, to: c.To}, c, length); err != nil {
			return err
		}
	}
	for _, a := range iv.Attributed {
		total := entry(s.attributed, callKey{a.Route, a.From, a.To})
		total.Route, total.From, total.To = a.Route, a.From, a.To
		total.Count += a.Count
		total.Sum += a.Sum
	}
	for i := range iv.Backends {
		if err := s.addBackend(&iv.Backends[i], length); err != nil {
			return err
		}
	}
	for _, p := range iv.Processes {
		total := entry(s.processes, replicaKey{p.Service, p.Replica})
		total.Service, total.Replica = p.Service, p.Replica
		total.Memory = weigh(total.Memory, total.Alive, p.Memory, p.Alive)
		total.MemoryMax = max(total.MemoryMax, p.MemoryMax)
		total.CPU += p.CPU
		total.Throttled += p.Throttled
		total.Waited += p.Waited
		total.Alive += p.Alive
	}
	for _, b := range iv.Bounds {
		total := entry(s.bounds, b.Service)
		total.limit += b.Limit * length.Seconds()
		total.seconds += length.Seconds()
	}
	s.machine.Busy += iv.Machine.Busy
	s.machine.Stolen += iv.Machine.Stolen
	s.machine.Cores = max(s.machine.Cores, iv.Machine.Cores)
	s.machine.MemoryTotal = max(s.machine.MemoryTotal, iv.Machine.MemoryTotal)
	s.memory += float64(iv.Machine.MemoryUsed) * length.Seconds()
	s.load += iv.Machine.Load1 * length.Seconds()
	return nil
}

func entry[K comparable, T any](m map[K]*T, k K) *T {
	v := m[k]
	if v == nil {
		v = new(T)
		m[k] = v
	}
	return v
}

func (s *sums) addCalls(m map[callKey]*CallSums, k callKey, c *CallSums, length time.Duration) error {
	total := entry(m, k)
	total.Route, total.From, total.To = c.Route, c.From, c.To
	total.Requests += c.Requests
	total.Errors += c.Errors
	total.Refused += c.Refused
	total.InFlight += c.InFlight * length.Seconds() // divided by the time covered at the end
	total.Sum += c.Sum
	if len(c.ByCode) > 0 && total.ByCode == nil {
		total.ByCode = make(map[int]int64, len(c.ByCode))
	}
	for code, n := range c.ByCode {
		total.ByCode[code] += n
	}
	return s.addLatency(&total.Latency, c.Latency, c.packed)
}

func (s *sums) addBackend(b *BackendSums, length time.Duration) error {
	total := entry(s.backends, replicaKey{b.Service, b.Replica})
	total.Service, total.Replica = b.Service, b.Replica
	total.Requests += b.Requests
	total.Errors += b.Errors
	total.InFlight += b.InFlight * length.Seconds()
	return s.addLatency(&total.Latency, b.Latency, b.packed)
}

func (s *sums) addLatency(to **stats.Histogram, h *stats.Histogram, p packed) error {
	if s.digits == 0 || (h == nil && len(p) == 0) {
		return nil
	}
	if *to == nil {
		*to = stats.NewHistogram(s.digits)
	}
	if h == nil {
		return p.addTo(*to)
	}
	if (*to).Merge(h) != nil {
		addBuckets(*to, h)
	}
	return nil
}

// interval returns the sums. They may not be added to afterwards.
func (s *sums) interval() *Interval {
	iv := &Interval{Start: s.start, End: s.end, Machine: s.machine, digits: s.digits}
	seconds := s.covered.Seconds()
	if seconds > 0 {
		iv.Machine.MemoryUsed = int64(s.memory / seconds)
		iv.Machine.Load1 = s.load / seconds
	}
	for _, c := range s.routes {
		c.InFlight /= seconds
		iv.Routes = append(iv.Routes, *c)
	}
	for _, c := range s.edges {
		c.InFlight /= seconds
		iv.Edges = append(iv.Edges, *c)
	}
	for _, a := range s.attributed {
		iv.Attributed = append(iv.Attributed, *a)
	}
	for _, b := range s.backends {
		b.InFlight /= seconds
		iv.Backends = append(iv.Backends, *b)
	}
	for _, p := range s.processes {
		iv.Processes = append(iv.Processes, *p)
	}
	for service, b := range s.bounds {
		iv.Bounds = append(iv.Bounds, BoundMean{service, b.limit / b.seconds})
	}
	iv.sort()
	return iv
}

// reduce lowers the precision to that of an interval that is about to be added.
func (s *sums) reduce(digits int) {
	if s.digits == 0 || digits >= s.digits {
		return
	}
	s.digits = digits
	for _, m := range []map[callKey]*CallSums{s.routes, s.edges} {
		for _, c := range m {
			c.Latency = toDigits(c.Latency, digits)
		}
	}
	for _, b := range s.backends {
		b.Latency = toDigits(b.Latency, digits)
	}
}
