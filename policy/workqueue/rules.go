package workqueue

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Rules of a queue.
type Rules struct {
	// AckWait is how long a consumer may take before its delivery counts as failed. Default 30s.
	AckWait time.Duration
	// MaxDeliver is how often a message is delivered before it is dead. Default 5.
	MaxDeliver int
	// Backoff is how long a message waits after a failed delivery for which the consumer named no delay.
	Backoff Backoff
	// MaxMessages and MaxBytes bound what the queue holds; a message beyond is refused. Default: no bound.
	MaxMessages int
	MaxBytes    int64
	// TTL after which a message ends that nobody has taken. 0: never.
	TTL time.Duration
	// Dedupe is for how long the id of a message is remembered: another one with the same id is a duplicate. 0: not at all.
	Dedupe time.Duration
	// Ordered keeps the order within each key: one message of a key is in flight at a time. Messages without a key have no
	// order.
	Ordered bool
	// MaxInFlight bounds the deliveries that are not settled. 0: no bound.
	MaxInFlight int
	// DeadElsewhere has dead messages leave the queue, for a dead letter queue to take them. Otherwise they stay, as dead.
	DeadElsewhere bool
}

func (r Rules) withDefaults() Rules {
	if r.AckWait <= 0 {
		r.AckWait = 30 * time.Second
	}
	if r.MaxDeliver <= 0 {
		r.MaxDeliver = 5
	}
	return r
}

// Backoff is a wait that grows with each failure.
type Backoff struct {
	// First wait. 0: none, whatever the others say.
	First time.Duration
	// Max is the longest wait. Default: an hour.
	Max time.Duration
	// Factor by which the wait grows each time. Default 2.
	Factor float64
	// Jitter is the share of the wait that is random: with 0.5 a wait of 10s is one between 5s and 10s, so that messages
	// that failed together don't come back together.
	Jitter float64
}

// After returns the wait after the given number of failures, with a random number of [0, 1).
func (b Backoff) After(failures int, random float64) time.Duration {
	if b.First <= 0 || failures < 1 {
		return 0
	}
	factor, longest := b.Factor, b.Max
	if factor < 1 {
		factor = 2
	}
	if longest <= 0 {
		longest = time.Hour
	}
	wait := math.Min(float64(b.First)*math.Pow(factor, float64(failures-1)), float64(longest))
	return time.Duration(wait * (1 - min(max(b.Jitter, 0), 1)*random))
}

// Errors that say what was not done, and why.
var (
	// ErrFull refuses a message that the bounds have no room for.
	ErrFull = errors.New("the queue is full")
	// ErrSettled answers the settling of a delivery that is not in flight: it was settled before, its time was over, or
	// there never was such a one.
	ErrSettled = errors.New("this delivery is not in flight any more")
	// ErrUnknown answers for a message that the queue does not hold.
	ErrUnknown = errors.New("no such message")
)

// Kind of an Event.
type Kind uint8

const (
	// Put: a message has come.
	Put Kind = iota + 1
	// Delivered: it was given to a consumer, until the event's Due.
	Delivered
	// Extended: the consumer has until Due.
	Extended
	// Returned: the delivery never reached a consumer, and does not count.
	Returned
	// Failed: the delivery failed; the message can be taken again at Due.
	Failed
	// Acked: it was handled, and is gone.
	Acked
	// Died: it was delivered in vain for the last time, or given up by a consumer. It stays, as dead.
	Died
	// Left: it died likewise, and left the queue for a dead letter queue. A decision gives the message with it.
	Left
	// Expired: its time to live is over, and it is gone.
	Expired
	// Removed: a person or a move took it out.
	Removed
	// Kept: the whole state of a message, written anew so that older events are not needed any more.
	Kept
	// Numbered: the next message gets the number Seq, or a higher one.
	Numbered
	// Fired: the schedule that Reason names has come to the instant Due; with 0 it is forgotten.
	Fired
)

var kindNames = [...]string{"", "put", "delivered", "extended", "returned", "failed", "acked", "died", "left", "expired", "removed", "kept", "numbered", "fired"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Event is something that happened to one message. Instants count from any one epoch.
type Event struct {
	Kind Kind
	Seq  uint64
	At   time.Duration
	// Due is the end of the ack wait (Delivered, Extended), or when the message can be taken (Put, Failed).
	Due time.Duration
	// Attempt is the delivery that it is about.
	Attempt int
	// Reason of a failure or a death, or the schedule that Fired.
	Reason string
	// Message that was Put or Kept.
	Message *Message
}

// Attempt is a delivery that did not end with an acknowledgement.
type Attempt struct {
	At     time.Duration // when it was delivered
	Ended  time.Duration // when it failed
	Reason string
}

// Message is what the queue knows of a message.
type Message struct {
	// ID by which duplicates are told. Empty: it has none.
	ID string
	// Key within which order is kept. Empty: none.
	Key string
	// Size of the body and all that is stored with it, in bytes.
	Size int
	// Priority: of those that can be taken, a higher one goes first.
	Priority int
	// Put is when it came, Due from when on it can be taken, Expires when it ends (0: never).
	Put, Due, Expires time.Duration
	// Origin is where a dead letter died, and OriginSeq which one it was there.
	Origin    string
	OriginSeq uint64
	// Attempts so far, and the failed ones of them that are remembered, oldest first.
	Attempts int
	History  []Attempt
	// Dead: it stays, and is not delivered.
	Dead bool
}

const (
	// rememberedAttempts bounds the history of a message; the first and the newest ones are kept.
	rememberedAttempts = 32
	// maxReason bounds what is kept of a reason, in bytes.
	maxReason = 512
)

// remember adds a failed attempt.
func (m *Message) remember(a Attempt) {
	if len(m.History) >= rememberedAttempts {
		m.History = append(m.History[:1], m.History[2:]...)
	}
	m.History = append(m.History, a)
}

// LastReason is why its last attempt failed.
func (m *Message) LastReason() string {
	if len(m.History) == 0 {
		return ""
	}
	return m.History[len(m.History)-1].Reason
}
