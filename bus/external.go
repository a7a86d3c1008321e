package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/kafka"
	"github.com/banyanhq/banyan/topology"
)

// Engines of topics besides the embedded one, which is the empty one.
const (
	engineNATS  = "nats"
	engineKafka = "kafka"
)

// external reports whether another engine has the events.
func (t Topic) external() bool { return t.Engine != "" }

func (t Topic) retain() time.Duration {
	if t.Retain <= 0 {
		return 24 * time.Hour
	}
	return t.Retain
}

// validateExternal says what the engine of a topic does not have.
func (t Topic) validateExternal() error {
	switch {
	case t.Engine != engineNATS && t.Engine != engineKafka:
		return fmt.Errorf("engine %q: expected nats or kafka", t.Engine)
	case t.SchemaFile != "" || t.From != nil:
		return errors.New("schemas and changes of tables take the embedded engine")
	case t.Engine == engineKafka:
		_, err := topology.ParseKafkaURL(t.URL)
		return err
	}
	return nil
}

// embeddedTopics are the topics of the embedded server, sorted.
func (b *Bus) embeddedTopics() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(b.cfg.Topics)) {
		if !b.cfg.Topics[name].external() {
			names = append(names, name)
		}
	}
	return names
}

// log is where a topic's events are.
func (b *Bus) log(ctx context.Context, name string) (topicLog, error) {
	if e := b.external[name]; e != nil {
		return e.open(ctx)
	}
	return b.embedded(name), nil
}

// external is a topic that another engine has. That is called when it is first needed, and again while it can't be reached.
type external struct {
	bus  *Bus
	name string

	mu     sync.Mutex
	log    topicLog // nil: not reached yet
	err    error    // why not
	failed time.Time
	closed bool
}

const (
	// openPatience bounds one try to reach an engine, and openAgain is how long it is not tried again then.
	openPatience = 10 * time.Second
	openAgain    = time.Second
)

func (b *Bus) externals() map[string]*external {
	all := map[string]*external{}
	for name, t := range b.cfg.Topics {
		if t.external() {
			all[name] = &external{bus: b, name: name}
		}
	}
	return all
}

// open returns the log, once its engine was reached.
func (e *external) open(ctx context.Context) (topicLog, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.log != nil:
		return e.log, nil
	case e.closed:
		return nil, fmt.Errorf("%w: the bus is closing", errAway)
	case e.err != nil && time.Since(e.failed) < openAgain:
		return nil, e.err
	}
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	topic := e.bus.cfg.Topics[e.name]
	open := e.bus.openNATS
	if topic.Engine == engineKafka {
		open = e.bus.openKafka
	}
	log, err := open(ctx, e.name, topic)
	if err != nil {
		e.err, e.failed = fmt.Errorf("%w: topic %s: %w", errAway, e.name, err), time.Now()
		return nil, e.err
	}
	e.log, e.err = log, nil
	return log, nil
}

func (e *external) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.log != nil {
		e.log.close()
		e.log = nil
	}
}

// reach tries to reach the engine until it could, or ctx ends; so that the topic is there before anybody needs it, and operators hear
// of what is wrong.
func (e *external) reach(ctx context.Context) {
	for said := ""; ctx.Err() == nil; pause(ctx, openAgain) {
		_, err := e.open(ctx)
		if err == nil {
			return
		}
		if said != err.Error() && ctx.Err() == nil {
			said = err.Error()
			e.bus.cfg.Log.Error("a topic can't be reached; it is tried again", "error", err)
		}
	}
}

// openNATS connects to a topic of other NATS servers: the stream of its name, which is made if it is not there.
func (b *Bus) openNATS(ctx context.Context, name string, t Topic) (topicLog, error) {
	conn, err := nats.Connect(t.URL, nats.Name("banyan topic "+name), nats.MaxReconnects(-1), nats.Timeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	js, err := jetstream.New(conn)
	if err == nil {
		err = findStream(ctx, js, name, t)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	label := func(replicas int) string {
		return fmt.Sprintf("at NATS servers: %d replicas, and what they have on disk before they acknowledge is up to them", replicas)
	}
	return &streamTopic{name: name, conn: conn, js: js, prefix: "topics.", label: label, owned: true}, nil
}

// findStream makes sure that there is a stream which takes a topic's events. One that is there is left as it is.
func findStream(ctx context.Context, js jetstream.JetStream, name string, t Topic) error {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Description: "a topic of Banyan", Subjects: []string{"topics." + name, "topics." + name + ".>"},
			Storage: jetstream.FileStorage, MaxAge: t.retain(), Duplicates: min(topicDedupe, t.retain()), AllowDirect: true})
	}
	if err != nil {
		return fmt.Errorf("looking for the stream %s: %w", name, err)
	}
	cfg := s.CachedInfo().Config
	switch at, err := js.StreamNameBySubject(ctx, "topics."+name); {
	case err != nil && !errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("asking who takes the subject topics.%s: %w", name, err)
	case at != name:
		return fmt.Errorf("the stream %s is there, and does not take the subject topics.%s: add that and topics.%s.> to its subjects", name, name, name)
	case cfg.MaxAge != t.retain():
		return fmt.Errorf("the stream %s keeps events for %s, the file says retain: %s; have one say what the other does", name, topology.Duration(cfg.MaxAge), topology.Duration(t.retain()))
	}
	return nil
}

// openKafka connects to a topic of Kafka.
func (b *Bus) openKafka(ctx context.Context, name string, t Topic) (topicLog, error) {
	u, err := topology.ParseKafkaURL(t.URL)
	if err != nil {
		return nil, err
	}
	if u.Topic = orElse(u.Topic, name); u.PasswordEnv != "" {
		if u.Password = os.Getenv(u.PasswordEnv); u.Password == "" {
			return nil, fmt.Errorf("the password for Kafka: the variable %s is empty", u.PasswordEnv)
		}
	}
	for _, file := range []*string{&u.CA, &u.Cert, &u.Key} {
		if *file != "" && t.Path != nil {
			*file = t.Path(*file)
		}
	}
	topic, err := kafka.Open(ctx, kafka.Config{URL: u, Partitions: t.Partitions, MaxEvent: b.cfg.MaxMessage, Log: b.cfg.Log})
	if err != nil {
		return nil, err
	}
	return &kafkaTopic{name: name, topic: topic, pushed: t.Push, groups: map[string]*kafkaGroup{}}, nil
}

// refuseExternal says that what is asked for takes the embedded engine.
func (b *Bus) refuseExternal(topic, what string) error {
	if t := b.cfg.Topics[topic]; t.external() {
		return fmt.Errorf("%w: the topic %s is served by %s, and %s takes the embedded engine", errBadRequest, topic, strings.ToUpper(t.Engine[:1])+t.Engine[1:], what)
	}
	return nil
}
