package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// call is an action of a service of the step's own name.
func call(name string, attempts int) *Action {
	return &Action{Service: name, Method: "POST", Path: "/" + name, Attempts: attempts, Backoff: workqueue.Backoff{First: time.Second, Factor: 2}}
}

func trip() *Definition {
	return &Definition{Name: "trip", Timeout: time.Hour, Retain: time.Minute, Steps: []Step{
		{Name: "flight", Do: call("flight", 3), Undo: call("unflight", 0)},
		{Name: "hotel", Do: call("hotel", 3), Undo: call("unhotel", 2)},
		{Name: "consent", Wait: &Wait{Signal: "consent", Timeout: time.Minute}},
		{Name: "mail", Do: call("mail", 3)},
	}}
}

// driver applies what is decided and keeps the events.
type driver struct {
	t      *testing.T
	in     *Instance
	now    time.Duration
	events []Event
}

func drive(t *testing.T, def *Definition, input string) *driver {
	t.Helper()
	ev := Start(def, "trip_1", json.RawMessage(input), time.Second)
	in, err := New(ev)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, in: in, now: time.Second, events: []Event{ev}}
	d.settle()
	return d
}

func (d *driver) apply(ev Event, err error) {
	d.t.Helper()
	if err == nil {
		err = d.in.Apply(ev)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.events = append(d.events, ev)
	d.settle()
}

// settle does what is due.
func (d *driver) settle() {
	for {
		ev, ok := d.in.Decide(d.now)
		if !ok || ev.Kind == Forgotten {
			return
		}
		if err := d.in.Apply(ev); err != nil {
			d.t.Fatal(err)
		}
		d.events = append(d.events, ev)
	}
}

// answers expects an attempt at a service and answers it.
func (d *driver) answers(service string, o Outcome) {
	d.t.Helper()
	e, ok, err := d.in.Effect()
	if err != nil || !ok || e.Service != service {
		d.t.Fatalf("the attempt is at %q (%v, %v), expected %s; the run is %s", e.Service, ok, err, service, d.in.Status)
	}
	d.apply(d.in.Answer(d.now, o, 0), nil)
}

func (d *driver) expect(s Status) {
	d.t.Helper()
	if d.in.Status != s {
		d.t.Fatalf("the run is %s (%s), expected %s", d.in.Status, d.in.Reason, s)
	}
}

var (
	done    = Outcome{OK: true, Value: json.RawMessage(`{"n":1}`)}
	refused = Outcome{Final: true, Reason: "no"}
	lost    = Outcome{Doubt: true, Reason: "no answer"}
)

func TestAllStepsInTheirOrder(t *testing.T) {
	d := drive(t, trip(), `null`)
	d.answers("flight", done)
	d.answers("hotel", done)
	ev, err := d.in.Signal(d.now, "consent", json.RawMessage(`"yes"`))
	d.apply(ev, err)
	d.answers("mail", done)
	d.expect(Completed)
	if string(d.in.Steps[2].Result) != `"yes"` {
		t.Errorf("the wait was answered %s", d.in.Steps[2].Result)
	}
	if ev, ok := d.in.Decide(d.now + time.Minute); !ok || ev.Kind != Forgotten {
		t.Errorf("after its retention the run is %v, %v", ev.Kind, ok)
	}
}

func TestWhatWasDoneIsUndoneInTheOppositeOrder(t *testing.T) {
	d := drive(t, trip(), `null`)
	d.answers("flight", done)
	d.answers("hotel", done)
	d.now += time.Minute // nobody consents
	d.settle()
	d.answers("unhotel", done)
	d.answers("unflight", lost)
	d.now += time.Second
	d.settle()
	d.answers("unflight", done)
	d.expect(Compensated)
	if !strings.Contains(d.in.Reason, "consent: nothing came") {
		t.Error(d.in.Reason)
	}
}

func TestAStepThatWasRefusedIsNotUndone(t *testing.T) {
	d := drive(t, trip(), `null`)
	d.answers("flight", done)
	d.answers("hotel", refused)
	d.answers("unflight", done)
	d.expect(Compensated)
}

func TestAStepInDoubtIsUndone(t *testing.T) {
	d := drive(t, trip(), `null`)
	d.answers("flight", done)
	d.answers("hotel", lost)
	if _, asked, _ := d.in.Effect(); asked {
		t.Fatal("the next attempt does not wait")
	}
	d.now += time.Second
	d.settle()
	d.answers("hotel", refused) // the first attempt may have come through all the same
	d.answers("unhotel", done)
	d.answers("unflight", done)
	d.expect(Compensated)
}

func TestAttemptsAreCounted(t *testing.T) {
	d := drive(t, trip(), `null`)
	for range 3 {
		d.answers("flight", lost)
		d.now += time.Minute
		d.settle()
	}
	d.answers("unflight", done)
	d.expect(Compensated)
	d = drive(t, trip(), `null`)
	for range 10 {
		d.answers("flight", Outcome{Unmade: true})
		d.now += time.Second
		d.settle()
	}
	d.answers("flight", done)
	d.expect(Running)
}

func TestStuckUntilAPersonSaysSo(t *testing.T) {
	d := drive(t, trip(), `null`)
	d.answers("flight", done)
	d.answers("hotel", done)
	d.apply(d.in.Cancel(d.now, "cancelled"))
	d.answers("unhotel", refused)
	d.expect(Stuck)
	d.now += 100 * time.Hour
	d.settle()
	d.expect(Stuck)
	if _, err := d.in.Cancel(d.now, ""); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	d.apply(d.in.Retry(d.now))
	d.answers("unhotel", done)
	d.answers("unflight", done)
	d.expect(Compensated)
}

func TestCancelWaitsForTheAttemptUnderWay(t *testing.T) {
	d := drive(t, trip(), `null`)
	d.apply(d.in.Cancel(d.now, "cancelled"))
	d.expect(Running)
	d.answers("flight", done)
	d.answers("unflight", done)
	d.expect(Compensated)
	if d.in.Reason != "cancelled" {
		t.Error(d.in.Reason)
	}
}

func TestASignalMayComeEarly(t *testing.T) {
	d := drive(t, trip(), `null`)
	ev, err := d.in.Signal(d.now, "consent", json.RawMessage(`1`))
	d.apply(ev, err)
	if _, err := d.in.Signal(d.now, "consent", nil); !errors.Is(err, ErrNoSignal) {
		t.Errorf("a second signal: %v", err)
	}
	if _, err := d.in.Signal(d.now, "concent", nil); !errors.Is(err, ErrNoSignal) {
		t.Errorf("an unknown signal: %v", err)
	}
	d.answers("flight", done)
	d.answers("hotel", done)
	d.answers("mail", done)
	d.expect(Completed)
}

func TestReferences(t *testing.T) {
	def := &Definition{Name: "refs", Retain: time.Minute, Steps: []Step{
		{Name: "one", Do: &Action{Service: "s", Method: "POST", Path: "/a/${input.who}?x=${input.n}", Attempts: 1}},
		{Name: "two", Do: &Action{Service: "s", Path: "/b/${steps.one.list.1.id}", Attempts: 1, Headers: map[string]string{"X-Run": "run ${id}"},
			Body: json.RawMessage(`{"all":"${steps.one}","text":"n is ${input.n}, $${id}","big":"${input.n}"}`)}},
	}}
	d := drive(t, def, `{"who":"../a&b c","n":12345678901234567890}`)
	e, _, err := d.in.Effect()
	if want := "/a/..%2Fa%26b%20c?x=12345678901234567890"; err != nil || e.Path != want || e.Key != "trip_1_one" {
		t.Fatalf("%+v, %v; expected the path %s", e, err, want)
	}
	d.answers("s", Outcome{OK: true, Value: json.RawMessage(`{"list":[{},{"id":"x"}]}`)})
	e, _, err = d.in.Effect()
	if want := `{"all":{"list":[{},{"id":"x"}]},"big":12345678901234567890,"text":"n is 12345678901234567890, ${id}"}`; err != nil || string(e.Body) != want || e.Path != "/b/x" || e.Headers["X-Run"] != "run trip_1" {
		t.Errorf("%+v %s, %v", e, e.Body, err)
	}
	for _, input := range []string{`{"who":"..","n":1}`, `{"who":"","n":1}`, `{"n":1}`, `{"who":{},"n":1}`, `[]`, `null`} {
		d := drive(t, def, input)
		if e, ok, err := d.in.Effect(); err == nil || !ok {
			t.Errorf("%s gives the path %s", input, e.Path)
		}
	}
}

// world is services that may be carried out without an answer, may be late, and know keys.
type world struct {
	rng     *rand.Rand
	applied map[string]bool // steps that have their effect
	final   map[string]bool // keys that were undone: what comes late is refused
	order   []string
}

func (w *world) ask(e Effect) Outcome {
	switch w.rng.IntN(8) {
	case 0:
		return lost // before anything was done
	case 1:
		if !e.Undo {
			return refused
		}
	}
	if e.Undo {
		w.final[e.Step] = true
		if w.applied[e.Step] {
			w.order = append(w.order, "undo "+e.Step)
		}
		delete(w.applied, e.Step)
	} else if !w.final[e.Step] && !w.applied[e.Step] {
		w.applied[e.Step] = true
		w.order = append(w.order, e.Step)
	}
	if w.rng.IntN(6) == 0 {
		return lost
	}
	return done
}

// Whatever is lost, refused, cancelled, interrupted or late: at the end all has its effect or nothing has, and the events
// alone give the same run.
func TestAtomicWhateverHappens(t *testing.T) {
	ends := map[Status]int{}
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 7))
		def := &Definition{Name: "random", Timeout: time.Duration(20+rng.IntN(600)) * time.Second, Retain: time.Hour}
		for i := range 1 + rng.IntN(5) {
			name := fmt.Sprintf("s%d", i)
			s := Step{Name: name, Do: call("do", 1+rng.IntN(4)), Undo: call("undo", 0)}
			if rng.IntN(5) == 0 {
				s = Step{Name: name, Wait: &Wait{Signal: name, Timeout: time.Minute}}
			}
			def.Steps = append(def.Steps, s)
		}
		if pivot := rng.IntN(2 * len(def.Steps)); pivot < len(def.Steps) {
			makePivot(def, pivot, rng.IntN(2) == 0)
		}
		d := drive(t, def, `null`)
		w := &world{rng: rng, applied: map[string]bool{}, final: map[string]bool{}}
		for round := 0; !d.in.Status.Ended(); round++ {
			if round > 10_000 {
				t.Fatalf("seed %d: the run does not end: %+v", seed, d.in)
			}
			d.step(w)
		}
		ends[d.in.Status]++
		for _, s := range def.Steps {
			if s.Wait == nil && w.applied[s.Name] != (d.in.Status == Completed) {
				t.Fatalf("seed %d: the run is %s and %s has its effect: %v\n%v", seed, d.in.Status, s.Name, w.applied[s.Name], w.order)
			}
		}
		checkOrder(t, seed, w.order)
		checkReplay(t, seed, d)
	}
	if ends[Completed] < 100 || ends[Compensated] < 100 {
		t.Errorf("the runs ended as %v: too few of a kind to mean something", ends)
	}
}

