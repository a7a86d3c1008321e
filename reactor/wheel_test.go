package reactor

import (
	"math/rand/v2"
	"testing"
)

type expiry struct {
	t     *testing.T
	w     *wheel
	timer Timer
	want  int64 // -1: not set
	fired *int
}

func (e *expiry) Expired(*Timer) {
	if e.w.now != e.want {
		e.t.Errorf("expired at %d, was set to %d", e.w.now, e.want)
	}
	e.want = -1
	*e.fired++
}

// Timers that are set, moved and stopped at random expire when they should, and only then.
func TestWheel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	w := &wheel{now: 12345}
	fired := 0
	timers := make([]*expiry, 200)
	for i := range timers {
		timers[i] = &expiry{t: t, w: w, want: -1, fired: &fired}
		timers[i].timer.Owner = timers[i]
	}
	for range 20_000 {
		e := timers[r.IntN(len(timers))]
		switch r.IntN(3) {
		case 0:
			e.want = w.now + 1 + r.Int64N(1<<(r.IntN(22)))
			w.set(&e.timer, e.want)
		case 1:
			w.stop(&e.timer)
			e.want = -1
		default:
			w.advance(w.now + r.Int64N(1<<(r.IntN(14))))
		}
		for _, e := range timers {
			if e.want >= 0 && e.want <= w.now || e.timer.Active() != (e.want >= 0) {
				t.Fatalf("at %d: set to %d, active %v", w.now, e.want, e.timer.Active())
			}
		}
	}
	if fired < 1000 {
		t.Errorf("only %d expired", fired)
	}
}
