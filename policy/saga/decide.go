package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors that say why something was not done.
var (
	// ErrEnded answers for a run that is not under way any more.
	ErrEnded = errors.New("the run is not under way any more")
	// ErrCommitted answers Cancel of a run whose pivot is done.
	ErrCommitted = errors.New("the run is past its pivot, and can only go forward")
	// ErrNotStuck answers Retry of a run that is not stuck.
	ErrNotStuck = errors.New("the run is not stuck")
	// ErrNoSignal answers a signal that no step of the saga waits for, or that came before.
	ErrNoSignal = errors.New("no step of the run waits for this signal")
)

// Decide says what is due by itself at an instant; ok is false if nothing is. The event must be applied before the next
// question.
func (in *Instance) Decide(now time.Duration) (ev Event, ok bool) {
	switch {
	case in.Status.Ended():
		return Event{Kind: Forgotten, At: now}, now >= in.Ended+in.Def.Retain
	case in.Status == Stuck || in.Abort != "":
	case in.Status == Running && in.Deadline > 0 && now >= in.Deadline && !in.Committed():
		return Event{Kind: Aborted, At: now, Reason: fmt.Sprintf("not done within %s", in.Def.Timeout)}, true
	}
	if w := in.waiting(); w != nil {
		return Event{Kind: GaveUp, At: now, Reason: fmt.Sprintf("nothing came within %s", w.Timeout)}, in.Due > 0 && now >= in.Due
	}
	return Event{Kind: Begun, At: now}, in.fits(Begun) && now >= in.Due
}

// Next is when Decide will have something to say; ok is false if only an event from outside can change that.
func (in *Instance) Next() (at time.Duration, ok bool) {
	earliest := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if in.Status.Ended() {
		return in.Ended + in.Def.Retain, true
	}
	if in.Status == Running && in.Deadline > 0 && in.Abort == "" && !in.Committed() {
		earliest(in.Deadline)
	}
	if in.waiting() != nil && in.Due > 0 || in.fits(Begun) {
		earliest(in.Due)
	}
	return at, ok
}

// Outcome of an attempt.
type Outcome struct {
	OK bool
	// Value is what was answered: JSON, or nothing where it failed without an answer.
	Value json.RawMessage
	// Final says that another attempt would fail as well.
	Final bool
	// Doubt says that it may have been carried out all the same.
	Doubt  bool
	Reason string
	// Code of the answer, such as the status of HTTP; 0: none.
	Code int
	// Unmade says that nobody could be asked: it does not count as an attempt, and is made again after a while.
	Unmade bool
	// After is the least wait that was asked for.
	After time.Duration
}

// unmadeWait is the wait after an attempt that could not be made.
const unmadeWait = time.Second

// Answer says what follows from the outcome of the attempt under way, with a random number of [0, 1).
func (in *Instance) Answer(now time.Duration, o Outcome, random float64) Event {
	a := in.action()
	aborted := in.Abort != "" && !in.irrevocable(o.Doubt)
	switch {
	case o.OK:
		return Event{Kind: Done, At: now, Value: o.Value, Code: o.Code}
	case o.Unmade && !aborted:
		return Event{Kind: Failed, At: now, Unmade: true, Reason: o.Reason, Due: now + max(unmadeWait, o.After)}
	case o.Final, aborted, a != nil && a.Attempts > 0 && in.Attempts >= a.Attempts:
		return Event{Kind: GaveUp, At: now, Doubt: o.Doubt, Reason: o.Reason, Value: o.Value, Code: o.Code}
	}
	wait := max(a.Backoff.After(in.Attempts, random), o.After)
	return Event{Kind: Failed, At: now, Doubt: o.Doubt, Reason: o.Reason, Due: now + wait}
}

// Signal says what a signal does. One that a later step waits for is kept until then; a second one of a name is refused.
func (in *Instance) Signal(now time.Duration, name string, value json.RawMessage) (Event, error) {
	if in.Status != Running {
		return Event{}, ErrEnded
	}
	_, kept := in.Signals[name]
	waits := slices.ContainsFunc(in.Def.Steps[in.At:], func(s Step) bool { return s.Wait != nil && s.awaited() == name })
	if kept || !waits {
		return Event{}, fmt.Errorf("%w: %q", ErrNoSignal, name)
	}
	return Event{Kind: Signalled, At: now, Name: name, Value: value}, nil
}

// Awaits says under which name an event of a topic is a signal of the run, for the step that waits for it now.
func (in *Instance) Awaits() (topic, key, name string, ok bool) {
	w := in.waiting()
	if w == nil || w.Topic == "" {
		return "", "", "", false
	}
	key, err := in.text(w.Key, nil)
	return w.Topic, key, in.Def.Steps[in.At].awaited(), err == nil
}

// Cancel says how a run is cancelled: what was done is undone.
func (in *Instance) Cancel(now time.Duration, reason string) (Event, error) {
	switch {
	case in.Status == Running && in.Committed():
		return Event{}, ErrCommitted
	case !in.fits(Aborted):
		return Event{}, ErrEnded
	}
	return Event{Kind: Aborted, At: now, Reason: reason}, nil
}

// Retry has a stuck run try again what it is stuck at.
func (in *Instance) Retry(now time.Duration) (Event, error) {
	if in.Status != Stuck {
		return Event{}, ErrNotStuck
	}
	return Event{Kind: Resumed, At: now}, nil
}

// Interrupt says that the process died during the attempt under way; ok is false if there was none.
func (in *Instance) Interrupt(now time.Duration) (ev Event, ok bool) {
	return Event{Kind: Interrupted, At: now, Reason: "the process ended"}, in.fits(Interrupted)
}
