package queueing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// lindley simulates GI/G/c first come first served: waits of customers in turn,
// by the Kiefer-Wolfowitz recursion on when each server is free.
func lindley(c int, n int, arrival, service func() float64) (waits, sojourns []float64) {
	free := make([]float64, c)
	now := 0.0
	for range n {
		now += arrival()
		i := 0
		for k := range free {
			if free[k] < free[i] {
				i = k
			}
		}
		start := math.Max(now, free[i])
		s := service()
		free[i] = start + s
		waits = append(waits, start-now)
		sojourns = append(sojourns, start+s-now)
	}
	return waits[n/10:], sojourns[n/10:]
}

func meanOf(x []float64) float64 { return sum(x) / float64(len(x)) }

func varianceOf(x []float64) float64 {
	m, s := meanOf(x), 0.0
	for _, v := range x {
		s += (v - m) * (v - m)
	}
	return s / float64(len(x))
}

func gammaDraw(rng *rand.Rand, mean, scv float64) func() float64 {
	f := fitPhaseType(mean, scv)
	return func() float64 {
		u, stage := rng.Float64(), 0
		for i, p := range f.start {
			if u -= p; u < 0 {
				stage = i
				break
			}
		}
		total := 0.0
		for stage >= 0 {
			total += rng.ExpFloat64() / f.rate[stage]
			stage = f.next[stage]
		}
		return total
	}
}

func TestStationsAgainstSimulation(t *testing.T) {
	heavy(t)
	rng := rand.New(rand.NewPCG(9, 9))
	for _, c := range []struct {
		servers  int
		rho, scv float64
	}{{1, 0.7, 1}, {1, 0.8, 0.25}, {1, 0.7, 3}, {4, 0.8, 1}, {4, 0.8, 0.25}, {4, 0.8, 3}, {16, 0.9, 0.5}} {
		lambda := c.rho * float64(c.servers)
		waits, sojourns := lindley(c.servers, 1_000_000, gammaDraw(rng, 1/lambda, 1), gammaDraw(rng, 1, c.scv))
		slices.Sort(sojourns)
		for _, m := range []Wait{AllenCunneen, Kimura} {
			s, err := MGc(lambda, 1, c.servers, c.scv, m)
			if err != nil {
				t.Fatal(err)
			}
			p95, _ := s.PercentileW(0.95)
			p99, _ := s.PercentileW(0.99)
			at := func(p float64) float64 { return sojourns[int(p*float64(len(sojourns)))] }
			errs := []float64{s.Wq/meanOf(waits) - 1, s.VarWq/varianceOf(waits) - 1, p95/at(0.95) - 1, p99/at(0.99) - 1}
			t.Logf("c=%-2d rho=%.1f scv=%-4g %-12s errors: Wq %+.1f %%, VarWq %+.1f %%, p95 %+.1f %%, p99 %+.1f %%", c.servers, c.rho, c.scv, m,
				100*errs[0], 100*errs[1], 100*errs[2], 100*errs[3])
			limit := []float64{0.15, 0.4, 0.12, 0.12}
			if c.servers == 1 || c.scv == 1 {
				limit = []float64{0.05, 0.12, 0.08, 0.06}
			}
			for i := range errs {
				if math.Abs(errs[i]) > limit[i] {
					t.Errorf("c=%d rho=%v scv=%v %s: error %d is %v", c.servers, c.rho, c.scv, m, i, errs[i])
				}
			}
		}
	}
}

// psSojourns simulates a processor-sharing station of c servers, with Poisson
// arrivals and service of that SCV.
func psSojourns(rng *rand.Rand, c int, lambda, scv float64, n int) []float64 {
	type job struct{ left, came float64 }
	var jobs []job
	draw := gammaDraw(rng, 1, scv)
	now, next := 0.0, rng.ExpFloat64()/lambda
	var out []float64
	for len(out) < n {
		speed := math.Min(1, float64(c)/math.Max(1, float64(len(jobs))))
		first, at := -1, math.Inf(1)
		for i := range jobs {
			if e := now + jobs[i].left/speed; e < at {
				first, at = i, e
			}
		}
		step := math.Min(at, next) - now
		for i := range jobs {
			jobs[i].left -= step * speed
		}
		if at <= next {
			now = at
			out = append(out, now-jobs[first].came)
			jobs[first] = jobs[len(jobs)-1]
			jobs = jobs[:len(jobs)-1]
		} else {
			now = next
			jobs = append(jobs, job{draw(), now})
			next = now + rng.ExpFloat64()/lambda
		}
	}
	return out[n/10:]
}