// makePivot makes a step the point of no return, with what undoes it while it is in doubt or without.
func makePivot(def *Definition, pivot int, undone bool) {
	for i := range def.Steps[pivot:] {
		s := &def.Steps[pivot+i]
		s.Pivot = i == 0
		if s.Wait != nil && i > 0 {
			s.Wait.Timeout = 0
		}
		if i > 0 || !undone {
			s.Undo = nil
		}
		if s.Do != nil && i > 0 {
			s.Do.Attempts = 0
		}
	}
}

// step lets one thing happen.
func (d *driver) step(w *world) {
	e, asked, err := d.in.Effect()
	if err != nil {
		d.t.Fatal(err)
	}
	switch n := w.rng.IntN(30); {
	case d.in.Status == Stuck:
		d.apply(d.in.Retry(d.now))
	case n == 0:
		if ev, err := d.in.Cancel(d.now, "cancelled"); err == nil {
			d.apply(ev, nil)
		}
	case n < 3 && asked:
		w.ask(e) // carried out, and the process dies before it knows
		ev, _ := d.in.Interrupt(d.now)
		d.apply(ev, nil)
	case asked:
		d.apply(d.in.Answer(d.now, w.ask(e), w.rng.Float64()), nil)
	case d.in.waiting() != nil && (n < 15 || d.in.Committed()): // after the pivot nothing but the signal ends a wait
		ev, err := d.in.Signal(d.now, d.in.Def.Steps[d.in.At].Name, json.RawMessage(`1`))
		d.apply(ev, err)
	default:
		at, ok := d.in.Next()
		if !ok {
			d.t.Fatalf("nothing will ever happen: %+v", d.in)
		}
		d.now = max(d.now, at)
		d.settle()
	}
}

