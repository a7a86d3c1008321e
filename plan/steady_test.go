package plan

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// TestWhatIsHeldIsWhereItFills looks from both sides at the throughput that is called held, in systems made at random.
func TestWhatIsHeldIsWhereItFills(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for trial := range 60 {
		sys, load := large(1+rng.IntN(12), 1+rng.IntN(5))
		sys.Machine.Cores = []topology.CPU{1, 2, 3.5, 8}[trial%4]
		sys.Calibration = &topology.Calibration{Dispersion: 2 + 3*rng.Float64(), Idle: map[string]float64{"s000": 0.05 * rng.Float64()}}
		for _, svc := range sys.Services {
			svc.Limits.CPU = []topology.CPU{0, 0.3, 1}[rng.IntN(3)]
		}
		m, err := newModel(sys, load, Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.compile(sys, m.mixOf(load))
		if err != nil {
			t.Fatal(err)
		}
		held, by := s.held()
		if got := s.busiest(held * (1 - 1e-9)); got != by {
			t.Errorf("trial %d: full is %s, busiest just before is %s", trial, by, got)
		}
		if full := s.machineFullAt(); math.Abs(s.use(full)/s.cores-1) > 1e-9 {
			t.Errorf("trial %d: where the machine is full %g of %g cores are used", trial, s.use(full), s.cores)
		}
		last := 0.0
		for _, u := range []float64{0.01, 0.3, 0.7, 0.95, 0.99} {
			if ok, err := s.solve(u * held); err != nil || !ok {
				t.Fatalf("trial %d at %g of what is held: %v %v", trial, u, ok, err)
			}
			// From light loads on it may fall at first: less is spent on waking up.
			if u > 0.7 && s.latency() < last {
				t.Errorf("trial %d: latency falls to %g at %g", trial, s.latency(), u)
			}
			last = s.latency()
		}
		if ok, _ := s.solve(held * 1.0001); ok {
			t.Errorf("trial %d: more than is held was solved", trial)
		}
	}
}

func TestWalkMaximumIsSpitzersSum(t *testing.T) {
	for _, drift := range []float64{0.03, 0.1, 0.5, 0.79, 0.81, 2} {
		want := 0.0
		for n := 1.0; n < 200/(drift*drift); n++ {
			want += math.Exp(-drift*drift*n/2)/math.Sqrt(2*math.Pi*n) - drift*normalTail(drift*math.Sqrt(n))
		}
		near(t, "maximum", walkMaximum(drift), want, 1e-9)
	}
}

func BenchmarkSteady(b *testing.B) {
	sys, load := large(100, 20)
	m, err := newModel(sys, load, Options{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := m.compile(sys, m.mixOf(load))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.solve(load.Total()); err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.strain(); err != nil {
			b.Fatal(err)
		}
	}
}
