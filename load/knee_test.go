package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// mm1 probes a single exponential server of the given rate for some seconds, after a fifth as much of warm-up, by
// Lindley's recursion, and says whether the p99 of the response was below limit seconds.
func mm1(rng *rand.Rand, service, rate, seconds, limit float64) ProbeVerdict {
	all, below := 0, 0 // responses, and those below the limit
	wait, now, warm := 0.0, 0.0, seconds/5
	for {
		gap := rng.ExpFloat64() / rate
		if now += gap; now > warm+seconds {
			break
		}
		wait = max(0, wait-gap)
		wait += rng.ExpFloat64() / service
		if now > warm {
			if all++; wait < limit {
				below++
			}
		}
		if wait > 20*limit {
			return Hopeless
		}
	}
	if all == 0 {
		return Unmeasured
	}
	if below > min(all*99/100, all-1) {
		return Held
	}
	return Broken
}

// runSearch lets a search go against probe and returns its estimate and the number of probes.
func runSearch(t testing.TB, o SearchOptions, probe func(Probe) ProbeVerdict) (Estimate, int) {
	t.Helper()
	s, err := NewSearch(o)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for p, ok := s.Next(); ok; p, ok = s.Next() {
		if n++; n > 2000 {
			t.Fatal("the search does not end")
		}
		if err := s.Observe(p, probe(p)); err != nil {
			t.Fatal(err)
		}
	}
	return s.Estimate(), n
}

func TestSearchFindsTheKneeOfMM1(t *testing.T) {
	heavy(t)
	for _, c := range []struct{ service, limit, seconds, within float64 }{
		{1000, 0.05, 10, 0.05},
		{200, 0.1, 60, 0.06}, // short probes of a slow server tell little: waits hang together
		{5000, 0.02, 10, 0.05},
	} {
		t.Run(fmt.Sprint(c.service), func(t *testing.T) {
			// The response of M/M/1 is exponential with rate mu-lambda: p99 = ln(100)/(mu-lambda).
			truth := c.service - math.Log(100)/c.limit
			const repeats = 40
			var errs []float64
			probes, full, covered, found := 0, 0, 0, 0
			for i := range repeats {
				rng := rand.New(rand.NewPCG(uint64(i), 7))
				e, n := runSearch(t, SearchOptions{}, func(p Probe) ProbeVerdict {
					seconds := c.seconds
					if full++; p.Short {
						full--
						seconds = min(max(500/p.Rate, 2), c.seconds)
					}
					return mm1(rng, c.service, p.Rate, seconds, c.limit)
				})
				if e.Found {
					found++
				}
				errs = append(errs, e.Knee/truth-1)
				probes += n
				if e.Low <= truth && truth <= e.High {
					covered++
				}
			}
			slices.Sort(errs)
			mean, spread := 0.0, 0.0
			for _, e := range errs {
				mean += e / repeats
			}
			for _, e := range errs {
				spread += (e - mean) * (e - mean) / (repeats - 1)
			}
			t.Logf("knee %.0f/s: error mean %+.2f%%, deviation between repeats %.2f%%, worst %+.2f%% and %+.2f%%; %.1f probes, %.1f of them long; %d found, the interval held the truth in %d of %d",
				truth, 100*mean, 100*math.Sqrt(spread), 100*errs[0], 100*errs[repeats-1], float64(probes)/repeats, float64(full)/repeats, found, covered, repeats)
			if covered < repeats*8/10 || found < repeats*8/10 {
				t.Errorf("found %d of %d, the interval held the truth in %d", found, repeats, covered)
			}
			if off := max(-errs[repeats/20], errs[repeats-1-repeats/20]); off > c.within {
				t.Errorf("more than one search in ten is off by over %.0f%%: %.3f", 100*c.within, errs)
			}
			if math.Abs(mean) > 0.025 {
				t.Errorf("the searches are off by %.2f%% on average", 100*mean)
			}
			if float64(probes)/repeats > 32 {
				t.Errorf("%.1f probes on average", float64(probes)/repeats)
			}
		})
	}
}

