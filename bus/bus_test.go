package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// start runs a bus until the test ends.
func start(t *testing.T, cfg Config) *Bus {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("running: %v", err)
		}
	})
	return b
}

func connect(t *testing.T, b *Bus) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(b.NATSURL(), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

func queueOf(rules workqueue.Rules, dead string) Queue {
	return Queue{QueueConfig: broker.QueueConfig{Rules: rules, DeadLetter: dead}}
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// one fetches a message.
func one(t *testing.T, c jetstream.Consumer) jetstream.Msg {
	t.Helper()
	batch, err := c.Fetch(1, jetstream.FetchMaxWait(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		return m
	}
	t.Fatal("no message: ", batch.Error())
	return nil
}

func TestNATSClientUsesAQueue(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"payments": queueOf(workqueue.Rules{MaxDeliver: 3, Dedupe: time.Minute}, "graves"), "graves": {}}})
	_, js := connect(t, b)
	ctx := limited(t)
	ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: "queues.payments.anna", Data: []byte("one"), Header: nats.Header{"Colour": {"red"}}}, jetstream.WithMsgID("id-1"))
	if err != nil || ack.Stream != "payments" || ack.Sequence != 1 || ack.Duplicate {
		t.Fatal(ack, err)
	}
	if ack, err = js.Publish(ctx, "queues.payments.anna", []byte("one"), jetstream.WithMsgID("id-1")); err != nil || !ack.Duplicate || ack.Sequence != 1 {
		t.Fatal(ack, err)
	}
	s, err := js.Stream(ctx, "payments")
	if err != nil || s.CachedInfo().State.Msgs != 1 || s.CachedInfo().Config.Retention != jetstream.WorkQueuePolicy {
		t.Fatal(s, err)
	}
	c, err := js.CreateOrUpdateConsumer(ctx, "payments", jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for attempt := uint64(1); attempt <= 3; attempt++ {
		m := one(t, c)
		meta, err := m.Metadata()
		if err != nil || meta.NumDelivered != attempt || meta.Stream != "payments" || meta.Consumer != "workers" || m.Subject() != "queues.payments.anna" || string(m.Data()) != "one" || m.Headers().Get("Colour") != "red" {
			t.Fatal(meta, m.Subject(), string(m.Data()), m.Headers(), err)
		}
		if attempt == 2 {
			if err := m.NakWithDelay(50 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	graves, err := js.Consumer(ctx, "graves", "undertaker")
	if err != nil {
		t.Fatal(err)
	}
	m := one(t, graves)
	if string(m.Data()) != "one" || m.Headers().Get("Dead-Letter-Queue") != "payments" || m.Headers().Get("Dead-Letter-Attempts") != "3" || m.Headers().Get("Colour") != "red" {
		t.Fatal(string(m.Data()), m.Headers())
	}
	if err := m.DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}
	// Given up at once, with a reason.
	js.Publish(ctx, "queues.payments", []byte("two"))
	if err := one(t, c).TermWithReason("no such customer"); err != nil {
		t.Fatal(err)
	}
	if m := one(t, graves); m.Headers().Get("Dead-Letter-Reason") != "no such customer" {
		t.Fatal(m.Headers())
	}
	if batch, err := c.FetchNoWait(5); err != nil {
		t.Fatal(err)
	} else if _, more := <-batch.Messages(); more || batch.Error() != nil {
		t.Fatal("there is a message, or an error: ", batch.Error())
	}
}

// The older interface of the same client looks the stream up by its subject.
func TestOlderNATSClient(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"jobs": {}}, Topics: map[string]Topic{"news": {}}})
	conn, _ := connect(t, b)
	js, err := conn.JetStream(nats.MaxWait(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	sub, err := js.PullSubscribe("queues.jobs", "workers")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := js.Publish("queues.jobs", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < 5; {
		batch, err := sub.Fetch(min(3, 5-got), nats.MaxWait(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range batch {
			if string(m.Data) != fmt.Sprint(got) {
				t.Fatalf("got %s, want %d", m.Data, got)
			}
			if err := m.AckSync(); err != nil {
				t.Fatal(err)
			}
			got++
		}
	}
	if name, err := js.StreamNameBySubject("topics.news"); err != nil || name != "news" {
		t.Fatal(name, err)
	}
	// JetStream itself is there as well, for whatever else clients keep in it.
	kv, err := js.CreateKeyValue(&nats.KeyValueConfig{Bucket: "settings"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put("a", []byte("b")); err != nil {
		t.Fatal(err)
	}
}

// A continuous consumer gets what comes, and heartbeats while nothing comes.
func TestContinuousConsumer(t *testing.T) {
	// The client misses a heartbeat after twice the time between two, for which the machine may be too busy.
	for beat := 500 * time.Millisecond; ; beat *= 4 {
		err := consumeThroughSilence(t, beat)
		if err == nil {
			return
		}
		if beat > 10*time.Second {
			t.Fatal(err)
		}
		t.Logf("a heartbeat each %v: %v", beat, err)
	}
}

// consumeThroughSilence returns what the client finds wrong while nothing comes for longer than a request lasts.
func consumeThroughSilence(t *testing.T, beat time.Duration) error {
	t.Helper()
	b := start(t, Config{Queues: map[string]Queue{"jobs": {}}})
	_, js := connect(t, b)
	ctx := limited(t)
	c, err := js.Consumer(ctx, "jobs", "workers")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 100)
	failed := make(chan error, 100)
	run, err := c.Consume(func(m jetstream.Msg) {
		got <- string(m.Data())
		m.Ack()
	}, jetstream.PullExpiry(2*beat), jetstream.PullHeartbeat(beat), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { failed <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Stop()
	for i := range 20 {
		if _, err := js.Publish(ctx, "queues.jobs", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != fmt.Sprint(i) {
			t.Fatal(s)
		}
		if i == 10 {
			select { // over two requests' time there is nothing, and the client must find that all right
			case err := <-failed:
				return err
			case <-time.After(5 * beat):
			}
		}
	}
	return nil
}

func TestWhatNATSClientsAreRefused(t *testing.T) {
	b := start(t, Config{MaxMessage: 1000, Queues: map[string]Queue{"small": queueOf(workqueue.Rules{MaxMessages: 1, AckWait: time.Minute}, "")}})
	conn, js := connect(t, b)
	ctx := limited(t)
	var said *jetstream.APIError
	if _, err := js.Publish(ctx, "queues.nowhere", nil); !errors.As(err, &said) || said.Code != 404 || !strings.Contains(err.Error(), "small") {
		t.Errorf("no such queue: %v", err)
	}
	if _, err := js.Publish(ctx, "queues.small", make([]byte, 2000)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("too large: %v", err)
	}
	for header, value := range map[string]string{"Nats-TTL": "soon", "Banyan-Priority": "high", "Nats-Expected-Last-Sequence": "7", "Nats-Schedule": "@every 1m", "Nats-Expected-Stream": "other"} {
		if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "queues.small", Header: nats.Header{header: {value}}}); !errors.As(err, &said) || !strings.Contains(said.Description, header) {
			t.Errorf("%s %s: %v", header, value, err)
		}
	}
	if _, err := js.Publish(ctx, "queues.small", nil); err != nil {
		t.Error(err)
	}
	if _, err := js.Publish(ctx, "queues.small", nil); !errors.As(err, &said) || said.Code != 503 || !strings.Contains(said.Description, "full") {
		t.Errorf("full: %v", err)
	}
	for what, cfg := range map[string]jetstream.ConsumerConfig{
		"acknowledgement": {AckPolicy: jetstream.AckAllPolicy}, "ack wait": {AckWait: time.Second}, "deliveries": {MaxDeliver: 77},
		"filters": {FilterSubject: "queues.small.vip"}, "back-off": {BackOff: []time.Duration{time.Second}, MaxDeliver: 5},
	} {
		cfg.Durable = "x"
		if _, err := js.CreateOrUpdateConsumer(ctx, "small", cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := js.DeleteStream(ctx, "small"); err == nil {
		t.Error("a queue was deleted")
	}
	// Nonsense hurts nobody.
	for _, subject := range []string{"$JS.ACK.small.x.y", "$JS.ACK.small.x.1.99999.1.1.1", "$JS.API.CONSUMER.MSG.NEXT.small.w", "$JS.API.CONSUMER.CREATE.small.w", apiPrefix + "x", apiPrefix + "CONSUMER.MSG", "queues.small..x"} {
		conn.PublishRequest(subject, nats.NewInbox(), []byte(`{"batch": -1, "expires": "x"`))
	}
	if _, err := js.Stream(ctx, "small"); err != nil {
		t.Errorf("after nonsense: %v", err)
	}
}

// Messages of one key keep their order while those of other keys go on beside them.
func TestOrderWithParallelism(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"jobs": queueOf(workqueue.Rules{Ordered: true}, "")}})
	_, js := connect(t, b)
	ctx := limited(t)
	for i := range 3 {
		for _, key := range []string{"a", "b"} {
			if _, err := js.Publish(ctx, "queues.jobs."+key, fmt.Appendf(nil, "%s%d", key, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, err := js.Consumer(ctx, "jobs", "workers")
	if err != nil {
		t.Fatal(err)
	}
	a0, b0 := one(t, c), one(t, c)
	if string(a0.Data())+string(b0.Data()) != "a0b0" {
		t.Fatal(string(a0.Data()), string(b0.Data()))
	}
	batch, err := c.FetchNoWait(1)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		t.Fatal("a second message of a key is in flight: ", string(m.Data()))
	}
	b0.Ack()
	if m := one(t, c); string(m.Data()) != "b1" {
		t.Fatal(string(m.Data()))
	}
	a0.Nak()
	if m := one(t, c); string(m.Data()) != "a0" {
		t.Fatal(string(m.Data()))
	}
}

func TestTokens(t *testing.T) {
	b := start(t, Config{Token: "secret", Queues: map[string]Queue{"jobs": {}}, Topics: map[string]Topic{"news": {}}})
	if _, err := nats.Connect(b.NATSURL(), nats.Timeout(time.Minute)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a token: %v", err)
	}
	conn, err := nats.Connect(b.NATSURL(), nats.Token("secret"), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, _ := jetstream.New(conn)
	if _, err := js.Publish(limited(t), "queues.jobs", nil); err != nil {
		t.Error(err)
	}
}

// A system starts again with what it had, and with the same number of goroutines to stop.
func TestQueuesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		b, err := New(Config{Dir: dir, Queues: map[string]Queue{"jobs": {}}, Topics: map[string]Topic{"news": {}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		conn, err := nats.Connect(b.NATSURL(), nats.Timeout(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		js, _ := jetstream.New(conn)
		for _, subject := range []string{"queues.jobs", "topics.news"} {
			ack, err := js.Publish(limited(t), subject, nil)
			if err != nil || ack.Sequence != uint64(i+1) {
				t.Fatal(subject, ack, err)
			}
		}
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// A flood of messages that nobody waits for may not be stored, but hurts nobody who does wait.
// Where clients have taken all places of the server, what is published to queues comes by the leaf's connection.
func TestQueuesNeedNoPlaceAmongClients(t *testing.T) {
	b, err := New(Config{Dir: t.TempDir(), MaxClients: 1, Queues: map[string]Queue{"jobs": {}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if w := b.front.wires.Load(); w.published == w.leaf {
		t.Error("there was a place")
	}
	connect(t, b)
	b.front.close()
	eventually(t, func() string { // the server takes a moment to notice
		if n := b.nats.NumClients(); n != ownConnections {
			return fmt.Sprint(n, " connections")
		}
		return ""
	})
	_, js := connect(t, b)
	if b.front, err = openFront(b, b.Broker()); err != nil {
		t.Fatal(err)
	}
	if w := b.front.wires.Load(); w.published != w.leaf {
		t.Error("there was no place")
	}
	if _, err := js.Publish(limited(t), "queues.jobs", nil); err != nil {
		t.Error(err)
	}
}

func TestFlood(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"jobs": queueOf(workqueue.Rules{MaxBytes: 1 << 20}, ""), "other": {}}})
	conn, js := connect(t, b)
	body := make([]byte, 4<<10)
	for range 40000 {
		if err := conn.Publish("queues.jobs", body); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.FlushWithContext(limited(t)); err != nil {
		t.Fatal(err)
	}
	ctx := limited(t)
	for {
		if _, err := js.Publish(ctx, "queues.other", nil); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if s, err := b.Broker().QueueStatus("jobs"); err != nil || s.Stats.Bytes > 1<<20 || s.Refused == 0 {
		t.Fatal(s.Stats, err)
	}
}
