package autoscale

import (
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/queueing"
)

// A station's capacity is what queueing says: enough replicas hold the objective, one fewer do not.
func TestStationCapacity(t *testing.T) {
	s := Station{Service: 20 * time.Millisecond, SCV: 1.5, Concurrency: 4}
	o := Objective{Quantile: 0.99, Latency: 200 * time.Millisecond}
	c, err := StationCapacity(s, o, 400)
	if err != nil {
		t.Fatal(err)
	}
	p99 := func(rate float64, n int) float64 {
		station, err := queueing.MGc(rate, 50, 4*n, 1.5, queueing.Kimura)
		if err != nil {
			return math.Inf(1)
		}
		w, err := station.PercentileW(0.99)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for _, rate := range []float64{10, 150, 1000, 5000, 30000} {
		n := c.Need(rate)
		if got := p99(rate, n); got > 0.2*1.02 {
			t.Errorf("%v/s on %d replicas: p99 %v s, want at most 0.2", rate, n, got)
		}
		if n > 1 {
			if got := p99(rate*1.01, n-1); got < 0.2*0.98 {
				t.Errorf("%v/s: %d replicas asked for, %d would hold p99 %v s", rate, n, n-1, got)
			}
		}
	}
	if c.Need(1e9) != 401 {
		t.Errorf("more than all hold: %d, want 401", c.Need(1e9))
	}
	last := 0
	for rate := 0.0; rate < 60000; rate += 37 {
		if n := c.Need(rate); n < last {
			t.Fatalf("at %v/s %d replicas are needed, at less %d", rate, n, last)
		} else {
			last = n
		}
	}
	for _, n := range []int{1, 7, 100} {
		if got := c.Need(c.Holds(n)); got != n {
			t.Errorf("what %d replicas hold needs %d", n, got)
		}
	}
}

func TestCapacityRefuses(t *testing.T) {
	ok := Station{Service: 20 * time.Millisecond, SCV: 1, Concurrency: 1}
	for name, err := range map[string]error{
		"no rate":           second(LinearCapacity(0)),
		"endless rate":      second(LinearCapacity(math.Inf(1))),
		"no service time":   second(StationCapacity(Station{SCV: 1, Concurrency: 1}, Objective{0.99, time.Second}, 10)),
		"no variation":      second(StationCapacity(Station{Service: 1, SCV: math.NaN(), Concurrency: 1}, Objective{0.99, time.Second}, 10)),
		"quantile 1":        second(StationCapacity(ok, Objective{1, time.Second}, 10)),
		"cannot be held":    second(StationCapacity(ok, Objective{0.99, 30 * time.Millisecond}, 10)),
		"too many replicas": second(StationCapacity(ok, Objective{0.99, time.Second}, MaxReplicas+1)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second(_ *Capacity, err error) error { return err }

// The outlook is ahead of a rise that the day before had, and reaches as far as a start takes.
func TestPredictorIsAheadOfTheDay(t *testing.T) {
	p, err := NewPredictor(PredictorConfig{Step: time.Minute, StartUp: 5 * time.Minute, Interval: 15 * time.Second, Beyond: 10 * time.Minute})
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
	if o := p.Outlook(); o.Until < 800 || o.Beyond < o.Until {
		t.Errorf("outlook %+v four minutes before the rise to 1000/s", o)
	}
	if f := p.Forecast(); f.Mean < 800 || f.Gated {
		t.Errorf("forecast %+v", f)
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
		from, to, n int
		want        []int
	}{
		{1, 1, 6, []int{1}}, {1, 4, 6, []int{1, 2, 3, 4}}, {1, 13, 6, []int{1, 3, 5, 8, 10, 13}}, {5, 9, 1, []int{9}},
	} {
		got := spread(c.from, c.to, c.n)
		if len(got) != len(c.want) {
			t.Errorf("%+v: %v", c, got)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%+v: %v", c, got)
			}
		}
	}
}

func BenchmarkDecision(b *testing.B) {
	p, err := NewPredictor(PredictorConfig{Step: time.Minute, StartUp: 3 * time.Minute, Interval: 15 * time.Second, Beyond: 5 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		p.Observe(1000 + 500*math.Sin(2*math.Pi*float64(i)/1440))
		p.Outlook()
		i++
	}
}
