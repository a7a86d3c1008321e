// Package audit holds a queue to its promises while somebody keeps killing the process that serves it.
//
// Producers publish numbered messages under keys, each again until it is acknowledged; consumers acknowledge most, refuse
// some, and always refuse the poisonous ones. The auditor writes down what was acknowledged and what was delivered, and says
// afterwards what was lost, came out of order, came again without a reason, or did not become a dead letter exactly once. It uses an
// ordinary NATS client and nothing of the broker's inside.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config of an Auditor.
type Config struct {
	// URL of the server, which stays the same when it starts anew.
	URL string
	// Queue to audit, and its dead letter queue. It is ordered, and has a short ack wait and at least 3 deliveries.
	Queue, Dead string
	// Producers and Consumers at once; each producer has keys of its own.
	Producers, Consumers, KeysEach int
	// PoisonEvery has each so many-th message of a key be refused for ever. 0: none.
	PoisonEvery int
}

// Auditor of one queue. New, Run in a goroutine of the caller, Died after each death, Finish, Report.
type Auditor struct {
	cfg  Config
	conn *nats.Conn
	js   jetstream.JetStream

	batches sync.RWMutex // held for reading while a consumer handles what it got

	mu        sync.Mutex
	keys      map[string]*ledger
	epoch     int
	problems  []string
	published int
	deliver   int
	again     int
	latencies []time.Duration
	died      time.Time // the server, and nothing was acknowledged since; zero: something was
	outages   []time.Duration

	producing context.Context
	stop      context.CancelFunc
}

// ledger of one key.
type ledger struct {
	acked     int // messages 1 to acked were acknowledged to their producer
	seen      int // messages 1 to seen were delivered
	last      int // the one that was delivered last
	lastEpoch int
	final     map[int]bool // acknowledged, and the server said that it knows
}

// message that is published.
type message struct {
	Key    string `json:"key"`
	N      int    `json:"n"`
	Poison bool   `json:"poison,omitempty"`
}

// New connects.
func New(cfg Config) (*Auditor, error) {
	conn, err := nats.Connect(cfg.URL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true), nats.Timeout(time.Second))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	a := &Auditor{cfg: cfg, conn: conn, js: js, keys: map[string]*ledger{}}
	a.producing, a.stop = context.WithCancel(context.Background())
	return a, nil
}

// Run produces and consumes until ctx ends; producers stop with Finish.
func (a *Auditor) Run(ctx context.Context) {
	defer a.conn.Close()
	var group sync.WaitGroup
	for p := range a.cfg.Producers {
		group.Go(func() { a.produce(ctx, p) })
	}
	for range a.cfg.Consumers {
		group.Go(func() { a.consume(ctx) })
	}
	group.Wait()
}

func (a *Auditor) produce(ctx context.Context, p int) {
	for n := 1; ; n++ {
		for k := range a.cfg.KeysEach {
			m := message{Key: fmt.Sprintf("p%d-k%d", p, k), N: n, Poison: a.cfg.PoisonEvery > 0 && n%a.cfg.PoisonEvery == 0}
			if a.producing.Err() != nil || !a.publish(ctx, m) {
				return
			}
		}
	}
}

// publish repeats a message until it is acknowledged.
func (a *Auditor) publish(ctx context.Context, m message) bool {
	body, err := json.Marshal(m)
	if err != nil {
		a.problem("%v", err)
		return false
	}
	msg := nats.NewMsg("queues." + a.cfg.Queue + "." + m.Key)
	msg.Data = body
	msg.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s/%d", m.Key, m.N))
	for ctx.Err() == nil {
		begun := time.Now()
		waiting, cancel := context.WithTimeout(ctx, 2*time.Second)
		ack, err := a.js.PublishMsg(waiting, msg, jetstream.WithRetryAttempts(0))
		cancel()
		if err != nil {
			pause(ctx, 5*time.Millisecond)
			continue
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ledger(m.Key).acked = m.N
		a.published++
		if !a.died.IsZero() && begun.After(a.died) {
			a.outages = append(a.outages, time.Since(a.died))
			a.died = time.Time{}
		}
		if !ack.Duplicate {
			a.latencies = append(a.latencies, time.Since(begun))
		}
		return true
	}
	return false
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (a *Auditor) ledger(key string) *ledger {
	l := a.keys[key]
	if l == nil {
		l = &ledger{final: map[int]bool{}}
		a.keys[key] = l
	}
	return l
}

func (a *Auditor) consume(ctx context.Context) {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, time.Second) // what the dead server was asked, nobody answers
		c, err := a.js.Consumer(asking, a.cfg.Queue, "audit")
		cancel()
		if err != nil {
			pause(ctx, 20*time.Millisecond)
			continue
		}
		for ctx.Err() == nil && a.batch(ctx, c) == nil {
		}
	}
}

// batch handles what one request brings.
func (a *Auditor) batch(ctx context.Context, c jetstream.Consumer) error {
	a.batches.RLock()
	defer a.batches.RUnlock()
	got, err := c.Fetch(8, jetstream.FetchMaxWait(300*time.Millisecond))
	if err != nil {
		return err
	}
	for m := range got.Messages() {
		a.handle(ctx, m)
	}
	return got.Error()
}

