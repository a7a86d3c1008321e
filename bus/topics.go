package bus

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/broker"
)

var errNoTopic = errors.New("no such topic")

const (
	// topicDedupe is for how long the id of an event is remembered.
	topicDedupe = 2 * time.Minute
	// groupAckWait is how long a consumer group may take over an event.
	groupAckWait = 30 * time.Second
	// topicCall bounds one call of the streams.
	topicCall = 10 * time.Second
)

// makeTopics makes the streams of the topics, or brings them up to date. Streams of topics that are gone are left alone.
func (b *Bus) makeTopics(ctx context.Context) error {
	if err := b.makeOutboxes(ctx); err != nil {
		return err
	}
	for _, name := range b.embeddedTopics() {
		retain := b.cfg.Topics[name].retain()
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: name, Description: "a topic of Banyan", Subjects: topicSubjects(name), SubjectTransform: checkedTransform, Retention: jetstream.LimitsPolicy,
			Storage: jetstream.FileStorage, MaxAge: retain, Duplicates: min(topicDedupe, retain), AllowMsgTTL: true, AllowDirect: true,
			Replicas: b.cfg.Cluster.replicas(), MaxMsgSize: b.cfg.Cluster.topicMessage(b.cfg.MaxMessage),
		})
		cancel()
		if err != nil {
			return fmt.Errorf("making the topic %s: %w", name, err)
		}
	}
	return nil
}

// TopicStatus says what a topic holds.
type TopicStatus struct {
	Name string `json:"name"`
	// Engine that has the events: nats or kafka; empty: the embedded one.
	Engine string `json:"engine,omitempty"`
	Label  string `json:"label"`
	Events uint64 `json:"events"`
	// Bytes of the events; 0 where the engine does not say.
	Bytes uint64 `json:"bytes"`
	// First and Last are the offsets of a topic that has not several partitions.
	First  uint64        `json:"first_offset"`
	Last   uint64        `json:"last_offset"`
	Groups []GroupStatus `json:"groups"`
	// Partitions of a topic of Kafka.
	Partitions []PartitionStatus `json:"partitions,omitempty"`
	// Error says why nothing is known of a topic whose engine is out of reach.
	Error string `json:"error,omitempty"`
	// Schema is the version of the schema that events must have. 0: none.
	Schema int `json:"schema_version,omitempty"`
}

// GroupStatus says how far a consumer group is behind.
type GroupStatus struct {
	Name     string `json:"name"`
	Lag      uint64 `json:"lag"`
	InFlight int    `json:"in_flight"`
}

// PartitionStatus says what a partition holds: the offsets from First up to the one before End.
type PartitionStatus struct {
	Partition int32  `json:"partition"`
	First     uint64 `json:"first_offset"`
	End       uint64 `json:"end_offset"`
}

// Topics says what each topic holds, by name.
func (b *Bus) Topics(ctx context.Context) ([]TopicStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	all := []TopicStatus{}
	for name, t := range b.cfg.Topics {
		st, err := b.topicStatus(ctx, name)
		switch {
		case err != nil && t.external():
			st = TopicStatus{Name: name, Error: err.Error(), Groups: []GroupStatus{}} // the others are still of use
		case err != nil:
			return nil, err
		}
		if t.external() {
			st.Engine = t.Engine
		}
		_, st.Schema = b.schemas.Latest(name)
		slices.SortFunc(st.Groups, func(x, y GroupStatus) int { return strings.Compare(x.Name, y.Name) })
		all = append(all, st)
	}
	slices.SortFunc(all, func(x, y TopicStatus) int { return strings.Compare(x.Name, y.Name) })
	return all, nil
}

func (b *Bus) topicStatus(ctx context.Context, name string) (TopicStatus, error) {
	log, err := b.log(ctx, name)
	if err != nil {
		return TopicStatus{}, err
	}
	return log.status(ctx)
}

// topicLabel says what can be lost: what the server really does, which is one thing for all topics.
func (b *Bus) topicLabel(replicas int) string {
	switch {
	case replicas > 1:
		return broker.Replicated.Label()
	case b.cfg.syncAlways():
		return broker.Durable.Label()
	}
	return broker.Relaxed.Label()
}

func (b *Bus) getTopics(w http.ResponseWriter, r *http.Request) error {
	all, err := b.Topics(r.Context())
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, all)
	return nil
}

