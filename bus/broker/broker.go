package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// Durability is what an acknowledged message survives.
type Durability string

// The durabilities.
const (
	Durable    Durability = "durable"    // the power going
	Relaxed    Durability = "relaxed"    // the death of the process
	Replicated Durability = "replicated" // the death of a node
)

// Label says what can be lost.
func (d Durability) Label() string {
	switch d {
	case Replicated:
		return "replicated: on the disks of 2 of 3 nodes before it is acknowledged; the loss of one node and its disk loses nothing"
	case Relaxed:
		return fmt.Sprintf("relaxed: written before it is acknowledged, on disk up to %s later; a machine that dies loses that much, a process that dies nothing", SyncEvery)
	default:
		return "durable: on disk before it is acknowledged; the loss of the disk loses it"
	}
}

// SyncEvery is how long messages of relaxed queues, and acknowledgements, may not be on disk.
const SyncEvery = time.Second

// QueueConfig says what a queue is.
type QueueConfig struct {
	Rules workqueue.Rules
	// DeadLetter is the queue that takes dead messages. Empty: they stay.
	DeadLetter string
	// Durability of its messages. Default: durable.
	Durability Durability
	// Schedules by name.
	Schedules map[string]Schedule
	// Limit of the deliveries to all consumers together, and Limits of those to single ones, by the name that a Pull says.
	Limit  workqueue.Limit
	Limits map[string]workqueue.Limit
}

// Config of a Broker.
type Config struct {
	// Dir holds the journal.
	Dir string
	// Queues by name.
	Queues map[string]QueueConfig
	// MaxMessage bounds headers and body of one message. Default 1 MiB.
	MaxMessage int
	// SegmentBytes of the journal. Default 64 MiB.
	SegmentBytes int64
	// Replicated says that OpenLog opens a log that is on several nodes; every queue is replicated then.
	Replicated bool
	// OpenLog opens the log. Default: the journal in Dir.
	OpenLog func(replay func(journal.Position, []byte) error) (Log, error)
	// OpenFile opens the journal's files. Default: as they are.
	OpenFile func(path string) (journal.File, error)
	// Log of what operators should know. Default: none.
	Log *slog.Logger
	// Now is the clock. Default: the system's.
	Now func() time.Time
	// Random gives numbers of [0, 1). Default: the system's.
	Random func() float64
}

// Errors of callers.
var (
	ErrNoQueue  = errors.New("no such queue")
	ErrTooLarge = errors.New("the message is too large")
	ErrInvalid  = errors.New("invalid message")
	ErrClosed   = errors.New("the broker is closed")
)

// Log is where the broker keeps what happens, in order.
type Log interface {
	// Append, Flush, Read, Oldest, Drop, Copy, Stats and Close are as those of journal.Journal.
	Append(journal.Record) error
	Flush(context.Context) error
	Read(journal.Position, []byte) error
	Oldest() (id uint64, newest time.Time, size int64, ok bool)
	Drop(id uint64) error
	Copy(context.Context, func([]byte) error) error
	Stats() journal.Stats
	Close() error
}

// Broker is safe for concurrent use.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	journal Log

	mu       sync.Mutex
	queues   map[string]*queue
	live     map[uint64]int // messages by segment of the journal
	liveSize int64
	redrives map[string]*Redrive
	closed   bool
	tidying  bool
	rooms    [][]byte // of records that were written, for the next ones
	dirty    chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
	failure  error // of the journal, as it was told last; only of the goroutine
}

// queue is a queue with its surroundings.
type queue struct {
	name     string
	cfg      QueueConfig
	declared bool // the configuration has it
	core     *workqueue.Queue
	places   map[uint64]place // of the messages' contents
	pulls    []*Pull
	watched  map[uint64]*Redrive
	trend    workqueue.Trend
	schedule []*schedule
	bucket   *workqueue.Bucket            // of all consumers; nil: no limit
	buckets  map[string]*workqueue.Bucket // of single ones
}

// place of a message's content in the journal.
type place struct {
	at   journal.Position
	size int
}

