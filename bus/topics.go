package bus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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
func (b *Bus) makeTopics() error {
	for name, t := range b.cfg.Topics {
		retain := t.Retain
		if retain <= 0 {
			retain = 24 * time.Hour
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: name, Description: "a topic of Banyan", Subjects: []string{"topics." + name, "topics." + name + ".>"}, Retention: jetstream.LimitsPolicy,
			Storage: jetstream.FileStorage, MaxAge: retain, Duplicates: min(topicDedupe, retain), AllowMsgTTL: true, AllowDirect: true,
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
	Name   string        `json:"name"`
	Label  string        `json:"label"`
	Events uint64        `json:"events"`
	Bytes  uint64        `json:"bytes"`
	First  uint64        `json:"first_offset"`
	Last   uint64        `json:"last_offset"`
	Groups []GroupStatus `json:"groups"`
}

// GroupStatus says how far a consumer group is behind.
type GroupStatus struct {
	Name     string `json:"name"`
	Lag      uint64 `json:"lag"`
	InFlight int    `json:"in_flight"`
}

// Topics says what each topic holds, by name.
func (b *Bus) Topics(ctx context.Context) ([]TopicStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	all := []TopicStatus{}
	for name, t := range b.cfg.Topics {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("looking at the topic %s: %w", name, err)
		}
		state := s.CachedInfo().State
		st := TopicStatus{Name: name, Label: b.topicLabel(t), Events: state.Msgs, Bytes: state.Bytes, First: state.FirstSeq, Last: state.LastSeq, Groups: []GroupStatus{}}
		groups := s.ListConsumers(ctx)
		for c := range groups.Info() {
			if c.Config.Durable != "" {
				st.Groups = append(st.Groups, GroupStatus{Name: c.Name, Lag: c.NumPending, InFlight: c.NumAckPending})
			}
		}
		if err := groups.Err(); err != nil {
			return nil, fmt.Errorf("looking at the groups of the topic %s: %w", name, err)
		}
		all = append(all, st)
	}
	slices.SortFunc(all, func(x, y TopicStatus) int { return strings.Compare(x.Name, y.Name) })
	return all, nil
}

// topicLabel says what can be lost: what the server really does, which is one thing for all topics.
func (b *Bus) topicLabel(t Topic) string {
	if b.cfg.syncAlways() {
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
		id = orElse(id, event.Source+" "+event.ID) // what the specification has unique together
	}
	msg := &nats.Msg{Subject: "topics." + name, Data: body, Header: nats.Header{}}
	if key != "" {
		if !validKey(key) {
			return fmt.Errorf("%w: key %q: expected letters, digits and any of - _ = / + : @, parted by dots", errBadRequest, key)
		}
		msg.Subject += "." + key
	}
	for _, h := range headers {
		msg.Header[h.Name] = append(msg.Header[h.Name], h.Value)
	}
	options := []jetstream.PublishOpt{}
	if id != "" {
		options = append(options, jetstream.WithMsgID(id))
	}
	ctx, cancel := context.WithTimeout(r.Context(), topicCall)
	defer cancel()
	ack, err := b.js.PublishMsg(ctx, msg, options...)
	if err != nil {
		return fmt.Errorf("storing the event: %w", err)
	}
	status := http.StatusCreated
	if ack.Duplicate {
		status = http.StatusOK
	}
	reply(w, status, map[string]any{"offset": ack.Sequence, "duplicate": ack.Duplicate})
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
	Offset  uint64            `json:"offset"`
	Time    time.Time         `json:"time"`
	Receipt string            `json:"receipt,omitempty"`
	Attempt uint64            `json:"attempt,omitempty"`
	Key     string            `json:"key,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	messageBody
}

type messageBody struct {
	Body       *string `json:"body,omitempty"`
	BodyBase64 []byte  `json:"body_base64,omitempty"`
}

func describeEvent(m jetstream.Msg, receipt bool) (eventJSON, error) {
	meta, err := m.Metadata()
	if err != nil {
		return eventJSON{}, err
	}
	_, key := splitSubject(m.Subject())
	e := eventJSON{Offset: meta.Sequence.Stream, Time: meta.Timestamp.UTC(), Key: key}
	for name, values := range m.Headers() {
		if e.Headers == nil {
			e.Headers = map[string]string{}
		}
		e.Headers[name] = values[0]
	}
	var body Message
	body.setBody(m.Data())
	e.messageBody = messageBody{body.Body, body.BodyBase64}
	if receipt {
		e.Attempt, e.Receipt = meta.NumDelivered, base64.RawURLEncoding.EncodeToString([]byte(m.Reply()))
	}
	return e, nil
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
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: 2 * time.Minute}
	from := orElse(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("from"))
	switch n, err := strconv.ParseUint(from, 10, 64); {
	case from == "new":
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	case from != "" && err != nil:
		q.fail("from", from, "an offset, or new")
	case from != "":
		if r.Header.Get("Last-Event-ID") != "" {
			n++ // that one it has
		}
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(n, 1)
	case !since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	if q.err != nil {
		return q.err
	}
	if key := r.URL.Query().Get("key"); key != "" {
		if !validKey(key) {
			return fmt.Errorf("%w: key %q", errBadRequest, key)
		}
		cfg.FilterSubjects = []string{"topics." + name + "." + key}
	}
	consumer, err := b.js.OrderedConsumer(r.Context(), name, cfg)
	if err != nil {
		return fmt.Errorf("reading the topic %s: %w", name, err)
	}
	if accepts(r, "text/event-stream") {
		return b.streamEvents(w, r, consumer)
	}
	events, err := fetch(r.Context(), consumer, most, wait, false)
	if err != nil {
		return err
	}
	answer := map[string]any{"events": events}
	if len(events) > 0 {
		answer["next"] = events[len(events)-1].Offset + 1
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

// fetch returns up to most events; it waits for the first one.
func fetch(ctx context.Context, c jetstream.Consumer, most int, wait time.Duration, receipts bool) ([]eventJSON, error) {
	batch, err := c.FetchNoWait(most)
	events := []eventJSON{}
	for rounds := 0; err == nil && rounds < 2; rounds++ {
		for m := range batch.Messages() {
			e, err := describeEvent(m, receipts)
			if err != nil {
				return nil, err
			}
			events = append(events, e)
		}
		if err = batch.Error(); err != nil || len(events) > 0 || wait < time.Second {
			break
		}
		batch, err = c.Fetch(1, jetstream.FetchMaxWait(wait))
	}
	if err != nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, jetstream.ErrNoMessages) && ctx.Err() == nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return events, nil
}

func (b *Bus) streamEvents(w http.ResponseWriter, r *http.Request, c jetstream.Consumer) error {
	messages, err := c.Messages(jetstream.PullMaxMessages(100))
	if err != nil {
		return fmt.Errorf("reading events: %w", err)
	}
	defer messages.Stop()
	out := newEventStream(w)
	for r.Context().Err() == nil && out.err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), 15*time.Second)
		m, err := messages.Next(jetstream.NextContext(ctx))
		cancel()
		switch {
		case err == nil:
			e, err := describeEvent(m, false)
			if err != nil || !out.send("event", strconv.FormatUint(e.Offset, 10), e) {
				return nil
			}
		case errors.Is(err, context.DeadlineExceeded):
			out.alive()
		default:
			return nil
		}
	}
	return nil
}

// group returns the durable consumer of a group, which begins at the first event that the topic still has.
func (b *Bus) group(ctx context.Context, topic, group string, inFlight int) (jetstream.Consumer, error) {
	if !namePattern.MatchString(group) {
		return nil, fmt.Errorf("%w: group %q: expected a name of lower case letters, digits and hyphens", errBadRequest, group)
	}
	c, err := b.js.CreateOrUpdateConsumer(ctx, topic, jetstream.ConsumerConfig{Durable: group, AckPolicy: jetstream.AckExplicitPolicy, AckWait: groupAckWait,
		MaxDeliver: -1, MaxAckPending: inFlight, DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return nil, fmt.Errorf("making the group %s of the topic %s: %w", group, topic, err)
	}
	return c, nil
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
	events, err := fetch(r.Context(), c, most, wait, true)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, map[string]any{"events": events})
	return nil
}

// settleEvent acknowledges an event for its group, or has it come again.
func (b *Bus) settleEvent(w http.ResponseWriter, r *http.Request) error {
	name, err := b.topic(r)
	if err != nil {
		return err
	}
	subject, err := base64.RawURLEncoding.DecodeString(r.PathValue("receipt"))
	if err != nil || !strings.HasPrefix(string(subject), "$JS.ACK."+name+"."+r.PathValue("group")+".") || !validKey(strings.ReplaceAll(string(subject), "$", "")) {
		return fmt.Errorf("%w: not a receipt of this group", errBadRequest)
	}
	q := query{r: r}
	delay := q.duration("delay", 0, 24*time.Hour)
	if q.err != nil {
		return q.err
	}
	var text string
	switch verb := r.PathValue("verb"); verb {
	case "ack":
		text = "+ACK"
	case "nack":
		text = fmt.Sprintf(`-NAK {"delay": %d}`, delay)
	case "extend":
		text = "+WPI"
	default:
		return fmt.Errorf("%w: %q: expected ack, nack or extend", errBadRequest, verb)
	}
	ctx, cancel := context.WithTimeout(r.Context(), topicCall)
	defer cancel()
	if _, err := b.conn.RequestWithContext(ctx, string(subject), []byte(text)); err != nil {
		return fmt.Errorf("settling the event: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
