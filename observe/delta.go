package observe

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// forgetAfter is how long a counter may be missing from the samples and still be continued where it was.
const forgetAfter = 15 * time.Minute

type callKey struct{ route, from, to string }

func compareCallKeys(a, b callKey) int {
	return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
}

type replicaKey struct{ service, replica string }

func compareReplicaKeys(a, b replicaKey) int {
	return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.replica, b.replica))
}

// processKey tells apart the processes that bore a replica's name one after the other.
type processKey struct {
	replicaKey
	started int64 // Unix nanoseconds, 0: unknown
}

type seen[T any] struct {
	at time.Time
	v  T
}

// tracker turns a series of samples into intervals. It is pure: the same samples give the same intervals.
type tracker struct {
	prev       *Sample
	swept      time.Time
	calls      map[callKey]seen[CallCounters]
	attributed map[callKey]seen[AttributedCounters]
	backends   map[replicaKey]seen[BackendState]
	processes  map[processKey]seen[ProcessCounters]
}

// next returns what happened since the sample before. It returns false where there is none to compare with: for the
// first sample, and for one that is not later than the last.
func (t *tracker) next(s *Sample) (*Interval, bool) {
	if t.prev == nil || !s.At.After(t.prev.At) {
		*t = tracker{processes: map[processKey]seen[ProcessCounters]{}, swept: s.At}
		t.forgetCalls()
		t.baseline(s)
		t.prev = s
		return nil, false
	}
	if !s.Since.Equal(t.prev.Since) {
		t.forgetCalls()
	}
	iv := &Interval{Start: t.prev.At, End: s.At, digits: Digits}
	for _, c := range s.Routes {
		if d, ok := t.call(callKey{route: c.Route}, c, s.At); ok {
			d.Route = c.Route
			iv.Routes = append(iv.Routes, d)
		}
	}
	for _, c := range s.Edges {
		if d, ok := t.call(callKey{from: c.From, to: c.To}, c, s.At); ok {
			d.From, d.To = c.From, c.To
			iv.Edges = append(iv.Edges, d)
		}
	}
	for _, a := range s.Attributed {
		if d, ok := t.attribute(a, s.At); ok {
			iv.Attributed = append(iv.Attributed, d)
		}
	}
	for _, b := range s.Backends {
		if d, ok := t.backend(b, s.At); ok {
			iv.Backends = append(iv.Backends, d)
		}
	}
	for _, b := range s.Bounds {
		iv.Bounds = append(iv.Bounds, BoundMean{b.Service, float64(max(b.Limit, 0))})
	}
	iv.Processes = t.processSums(s)
	iv.Machine = machineSince(s.Machine, t.prev.Machine)
	iv.sort()
	t.prev = s
	t.sweep(s.At)
	return iv, true
}

func (iv *Interval) sort() {
	calls := func(a, b CallSums) int {
		return compareCallKeys(callKey{a.Route, a.From, a.To}, callKey{b.Route, b.From, b.To})
	}
	slices.SortFunc(iv.Routes, calls)
	slices.SortFunc(iv.Edges, calls)
	slices.SortFunc(iv.Attributed, func(a, b AttributedSums) int {
		return compareCallKeys(callKey{a.Route, a.From, a.To}, callKey{b.Route, b.From, b.To})
	})
	slices.SortFunc(iv.Backends, func(a, b BackendSums) int {
		return compareReplicaKeys(replicaKey{a.Service, a.Replica}, replicaKey{b.Service, b.Replica})
	})
	slices.SortFunc(iv.Processes, func(a, b ProcessSums) int {
		return compareReplicaKeys(replicaKey{a.Service, a.Replica}, replicaKey{b.Service, b.Replica})
	})
	slices.SortFunc(iv.Bounds, func(a, b BoundMean) int { return cmp.Compare(a.Service, b.Service) })
}

func (t *tracker) forgetCalls() {
	t.calls = map[callKey]seen[CallCounters]{}
	t.attributed = map[callKey]seen[AttributedCounters]{}
	t.backends = map[replicaKey]seen[BackendState]{}
}

