package observe

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
)

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }

// calls is a counter as a gateway would keep it.
type calls struct {
	CallCounters
	live *stats.Histogram
}

func newCalls(route, from, to string) *calls {
	return &calls{CallCounters: CallCounters{Route: route, From: from, To: to, ByCode: map[int]int64{}}, live: stats.NewHistogram(Digits)}
}

func (c *calls) answer(d time.Duration, code int) {
	c.Requests++
	c.ByCode[code]++
	if code >= 500 {
		c.Errors++
	}
	c.live.RecordDuration(d)
}

func (c *calls) snapshot() CallCounters {
	s := c.CallCounters
	s.ByCode = map[int]int64{}
	for k, v := range c.ByCode {
		s.ByCode[k] = v
	}
	s.Latency = c.live.Clone()
	return s
}

// TestSumsAreCounterDifferences drives random counters and checks that windows add up to their differences, exactly,
// whatever the resolution, and that the distribution over a window is that of its requests.
func TestSumsAreCounterDifferences(t *testing.T) {
	for _, seconds := range []int{40, 1500} {
		r := rand.New(rand.NewPCG(1, uint64(seconds)))
		o := newTestObserver(t, Config{})
		route, edge := newCalls("GET /", "", ""), newCalls("", "web", "catalog")
		attributed := AttributedCounters{Route: "GET /", From: "web", To: "catalog"}
		var first, last Sample
		for i := range seconds {
			for range r.IntN(20) {
				d := time.Duration(r.ExpFloat64() * float64(3*time.Millisecond))
				route.answer(d, []int{200, 200, 404, 503}[r.IntN(4)])
				edge.answer(d/2, 200)
				attributed.Count++
				attributed.Sum += d / 2
			}
			last = Sample{At: at(float64(i) + 0.003*r.Float64()), Routes: []CallCounters{route.snapshot()},
				Edges: []CallCounters{edge.snapshot()}, Attributed: []AttributedCounters{attributed}}
			if i == 0 {
				first = last
			}
			o.Observe(last)
		}
		w, err := o.Window(first.At.Add(-time.Hour), last.At.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if !w.Start.Equal(first.At) || !w.End.Equal(last.At) || w.Covered != last.At.Sub(first.At) {
			t.Errorf("%d s: covers %v to %v (%v), want %v to %v", seconds, w.Start, w.End, w.Covered, first.At, last.At)
		}
		for i := 1; i < len(w.Intervals); i++ {
			if !w.Intervals[i].Start.Equal(w.Intervals[i-1].End) {
				t.Fatalf("%d s: interval %d starts at %v, the one before ends at %v", seconds, i, w.Intervals[i].Start, w.Intervals[i-1].End)
			}
		}
		got, _ := w.Route("GET /")
		before, after := first.Routes[0], last.Routes[0]
		if got.Requests != after.Requests-before.Requests || got.Errors != after.Errors-before.Errors ||
			got.ByCode[404] != after.ByCode[404]-before.ByCode[404] || len(got.ByCode) != 3 {
			t.Errorf("%d s: route counted %d (%d errors, %v), want %d (%d)", seconds, got.Requests, got.Errors, got.ByCode,
				after.Requests-before.Requests, after.Errors-before.Errors)
		}
		want, err := after.Latency.Since(before.Latency)
		if err != nil {
			t.Fatal(err)
		}
		if got.Sum != time.Duration(want.Sum()) || got.Latency.Count() != want.Count() {
			t.Errorf("%d s: sum %v of %d latencies, want %v of %d", seconds, got.Sum, got.Latency.Count(), time.Duration(want.Sum()), want.Count())
		}
		for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 1} {
			g, v := got.Quantile(q), want.QuantileDuration(q)
			if w.Precision == Digits && g != v {
				t.Errorf("%d s: quantile %v is %v, want %v", seconds, q, g, v)
			}
			if d := float64(g-v) / float64(v); d < -0.01 || d > 0.08 {
				t.Errorf("%d s: quantile %v is %v, want near %v", seconds, q, g, v)
			}
		}
		if a := w.Attributed[0]; a.Count != attributed.Count-first.Attributed[0].Count || a.Sum != attributed.Sum-first.Attributed[0].Sum {
			t.Errorf("%d s: attributed %+v, want the difference of %+v and %+v", seconds, a, attributed, first.Attributed[0])
		}
		// Windows that lie side by side count each interval once.
		middle := at(float64(seconds) / 3)
		left, err := o.Window(first.At, middle)
		if err != nil {
			t.Fatal(err)
		}
		right, err := o.Window(middle, last.At)
		if err != nil {
			t.Fatal(err)
		}
		if n := left.Routes[0].Requests + right.Routes[0].Requests; n != got.Requests {
			t.Errorf("%d s: the halves have %d requests, the whole %d", seconds, n, got.Requests)
		}
	}
}

