package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEventsComeInOrderOfTimeAndThenOfScheduling(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var l eventList
	var want []event
	take := func() {
		slices.SortStableFunc(want, func(a, b event) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
		if got := l.next(); got != want[0] {
			t.Fatalf("got %+v, want %+v", got, want[0])
		}
		want = want[1:]
	}
	for i := range 5000 {
		at := rng.Int64N(50)
		l.schedule(at, eventKind(i%7), int32(i), uint32(i))
		want = append(want, event{at: at, order: l.scheduled<<8 | uint64(i%7), subject: int32(i), stamp: uint32(i)})
		if rng.IntN(3) == 0 {
			take()
		}
	}
	for len(want) > 0 {
		take()
	}
	if l.nextAt() != never {
		t.Errorf("an empty list has an event at %d", l.nextAt())
	}
}

func TestDistributionsKeepMeanAndSCV(t *testing.T) {
	for _, shape := range []Shape{ShapeAuto, ShapeGamma, ShapeLognormal} {
		for _, scv := range []float64{0, 0.05, 0.5, 1, 2, 5} {
			d, err := newDistribution(shape, 0.003, scv)
			if err != nil {
				t.Fatal(err)
			}
			s := newStream(7, 0, "test")
			const n = 400000
			var sum, square float64
			for range n {
				x := d.sample(s)
				if x < 0 {
					t.Fatalf("%s %v: drew %v", shape, scv, x)
				}
				sum += x
				square += x * x
			}
			mean := sum / n
			got := square/n/(mean*mean) - 1
			if math.Abs(mean-0.003) > 0.003*0.015 || math.Abs(got-scv) > 0.08*scv+1e-9 {
				t.Errorf("shape %q, SCV %v: mean %v, SCV %v", shape, scv, mean, got)
			}
		}
	}
	for _, bad := range [][2]float64{{-1, 1}, {math.NaN(), 1}, {math.Inf(1), 1}, {1, -1}, {1, math.NaN()}} {
		if _, err := newDistribution(ShapeAuto, bad[0], bad[1]); err == nil {
			t.Errorf("mean %v, SCV %v: no error", bad[0], bad[1])
		}
	}
}

func TestStreamsDependOnNameAndReplication(t *testing.T) {
	seen := map[uint64]bool{}
	for _, name := range []string{"arrivals", "service a", "service b"} {
		for replication := range 3 {
			for seed := range uint64(3) {
				v := newStream(seed, replication, name).Uint64()
				if seen[v] {
					t.Errorf("%s %d %d repeats another stream", name, replication, seed)
				}
				seen[v] = true
				if v != newStream(seed, replication, name).Uint64() {
					t.Error("a stream does not repeat itself")
				}
			}
		}
	}
}

// mm1 runs an M/M/1 queue on the bare event list and returns the mean response time in units of the mean service.
func mm1(events int, load float64, seed uint64) float64 {
	const arrival, departure eventKind = 0, 1
	const unit = 1e6 // nanoseconds
	var l eventList
	arrivals, services := newStream(seed, 0, "arrivals"), newStream(seed, 0, "service")
	came := make([]int64, 1<<16)
	var first, n, served int
	var total float64
	l.schedule(0, arrival, 0, 0)
	for range events {
		e := l.next()
		if e.kind() == arrival {
			came[(first+n)&(1<<16-1)] = e.at
			if n++; n == 1 {
				l.schedule(e.at+int64(unit*services.ExpFloat64()), departure, 0, 0)
			}
			l.schedule(e.at+int64(unit/load*arrivals.ExpFloat64()), arrival, 0, 0)
			continue
		}
		total += float64(e.at - came[first&(1<<16-1)])
		first, n, served = first+1, n-1, served+1
		if n > 0 {
			l.schedule(e.at+int64(unit*services.ExpFloat64()), departure, 0, 0)
		}
	}
	return total / float64(served) / unit
}

func TestMM1OnTheBareEngine(t *testing.T) {
	if got := mm1(8_000_000, 0.8, 1); math.Abs(got-5) > 0.1 {
		t.Errorf("mean response at load 0.8 is %.3f services, want 5", got)
	}
}