func (t *tracker) baseline(s *Sample) {
	for _, c := range s.Routes {
		t.calls[callKey{route: c.Route}] = seen[CallCounters]{s.At, c}
	}
	for _, c := range s.Edges {
		t.calls[callKey{from: c.From, to: c.To}] = seen[CallCounters]{s.At, c}
	}
	for _, a := range s.Attributed {
		t.attributed[callKey{a.Route, a.From, a.To}] = seen[AttributedCounters]{s.At, a}
	}
	for _, b := range s.Backends {
		t.backends[replicaKey{b.Service, b.Replica}] = seen[BackendState]{s.At, b}
	}
	for _, p := range s.Processes {
		t.processes[keyOf(p)] = seen[ProcessCounters]{s.At, p}
	}
}

func keyOf(p ProcessCounters) processKey {
	k := processKey{replicaKey: replicaKey{p.Service, p.Replica}}
	if !p.Started.IsZero() {
		k.started = p.Started.UnixNano()
	}
	return k
}

// call returns what was counted since the last time. A counter that was not there before began at zero, and so did one
// that is smaller than it was.
func (t *tracker) call(k callKey, c CallCounters, at time.Time) (CallSums, bool) {
	old, known := t.calls[k]
	if known && old.at.Equal(at) {
		return CallSums{}, false // named twice in one sample
	}
	t.calls[k] = seen[CallCounters]{at, c}
	d, ok := callsSince(c, old.v)
	if !known || !ok {
		d = callsSinceStart(c)
	}
	return d, d.Requests > 0 || d.Errors > 0 || d.InFlight > 0
}

func callsSinceStart(c CallCounters) CallSums {
	d := CallSums{Requests: max(c.Requests, 0), Errors: max(c.Errors, 0), Refused: max(c.Refused, 0), InFlight: float64(max(c.InFlight, 0)),
		ByCode: c.ByCode, Latency: toDigits(c.Latency, Digits)}
	if c.Latency != nil {
		d.Sum = time.Duration(c.Latency.Sum())
	}
	return d
}

// callsSince returns false where c is not a continuation of old.
func callsSince(c, old CallCounters) (CallSums, bool) {
	d := CallSums{Requests: c.Requests - old.Requests, Errors: c.Errors - old.Errors, Refused: c.Refused - old.Refused,
		InFlight: float64(max(c.InFlight, 0))}
	if d.Requests < 0 || d.Errors < 0 || d.Refused < 0 {
		return d, false
	}
	for code, n := range old.ByCode {
		if c.ByCode[code] < n {
			return d, false
		}
	}
	for code, n := range c.ByCode {
		if more := n - old.ByCode[code]; more > 0 {
			if d.ByCode == nil {
				d.ByCode = make(map[int]int64, len(c.ByCode))
			}
			d.ByCode[code] = more
		}
	}
	h, ok := latencySince(c.Latency, old.Latency)
	if h != nil {
		d.Latency, d.Sum = h, time.Duration(h.Sum())
	}
	return d, ok
}

// latencySince returns nil where there is nothing to compare, and false where h does not continue old.
func latencySince(h, old *stats.Histogram) (*stats.Histogram, bool) {
	if h == nil || old == nil {
		return nil, true
	}
	d, err := h.Since(old)
	if errors.Is(err, stats.ErrPrecision) {
		return nil, true
	}
	return toDigits(d, Digits), err == nil
}

func (t *tracker) attribute(a AttributedCounters, at time.Time) (AttributedSums, bool) {
	k := callKey{a.Route, a.From, a.To}
	old, known := t.attributed[k]
	if known && old.at.Equal(at) {
		return AttributedSums{}, false
	}
	t.attributed[k] = seen[AttributedCounters]{at, a}
	d := AttributedSums{Route: a.Route, From: a.From, To: a.To, Count: a.Count - old.v.Count, Sum: a.Sum - old.v.Sum}
	if d.Count < 0 || d.Sum < 0 {
		d.Count, d.Sum = max(a.Count, 0), max(a.Sum, 0)
	}
	return d, d.Count > 0 || d.Sum > 0
}

func (t *tracker) backend(b BackendState, at time.Time) (BackendSums, bool) {
	k := replicaKey{b.Service, b.Replica}
	old, known := t.backends[k]
	if known && old.at.Equal(at) {
		return BackendSums{}, false
	}
	t.backends[k] = seen[BackendState]{at, b}
	d := BackendSums{Service: b.Service, Replica: b.Replica, Requests: b.Requests - old.v.Requests,
		Errors: b.Errors - old.v.Errors, InFlight: float64(max(b.InFlight, 0))}
	h, ok := latencySince(b.Latency, old.v.Latency)
	d.Latency = h
	// A restarted replica is a new backend under the old name, most often at another address.
	if !known || !ok || d.Requests < 0 || d.Errors < 0 || b.Address != old.v.Address {
		d.Requests, d.Errors, d.Latency = max(b.Requests, 0), max(b.Errors, 0), toDigits(b.Latency, Digits)
	}
	return d, d.Requests > 0 || d.Errors > 0 || d.InFlight > 0
}

