package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
)

// topicLog is where the events of one topic are: a stream of the embedded NATS server or of others, or a topic of Kafka.
type topicLog interface {
	// publish returns when the event is stored as safely as the topic has it.
	publish(ctx context.Context, e newEvent) (stored, error)
	// replay reads the topic from a place on, until the reader is closed.
	replay(ctx context.Context, from replayFrom) (eventReader, error)
	// group is a consumer group, which begins at the first event that is there; so many of its events can be under way at once. The log
	// owns it.
	group(ctx context.Context, name string, inFlight int) (eventGroup, error)
	// settle does what is said to an event of a group, by its receipt; it returns when that is kept.
	settle(ctx context.Context, group, receipt string, s settlement) error
	status(ctx context.Context) (TopicStatus, error)
	close()
}

// eventReader reads a topic. It is used by one goroutine at a time.
type eventReader interface {
	// fetch returns up to most events that are there; while there are none it waits for the first.
	fetch(ctx context.Context, most int, wait time.Duration) ([]event, error)
	// stream hands over events as they come, until ctx ends or each says false; and calls idle now and then while none comes.
	stream(ctx context.Context, each func(event) bool, idle func())
	// next is where another reader goes on, as JSON; nil: the events that were read say it.
	next() any
	close()
}

// eventGroup gives out events to the members of a consumer group.
type eventGroup interface {
	// fetch is as that of an eventReader; the events have receipts.
	fetch(ctx context.Context, most int, wait time.Duration) ([]event, error)
	// each hands over up to most events as they come, until ctx ends.
	each(ctx context.Context, most int, f func(event)) error
}

// newEvent is what a client publishes.
type newEvent struct {
	id, key string
	headers []broker.Header
	body    []byte
}

// stored is the place that an event got.
type stored struct {
	Offset    uint64 `json:"offset"`
	Partition *int32 `json:"partition,omitempty"`
	// Duplicate says that it was there already; nil: that is not looked at.
	Duplicate *bool `json:"duplicate,omitempty"`
}

// replayFrom says which events of a topic are read.
type replayFrom struct {
	place string // an offset, or what next of a reader was; empty: the first event that is there
	after bool   // the event at that place was read already
	since time.Time
	isNew bool // what comes from now on
	key   string
}

// event of a topic.
type event struct {
	offset    uint64
	partition *int32 // nil: the topic has none
	place     string // where one goes on who has read it
	time      time.Time
	id        string // that its publisher gave, if any
	key       []byte
	headers   []broker.Header
	body      []byte
	attempt   int
	receipt   string                 // if it is one of a group
	settle    func(settlement) error // does so to one of a group, without waiting until that is kept
}

// settlement is what becomes of an event of a group.
type settlement struct {
	verb  string // ack, nack or extend
	delay time.Duration
}

// errAway says that who has the events of a topic can't be reached.
var errAway = errors.New("the events of the topic are out of reach")

// errReceipt refuses a receipt that is none.
var errReceipt = fmt.Errorf("%w: not a receipt of this group", errBadRequest)

// streamIdle is after what time without an event those who read on are shown that the connection is still there.
const streamIdle = 15 * time.Second
