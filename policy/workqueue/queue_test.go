package workqueue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// put reserves and puts a message.
func put(t testing.TB, q *Queue, now time.Duration, m Message) uint64 {
	t.Helper()
	m.Size = max(m.Size, 1)
	seq, dup, err := q.Reserve(now, &m, false)
	if err != nil {
		t.Fatal(err)
	}
	if !dup {
		q.Put(now, seq, &m)
	}
	return seq
}

func seqs(taken []Taken) string {
	var out []string
	for _, t := range taken {
		out = append(out, fmt.Sprintf("%d.%d", t.Seq, t.Attempt))
	}
	return strings.Join(out, " ")
}

func take(q *Queue, now time.Duration, most int) string {
	q.Tick(now, nil)
	taken, _ := q.Take(now, most, nil, nil)
	return seqs(taken)
}

func half() float64 { return 0.5 }

func TestPriorityThenAge(t *testing.T) {
	q := New(Rules{}, half)
	put(t, q, 0, Message{})
	put(t, q, 1, Message{Priority: 5})
	put(t, q, 2, Message{Priority: 5})
	if got := take(q, 3, 10); got != "2.1 3.1 1.1" {
		t.Fatal(got)
	}
}

func TestDelayIsNeverEarly(t *testing.T) {
	q := New(Rules{}, half)
	put(t, q, 0, Message{Due: time.Second})
	if got := take(q, time.Second-1, 1); got != "" {
		t.Fatal(got)
	}
	if at, ok := q.Next(); !ok || at != time.Second {
		t.Fatal(at, ok)
	}
	if got := take(q, time.Second, 1); got != "1.1" {
		t.Fatal(got)
	}
}

func TestBackoffAndDeath(t *testing.T) {
	q := New(Rules{MaxDeliver: 3, AckWait: 10 * time.Second, Backoff: Backoff{First: time.Second, Factor: 3, Jitter: 0.5}}, half)
	put(t, q, 0, Message{})
	if _, err := q.Ack(0, 1, 0); !errors.Is(err, ErrSettled) {
		t.Fatal("a message that nobody was given was acknowledged: ", err)
	}
	take(q, 0, 1)
	ev, err := q.Nack(0, 1, 1, -1, "first")
	if err != nil || ev.Due != 750*time.Millisecond {
		t.Fatal(ev, err)
	}
	if got := take(q, time.Second, 1); got != "1.2" {
		t.Fatal(got)
	}
	if _, err := q.Nack(time.Second, 1, 1, 0, "late"); !errors.Is(err, ErrSettled) {
		t.Fatal("a delivery that is over settled the message: ", err)
	}
	// The second one ends by the ack wait.
	events := q.Tick(11*time.Second, nil)
	if len(events) != 1 || events[0].Kind != Failed || events[0].Due != 11*time.Second+2250*time.Millisecond {
		t.Fatal(events)
	}
	if got := take(q, 20*time.Second, 1); got != "1.3" {
		t.Fatal(got)
	}
	if ev, err = q.Nack(20*time.Second, 1, 3, 0, "last"); err != nil || ev.Kind != Died {
		t.Fatal(ev, err)
	}
	m, _ := q.Get(1)
	if !m.Dead || len(m.History) != 3 || m.History[0].Reason != "first" || m.LastReason() != "last" || m.History[1].Ended != 11*time.Second {
		t.Fatalf("%+v", m)
	}
	if got := take(q, time.Hour, 1); got != "" {
		t.Fatal("a dead one was delivered")
	}
}

func TestOrderWithinAKey(t *testing.T) {
	q := New(Rules{Ordered: true, MaxDeliver: 2}, half)
	for i := range 3 {
		put(t, q, time.Duration(i), Message{Key: "a"})
		put(t, q, time.Duration(i), Message{Key: "b"})
	}
	if got := take(q, 10, 10); got != "1.1 2.1" {
		t.Fatal(got)
	}
	q.Nack(10, 1, 1, time.Second, "wait") // a waits for its first one
	q.Ack(10, 2, 1)
	if got := take(q, 10, 10); got != "4.1" {
		t.Fatal(got)
	}
	if got := take(q, 10+time.Second, 10); got != "1.2" {
		t.Fatal(got)
	}
	q.Nack(11+time.Second, 1, 2, 0, "dead now") // and goes on when it is dead
	if got := take(q, 11+time.Second, 10); got != "3.1" {
		t.Fatal(got)
	}
}

