package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/bus/workflow"
	"github.com/banyanhq/banyan/policy/saga"
)

// errNoSagas answers where the file has none.
var errNoSagas = errors.New("there are no sagas here")

// sagaRoutes are the requests about sagas.
func (b *Bus) sagaRoutes() map[string]func(http.ResponseWriter, *http.Request) error {
	routes := map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /sagas/{saga}":              b.postSaga,
		"GET /runs":                       b.getRuns,
		"GET /runs/{run}":                 b.getRun,
		"POST /runs/{run}/signals/{name}": b.postSignal,
		"POST /runs/{run}/cancel":         b.changeRun((*workflow.Engine).Cancel),
		"POST /runs/{run}/retry":          b.changeRun((*workflow.Engine).Retry),
	}
	if len(b.cfg.Sagas) == 0 {
		for pattern := range routes {
			routes[pattern] = func(http.ResponseWriter, *http.Request) error { return errNoSagas }
		}
	}
	routes["GET /sagas"] = b.getSagas
	return routes
}

// sagaStatus is the status that means an error about sagas; 0 for others.
func sagaStatus(err error) int {
	switch {
	case errors.Is(err, workflow.ErrNoSaga), errors.Is(err, workflow.ErrNoRun), errors.Is(err, errNoSagas):
		return http.StatusNotFound
	case errors.Is(err, workflow.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, workflow.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, workflow.ErrKeyUsed):
		return http.StatusUnprocessableEntity
	case errors.Is(err, workflow.ErrFull):
		return http.StatusTooManyRequests
	case errors.Is(err, saga.ErrEnded), errors.Is(err, saga.ErrCommitted), errors.Is(err, saga.ErrNotStuck), errors.Is(err, saga.ErrNoSignal):
		return http.StatusConflict
	case errors.Is(err, workflow.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return 0
}

// Run is a run of a saga as HTTP clients see it.
type Run struct {
	ID     string      `json:"id"`
	Saga   string      `json:"saga"`
	Status saga.Status `json:"status"`
	Reason string      `json:"reason,omitempty"`
	Begun  time.Time   `json:"begun"`
	Ended  *time.Time  `json:"ended,omitempty"`
	Step   string      `json:"step,omitempty"` // that is done, undone or waited for
	Due    *time.Time  `json:"due,omitempty"`
	// Committed says that its pivot is done: it can only go forward.
	Committed bool            `json:"committed,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	Steps     []RunStep       `json:"steps,omitempty"`
	// History of what happened, oldest first.
	History []RunEvent `json:"history,omitempty"`
}

// RunStep is a step of a run.
type RunStep struct {
	Name string `json:"name"`
	// Pivot is the point of no return.
	Pivot bool `json:"pivot,omitempty"`
	saga.StepState
}

// RunEvent is what happened in a run.
type RunEvent struct {
	At      time.Time `json:"at"`
	Kind    saga.Kind `json:"kind"`
	Step    string    `json:"step,omitempty"`
	Undo    bool      `json:"undo,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// describeRun describes a run, with its parts where whole is asked for.
func describeRun(in saga.Instance, whole bool) Run {
	r := Run{ID: in.ID, Saga: in.Def.Name, Status: in.Status, Reason: in.Reason, Begun: instant(in.Begun), Committed: in.Committed()}
	if in.Ended > 0 {
		at := instant(in.Ended)
		r.Ended = &at
	} else {
		r.Step = in.Def.Steps[in.At].Name
	}
	if in.Due > 0 && !in.InFlight && in.Ended == 0 {
		at := instant(in.Due)
		r.Due = &at
	}
	if !whole {
		return r
	}
	r.Input = in.Input
	for i, s := range in.Steps {
		r.Steps = append(r.Steps, RunStep{in.Def.Steps[i].Name, in.Def.Steps[i].Pivot, s})
	}
	for _, h := range in.History {
		r.History = append(r.History, RunEvent{At: instant(h.At), Kind: h.Kind, Step: h.Step, Undo: h.Undo, Attempt: h.Attempt, Reason: h.Reason})
	}
	return r
}

func (b *Bus) getSagas(w http.ResponseWriter, _ *http.Request) error {
	if len(b.cfg.Sagas) == 0 {
		reply(w, http.StatusOK, []workflow.Status{})
		return nil
	}
	engine, err := b.sagaEngine()
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, engine.Status())
	return nil
}

// postSaga starts a run with the body as its input. With 'wait' it answers when the run has ended, or after that time.
func (b *Bus) postSaga(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	wait := q.duration("wait", 0, maxWait)
	if q.err != nil {
		return q.err
	}
	body, err := b.body(w, r)
	if err != nil {
		return err
	}
	key := orElse(r.Header.Get("Idempotency-Key"), r.URL.Query().Get("key"))
	if key == "" {
		key = rand.Text()
	}
	engine, err := b.sagaEngine()
	if err != nil {
		return err
	}
	run, made, err := engine.Start(r.Context(), r.PathValue("saga"), key, body)
	if err != nil {
		return err
	}
	if run, err = waited(r.Context(), engine, run, wait); err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case !run.Status.Ended():
		status = http.StatusAccepted
	case made:
		status = http.StatusCreated
	}
	w.Header().Set("Location", "/runs/"+run.ID)
	reply(w, status, describeRun(run, true))
	return nil
}

// waited is a run once it has ended, or as it is after a time; at once where there is nothing to wait for.
func waited(ctx context.Context, engine *workflow.Engine, run saga.Instance, limit time.Duration) (saga.Instance, error) {
	if limit <= 0 {
		return run, nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return engine.Wait(ctx, run.ID)
}

func (b *Bus) getRuns(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	f := workflow.Filter{Saga: r.URL.Query().Get("saga"), Status: saga.Status(r.URL.Query().Get("status")), Max: max(q.number("max", 100, maxReceive), 1)}
	switch f.Status {
	case "", saga.Running, saga.Compensating, saga.Completed, saga.Compensated, saga.Stuck:
	default:
		q.fail("status", string(f.Status), "running, compensating, completed, compensated or stuck")
	}
	if q.err != nil {
		return q.err
	}
	engine, err := b.sagaEngine()
	if err != nil {
		return err
	}
	runs := []Run{}
	for _, in := range engine.List(f) {
		runs = append(runs, describeRun(in, false))
	}
	reply(w, http.StatusOK, runs)
	return nil
}

func (b *Bus) getRun(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	wait := q.duration("wait", 0, maxWait)
	if q.err != nil {
		return q.err
	}
	engine, err := b.sagaEngine()
	if err != nil {
		return err
	}
	run, err := engine.Get(r.PathValue("run"))
	if err == nil {
		run, err = waited(r.Context(), engine, run, wait)
	}
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, describeRun(run, true))
	return nil
}

func (b *Bus) postSignal(w http.ResponseWriter, r *http.Request) error {
	body, err := b.body(w, r)
	if err != nil {
		return err
	}
	engine, err := b.sagaEngine()
	if err != nil {
		return err
	}
	run, err := engine.Signal(r.Context(), r.PathValue("run"), r.PathValue("name"), body)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, describeRun(run, false))
	return nil
}

func (b *Bus) changeRun(change func(*workflow.Engine, context.Context, string) (saga.Instance, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if n, err := io.Copy(io.Discard, io.LimitReader(r.Body, 1)); err != nil || n > 0 {
			return fmt.Errorf("%w: nothing is expected in the body", errBadRequest)
		}
		engine, err := b.sagaEngine()
		if err != nil {
			return err
		}
		run, err := change(engine, r.Context(), r.PathValue("run"))
		if err != nil {
			return err
		}
		reply(w, http.StatusOK, describeRun(run, false))
		return nil
	}
}
