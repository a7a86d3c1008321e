package simulate

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// stormy is twentyServices under more load than it holds for a while and nothing at the end, while much breaks.
func stormy() (*topology.System, Options) {
	sys := twentyServices(0)
	w := sys.Workload
	w.Rate = 0
	w.Stages = []topology.Stage{
		{Rate: 1500, Duration: topology.Duration(time.Second)},
		{Rate: 1500, Duration: topology.Duration(3 * time.Second)},
		{Rate: 0, Duration: topology.Duration(time.Second)},
		{Rate: 0, Duration: topology.Duration(30 * time.Second)},
	}
	w.Timeout = ms(350)
	w.Scenarios["a0"].Steps = append(w.Scenarios["a0"].Steps, &topology.Step{Method: "POST", Path: "/a1", Weight: 0.5, Think: ptr(ms(20))})
	sys.Routes[1].Method = ""
	sys.Services["b0"].Concurrency = 2
	sys.Services["c0"].Limits.CPU = 0.2
	sys.Services["d0"].Replicas = topology.Replicas{Min: 1, Max: 6}
	sys.Demands = map[string]map[string]*topology.Demand{"/a4": {
		"a4": {Visits: 1, CPU: ms(1), Async: ms(1)}, "b4": {Visits: 2.4, CPU: ms(1)}, Gateway: {Visits: 2, CPU: ms(0.05)},
	}}
	sys.Calibration = &topology.Calibration{Idle: map[string]float64{"d1": 0.05}}
	return sys, Options{
		Seed: 9, Replications: 2, MaxWaiting: 20, Wait: 100 * time.Millisecond,
		Pauses:    map[string]Pause{"d2": {Every: 300 * time.Millisecond, For: 20 * time.Millisecond}},
		Autoscale: func() Autoscaler { return &seesaw{} }, AutoscaleEvery: 300 * time.Millisecond, Start: 200 * time.Millisecond,
		Faults: []Fault{
			{Kind: FaultKill, At: time.Second, Service: "a0", Replicas: 2, For: time.Second},
			{Kind: FaultKill, At: 1500 * time.Millisecond, Service: "d0", Replicas: 2},
			{Kind: FaultKill, At: 2 * time.Second, Service: "d3", For: -1, Replicas: 1},
			{Kind: FaultKill, At: 2 * time.Second, Service: "b2", For: 3 * time.Second},
			{Kind: FaultKill, At: 2200 * time.Millisecond, Service: "a1", For: time.Second, Replicas: 2},
			{Kind: FaultSlow, At: time.Second, Service: "c1", For: 2 * time.Second, Factor: 5, Replicas: 1},
			{Kind: FaultErrors, At: time.Second, Service: "c2", For: 2 * time.Second, Factor: 0.5, Replicas: 2},
			{Kind: FaultPartition, At: 1200 * time.Millisecond, From: "a1", Service: "b1", For: time.Second},
			{Kind: FaultPartition, At: 1200 * time.Millisecond, Service: "a3", For: 500 * time.Millisecond},
		},
	}
}

// seesaw asks for more and for fewer replicas in turn.
type seesaw struct{ turn int }

func (s *seesaw) Replicas(_ time.Duration, o Observation) int {
	s.turn++
	return o.Min + s.turn*5%7
}