// process is what the kernel knows of one process.
type process struct {
	started time.Time
	cpu     time.Duration
	sampled time.Duration // cpu when it was last in a sample
}

// TestRestartsNeitherLoseNorInflate lets replicas start, stop and restart at random under the same names. Nobody uses
// more than a core, so no interval may show more; and what was seen of each process must be counted, once.
func TestRestartsNeitherLoseNorInflate(t *testing.T) {
	for seed := range uint64(60) {
		known := seed%2 == 0 // start times are known
		r := rand.New(rand.NewPCG(2, seed))
		var tr tracker
		var gone time.Duration // sampled CPU of processes that have ended
		replicas := make([]*process, 3)
		var before time.Duration // sampled at the first sample
		var total, truth time.Duration
		const length = time.Second
		for i := range 200 {
			now := at(float64(i))
			s := &Sample{At: now, Machine: MachineCounters{Cores: 2}}
			for j, p := range replicas {
				used := time.Duration(r.Int64N(int64(length)))
				switch {
				case p == nil && r.IntN(5) == 0 || p != nil && r.IntN(10) == 0: // start, or restart within the interval
					if p != nil {
						p.cpu += used / 2
						truth += used / 2
						if known && r.IntN(2) == 0 {
							s.Processes = append(s.Processes, ProcessCounters{Service: "web", Replica: fmt.Sprint(j), Started: p.started, CPU: p.cpu, Exited: true})
							p.sampled = p.cpu
						}
						gone += p.sampled
					}
					p = &process{started: now.Add(-length / 2), cpu: used / 2}
					truth += p.cpu
					replicas[j] = p
				case p != nil && r.IntN(12) == 0: // gone for good
					gone += p.sampled
					replicas[j] = nil
					continue
				case p != nil:
					p.cpu += used
					truth += used
				default:
					continue
				}
				c := ProcessCounters{Service: "web", Replica: fmt.Sprint(j), CPU: p.cpu, Memory: 1 << 20}
				if known {
					c.Started = p.started
				}
				p.sampled = p.cpu
				s.Processes = append(s.Processes, c)
			}
			iv, ok := tr.next(s)
			if !ok {
				for _, p := range replicas {
					if p != nil {
						before += p.sampled
					}
				}
				continue
			}
			for _, p := range iv.Processes {
				if p.CPU < 0 || p.CPU > length || p.Alive <= 0 || known && p.Alive > length || p.Cores() > 1.01 {
					t.Fatalf("seed %d, second %d: %+v", seed, i, p)
				}
				total += p.CPU
			}
		}
		sampled := gone
		for _, p := range replicas {
			if p != nil {
				sampled += p.sampled
			}
		}
		if known && total != sampled-before {
			t.Errorf("seed %d: counted %v, sampled %v", seed, total, sampled-before)
		}
		if total > truth {
			t.Errorf("seed %d: counted %v, really used %v", seed, total, truth)
		}
	}
}

