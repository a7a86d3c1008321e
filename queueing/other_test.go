package queueing

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// pollingSimulation gives the mean waits of a polling server, event by event.
func pollingSimulation(rng *rand.Rand, q []PollingQueue, service PollingService, cycles int) []float64 {
	n := len(q)
	total, count := make([]float64, n), make([]float64, n)
	lines := make([][]float64, n) // arrival instants
	next := make([]float64, n)
	serve, swap := make([]func() float64, n), make([]func() float64, n)
	for i := range q {
		next[i] = rng.ExpFloat64() / q[i].Arrival
		serve[i] = gammaDraw(rng, q[i].Service, q[i].ServiceSCV)
		swap[i] = gammaDraw(rng, q[i].Switch, q[i].SwitchVar/q[i].Switch/q[i].Switch)
	}
	now := 0.0
	arrive := func(i int) {
		for next[i] <= now {
			lines[i] = append(lines[i], next[i])
			next[i] += rng.ExpFloat64() / q[i].Arrival
		}
	}
	for range cycles {
		for i := range q {
			arrive(i)
			quota := len(lines[i])
			if service == Limited1 {
				quota = min(quota, 1)
			}
			for done := 0; (service == Exhaustive || done < quota) && len(lines[i]) > 0; done++ {
				total[i] += now - lines[i][0]
				count[i]++
				lines[i] = lines[i][1:]
				now += serve[i]()
				arrive(i)
			}
			now += swap[i]()
		}
	}
	for i := range total {
		total[i] /= count[i]
	}
	return total
}

func TestPollingAgainstSimulation(t *testing.T) {
	q := []PollingQueue{{0.3, 1, 0.5, 0.2, 0.02}, {0.1, 2, 1, 0.1, 0.01}, {0.2, 0.5, 3, 0.3, 0.09}}
	for service, sign := range map[PollingService]float64{Gated: 1, Exhaustive: -1} {
		// The pseudo-conservation law (Boxma and Groenendijk 1987) holds exactly.
		got, err := Polling(q, service)
		if err != nil {
			t.Fatal(err)
		}
		var left, rho, work, squares, r, v float64
		for i := range q {
			x := q[i].Arrival * q[i].Service
			left += x * got[i]
			rho += x
			squares += x * x
			work += q[i].Arrival * q[i].second()
			r += q[i].Switch
			v += q[i].SwitchVar
		}
		right := rho*work/(2*(1-rho)) + rho*(v+r*r)/(2*r) + r/(2*(1-rho))*(rho*rho+sign*squares)
		if math.Abs(left-right) > 1e-9 {
			t.Errorf("%s: work-weighted waits %v, the law says %v", service, left, right)
		}
	}
	for service, tol := range map[PollingService]float64{Gated: 0.03, Exhaustive: 0.03, Limited1: 0.3} {
		want := pollingSimulation(rand.New(rand.NewPCG(1, 1)), q, service, 400_000)
		got, err := Polling(q, service)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if e := got[i]/want[i] - 1; math.Abs(e) > tol {
				t.Errorf("%s: queue %d waits %v, simulated %v", service, i, got[i], want[i])
			} else {
				t.Logf("%s: queue %d off by %.1f %%", service, i, 100*e)
			}
		}
	}
}

