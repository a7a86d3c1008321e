package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Outbox has a topic consist of the changes of a table: each is one event, once, in their order. Nobody else can publish to the
// topic.
type Outbox struct {
	// Table that the events name as their source.
	Table string
	// Changes returns up to limit changes behind a sequence number, oldest first; sequence numbers begin behind 0 and only grow. It
	// returns the same changes again, for as long as they are kept.
	Changes func(ctx context.Context, behind uint64, limit int) ([]Change, error)
}

// Change of one item of a table.
type Change struct {
	Sequence uint64
	At       time.Time
	// Kind is INSERT, MODIFY or REMOVE.
	Kind string
	// Key of the item; empty: none that can be told.
	Key string
	// Record is the body of the event, in JSON.
	Record []byte
}

const (
	// headerChange is the sequence number of the change that an event is of.
	headerChange = "Banyan-Change"
	// outboxStream has, for each topic with an outbox, which change was which event, now and then.
	outboxStream  = "BANYAN_OUTBOX"
	outboxSubject = "_BUS.OUTBOX."
	// outboxEvery is how often it is looked for changes, and checkEvery how often it is noted how far it has come.
	outboxEvery = 50 * time.Millisecond
	noteEvery   = time.Second
	// outboxAtOnce bounds the changes that are read at once.
	outboxAtOnce = 100
	// outboxPatience is how long to wait after an error.
	outboxPatience = time.Second
)

// errFed refuses what clients publish to a topic that consists of something else.
var errFed = errors.New("the topic consists of the changes of a table, and takes no other events")

// reached is how far an outbox has come: the change that was stored last, and the offset of its event.
type reached struct {
	Change uint64 `json:"change"`
	Offset uint64 `json:"offset"`
}

// makeOutboxes makes the stream in which it is noted how far the outboxes have come.
func (b *Bus) makeOutboxes(ctx context.Context) error {
	for _, t := range b.cfg.Topics {
		if t.From == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: outboxStream, Description: "how far Banyan's outboxes have come",
			Subjects: []string{outboxSubject + "*"}, MaxMsgsPerSubject: 1, Storage: jetstream.FileStorage, Replicas: b.cfg.Cluster.replicas()})
		if err != nil {
			return fmt.Errorf("making the stream of the outboxes: %w", err)
		}
		return nil
	}
	return nil
}

// outbox is what stores the changes of a table as the events of a topic.
type outbox struct {
	bus   *Bus
	topic string
	from  *Outbox
	at    reached
	noted time.Time
}

// run stores changes until ctx ends. Each event is published on the condition that it comes behind the one that was last
// seen, so that one which was stored without anybody hearing of it is found, and none is stored twice; whoever else may run.
func (o *outbox) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := o.forward(ctx); err != nil && ctx.Err() == nil {
			o.bus.cfg.Log.Warn("the changes of a table don't get into their topic", "topic", o.topic, "table", o.from.Table, "error", err)
			pause(ctx, outboxPatience)
		}
	}
}

// forward stores changes until something is wrong.
func (o *outbox) forward(ctx context.Context) (err error) {
	if o.at, err = o.resume(ctx); err != nil {
		return fmt.Errorf("finding out how far it has come: %w", err)
	}
	for {
		changes, err := o.from.Changes(ctx, o.at.Change, outboxAtOnce)
		if err != nil {
			return fmt.Errorf("reading the changes: %w", err)
		}
		for _, c := range changes {
			if err := o.store(ctx, c); err != nil {
				return fmt.Errorf("storing change %d: %w", c.Sequence, err)
			}
		}
		if len(changes) > 0 && time.Since(o.noted) >= noteEvery {
			if err := o.note(ctx); err != nil {
				return err
			}
		}
		if len(changes) < outboxAtOnce {
			pause(ctx, outboxEvery)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// store stores one change as an event.
func (o *outbox) store(ctx context.Context, c Change) error {
	subject := checkedPrefix + o.topic
	if validKey(c.Key) {
		subject += "." + c.Key
	}
	number := strconv.FormatUint(c.Sequence, 10)
	if err := o.bus.roomFor(o.topic); err != nil {
		return err
	}
	msg := &nats.Msg{Subject: subject, Data: c.Record, Header: nats.Header{
		headerChange: {number}, "content-type": {"application/json"}, "ce-specversion": {"1.0"}, "ce-id": {number}, "ce-source": {"/tables/" + o.from.Table},
		"ce-type": {"banyan.table." + kindOf(c.Kind)}, "ce-time": {c.At.UTC().Format(time.RFC3339Nano)},
	}}
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	ack, err := o.bus.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequence(o.at.Offset), jetstream.WithRetryAttempts(0))
	if err != nil {
		return err
	}
	o.at = reached{c.Sequence, ack.Sequence}
	return nil
}

func kindOf(kind string) string {
	switch kind {
	case "INSERT":
		return "insert"
	case "REMOVE":
		return "remove"
	default:
		return "modify"
	}
}

// resume finds out how far the topic has come. Its newest event says so; where the topic retains none any more, what was noted
// last, and how many events it has had since.
func (o *outbox) resume(ctx context.Context) (reached, error) {
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	stream, err := o.bus.js.Stream(ctx, o.topic)
	if err != nil {
		return reached{}, err
	}
	last := stream.CachedInfo().State.LastSeq
	if last > 0 {
		switch m, err := stream.GetMsg(ctx, last); {
		case err == nil:
			if change, err := strconv.ParseUint(m.Header.Get(headerChange), 10, 64); err == nil {
				return reached{change, last}, nil
			}
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return reached{}, err
		}
	}
	at, ran, err := o.lastNote(ctx)
	if err != nil {
		return reached{}, err
	}
	if !ran {
		at.Offset = last // what the topic holds is of others
	}
	for at.Offset < last {
		changes, err := o.from.Changes(ctx, at.Change, int(min(last-at.Offset, outboxAtOnce)))
		if err != nil {
			return reached{}, err
		}
		if len(changes) == 0 {
			o.bus.cfg.Log.Error("the changes of a table were not kept for long enough: some may be missing in their topic", "topic", o.topic, "table", o.from.Table)
			at.Offset = last
		}
		for _, c := range changes {
			at = reached{c.Sequence, at.Offset + 1}
		}
	}
	o.at = at
	return at, o.note(ctx)
}

// lastNote is what was noted last; ok is false if it has never run.
func (o *outbox) lastNote(ctx context.Context) (at reached, ok bool, err error) {
	stream, err := o.bus.js.Stream(ctx, outboxStream)
	if err != nil {
		return at, false, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, outboxSubject+o.topic)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return at, false, nil
	case err != nil:
		return at, false, err
	}
	return at, true, json.Unmarshal(m.Data, &at)
}

// note keeps how far it has come.
func (o *outbox) note(ctx context.Context) error {
	text, err := json.Marshal(o.at)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, topicCall)
		defer cancel()
		_, err = o.bus.js.Publish(ctx, outboxSubject+o.topic, text)
	}
	if err != nil {
		return fmt.Errorf("noting how far it has come: %w", err)
	}
	o.noted = time.Now()
	return nil
}

// outboxStatus is the status that means an error about outboxes; 0 for others.
func outboxStatus(err error) int {
	if errors.Is(err, errFed) {
		return http.StatusConflict
	}
	return 0
}