// TestSearchInterval: where outcomes really follow a logistic curve, the 95 % interval holds the truth about as often.
func TestSearchInterval(t *testing.T) {
	heavy(t)
	const repeats = 200
	covered := 0
	for i := range repeats {
		rng := rand.New(rand.NewPCG(uint64(i), 3))
		truth := math.Exp(4 + 4*rng.Float64())
		scale := 0.005 * math.Pow(20, rng.Float64())
		e, _ := runSearch(t, SearchOptions{MaxProbes: 60}, func(p Probe) ProbeVerdict {
			if rng.Float64() < 1/(1+math.Exp(math.Log(p.Rate/truth)/scale)) {
				return Held
			}
			return Broken
		})
		if e.Low <= truth && truth <= e.High {
			covered++
		}
	}
	t.Logf("the interval held the truth in %d of %d", covered, repeats)
	if share := float64(covered) / repeats; share < 0.9 {
		t.Errorf("the 95%% interval held the truth in %.1f%%", 100*share)
	}
}

func TestSearchSurvivesAnAccident(t *testing.T) {
	// A hiccup of a healthy target breaks one probe at full length, far below the knee.
	for bad := range 18 {
		n := 0
		e, _ := runSearch(t, SearchOptions{MaxProbes: 60}, func(p Probe) ProbeVerdict {
			n++
			if n-1 == bad {
				return Broken
			}
			if p.Rate <= 700 {
				return Held
			}
			return Broken
		})
		if !e.Found || math.Abs(e.Knee/700-1) > 0.04 {
			t.Errorf("accident at probe %d: %+v", bad, e)
		}
	}
}

func TestSearchSurvivesABadStart(t *testing.T) {
	// A target that is not warm yet breaks the first probes, or holds them before its cache is full.
	for _, c := range []struct {
		truth float64
		bad   int
		wrong ProbeVerdict
	}{{700, 4, Hopeless}, {3000, 6, Broken}, {40, 7, Held}} {
		n := 0
		e, probes := runSearch(t, SearchOptions{MaxProbes: 80}, func(p Probe) ProbeVerdict {
			if n++; n <= c.bad {
				return c.wrong
			}
			if p.Rate <= c.truth {
				return Held
			}
			return Broken
		})
		t.Logf("%+v after %d", e, probes)
		if !e.Found || math.Abs(e.Knee/c.truth-1) > 0.05 {
			t.Errorf("knee %v after %d bad probes: %+v", c.truth, c.bad, e)
		}
	}
}

func TestSearchEdges(t *testing.T) {
	always := func(v ProbeVerdict) func(Probe) ProbeVerdict { return func(Probe) ProbeVerdict { return v } }
	if e, n := runSearch(t, SearchOptions{Start: 10, Max: 100}, always(Held)); e.Found || e.Low != 100 || e.Knee != 0 || e.Why == "" || n != 5 {
		t.Errorf("a target that holds everything: %+v after %d", e, n)
	}
	if e, n := runSearch(t, SearchOptions{Start: 10}, always(Hopeless)); e.Found || e.Low != 0 || e.High == 0 || e.High > 0.03 || n > 12 {
		t.Errorf("a target that holds nothing: %+v after %d", e, n)
	}
	if e, n := runSearch(t, SearchOptions{Start: 10}, always(Unmeasured)); e.Found || e.Why == "" || n != 3 {
		t.Errorf("a generator that measures nothing: %+v after %d", e, n)
	}
	limited := func(p Probe) ProbeVerdict {
		if p.Rate > 500 {
			return Unmeasured
		}
		return Held
	}
	if e, _ := runSearch(t, SearchOptions{Start: 10}, limited); e.Found || e.Low != 320 {
		t.Errorf("a generator that ends at 500/s: %+v", e)
	}
	if e, n := runSearch(t, SearchOptions{Start: 1000, MaxProbes: 40}, func(p Probe) ProbeVerdict {
		if p.Rate < 33 {
			return Held
		}
		return Hopeless
	}); !e.Found || math.Abs(e.Knee/33-1) > 0.03 || n > 25 {
		t.Errorf("a start far above the knee: %+v after %d", e, n)
	}
	for _, bad := range []SearchOptions{{Start: -1}, {Start: 10, Max: 5}, {Precision: 1}, {MaxProbes: 1}, {Start: math.NaN()}, {Max: math.Inf(1)}} {
		if _, err := NewSearch(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	s, _ := NewSearch(SearchOptions{})
	if s.Observe(Probe{}, Held) == nil || s.Observe(Probe{Rate: 1}, "x") == nil {
		t.Error("a senseless outcome was accepted")
	}
}
