package policy

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func adaptiveDefaults() topology.Adaptive {
	return topology.Adaptive{Initial: 20, Min: 20, Max: 200, Tolerance: 1.5}
}

// windows feeds n windows of one latency, with so many requests in flight.
func windows(a *Adaptive, now *time.Duration, n int, latency time.Duration, inFlight int64) {
	for range n {
		for i := range gradientSamples {
			if i == gradientSamples-1 {
				*now += gradientWindow // the last one ends the window
			}
			a.inFlight.Store(inFlight)
			a.Release(*now, latency, true)
		}
		a.inFlight.Store(0)
	}
}

func TestGradientSteps(t *testing.T) {
	a := NewAdaptive(adaptiveDefaults())
	now := time.Duration(1)
	windows(a, &now, 20, 10*time.Millisecond, 9)
	if a.Limit() != 20 {
		t.Errorf("an unused bound has moved to %d", a.Limit())
	}
	windows(a, &now, 25, 10*time.Millisecond, 40)
	if a.Limit() < 38 || a.Limit() > 40 { // 0.8 a window
		t.Errorf("steady latency: %d", a.Limit())
	}
	before := a.Limit()
	windows(a, &now, 1, 14*time.Millisecond, 40)
	if a.Limit() < before {
		t.Errorf("within the tolerance: from %d to %d", before, a.Limit())
	}
	before = a.Limit()
	windows(a, &now, 1, 60*time.Millisecond, 40)
	if got, want := float64(a.Limit()), 0.9*float64(before)+0.8; got < want-1.5 || got > want+1.5 {
		t.Errorf("latency rises six-fold: from %d to %v, want about %.1f", before, got, want)
	}
	windows(a, &now, 30, 60*time.Millisecond, 40)
	if a.Limit() != 20 {
		t.Errorf("after half a minute of that: %d, want the least", a.Limit())
	}
	windows(a, &now, 2000, 10*time.Millisecond, 300)
	if a.Limit() != 200 {
		t.Errorf("after recovery: %d, want the most", a.Limit())
	}
}

// Settings that are mended when a limiter is made are still those that it is found by.
func TestSharedAdaptive(t *testing.T) {
	unsound := topology.Adaptive{Initial: 5, Max: 10}
	a, other := NewAdaptive(unsound), NewAdaptive(adaptiveDefaults())
	known := slices.Values([]*Adaptive{nil, other, a})
	if SharedAdaptive(unsound, known) != a {
		t.Error("settings below the least make a limiter of their own")
	}
	if SharedAdaptive(adaptiveDefaults(), known) != other {
		t.Error("the limiter with the same settings is not shared")
	}
	if got := SharedAdaptive(topology.Adaptive{Initial: 5, Max: 11}, known); got == a || got == other {
		t.Error("a limiter with other settings is shared")
	}
}

// What is foreseen is what comes: the bound of a limiter that is used as said.
func TestForesee(t *testing.T) {
	for _, n := range []int{5, 40, 100} {
		a, now := NewAdaptive(adaptiveDefaults()), time.Duration(1)
		for range n {
			windows(a, &now, 1, time.Duration(a.Limit())*time.Millisecond, a.Limit()-1)
		}
		got := Foresee(adaptiveDefaults(), n, func(limit int64) (time.Duration, int64) { return time.Duration(limit) * time.Millisecond, limit })
		if got != a.Limit() || got <= 20 {
			t.Errorf("after %d windows %d is foreseen, and %d comes", n, got, a.Limit())
		}
	}
	unused := Foresee(adaptiveDefaults(), 100, func(int64) (time.Duration, int64) { return time.Millisecond, 3 })
	if unused != 20 {
		t.Errorf("a bound that is not used goes to %d", unused)
	}
}

func TestAdaptiveHoldsItsBound(t *testing.T) {
	a := NewAdaptive(topology.Adaptive{Initial: 5, Min: 2, Max: 9, Tolerance: 1.5})
	for range 5 {
		if !a.Acquire() {
			t.Fatal("refused within the bound")
		}
	}
	if a.Acquire() || a.InFlight() != 5 {
		t.Errorf("let in beyond the bound: %d in flight", a.InFlight())
	}
	a.Release(1, time.Second, false)
	if !a.Acquire() {
		t.Error("a place that was given back is lost")
	}
	if a.n != 0 {
		t.Error("what does not count was counted")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				if a.Acquire() {
					a.Release(time.Duration(i)*time.Millisecond, time.Millisecond, true)
				}
			}
		})
	}
	wg.Wait()
	if a.InFlight() != 5 {
		t.Errorf("%d in flight at the end, want 5", a.InFlight())
	}
}

// goodput offers three times what eight workers of 10 ms can do, for half a minute, in a simulation: a line, first come
// first served; clients that wait for half a second. It returns the requests answered in time, in relation to what the
// workers could do.
func goodput(a *Adaptive) float64 {
	const workers, service, deadline, length = 8, 10 * time.Millisecond, 500 * time.Millisecond, 30 * time.Second
	rng := rand.New(rand.NewPCG(6, 6))
	span := func(mean time.Duration) time.Duration { return time.Duration(rng.ExpFloat64() * float64(mean)) }
	type request struct{ came time.Duration }
	type job struct {
		request
		ends time.Duration
	}
	var line []request
	var busy []job
	good := 0
	next := time.Duration(0)
	for now := time.Duration(0); now < length; now += 100 * time.Microsecond {
		for i := len(busy) - 1; i >= 0; i-- {
			if busy[i].ends > now {
				continue
			}
			took := now - busy[i].came
			if took <= deadline {
				good++
			}
			if a != nil {
				a.Release(now, took, true)
			}
			busy = append(busy[:i], busy[i+1:]...)
		}
		for ; next <= now; next += span(service / workers / 3) {
			if a == nil || a.Acquire() {
				line = append(line, request{next})
			}
		}
		for len(busy) < workers && len(line) > 0 {
			busy = append(busy, job{line[0], now + span(service)})
			line = line[1:]
		}
	}
	return float64(good) / (float64(workers) * length.Seconds() / service.Seconds())
}

// At three times its capacity, a service does nothing useful without the bound, and nearly all it can with it.
func TestOverload(t *testing.T) {
	without, with := goodput(nil), goodput(NewAdaptive(adaptiveDefaults()))
	if without > 0.2 || with < 0.9 {
		t.Errorf("goodput %.2f of the capacity without a bound, %.2f with it", without, with)
	}
}
