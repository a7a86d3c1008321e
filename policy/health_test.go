package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	const s = time.Second
	type event struct {
		at     time.Duration
		result string // pass, fail, tick
		want   HealthState
	}
	for _, c := range []struct {
		name    string
		cfg     HealthConfig
		initial HealthState
		events  []event
	}{
		{"first pass is enough", HealthConfig{Failures: 3}, HealthPending, []event{
			{1 * s, "fail", HealthPending}, {2 * s, "fail", HealthPending}, {3 * s, "fail", HealthPending},
			{4 * s, "fail", HealthPending}, {5 * s, "pass", HealthUp},
		}},
		{"failures in a row, not in sum", HealthConfig{Failures: 2}, HealthUp, []event{
			{1 * s, "fail", HealthUp}, {2 * s, "pass", HealthUp}, {3 * s, "fail", HealthUp}, {4 * s, "fail", HealthDown},
			{5 * s, "fail", HealthDown}, {6 * s, "pass", HealthUp}, {7 * s, "fail", HealthUp},
		}},
		{"successes in a row", HealthConfig{Successes: 2}, HealthPending, []event{
			{1 * s, "pass", HealthPending}, {2 * s, "fail", HealthPending}, {3 * s, "pass", HealthPending}, {4 * s, "pass", HealthUp},
			{5 * s, "fail", HealthDown}, {6 * s, "pass", HealthDown}, {7 * s, "fail", HealthDown}, {8 * s, "pass", HealthDown},
			{9 * s, "pass", HealthUp},
		}},
		{"deadline by a failure", HealthConfig{Deadline: 3 * s}, HealthPending, []event{
			{2 * s, "fail", HealthPending}, {3 * s, "fail", HealthExpired}, {4 * s, "pass", HealthExpired},
		}},
		{"deadline by time", HealthConfig{Deadline: 3 * s}, HealthPending, []event{
			{2 * s, "tick", HealthPending}, {3 * s, "tick", HealthExpired},
		}},
		{"pass at the deadline", HealthConfig{Deadline: 3 * s}, HealthPending, []event{{3 * s, "pass", HealthUp}, {9 * s, "tick", HealthUp}}},
		{"late pass", HealthConfig{Deadline: 3 * s}, HealthPending, []event{{4 * s, "pass", HealthExpired}}},
		{"no deadline once it was up", HealthConfig{Deadline: 3 * s}, HealthPending, []event{
			{1 * s, "pass", HealthUp}, {2 * s, "fail", HealthDown}, {9 * s, "tick", HealthDown}, {10 * s, "pass", HealthUp},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const origin = 42 * time.Hour
			h := NewHealth(c.cfg, origin, c.initial)
			for i, e := range c.events {
				before := h.State()
				var got HealthState
				var changed bool
				if e.result == "tick" {
					got, changed = h.Tick(origin + e.at)
				} else {
					got, changed = h.Observe(origin+e.at, e.result == "pass")
				}
				if got != e.want || got != h.State() || changed != (before != got) {
					t.Fatalf("event %d (%s): got %v, changed %v; want %v", i, e.result, got, changed, e.want)
				}
			}
		})
	}
}

// The state must be what the last results alone say.
func TestHealthAgainstHistory(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		cfg := HealthConfig{Failures: 1 + rng.IntN(4), Successes: 1 + rng.IntN(3)}
		h := NewHealth(cfg, 0, HealthUp)
		up, history := true, []bool{}
		for i := range 300 {
			passed := rng.IntN(3) > 0
			history = append(history, passed)
			if up && runOf(history, false) >= cfg.Failures {
				up = false
			} else if !up && runOf(history, true) >= cfg.Successes {
				up = true
			}
			state, _ := h.Observe(time.Duration(i), passed)
			if (state == HealthUp) != up {
				t.Fatalf("%+v after %v: got %v, want up %v", cfg, history, state, up)
			}
		}
	}
}

func runOf(history []bool, v bool) int {
	n := 0
	for i := len(history) - 1; i >= 0 && history[i] == v; i-- {
		n++
	}
	return n
}
