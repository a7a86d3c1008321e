package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Status of a run.
type Status string

// A run begins as Running. Completed and Compensated are final; a Stuck one waits for Retry.
const (
	Running      Status = "running"
	Compensating Status = "compensating"
	Completed    Status = "completed"   // every step is done
	Compensated  Status = "compensated" // every step that was done, or may have been, is undone
	Stuck        Status = "stuck"       // a step could not be undone
)

// Ended reports whether nothing happens any more.
func (s Status) Ended() bool { return s == Completed || s == Compensated }

// What became of a step.
const (
	StepDone   = "done"
	StepFailed = "failed"
	StepUndone = "undone"
)

// StepState is what is known of a step.
type StepState struct {
	// State is done, failed or undone; empty before.
	State string `json:"state,omitempty"`
	// Doubt says that an attempt may have been carried out without being answered.
	Doubt bool `json:"doubt,omitempty"`
	// Result is what the step was answered, and Code the answer's status: where it failed, those of the last attempt.
	Result json.RawMessage `json:"result,omitempty"`
	Code   int             `json:"code,omitempty"`
}

// Instance is one run of a saga. Its fields are what is kept of it; only Apply changes them. Instants are counted from
// 1970, as durations.
type Instance struct {
	ID     string          `json:"id"`
	Def    *Definition     `json:"def"`
	Input  json.RawMessage `json:"input"`
	Status Status          `json:"status"`
	Steps  []StepState     `json:"steps"`
	// At is the step that is being done or undone, and Attempts how often that was begun.
	At       int  `json:"at"`
	Attempts int  `json:"attempts"`
	InFlight bool `json:"in_flight,omitempty"`
	// Due is when the next attempt may begin, or when a wait has lasted too long (0: never).
	Due      time.Duration `json:"due"`
	Begun    time.Duration `json:"begun"`
	Deadline time.Duration `json:"deadline,omitempty"`
	Ended    time.Duration `json:"ended,omitempty"`
	// Abort is why it is undone as soon as the attempt under way has ended.
	Abort string `json:"abort,omitempty"`
	// Reason why it was undone, or why it is stuck.
	Reason string `json:"reason,omitempty"`
	// Signals that came before they were waited for.
	Signals map[string]json.RawMessage `json:"signals,omitempty"`
	// History is the latest of what happened, oldest first.
	History []Entry `json:"history"`
	// Forgotten of the history, from its beginning.
	Forgotten int `json:"forgotten,omitempty"`
}

// Entry of a history.
type Entry struct {
	At      time.Duration `json:"at"`
	Kind    Kind          `json:"kind"`
	Step    string        `json:"step,omitempty"`
	Undo    bool          `json:"undo,omitempty"`
	Attempt int           `json:"attempt,omitempty"`
	Reason  string        `json:"reason,omitempty"`
}

// maxHistory bounds the history of one run.
const maxHistory = 200

// Kind of an Event.
type Kind string

// What happens to a run.
const (
	Started     Kind = "started"
	Begun       Kind = "begun"       // an attempt
	Done        Kind = "done"        // the attempt was carried out
	Failed      Kind = "failed"      // the attempt failed, and there will be another
	GaveUp      Kind = "gave_up"     // the step failed for good
	Interrupted Kind = "interrupted" // the process died during the attempt: it is made again
	Signalled   Kind = "signalled"
	Aborted     Kind = "aborted" // cancelled, or too late
	Resumed     Kind = "resumed" // a person had a stuck one tried again
	Forgotten   Kind = "forgotten"
)

// Event is what happened to a run.
type Event struct {
	Kind Kind          `json:"k"`
	At   time.Duration `json:"t"`
	// Due of the next attempt, of Failed.
	Due time.Duration `json:"due,omitempty"`
	// Doubt whether it was carried out, of Failed and GaveUp.
	Doubt bool `json:"doubt,omitempty"`
	// Unmade says that Failed was no attempt after all.
	Unmade bool   `json:"unmade,omitempty"`
	Reason string `json:"why,omitempty"`
	Code   int    `json:"code,omitempty"`
	// Name of a signal.
	Name string `json:"name,omitempty"`
	// Value is the input, the result or what came with the signal.
	Value json.RawMessage `json:"v,omitempty"`
	// Def and ID, of Started.
	Def *Definition `json:"def,omitempty"`
	ID  string      `json:"id,omitempty"`
}

