package queueing

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// binned counts draws in bins that grow by 3 %, as a histogram of latencies does.
func binned(n int, draw func() float64) []Bin {
	counts := map[int]float64{}
	for range n {
		counts[int(math.Floor(math.Log(draw())/math.Log(1.03)))]++
	}
	var keys []int
	for k := range counts {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var bins []Bin
	for _, k := range keys {
		bins = append(bins, Bin{Low: math.Pow(1.03, float64(k)), High: math.Pow(1.03, float64(k+1)), Count: counts[k]})
	}
	return bins
}

func TestFitLawsFindsTheFamily(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 4))
	erlang := func(k int) float64 {
		s := 0.0
		for range k {
			s += rng.ExpFloat64() / float64(k)
		}
		return s
	}
	for _, c := range []struct {
		law       string
		mean, scv float64
		draw      func() float64
	}{
		{"constant", 3, 0, func() float64 { return 3 }},
		{"exponential", 1, 1, rng.ExpFloat64},
		{"gamma", 1, 0.25, func() float64 { return erlang(4) }},
		{"lognormal", math.Exp(0.32), math.Expm1(0.64), func() float64 { return math.Exp(0.8 * rng.NormFloat64()) }},
		{"hyperexponential", 0.9*0.5 + 0.1*5.5, 2*(0.9*0.25+0.1*30.25) - 1, func() float64 {
			if rng.Float64() < 0.9 {
				return 0.5 * rng.ExpFloat64()
			}
			return 5.5 * rng.ExpFloat64()
		}},
	} {
		bins := binned(4000, c.draw)
		fits, err := FitLaws(bins)
		if err != nil {
			t.Fatal(err)
		}
		if got := fits[0]; got.Law != c.law || got.KS > 0.04 || math.Abs(got.Mean/c.mean-1) > 0.06 || math.Abs(got.SCV-c.scv) > 0.05+0.12*c.scv {
			t.Errorf("%s of mean %.3f and SCV %.3f: found %+v, then %+v", c.law, c.mean, c.scv, got, fits[1])
		}
	}
}

// TestMomentsOfCovers holds the standard error of the SCV against many samples of the same law.
func TestMomentsOfCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	inside := 0
	for range 300 {
		mean, scv, se, err := MomentsOf(binned(2000, rng.ExpFloat64))
		if err != nil || math.Abs(mean-1) > 0.1 {
			t.Fatal(mean, err)
		}
		if math.Abs(scv-1) < 1.96*se {
			inside++
		}
	}
	if share := float64(inside) / 300; share < 0.88 || share > 0.99 {
		t.Errorf("the SCV lies within its 95%% interval in %.0f%% of the samples", 100*share)
	}
}

func TestFitLawsRefuses(t *testing.T) {
	for name, bins := range map[string][]Bin{
		"none":     nil,
		"one":      {{1, 2, 1}},
		"negative": {{-1, 2, 5}},
		"endless":  {{1, math.Inf(1), 5}},
		"no count": {{1, 2, math.NaN()}},
		"disorder": {{5, 6, 5}, {1, 2, 5}},
		"all zero": {{0, 0, 5}},
	} {
		if _, err := FitLaws(bins); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestDigamma(t *testing.T) {
	const euler = 0.57721566490153286
	for _, c := range []struct{ got, want float64 }{
		{digamma(1), -euler}, {digamma(0.5), -euler - 2*math.Ln2}, {digamma(10), 2.2517525890667211},
		{trigamma(1), math.Pi * math.Pi / 6}, {trigamma(0.5), math.Pi * math.Pi / 2},
	} {
		if math.Abs(c.got-c.want) > 1e-8 {
			t.Errorf("got %.12f, want %.12f", c.got, c.want)
		}
	}
}
