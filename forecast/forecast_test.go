package forecast

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// day is a made series with a day, a week, growth, and noise in proportion.
func day(n int, step time.Duration, noise float64, rng *rand.Rand) []float64 {
	v := make([]float64, n)
	for i := range v {
		hours := float64(i) * step.Hours()
		level := 1000 * (1 + 0.6*math.Sin(2*math.Pi*hours/24) + 0.1*math.Sin(4*math.Pi*hours/24))
		if int(hours/24)%7 >= 5 {
			level *= 0.6
		}
		v[i] = level * (1 + noise*rng.NormFloat64())
	}
	return v
}

func TestSeasonsAreFound(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	v := day(24*7*5, time.Hour, 0.03, rng)
	for _, c := range []struct {
		name   string
		values []float64
		step   time.Duration
		want   []int
	}{
		{"a day and a week", v, time.Hour, []int{24, 168}},
		{"without a calendar", v, 0, []int{24, 168}},
		{"another period", sine(3000, 97), time.Second, []int{97}},
		{"a period of many steps", sine(15000, 1440), time.Minute, []int{1440}},
		{"noise of some days", noise(6000, rng), time.Minute, nil},
		{"constant", make([]float64, 500), time.Minute, nil},
	} {
		f, err := New(Config{Step: c.step, Horizons: []int{1}})
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range c.values {
			f.Observe(y)
		}
		got := f.Seasons()
		if len(got) != len(c.want) {
			t.Errorf("%s: seasons %v, want %v", c.name, got, c.want)
			continue
		}
		for i := range got {
			if math.Abs(float64(got[i]-c.want[i])) > 0.01*float64(c.want[i]) {
				t.Errorf("%s: seasons %v, want %v", c.name, got, c.want)
			}
		}
	}
}

func sine(n, period int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = 100 + 50*math.Sin(2*math.Pi*float64(i)/float64(period)) + 20*math.Cos(4*math.Pi*float64(i)/float64(period))
	}
	return v
}

func noise(n int, rng *rand.Rand) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = 100 + 10*rng.NormFloat64()
	}
	return v
}

func walk(n int, rng *rand.Rand) []float64 {
	v := make([]float64, n)
	x := 1000.0
	for i := range v {
		x = math.Max(100, x+10*rng.NormFloat64())
		v[i] = x
	}
	return v
}

// What is seasonal must be forecast far better than by the last value, and what is a walk no worse.
func TestBeatsPersistenceWhereThatIsPossible(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name   string
		values []float64
		h      int
		most   float64 // of persistence's error
	}{
		{"season", day(24*28, time.Hour, 0.02, rng), 6, 0.25},
		{"season a step ahead", day(24*28, time.Hour, 0.02, rng), 1, 0.6},
		{"noise", noise(2000, rng), 3, 0.8},
		{"walk", walk(3000, rng), 1, 1.03},
		{"walk far ahead", walk(3000, rng), 20, 1.06},
	} {
		scores, _, err := Backtest(c.values, Config{Step: time.Hour, Horizons: []int{c.h}}, len(c.values)/3, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ratio := scores[0].Error / scores[0].Persistence; ratio > c.most {
			t.Errorf("%s: error is %.3f of persistence's, want at most %.3f", c.name, ratio, c.most)
		}
	}
}

// The calibrated quantiles cover their share whatever the noise is like.
func TestQuantilesCoverTheirShare(t *testing.T) {
	levels := []float64{0.9, 0.95, 0.99}
	tolerance := []float64{0.015, 0.01, 0.005}
	for name, draw := range map[string]func(i int, rng *rand.Rand) float64{
		"normal":     func(_ int, rng *rand.Rand) float64 { return 100 + 10*rng.NormFloat64() },
		"heavy tail": func(_ int, rng *rand.Rand) float64 { return 50 + 20*math.Exp(1.2*rng.NormFloat64()) },
		"few counts": func(_ int, rng *rand.Rand) float64 { return poisson(2.5, rng) },
		"restless":   func(i int, rng *rand.Rand) float64 { return 100 + float64(1+i/500%2*9)*rng.NormFloat64() },
		"rare bursts": func(i int, rng *rand.Rand) float64 {
			return 100 + 10*rng.NormFloat64() + 400*float64(boolInt(i%97 == 0))
		},
		"a day's wave": func(i int, rng *rand.Rand) float64 {
			return (2 + math.Sin(float64(i)/229)) * (50 + 5*rng.NormFloat64())
		},
	} {
		rng := rand.New(rand.NewPCG(5, 6))
		v := make([]float64, 6000)
		for i := range v {
			v[i] = math.Max(0, draw(i, rng))
		}
		scores, _, err := Backtest(v, Config{Horizons: []int{1, 4}}, 500, levels)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range scores {
			for i, p := range levels {
				// What is discrete can't be covered to the point: only too little is a fault.
				if s.Coverage[i] < p-tolerance[i] || s.Coverage[i] > p+tolerance[i] && name != "few counts" {
					t.Errorf("%s, %d steps ahead: the quantile %.2f covers %.4f", name, s.Horizon, p, s.Coverage[i])
				}
			}
		}
	}
}

