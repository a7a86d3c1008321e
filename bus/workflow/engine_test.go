package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/saga"
	"github.com/banyanhq/banyan/policy/workqueue"
)

var quick = workqueue.Backoff{First: time.Millisecond, Max: 4 * time.Millisecond}

func act(service string, attempts int) *saga.Action {
	return &saga.Action{Service: service, Method: "POST", Path: "/", Timeout: time.Second, Attempts: attempts, Backoff: quick}
}

func checkout() *saga.Definition {
	return &saga.Definition{Name: "checkout", Timeout: time.Hour, Retain: time.Hour, Steps: []saga.Step{
		{Name: "reserve", Do: act("stock", 4), Undo: act("stock", 0)},
		{Name: "charge", Do: act("money", 4), Undo: act("money", 0)},
		{Name: "ship", Do: act("ship", 4), Undo: act("ship", 0)},
	}}
}

type performerFunc func(context.Context, saga.Effect) saga.Outcome

func (f performerFunc) Perform(ctx context.Context, e saga.Effect) saga.Outcome { return f(ctx, e) }

// running opens an engine and runs it until stop, which returns what Run returned.
func running(t *testing.T, cfg Config) (e *Engine, stop func() error) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return e, stop
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

var yes = saga.Outcome{OK: true, Value: json.RawMessage("null")}