// processSums returns one entry for each replica, whatever the number of its processes.
func (t *tracker) processSums(s *Sample) []ProcessSums {
	length := s.At.Sub(t.prev.At)
	var sums []ProcessSums
	index := make(map[replicaKey]int, len(s.Processes))
	for _, p := range s.Processes {
		d, ok := t.process(p, s, length)
		if !ok {
			continue
		}
		k := replicaKey{p.Service, p.Replica}
		i, known := index[k]
		if !known {
			index[k] = len(sums)
			sums = append(sums, d)
			continue
		}
		both := &sums[i]
		longest := max(length, both.Alive, d.Alive)
		both.Memory = weigh(both.Memory, both.Alive, d.Memory, d.Alive)
		both.MemoryMax = max(both.MemoryMax, d.MemoryMax)
		both.CPU += d.CPU
		both.Throttled += d.Throttled
		both.Waited += d.Waited
		both.Alive = min(both.Alive+d.Alive, longest)
	}
	return sums
}

func weigh(a int64, wa time.Duration, b int64, wb time.Duration) int64 {
	if wa+wb <= 0 {
		return max(a, b)
	}
	return int64((float64(a)*float64(wa) + float64(b)*float64(wb)) / float64(wa+wb))
}

// process returns what one process used since it was last seen. One that started during the interval, or at most one
// interval before it was first seen, is counted from its start; an older one only from now on, because nobody knows
// how much of its CPU belongs to the time before.
func (t *tracker) process(p ProcessCounters, s *Sample, length time.Duration) (ProcessSums, bool) {
	k := keyOf(p)
	old, known := t.processes[k]
	if known && (old.at.Equal(s.At) || old.v.Exited) {
		return ProcessSums{}, false
	}
	if p.Exited && p.Memory == 0 {
		p.Memory = old.v.Memory
	}
	d := ProcessSums{Service: p.Service, Replica: p.Replica, Memory: max(p.Memory, 0), MemoryMax: max(p.Memory, 0), Alive: length}
	wholly := false
	switch {
	case known && p.CPU >= old.v.CPU:
		d.CPU, d.Throttled, d.Alive = p.CPU-old.v.CPU, max(p.Throttled-old.v.Throttled, 0), s.At.Sub(old.at)
		d.Waited = max(p.Waited-old.v.Waited, 0)
	case known && k.started != 0:
		// The same process cannot have used less than before: the sources differ a little. The higher figure stands.
		p.CPU = old.v.CPU
	case k.started != 0:
		age := s.At.Sub(p.Started)
		wholly = age <= 2*length
		d.Alive = min(max(age, 0), 2*length)
	default:
		// Without a start time only the possible is believed: CPU that fits into the interval.
		wholly = s.Machine.Cores <= 0 || p.CPU <= length*time.Duration(s.Machine.Cores)
	}
	if wholly {
		d.CPU, d.Throttled, d.Waited = max(p.CPU, 0), max(p.Throttled, 0), max(p.Waited, 0)
	}
	t.processes[k] = seen[ProcessCounters]{s.At, p}
	return d, true
}

func machineSince(m, old MachineCounters) MachineSums {
	d := MachineSums{Cores: m.Cores, MemoryUsed: m.MemoryUsed, MemoryTotal: m.MemoryTotal, Load1: m.Load1}
	if m.Cores > 0 && old.Cores > 0 {
		// The kernel's counters may step back a little (proc(5), on iowait); they never start anew while we run.
		d.Busy, d.Stolen = max(m.Busy-old.Busy, 0), max(m.Stolen-old.Stolen, 0)
	}
	return d
}

// sweep forgets counters that have been missing for long, so that replicas that come and go do not add up.
func (t *tracker) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Minute {
		return
	}
	t.swept = now
	forget(t.calls, now)
	forget(t.attributed, now)
	forget(t.backends, now)
	forget(t.processes, now)
}

func forget[K comparable, T any](m map[K]seen[T], now time.Time) {
	for k, s := range m {
		if now.Sub(s.at) > forgetAfter {
			delete(m, k)
		}
	}
}