func TestDuplicatesWithinTheWindow(t *testing.T) {
	q := New(Rules{Dedupe: time.Minute}, half)
	a := put(t, q, 0, Message{ID: "x"})
	take(q, 0, 1)
	q.Ack(0, a, 1)
	if b := put(t, q, time.Second, Message{ID: "x"}); b != a {
		t.Fatal("a handled message came again within the window")
	}
	if b := put(t, q, time.Minute, Message{ID: "x"}); b == a {
		t.Fatal("the window has no end")
	}
}

func TestBounds(t *testing.T) {
	q := New(Rules{MaxMessages: 2, MaxBytes: 100, Dedupe: time.Minute}, half)
	reserve := func(size int) error {
		_, _, err := q.Reserve(0, &Message{Size: size}, false)
		return err
	}
	if err := reserve(101); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	m := &Message{Size: 60, ID: "x"}
	seq, _, err := q.Reserve(0, m, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := reserve(60); !errors.Is(err, ErrFull) {
		t.Fatal("room that is reserved was given away: ", err)
	}
	q.Cancel(seq, m)
	if again := put(t, q, 0, Message{Size: 60, ID: "x"}); again == seq {
		t.Fatal("a message that was given up is taken for stored")
	}
	put(t, q, 0, Message{Size: 1})
	if err := reserve(1); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if _, _, err := q.Reserve(0, &Message{Size: 1}, true); err != nil {
		t.Fatal("a dead letter was refused: ", err)
	}
}

func TestTimeToLive(t *testing.T) {
	q := New(Rules{TTL: time.Minute, MaxDeliver: 5}, half)
	put(t, q, 0, Message{})
	put(t, q, 0, Message{})
	take(q, 0, 1)
	q.Nack(0, 1, 1, 2*time.Minute, "tried")
	events := q.Tick(time.Minute, nil)
	if len(events) != 2 || q.Stats(0).Expired != 1 || q.Stats(0).Dead != 1 {
		t.Fatalf("%v: one that was tried is dead, one that was not is gone", events)
	}
}

func TestReturnedDoesNotCount(t *testing.T) {
	q := New(Rules{MaxDeliver: 1}, half)
	put(t, q, 0, Message{})
	take(q, 0, 1)
	if _, err := q.Return(1, 1, 1); err != nil {
		t.Fatal(err)
	}
	if got := take(q, 2, 1); got != "1.1" {
		t.Fatal(got)
	}
}

func TestSignature(t *testing.T) {
	for reason, want := range map[string]string{
		`order 17: no card "visa 3"`:                          "order #: no card #",
		"dial tcp 10.0.0.7:5432: connection refused":          "dial tcp #: connection refused",
		"user 3f2504e0-4f89-11d3-9a0c-0305e82c3301 not found": "user # not found",
		"503 Service Unavailable":                             "# Service Unavailable",
		"":                                                    "no reason given",
		"naïve résumé: été":                                   "naïve résumé: été",
		`an open "quote`:                                      `an open "quote`,
		"at 2026-01-02T03:04:05Z it failed":                   "at # it failed",
	} {
		if got := Signature(reason); got != want {
			t.Errorf("%q: %q, want %q", reason, got, want)
		}
	}
}

// model is the queue as one would write it without caring for speed: it looks through all messages each time.
type model struct {
	rules Rules
	all   map[uint64]*modelMessage
	out   map[string]uint64 // the key's message that is out: in flight, or to be tried again
}

type modelMessage struct {
	key            string
	due, deadline  time.Duration
	attempts       int
	inFlight, dead bool
}

// settle does what is due.
func (m *model) settle(now time.Duration) {
	for seq, e := range m.all {
		if e.inFlight && e.deadline <= now {
			m.fail(seq, e, now)
		}
	}
}

func (m *model) fail(seq uint64, e *modelMessage, at time.Duration) {
	e.inFlight = false
	e.due = at
	if e.attempts >= m.rules.MaxDeliver {
		e.dead = true
		m.release(seq, e)
	}
}

func (m *model) release(seq uint64, e *modelMessage) {
	if m.out[e.key] == seq {
		delete(m.out, e.key)
	}
}

// mayTake reports whether the message can be delivered now.
func (m *model) mayTake(seq uint64, now time.Duration) bool {
	e := m.all[seq]
	if e == nil || e.inFlight || e.dead || e.due > now {
		return false
	}
	if !m.rules.Ordered || e.key == "" {
		return true
	}
	if out, ok := m.out[e.key]; ok {
		return out == seq
	}
	for other, o := range m.all {
		if other < seq && o.key == e.key && !o.dead && !o.inFlight && o.due <= now {
			return false
		}
	}
	return true
}

// Random programs against the model; and all that happened, applied to an empty queue, gives the same queue.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		rules := Rules{AckWait: 50, MaxDeliver: 1 + rng.IntN(4), Ordered: seed%2 == 0, DeadElsewhere: seed%3 == 0}
		q, replayed := New(rules, rng.Float64), New(rules, half)
		m := &model{rules: rules.withDefaults(), all: map[uint64]*modelMessage{}, out: map[string]uint64{}}
		var now time.Duration
		var flying []Taken
		log := func(events ...Event) {
			for _, ev := range events {
				if ev.Message != nil {
					c := *ev.Message
					ev.Message = &c
				}
				replayed.Apply(ev)
			}
		}
		for range 400 {
			now += time.Duration(rng.IntN(8))
			m.settle(now)
			log(q.Tick(now, nil)...)
			switch op := rng.IntN(10); {
			case op < 3:
				key := string(rune('a' + rng.IntN(3)))
				due := time.Duration(0)
				if rng.IntN(4) == 0 {
					due = now + time.Duration(rng.IntN(30))
				}
				msg := &Message{Key: key, Size: 1, Due: due}
				seq, _, err := q.Reserve(now, msg, false)
				if err != nil {
					t.Fatal(err)
				}
				m.all[seq] = &modelMessage{key: key, due: max(due, now)}
				log(q.Put(now, seq, msg))
			case op < 7:
				taken, events := q.Take(now, 1+rng.IntN(3), nil, nil)
				log(events...)
				for _, x := range taken {
					if !m.mayTake(x.Seq, now) {
						t.Fatalf("seed %d at %d: message %d can't be taken: %+v", seed, now, x.Seq, m.all[x.Seq])
					}
					e := m.all[x.Seq]
					e.attempts++
					e.inFlight, e.deadline = true, now+rules.AckWait
					if rules.Ordered {
						m.out[e.key] = x.Seq
					}
					if e.attempts != x.Attempt || x.Attempt > m.rules.MaxDeliver {
						t.Fatalf("seed %d: message %d has attempt %d, want %d", seed, x.Seq, x.Attempt, e.attempts)
					}
				}
				flying = append(flying, taken...)
				if len(taken) == 0 {
					for seq := range m.all {
						if m.mayTake(seq, now) {
							t.Fatalf("seed %d at %d: message %d is held back", seed, now, seq)
						}
					}
				}
			case len(flying) > 0:
				i := rng.IntN(len(flying))
				x := flying[i]
				flying = append(flying[:i], flying[i+1:]...)
				e := m.all[x.Seq]
				mine := e != nil && e.inFlight && e.attempts == x.Attempt
				if op == 7 {
					ev, err := q.Nack(now, x.Seq, x.Attempt, 0, "no")
					if (err == nil) != mine {
						t.Fatalf("seed %d: nack of %v: %v, in flight %v", seed, x, err, mine)
					}
					if err == nil {
						log(ev)
						m.fail(x.Seq, e, now)
					}
					break
				}
				ev, err := q.Ack(now, x.Seq, x.Attempt)
				mine = e != nil && !e.dead && e.attempts == x.Attempt
				if (err == nil) != mine {
					t.Fatalf("seed %d: ack of %v: %v, want %v", seed, x, err, mine)
				}
				if err == nil {
					log(ev)
					delete(m.all, x.Seq)
					m.release(x.Seq, e)
				}
			case op == 9 && len(m.all) > 0:
				for seq := range m.all { // compaction may come at any time
					log(q.Keep(now, seq)...)
					break
				}
			}
			replayed.Tick(now, nil)
			a, b := q.Stats(now), replayed.Stats(now)
			a.Counts, b.Counts = Counts{}, Counts{} // a message that is kept counts twice
			if a != b {
				t.Fatalf("seed %d at %d: replayed %+v, lived %+v", seed, now, b, a)
			}
		}
		// What is left is taken in the same order by both.
		for range 200 {
			now += 60
			q.Tick(now, nil)
			replayed.Tick(now, nil)
			a, _ := q.Take(now, 1, nil, nil)
			b, _ := replayed.Take(now, 1, nil, nil)
			if seqs(a) != seqs(b) {
				t.Fatalf("seed %d: lived %v, replayed %v", seed, seqs(a), seqs(b))
			}
		}
	}
}

func BenchmarkPutTakeAck(b *testing.B) {
	q := New(Rules{Dedupe: time.Minute}, half)
	for i := range b.N {
		now := time.Duration(i)
		put(b, q, now, Message{})
		taken, _ := q.Take(now, 1, nil, nil)
		q.Ack(now, taken[0].Seq, taken[0].Attempt)
	}
}
