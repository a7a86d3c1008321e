package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
)

// What a system uses without any request is learnt from the first seconds in which it had none.
func TestIdleIsWaitedFor(t *testing.T) {
	notYet := errors.New("nothing was observed yet")
	for _, c := range []struct {
		name        string
		busy, young time.Duration // for how long something is asked from now on; how long ago it was started
		ready       time.Duration // how long ago the last replica became ready
		after       time.Duration // when the answer is there
		found       bool
	}{
		{"it has been quiet", -time.Minute, time.Hour, time.Hour, 0, true},
		{"a load has just ended", 0, time.Hour, time.Hour, 5 * time.Second, true},
		{"messages are worked off", 4 * time.Second, time.Hour, time.Hour, 9 * time.Second, true},
		{"it has just been started", -time.Minute, 0, 0, 3 * time.Second, true},
		{"it took long to start", -time.Minute, time.Minute, 0, 3 * time.Second, true},
		{"a replica was added", -time.Minute, time.Hour, time.Second, 2 * time.Second, true},
		{"it is asked all the time", time.Hour, time.Hour, time.Hour, idlePatience, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				w, err := watchIdle(t.Context(), began.Add(-c.ready), func(_ context.Context, from, to time.Time) (*observe.Window, error) {
					if up := began.Add(-c.young); from.Before(up) {
						from = up
					}
					if !to.After(from) {
						return nil, notYet
					}
					w := &observe.Window{Covered: to.Sub(from)}
					if from.Before(began.Add(c.busy)) {
						w.Routes = []observe.CallSums{{Route: "home", Requests: 1}}
					}
					return w, nil
				})
				if err != nil || (w != nil) != c.found || time.Since(began) != c.after {
					t.Errorf("%v, %v after %v", w, err, time.Since(began))
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, err := watchIdle(t.Context(), time.Now(), func(context.Context, time.Time, time.Time) (*observe.Window, error) { return nil, notYet })
		if !errors.Is(err, notYet) {
			t.Error(err)
		}
	})
}

func TestStartedIsWhenTheLastWasReady(t *testing.T) {
	up := time.Unix(1000, 0)
	at := func(s int) orchestrate.ReplicaStatus {
		return orchestrate.ReplicaStatus{ReadySince: up.Add(time.Duration(s) * time.Second)}
	}
	services := []orchestrate.ServiceStatus{{Replicas: []orchestrate.ReplicaStatus{at(3), {}}}, {Replicas: []orchestrate.ReplicaStatus{at(7), at(5)}}}
	if got := started(control.Info{Since: up}, services); got != up.Add(7*time.Second) {
		t.Errorf("started %v", got)
	}
	if got := started(control.Info{Since: up}, nil); got != up {
		t.Errorf("without replicas: %v", got)
	}
}