// Start is the event that begins a run.
func Start(def *Definition, id string, input json.RawMessage, now time.Duration) Event {
	return Event{Kind: Started, At: now, Def: def, ID: id, Value: input}
}

// New is the run that a Started event begins.
func New(ev Event) (*Instance, error) {
	if ev.Kind != Started || ev.Def == nil || ev.ID == "" {
		return nil, errors.New("a run that does not begin with its start")
	}
	if err := ev.Def.Check(); err != nil {
		return nil, err
	}
	in := &Instance{ID: ev.ID, Def: ev.Def, Input: ev.Value, Status: Running, Steps: make([]StepState, len(ev.Def.Steps)), Begun: ev.At}
	if ev.Def.Timeout > 0 {
		in.Deadline = ev.At + ev.Def.Timeout
	}
	in.note(ev)
	in.enter(0, ev.At)
	return in, nil
}

// Apply changes the run as an event says. An event that does not fit the state is an error, and changes nothing.
func (in *Instance) Apply(ev Event) error {
	if !in.fits(ev.Kind) {
		return fmt.Errorf("the run %s is %s at step %d and can't be %s", in.ID, in.Status, in.At, ev.Kind)
	}
	in.note(ev)
	switch ev.Kind {
	case Begun:
		in.InFlight = true
		in.Attempts++
	case Done:
		in.done(ev)
	case Failed:
		in.InFlight, in.Due = false, ev.Due
		in.doubt(ev.Doubt)
		if ev.Unmade {
			in.Attempts--
		}
	case GaveUp:
		in.gaveUp(ev)
	case Interrupted:
		in.InFlight, in.Due = false, ev.At
		in.Attempts--
		in.doubt(true)
		if in.Abort != "" && in.Status == Running && !in.irrevocable(false) {
			in.compensate(ev.At, in.Abort)
		}
	case Signalled:
		in.signalled(ev)
	case Aborted:
		if in.InFlight || in.irrevocable(false) {
			in.Abort = ev.Reason
		} else {
			in.compensate(ev.At, ev.Reason)
		}
	case Resumed:
		if in.Status = Compensating; in.forward() {
			in.Status, in.Abort, in.Reason = Running, "", ""
			in.Steps[in.At].State = ""
		}
		in.Attempts, in.Due = 0, ev.At
	}
	return nil
}

// Committed reports whether the pivot is done, after which nothing is undone any more.
func (in *Instance) Committed() bool {
	for i := range in.Def.Steps {
		if in.Def.Steps[i].Pivot {
			return in.Steps[i].State == StepDone
		}
	}
	return false
}

// irrevocable reports whether the step under way is a pivot that may have been done, for all that is known or with what is
// heard now, and that nothing undoes. Then it goes on until it is known.
func (in *Instance) irrevocable(doubt bool) bool {
	s := &in.Def.Steps[in.At]
	return in.Status == Running && s.Pivot && s.Undo == nil && (doubt || in.Steps[in.At].Doubt)
}

// forward reports whether a stuck run is stuck at doing, rather than at undoing: at or after a pivot. Steps that are undone have
// something that undoes them.
func (in *Instance) forward() bool { return in.Def.Steps[in.At].Undo == nil }

// fits reports whether an event of a kind may happen now.
func (in *Instance) fits(kind Kind) bool {
	active := in.Status == Running || in.Status == Compensating
	switch kind {
	case Begun:
		return active && !in.InFlight && in.action() != nil
	case Done, Failed, Interrupted:
		return active && in.InFlight
	case GaveUp:
		return active && (in.InFlight || in.waiting() != nil)
	case Signalled:
		return in.Status == Running
	case Aborted:
		return in.Status == Running && in.Abort == "" && !in.Committed()
	case Resumed:
		return in.Status == Stuck
	case Forgotten:
		return in.Status.Ended()
	}
	return false
}

// action that is being done or undone; nil while it waits, and when it has ended.
func (in *Instance) action() *Action {
	switch {
	case in.Status == Running, in.Status == Stuck && in.forward():
		return in.Def.Steps[in.At].Do
	case in.Status == Compensating, in.Status == Stuck:
		return in.Def.Steps[in.At].Undo
	}
	return nil
}

