// Package inbox remembers, for a while, which messages a consumer has handled, so that one that comes again need not be handled
// again.
//
// It promises: a key that was remembered without an error is on disk, and is known to the consumer until its window is over,
// whatever dies meanwhile. It is bounded: of more keys than MaxKeys the oldest are forgotten before their time, which the
// log says.
//
// An Inbox is safe for concurrent use. One process at a time has a folder; of a journal that several nodes have, the one that opened it last
// writes to it. The journal owns its only goroutine; Close ends it.
package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
)

// Config of an Inbox.
type Config struct {
	// Dir holds the journal.
	Dir string
	// OpenLog opens a journal that is elsewhere. Default: the one in Dir.
	OpenLog func(replay func(journal.Position, []byte) error) (Journal, error)
	// Windows say for how long the keys of a consumer are remembered. A consumer without one has no inbox.
	Windows map[string]time.Duration
	// MaxKeys bounds what is remembered of all consumers together. Default a million, which take some 200 MB.
	MaxKeys int
	// SegmentBytes of the journal. Default 16 MiB.
	SegmentBytes int64
	// Now is the clock. Default: the system's.
	Now func() time.Time
	// OpenFile opens the journal's files. Default: as they are.
	OpenFile func(path string) (journal.File, error)
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

// Journal is where an Inbox keeps keys. Its methods are as those of journal.Journal.
type Journal interface {
	Append(journal.Record) error
	Oldest() (id uint64, newest time.Time, size int64, ok bool)
	Drop(id uint64) error
	Close() error
}

// Inbox of several consumers.
type Inbox struct {
	cfg     Config
	journal Journal
	longest time.Duration // of the windows

	mu      sync.Mutex
	known   map[entry]time.Time
	order   []dated // as they came
	crowded bool
}

// entry is a key of a consumer, as the journal has it.
type entry struct {
	Consumer string `json:"c"`
	Key      string `json:"k"`
}

type dated struct {
	entry
	At time.Time `json:"t"`
}

// Open reads what is remembered.
func Open(cfg Config) (*Inbox, error) {
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 1_000_000
	}
	if cfg.SegmentBytes <= 0 {
		cfg.SegmentBytes = 16 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	in := &Inbox{cfg: cfg, known: map[entry]time.Time{}}
	for _, window := range cfg.Windows {
		in.longest = max(in.longest, window)
	}
	open := cfg.OpenLog
	if open == nil {
		open = func(replay func(journal.Position, []byte) error) (Journal, error) {
			return journal.Open(journal.Options{Dir: cfg.Dir, SegmentBytes: cfg.SegmentBytes, OpenFile: cfg.OpenFile}, replay)
		}
	}
	var err error
	in.journal, err = open(func(_ journal.Position, data []byte) error {
		var d dated
		if err := json.Unmarshal(data, &d); err != nil {
			return fmt.Errorf("decoding a key: %w", err)
		}
		in.add(d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	return in, nil
}

// Has reports whether a consumer has handled a message within its window.
func (in *Inbox) Has(consumer, key string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	at, ok := in.known[entry{consumer, key}]
	return ok && in.cfg.Now().Sub(at) < in.cfg.Windows[consumer]
}

// Keeps reports whether a consumer has an inbox.
func (in *Inbox) Keeps(consumer string) bool { return in.cfg.Windows[consumer] > 0 }

// Remember returns when it is on disk that a consumer has handled a message.
func (in *Inbox) Remember(ctx context.Context, consumer, key string) error {
	d := dated{entry{consumer, key}, in.cfg.Now().UTC()}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := journal.WriteTo(ctx, in.journal.Append, journal.Record{Data: text, Refusable: true}); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	in.mu.Lock()
	in.add(d)
	in.mu.Unlock()
	return in.tidy()
}

// add takes a key into memory, and forgets what is over. in.mu is held, but while the inbox is opened.
func (in *Inbox) add(d dated) {
	in.known[d.entry] = d.At
	in.order = append(in.order, d)
	now, n := in.cfg.Now(), 0
	for n < len(in.order) && (now.Sub(in.order[n].At) >= in.longest || len(in.order)-n > in.cfg.MaxKeys) {
		if len(in.order)-n > in.cfg.MaxKeys && !in.crowded {
			in.crowded = true
			in.cfg.Log.Warn("more messages are handled than the inboxes remember: the oldest are forgotten before their time", "keys", in.cfg.MaxKeys)
		}
		if old := in.order[n]; in.known[old.entry].Equal(old.At) {
			delete(in.known, old.entry)
		}
		n++
	}
	in.order = in.order[n:]
}

// tidy drops segments of the journal whose keys are all over.
func (in *Inbox) tidy() error {
	for {
		id, newest, _, ok := in.journal.Oldest()
		if !ok || in.cfg.Now().Sub(newest) < in.longest {
			return nil
		}
		if err := in.journal.Drop(id); err != nil {
			return fmt.Errorf("inbox: %w", err)
		}
	}
}

// Keys is how many are remembered.
func (in *Inbox) Keys() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.known)
}

// Close writes what is under way.
func (in *Inbox) Close() error { return in.journal.Close() }