func (b *Bus) topic(r *http.Request) (string, error) {
	name := r.PathValue("topic")
	if _, ok := b.cfg.Topics[name]; !ok {
		return "", fmt.Errorf("%w: %q", errNoTopic, name)
	}
	return name, nil
}

// postEvent stores an event: a CloudEvent (binary or structured), or any body.
func (b *Bus) postEvent(w http.ResponseWriter, r *http.Request) error {
	name, err := b.topic(r)
	if err != nil {
		return err
	}
	body, err := b.body(w, r)
	if err != nil {
		return err
	}
	headers := keptHeaders(r.Header)
	event, isEvent, err := cloudEventOf(headers, body)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadRequest, err)
	}
	key := r.URL.Query().Get("key")
	id := r.Header.Get("Idempotency-Key")
	if isEvent {
		key = orElse(key, event.PartitionKey)
		id = orElse(id, eventID(event))
	}
	if err := b.checkKey(name, key); err != nil {
		return err
	}
	if err := b.checkEvent(name, headers, body); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), topicCall)
	defer cancel()
	log, err := b.log(ctx, name)
	if err != nil {
		return err
	}
	place, err := log.publish(ctx, newEvent{id: id, key: key, headers: headers, body: body})
	if err != nil {
		if reason := b.roomFor(name); reason != nil {
			return fmt.Errorf("%w: %w", reason, err)
		}
		return err
	}
	status := http.StatusCreated
	if place.Duplicate != nil && *place.Duplicate {
		status = http.StatusOK
	}
	reply(w, status, place)
	return nil
}

// checkKey refuses a key that an event of a topic can't have: Kafka takes any text, streams of NATS what can stand in a subject.
func (b *Bus) checkKey(topic, key string) error {
	switch {
	case key == "" || validKey(key):
	case b.cfg.Topics[topic].Engine != engineKafka:
		return fmt.Errorf("%w: key %.60q: expected letters, digits and any of - _ = / + : @, parted by dots", errBadRequest, key)
	case len(key) > 256 || !utf8.ValidString(key):
		return fmt.Errorf("%w: key %.60q: expected a text of up to 256 bytes", errBadRequest, key)
	}
	return nil
}

// validKey reports whether a key can stand in a subject.
func validKey(key string) bool {
	for part := range strings.SplitSeq(key, ".") {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=/+:@", r))
		}) {
			return false
		}
	}
	return len(key) <= 256
}

