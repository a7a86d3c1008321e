package plan

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// TestSteadyAnswersAsTheModel holds the compiled model against the one that it is compiled from.
func TestSteadyAnswersAsTheModel(t *testing.T) {
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
		mix := m.mixOf(load)
		s, err := m.compile(sys, mix)
		if err != nil {
			t.Fatal(err)
		}
		held, by := s.held()
		near(t, "held", held, m.heldRate(mix), 1e-9)
		if _, want := m.busiest(m.ratesAt(mix, held*(1-1e-9))); by != want {
			t.Errorf("trial %d: held by %s, want %s", trial, by, want)
		}
		for _, u := range []float64{0.01, 0.3, 0.7, 0.95, 0.99} {
			x := u * held
			want, err := m.solveOpen(m.ratesAt(mix, x))
			if err != nil {
				t.Fatal(err)
			}
			ok, err := s.solve(x)
			if err != nil || !ok {
				t.Fatalf("trial %d at %g: %v %v", trial, u, ok, err)
			}
			near(t, "idle", s.idle(x), m.idleShare(m.ratesAt(mix, x)), 1e-9)
			for i := range s.routes {
				near(t, "mean", s.mean[i], want.mean[i], 1e-6)
				near(t, "variance", s.variance[i], want.variance[i], 1e-6)
			}
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
