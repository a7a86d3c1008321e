package forecast

import (
	"math"
	"slices"
	"testing"
	"time"
)

// The outlook is ahead of a rise that the day before had, and reaches as far as a start takes.
func TestPredictorIsAheadOfTheDay(t *testing.T) {
	p, err := NewPredictor(PredictorConfig{Step: time.Minute, Far: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	rate := func(i int) float64 {
		if i%1440 >= 480 && i%1440 < 1080 {
			return 1000
		}
		return 100
	}
	for i := range 3*1440 + 476 {
		p.Observe(rate(i))
	}
	// It is 7:56: in five minutes the rate is ten times as large.
	if o := p.Outlook(5 * time.Minute); o.Until < 800 || o.Beyond < o.Until {
		t.Errorf("outlook %+v four minutes before the rise to 1000/s", o)
	}
	if o := p.Outlook(time.Minute); o.Until > 300 {
		t.Errorf("outlook %+v of someone who needs but a minute to start", o)
	}
}

func TestPredictorRefuses(t *testing.T) {
	for name, cfg := range map[string]PredictorConfig{
		"no step":          {},
		"negative caution": {Step: time.Second, Caution: -1},
	} {
		if _, err := NewPredictor(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		last, n int
		want    []int
	}{
		{1, 6, []int{1}}, {4, 6, []int{1, 2, 3, 4}}, {20, 8, []int{1, 3, 6, 9, 11, 14, 17, 20}}, {9, 1, []int{9}},
	} {
		if got := spread(c.last, c.n); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func BenchmarkDecision(b *testing.B) {
	p, err := NewPredictor(PredictorConfig{Step: time.Minute, Far: 5 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		p.Observe(1000 + 500*math.Sin(2*math.Pi*float64(i)/1440))
		p.Outlook(5 * time.Minute)
		i++
	}
}
