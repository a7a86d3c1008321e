package workflow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy/saga"
)

// maxValue bounds what a run is started with, and what comes with a signal.
const maxValue = 64 << 10

var (
	validKey    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	validSignal = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// RunID is the id of the run that a key starts. Names of sagas have no underscore, so no two pairs have one id.
func RunID(name, key string) string { return name + "_" + key }

// Start begins a run and returns when it is on disk, or finds the one that the key has started; made says which. The errors
// are ErrNoSaga, ErrInvalid, ErrTooLarge, ErrKeyUsed, ErrFull, ErrClosed, and those of the journal.
func (e *Engine) Start(ctx context.Context, name, key string, input []byte) (run saga.Instance, made bool, err error) {
	def := e.defs[name]
	switch {
	case def == nil:
		return run, false, fmt.Errorf("%w: %q", ErrNoSaga, name)
	case !validKey.MatchString(key):
		return run, false, fmt.Errorf("%w: a key is 1 to 64 letters, digits, - and _", ErrInvalid)
	}
	if input, err = value(input); err != nil {
		return run, false, fmt.Errorf("the input: %w", err)
	}
	r, made, err := e.start(def, RunID(name, key), input)
	if err != nil {
		return run, false, err
	}
	select {
	case <-r.stored:
	case <-ctx.Done():
		return run, false, fmt.Errorf("waiting for the disk: %w", context.Cause(ctx))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.copy(), made, r.refuse
}

func (e *Engine) start(def *saga.Definition, id string, input json.RawMessage) (r *run, made bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch r := e.runs[id]; {
	case e.closed:
		return nil, false, ErrClosed
	case e.failure != nil:
		return nil, false, e.failure
	case r != nil && !bytes.Equal(r.Input, input):
		return nil, false, fmt.Errorf("%w: %s", ErrKeyUsed, id)
	case r != nil:
		return r, false, nil
	case len(e.runs) >= e.cfg.MaxRuns || e.bytes >= e.cfg.MaxBytes:
		return nil, false, fmt.Errorf("%w: %d of %d bytes; those that have ended are forgotten after 'retain'", ErrFull, len(e.runs), e.bytes)
	}
	ev := saga.Start(def, id, input, e.now())
	in, err := saga.New(ev)
	if err != nil {
		return nil, false, err
	}
	r = e.add(in)
	e.countsOf(def.Name).Started++
	e.happen(r, ev)
	return r, true, nil
}

// value checks and compacts JSON that comes from outside; nothing stands for null.
func value(text []byte) (json.RawMessage, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return json.RawMessage("null"), nil
	}
	if len(text) > maxValue {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(text), maxValue)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("%w: not JSON: %w", ErrInvalid, err)
	}
	return out.Bytes(), nil
}

// copy is the run as it is now, for readers. e.mu is held.
func (r *run) copy() saga.Instance {
	in := *r.Instance
	in.Steps, in.History, in.Signals = slices.Clone(in.Steps), slices.Clone(in.History), maps.Clone(in.Signals)
	return in
}

// Get returns a run; ErrNoRun if it is not known, or not any more.
func (e *Engine) Get(id string) (saga.Instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.find(id)
	if err != nil {
		return saga.Instance{}, err
	}
	return r.copy(), nil
}

func (e *Engine) find(id string) (*run, error) {
	r := e.runs[id]
	if r == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoRun, id)
	}
	return r, nil
}

// Wait returns a run when it has ended or is stuck, or as it is when ctx is done.
func (e *Engine) Wait(ctx context.Context, id string) (saga.Instance, error) {
	e.mu.Lock()
	r, err := e.find(id)
	var ended chan struct{}
	if err == nil {
		ended = r.ended
	}
	e.mu.Unlock()
	if err != nil {
		return saga.Instance{}, err
	}
	select {
	case <-ended:
	case <-ctx.Done():
	case <-e.failed:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.copy(), nil
}

// Filter of a list. Empty fields let all through.
type Filter struct {
	Saga   string
	Status saga.Status
	Max    int
}

// List returns runs, those that began last first.
func (e *Engine) List(f Filter) []saga.Instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := []*run{}
	for _, r := range e.runs {
		if (f.Saga == "" || r.Def.Name == f.Saga) && (f.Status == "" || r.Status == f.Status) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *run) int { return cmp.Or(cmp.Compare(b.Begun, a.Begun), cmp.Compare(a.ID, b.ID)) })
	if f.Max > 0 {
		found = found[:min(f.Max, len(found))]
	}
	out := make([]saga.Instance, len(found))
	for i, r := range found {
		out[i] = r.copy()
	}
	return out
}