// handle settles a delivery, one way or another.
func (a *Auditor) handle(ctx context.Context, msg jetstream.Msg) {
	var m message
	meta, err := msg.Metadata()
	if err = errors.Join(err, json.Unmarshal(msg.Data(), &m)); err != nil {
		a.problem("a delivery that is not what was published: %v", err)
		return
	}
	a.delivered(m)
	switch chance := rand.IntN(20); {
	case m.Poison:
		_ = msg.Nak()
	case chance == 0 && meta.NumDelivered == 1:
		_ = msg.NakWithDelay(5 * time.Millisecond)
	case chance < 10:
		waiting, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if msg.DoubleAck(waiting) == nil {
			a.mu.Lock()
			a.ledger(m.Key).final[m.N] = true
			a.mu.Unlock()
		}
	default:
		_ = msg.Ack()
	}
}

// delivered checks a delivery against the ledger of its key.
func (a *Auditor) delivered(m message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.ledger(m.Key)
	a.deliver++
	switch {
	case l.final[m.N]:
		a.note("%s/%d was delivered after its acknowledgement was confirmed", m.Key, m.N)
	case m.N > l.seen+1:
		a.note("%s/%d was delivered before %s/%d", m.Key, m.N, m.Key, l.seen+1)
	case m.N < l.last && l.lastEpoch == a.epoch:
		a.note("%s/%d was delivered after %s/%d, and nothing had died in between", m.Key, m.N, m.Key, l.last)
	}
	if m.N <= l.seen {
		a.again++
	}
	l.seen, l.last, l.lastEpoch = max(l.seen, m.N), m.N, a.epoch
}

func (a *Auditor) problem(format string, v ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.note(format, v...)
}

// note keeps a problem; a.mu is held.
func (a *Auditor) note(format string, v ...any) {
	if len(a.problems) < 100 {
		a.problems = append(a.problems, fmt.Sprintf(format, v...))
	}
}

// Died is to be called when the server is dead, before it starts anew: from here on deliveries may repeat what was not confirmed.
func (a *Auditor) Died() {
	a.batches.Lock()
	defer a.batches.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.died = time.Now()
}

// Finish ends producing and returns when all that was acknowledged was delivered and settled, or with what is missing.
func (a *Auditor) Finish(ctx context.Context) error {
	a.stop()
	for {
		missing := a.missing()
		empty := false
		if missing == "" {
			asking, cancel := context.WithTimeout(ctx, time.Second)
			s, err := a.js.Stream(asking, a.cfg.Queue)
			cancel()
			empty = err == nil && s.CachedInfo().State.Msgs == 0
		}
		if empty {
			return a.auditDead(ctx)
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("not all was handled: %s", missing)
		}
	}
}

// missing names a message that was acknowledged and never delivered.
func (a *Auditor) missing() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, l := range a.keys {
		if l.seen < l.acked {
			return fmt.Sprintf("%s/%d was acknowledged, and %s/%d is the last that was delivered", key, l.acked, key, l.seen)
		}
	}
	return ""
}

// auditDead reads the dead letters: each poisonous message that was delivered is there once, and nothing else.
func (a *Auditor) auditDead(ctx context.Context) error {
	want, died := map[string]int{}, map[string]string{}
	a.mu.Lock()
	for key, l := range a.keys {
		for n := a.cfg.PoisonEvery; n > 0 && n <= l.seen; n += a.cfg.PoisonEvery {
			want[fmt.Sprintf("%s/%d", key, n)] = 1
		}
	}
	a.mu.Unlock()
	c, err := a.js.Consumer(ctx, a.cfg.Dead, "audit")
	if err != nil {
		return fmt.Errorf("reading the dead letters: %w", err)
	}
	read := map[uint64]bool{} // by number: a dead letter may be delivered again like any message, and is one all the same
	for {
		got, err := c.FetchNoWait(100)
		if err != nil {
			return fmt.Errorf("reading the dead letters: %w", err)
		}
		n := 0
		for msg := range got.Messages() {
			n++
			var m message
			if err := json.Unmarshal(msg.Data(), &m); err != nil {
				a.problem("a dead letter that is not what was published: %v", err)
			}
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("reading the dead letters: %w", err)
			}
			if id := fmt.Sprintf("%s/%d", m.Key, m.N); !read[meta.Sequence.Stream] {
				want[id]--
				died[id] = fmt.Sprintf("after %s attempts, at last: %s", msg.Headers().Get("Dead-Letter-Attempts"), msg.Headers().Get("Dead-Letter-Reason"))
			}
			read[meta.Sequence.Stream] = true
			if err := msg.DoubleAck(ctx); err != nil {
				return fmt.Errorf("reading the dead letters: %w", err)
			}
		}
		if err := got.Error(); err != nil {
			return fmt.Errorf("reading the dead letters: %w", err)
		}
		if n == 0 {
			break
		}
	}
	for id, n := range want {
		switch {
		case n > 0:
			a.problem("%s is poisonous and did not become a dead letter", id)
		case n < 0:
			a.problem("%s became a dead letter %d times too often, %s", id, -n, died[id])
		}
	}
	return nil
}

// Report says what was seen.
type Report struct {
	Published, Delivered, Again int
	// Deaths were kills and stops; Killed of them were kills, and Led those of the node that led.
	Deaths, Killed, Led int
	Latencies           []time.Duration // of publishing
	// Outages are the times from each death to the first acknowledgement of what was published after it.
	Outages  []time.Duration
	Problems []string
	// Of the time that the nodes of a cluster were killed in, Away is that for which one was kept away, and Awaited that in which it was waited
	// until all had all data again.
	Away, Awaited time.Duration
}

// Report of what was seen so far.
func (a *Auditor) Report() Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Report{Published: a.published, Delivered: a.deliver, Again: a.again, Deaths: a.epoch, Latencies: slices.Clone(a.latencies), Outages: slices.Clone(a.outages),
		Problems: slices.Clone(a.problems)}
}
