package plan

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// behind is a service of two cores and 10 ms for a request behind a bound.
func behind(a *topology.Adaptive) *topology.System {
	return &topology.System{
		Name: "bounded", Machine: &topology.Machine{Cores: 2},
		Services: map[string]*topology.Service{"web": {Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{CPU: ms(10)}}},
		Routes:   []*topology.Route{{Name: "get", Path: "/", To: "web", Inbound: topology.Inbound{Adaptive: a, Timeout: ms(60_000)}}},
	}
}

func fixed(n int) *topology.Adaptive {
	return &topology.Adaptive{Initial: n, Min: n, Max: n, Tolerance: 1.5}
}

func predict(t *testing.T, sys *topology.System, load Load) *Prediction {
	t.Helper()
	p, err := Predict(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBoundOfOneStationIsMMcK(t *testing.T) {
	for _, rate := range []float64{190, 200, 260, 1000} {
		p := predict(t, behind(fixed(20)), Load{Rates: map[string]float64{"get": rate}})
		want, err := queueing.MMcK(rate, 100, 2, 20)
		if err != nil {
			t.Fatal(err)
		}
		if p.Saturated || p.Bound == nil || p.Bound.Limit != 20 || len(p.Beyond) > 0 {
			t.Fatalf("at %v/s: saturated %v, bound %+v, beyond %v", rate, p.Saturated, p.Bound, p.Beyond)
		}
		near(t, "goodput", p.Throughput, want.Throughput, 0.005)
		near(t, "refused", p.Bound.Refused, want.PLoss, 0.03)
		near(t, "in flight", p.Bound.InFlight, want.L, 0.02)
		near(t, "mean", p.Routes[0].Mean.Seconds(), want.W, 0.02)
		near(t, "offered", p.Bound.Offered, rate, 1e-6)
	}
}

// Below the bound nothing changes.
func TestBoundThatIsNotReachedDoesNothing(t *testing.T) {
	for _, load := range []Load{{Rates: map[string]float64{"get": 120}}, {Rates: map[string]float64{"get": 150}}, // at 150 it is looked at
		{Users: 15, Think: 100 * time.Millisecond, Mix: map[string]float64{"get": 1}},
		{Users: 40, Think: 500 * time.Millisecond, Mix: map[string]float64{"get": 1}}} {
		free, bound := predict(t, behind(nil), load), predict(t, behind(fixed(30)), load)
		if free.Bound != nil || bound.Bound == nil || bound.Bound.Refused != 0 {
			t.Fatalf("bounds %+v and %+v", free.Bound, bound.Bound)
		}
		if free.Routes[0] != bound.Routes[0] || free.Throughput != bound.Throughput {
			t.Errorf("%+v without, %+v with a bound", free.Routes[0], bound.Routes[0])
		}
	}
}

// The simulator runs the policy itself: the bound moves there, what is refused costs the gateway and the client something, and
// users who are refused come back after they have thought.
func TestBoundAsSimulated(t *testing.T) {
	sys := behind(&topology.Adaptive{Initial: 20, Min: 10, Max: 60, Tolerance: 1.5})
	sys.Services["web"].Uses, sys.Services["db"] = []string{"db"}, &topology.Service{}
	sys.Demands = map[string]map[string]*topology.Demand{"get": {
		"web": {Visits: 1, CPU: ms(4), Delay: ms(1)}, "db": {Visits: 1, CPU: ms(4), Delay: ms(5)},
		Gateway: {Visits: 2, CPU: ms(0.5)}, Client: {Visits: 1, Async: ms(0.5)}}}
	for name, load := range map[string]Load{
		"open":   {Rates: map[string]float64{"get": 300}},
		"closed": {Users: 150, Think: 300 * time.Millisecond, Mix: map[string]float64{"get": 1}},
	} {
		p := predict(t, sys, load)
		m, err := simulate.New(sys, simulate.Options{Seed: 1, Load: &load, Replications: 2, Duration: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		refused := r.All.ErrorShare.Value
		near(t, name+": refused", p.Bound.Refused, refused, 0.1)
		near(t, name+": goodput", p.Throughput, r.All.Throughput.Value*(1-refused), 0.05)
		near(t, name+": mean", p.Routes[0].Mean.Seconds()*(1-p.Bound.Refused), r.All.Mean.Value.Seconds(), 0.15)
		near(t, name+": CPU", p.Machine.CPU, r.Machine.CPU.Value, 0.03)
		// Of all that ended, the hundredth that took longest is one of those that were answered.
		late := tailOf(p.Routes[0].Mean.Seconds(), math.Pow(p.Routes[0].StdDev.Seconds(), 2), r.All.P99.Value.Seconds()) * (1 - refused)
		if late < 0.004 || late > 0.03 {
			t.Errorf("%s: %.4f are predicted to take longer than the p99 of %v (%v on average, deviation %v)", name, late, r.All.P99.Value, p.Routes[0].Mean, p.Routes[0].StdDev)
		}
	}
}

// Users who are more than the bound begins with, and fewer than it may rise to, are refused until it has risen. The last of them, who
// never think, come back as soon as they have been refused, which costs the gateway and the client something.
func TestBoundOfUsersWhoFillIt(t *testing.T) {
	sys := behind(&topology.Adaptive{Initial: 20, Min: 10, Max: 60, Tolerance: 1})
	if p := predict(t, sys, Load{Users: 55, Think: ms(1).Std(), Mix: map[string]float64{"get": 1}}); p.Bound.Refused < 0.1 || p.Bound.Limit >= 55 || p.Bound.InFlight < 20 {
		t.Errorf("of 55 at once: %+v", p.Bound)
	}
	sys = behind(fixed(20))
	sys.Demands = map[string]map[string]*topology.Demand{"get": {"web": {Visits: 1, CPU: ms(10)}, Gateway: {Visits: 1, CPU: ms(1)}, Client: {Visits: 1, Async: ms(1)}}}
	p := predict(t, sys, Load{Users: 21, Mix: map[string]float64{"get": 1}})
	if refused := p.Bound.Offered - p.Throughput; refused < 100 || refused > 501 { // one user, 2 ms each time
		t.Errorf("one user too many is refused %.0f times a second: %+v", refused, p.Bound)
	}
}

// What the gateway's cache answers comes from before the bound: it is answered however full that is.
func TestBoundBehindACache(t *testing.T) {
	sys := cachedShop(2<<20, &topology.HTTPCache{Objects: &topology.HTTPObjects{Count: 1000, Zipf: 0.8, Size: 8 << 10}}, "GET /p/1")
	sys.Services = map[string]*topology.Service{"web": {Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{CPU: ms(10)}}}
	sys.Machine.Cores, sys.Workload.Rate = 2, 600
	sys.Routes[0].Adaptive = fixed(20)
	load, err := LoadOf(sys, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := predict(t, sys, load)
	hit := *p.Routes[0].HitRatio
	if hit < 0.2 || hit > 0.6 {
		t.Fatalf("a hit ratio of %.2f: the test says nothing", hit)
	}
	// What misses comes to M/M/2/20; all hits are answered, refused or not.
	want, err := queueing.MMcK(600*(1-hit), 100, 2, 20)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "refused", p.Bound.Refused, (1-hit)*want.PLoss, 0.05)
	near(t, "answered", p.Throughput, 600*hit+want.Throughput, 0.03)
	near(t, "offered", p.Bound.Offered, 600, 1e-6)
}

// A bound that is not all of the load's is left to the simulator, which is said.
func TestBoundOfSomeIsLeftOut(t *testing.T) {
	two := behind(fixed(20))
	two.Routes = append(two.Routes, &topology.Route{Name: "free", Path: "/free", To: "web"})
	inner := behind(nil)
	inner.Services["web"].Uses = []string{"db"}
	inner.Services["db"] = &topology.Service{Work: &topology.Work{CPU: ms(1)}, Inbound: topology.Inbound{Adaptive: fixed(20)}}
	otherwise := behind(fixed(20))
	otherwise.Routes = append(otherwise.Routes, &topology.Route{Name: "free", Path: "/free", To: "web", Inbound: topology.Inbound{Adaptive: fixed(30)}})
	elsewhere := behind(fixed(20))
	elsewhere.Services["free"] = &topology.Service{Work: &topology.Work{CPU: ms(1)}}
	elsewhere.Routes = append(elsewhere.Routes, &topology.Route{Name: "free", Path: "/free", To: "free", Inbound: topology.Inbound{Adaptive: fixed(20)}})
	split := behind(fixed(20))
	split.Services["next"] = &topology.Service{Work: &topology.Work{CPU: ms(1)}}
	split.Routes[0].To, split.Routes[0].Split = "", map[string]float64{"web": 1, "next": 1}
	for name, sys := range map[string]*topology.System{"a route without": two, "between services": inner, "two settings": otherwise, "two services": elsewhere, "a split": split} {
		load := Load{Rates: map[string]float64{"get": 50}}
		if len(sys.Routes) > 1 {
			load.Rates["free"] = 50
		}
		if p := predict(t, sys, load); p.Bound != nil || !slices.Contains(p.Beyond, "adaptive") {
			t.Errorf("%s: bound %+v, beyond %v", name, p.Bound, p.Beyond)
		}
	}
	if p := predict(t, two, Load{Rates: map[string]float64{"get": 50}}); p.Bound == nil || len(p.Beyond) > 0 {
		t.Errorf("the bounded route alone: %+v, beyond %v", p.Bound, p.Beyond)
	}
}

func TestBoundKeepsAStormAway(t *testing.T) {
	sys := behind(nil)
	sys.Routes[0].Timeout, sys.Routes[0].Retry = ms(2000), &topology.Retry{Attempts: 3, Budget: 2, On: []int{502, 503, 504}}
	sys.Services["web"].Uses = []string{"db"}
	sys.Services["db"] = &topology.Service{Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{CPU: ms(5)},
		Inbound: topology.Inbound{Timeout: ms(300), Retry: &topology.Retry{Attempts: 3, Budget: 2, On: []int{502, 503, 504}}}}
	load := Load{Rates: map[string]float64{"get": 50}}
	storm := func() *Storm {
		p, err := Make(sys, load, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Storm
	}
	if storm() == nil {
		t.Fatal("no storm without a bound: the test says nothing")
	}
	sys.Routes[0].Adaptive = fixed(30)
	if s := storm(); s != nil {
		t.Errorf("30 requests at once take a quarter of a second: %+v", s)
	}
	sys.Routes[0].Adaptive = fixed(300)
	if storm() == nil {
		t.Error("300 at once run into their time-outs")
	}
}
