package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
)

func openAt(t *testing.T, dir string, queues map[string]QueueConfig) *Broker {
	t.Helper()
	b, err := Open(Config{Dir: dir, Queues: queues, SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func publish(t *testing.T, b *Broker, queue string, m Message) Published {
	t.Helper()
	p, err := tryPublish(b, queue, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryPublish(b *Broker, queue string, m Message) (Published, error) {
	type outcome struct {
		p   Published
		err error
	}
	done := make(chan outcome, 1)
	if err := b.Publish(queue, m, func(p Published, err error) { done <- outcome{p, err} }); err != nil {
		return Published{}, err
	}
	o := <-done
	return o.p, o.err
}

func receive(t *testing.T, b *Broker, queue string) Delivery {
	t.Helper()
	got, err := b.Receive(t.Context(), queue, "", 1)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	return got[0]
}

func ack(t *testing.T, b *Broker, d Delivery) {
	t.Helper()
	done := make(chan error, 1)
	if err := b.Ack(d.Queue, d.Seq, d.Attempt, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasStoredIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	queues := map[string]QueueConfig{"jobs": {Rules: workqueue.Rules{Dedupe: time.Minute}}}
	b := openAt(t, dir, queues)
	publish(t, b, "jobs", Message{ID: "a", Key: "k", Body: []byte("first"), Headers: []Header{{"X-A", "1"}, {"X-A", "2"}}})
	publish(t, b, "jobs", Message{Body: []byte("second")})
	ack(t, b, receive(t, b, "jobs"))
	publish(t, b, "jobs", Message{Key: "k", Headers: []Header{{"X-A", "1"}, {"X-A", "2"}}, Body: []byte("third")})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openAt(t, dir, queues)
	if p := publish(t, b, "jobs", Message{ID: "a", Body: []byte("first")}); !p.Duplicate || p.Seq != 1 {
		t.Errorf("an id was forgotten: %+v", p)
	}
	if d := receive(t, b, "jobs"); string(d.Body) != "second" {
		t.Errorf("got %q", d.Body)
	}
	d := receive(t, b, "jobs")
	if string(d.Body) != "third" || d.Meta.Key != "k" || fmt.Sprint(d.Headers) != "[{X-A 1} {X-A 2}]" || d.Seq != 3 {
		t.Errorf("got %+v", d)
	}
}

func TestDeadLettersMoveWholeAndOnce(t *testing.T) {
	dir := t.TempDir()
	queues := map[string]QueueConfig{"jobs": {Rules: workqueue.Rules{MaxDeliver: 2}, DeadLetter: "graves"}, "graves": {}}
	b := openAt(t, dir, queues)
	for i := range 3 {
		publish(t, b, "jobs", Message{Body: fmt.Appendf(nil, "job %d", i), Headers: []Header{{"N", fmt.Sprint(i)}}})
	}
	for range 6 {
		d := receive(t, b, "jobs")
		if err := b.Nack("jobs", d.Seq, d.Attempt, 0, fmt.Sprintf("no card %d", d.Seq), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(b *Broker) {
		t.Helper()
		in, groups, err := b.DeadLetters("jobs")
		if err != nil || in != "graves" || len(groups) != 1 || groups[0].Count != 3 || groups[0].Signature != "no card #" {
			t.Fatal(in, groups, err)
		}
		letters, err := b.Dead("jobs", "no card #", 10)
		if err != nil || len(letters) != 3 {
			t.Fatal(letters, err)
		}
		l := letters[0]
		if string(l.Body) != "job 0" || l.Headers[0].Value != "0" || l.Meta.Origin != "jobs" || l.Meta.OriginSeq != 1 || len(l.Meta.History) != 2 {
			t.Fatalf("%+v", l)
		}
		if s, _ := b.QueueStatus("jobs"); s.Ready+s.InFlight+s.Delayed+s.Dead != 0 {
			t.Fatalf("%+v", s)
		}
	}
	check(b)
	b.Close()
	b = openAt(t, dir, queues)
	check(b)

	// A canary, then the rest.
	r, err := b.Redrive("jobs", "", 1)
	if err != nil || r.Moved != 1 || r.Left != 2 {
		t.Fatal(r, err)
	}
	d := receive(t, b, "jobs")
	if string(d.Body) != "job 0" || d.Attempt != 1 || len(d.Meta.History) != 2 {
		t.Fatalf("%+v", d)
	}
	ack(t, b, d)
	if r, ok := b.RedriveStatus(r.ID); !ok || r.Acked != 1 || r.Waiting != 0 {
		t.Fatal(r, ok)
	}
	if r, err = b.Redrive("jobs", "", 0); err != nil || r.Moved != 2 {
		t.Fatal(r, err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, _ := b.QueueStatus("graves"); s.Ready+s.Dead != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestTimesOfDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := Open(Config{Dir: t.TempDir(), SegmentBytes: 64 << 10, Queues: map[string]QueueConfig{"jobs": {Rules: workqueue.Rules{AckWait: time.Minute, MaxDeliver: 3}}}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		begun := time.Now()
		publish(t, b, "jobs", Message{Delay: 90 * time.Second})
		d := receive(t, b, "jobs")
		if late := time.Since(begun) - 90*time.Second; late < 0 || late > 10*time.Millisecond {
			t.Errorf("a delayed message came %v after its time", late)
		}
		// Time is given twice; then the consumer is silent.
		for range 2 {
			time.Sleep(50 * time.Second)
			if err := b.Extend("jobs", d.Seq, d.Attempt, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		extended := time.Now()
		again := receive(t, b, "jobs")
		if waited := time.Since(extended); again.Attempt != 2 || waited < time.Minute || waited > time.Minute+10*time.Millisecond {
			t.Errorf("attempt %d after %v", again.Attempt, waited)
		}
		if err := b.Ack("jobs", d.Seq, d.Attempt, nil); !errors.Is(err, workqueue.ErrSettled) {
			t.Errorf("a delivery that is over acknowledged the message: %v", err)
		}
		ack(t, b, again)
	})
}

func TestWhoIsGoneGetsNothing(t *testing.T) {
	b := openAt(t, t.TempDir(), map[string]QueueConfig{"jobs": {}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Receive(ctx, "jobs", "", 1)
	}()
	cancel()
	<-done
	dead := &Pull{Batch: 1, Alive: func() bool { return false }, Deliver: func(Delivery, bool) { t.Error("delivered to one who is gone") }}
	if err := b.Pull("jobs", dead); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "jobs", Message{})
	if d := receive(t, b, "jobs"); d.Attempt != 1 {
		t.Errorf("attempt %d", d.Attempt)
	}
}

// A client that drains a queue takes the first answer without messages for its end.
func TestWhoWaitsForNothingGetsAllThereIs(t *testing.T) {
	b := openAt(t, t.TempDir(), map[string]QueueConfig{"jobs": {}})
	for range 3 * takeAtOnce {
		publish(t, b, "jobs", Message{})
	}
	for _, want := range []int{2 * takeAtOnce, takeAtOnce, 0} {
		got, empty := 0, make(chan struct{})
		p := &Pull{Batch: 2*takeAtOnce + 1, Deliver: func(Delivery, bool) { got++ }, Empty: func() { close(empty) }}
		if want == 2*takeAtOnce {
			p.Batch = want // which is full, and needs no other end
			full := empty
			p.Deliver, p.Empty = func(_ Delivery, last bool) {
				if got++; last {
					close(full)
				}
			}, func() { t.Error("there was nothing for a batch that could be filled") }
		}
		if err := b.Pull("jobs", p); err != nil {
			t.Fatal(err)
		}
		<-empty
		b.Cancel(p)
		if got != want {
			t.Errorf("%d messages, want %d", got, want)
		}
	}
	for range takeAtOnce + 2 {
		publish(t, b, "jobs", Message{})
	}
	for _, want := range []int{takeAtOnce + 1, 1, 0} {
		got, err := b.ReceiveNow(t.Context(), "jobs", "", takeAtOnce+1)
		if len(got) != want || err != nil {
			t.Errorf("received %d messages, want %d, %v", len(got), want, err)
		}
	}
	// What comes later is nobody's who was told.
	p := &Pull{Batch: 2, Deliver: func(Delivery, bool) { t.Error("delivered after the end") }, Empty: func() {}}
	if err := b.Pull("jobs", p); err != nil {
		t.Fatal(err)
	}
	b.Cancel(p)
	publish(t, b, "jobs", Message{})
	receive(t, b, "jobs")
}

type fillingDisk struct {
	journal.File
	full *atomic.Bool
}

func (f fillingDisk) WriteAt(p []byte, at int64) (int, error) {
	if f.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(p, at)
}

// failingDisk is one that can't sync.
type failingDisk struct {
	journal.File
	failing *atomic.Bool
}

func (f failingDisk) Sync() error {
	if f.failing.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

// A disk that is full, or can't sync, refuses what comes, and gives out what is there; nothing that died meanwhile is lost, and it goes on by
// itself.
func TestFullOrFailingDisk(t *testing.T) {
	t.Run("full", func(t *testing.T) {
		testDisk(t, journal.ErrFull, func(f journal.File, bad *atomic.Bool) journal.File { return fillingDisk{f, bad} })
	})
	t.Run("failing", func(t *testing.T) {
		testDisk(t, journal.ErrFailed, func(f journal.File, bad *atomic.Bool) journal.File { return failingDisk{f, bad} })
	})
}

func testDisk(t *testing.T, want error, disk func(journal.File, *atomic.Bool) journal.File) {
	var bad atomic.Bool
	dir := t.TempDir()
	cfg := Config{Dir: dir, SegmentBytes: 1 << 20, Queues: map[string]QueueConfig{"jobs": {Rules: workqueue.Rules{MaxDeliver: 1}, DeadLetter: "graves"}, "graves": {}},
		OpenFile: func(path string) (journal.File, error) {
			f, err := journal.OpenFile(path)
			return disk(f, &bad), err
		}}
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	publish(t, b, "jobs", Message{Body: []byte("dies")})
	publish(t, b, "jobs", Message{Body: []byte("lives")})
	bad.Store(true)
	if _, err := tryPublish(b, "jobs", Message{ID: "x"}); !errors.Is(err, want) {
		t.Fatalf("a disk that is bad took a message: %v", err)
	}
	d := receive(t, b, "jobs")
	if err := b.Nack("jobs", d.Seq, d.Attempt, 0, "no", nil); err != nil {
		t.Fatal(err)
	}
	lives := receive(t, b, "jobs")
	bad.Store(false)
	p, err := tryPublish(b, "jobs", Message{ID: "x"})
	for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); p, err = tryPublish(b, "jobs", Message{ID: "x"}) {
		time.Sleep(time.Millisecond)
	}
	if err != nil || p.Duplicate {
		t.Errorf("when it works again: %+v %v", p, err)
	}
	ack(t, b, lives)
	b.Close()
	cfg.OpenFile = nil
	if b, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if letters, err := b.Dead("jobs", "", 10); err != nil || len(letters) != 1 || string(letters[0].Body) != "dies" {
		t.Fatal(letters, err)
	}
	if s, _ := b.QueueStatus("jobs"); s.Ready != 1 {
		t.Fatalf("%+v", s)
	}
}

// The journal does not grow with what has passed through it, and a message that stays is not lost by that.
func TestTheJournalIsTidied(t *testing.T) {
	dir := t.TempDir()
	queues := map[string]QueueConfig{"jobs": {}, "rests": {}}
	b, err := Open(Config{Dir: dir, SegmentBytes: 16 << 10, Queues: queues})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, "rests", Message{Body: []byte("stays")})
	for range 400 {
		publish(t, b, "jobs", Message{Body: make([]byte, 1000)})
		ack(t, b, receive(t, b, "jobs"))
	}
	for range 100 {
		b.tidy()
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Journal().Bytes; n > 128<<10 {
		t.Errorf("the journal has %d bytes", n)
	}
	b.Close()
	if b, err = Open(Config{Dir: dir, SegmentBytes: 16 << 10, Queues: queues}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if d := receive(t, b, "rests"); string(d.Body) != "stays" {
		t.Errorf("got %q", d.Body)
	}
	if p := publish(t, b, "jobs", Message{}); p.Seq != 401 {
		t.Errorf("number %d was given, want 401", p.Seq)
	}
}

func TestWhatIsRefused(t *testing.T) {
	if _, err := Open(Config{Dir: t.TempDir(), Queues: map[string]QueueConfig{"q": {Durability: Replicated}}}); err == nil {
		t.Error("replicated is not supported, and was taken")
	}
	b := openAt(t, t.TempDir(), map[string]QueueConfig{"q": {Rules: workqueue.Rules{MaxMessages: 1}}})
	for _, c := range []struct {
		queue string
		m     Message
		want  error
	}{
		{"nowhere", Message{}, ErrNoQueue},
		{"q", Message{Body: make([]byte, 2<<20)}, ErrTooLarge},
		{"q", Message{Priority: 10}, ErrInvalid},
		{"q", Message{Delay: -1}, ErrInvalid},
		{"q", Message{ID: string(make([]byte, 1000))}, ErrInvalid},
		{"q", Message{}, nil},
		{"q", Message{}, workqueue.ErrFull},
	} {
		if _, err := tryPublish(b, c.queue, c.m); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.m.Priority, err, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode([]change{{queue: "q", event: workqueue.Event{Kind: workqueue.Put, Seq: 1, Message: &workqueue.Message{ID: "a", History: []workqueue.Attempt{{Reason: "r"}}}}, content: []byte("xyz")}}))
	f.Fuzz(func(t *testing.T, p []byte) {
		changes, err := decode(p)
		if err != nil {
			return
		}
		again, err := decode(encode(changes))
		if err != nil || len(again) != len(changes) {
			t.Fatal(again, err)
		}
	})
}

func FuzzContent(f *testing.F) {
	f.Add(appendContent(nil, []Header{{"a", "b"}}, []byte("body")))
	f.Fuzz(func(t *testing.T, p []byte) { readContent(p) })
}

// slowLog is a journal whose records are kept when the test says so.
type slowLog struct {
	*journal.Journal
	mu   sync.Mutex
	held []journal.Record
	open bool
}

func (l *slowLog) Append(r journal.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		l.held = append(l.held, r)
		return nil
	}
	return l.Journal.Append(r)
}

func (l *slowLog) release(open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.held {
		_ = l.Journal.Append(r) // whoever waits hears of it
	}
	l.held, l.open = nil, open
}

// What was taken of a replicated queue is handed out only once the log has it: a node that leads no more gives nobody anything.
func TestReplicatedDeliveriesWaitForTheLog(t *testing.T) {
	l := &slowLog{open: true}
	b, err := Open(Config{Dir: t.TempDir(), Queues: map[string]QueueConfig{"jobs": {Durability: Relaxed}}, Replicated: true,
		OpenLog: func(replay func(journal.Position, []byte) error) (_ Log, err error) {
			l.Journal, err = journal.Open(journal.Options{Dir: t.TempDir()}, replay)
			return l, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if s, err := b.QueueStatus("jobs"); err != nil || s.Durability != Replicated {
		t.Fatal(s.Durability, err)
	}
	stored := make(chan error, 1)
	if err := b.Publish("jobs", Message{Body: []byte("a")}, func(_ Published, err error) { stored <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.open = false
	l.mu.Unlock()
	handed := make(chan Delivery, 1)
	var gone atomic.Bool
	pull := func() {
		t.Helper()
		if err := b.Pull("jobs", &Pull{Batch: 1, Alive: func() bool { return !gone.Load() }, Deliver: func(d Delivery, _ bool) { handed <- d }}); err != nil {
			t.Fatal(err)
		}
	}
	inFlight := func(want int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for {
			s, err := b.QueueStatus("jobs")
			if err == nil && s.InFlight == want {
				return
			}
			if err != nil || ctx.Err() != nil {
				t.Fatalf("%d are in flight, want %d, %v", s.InFlight, want, err)
			}
		}
	}
	pull()
	inFlight(1)
	select {
	case d := <-handed:
		t.Fatalf("message %d was handed out before the log had it", d.Seq)
	default:
	}
	// Who waits no more when the log has it is given nothing, and that is no attempt.
	gone.Store(true)
	l.release(true)
	inFlight(0)
	gone.Store(false)
	pull()
	if d := <-handed; string(d.Body) != "a" || d.Attempt != 1 {
		t.Errorf("%+v", d)
	}
}

func TestContentBytes(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16383, 16384} {
		m := Message{Body: make([]byte, n), Headers: []Header{{strings.Repeat("n", n), "v"}, {"n", strings.Repeat("v", n)}}}
		if got, want := contentBytes(&m), len(appendContent(nil, m.Headers, m.Body)); got != want {
			t.Errorf("with parts of %d bytes: %d, it is %d", n, got, want)
		}
		c := []change{{queue: "q", event: workqueue.Event{Kind: workqueue.Put, Seq: 1, Message: &workqueue.Message{}}, fresh: &m}}
		data := encodeInto(make([]byte, 5, 100), c)
		if again, err := decode(data); err != nil || !bytes.Equal(again[0].content, appendContent(nil, m.Headers, m.Body)) || again[0].at != c[0].at {
			t.Errorf("with parts of %d bytes: another record: %v", n, err)
		}
	}
}
