package load

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func mustProfile(t testing.TB, p *Profile, err error) *Profile {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func profiles(t *testing.T) map[string]*Profile {
	steady, err := Steady(123.5, 40*time.Second)
	mustProfile(t, steady, err)
	ramps, err := Ramps([]topology.Stage{
		{Rate: 100, Duration: topology.Duration(10 * time.Second)},
		{Rate: 100, Duration: topology.Duration(5 * time.Second)},
		{Rate: 400, Duration: topology.Duration(3 * time.Second)},
		{Rate: 0, Duration: topology.Duration(20 * time.Second)},
	})
	mustProfile(t, ramps, err)
	s := &series{file: "t", period: time.Minute, rates: []float64{3, 0, 0, 10.5, 0.1, 7}}
	r, err := replayOf(s, &topology.Trace{Speed: 30, Scale: 2, From: topology.Duration(20 * time.Second)}, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Profile{"steady": steady, "ramps": ramps, "trace": r.profile}
}

// The integral of the rate, summed in small steps, is what Expected says; Instant is its inverse.
func TestProfileAgainstItsIntegral(t *testing.T) {
	for name, p := range profiles(t) {
		const dt = time.Millisecond
		sum := 0.0
		for at := time.Duration(0); at < p.Duration(); at += dt {
			if got := p.Expected(at); math.Abs(got-sum) > 0.5+1e-3*sum {
				t.Fatalf("%s: %.3f arrivals expected before %s, the integral is %.3f", name, got, at, sum)
			}
			sum += p.RateAt(at+dt/2) * dt.Seconds()
		}
		if math.Abs(p.Total()-sum) > 0.5+1e-3*sum {
			t.Errorf("%s: total %.3f, integral %.3f", name, p.Total(), sum)
		}
		for i := range 1000 {
			n := p.Total() * float64(i) / 1000
			if back := p.Expected(p.Instant(n)); math.Abs(back-n) > 1e-5 {
				t.Fatalf("%s: %v arrivals are due at %s, before which %v are", name, n, p.Instant(n), back)
			}
		}
	}
}

func TestSchedules(t *testing.T) {
	for name, p := range profiles(t) {
		for _, s := range []Schedule{Even{p}, NewPoisson(p, 7)} {
			last, n := time.Duration(-1), int64(0)
			var all []time.Duration
			for ; ; n++ {
				at, ok := s.At(n)
				if !ok {
					break
				}
				if at < last || at > p.Duration() {
					t.Fatalf("%s %s: arrival %d at %s, after %s, of %s", name, s, n, at, last, p.Duration())
				}
				last = at
				all = append(all, at)
			}
			slack := 5 * math.Sqrt(p.Total())
			if _, ok := s.(Even); ok {
				slack = 1
			}
			if math.Abs(float64(n)-p.Total()) > slack {
				t.Errorf("%s %s: %d arrivals, expected %.1f", name, s, n, p.Total())
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 2000 { // in any order the same
				i := rng.Int64N(n)
				if at, ok := s.At(i); !ok || at != all[i] {
					t.Fatalf("%s %s: arrival %d at %s, before it was %s", name, s, i, at, all[i])
				}
			}
			for range 200 {
				from, before := rng.Int64N(n), time.Duration(rng.Int64N(int64(p.Duration())))
				want := int64(0)
				for i := from; i < n && all[i] < before; i++ {
					want++
				}
				if got := dueBefore(s, from, before); got != want {
					t.Fatalf("%s %s: %d due from %d on before %s, want %d", name, s, got, from, before, want)
				}
			}
			if _, ok := s.At(-1); ok {
				t.Errorf("%s %s: has an arrival -1", name, s)
			}
		}
	}
}

func TestEvenSpacing(t *testing.T) {
	p, err := Steady(200, time.Second)
	mustProfile(t, p, err)
	for n := range int64(200) {
		if at, ok := (Even{p}).At(n); !ok || at != time.Duration(n)*5*time.Millisecond {
			t.Fatalf("arrival %d at %s", n, at)
		}
	}
	if _, ok := (Even{p}).At(200); ok {
		t.Error("a second at 200/s has more than 200 arrivals")
	}
}

// Gaps of a Poisson process at a constant rate are exponential, and counts in equal windows vary as much as their mean.
func TestPoissonIsPoisson(t *testing.T) {
	const rate, length = 1000.0, 200
	p, err := Steady(rate, length*time.Second)
	mustProfile(t, p, err)
	s := NewPoisson(p, 42)
	counts := make([]float64, length*10)
	var gaps []float64
	last := 0.0
	for n := int64(0); n < s.Count(); n++ {
		at, _ := s.At(n)
		counts[min(int(at/(100*time.Millisecond)), len(counts)-1)]++
		gaps = append(gaps, at.Seconds()-last)
		last = at.Seconds()
	}
	// Kolmogorov-Smirnov over a grid: 1.95/sqrt(n) is exceeded once in a thousand seeds.
	for x := 0.1; x < 5; x += 0.1 {
		below := 0
		for _, g := range gaps {
			if g*rate <= x {
				below++
			}
		}
		if d := math.Abs(float64(below)/float64(len(gaps)) - (1 - math.Exp(-x))); d > 1.95/math.Sqrt(float64(len(gaps))) {
			t.Errorf("share of gaps below %.1f/rate is off by %.4f", x, d)
		}
	}
	mean, m2 := 0.0, 0.0
	for _, c := range counts {
		mean += c / float64(len(counts))
	}
	for _, c := range counts {
		m2 += (c - mean) * (c - mean) / float64(len(counts))
	}
	if ratio := m2 / mean; ratio < 0.87 || ratio > 1.13 { // 4 standard errors of 2000 windows
		t.Errorf("variance of the counts is %.3f of their mean", ratio)
	}
}

func TestPoissonNumber(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, mean := range []float64{0.3, 4, 29, 31, 250, 1e6} {
		const n = 20000
		sum, sq := 0.0, 0.0
		for range n {
			x := float64(poissonNumber(rng, mean))
			sum += x
			sq += (x - mean) * (x - mean)
		}
		if off := math.Abs(sum/n-mean) / math.Sqrt(mean/n); off > 4 {
			t.Errorf("mean of Poisson(%v) is %v: %.1f standard errors off", mean, sum/n, off)
		}
		if ratio := sq / n / mean; math.Abs(ratio-1) > 0.06+0.05/mean {
			t.Errorf("variance of Poisson(%v) is %.3f of it", mean, ratio)
		}
	}
}

func TestProfileRefuses(t *testing.T) {
	for _, rate := range []float64{0, -1, math.NaN(), math.Inf(1), 1e15} {
		if _, err := Steady(rate, time.Minute); err == nil {
			t.Errorf("a rate of %v is taken", rate)
		}
	}
	if _, err := Ramps(nil); err == nil {
		t.Error("no stages are taken")
	}
}
