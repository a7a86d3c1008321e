package bus

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy/saga"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// Saga of a Config.
type Saga struct {
	*saga.Definition
	// Queue or Topic whose messages start it. Empty: none.
	Queue, Topic string
}

// Attempts where the file names none: a step that fails has another way out, a compensation has not.
const (
	stepAttempts = 5
	undoAttempts = 50
	anyNumber    = 0 // after the pivot there is no other way than forward
)

// SagasFromFile describes the sagas of a topology, by name. Which addresses their services have is for the caller to add.
func SagasFromFile(sys *topology.System) ([]Saga, error) {
	var all []Saga
	for _, name := range slices.Sorted(maps.Keys(sys.Sagas)) {
		v := sys.Sagas[name]
		d := &saga.Definition{Name: name, Timeout: v.Timeout.Std(), Retain: v.Retain.Std()}
		attempts := stepAttempts
		for _, s := range v.Steps {
			if s.Pivot && s.Compensate == nil {
				attempts = anyNumber // giving it up would leave open whether there is a way back
			}
			step, err := sagaStep(s, attempts)
			if err != nil {
				return nil, fmt.Errorf("sagas.%s: step %s: %w", name, s.Name, err)
			}
			d.Steps = append(d.Steps, step)
			if s.Pivot {
				attempts = anyNumber
			}
		}
		if err := d.Check(); err != nil {
			return nil, err
		}
		all = append(all, Saga{Definition: d, Queue: v.On.Queue, Topic: v.On.Topic})
	}
	return all, nil
}

func sagaStep(s *topology.SagaStep, attempts int) (step saga.Step, err error) {
	step.Name, step.Pivot = s.Name, s.Pivot
	if s.Wait != nil {
		step.Wait = &saga.Wait{Signal: s.Wait.Signal, Topic: s.Wait.Topic, Key: s.Wait.Key, Timeout: s.Wait.Timeout.Std()}
		return step, nil
	}
	if step.Do, err = sagaAction(&s.SagaAction, attempts); err != nil {
		return step, err
	}
	if s.Compensate != nil {
		step.Undo, err = sagaAction(s.Compensate, undoAttempts)
	}
	return step, err
}

func sagaAction(a *topology.SagaAction, attempts int) (*saga.Action, error) {
	out := &saga.Action{Service: a.Call, Method: a.Method, Path: a.Path, Headers: a.Headers, Accept: a.Accept, Channel: a.Send, Key: a.Key,
		Timeout: a.Timeout.Std(), Attempts: attempts, Backoff: sagaBackoff}
	if r := a.Retry; r != nil {
		if r.Attempts > 0 {
			out.Attempts = r.Attempts
		}
		out.Backoff = workqueue.Backoff{First: r.First.Std(), Max: r.Max.Std(), Factor: r.Factor, Jitter: float64(r.Jitter)}
	}
	if a.JSON != nil {
		body, err := json.Marshal(a.JSON)
		if err != nil {
			return nil, fmt.Errorf("json: %w", err)
		}
		out.Body = body
	}
	return out, nil
}

// sagaBackoff is that of an action whose file says nothing of it, as the vocabulary's defaults have it.
var sagaBackoff = workqueue.Backoff{First: 200 * time.Millisecond, Max: 30 * time.Second, Factor: 2, Jitter: 0.5}
