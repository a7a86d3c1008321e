package bus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/broker"
)

// streamTopic has the events of a topic in a stream of NATS.
type streamTopic struct {
	name   string
	conn   *nats.Conn
	js     jetstream.JetStream
	prefix string // of the subjects to which is published what was checked
	label  func(replicas int) string
	owned  bool // conn is this topic's own
}

// embedded is a topic of the embedded server.
func (b *Bus) embedded(name string) *streamTopic {
	return &streamTopic{name: name, conn: b.conn, js: b.js, prefix: checkedPrefix, label: b.topicLabel}
}

func (t *streamTopic) close() {
	if t.owned {
		t.conn.Close()
	}
}

// publish is part of topicLog.
func (t *streamTopic) publish(ctx context.Context, e newEvent) (stored, error) {
	subject := t.prefix + t.name
	if e.key != "" {
		subject += "." + e.key
	}
	msg := &nats.Msg{Subject: subject, Data: e.body, Header: nats.Header{}}
	for _, h := range e.headers {
		msg.Header[h.Name] = append(msg.Header[h.Name], h.Value)
	}
	options := []jetstream.PublishOpt{}
	if e.id != "" {
		options = append(options, jetstream.WithMsgID(e.id))
	}
	ack, err := t.js.PublishMsg(ctx, msg, options...)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return stored{}, broker.ErrTooLarge
	case err != nil:
		return stored{}, fmt.Errorf("storing the event: %w", err)
	}
	return stored{Offset: ack.Sequence, Duplicate: &ack.Duplicate}, nil
}

// replay is part of topicLog.
func (t *streamTopic) replay(ctx context.Context, from replayFrom) (eventReader, error) {
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: 2 * time.Minute}
	switch {
	case from.isNew:
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	case from.place != "":
		n, err := strconv.ParseUint(from.place, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: from=%.60s: expected an offset, or new", errBadRequest, from.place)
		}
		if from.after {
			n++
		}
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(n, 1)
	case !from.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.since
	}
	if from.key != "" {
		cfg.FilterSubjects = []string{"topics." + t.name + "." + from.key}
	}
	c, err := t.js.OrderedConsumer(ctx, t.name, cfg)
	if err != nil {
		return nil, fmt.Errorf("reading the topic %s: %w", t.name, err)
	}
	return &streamReader{consumer: c}, nil
}

// streamReader is an eventReader and, of a durable consumer, an eventGroup.
type streamReader struct {
	consumer jetstream.Consumer
	receipts bool
}

func (r *streamReader) close()    {}
func (r *streamReader) next() any { return nil }

func (r *streamReader) fetch(ctx context.Context, most int, wait time.Duration) ([]event, error) {
	batch, err := r.consumer.FetchNoWait(most)
	events := []event{}
	for rounds := 0; err == nil && rounds < 2; rounds++ {
		for m := range batch.Messages() {
			e, err := streamEvent(m, r.receipts)
			if err != nil {
				return nil, err
			}
			events = append(events, e)
		}
		if err = batch.Error(); err != nil || len(events) > 0 || wait < time.Second {
			break
		}
		batch, err = r.consumer.Fetch(1, jetstream.FetchMaxWait(wait))
	}
	if err != nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, jetstream.ErrNoMessages) && ctx.Err() == nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return events, nil
}

func (r *streamReader) stream(ctx context.Context, each func(event) bool, idle func()) {
	messages, err := r.consumer.Messages(jetstream.PullMaxMessages(100))
	if err != nil {
		return
	}
	defer messages.Stop()
	for ctx.Err() == nil {
		waiting, cancel := context.WithTimeout(ctx, streamIdle)
		m, err := messages.Next(jetstream.NextContext(waiting))
		cancel()
		switch {
		case err == nil:
			if e, err := streamEvent(m, false); err != nil || !each(e) {
				return
			}
		case errors.Is(err, context.DeadlineExceeded):
			idle()
		default:
			return
		}
	}
}

