package bus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/kafka"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// kafkaTopic has the events of a topic at Kafka.
type kafkaTopic struct {
	name   string
	topic  *kafka.Topic
	pushed []Push

	mu     sync.Mutex
	groups map[string]*kafkaGroup
}

const (
	// maxGroups bounds the consumer groups of a topic that this process is a member of.
	maxGroups = 100
	// groupIdle is after what time without a request the process leaves a group, so that other members get its partitions.
	groupIdle = 2 * time.Minute
	// headerIdempotency has the id that the publisher gave an event of Kafka.
	headerIdempotency = "idempotency-key"
)

// errManyGroups refuses a group.
var errManyGroups = fmt.Errorf("%w: the topic has %d consumer groups in use already", workqueue.ErrFull, maxGroups)

func (t *kafkaTopic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range t.groups {
		g.idle.Stop()
		g.member.Close()
	}
	t.groups = nil
	t.topic.Close()
}

// publish is part of topicLog. Kafka keeps no ids: the event's goes with it, for the inboxes of those who get it.
func (t *kafkaTopic) publish(ctx context.Context, e newEvent) (stored, error) {
	out := kafka.Event{Headers: e.headers, Body: e.body}
	if e.key != "" {
		out.Key = []byte(e.key)
	}
	if event, is, err := cloudEventOf(e.headers, e.body); e.id != "" && !(is && err == nil && e.id == eventID(event)) {
		out.Headers = append(slices.Clone(e.headers), broker.Header{Name: headerIdempotency, Value: e.id})
	}
	partition, offset, err := t.topic.Publish(ctx, out)
	if err != nil {
		return stored{}, kafkaError(err)
	}
	return stored{Offset: uint64(offset), Partition: &partition}, nil
}

// kafkaError is an error in the terms of this package.
func kafkaError(err error) error {
	switch {
	case errors.Is(err, kafka.ErrTooLarge):
		return fmt.Errorf("%w: %w", broker.ErrTooLarge, err)
	case errors.Is(err, kafka.ErrBusy):
		return fmt.Errorf("%w: %w", workqueue.ErrFull, err)
	case errors.Is(err, kafka.ErrSettled):
		return fmt.Errorf("%w: %w", workqueue.ErrSettled, err)
	case errors.Is(err, kafka.ErrPosition):
		return fmt.Errorf("%w: from: %w", errBadRequest, err)
	}
	return fmt.Errorf("%w: %w", errAway, err)
}

// event is one of Kafka as those see it who read topics.
func (t *kafkaTopic) event(k kafka.Event) event {
	e := event{offset: uint64(k.Offset), partition: &k.Partition, time: k.Time, key: k.Key, body: k.Body, headers: k.Headers}
	for _, h := range k.Headers {
		if h.Name == headerIdempotency {
			e.id = h.Value
		}
	}
	if c, is, err := cloudEventOf(k.Headers, k.Body); e.id == "" && is && err == nil {
		e.id = eventID(c)
	}
	return e
}

// replay is part of topicLog.
func (t *kafkaTopic) replay(ctx context.Context, from replayFrom) (eventReader, error) {
	start := kafka.Start{Since: from.since, New: from.isNew}
	if from.key != "" {
		start.Key = []byte(from.key)
	}
	if from.place != "" {
		at, err := kafka.ParsePosition(from.place)
		if err != nil {
			return nil, kafkaError(err)
		}
		start.At, start.Since = at, time.Time{}
	}
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	r, err := t.topic.Replay(ctx, start)
	if err != nil {
		return nil, kafkaError(err)
	}
	return &kafkaReader{t, r}, nil
}

type kafkaReader struct {
	topic  *kafkaTopic
	reader *kafka.Reader
}

func (r *kafkaReader) close()    { r.reader.Close() }
func (r *kafkaReader) next() any { return r.reader.Position().String() }

func (r *kafkaReader) fetch(ctx context.Context, most int, wait time.Duration) ([]event, error) {
	got, err := r.reader.Fetch(ctx, most, wait)
	if err != nil {
		return nil, kafkaError(err)
	}
	events := []event{}
	for _, k := range got {
		events = append(events, r.topic.event(k))
	}
	return events, nil
}

func (r *kafkaReader) stream(ctx context.Context, each func(event) bool, idle func()) {
	for ctx.Err() == nil {
		waiting, cancel := context.WithTimeout(ctx, streamIdle)
		k, err := r.reader.Next(waiting)
		cancel()
		switch {
		case err == nil:
			e := r.topic.event(k)
			e.place = r.reader.Position().String()
			if !each(e) {
				return
			}
		case errors.Is(err, context.DeadlineExceeded):
			idle()
		default:
			return
		}
	}
}

// kafkaGroup is an eventGroup.
type kafkaGroup struct {
	topic  *kafkaTopic
	name   string
	member *kafka.Group
	idle   *time.Timer // leaves the group; stopped for one that is pushed to
}

