package bus

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// closedToClients are publishes by which a client would go past what the process checks, or into what it keeps for itself.
var closedToClients = []string{
	"_BUS.TOPIC.orders", "_BUS.TOPIC.orders.key", "_BUS.OUTBOX.orders", "_BUS.LOG", "_BUS.SAGAS", "_BUS.INBOX", "_BUS.LEADER",
	"$JS.API.STREAM.DELETE.BANYAN_QUEUES", "$JS.API.STREAM.PURGE.BANYAN_QUEUES", "$JS.API.STREAM.UPDATE.BANYAN_SAGAS", "$JS.API.STREAM.MSG.DELETE.BANYAN_OUTBOX",
	"$JS.API.STREAM.LEADER.STEPDOWN.BANYAN_INBOX", "$JS.API.CONSUMER.CREATE.BANYAN_QUEUES.c.x", "$JS.API.CONSUMER.MSG.NEXT.BANYAN_QUEUES.c", "$JS.API.DIRECT.GET.BANYAN_QUEUES",
	"$JS.ACK.BANYAN_QUEUES.c.1.1.1.1.1", "$JS.API.STREAM.UPDATE.orders", "$JS.API.STREAM.DELETE.orders",
}

// refusedTo are those of the subjects that a client may not publish to.
func refusedTo(t *testing.T, url string, subjects []string, options ...nats.Option) map[string]bool {
	t.Helper()
	conn, err := nats.Connect(url, append(options, nats.Timeout(time.Minute), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	refused := map[string]bool{}
	for _, subject := range subjects {
		if err := conn.Publish(subject, []byte(`{"id": "no number"}`)); err != nil {
			t.Fatal(err)
		}
		if err := conn.FlushTimeout(time.Minute); err != nil { // the server answers in order
			t.Fatal(err)
		}
		err := conn.LastError()
		refused[subject] = errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), strconv.Quote(subject))
	}
	return refused
}

func wantClosed(t *testing.T, url string, options ...nats.Option) {
	t.Helper()
	refused := refusedTo(t, url, closedToClients, options...)
	for _, subject := range closedToClients {
		if !refused[subject] {
			t.Errorf("a client may publish to %s", subject)
		}
	}
}

// Nobody but the process itself publishes to the subjects by which it speaks to itself, whether clients need a token or not, or hears what is
// said there. What those subjects are for that queues and topics are mapped to comes to the same checks.
func TestInternalSubjectsAreClosed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(file, []byte(orderSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "secret"} {
		b := start(t, Config{Token: token, Topics: map[string]Topic{"orders": {SchemaFile: file, Durability: broker.Relaxed}},
			Queues: map[string]Queue{"jobs": queueOf(workqueue.Rules{MaxMessages: 1, Dedupe: time.Minute}, "")}})
		options := []nats.Option{}
		if token != "" {
			if _, err := nats.Connect(b.NATSURL(), nats.Token("wrong")); err == nil {
				t.Error("a client with a wrong token is let in")
			}
			options = append(options, nats.Token(token))
		}
		wantClosed(t, b.NATSURL(), options...)
		conn, err := nats.Connect(b.NATSURL(), append(options, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.AuthRequired() != (token != "") {
			t.Errorf("token %q: clients are told that they need credentials: %v", token, conn.AuthRequired())
		}
		all, err := conn.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		own, err := conn.SubscribeSync("_BUS.>")
		if err != nil {
			t.Fatal(err)
		}
		ctx := limited(t)
		ask := func(subject, body string) string {
			t.Helper()
			m, err := conn.RequestWithContext(ctx, subject, []byte(body))
			if err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
			return string(m.Data)
		}
		if got := ask("topics.orders.k", `{"id": 7}`); !strings.Contains(got, `"seq":1`) {
			t.Errorf("an event with the schema: %s", got)
		}
		for _, subject := range []string{"topics.orders", "_BUS.CHECK.orders"} {
			if got := ask(subject, `{"id": "no number"}`); !strings.Contains(got, "want integer") {
				t.Errorf("%s: an event without the schema: %s", subject, got)
			}
		}
		if got := ask("queues.jobs", "one"); !strings.Contains(got, `"seq":1`) {
			t.Errorf("a message: %s", got)
		}
		if got := ask("queues.jobs", "two"); !strings.Contains(got, "full") {
			t.Errorf("a message more than the queue takes: %s", got)
		}
		if got := ask("_BUS.JS.STREAM.INFO.jobs", ""); !strings.Contains(got, "a queue of Banyan") {
			t.Errorf("what JetStream's requests are mapped to: %s", got)
		}
		for {
			m, err := all.NextMsg(0)
			if err != nil {
				break
			}
			if strings.HasPrefix(m.Subject, "_BUS.") {
				t.Errorf("a client hears %s", m.Subject)
			}
		}
		if m, err := own.NextMsg(0); err == nil {
			t.Errorf("a client hears %s", m.Subject)
		}
		topics, err := b.Topics(ctx)
		if err != nil || topics[0].Events != 1 {
			t.Errorf("%+v %v", topics, err)
		}
	}
}

// Of several nodes each refuses it, with TLS between them as without, and what a client says there changes nothing.
func TestInternalSubjectsOfNodesAreClosed(t *testing.T) {
	t.Parallel() // most of the time is that in which they find each other
	nodes, err := NewNodes(Config{Dir: t.TempDir(), Queues: map[string]Queue{"jobs": {}}, Topics: map[string]Topic{"orders": {}}}, 3)
	if err != nil {
		t.Fatal(err)
	}
	runNodes(t, nodes)
	closedOnNodes(t, nodes)
}

// closedOnNodes holds nodes with the queue jobs and the topic orders to that.
func closedOnNodes(t *testing.T, nodes Nodes) {
	t.Helper()
	for _, b := range nodes {
		wantClosed(t, b.NATSURL())
	}
	for _, b := range nodes {
		if text := asked(t, http.MethodPost, b.HTTPURL()+"/queues/jobs/messages"); !strings.Contains(text, `"seq"`) {
			t.Errorf("a message: %s", text)
		}
		if text := asked(t, http.MethodPost, b.HTTPURL()+"/topics/orders/events"); !strings.Contains(text, `"offset"`) {
			t.Errorf("an event: %s", text)
		}
	}
	topics, err := nodes.Topics(context.Background())
	if err != nil || topics[0].Events != uint64(len(nodes)) {
		t.Errorf("%+v %v", topics, err)
	}
}