func (r *streamReader) each(ctx context.Context, most int, f func(event)) error {
	batch, err := r.consumer.Fetch(most, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		if e, err := streamEvent(m, true); err == nil {
			f(e)
		}
	}
	return nil
}

func settleMsg(m jetstream.Msg, s settlement) error {
	switch {
	case s.verb == "ack":
		return m.Ack()
	case s.delay > 0:
		return m.NakWithDelay(s.delay)
	}
	return m.Nak()
}

// streamEvent is a message of a stream as an event.
func streamEvent(m jetstream.Msg, receipt bool) (event, error) {
	meta, err := m.Metadata()
	if err != nil {
		return event{}, err
	}
	_, key := splitSubject(m.Subject())
	place := strconv.FormatUint(meta.Sequence.Stream, 10)
	e := event{offset: meta.Sequence.Stream, place: place, time: meta.Timestamp.UTC(), key: []byte(key), body: m.Data(), id: m.Headers().Get(jetstream.MsgIDHeader),
		attempt: int(meta.NumDelivered)}
	for name, values := range m.Headers() {
		for _, v := range values {
			e.headers = append(e.headers, broker.Header{Name: name, Value: v})
		}
	}
	if receipt {
		e.receipt, e.settle = base64.RawURLEncoding.EncodeToString([]byte(m.Reply())), func(s settlement) error { return settleMsg(m, s) }
	}
	return e, nil
}

// group is part of topicLog: a durable consumer.
func (t *streamTopic) group(ctx context.Context, name string, inFlight int) (eventGroup, error) {
	c, err := t.js.CreateOrUpdateConsumer(ctx, t.name, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: groupAckWait,
		MaxDeliver: -1, MaxAckPending: inFlight, DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return nil, fmt.Errorf("making the group %s of the topic %s: %w", name, t.name, err)
	}
	return &streamReader{consumer: c, receipts: true}, nil
}

// settle is part of topicLog.
func (t *streamTopic) settle(ctx context.Context, group, receipt string, s settlement) error {
	subject, err := base64.RawURLEncoding.DecodeString(receipt)
	if err != nil || !ackSubject(string(subject), t.name, group) {
		return errReceipt
	}
	text := "+ACK"
	switch s.verb {
	case "nack":
		text = fmt.Sprintf(`-NAK {"delay": %d}`, s.delay)
	case "extend":
		text = "+WPI"
	}
	if _, err := t.conn.RequestWithContext(ctx, string(subject), []byte(text)); err != nil {
		return fmt.Errorf("settling the event: %w", err)
	}
	return nil
}

// ackSubject reports whether a subject is where an event of a group is acknowledged: $JS.ACK.STREAM.CONSUMER.…, which servers that have a domain write with
// that and an account between.
func ackSubject(subject, topic, group string) bool {
	rest, ok := strings.CutPrefix(subject, "$JS.ACK.")
	tokens := strings.Split(rest, ".")
	if len(tokens) > 9 {
		tokens = tokens[2:]
	}
	return ok && len(tokens) >= 7 && tokens[0] == topic && tokens[1] == group && validKey(strings.ReplaceAll(subject, "$", ""))
}

// status is part of topicLog.
func (t *streamTopic) status(ctx context.Context) (TopicStatus, error) {
	s, err := t.js.Stream(ctx, t.name)
	if err != nil {
		return TopicStatus{}, fmt.Errorf("looking at the topic %s: %w", t.name, err)
	}
	info := s.CachedInfo()
	st := TopicStatus{Name: t.name, Label: t.label(info.Config.Replicas), Events: info.State.Msgs, Bytes: info.State.Bytes, First: info.State.FirstSeq, Last: info.State.LastSeq, Groups: []GroupStatus{}}
	groups := s.ListConsumers(ctx)
	for c := range groups.Info() {
		if c.Config.Durable != "" {
			st.Groups = append(st.Groups, GroupStatus{Name: c.Name, Lag: c.NumPending, InFlight: c.NumAckPending})
		}
	}
	if err := groups.Err(); err != nil {
		return TopicStatus{}, fmt.Errorf("looking at the groups of the topic %s: %w", t.name, err)
	}
	return st, nil
}