// A blocking network whose capacities never bind is an ordinary closed network.
func TestBlockingWithoutBlockingIsMVA(t *testing.T) {
	b := &BlockingNetwork{Population: 5, Service: []float64{1, 0.5, 0.7}, Servers: []int{2, 1, 1}, Capacity: []int{0, 6, 0},
		Routing: [][]float64{{0, 0.6, 0.4}, {1, 0, 0}, {0.5, 0.5, 0}}}
	s, err := BlockingMarkov(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ClosedVisits(b.Routing, 0)
	if err != nil {
		t.Fatal(err)
	}
	class := Class{Population: 5, Demands: make([]float64, 3)}
	for k := range v {
		class.Demands[k] = v[k] * b.Service[k]
	}
	m, err := ExactMVA(&Network{Stations: []Station{{Servers: 2}, {}, {}}, Classes: []Class{class}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for k := range v {
		if math.Abs(s.QueueLength[k]-m.QueueLength[0][k]) > 1e-6 {
			t.Errorf("station %d: queue %v, MVA %v", k, s.QueueLength[k], m.QueueLength[0][k])
		}
	}
	b.Servers = nil
	b.Capacity = []int{4, 2, 2}
	b.Population = 7
	if s, err = BlockingMarkov(b, 0); err == nil && sum(s.QueueLength) < 6.999 {
		t.Errorf("customers lost: %+v", s)
	}
	b.Population = 8
	if _, err = BlockingMarkov(b, 0); err == nil {
		t.Error("a full network was accepted")
	}
	big := &BlockingNetwork{Population: 200, Service: make([]float64, 6), Capacity: make([]int, 6), Routing: matrix(6, 6)}
	for i := range 6 {
		big.Service[i], big.Routing[i][(i+1)%6] = 1, 1
	}
	if _, err = BlockingMarkov(big, 10_000); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func cacheSimulation(rng *rand.Rand, p []float64, size int, evict Eviction, n int) float64 {
	cumulative := make([]float64, len(p))
	acc := 0.0
	for i, x := range p {
		acc += x
		cumulative[i] = acc
	}
	var order []int // oldest first
	hits := 0
	for step := range n {
		u, lo, hi := rng.Float64()*acc, 0, len(p)-1
		for lo < hi {
			if mid := (lo + hi) / 2; cumulative[mid] < u {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		at := -1
		for i, x := range order {
			if x == lo {
				at = i
				break
			}
		}
		if at >= 0 {
			if step > n/5 {
				hits++
			}
			if evict == LRU {
				order = append(append(order[:at:at], order[at+1:]...), lo)
			}
			continue
		}
		if len(order) == size {
			out := 0
			if evict == Random {
				out = rng.IntN(size)
			}
			order = append(order[:out], order[out+1:]...)
		}
		order = append(order, lo)
	}
	return float64(hits) / float64(n-n/5-1)
}

func TestCacheAgainstSimulation(t *testing.T) {
	p, err := Zipf(500, 0.9)
	if err != nil {
		t.Fatal(err)
	}
	for _, evict := range []Eviction{LRU, FIFO, Random} {
		want := cacheSimulation(rand.New(rand.NewPCG(2, 2)), p, 40, evict, 300_000)
		_, got, err := CacheHits(p, 40, evict)
		if err != nil || math.Abs(got-want) > 0.006 {
			t.Errorf("%s: hit ratio %v, simulated %v (%v)", evict, got, want, err)
		} else {
			t.Logf("%s: hit ratio %.4f, simulated %.4f", evict, got, want)
		}
	}
	if _, all, _ := CacheHits(p, 500, LRU); all != 1 {
		t.Errorf("a cache that holds all hits %v", all)
	}
	if _, all, _ := CacheHits(p, 0, LRU); all != 0 {
		t.Errorf("a cache that holds nothing hits %v", all)
	}
}

func TestUSLRecovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		want := USL{Alpha: 0.2 * rng.Float64(), Beta: 0.01 * rng.Float64(), Gamma: 1 + 1000*rng.Float64()}
		if rng.IntN(3) == 0 {
			want.Beta = 0
		}
		var points []USLPoint
		for _, n := range []float64{1, 2, 4, 8, 12, 16, 24, 32} {
			points = append(points, USLPoint{n, want.throughput(n)})
		}
		for _, m := range []USLMethod{USLLeastSquares, USLQuadratic} {
			got, r2, err := FitUSL(points, m)
			if err != nil || math.Abs(got.Alpha-want.Alpha) > 1e-6 || math.Abs(got.Beta-want.Beta) > 1e-6 || math.Abs(got.Gamma/want.Gamma-1) > 1e-6 || r2 < 0.999999 {
				t.Fatalf("%s: %+v, from %+v (%v)", m, got, want, err)
			}
		}
		n, err := want.LoadAtThroughput(want.throughput(2))
		if err != nil || math.Abs(n-2) > 1e-6 {
			t.Fatalf("%+v: load at the throughput of 2 is %v (%v)", want, n, err)
		}
	}
	// Superlinear data: contention may not go below zero.
	u, _, err := FitUSL([]USLPoint{{1, 1}, {2, 2.4}, {4, 5.5}, {8, 12}}, USLLeastSquares)
	if err != nil || u.Alpha < 0 || u.Beta < 0 {
		t.Fatalf("%+v %v", u, err)
	}
}
