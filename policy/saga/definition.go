package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// Definition of a workflow. A run keeps the one that it was begun with.
type Definition struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
	// Timeout of the whole, after which what was done is undone. 0: none.
	Timeout time.Duration `json:"timeout"`
	// Retain is how long a run is kept that has ended.
	Retain time.Duration `json:"retain"`
}

// Step does something, or waits.
type Step struct {
	Name string  `json:"name"`
	Do   *Action `json:"do,omitempty"`
	Wait *Wait   `json:"wait,omitempty"`
	// Undo what Do did. Nil: there is nothing to undo.
	Undo *Action `json:"undo,omitempty"`
	// Pivot is the point of no return: once the step is done nothing is undone any more, and what follows is tried until it is
	// done. One step may be it, and those after it have no Undo and no time-out of a wait.
	Pivot bool `json:"pivot,omitempty"`
}

// Action is a call of a service, or a message to a queue or topic. Its texts and those in Body may have references.
type Action struct {
	Service string            `json:"service,omitempty"`
	Method  string            `json:"method,omitempty"`
	Path    string            `json:"path,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Body as JSON. Nil: what the run was started with.
	Body json.RawMessage `json:"body,omitempty"`
	// Accept are statuses besides 2xx that mean that it is done.
	Accept []int `json:"accept,omitempty"`
	// Channel is queues.NAME or topics.NAME, where it is a message.
	Channel string        `json:"channel,omitempty"`
	Key     string        `json:"key,omitempty"`
	Timeout time.Duration `json:"timeout"`
	// Attempts in all. 0: any number.
	Attempts int               `json:"attempts"`
	Backoff  workqueue.Backoff `json:"backoff"`
}

// Wait for an event: a signal by its name, or an event of a topic by its key.
type Wait struct {
	Signal string `json:"signal,omitempty"`
	Topic  string `json:"topic,omitempty"`
	Key    string `json:"key,omitempty"`
	// Timeout after which the step has failed. 0: none of its own.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// awaited is the name under which the event of a step is kept that waits.
func (s *Step) awaited() string {
	if s.Wait.Topic != "" {
		return "event." + s.Name // no signal has a dot in its name
	}
	return s.Wait.Signal
}

// Check says what is wrong with a definition that comes from elsewhere than a checked file.
func (d *Definition) Check() error {
	if len(d.Steps) == 0 {
		return errors.New("a saga without steps")
	}
	names, pivot := map[string]bool{}, false
	for i := range d.Steps {
		s := &d.Steps[i]
		switch {
		case s.Name == "" || names[s.Name]:
			return fmt.Errorf("saga %s: step %d: a name of its own is missing", d.Name, i+1)
		case (s.Do == nil) == (s.Wait == nil):
			return fmt.Errorf("saga %s: step %s: expected either an action or a wait", d.Name, s.Name)
		}
		if s.Name == "undo" || strings.Contains(s.Name, "_") {
			return fmt.Errorf("saga %s: step %s: the name would make keys ambiguous", d.Name, s.Name)
		}
		names[s.Name] = true
		if pivot && (s.Pivot || s.Undo != nil || s.Wait != nil && s.Wait.Timeout > 0) {
			return fmt.Errorf("saga %s: step %s: after the pivot there is no other one, and nothing that is undone or given up", d.Name, s.Name)
		}
		pivot = pivot || s.Pivot
		for _, a := range []*Action{s.Do, s.Undo} {
			if a != nil && (a.Service == "") == (a.Channel == "") {
				return fmt.Errorf("saga %s: step %s: expected either a service or a channel", d.Name, s.Name)
			}
		}
	}
	return nil
}