// checkOrder wants steps undone in the opposite order of the one in which they were done.
func checkOrder(t *testing.T, seed uint64, order []string) {
	t.Helper()
	var open []string
	for _, o := range order {
		name, undo := strings.CutPrefix(o, "undo ")
		switch {
		case !undo:
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			t.Fatalf("seed %d: %s out of order: %v", seed, o, order)
		default:
			open = open[:len(open)-1]
		}
	}
	if !slices.IsSorted(open) {
		t.Fatalf("seed %d: done out of order: %v", seed, order)
	}
}

// checkReplay wants the same run from the events as they are kept.
func checkReplay(t *testing.T, seed uint64, d *driver) {
	t.Helper()
	text, err := json.Marshal(d.events)
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	if err := json.Unmarshal(text, &events); err != nil {
		t.Fatal(err)
	}
	in, err := New(events[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events[1:] {
		if err := in.Apply(ev); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	a, _ := json.Marshal(in)
	b, _ := json.Marshal(d.in)
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("seed %d: replayed\n%s\ninstead of\n%s", seed, a, b)
	}
}

// pivoted is a trip whose hotel is the point of no return.
func pivoted(undone bool) *Definition {
	def := trip()
	makePivot(def, 1, undone)
	return def
}

func TestAfterThePivotThereIsNoWayBack(t *testing.T) {
	d := drive(t, pivoted(true), `null`)
	d.answers("flight", done)
	if d.in.Committed() {
		t.Error("it is committed before its pivot")
	}
	d.apply(d.in.Cancel(d.now, "too late"))
	d.answers("hotel", done) // the cancel came while the pivot was under way
	d.expect(Running)
	if _, err := d.in.Cancel(d.now, ""); !errors.Is(err, ErrCommitted) {
		t.Errorf("a cancel after the pivot: %v", err)
	}
	d.now += 100 * time.Hour // the time-out is over
	d.settle()
	d.expect(Running)
	ev, err := d.in.Signal(d.now, "consent", json.RawMessage(`1`))
	d.apply(ev, err)
	for range 20 {
		d.answers("mail", lost)
		d.now += time.Hour
		d.settle()
	}
	d.answers("mail", refused)
	d.expect(Stuck)
	if d.in.Reason != "step mail: no" || d.in.Steps[3].State != StepFailed {
		t.Errorf("%q, %+v", d.in.Reason, d.in.Steps)
	}
	d.apply(d.in.Retry(d.now))
	d.answers("mail", done)
	d.expect(Completed)
}

func TestAPivotThatFails(t *testing.T) {
	d := drive(t, pivoted(false), `null`)
	d.answers("flight", done)
	d.answers("hotel", refused)
	d.answers("unflight", done)
	d.expect(Compensated)
	// In doubt, one that can be undone is.
	d = drive(t, pivoted(true), `null`)
	d.answers("flight", done)
	d.answers("hotel", lost)
	d.apply(d.in.Cancel(d.now, "cancelled"))
	d.answers("unhotel", done)
	d.answers("unflight", done)
	d.expect(Compensated)
	// One that can't be undone is tried until it is known, whoever cancels.
	d = drive(t, pivoted(false), `null`)
	d.answers("flight", done)
	d.answers("hotel", lost)
	d.apply(d.in.Cancel(d.now, "cancelled"))
	d.now += time.Minute
	d.settle()
	ev, _ := d.in.Interrupt(d.now)
	d.apply(ev, nil)
	d.answers("hotel", Outcome{Unmade: true})
	d.now += time.Minute
	d.settle()
	d.answers("hotel", lost)
	d.now += time.Minute
	d.settle()
	d.answers("hotel", refused)
	d.expect(Stuck)
	d.apply(d.in.Retry(d.now))
	d.answers("hotel", done)
	d.expect(Running)
	if !d.in.Committed() || d.in.Abort != "" {
		t.Errorf("%+v", d.in)
	}
}

func TestPivotsThatAreRefused(t *testing.T) {
	for _, spoil := range []func(*Definition){
		func(d *Definition) { d.Steps[3].Pivot = true },
		func(d *Definition) { d.Steps[3].Undo = call("x", 1) },
		func(d *Definition) { d.Steps[2].Wait.Timeout = 1 },
	} {
		d := pivoted(true)
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		if spoil(d); d.Check() == nil {
			t.Errorf("%+v is taken", d)
		}
	}
}
