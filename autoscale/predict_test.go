package autoscale

import (
	"context"
	"math"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A service that may have no replica and is scaled ahead of its traffic starts from nothing known: it is woken, grows with
// its traffic by CPU alone, and loses its last replica again.
func TestPredictsFromZero(t *testing.T) {
	for name, target := range map[string]topology.ScaleTarget{"requests": {Requests: 50}, "CPU": {CPU: 0.5}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPlant(t, 0, 3*time.Second, func(at time.Duration) float64 {
				switch {
				case at < 3*time.Minute || at > 40*time.Minute:
					return 0
				case at < 20*time.Minute:
					return 90
				}
				return 360
			})
			c, err := New(Config{Fleet: p, System: web(0, 20, topology.Scale{Predict: true, CoolDown: topology.Duration(time.Minute), Target: target})})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			go c.Run(ctx)
			for _, want := range []struct {
				after       time.Duration
				least, most int
			}{{3 * time.Minute, 0, 1}, {time.Second, 1, 1}, {10 * time.Minute, 2, 2}, {25 * time.Minute, 7, 8}, {10 * time.Minute, 0, 0}} {
				time.Sleep(want.after)
				synctest.Wait()
				if n := p.wanted(); n < want.least || n > want.most {
					t.Errorf("%s, after %v: %d replicas, want %d to %d", name, time.Since(p.began), n, want.least, want.most)
				}
			}
			all, _ := c.Decisions("web")
			if last := all[len(all)-1]; last.Sides == nil || last.Sides.Followed == "" || last.Sides.Because == "" {
				t.Errorf("%s: the last decision does not say who was followed: %+v", name, last)
			}
			cancel()
			synctest.Wait()
		})
	}
}

// badReadings are what may be wrong with one: each changes the time since the start and how many requests have arrived.
var badReadings = map[string]func(step int, at time.Duration, arrived int64) (time.Duration, int64){
	"nothing": func(_ int, at time.Duration, arrived int64) (time.Duration, int64) { return at, arrived },
	"gaps": func(step int, at time.Duration, arrived int64) (time.Duration, int64) {
		return at + time.Duration(step/50)*3*time.Minute, arrived
	},
	"duplicates": func(step int, at time.Duration, arrived int64) (time.Duration, int64) {
		return at.Truncate(30 * time.Second), arrived
	},
	"time going back": func(step int, at time.Duration, arrived int64) (time.Duration, int64) {
		return at - time.Duration(step%40/39)*20*time.Second, arrived
	},
	"counts that begin anew": func(step int, at time.Duration, arrived int64) (time.Duration, int64) {
		return at, arrived % 50_000
	},
	"spikes of a billion": func(step int, at time.Duration, arrived int64) (time.Duration, int64) {
		return at, arrived + int64(step%100/99)*1e9
	},
	"no counts, once": func(step int, at time.Duration, arrived int64) (time.Duration, int64) {
		if step == 500 {
			return at, 0
		}
		return at, arrived
	},
}

// Whatever is wrong with the readings, decisions stay within their bounds, the forecast stays near the truth, and once the
// readings are right again so are the decisions.
func TestBadReadings(t *testing.T) {
	for name, bad := range badReadings {
		sys := web(1, 40, topology.Scale{Predict: true, Target: topology.ScaleTarget{Requests: 50}})
		s, err := newService("web", sys.Services["web"], nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		replicas := 6
		look := func(at time.Duration, arrived int64) Decision {
			d := s.look(begin.Add(at), Reading{Replicas: replicas, Ready: replicas, Requests: arrived, StartUp: 5 * time.Second})
			if d.To.Replicas < 1 || d.To.Replicas > 40 || math.IsNaN(d.Requests) {
				t.Fatalf("%s, at %v: %+v", name, at, d)
			}
			replicas = d.To.Replicas
			return d
		}
		const each = 300 * 15 // requests in an interval
		var last time.Duration
		step := 0
		for ; step < 1000; step++ {
			at, arrived := bad(step, time.Duration(step)*Interval, int64(step)*each)
			look(at, arrived)
			last = max(last, at)
		}
		for ; step < 1000+30; step++ {
			last += Interval
			look(last, int64(step)*each)
		}
		d := s.latest
		if replicas < 5 || replicas > 8 || d.Outlook == nil || d.Outlook.Until < 200 || d.Outlook.Until > 500 || d.Sides == nil {
			t.Errorf("%s: 300/s again for seven minutes, 50/s for each replica: %d replicas, outlook %+v, sides %+v", name, replicas, d.Outlook, d.Sides)
		}
	}
}

// A history with holes, impossible values and a spike is no worse than one without.
func TestBadHistory(t *testing.T) {
	sys := web(1, 40, topology.Scale{Predict: true, Target: topology.ScaleTarget{Requests: 50}})
	s, err := newService("web", sys.Services["web"], nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rates := make([]float64, 4000)
	for i := range rates {
		rates[i] = 300 + 100*math.Sin(float64(i)/100)
		if i%97 == 0 {
			rates[i] = []float64{math.NaN(), 1e9, -1, math.Inf(1), 0}[i/97%5]
		}
	}
	s.scaler.Learn(rates)
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s.look(begin, Reading{Replicas: 6, Ready: 6})
	d := s.look(begin.Add(Interval), Reading{Replicas: 6, Ready: 6, Requests: 300 * 15})
	if d.To.Replicas < 5 || d.To.Replicas > 10 || d.Outlook == nil || d.Outlook.Until < 200 || d.Outlook.Until > 500 {
		t.Errorf("after a history with faults, at 300/s of 50/s each: %+v, outlook %+v", d, d.Outlook)
	}
}

// BenchmarkTenThousandServices decides about so many services in turn, so that each finds its state out of the processor's
// caches, and says how much memory one takes once all that it remembers is full.
func BenchmarkTenThousandServices(b *testing.B) {
	const services, warm, full = 10_000, 150, 8
	sys := web(1, 1000, topology.Scale{Predict: true, Target: topology.ScaleTarget{Requests: 50, CPU: 0.7}})
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	grow := func(s *service, from, to int) {
		for i := from; i < to; i++ {
			const day = 5760.0 // intervals
			arrived := 15 * (300*float64(i) - 200*day/(2*math.Pi)*math.Cos(float64(i)*2*math.Pi/day))
			s.look(begin.Add(time.Duration(i)*Interval), Reading{Replicas: 8, Ready: 8, Requests: int64(arrived), StartUp: time.Minute})
		}
	}
	fresh := func() *service {
		s, err := newService("web", sys.Services["web"], nil, 0)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var old []*service
	for range full {
		s := fresh()
		grow(s, 0, 3*5760)
		old = append(old, s)
	}
	each := float64(heap()-before) / full
	runtime.KeepAlive(old)
	all := make([]*service, services)
	for i := range all {
		all[i] = fresh()
		grow(all[i], 0, warm)
	}
	i, step := 0, warm
	for b.Loop() {
		grow(all[i], step, step+1)
		if i++; i == services {
			i, step = 0, step+1
		}
	}
	b.ReportMetric(each, "bytes/service")
}
