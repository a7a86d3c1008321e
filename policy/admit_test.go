package policy

import (
	"testing"
	"time"
)

func TestAdmissionBoundsTheWait(t *testing.T) {
	a := Admission{Wait: time.Second, MaxWaiting: 2}
	for _, c := range []struct {
		a       Admission
		why     Refusal
		left    time.Duration
		waiting int
		want    time.Duration
		refused Refusal
	}{
		{a, AllFull, time.Minute, 0, time.Second, Picked},
		{a, NoBackend, time.Minute, 1, time.Second, Picked},
		{a, AllFull, 300 * time.Millisecond, 1, 300 * time.Millisecond, Picked},
		{a, NoBackend, time.Minute, 2, 0, AllFull},
		{a, AllBroken, time.Minute, 0, 0, AllBroken},
		{a, AllFull, 0, 0, 0, AllFull},
		{a, NoBackend, -1, 0, 0, NoBackend},
		{Admission{MaxWaiting: 2}, NoBackend, time.Minute, 0, 0, NoBackend},
		{Admission{Wait: time.Second}, NoBackend, time.Minute, 0, 0, AllFull},
	} {
		if got, refused := c.a.Decide(c.why, c.left, c.waiting); got != c.want || refused != c.refused {
			t.Errorf("%+v, %v, %v left, %d waiting: %v and %v, want %v and %v", c.a, c.why, c.left, c.waiting, got, refused, c.want, c.refused)
		}
	}
}

func TestOutcomeOfStatus(t *testing.T) {
	for status, want := range map[int]Outcome{200: Success, 304: Success, 404: Success, 429: Success, 500: Failure, 501: Success, 502: Failure, 503: Failure, 504: Failure, 505: Success, 599: Failure} {
		if got := OutcomeOf(status); got != want {
			t.Errorf("status %d: %v, want %v", status, got, want)
		}
	}
}