// group is part of topicLog. The process becomes a member of the group at Kafka, until nobody asks for its events any more.
func (t *kafkaTopic) group(_ context.Context, name string, _ int) (eventGroup, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.groups == nil {
		return nil, fmt.Errorf("%w: the bus is closing", errAway)
	}
	g := t.groups[name]
	if g == nil {
		if len(t.groups) >= maxGroups {
			return nil, errManyGroups
		}
		member, err := t.topic.Join(name)
		if err != nil {
			return nil, kafkaError(err)
		}
		g = &kafkaGroup{topic: t, name: name, member: member}
		g.idle = time.AfterFunc(groupIdle, func() { t.leave(g) })
		t.groups[name] = g
	}
	g.idle.Reset(groupIdle)
	if slices.ContainsFunc(t.pushed, func(p Push) bool { return p.Name == name }) {
		g.idle.Stop()
	}
	return g, nil
}

func (t *kafkaTopic) leave(g *kafkaGroup) {
	t.mu.Lock()
	mine := t.groups[g.name] == g
	if mine {
		delete(t.groups, g.name)
	}
	t.mu.Unlock()
	if mine {
		g.member.Close()
	}
}

func (g *kafkaGroup) fetch(ctx context.Context, most int, wait time.Duration) ([]event, error) {
	ctx, cancel := context.WithTimeout(ctx, max(wait, 0))
	defer cancel()
	got, err := g.member.Take(ctx, most, groupAckWait)
	if err != nil {
		return nil, kafkaError(err)
	}
	events := []event{}
	for _, d := range got {
		events = append(events, g.event(d))
	}
	return events, nil
}

func (g *kafkaGroup) each(ctx context.Context, most int, f func(event)) error {
	got, err := g.member.Take(ctx, most, groupAckWait)
	if err != nil {
		return kafkaError(err)
	}
	for _, d := range got {
		f(g.event(d))
	}
	return nil
}

func (g *kafkaGroup) event(d kafka.Delivery) event {
	e := g.topic.event(d.Event)
	e.attempt, e.receipt = d.Attempt, kafkaReceipt(d)
	e.settle = func(s settlement) error {
		_, err := g.settle(d.Partition, d.Offset, d.Attempt, s)
		return err
	}
	return e
}

func (g *kafkaGroup) settle(partition int32, offset int64, attempt int, s settlement) (commit *kafka.Commit, err error) {
	switch s.verb {
	case "ack":
		commit, err = g.member.Ack(partition, offset, attempt)
	case "extend":
		err = g.member.Extend(partition, offset, attempt, groupAckWait)
	default:
		err = g.member.Again(partition, offset, attempt, s.delay)
	}
	if err != nil {
		return nil, kafkaError(err)
	}
	return commit, nil
}

func kafkaReceipt(d kafka.Delivery) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d.%d", d.Partition, d.Offset, d.Attempt))
}

// settle is part of topicLog.
func (t *kafkaTopic) settle(ctx context.Context, group, receipt string, s settlement) error {
	text, err := base64.RawURLEncoding.DecodeString(receipt)
	if err != nil {
		return errReceipt
	}
	var partition int32
	var offset int64
	var attempt int
	if n, err := fmt.Sscanf(string(text), "%d.%d.%d", &partition, &offset, &attempt); n != 3 || err != nil {
		return errReceipt
	}
	t.mu.Lock()
	g := t.groups[group]
	if g != nil && g.idle.Stop() {
		g.idle.Reset(groupIdle)
	}
	t.mu.Unlock()
	if g == nil {
		return kafkaError(kafka.ErrSettled)
	}
	commit, err := g.settle(partition, offset, attempt, s)
	if err != nil {
		return err
	}
	if err := commit.Wait(ctx); err != nil {
		return kafkaError(err)
	}
	return nil
}

// status is part of topicLog.
func (t *kafkaTopic) status(ctx context.Context) (TopicStatus, error) {
	s, err := t.topic.Status(ctx)
	if err != nil {
		return TopicStatus{}, kafkaError(err)
	}
	st := TopicStatus{Name: t.name, Label: "at Kafka: on all replicas in sync before it is acknowledged (acks=all); how many those must be says its min.insync.replicas",
		Events: uint64(s.Events()), Groups: []GroupStatus{}}
	for _, p := range slices.Sorted(maps.Keys(s.End)) {
		st.Partitions = append(st.Partitions, PartitionStatus{p, uint64(s.First[p]), uint64(s.End[p])})
	}
	if len(st.Partitions) == 1 && s.End[st.Partitions[0].Partition] > 0 {
		st.First, st.Last = st.Partitions[0].First, st.Partitions[0].End-1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, lag := range s.Lag {
		inFlight := 0
		if g := t.groups[name]; g != nil {
			inFlight = g.member.InFlight()
		}
		// What is under way is not settled, and so not what waits.
		st.Groups = append(st.Groups, GroupStatus{Name: name, Lag: uint64(max(0, lag-int64(inFlight))), InFlight: inFlight})
	}
	return st, nil
}
