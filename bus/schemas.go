package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/schema"
)

const (
	// toCheckPrefix is where events of a topic with a schema come by that NATS clients publish.
	toCheckPrefix = "_BUS.CHECK."
	// checkedPrefix is where they are published once they were checked. The streams store them under their own subjects.
	checkedPrefix = "_BUS.TOPIC."
)

// checkedTransform gives events that were checked the subject that their publisher meant.
var checkedTransform = &jetstream.SubjectTransformConfig{Source: checkedPrefix + ">", Destination: "topics.>"}

// topicSubjects are those of a topic's stream.
func topicSubjects(name string) []string {
	return []string{"topics." + name, "topics." + name + ".>", checkedPrefix + name, checkedPrefix + name + ".>"}
}

// topicMaps say where events of a topic go that NATS clients publish: into the stream, or to be checked before.
func (b *Bus) topicMaps(name string) [][2]string {
	to := "topics." + name
	if s, _ := b.schemas.Latest(name); s != nil || b.cfg.Topics[name].From != nil || b.roomFor(name) != nil {
		to = toCheckPrefix + name
	}
	return [][2]string{{"topics." + name, to}, {"topics." + name + ".>", to + ".>"}}
}

// openSchemas reads the schemas that are registered, and registers those of the files.
func (b *Bus) openSchemas() (err error) {
	if b.schemas, err = schema.Open(filepath.Join(b.cfg.Dir, "schemas")); err != nil {
		return err
	}
	b.refused = map[string]*atomic.Uint64{}
	for name, t := range b.cfg.Topics {
		b.refused[name] = &atomic.Uint64{}
		if t.SchemaFile == "" {
			continue
		}
		text, err := os.ReadFile(t.SchemaFile)
		if err != nil {
			return fmt.Errorf("reading the schema of the topic %s: %w", name, err)
		}
		s, err := schema.Parse(text)
		if err != nil {
			return fmt.Errorf("the schema of the topic %s: %s: %w", name, t.SchemaFile, err)
		}
		version, made, err := b.schemas.Register(name, b.levelOf(name), s, time.Now())
		if errors.Is(err, schema.ErrIncompatible) {
			return fmt.Errorf("the schema of the topic %s: %s: %w; change it, or say 'compatibility: none' for this once", name, t.SchemaFile, err)
		}
		if err != nil {
			return fmt.Errorf("the schema of the topic %s: %w", name, err)
		}
		if made {
			b.cfg.Log.Info("a topic has a new schema", "topic", name, "version", version)
		}
	}
	return nil
}

func (b *Bus) levelOf(topic string) schema.Level {
	if l := b.cfg.Topics[topic].Compatibility; l != "" {
		return l
	}
	return schema.Backward
}

// checkEvent refuses an event that does not have the schema of its topic, or that its topic does not take from clients.
func (b *Bus) checkEvent(topic string, headers []broker.Header, body []byte) error {
	if b.cfg.Topics[topic].From != nil {
		b.refused[topic].Add(1)
		return fmt.Errorf("%w (topic %s)", errFed, topic)
	}
	if err := b.roomFor(topic); err != nil {
		return err
	}
	s, version := b.schemas.Latest(topic)
	if s == nil {
		return nil
	}
	data, err := eventData(headers, body)
	if err == nil {
		err = s.Check(data)
	}
	if err != nil {
		b.refused[topic].Add(1)
		return fmt.Errorf("%w (topic %s, version %d)", err, topic, version)
	}
	return nil
}

// eventData is what the schema is about: the data of a structured CloudEvent, otherwise the body.
func eventData(headers []broker.Header, body []byte) ([]byte, error) {
	for _, h := range headers {
		if !strings.EqualFold(h.Name, "content-type") {
			continue
		}
		if kind, _, err := mime.ParseMediaType(h.Value); err != nil || kind != "application/cloudevents+json" {
			continue
		}
		var event struct {
			Data   json.RawMessage `json:"data"`
			Base64 []byte          `json:"data_base64"`
		}
		if err := json.Unmarshal(body, &event); err != nil {
			return nil, fmt.Errorf("%w: a structured CloudEvent: %w", schema.ErrMismatch, err)
		}
		if event.Base64 != nil {
			return event.Base64, nil
		}
		return event.Data, nil
	}
	return body, nil
}

// check has an event of a NATS client stored if it has its topic's schema. The stream answers the client itself.
func (f *natsFront) check(in inbound) {
	rest := strings.TrimPrefix(in.subject, toCheckPrefix)
	topic, _, _ := strings.Cut(rest, ".")
	if err := f.bus.checkEvent(topic, in.headers, in.body); err != nil {
		f.bus.cfg.Log.Debug("an event was refused", "topic", topic, "error", err)
		f.answer(in.reply, server.JSPubAckResponse{Error: apiError(err), PubAck: &server.PubAck{Stream: topic}})
		return
	}
	f.send(checkedPrefix+rest, in.reply, "", in.headers, in.body)
}