// eventJSON is an event as HTTP clients see it.
type eventJSON struct {
	Offset    uint64    `json:"offset"`
	Partition *int32    `json:"partition,omitempty"`
	Time      time.Time `json:"time"`
	Receipt   string    `json:"receipt,omitempty"`
	Attempt   uint64    `json:"attempt,omitempty"`
	Key       string    `json:"key,omitempty"`
	// KeyBase64 is the key where that is not text.
	KeyBase64 []byte            `json:"key_base64,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	messageBody
}

type messageBody struct {
	Body       *string `json:"body,omitempty"`
	BodyBase64 []byte  `json:"body_base64,omitempty"`
}

func describeEvent(e event) eventJSON {
	j := eventJSON{Offset: e.offset, Partition: e.partition, Time: e.time, Receipt: e.receipt}
	if e.receipt != "" {
		j.Attempt = uint64(e.attempt)
	}
	if utf8.Valid(e.key) {
		j.Key = string(e.key)
	} else {
		j.KeyBase64 = e.key
	}
	for _, h := range e.headers {
		if j.Headers == nil {
			j.Headers = map[string]string{}
		}
		if _, twice := j.Headers[h.Name]; !twice {
			j.Headers[h.Name] = h.Value
		}
	}
	var body Message
	body.setBody(e.body)
	j.messageBody = messageBody{body.Body, body.BodyBase64}
	return j
}

func describeEvents(events []event) []eventJSON {
	all := make([]eventJSON, len(events))
	for i, e := range events {
		all[i] = describeEvent(e)
	}
	return all
}

// getEvents replays a topic: from an offset ('from'), from an instant ('since'), or what is new ('from' left out: from the
// beginning; from=new). As server-sent events where the client accepts those, for ever; otherwise one answer.
func (b *Bus) getEvents(w http.ResponseWriter, r *http.Request) error {
	name, err := b.topic(r)
	if err != nil {
		return err
	}
	q := query{r: r}
	most, wait, since := max(q.number("max", 100, maxReceive), 1), q.duration("wait", 0, maxWait), q.instant("since")
	if q.err != nil {
		return q.err
	}
	last := r.Header.Get("Last-Event-ID")
	from := replayFrom{place: orElse(last, r.URL.Query().Get("from")), after: last != "", since: since, key: r.URL.Query().Get("key")}
	if from.place == "new" {
		from.place, from.isNew = "", true
	}
	if err := b.checkKey(name, from.key); err != nil {
		return err
	}
	filter, err := filterOf(r)
	if err != nil {
		return err
	}
	log, err := b.log(r.Context(), name)
	if err != nil {
		return err
	}
	reader, err := log.replay(r.Context(), from)
	if err != nil {
		return err
	}
	defer reader.close()
	if filter != nil {
		reader = &filteredReader{eventReader: reader, filter: filter}
	}
	if accepts(r, "text/event-stream") {
		out := newEventStream(w)
		reader.stream(r.Context(), func(e event) bool { return out.send("event", e.place, describeEvent(e)) }, out.alive)
		return nil
	}
	events, err := reader.fetch(r.Context(), most, wait)
	if err != nil {
		return err
	}
	answer := map[string]any{"events": describeEvents(events)}
	if next := reader.next(); next != nil {
		answer["next"] = next
	} else if len(events) > 0 {
		answer["next"] = events[len(events)-1].offset + 1
	}
	reply(w, http.StatusOK, answer)
	return nil
}

func accepts(r *http.Request, want string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if kind, _, err := mime.ParseMediaType(part); err == nil && kind == want {
			return true
		}
	}
	return false
}

// group returns a consumer group, which begins at the first event that the topic still has.
func (b *Bus) group(ctx context.Context, topic, group string, inFlight int) (eventGroup, error) {
	if !namePattern.MatchString(group) {
		return nil, fmt.Errorf("%w: group %q: expected a name of lower case letters, digits and hyphens", errBadRequest, group)
	}
	log, err := b.log(ctx, topic)
	if err != nil {
		return nil, err
	}
	g, err := log.group(ctx, group, inFlight)
	if filter := b.cfg.Topics[topic].Filters[group]; err == nil && filter != nil {
		return filteredGroup{g, filter}, nil
	}
	return g, err
}

// groupInFlight bounds the events of a group that are not settled, for those who fetch them by HTTP.
const groupInFlight = 1000

// getGroupEvents gives out events to a member of a consumer group; each event goes to one member.
func (b *Bus) getGroupEvents(w http.ResponseWriter, r *http.Request) error {
	name, err := b.topic(r)
	if err != nil {
		return err
	}
	q := query{r: r}
	most, wait := max(q.number("max", 1, maxReceive), 1), q.duration("wait", 0, maxWait)
	if q.err != nil {
		return q.err
	}
	for _, p := range b.cfg.Topics[name].Push {
		if p.Name == r.PathValue("group") {
			return fmt.Errorf("%w: the events of the group %s are pushed to the service", errBadRequest, p.Name)
		}
	}
	c, err := b.group(r.Context(), name, r.PathValue("group"), groupInFlight)
	if err != nil {
		return err
	}
	// Who asks for what the limit has no room for waits as if there was nothing.
	limit, begun := b.limitOf(name, r.PathValue("group")), time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	allowed := limit.await(ctx, most)
	cancel()
	events := []event{}
	if allowed > 0 {
		events, err = c.fetch(r.Context(), allowed, wait-time.Since(begun))
		limit.give(allowed - len(events))
	}
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, map[string]any{"events": describeEvents(events)})
	return nil
}

// settleEvent acknowledges an event for its group, or has it come again.
func (b *Bus) settleEvent(w http.ResponseWriter, r *http.Request) error {
	name, err := b.topic(r)
	if err != nil {
		return err
	}
	q := query{r: r}
	s := settlement{verb: r.PathValue("verb"), delay: q.duration("delay", 0, 24*time.Hour)}
	if q.err != nil {
		return q.err
	}
	if !slices.Contains([]string{"ack", "nack", "extend"}, s.verb) {
		return fmt.Errorf("%w: %q: expected ack, nack or extend", errBadRequest, s.verb)
	}
	ctx, cancel := context.WithTimeout(r.Context(), topicCall)
	defer cancel()
	log, err := b.log(ctx, name)
	if err != nil {
		return err
	}
	if err := log.settle(ctx, r.PathValue("group"), r.PathValue("receipt"), s); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
