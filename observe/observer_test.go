package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/stats"
)

func newTestObserver(t testing.TB, cfg Config) *Observer {
	t.Helper()
	if cfg.Sample == nil {
		cfg.Sample = func() Sample { panic("no sample wanted") }
	}
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestNewRefuses(t *testing.T) {
	sample := func() Sample { return Sample{} }
	for name, cfg := range map[string]Config{
		"no source":         {},
		"negative interval": {Sample: sample, Interval: -1},
		"little memory":     {Sample: sample, Memory: 1000},
		"one file only":     {Sample: sample, Record: RecordConfig{Dir: "x", FileSize: 10, TotalSize: 15}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRunSamplesEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := int64(0)
		o := newTestObserver(t, Config{Sample: func() Sample {
			n++
			return Sample{At: time.Now(), Routes: []CallCounters{{Route: "r", Requests: 10 * n}}}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		time.Sleep(30*time.Second + time.Millisecond)
		st, err := o.Status(10 * time.Second)
		if err != nil || len(st.Routes) != 1 || st.Routes[0].Rate != 10 || st.Window != 10*time.Second || st.Up != 30*time.Second {
			t.Errorf("after 30 s: %+v, %v", st, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n != 32 {
			t.Errorf("%d samples, want 1 at the start, 30 and 1 at the end", n)
		}
	})
}

func TestRunFollowsInjectedTicks(t *testing.T) {
	ticks := make(chan time.Time)
	sampled := make(chan int, 1)
	n := 0
	o := newTestObserver(t, Config{Ticks: ticks, Sample: func() Sample {
		n++
		sampled <- n
		return Sample{At: at(float64(n))}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- o.Run(ctx) }()
	<-sampled
	for range 5 {
		ticks <- time.Time{}
		<-sampled
	}
	cancel()
	if last := <-sampled; last != 7 {
		t.Errorf("%d samples, want 7", last)
	}
	<-done
}

func TestWindowWithoutData(t *testing.T) {
	o := newTestObserver(t, Config{})
	if _, err := o.Window(at(0), at(10)); !errors.Is(err, ErrNoData) {
		t.Errorf("empty: %v", err)
	}
	if st, err := o.Status(time.Minute); err != nil || !st.At.IsZero() {
		t.Errorf("empty: %+v, %v", st, err)
	}
	o.Observe(Sample{At: at(0), Services: []ServiceState{{Service: "web", Wanted: 2}}})
	if st, err := o.Status(time.Minute); err != nil || len(st.Services) != 1 || st.Window != 0 {
		t.Errorf("one sample: %+v, %v", st, err)
	}
	o.Observe(Sample{At: at(1)})
	if _, err := o.Window(at(100), at(200)); !errors.Is(err, ErrNoData) {
		t.Errorf("later: %v", err)
	}
}

func TestServiceUseCountsReplicasThatComeAndGo(t *testing.T) {
	o := newTestObserver(t, Config{})
	sec := time.Second
	for i := range 11 {
		s := Sample{At: at(float64(i)), Machine: MachineCounters{Cores: 4, Busy: time.Duration(i) * 2 * sec}}
		p := func(name string, started int, cores float64) {
			s.Processes = append(s.Processes, ProcessCounters{Service: "web", Replica: name, Started: at(float64(started)),
				CPU: time.Duration(float64(i-started) * cores * float64(sec)), Memory: 100})
		}
		p("web-1", -5, 0.5)
		if i >= 5 && i <= 8 { // started at 4, gone after 8
			p("web-2", 4, 1)
		}
		o.Observe(s)
	}
	w, err := o.Window(at(0), at(10))
	if err != nil {
		t.Fatal(err)
	}
	u, ok := w.Service("web")
	if !ok || u.CPU != 9*sec || u.Cores != 0.9 || u.Running < 1.399 || u.Running > 1.401 || u.Memory != 140 || w.Cores() != 2 {
		t.Errorf("got %+v, machine %v", u, w.Cores())
	}
}

// reference is a busy system of 20 services, 40 edges and 10 routes, each of which reaches each edge, with 40 replicas.
func reference(perSecond int) func(i int) Sample {
	var routes, edges []*calls
	var attributed []AttributedCounters
	for r := range 10 {
		routes = append(routes, newCalls(fmt.Sprintf("GET /route-%d", r), "", ""))
	}
	for e := range 40 {
		edges = append(edges, newCalls("", fmt.Sprintf("service-%02d", e/2), fmt.Sprintf("service-%02d", (e/2+e%2+1)%20)))
		for r := range 10 {
			attributed = append(attributed, AttributedCounters{Route: routes[r].Route, From: edges[e].From, To: edges[e].To})
		}
	}
	backends := make([]*stats.Histogram, 40)
	for i := range backends {
		backends[i] = stats.NewHistogram(Digits)
	}
	random := uint64(1)
	latency := func() time.Duration { // spread evenly over the decades from 0.1 ms to 1 s
		random = random*6364136223846793005 + 1442695040888963407
		d := 1e5
		for range (random >> 33) % 400 {
			d *= 1.0233
		}
		return time.Duration(d)
	}
	return func(i int) Sample {
		s := Sample{At: at(float64(i)), Machine: MachineCounters{Cores: 64, Busy: time.Duration(i) * 20 * time.Second, MemoryTotal: 1 << 38, MemoryUsed: 1 << 37}}
		for _, c := range append(append([]*calls(nil), routes...), edges...) {
			for range perSecond {
				c.answer(latency(), 200+i%3)
			}
			c.InFlight = int64(i % 50)
		}
		for _, c := range routes {
			s.Routes = append(s.Routes, c.snapshot())
		}
		for _, c := range edges {
			s.Edges = append(s.Edges, c.snapshot())
		}
		for j := range attributed {
			attributed[j].Count += int64(perSecond)
			attributed[j].Sum += time.Duration(perSecond) * 7 * time.Millisecond
		}
		s.Attributed = append(s.Attributed, attributed...)
		for j, h := range backends {
			for range perSecond {
				h.RecordDuration(latency())
			}
			b := BackendState{Service: fmt.Sprintf("service-%02d", j/2), Replica: fmt.Sprintf("service-%02d-%d", j/2, j%2),
				Requests: h.Count(), Latency: h.Clone(), InFlight: int64(i % 7)}
			s.Backends = append(s.Backends, b)
			s.Processes = append(s.Processes, ProcessCounters{Service: b.Service, Replica: b.Replica, Started: at(-10),
				CPU: time.Duration(i) * 300 * time.Millisecond, Memory: 100 << 20})
		}
		return s
	}
}

// TestMemoryIsBounded measures the stored size of the reference system at 100 requests a second on every route and edge
// (5,000 in all), and that the default memory holds its ten minutes and its six hours.
func TestMemoryIsBounded(t *testing.T) {
	sample := reference(100)
	o := newTestObserver(t, Config{})
	const n = 61
	for i := range n {
		o.Observe(sample(i))
	}
	fine := o.history.fine.bytes / len(o.history.fine.all())
	coarse := o.history.coarse.bytes / len(o.history.coarse.all())
	t.Logf("%d bytes for each second, %d for each ten seconds", fine, coarse)
	fineTotal, coarseTotal := fine*600, coarse*6*360
	t.Logf("ten minutes: %.1f MiB, six hours: %.1f MiB", float64(fineTotal)/(1<<20), float64(coarseTotal)/(1<<20))
	if fineTotal > o.history.fine.limit || coarseTotal > o.history.coarse.limit {
		t.Error("the default memory does not hold the reference system")
	}
}

// TestMemoryLimitHolds lets a small memory overflow: the oldest intervals go, the youngest stay.
func TestMemoryLimitHolds(t *testing.T) {
	sample := reference(50)
	o := newTestObserver(t, Config{Memory: 1 << 20})
	for i := range 120 {
		o.Observe(sample(i))
		if b := o.history.bytes(); b > 1<<20 {
			t.Fatalf("%d bytes after %d samples", b, i)
		}
	}
	w, err := o.Window(at(0), at(120))
	if err != nil {
		t.Fatal(err)
	}
	if r := o.history.fine.reach(); r > 100*time.Second || r == 0 {
		t.Errorf("the fine history reaches back %v, more than fits", r)
	}
	if !w.End.Equal(at(119)) || w.Covered != w.End.Sub(w.Start) || w.Precision != coarseDigits {
		t.Errorf("covers %v to %v with gaps (%v) at %d digits", w.Start, w.End, w.Covered, w.Precision)
	}
	r := ring{span: time.Hour, limit: 1000}
	for i := range 100 {
		r.push(stored{at(float64(i)), at(float64(i + 1)), make([]byte, 120)})
		if r.bytes > r.limit || len(r.all()) > 5 || !r.all()[len(r.all())-1].end.Equal(at(float64(i+1))) {
			t.Fatalf("%d bytes in %d intervals", r.bytes, len(r.all()))
		}
	}
}

func TestRingsForgetByAge(t *testing.T) {
	o := newTestObserver(t, Config{})
	for i := range 8 * 3600 / 2 {
		o.Observe(Sample{At: at(float64(i * 2)), Routes: []CallCounters{{Route: "r", Requests: int64(i)}}})
	}
	if f := o.history.fine.reach(); f > fineFor || f < fineFor-5*time.Second {
		t.Errorf("fine reaches back %v", f)
	}
	if c := o.history.coarse.reach(); c > coarseFor || c < coarseFor-time.Minute {
		t.Errorf("coarse reaches back %v", c)
	}
	if n, c := len(o.history.coarse.all()), cap(o.history.coarse.items); c > 4*n {
		t.Errorf("room for %d intervals, %d are there", c, n)
	}
}

func BenchmarkObserve(b *testing.B) {
	sample := reference(100)
	samples := make([]Sample, 61)
	for i := range samples {
		samples[i] = sample(i)
	}
	b.Run("Observe", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			o := newTestObserver(b, Config{})
			o.Observe(samples[0])
			o.Observe(samples[1])
		}
	})
	o := newTestObserver(b, Config{})
	for _, s := range samples {
		o.Observe(s)
	}
	b.Run("Status", func(b *testing.B) {
		for b.Loop() {
			if _, err := o.Status(10 * time.Second); err != nil {
				b.Fatal(err)
			}
		}
	})
}