// waiting is what it waits for; nil if it does not.
func (in *Instance) waiting() *Wait {
	if in.Status == Running {
		return in.Def.Steps[in.At].Wait
	}
	return nil
}

// doubt notes that the step under way may have been done.
func (in *Instance) doubt(d bool) {
	if in.Status == Running && d {
		in.Steps[in.At].Doubt = true
	}
}

func (in *Instance) done(ev Event) {
	in.InFlight = false
	s := &in.Steps[in.At]
	if in.Status == Compensating {
		s.State = StepUndone
		in.undoBefore(in.At, ev.At)
		return
	}
	s.State, s.Result, s.Code = StepDone, ev.Value, ev.Code
	if in.Abort != "" && !in.Committed() {
		in.compensate(ev.At, in.Abort)
		return
	}
	in.Abort = "" // it came too late
	in.enter(in.At+1, ev.At)
}

func (in *Instance) gaveUp(ev Event) {
	in.InFlight = false
	if in.Status == Compensating {
		in.Status, in.Reason = Stuck, ev.Reason
		return
	}
	in.doubt(ev.Doubt)
	s := &in.Steps[in.At]
	s.State, s.Result, s.Code = StepFailed, ev.Value, ev.Code
	reason := in.Abort
	if reason == "" || in.irrevocable(false) {
		reason = fmt.Sprintf("step %s: %s", in.Def.Steps[in.At].Name, ev.Reason)
	}
	if in.Committed() || in.irrevocable(false) {
		in.Status, in.Reason = Stuck, reason
		return
	}
	in.compensate(ev.At, reason)
}

func (in *Instance) signalled(ev Event) {
	if w := in.waiting(); w != nil && in.Def.Steps[in.At].awaited() == ev.Name {
		in.Steps[in.At].State, in.Steps[in.At].Result = StepDone, ev.Value
		in.enter(in.At+1, ev.At)
		return
	}
	if in.Signals == nil {
		in.Signals = map[string]json.RawMessage{}
	}
	in.Signals[ev.Name] = ev.Value
}

// enter comes to a step, and passes those whose event is there already.
func (in *Instance) enter(step int, now time.Duration) {
	for ; step < len(in.Def.Steps); step++ {
		in.At, in.Attempts, in.Due = step, 0, now
		s := &in.Def.Steps[step]
		if s.Wait == nil {
			return
		}
		value, came := in.Signals[s.awaited()]
		if !came {
			if in.Due = 0; s.Wait.Timeout > 0 {
				in.Due = now + s.Wait.Timeout
			}
			return
		}
		delete(in.Signals, s.awaited())
		in.Steps[step].State, in.Steps[step].Result = StepDone, value
	}
	in.At = len(in.Def.Steps) - 1
	in.Status, in.Ended, in.Due, in.Signals = Completed, now, 0, nil
}

// compensate begins to undo what was done, and what may have been.
func (in *Instance) compensate(now time.Duration, reason string) {
	in.Status, in.Reason, in.Abort, in.Signals = Compensating, reason, "", nil
	in.undoBefore(in.At+1, now)
}

// undoBefore comes to the last step before the given one that is to be undone, or to the end.
func (in *Instance) undoBefore(step int, now time.Duration) {
	for i := step - 1; i >= 0; i-- {
		s := in.Steps[i]
		if in.Def.Steps[i].Undo != nil && s.State != StepUndone && (s.State == StepDone || s.Doubt) {
			in.At, in.Attempts, in.Due = i, 0, now
			return
		}
	}
	in.Status, in.Ended, in.Due = Compensated, now, 0
}

// note adds to the history.
func (in *Instance) note(ev Event) {
	e := Entry{At: ev.At, Kind: ev.Kind, Reason: ev.Reason}
	switch ev.Kind {
	case Begun, Done, Failed, GaveUp, Interrupted:
		e.Step, e.Undo, e.Attempt = in.Def.Steps[in.At].Name, in.Status != Running, in.Attempts
		if ev.Kind == Begun {
			e.Attempt++
		}
	case Signalled:
		e.Reason = ev.Name
	}
	if in.History = append(in.History, e); len(in.History) > maxHistory {
		drop := maxHistory / 4
		in.History = append([]Entry(nil), in.History[drop:]...)
		in.Forgotten += drop
	}
}