func poisson(mean float64, rng *rand.Rand) float64 {
	limit, p, k := math.Exp(-mean), rng.Float64(), 0.0
	for ; p > limit; k++ {
		p *= rng.Float64()
	}
	return k
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A hole in the data is not forecast for the next day, and does not bring the forecast down while it lasts.
func TestMissingValuesAndOutagesAreMasked(t *testing.T) {
	for name, hole := range map[string]float64{"missing": math.NaN(), "outage": 0, "negative": -1, "absurd": 1e300} {
		rng := rand.New(rand.NewPCG(7, 8))
		v := day(24*21, time.Hour, 0.01, rng)
		f, err := New(Config{Step: time.Hour, Horizons: []int{1, 3}})
		if err != nil {
			t.Fatal(err)
		}
		const from, to = 24*14 + 8, 24*14 + 12
		for i, y := range v {
			if i > from && i < to || i > from+24 && i < to+24 {
				at, err := f.At(1)
				if err != nil {
					t.Fatal(err)
				}
				if math.Abs(at.Mean-y) > 0.15*y {
					t.Errorf("%s: at step %d, in the hole or a day after it: forecast %.0f, the truth is %.0f", name, i, at.Mean, y)
				}
			}
			if i >= from && i < to {
				y = hole
			}
			f.Observe(y)
		}
	}
}

// A new level is believed within a few steps, and an outage that does not end is the truth in the end.
func TestFollowsANewRegime(t *testing.T) {
	f, err := New(Config{Step: time.Minute, Horizons: []int{1, 5}})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range 1500 {
		level := 100.0
		if i >= 1000 {
			level = 300
		}
		f.Observe(level + 3*rng.NormFloat64())
		if i == 1010 {
			if at, _ := f.At(5); math.Abs(at.Mean-300) > 30 {
				t.Errorf("ten steps after the level rose to 300 the forecast is %.0f", at.Mean)
			}
		}
	}
	for range 2 * outageMost {
		f.Observe(0)
	}
	if at, _ := f.At(1); at.Mean > 10 {
		t.Errorf("nothing has come for %d steps, and the forecast is %.0f", 2*outageMost, at.Mean)
	}
}

func TestRefusesWhatItCannotDo(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no horizon":     {},
		"horizon 0":      {Horizons: []int{0}},
		"far horizon":    {Horizons: []int{MaxHorizon + 1}},
		"season 1":       {Horizons: []int{1}, Seasons: []int{1}},
		"long season":    {Horizons: []int{1}, Seasons: []int{maxSeason + 1}},
		"three seasons":  {Horizons: []int{1}, Seasons: []int{2, 3, 4}},
		"many horizons ": {Horizons: make([]int, MaxHorizons+1)},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f, err := New(Config{Horizons: []int{2}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.At(1); err == nil {
		t.Error("a horizon it was not made for: no error")
	}
	if _, err := f.Quantile(1, 0.5); err == nil {
		t.Error("a quantile of a horizon it was not made for: no error")
	}
}

// Whatever comes, the forecast is a number, not negative, and its quantiles are in order.
func FuzzForecaster(f *testing.F) {
	f.Add([]byte{1, 2, 3, 250, 251, 252, 253, 0, 0, 0}, uint8(3))
	f.Add([]byte("a series of some length, a series of some length, a series of some length"), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, h uint8) {
		odd := []float64{math.NaN(), math.Inf(1), -1, 1e15, 1e300, 1e-300}
		fc, err := New(Config{Horizons: []int{1 + int(h)%20}})
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 4096 {
			data = data[:4096]
		}
		for _, b := range data {
			y := float64(b)
			if int(b) >= 256-len(odd) {
				y = odd[255-b]
			}
			fc.Observe(y)
			at, err := fc.At(1 + int(h)%20)
			if err != nil {
				t.Fatal(err)
			}
			if !(at.Mean >= 0) || math.IsInf(at.Mean, 0) || math.IsNaN(at.Skill) {
				t.Fatalf("forecast %+v after %v", at, y)
			}
			last := 0.0
			for _, p := range []float64{0.5, 0.62, 0.8, 0.95, 0.99, 0.9999} {
				q, err := fc.Quantile(1+int(h)%20, p)
				if err != nil || !(q >= last) || math.IsInf(q, 0) {
					t.Fatalf("quantile %v is %v after one of %v, %v", p, q, last, err)
				}
				last = q
			}
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	fill := func() *Forecaster {
		f, err := New(Config{Step: time.Minute, Horizons: []int{1, 2, 3, 4, 5}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 * maxHistory {
			f.Observe(100 + 50*math.Sin(2*math.Pi*float64(i)/1440) + 30*math.Sin(2*math.Pi*float64(i)/10080))
		}
		return f
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f := fill()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if size := int64(after.HeapAlloc) - int64(before.HeapAlloc); size > 256<<10 {
		t.Errorf("a Forecaster of a week of minutes holds %d KB, want at most 256", size>>10)
	}
	runtime.KeepAlive(f)
}

func BenchmarkObserve(b *testing.B) {
	f, err := New(Config{Step: time.Minute, Horizons: []int{1, 2, 3, 4, 5}})
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		f.Observe(100 + 50*math.Sin(2*math.Pi*float64(i)/1440))
		i++
	}
}

// One absurd value teaches nothing; what lasts is the new truth.
func TestAbsurdValuesAreMasked(t *testing.T) {
	f, err := New(Config{Step: time.Minute, Horizons: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	mean := func() float64 {
		at, err := f.At(1)
		if err != nil {
			t.Fatal(err)
		}
		return at.Mean
	}
	for i := range 2000 {
		y := 1000 + 300*math.Sin(float64(i)/40)
		if i%700 == 699 {
			y = 1e9
		}
		f.Observe(y)
		if m := mean(); i > 100 && !(m > 500 && m < 2000) {
			t.Fatalf("step %d: forecast %v of values around 1000", i, m)
		}
	}
	for range 60 {
		f.Observe(1e9)
	}
	if m := mean(); !(m > 5e8) {
		t.Errorf("after an hour at 1e9: forecast %v", m)
	}
}
