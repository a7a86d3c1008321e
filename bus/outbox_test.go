package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// changes is a table's stream in memory.
type changes struct {
	mu  sync.Mutex
	all []Change
	bad error
}

func (c *changes) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range n {
		seq := uint64(len(c.all)+1) * 10 // with gaps, as those of tables have
		c.all = append(c.all, Change{Sequence: seq, At: time.Unix(1700000000, 0), Kind: []string{"INSERT", "MODIFY", "REMOVE"}[len(c.all)%3],
			Key: []string{"anna", "not a key"}[len(c.all)%2], Record: fmt.Appendf(nil, `{"n": %d}`, len(c.all)+1)})
	}
}

func (c *changes) read(_ context.Context, behind uint64, limit int) (out []Change, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.all {
		if x.Sequence > behind && len(out) < limit {
			out = append(out, x)
		}
	}
	return out, c.bad
}

func outboxConfig(dir string, c *changes) Config {
	return Config{Dir: dir, Topics: map[string]Topic{"orders": {From: &Outbox{Table: "orders", Changes: c.read}}}}
}

// hasAll waits until a topic has had so many events, and checks that those it still has are the changes in order, each once.
func hasAll(t *testing.T, b *Bus, want uint64) {
	t.Helper()
	ctx := limited(t)
	for {
		s, err := b.js.Stream(ctx, "orders")
		if err != nil {
			t.Fatal(err)
		}
		state := s.CachedInfo().State
		if state.LastSeq < want {
			pause(ctx, 5*time.Millisecond)
			continue
		}
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue // it has expired
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(m.Data); got != fmt.Sprintf(`{"n": %d}`, seq) {
				t.Fatalf("event %d is %s", seq, got)
			}
		}
		return
	}
}

// Whenever a bus ends, between storing an event and hearing of it too, the next one goes on where the topic is.
func TestChangesOfATableAreEventsOnce(t *testing.T) {
	dir, table := t.TempDir(), &changes{}
	total := uint64(0)
	for range 6 {
		b, err := New(outboxConfig(dir, table))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		n := 1 + rand.IntN(150)
		table.add(n)
		total += uint64(n)
		if rand.IntN(2) == 0 {
			hasAll(t, b, total)
		} else {
			hasAll(t, b, total-uint64(rand.IntN(n)))
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	b := start(t, outboxConfig(dir, table))
	hasAll(t, b, total)
	_, js := connect(t, b)
	if _, err := js.Publish(limited(t), "topics.orders", []byte("mine")); err == nil || !strings.Contains(err.Error(), "changes of a table") {
		t.Errorf("a NATS client published: %v", err)
	}
	answer, err := http.Post(b.HTTPURL()+"/topics/orders/events", "text/plain", strings.NewReader("mine"))
	if err != nil || answer.StatusCode != http.StatusConflict {
		t.Errorf("an HTTP client published: %v %v", answer, err)
	}
	s, err := b.js.Stream(limited(t), "orders")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(limited(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"ce-type": "banyan.table.insert", "ce-source": "/tables/orders", "ce-id": "10", "ce-specversion": "1.0"} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if m.Subject != "topics.orders.anna" {
		t.Error(m.Subject)
	}
}

// What a topic retains no more is not stored again.
func TestAnOutboxGoesOnBehindEventsThatAreGone(t *testing.T) {
	dir, table := t.TempDir(), &changes{}
	first := start(t, outboxConfig(dir, table))
	table.add(30)
	hasAll(t, first, 30)
	s, err := first.js.Stream(limited(t), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(limited(t)); err != nil {
		t.Fatal(err)
	}
	// As a bus that starts anew would: nothing is in its memory.
	again := outbox{bus: first, topic: "orders", from: &Outbox{Table: "orders", Changes: table.read}}
	at, err := again.resume(limited(t))
	if err != nil || at != (reached{300, 30}) {
		t.Fatal(at, err)
	}
	table.add(5)
	hasAll(t, first, 35)
}

func TestAnOutboxWhoseTableFails(t *testing.T) {
	table := &changes{bad: errors.New("not now")}
	b := start(t, outboxConfig(t.TempDir(), table))
	table.add(3)
	table.mu.Lock()
	table.bad = nil
	table.mu.Unlock()
	hasAll(t, b, 3)
}