// schemaStatus is the status that means an error about schemas; 0 for others.
func schemaStatus(err error) int {
	switch {
	case errors.Is(err, schema.ErrMismatch):
		return http.StatusUnprocessableEntity
	case errors.Is(err, schema.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, schema.ErrIncompatible), errors.Is(err, errSchemaInFile):
		return http.StatusConflict
	case errors.Is(err, schema.ErrNone):
		return http.StatusNotFound
	}
	return 0
}

// errSchemaInFile refuses a schema over HTTP for a topic that has one in the file.
var errSchemaInFile = errors.New("the schema of this topic stands in the file")

func (b *Bus) schemaRoutes() map[string]func(http.ResponseWriter, *http.Request) error {
	return map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /topics/{topic}/schema":                    b.getSchema,
		"PUT /topics/{topic}/schema":                    b.putSchema,
		"POST /topics/{topic}/schema/check":             b.postSchemaCheck,
		"GET /topics/{topic}/schema/versions":           b.getSchemas,
		"GET /topics/{topic}/schema/versions/{version}": b.getSchema,
	}
}

// TopicSchema is a version of a topic's schema as HTTP clients see it.
type TopicSchema struct {
	Topic         string       `json:"topic"`
	Compatibility schema.Level `json:"compatibility"`
	schema.Version
}

func (b *Bus) getSchema(w http.ResponseWriter, r *http.Request) error {
	name, err := b.topic(r)
	if err != nil {
		return err
	}
	n := 0
	if text := r.PathValue("version"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			return fmt.Errorf("%w: %q is not the number of a version", errBadRequest, text)
		}
	}
	v, err := b.schemas.Version(name, n)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, TopicSchema{name, b.levelOf(name), v})
	return nil
}

func (b *Bus) getSchemas(w http.ResponseWriter, r *http.Request) error {
	name, err := b.topic(r)
	if err != nil {
		return err
	}
	all := []TopicSchema{}
	for _, v := range b.schemas.Versions(name) {
		all = append(all, TopicSchema{name, b.levelOf(name), v})
	}
	reply(w, http.StatusOK, all)
	return nil
}

// schemaOf reads a schema that a client sends.
func (b *Bus) schemaOf(w http.ResponseWriter, r *http.Request) (string, *schema.Schema, error) {
	name, err := b.topic(r)
	if err != nil {
		return "", nil, err
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return "", nil, fmt.Errorf("reading the schema: %w", err)
	}
	s, err := schema.Parse(text)
	return name, s, err
}

// putSchema registers a schema. It holds for events that come after the answer.
func (b *Bus) putSchema(w http.ResponseWriter, r *http.Request) error {
	name, s, err := b.schemaOf(w, r)
	if err != nil {
		return err
	}
	if err := b.refuseExternal(name, "a schema, which its clients would not be held to,"); err != nil {
		return err
	}
	if b.cfg.Topics[name].SchemaFile != "" {
		return fmt.Errorf("%w: %s", errSchemaInFile, b.cfg.Topics[name].SchemaFile)
	}
	if b.cfg.Cluster != nil {
		return fmt.Errorf("%w: of several nodes each reads it there, and none registers another", errSchemaInFile)
	}
	n, made, err := b.schemas.Register(name, b.levelOf(name), s, time.Now())
	if err != nil {
		return err
	}
	for _, m := range b.topicMaps(name) {
		if err := b.nats.GlobalAccount().AddMapping(m[0], m[1]); err != nil {
			return fmt.Errorf("having the events of the topic %s checked: %w", name, err)
		}
	}
	v, err := b.schemas.Version(name, n)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	reply(w, status, TopicSchema{name, b.levelOf(name), v})
	return nil
}

// SchemaCheck says whether a schema could be a topic's next one.
type SchemaCheck struct {
	Compatible    bool         `json:"compatible"`
	Compatibility schema.Level `json:"compatibility"`
	Version       int          `json:"version"` // that it was compared with; 0: there is none
	Reasons       []string     `json:"reasons"`
}

func (b *Bus) postSchemaCheck(w http.ResponseWriter, r *http.Request) error {
	name, s, err := b.schemaOf(w, r)
	if err != nil {
		return err
	}
	_, version := b.schemas.Latest(name)
	reasons := b.schemas.Test(name, b.levelOf(name), s)
	if reasons == nil {
		reasons = []string{}
	}
	reply(w, http.StatusOK, SchemaCheck{len(reasons) == 0, b.levelOf(name), version, reasons})
	return nil
}