func TestCallsThatStartAnew(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for seed := range 50 {
		var tr tracker
		since := at(0)
		c, truth, total, hist := newCalls("r", "", ""), int64(0), int64(0), int64(0)
		first := int64(0)
		for i := range 100 {
			if r.IntN(10) == 0 {
				c = newCalls("r", "", "")
				if seed%2 == 0 {
					since = at(float64(i) - 0.5)
				}
			}
			for range r.IntN(10) {
				c.answer(time.Duration(r.Int64N(int64(time.Second))), 200)
				truth++
			}
			s := &Sample{At: at(float64(i)), Since: since, Routes: []CallCounters{c.snapshot()}}
			if seed%3 == 0 {
				s.Routes[0].Latency = nil
			}
			if seed%6 == 0 {
				s.Routes[0].ByCode = nil
			}
			iv, ok := tr.next(s)
			if !ok {
				first = c.Requests
				continue
			}
			for _, d := range iv.Routes {
				if d.Requests < 0 || d.Requests > 20 {
					t.Fatalf("run %d, second %d: %+v", seed, i, d)
				}
				total += d.Requests
				if seed%3 != 0 {
					hist += d.Latency.Count()
				}
			}
		}
		if seed%2 == 0 && total != truth-first || total > truth-first || hist != total && seed%3 != 0 {
			t.Errorf("run %d: counted %d with %d latencies, want %d", seed, total, hist, truth-first)
		}
	}
}

func TestTrackerCorners(t *testing.T) {
	t.Run("a smaller count alone tells that it started anew", func(t *testing.T) {
		var tr tracker
		for i, n := range []int64{100, 7} {
			iv, ok := tr.next(&Sample{At: at(float64(i)), Routes: []CallCounters{{Route: "r", Requests: n}},
				Attributed: []AttributedCounters{{Route: "r", Count: n}}, Backends: []BackendState{{Service: "web", Requests: n}}})
			if ok && (len(iv.Routes) != 1 || iv.Routes[0].Requests != 7 || iv.Attributed[0].Count != 7 || iv.Backends[0].Requests != 7) {
				t.Errorf("got %+v, want 7 of each", iv)
			}
		}
	})
	sample := func(sec float64, p ...ProcessCounters) *Sample {
		return &Sample{At: at(sec), Processes: p, Machine: MachineCounters{Cores: 2, Busy: time.Duration(sec * 1e9)}}
	}
	proc := func(started float64, cpu time.Duration) ProcessCounters {
		return ProcessCounters{Service: "web", Replica: "web-1", Started: at(started), CPU: cpu}
	}
	t.Run("a process older than the observation counts from now on", func(t *testing.T) {
		var tr tracker
		tr.next(sample(0))
		iv, _ := tr.next(sample(1, proc(-100, 90*time.Second)))
		if iv.Processes[0].CPU != 0 {
			t.Errorf("counted %v of a time before the observation", iv.Processes[0].CPU)
		}
		iv, _ = tr.next(sample(2, proc(-100, 91*time.Second)))
		if iv.Processes[0].CPU != time.Second {
			t.Errorf("counted %v, want 1s", iv.Processes[0].CPU)
		}
	})
	t.Run("a process that was missing is continued", func(t *testing.T) {
		var tr tracker
		tr.next(sample(0, proc(-9, time.Second)))
		tr.next(sample(1))
		tr.next(sample(2))
		iv, _ := tr.next(sample(3, proc(-9, 4*time.Second)))
		if p := iv.Processes[0]; p.CPU != 3*time.Second || p.Cores() != 1 {
			t.Errorf("got %+v, want 3s over 3s", p)
		}
	})
	t.Run("one name twice in a sample counts once", func(t *testing.T) {
		var tr tracker
		tr.next(sample(0))
		iv, _ := tr.next(sample(1, proc(0.5, time.Second/2), proc(0.5, time.Second/2)))
		if len(iv.Processes) != 1 || iv.Processes[0].CPU != time.Second/2 {
			t.Errorf("got %+v", iv.Processes)
		}
	})
	t.Run("a clock that steps back begins anew", func(t *testing.T) {
		var tr tracker
		tr.next(sample(10))
		if _, ok := tr.next(sample(5)); ok {
			t.Error("an interval of negative length")
		}
		if iv, ok := tr.next(sample(6)); !ok || iv.Machine.Busy != time.Second {
			t.Errorf("got %+v %v after the step", iv, ok)
		}
	})
	t.Run("long gone counters are forgotten", func(t *testing.T) {
		var tr tracker
		tr.next(sample(0))
		for i := 1; i < 3000; i++ {
			tr.next(sample(float64(i), proc(float64(i)-0.5, 0)))
		}
		if n := len(tr.processes); n > 1000 {
			t.Errorf("%d processes remembered", n)
		}
	})
}
