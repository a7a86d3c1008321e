package bus

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const orderSchema = `{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}`

type refusal struct{ Error string }

// A topic's schema is registered over HTTP; from then on whoever publishes is refused what does not have it, and told so.
func TestTopicWithASchema(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Topics: map[string]Topic{"orders": {}, "free": {}}}
	b := start(t, cfg)
	conn, js := connect(t, b)
	ctx := limited(t)
	if _, err := js.Publish(ctx, "topics.orders.k", []byte("anything")); err != nil {
		t.Fatal(err)
	}
	var no refusal
	if status := ask(t, b, "GET", "/topics/orders/schema", "", nil, &no); status != http.StatusNotFound {
		t.Error(status, no)
	}
	var s TopicSchema
	if status := ask(t, b, "PUT", "/topics/orders/schema", orderSchema, nil, &s); status != http.StatusCreated || s.Version.Version != 1 || s.Compatibility != "backward" {
		t.Fatal(status, s)
	}
	if status := ask(t, b, "PUT", "/topics/orders/schema", orderSchema, nil, &s); status != http.StatusOK || s.Version.Version != 1 {
		t.Error(status, s)
	}
	// By NATS: with a key or none, acknowledged by the stream itself, with its headers, and duplicates told.
	for range 2 {
		ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: "topics.orders.eu.7", Data: []byte(`{"id": 7}`), Header: nats.Header{"Colour": {"red"}}}, jetstream.WithMsgID("one"))
		if err != nil || ack.Stream != "orders" || ack.Sequence != 2 {
			t.Fatal(ack, err)
		}
	}
	var api *jetstream.APIError
	if _, err := js.Publish(ctx, "topics.orders", []byte(`{"id": "7"}`)); !errors.As(err, &api) || api.Code != 400 || !strings.Contains(api.Description, "at /id: got string, want integer (topic orders, version 1)") {
		t.Errorf("a wrong event by NATS: %v", err)
	}
	if err := conn.Publish("topics.orders", []byte("nobody asks")); err != nil {
		t.Fatal(err)
	}
	if ack, err := js.Publish(ctx, "topics.free", []byte("anything")); err != nil || ack.Stream != "free" {
		t.Errorf("a topic without a schema: %v", err)
	}
	// Over HTTP: any body, and the data of a structured CloudEvent.
	if status := ask(t, b, "POST", "/topics/orders/events", `{}`, nil, &no); status != http.StatusUnprocessableEntity || !strings.Contains(no.Error, "missing property 'id'") {
		t.Error(status, no)
	}
	structured := map[string]string{"Content-Type": "application/cloudevents+json"}
	event := `{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": `
	if status := ask(t, b, "POST", "/topics/orders/events", event+`{"id": 1.5}}`, structured, &no); status != http.StatusUnprocessableEntity {
		t.Error(status, no)
	}
	if status := ask(t, b, "POST", "/topics/orders/events", event+`{"id": 8}}`, structured, nil); status != http.StatusCreated {
		t.Error(status)
	}
	var events struct{ Events []eventJSON }
	ask(t, b, "GET", "/topics/orders/events", "", nil, &events)
	if len(events.Events) != 3 || events.Events[1].Key != "eu.7" || events.Events[1].Headers["Colour"] != "red" || *events.Events[0].Body != "anything" {
		t.Errorf("%+v", events.Events)
	}
	if name, err := js.StreamNameBySubject(ctx, "topics.orders.x"); name != "orders" {
		t.Errorf("the stream of a topic's subject is %q: %v", name, err)
	}
	// Changes are compared with the version before.
	var check SchemaCheck
	narrower := `{"type": "object", "required": ["id", "sum"], "properties": {"id": {"type": "integer"}}}`
	if ask(t, b, "POST", "/topics/orders/schema/check", narrower, nil, &check); check.Compatible || check.Version != 1 || len(check.Reasons) != 1 {
		t.Errorf("%+v", check)
	}
	if status := ask(t, b, "PUT", "/topics/orders/schema", narrower, nil, &no); status != http.StatusConflict || !strings.Contains(no.Error, `"sum" is required`) {
		t.Error(status, no)
	}
	if status := ask(t, b, "PUT", "/topics/orders/schema", `{"type": 7}`, nil, &no); status != http.StatusBadRequest {
		t.Error(status, no)
	}
	if status := ask(t, b, "PUT", "/topics/orders/schema", `{"type": "object"}`, nil, &s); status != http.StatusCreated || s.Version.Version != 2 {
		t.Error(status, s)
	}
	if _, err := js.Publish(ctx, "topics.orders", []byte(`{"id": "7"}`)); err != nil {
		t.Errorf("the new schema does not hold: %v", err)
	}
	if status := ask(t, b, "GET", "/topics/orders/schema/versions/1", "", nil, &s); status != http.StatusOK || string(s.Schema) != strings.ReplaceAll(orderSchema, " ", "") {
		t.Error(status, s)
	}
	if status := ask(t, b, "GET", "/topics/orders/schema/versions/9", "", nil, &no); status != http.StatusNotFound {
		t.Error(status, no)
	}
	if n := b.refused["orders"].Load(); n != 4 {
		t.Errorf("%d events count as refused", n)
	}
}

func TestSchemaOfTheFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "order.schema.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Dir: filepath.Join(dir, "bus"), Topics: map[string]Topic{"orders": {SchemaFile: file, Compatibility: "full"}}}
	write(orderSchema)
	t.Run("holds", func(t *testing.T) {
		b := start(t, cfg)
		_, js := connect(t, b)
		if _, err := js.Publish(limited(t), "topics.orders", []byte(`{}`)); err == nil {
			t.Error("an event without the schema is stored")
		}
		var no refusal
		if status := ask(t, b, "PUT", "/topics/orders/schema", `{}`, nil, &no); status != http.StatusConflict || !strings.Contains(no.Error, "stands in the file") {
			t.Error(status, no)
		}
	})
	refused := func(cfg Config, want string) {
		t.Helper()
		b, err := New(cfg)
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	write(`{"type": "object"}`)
	refused(cfg, "not compatible with the one before (full, version 1)")
	cfg.Topics["orders"] = Topic{SchemaFile: file, Compatibility: "none"}
	t.Run("may be changed at will", func(t *testing.T) {
		if _, version := start(t, cfg).schemas.Latest("orders"); version != 2 {
			t.Errorf("version %d", version)
		}
	})
	write(`{`)
	refused(cfg, "order.schema.json")
	cfg.Topics["orders"] = Topic{SchemaFile: file + "x"}
	refused(cfg, "no such file")
	cfg.Topics["orders"] = Topic{Compatibility: "perhaps"}
	refused(cfg, "perhaps")
}