// TestEverythingEnds lets a system that suffers all faults at once come to rest: nothing may be left behind anywhere.
func TestEverythingEnds(t *testing.T) {
	for _, orphans := range []Orphans{OrphansBurn, OrphansFinish, OrphansStop} {
		t.Run("orphans "+string(orphans), func(t *testing.T) {
			sys, o := stormy()
			o.Orphans = orphans
			m, err := New(sys, o)
			if err != nil {
				t.Fatal(err)
			}
			s, err := newSim(m, m.load, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.run(context.Background()); err != nil {
				t.Fatal(err)
			}
			var started, ended, good int64
			happened := map[string]int64{}
			for _, r := range s.tally.routes {
				started, ended, good = started+r.Started, ended+r.Ended, good+r.outcomes[OK]
				for o, n := range r.outcomes {
					happened[Outcome(o).String()] += n
				}
			}
			for i := range s.services {
				c := &s.services[i].count
				happened["retries"] += c.Retries
				happened["orphans"] += c.Orphans
				happened["throttled"] += c.ThrottledPeriods
			}
			for _, what := range []string{"ok", "timeout", "client timeout", "refused", "unavailable", "disconnected", "failed", "retries", "orphans", "throttled"} {
				if happened[what] == 0 {
					t.Errorf("no %s happened: the test tests little (%v)", what, happened)
				}
			}
			if started != ended || started < 2000 || good < started/10 {
				t.Errorf("%d requests started, %d ended, %d of them good", started, ended, good)
			}
			s.checkAtRest(t)
		})
	}
}

// checkAtRest fails the test where something is left of requests that have all ended.
func (s *sim) checkAtRest(t *testing.T) {
	t.Helper()
	for _, left := range []struct {
		what string
		n    int
	}{
		{"requests", s.requests.live}, {"calls", s.calls.live}, {"visits", s.visits.live}, {"sessions", s.sessions.live},
	} {
		if left.n != 0 {
			t.Errorf("%d %s are left", left.n, left.what)
		}
	}
	for i := range s.services {
		if sv := &s.services[i]; sv.present != 0 || sv.waiting.n != 0 {
			t.Errorf("service %s: %d present, %d waiting", s.m.services[i].name, sv.present, sv.waiting.n)
		}
	}
	for i := range s.replicas {
		r := &s.replicas[i]
		if n := r.backend.InFlight(); n != 0 || r.present != 0 {
			t.Errorf("replica %d of %s: %d in flight, %d present", i, s.m.services[r.service].name, n, r.present)
		}
		for _, j := range s.cpu.procs[i].jobs {
			if j.subject != nobody {
				t.Errorf("replica %d of %s: CPU work of visit %d is left", i, s.m.services[r.service].name, j.subject)
			}
		}
	}
	for q := range s.deadlines {
		for d := &s.deadlines[q]; d.n > 0; d.pop() {
			if !s.void(int32(q), d.head()) {
				t.Errorf("a deadline of queue %d is left", q)
			}
		}
	}
}

func TestNothingIsAllocatedInSteadyState(t *testing.T) {
	heavy(t)
	sys := twentyServices(1500)
	sys.Workload.Duration = topology.Duration(time.Hour)
	m, err := New(sys, Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSim(m, m.load, 0)
	if err != nil {
		t.Fatal(err)
	}
	more := func() {
		if err := s.runUntil(context.Background(), s.events+100_000); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		more()
	}
	if n := testing.AllocsPerRun(5, more); n > 4 {
		t.Errorf("%v allocations in 100 000 events", n)
	}
}

// storm is a system whose store times out behind web, so that requests are tried again from the start: after an
// overload of five seconds, the retries alone are more than it holds, unless a budget bounds them.
func storm(budget topology.Percent, perSecond topology.Rate) *topology.System {
	sys := oneService(4, 0.1, 1, 0)
	sys.Services["web"].Uses = []string{"store"}
	sys.Services["store"] = &topology.Service{
		Work: &topology.Work{CPU: ms(20)}, Replicas: topology.Replicas{Min: 2, Max: 2}, Inbound: topology.Inbound{Timeout: ms(250)},
	}
	sys.Routes[0].Retry = &topology.Retry{Attempts: 3, Budget: budget, MinPerSecond: perSecond, Backoff: ms(5), On: []int{502, 503, 504}}
	stage := func(rate topology.Rate, length time.Duration) topology.Stage {
		return topology.Stage{Rate: rate, Duration: topology.Duration(length)}
	}
	sys.Workload.Rate = 0
	sys.Workload.Timeout = topology.Duration(10 * time.Second)
	sys.Workload.Stages = []topology.Stage{
		stage(120, time.Millisecond), stage(120, 20*time.Second),
		stage(300, time.Millisecond), stage(300, 5*time.Second),
		stage(120, time.Millisecond), stage(120, 75*time.Second),
	}
	return sys
}

// goodput is the rate of good answers in a part of the time-line.
func goodput(r *Result, from, to time.Duration) float64 {
	var sum, n float64
	for _, p := range r.Timeline {
		if p.At > from && p.At <= to {
			sum += p.Throughput - p.Errors
			n++
		}
	}
	return sum / n
}

func TestRetryStormIsMetastable(t *testing.T) {
	o := Options{Seed: 1, Replications: 1}
	unbounded := simulate(t, storm(1, 1e6), o)
	bounded := simulate(t, storm(0.1, 1), o)
	for _, c := range []struct {
		name          string
		r             *Result
		from, to      time.Duration
		least, atMost float64
	}{
		{"unbounded retries, before", unbounded, 5 * time.Second, 20 * time.Second, 110, 130},
		{"unbounded retries, a minute after the overload", unbounded, 80 * time.Second, 100 * time.Second, 0, 20},
		{"budget, before", bounded, 5 * time.Second, 20 * time.Second, 110, 130},
		{"budget, a minute after the overload", bounded, 80 * time.Second, 100 * time.Second, 110, 130},
	} {
		if got := goodput(c.r, c.from, c.to); got < c.least || got > c.atMost {
			t.Errorf("%s: %.1f good answers a second, want %v to %v", c.name, got, c.least, c.atMost)
		}
	}
	if bounded.service(t, "web").OverBudget == 0 {
		t.Error("the budget never refused a retry")
	}
	steady := storm(1, 1e6)
	steady.Workload.Stages = steady.Workload.Stages[:2]
	steady.Workload.Stages[1].Duration = topology.Duration(100 * time.Second)
	if got := goodput(simulate(t, steady, o), 5*time.Second, 100*time.Second); got < 115 {
		t.Errorf("without the overload, unbounded retries leave %.1f good answers a second: the load alone is too much", got)
	}
}

func ExampleModel_Run() {
	sys := oneService(2, 5, 1, 200)
	sys.Workload.Duration = topology.Duration(20 * time.Second)
	m, err := New(sys, Options{Seed: 42})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := m.Run(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Routes[0].Route, r.Replications, "replications", r.Routes[0].Errors)
	// Output: GET / 5 replications map[]
}

// TestVoidEventsDoNotHitLaterVisits: what was scheduled for visits that were cut off must not happen to those that come
// after them.
func TestVoidEventsDoNotHitLaterVisits(t *testing.T) {
	sys := oneService(1, 0, 1, 400)
	sys.Services["slow"] = &topology.Service{Inbound: topology.Inbound{Timeout: ms(30)}}
	sys.Routes = append(sys.Routes, &topology.Route{Name: "GET /slow", Method: "GET", Path: "/slow", To: "slow"})
	sys.Workload.Mix["slow"] = 1
	sys.Workload.Scenarios["slow"] = &topology.Scenario{Steps: []*topology.Step{{Method: "GET", Path: "/slow"}}}
	sys.Demands = map[string]map[string]*topology.Demand{
		"GET /":     {"web": {Visits: 1, Delay: ms(50), DelaySCV: ptr(0.0)}},
		"GET /slow": {"slow": {Visits: 1, Delay: ms(45), DelaySCV: ptr(0.0)}},
	}
	r := simulate(t, sys, one(Options{Duration: 20 * time.Second}))
	if l := r.Routes[0].Latency; l.Min() != 50e6 || l.Max() != 50e6 {
		t.Errorf("a delay of 50ms took from %v to %v", time.Duration(l.Min()), time.Duration(l.Max()))
	}
	if n := r.Routes[1].Errors["timeout"]; n != r.Routes[1].Requests || n < 3000 {
		t.Errorf("%d of %d slow requests timed out", n, r.Routes[1].Requests)
	}
}