func TestARunIsDoneOnce(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	cfg := Config{Dir: t.TempDir(), Sagas: []*saga.Definition{checkout()}, Performer: performerFunc(func(_ context.Context, e saga.Effect) saga.Outcome {
		mu.Lock()
		defer mu.Unlock()
		asked[e.Key]++
		return yes
	})}
	e, stop := running(t, cfg)
	var starts sync.WaitGroup
	for range 20 {
		starts.Go(func() {
			if _, _, err := e.Start(limited(t), "checkout", "k1", []byte(`{"a": 1}`)); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	in, err := e.Wait(limited(t), "checkout_k1")
	if err != nil || in.Status != saga.Completed {
		t.Fatalf("%+v, %v", in, err)
	}
	if len(asked) != 3 || asked["checkout_k1_reserve"] != 1 {
		t.Errorf("asked for %v", asked)
	}
	for _, c := range []struct {
		name, key, input string
		want             error
	}{{"checkout", "k1", `{"a":2}`, ErrKeyUsed}, {"other", "k", `1`, ErrNoSaga}, {"checkout", "a b", `1`, ErrInvalid}, {"checkout", "k2", `{`, ErrInvalid},
		{"checkout", "k2", `"` + string(make([]byte, maxValue)) + `"`, ErrTooLarge}} {
		if _, _, err := e.Start(limited(t), c.name, c.key, []byte(c.input)); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, expected %v", c.name, c.key, err, c.want)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	e, _ = running(t, cfg)
	if in, err := e.Get("checkout_k1"); err != nil || in.Status != saga.Completed || string(in.Input) != `{"a":1}` {
		t.Errorf("after a restart: %+v, %v", in, err)
	}
	if _, made, err := e.Start(limited(t), "checkout", "k1", []byte(`{"a":1}`)); made || err != nil {
		t.Errorf("started again after a restart: %v, %v", made, err)
	}
}

// disk keeps what was synced, until the power goes.
type disk struct {
	mu   sync.Mutex
	left int // syncs until then; negative: any number
}

type diskFile struct {
	journal.File
	disk    *disk
	mu      sync.Mutex
	pending []func() error
}

func (d *disk) open(path string) (journal.File, error) {
	f, err := journal.OpenFile(path)
	return &diskFile{File: f, disk: d}, err
}

func (f *diskFile) WriteAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := append([]byte(nil), p...)
	f.pending = append(f.pending, func() error { _, err := f.File.WriteAt(kept, at); return err })
	return len(p), nil
}

var errDark = errors.New("the power is gone")

func (f *diskFile) Sync() error {
	f.disk.mu.Lock()
	dark := f.disk.left == 0
	f.disk.left--
	f.disk.mu.Unlock()
	if dark {
		f.disk.mu.Lock()
		f.disk.left = 0
		f.disk.mu.Unlock()
		return errDark
	}
	return f.flush()
}

func (f *diskFile) flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, write := range f.pending {
		if err := write(); err != nil {
			return err
		}
	}
	f.pending = nil
	return nil
}

func (f *diskFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	dark := f.disk.left == 0
	f.disk.mu.Unlock()
	if dark {
		return errDark
	}
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// shop has stock and money, knows keys, and makes a key final when it is undone.
type shop struct {
	mu      sync.Mutex
	rng     *rand.Rand
	applied map[string]bool // by run and service
	final   map[string]bool
	double  []string
}

func (s *shop) Perform(_ context.Context, e saga.Effect) saga.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := saga.Outcome{Doubt: true, Reason: "no answer"}
	switch s.rng.IntN(12) {
	case 0:
		return lost
	case 1:
		if !e.Undo {
			return saga.Outcome{Final: true, Reason: "declined"}
		}
	}
	what := e.Run + " " + e.Service
	switch {
	case e.Undo:
		s.final[what] = true
		delete(s.applied, what)
	case s.final[what]:
		s.double = append(s.double, what+" after it was undone")
	default:
		s.applied[what] = true
	}
	if s.rng.IntN(12) == 0 {
		return lost
	}
	return yes
}

// A thousand checkouts, while the power goes after any sync, again and again: each is done as a whole or not at all, and
// all that was acknowledged is found.
func TestConsistentWhereverThePowerGoes(t *testing.T) {
	const checkouts = 1000
	rng := rand.New(rand.NewPCG(1, 2))
	s := &shop{rng: rand.New(rand.NewPCG(3, 4)), applied: map[string]bool{}, final: map[string]bool{}}
	dir := t.TempDir()
	acknowledged, lives := map[string]bool{}, 0
	for started := 0; ; lives++ {
		d := &disk{left: 1 + rng.IntN(60)}
		forever := started == checkouts
		if forever {
			d.left = -1
		}
		e, err := Open(Config{Dir: dir, Sagas: []*saga.Definition{checkout()}, Performer: s, OpenFile: d.open, SegmentBytes: 64 << 10})
		if err != nil {
			t.Fatalf("life %d: %v", lives, err)
		}
		for id := range acknowledged {
			if _, err := e.Get(id); err != nil {
				t.Fatalf("life %d: %s was acknowledged: %v", lives, id, err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		for started < checkouts {
			in, _, err := e.Start(ctx, "checkout", fmt.Sprintf("k%d", started), []byte(`{"x":1}`))
			if err != nil {
				break // the power is gone: this one is started anew in the next life
			}
			acknowledged[in.ID] = true
			started++
		}
		if !forever {
			cancel()
			// Where the power goes as a segment ends, the journal is not broken, and meets the dark disk as it closes.
			if err := <-done; started < checkouts && !errors.Is(err, journal.ErrFailed) && !errors.Is(err, errDark) {
				t.Fatalf("life %d: Run returned %v", lives, err)
			}
			continue
		}
		for id := range acknowledged {
			if in, err := e.Wait(limited(t), id); err != nil || !in.Status.Ended() {
				t.Fatalf("%s: %s, %v", id, in.Status, err)
			}
		}
		check(t, e, s)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		break
	}
	t.Logf("%d checkouts, the power went %d times", len(acknowledged), lives)
	if lives < 20 {
		t.Errorf("the power went %d times: too few to mean something", lives)
	}
}

func check(t *testing.T, e *Engine, s *shop) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ends := map[saga.Status]int{}
	for _, in := range e.List(Filter{}) {
		ends[in.Status]++
		for _, service := range []string{"stock", "money", "ship"} {
			if s.applied[in.ID+" "+service] != (in.Status == saga.Completed) {
				t.Errorf("%s is %s, and %s has its effect: %v", in.ID, in.Status, service, s.applied[in.ID+" "+service])
			}
		}
	}
	if len(s.double) > 0 {
		t.Errorf("done after it was undone: %v", s.double)
	}
	if ends[saga.Completed] < 100 || ends[saga.Compensated] < 100 {
		t.Errorf("the runs ended as %v", ends)
	}
}

func TestTheJournalIsBounded(t *testing.T) {
	def := checkout()
	def.Retain = time.Millisecond
	long := &saga.Definition{Name: "long", Retain: time.Hour, Steps: []saga.Step{{Name: "wait", Wait: &saga.Wait{Signal: "go"}}}}
	cfg := Config{Dir: t.TempDir(), Sagas: []*saga.Definition{def, long}, SegmentBytes: 16 << 10, Performer: performerFunc(func(context.Context, saga.Effect) saga.Outcome { return yes })}
	e, stop := running(t, cfg)
	if _, _, err := e.Start(limited(t), "long", "a", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		in, _, err := e.Start(limited(t), "checkout", fmt.Sprintf("k%d", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Wait(limited(t), in.ID); err != nil && !errors.Is(err, ErrNoRun) {
			t.Fatal(err)
		}
	}
	before := e.journal.Stats().Bytes
	// The engine does the same by itself, and one of the two may find that the other was quicker.
	for tries, err := 1, e.compact(limited(t)); err != nil; tries, err = tries+1, e.compact(limited(t)) {
		if tries == 10 {
			t.Fatal(err)
		}
	}
	if after := e.journal.Stats().Bytes; after >= before || after > 6*cfg.SegmentBytes {
		t.Errorf("the journal has %d bytes, and had %d", after, before)
	}
	if _, err := e.Signal(limited(t), "long_a", "go", []byte(`7`)); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	e, _ = running(t, cfg)
	if in, err := e.Get("long_a"); err != nil || in.Status != saga.Completed || string(in.Steps[0].Result) != "7" {
		t.Errorf("the old run is %+v, %v", in, err)
	}
}

func TestBounds(t *testing.T) {
	long := &saga.Definition{Name: "long", Retain: time.Hour, Steps: []saga.Step{{Name: "wait", Wait: &saga.Wait{Signal: "go"}}}}
	e, _ := running(t, Config{Sagas: []*saga.Definition{long}, MaxRuns: 2, Performer: performerFunc(func(context.Context, saga.Effect) saga.Outcome { return yes })})
	for i, want := range []error{nil, nil, ErrFull} {
		if _, _, err := e.Start(limited(t), "long", fmt.Sprint(i), nil); !errors.Is(err, want) {
			t.Errorf("start %d: %v, expected %v", i, err, want)
		}
	}
	if _, err := e.Signal(limited(t), "long_0", "event.wait", nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a signal that stands for an event: %v", err)
	}
	if _, err := e.Signal(limited(t), "long_0", "stop", nil); !errors.Is(err, saga.ErrNoSignal) {
		t.Errorf("an unknown signal: %v", err)
	}
	if _, err := e.Cancel(limited(t), "long_9"); !errors.Is(err, ErrNoRun) {
		t.Errorf("an unknown run: %v", err)
	}
}