// change has something happen to a run, and returns the run when that is on disk.
func (e *Engine) change(ctx context.Context, id string, decide func(*run, time.Duration) (saga.Event, error)) (saga.Instance, error) {
	e.mu.Lock()
	r, err := e.find(id)
	switch {
	case err != nil:
	case e.closed:
		err = ErrClosed
	case e.failure != nil:
		err = e.failure
	default:
		var ev saga.Event
		if ev, err = decide(r, e.now()); err == nil {
			e.happen(r, ev)
		}
	}
	e.mu.Unlock()
	if err != nil {
		return saga.Instance{}, err
	}
	if err := e.journal.Flush(ctx); err != nil {
		return saga.Instance{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.copy(), nil
}

// Signal gives a run what it waits for, or will; the errors are those of saga.Instance.Signal, ErrNoRun, ErrInvalid and
// ErrTooLarge.
func (e *Engine) Signal(ctx context.Context, id, name string, payload []byte) (saga.Instance, error) {
	if !validSignal.MatchString(name) {
		return saga.Instance{}, fmt.Errorf("%w: %.70q is not the name of a signal", ErrInvalid, name)
	}
	v, err := value(payload)
	if err != nil {
		return saga.Instance{}, fmt.Errorf("what comes with the signal: %w", err)
	}
	return e.change(ctx, id, func(r *run, now time.Duration) (saga.Event, error) { return r.Signal(now, name, v) })
}

// Cancel has what a run did undone.
func (e *Engine) Cancel(ctx context.Context, id string) (saga.Instance, error) {
	return e.change(ctx, id, func(r *run, now time.Duration) (saga.Event, error) { return r.Cancel(now, "cancelled") })
}

// Retry has a stuck run try again what it is stuck at.
func (e *Engine) Retry(ctx context.Context, id string) (saga.Instance, error) {
	return e.change(ctx, id, func(r *run, now time.Duration) (saga.Event, error) {
		ev, err := r.Retry(now)
		if err == nil {
			r.ended = make(chan struct{})
		}
		return ev, err
	})
}

// Event gives the runs that wait for an event of a topic with a key what it has; runs that were begun after it was published
// do not hear of it. It returns when that is on disk, and how many there were.
func (e *Engine) Event(ctx context.Context, topic, key string, published time.Time, payload []byte) (n int, err error) {
	v, err := value(payload)
	if err != nil {
		v, _ = json.Marshal(string(bytes.ToValidUTF8(payload[:min(len(payload), maxValue/8)], []byte("?"))))
	}
	e.mu.Lock()
	for id := range maps.Clone(e.byWait[waitKey{topic, key}]) {
		r := e.runs[id]
		_, _, name, waits := r.Awaits()
		if !waits || time.Duration(published.UnixNano()) < r.Begun {
			continue
		}
		if ev, err := r.Signal(e.now(), name, v); err == nil {
			e.happen(r, ev)
			n++
		}
	}
	e.mu.Unlock()
	if n == 0 {
		return 0, nil
	}
	return n, e.journal.Flush(ctx)
}

// Status of a saga.
type Status struct {
	Name string `json:"name"`
	// Declared is false for a saga that cannot be started any more, and that still has runs.
	Declared bool                `json:"declared"`
	Steps    []string            `json:"steps"`
	Runs     map[saga.Status]int `json:"runs"`
	Oldest   time.Duration       `json:"oldest_ns"` // age of the oldest run that has not ended
	Counts   Counts              `json:"counts"`
}

// Status of all sagas, by name.
func (e *Engine) Status() []Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]*Status{}
	of := func(d *saga.Definition) *Status {
		s := all[d.Name]
		if s == nil {
			s = &Status{Name: d.Name, Declared: e.defs[d.Name] != nil, Runs: map[saga.Status]int{}, Counts: *e.countsOf(d.Name)}
			for _, step := range d.Steps {
				s.Steps = append(s.Steps, step.Name)
			}
			all[d.Name] = s
		}
		return s
	}
	for _, d := range e.defs {
		of(d)
	}
	now := e.now()
	for _, r := range e.runs {
		s := of(r.Def)
		s.Runs[r.Status]++
		if !r.Status.Ended() {
			s.Oldest = max(s.Oldest, now-r.Begun)
		}
	}
	out := make([]Status, 0, len(all))
	for _, s := range all {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Has reports whether a saga can be started.
func (e *Engine) Has(name string) bool { return e.defs[name] != nil }
