package plan

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// watched is the shop of the tests, calibrated at 60 requests a second.
func watched() *topology.System {
	sys := shop()
	sys.Calibration = &topology.Calibration{Rates: map[string]float64{"home": 20, "api": 40}, Services: map[string]*topology.CalibratedService{
		"web": {Time: topology.Duration(3 * time.Millisecond)}, "catalog": {Time: topology.Duration(5 * time.Millisecond)},
	}}
	return sys
}

// live draws intervals of 5 s as the model has them, with a noise of 8 % on all, and what a test changes.
type live struct {
	w   *Watch
	rng *rand.Rand
	at  time.Time
}

func (l *live) next(t *testing.T, change func(*WatchInterval)) *WatchInterval {
	t.Helper()
	rates := map[string]float64{"home": 20 * (1 + 0.3*l.rng.Float64()), "api": 40 * (1 + 0.3*l.rng.Float64())}
	delete(l.w.m.idle, others)
	e, err := l.w.expect(rates)
	if err != nil {
		t.Fatal(err)
	}
	iv := &WatchInterval{Start: l.at, Seconds: 5, Requests: map[string]float64{}, CPU: map[string]float64{}, Visits: map[string]float64{}, Own: map[string]float64{}}
	noise := func() float64 { return math.Exp(0.08 * l.rng.NormFloat64()) }
	for route, r := range rates {
		iv.Requests[route] = 5 * r
	}
	for _, s := range l.w.m.services {
		if e.visits[s.name] == 0 {
			continue
		}
		iv.Visits[s.name] = 5 * e.visits[s.name]
		iv.CPU[s.name] = 5 * e.cpu[s.name] * noise()
		iv.Own[s.name] = iv.Visits[s.name] * l.w.bias[s.name] * e.own[s.name] * noise()
	}
	if change != nil {
		change(iv)
	}
	for _, cpu := range iv.CPU {
		iv.Busy += cpu / 5
	}
	l.at = l.at.Add(5 * time.Second)
	return iv
}

func TestWatchNamesWhatLeft(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*WatchInterval)
		service  string
		quantity string
		ratio    float64
	}{
		{"nothing", nil, "", "", 0},
		{"within the tolerance", func(iv *WatchInterval) { iv.CPU["catalog"] *= 1.15; iv.Own["web"] *= 1.3 }, "", "", 0},
		{"CPU of catalog", func(iv *WatchInterval) { iv.CPU["catalog"] *= 2 }, "catalog", WatchCPU, 2},
		{"catalog spares half", func(iv *WatchInterval) { iv.CPU["catalog"] *= 0.5 }, "catalog", WatchCPU, 0.5},
		{"time at web", func(iv *WatchInterval) { iv.Own["web"] *= 4 }, "web", WatchTime, 4},
		{"a cache that fails", func(iv *WatchInterval) {
			for _, of := range []map[string]float64{iv.Visits, iv.CPU, iv.Own} {
				of["catalog"] *= 2.2
			}
		}, "catalog", WatchVisits, 2.2},
	} {
		w, err := NewWatch(watched(), Options{}, WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l := &live{w: w, rng: rand.New(rand.NewPCG(4, 4)), at: time.Unix(1000, 0)}
		const before = 40
		var left []Departure
		at := 0
		for i := range 400 {
			change := c.change
			if i < before {
				change = nil
			}
			got, err := w.Observe(l.next(t, change))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) > 0 && left == nil {
				left, at = got, i
			}
		}
		if c.service == "" {
			if left != nil {
				t.Errorf("%s: %+v at interval %d", c.name, left, at)
			}
			continue
		}
		if len(left) == 0 {
			t.Errorf("%s: not noticed", c.name)
			continue
		}
		d := left[0]
		if d.Service != c.service || d.Quantity != c.quantity || math.Abs(d.Ratio/c.ratio-1) > 0.1 || at < before || at > before+15 {
			t.Errorf("%s: %+v at interval %d", c.name, d, at)
		}
		if since := d.Since.Sub(time.Unix(1000, 0)).Seconds() / 5; math.Abs(since-before) > 2 {
			t.Errorf("%s: since interval %.0f, not %d", c.name, since, before)
		}
	}
}

// TestCusumKeepsItsFalseAlarmRate runs a test at the very edge of its tolerance until it gives an alarm: that takes no
// less than was promised, on average.
func TestCusumKeepsItsFalseAlarmRate(t *testing.T) {
	const promised, runs = 300.0, 400
	rng := rand.New(rand.NewPCG(6, 6))
	var sum float64
	for range runs {
		c := &chart{tolerance: math.Log(1.25)}
		limit := cusumLimit(2 * promised) // two sides, of which one is at its edge here
		for n := 0; ; n++ {
			observed := 1.25 * math.Exp(0.1*rng.NormFloat64())
			if _, left := c.add(observed, 1, time.Time{}, limit); left || n > 20*promised {
				sum += float64(n)
				break
			}
		}
	}
	if mean := sum / runs; mean < promised {
		t.Errorf("an alarm after %.0f intervals on average, %.0f were promised", mean, promised)
	}
}

func TestWatchRefuses(t *testing.T) {
	if _, err := NewWatch(shop(), Options{}, WatchOptions{}); err == nil {
		t.Error("no calibration: want an error")
	}
	for _, o := range []WatchOptions{{Tolerance: math.NaN()}, {Tolerance: -1}, {FalseAlarm: time.Second}, {Interval: -time.Second}} {
		if _, err := NewWatch(watched(), Options{}, o); err == nil {
			t.Errorf("%+v: want an error", o)
		}
	}
	w, err := NewWatch(watched(), Options{}, WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Observe(&WatchInterval{}); err == nil {
		t.Error("an interval of no length: want an error")
	}
	if left, err := w.Observe(&WatchInterval{Seconds: 5}); err != nil || left != nil || w.Intervals() != 0 {
		t.Errorf("nothing was asked: %v, %v", left, err)
	}
}