// Percentiles of a network's response against simulation of the station.
func TestPercentilesAgainstSimulation(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 2))
	for _, c := range []struct {
		servers  int
		rho, scv float64
	}{{1, 0.5, 1}, {1, 0.8, 1}, {2, 0.7, 1}, {4, 0.8, 1}, {1, 0.7, 3}, {2, 0.7, 0.25}} {
		lambda := c.rho * float64(c.servers)
		got := psSojourns(rng, c.servers, lambda, c.scv, 200_000)
		sd := math.Sqrt(varianceOf(got))
		slices.Sort(got)
		s, err := Solve(&Network{Stations: []Station{{Servers: c.servers, SCV: c.scv}}, Classes: []Class{{Arrival: lambda, Demands: []float64{1}}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		line := ""
		for _, p := range []float64{0.5, 0.95, 0.99} {
			x, _ := s.Percentile(0, p)
			e := x/got[int(p*float64(len(got)))] - 1
			line += fmt.Sprintf(" p%g %+.1f %%", 100*p, 100*e)
			if math.Abs(e) > 0.35 {
				t.Errorf("PS c=%d rho=%v scv=%v: p%v off by %v", c.servers, c.rho, c.scv, p, e)
			}
		}
		t.Logf("PS c=%d rho=%.1f scv=%-4g errors: mean %.1f %%, sd %.1f %%,%s", c.servers, c.rho, c.scv, 100*(s.Response[0]/meanOf(got)-1), 100*(s.StdDev[0]/sd-1), line)
	}
}

// closedResponses simulates a closed network of FCFS exponential single-class
// stations in a cycle, and returns the response times.
func closedResponses(rng *rand.Rand, n *Network, count int) []float64 {
	s := &simulation{rng: rng}
	hosts := make([]*simHost, len(n.Stations))
	for k := range hosts {
		hosts[k] = &simHost{s: s, free: n.Stations[k].servers()}
	}
	var out []float64
	var visit func(k int, began float64)
	think := func() { s.after(n.Classes[0].Think, func() { visit(0, s.now) }) }
	visit = func(k int, began float64) {
		if k == len(hosts) {
			out = append(out, s.now-began)
			think()
			return
		}
		hosts[k].work(n.Classes[0].Demands[k], func() { visit(k+1, began) })
	}
	for range n.Classes[0].Population {
		think()
	}
	for len(out) < count {
		e := popEvent(&s.events)
		s.now = e.at
		e.act()
	}
	return out[count/10:]
}

func TestClosedPercentilesAgainstSimulation(t *testing.T) {
	heavy(t)
	rng := rand.New(rand.NewPCG(4, 2))
	for _, pop := range []int{5, 15, 30, 60} {
		n := &Network{Stations: []Station{{Discipline: FCFS, Servers: 2}, {Discipline: FCFS}, {Discipline: FCFS}},
			Classes: []Class{{Population: pop, Think: 10, Demands: []float64{0.5, 0.4, 0.3}}}}
		got := closedResponses(rng, n, 200_000)
		sd := math.Sqrt(varianceOf(got))
		slices.Sort(got)
		s, err := Solve(n, Options{})
		if err != nil {
			t.Fatal(err)
		}
		line := ""
		for _, p := range []float64{0.5, 0.95, 0.99} {
			x, _ := s.Percentile(0, p)
			e := x/got[int(p*float64(len(got)))] - 1
			line += fmt.Sprintf(" p%g %+.1f %%", 100*p, 100*e)
			if math.Abs(e) > 0.25 {
				t.Errorf("closed, %d customers: p%v off by %v", pop, p, e)
			}
		}
		t.Logf("closed N=%-3d U=%.2f errors: mean %.1f %%, sd %.1f %%,%s", pop, slices.Max(s.StationUtilisation), 100*(s.Response[0]/meanOf(got)-1), 100*(s.StdDev[0]/sd-1), line)
	}
}

func TestTailsAndPercentilesAgree(t *testing.T) {
	stations := []*Single{}
	add := func(s *Single, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		stations = append(stations, s)
	}
	add(MM1(0.8, 1))
	add(MMc(3, 1, 4))
	add(MMc(3, 1, 4000))
	add(MMcK(5, 1, 3, 9))
	add(MMcN(0.1, 1, 2, 9))
	add(MG1(0.5, 1, 0.5))
	add(MG1PS(0.5, 1, 2))
	for _, s := range stations {
		for _, p := range []float64{0.1, 0.5, 0.99, 0.9999} {
			x, err := s.PercentileW(p)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(s.TailW(x)-(1-p)) > 1e-4 {
				t.Errorf("%s: P(W > %v) = %v, wanted %v", s.Model, x, s.TailW(x), 1-p)
			}
		}
		if math.Abs(s.L-s.Throughput*s.W) > 1e-9*(1+s.L) || math.Abs(s.Lq-s.Throughput*s.Wq) > 1e-9*(1+s.Lq) {
			t.Errorf("%s: Little's law", s.Model)
		}
		total := 0.0
		for n := range 200 {
			if s.atMost != nil {
				total += s.PExactly(n)
			}
		}
		if s.atMost != nil && s.Servers < 100 && math.Abs(total-1) > 1e-6 {
			t.Errorf("%s: probabilities sum to %v", s.Model, total)
		}
	}
	// P(W > t) of M/M/c/K integrates to its mean.
	s := stations[3]
	area, h := 0.0, 0.01
	for x := h / 2; x < 60; x += h {
		area += s.TailW(x) * h
	}
	if math.Abs(area-s.W) > 1e-3 {
		t.Errorf("M/M/c/K: the tail integrates to %v, mean %v", area, s.W)
	}
}

func TestStationErrors(t *testing.T) {
	for want, f := range map[string]func() (*Single, error){
		"unstable":               func() (*Single, error) { return MM1(2, 1) },
		"service rate is 0":      func() (*Single, error) { return MM1(1, 0) },
		"arrival rate is NaN":    func() (*Single, error) { return MMc(math.NaN(), 1, 1) },
		"servers is 0":           func() (*Single, error) { return MMc(1, 2, 0) },
		"capacity 1":             func() (*Single, error) { return MMcK(1, 2, 2, 1) },
		"population -1":          func() (*Single, error) { return MMcN(1, 2, 2, -1) },
		"standard deviation":     func() (*Single, error) { return MG1(0.1, 1, -1) },
		"SCV of service is +Inf": func() (*Single, error) { return GIGc(0.1, 1, 1, 1, math.Inf(1), "") },
		"needs Poisson":          func() (*Single, error) { return GIGc(0.1, 1, 1, 2, 1, Kimura) },
		"unknown approximation":  func() (*Single, error) { return GIGc(0.1, 1, 1, 2, 1, "x") },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := Priority([]PriorityClass{{0.5, 1, 1}, {0.6, 1, 1}}, true); err == nil || !strings.Contains(err.Error(), "class 2 starves") {
		t.Errorf("%v", err)
	}
}

// With one server the two priority functions are two derivations of one thing;
// with all classes taken together the work is conserved.
func TestPrioritiesAgree(t *testing.T) {
	arrivals := []float64{0.2, 0.3, 0.4}
	classes := []PriorityClass{{0.2, 0.5, 1}, {0.3, 0.5, 1}, {0.4, 0.5, 1}}
	for _, preemptive := range []bool{false, true} {
		a, err := Priority(classes, preemptive)
		if err != nil {
			t.Fatal(err)
		}
		b, err := PriorityMMc(arrivals, 2, 1, preemptive)
		if err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for i := range a {
			total += a[i].L
			if math.Abs(a[i].W-b[i].W) > 1e-9 {
				t.Errorf("class %d: %v and %v", i, a[i].W, b[i].W)
			}
		}
		if s, _ := MM1(0.9, 2); math.Abs(total-s.L) > 1e-9 {
			t.Errorf("all classes: L %v, M/M/1 %v", total, s.L)
		}
	}
}