// Open reads the journal and starts.
func Open(cfg Config) (*Broker, error) {
	b, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	open := b.cfg.OpenLog
	if open == nil {
		open = func(replay func(journal.Position, []byte) error) (Log, error) {
			return journal.Open(journal.Options{Dir: cfg.Dir, SegmentBytes: b.cfg.SegmentBytes, SyncEvery: SyncEvery, OpenFile: cfg.OpenFile}, replay)
		}
	}
	if b.journal, err = open(b.replay); err != nil {
		return nil, err
	}
	if err := b.beginSchedules(); err != nil {
		return nil, errors.Join(err, b.journal.Close())
	}
	go b.run()
	b.signal()
	return b, nil
}

// Elsewhere is a Broker for a node whose queues another node serves: it knows which there are, holds nothing, and is closed.
func Elsewhere(cfg Config) (*Broker, error) {
	b, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	b.journal, b.closed = elsewhere{}, true
	close(b.stop)
	close(b.stopped)
	return b, nil
}

// prepare makes the queues that are declared, empty.
func prepare(cfg Config) (*Broker, error) {
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = 1 << 20
	}
	if cfg.SegmentBytes <= 0 {
		cfg.SegmentBytes = 64 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	b := &Broker{cfg: cfg, log: cfg.Log, queues: map[string]*queue{}, live: map[uint64]int{}, redrives: map[string]*Redrive{},
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	for name, c := range cfg.Queues {
		if err := b.declare(name, c); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *Broker) declare(name string, c QueueConfig) error {
	switch {
	case b.cfg.Replicated:
		c.Durability = Replicated // whatever it asks for, this is what it gets
	case c.Durability == "":
		c.Durability = Durable
	case c.Durability == Replicated:
		return fmt.Errorf("queue %s: durability replicated takes several nodes; durable is what one can do", name)
	case c.Durability != Durable && c.Durability != Relaxed:
		return fmt.Errorf("queue %s: durability %q: expected durable, relaxed or replicated", name, c.Durability)
	}
	if d := c.DeadLetter; d != "" {
		if _, ok := b.cfg.Queues[d]; !ok || d == name {
			return fmt.Errorf("queue %s: its dead letter queue %q is not another queue", name, d)
		}
	}
	c.Rules.DeadElsewhere = c.DeadLetter != ""
	q := b.add(name, c)
	q.declared = true
	return b.addSchedules(q)
}

func (b *Broker) add(name string, c QueueConfig) *queue {
	q := &queue{name: name, cfg: c, core: workqueue.New(c.Rules, b.cfg.Random), places: map[uint64]place{}, watched: map[uint64]*Redrive{},
		bucket: workqueue.NewBucket(c.Limit), buckets: map[string]*workqueue.Bucket{}}
	for consumer, limit := range c.Limits {
		q.buckets[consumer] = workqueue.NewBucket(limit)
	}
	b.queues[name] = q
	return q
}

// replay applies a record of the journal.
func (b *Broker) replay(at journal.Position, data []byte) error {
	changes, err := decode(data)
	if err != nil {
		return err
	}
	for _, c := range changes {
		q := b.queues[c.queue]
		if q == nil {
			q = b.add(c.queue, QueueConfig{Durability: Durable}) // no longer declared, but what it holds is not lost
		}
		q.core.Apply(c.event)
		if c.event.Message != nil {
			b.setPlace(q, c.event.Seq, place{journal.Position{Segment: at.Segment, Offset: at.Offset + int64(c.at)}, len(c.content)})
		} else {
			b.prune(q, c.event)
		}
	}
	return nil
}

func (b *Broker) setPlace(q *queue, seq uint64, p place) {
	b.dropPlace(q, seq)
	q.places[seq] = p
	b.live[p.at.Segment]++
	b.liveSize += int64(p.size)
}

func (b *Broker) dropPlace(q *queue, seq uint64) {
	old, ok := q.places[seq]
	if !ok {
		return
	}
	delete(q.places, seq)
	b.live[old.at.Segment]--
	b.liveSize -= int64(old.size)
}

// prune forgets where a message stands that is gone.
func (b *Broker) prune(q *queue, ev workqueue.Event) {
	switch ev.Kind {
	case workqueue.Acked, workqueue.Left, workqueue.Expired, workqueue.Removed:
		b.dropPlace(q, ev.Seq)
	}
}

// Close stops delivering, writes everything, and closes the journal.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		<-b.stopped
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	close(b.stop)
	<-b.stopped
	return b.journal.Close()
}

// Closed reports whether it was closed.
func (b *Broker) Closed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// signal has the goroutine look.
func (b *Broker) signal() {
	select {
	case b.dirty <- struct{}{}:
	default:
	}
}

func (b *Broker) now() time.Duration { return time.Duration(b.cfg.Now().UnixNano()) }

// find returns a queue that the configuration has. b.mu is held.
func (b *Broker) find(name string) (*queue, error) {
	if b.closed {
		return nil, ErrClosed
	}
	q := b.queues[name]
	if q == nil {
		return nil, fmt.Errorf("%w: %q; there are %s", ErrNoQueue, name, strings.Join(b.names(), ", "))
	}
	return q, nil
}

func (b *Broker) names() (names []string) {
	for name := range b.queues {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Has reports whether there is a queue of the name.
func (b *Broker) Has(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queues[name] != nil
}

// Status of a queue.
type Status struct {
	Name       string     `json:"name"`
	Durability Durability `json:"durability"`
	Label      string     `json:"label"`
	DeadLetter string     `json:"dead_letter,omitempty"`
	// Declared is false for a queue that the configuration no longer has, and that still holds messages.
	Declared bool   `json:"declared"`
	Pulls    int    `json:"waiting_consumers"`
	NextSeq  uint64 `json:"next_seq"`
	workqueue.Stats
	// Outlook says where the queue is going; nil while too little was seen of it.
	Outlook   *workqueue.Outlook `json:"outlook,omitempty"`
	Schedules []ScheduleStatus   `json:"schedules,omitempty"`
	Rules     workqueue.Rules    `json:"-"`
}

// Status of all queues, by name.
func (b *Broker) Status() []Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	all := make([]Status, 0, len(b.queues))
	for _, q := range b.queues {
		all = append(all, b.statusOf(q, now))
	}
	slices.SortFunc(all, func(x, y Status) int { return cmp.Compare(x.Name, y.Name) })
	return all
}

// QueueStatus of one queue.
func (b *Broker) QueueStatus(name string) (Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.find(name)
	if err != nil {
		return Status{}, err
	}
	return b.statusOf(q, b.now()), nil
}

func (b *Broker) statusOf(q *queue, now time.Duration) Status {
	s := Status{Name: q.name, Durability: q.cfg.Durability, Label: q.cfg.Durability.Label(), DeadLetter: q.cfg.DeadLetter,
		Declared: q.declared, Pulls: len(q.pulls), NextSeq: q.core.NextSeq(), Stats: q.core.Stats(now), Rules: q.core.Rules()}
	if o, ok := q.trend.Outlook(); ok {
		s.Outlook = &o
	}
	for _, sc := range q.schedule {
		s.Schedules = append(s.Schedules, sc.status())
	}
	return s
}

// Journal says how the journal does.
func (b *Broker) Journal() journal.Stats { return b.journal.Stats() }

// Flush returns when all that happened before is on disk.
func (b *Broker) Flush(ctx context.Context) error { return b.journal.Flush(ctx) }

// write has the journal keep changes that can't be refused. b.mu is held, so that the journal has them in their order.
// Done hears when they are kept, unless an error is returned at once.
func (b *Broker) write(durable bool, done func(error), changes ...change) error {
	r := journal.Record{Data: encode(changes), Durable: durable}
	if done != nil {
		r.Done = func(_ journal.Position, err error) { done(err) }
	}
	err := b.journal.Append(r)
	if err != nil {
		b.log.Error("the journal of the queues takes nothing any more", "error", err)
	}
	return err
}
