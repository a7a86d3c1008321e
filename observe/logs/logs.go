package logs

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/observe/segment"
)

// Config of Logs.
type Config struct {
	// Dir is where the lines are kept. Required.
	Dir string
	// ReadOnly opens what another process has left.
	ReadOnly bool
	// Retain is how long lines are kept. Default 7 days; negative: for ever.
	Retain time.Duration
	// MaxBytes on disk. Default 10 GiB; negative: no bound.
	MaxBytes int64
	// MaxLine is how many bytes of a line are kept. Default 256 KiB, at most 2 MiB.
	MaxLine int
	// Rate is how many lines a source may write in a second, over ten seconds. Default 20000; negative: no bound.
	Rate int
	// Redact is taken out of lines before they are stored.
	Redact []Redaction
	// FS, HeadBytes and Now are those of the segment store.
	FS        vfs.FS
	HeadBytes int
	Now       func() time.Time
	// Log of what goes wrong. Default: none.
	Log *slog.Logger
}

const (
	defaultRetain   = 7 * 24 * time.Hour
	defaultMaxBytes = 10 << 30
	defaultMaxLine  = 256 << 10
	defaultRate     = 20000
	queueBytes      = 8 << 20 // of lines that wait to be stored
)

// Logs is a store of lines.
type Logs struct {
	cfg       Config
	store     *segment.Store
	redactors []redactor
	counters  counters
	failing   bool // the last batch could not be stored; of the goroutine that stores, as is parser
	parser    Parser

	mu     sync.Mutex
	queue  []queued
	queued int // bytes
	wake   chan struct{}
}

// counters of what happened to lines.
type counters struct {
	lines, bytes                                                atomic.Int64
	cut, redacted, overRate, overQueue, failed, refused, badReq atomic.Int64
	shipped, unshipped                                          atomic.Int64
}

// queued is a line on its way from a source.
type queued struct {
	at     time.Time
	stream *segment.Stream
	text   string
	cut    int
}

// Open opens the lines of a directory.
func Open(cfg Config) (*Logs, error) {
	cfg.Retain, cfg.MaxBytes = cmp.Or(cfg.Retain, defaultRetain), cmp.Or(cfg.MaxBytes, defaultMaxBytes)
	cfg.MaxLine, cfg.Rate = cmp.Or(cfg.MaxLine, defaultMaxLine), cmp.Or(cfg.Rate, defaultRate)
	if cfg.MaxLine < 100 || cfg.MaxLine > segment.MaxBody/2 {
		return nil, fmt.Errorf("logs: lines of up to %d bytes: between 100 and %d can be kept", cfg.MaxLine, segment.MaxBody/2)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	redactors, err := newRedactors(cfg.Redact)
	if err != nil {
		return nil, fmt.Errorf("logs: %w", err)
	}
	store, err := segment.Open(segment.Config{
		Dir: cfg.Dir, ReadOnly: cfg.ReadOnly, Retain: max(cfg.Retain, 0), MaxBytes: max(cfg.MaxBytes, 0),
		FS: cfg.FS, HeadBytes: cfg.HeadBytes, Now: cfg.Now, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("logs: %w", err)
	}
	return &Logs{cfg: cfg, store: store, redactors: redactors, wake: make(chan struct{}, 1)}, nil
}

// Store is the store below, for searches of other query languages.
func (l *Logs) Store() *segment.Store { return l.store }

// Close gives up Logs on which Run is not called.
func (l *Logs) Close() error { return l.store.Close() }

// Now is the time by the configured clock.
func (l *Logs) Now() time.Time { return l.cfg.Now() }

// MaxLine is how many bytes of a line are kept.
func (l *Logs) MaxLine() int { return l.cfg.MaxLine }

// Run stores lines until ctx ends; what sources have written by then is stored.
func (l *Logs) Run(ctx context.Context) error {
	storing, endStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer endStoring()
	var group errgroup.Group
	group.Go(func() error { return l.store.Run(storing) })
	group.Go(func() error {
		defer endStoring()
		for {
			select {
			case <-l.wake:
				l.drain()
			case <-ctx.Done():
				l.drain()
				return nil
			}
		}
	})
	return group.Wait()
}

// drain stores what sources have written.
func (l *Logs) drain() {
	l.mu.Lock()
	batch := l.queue
	l.queue, l.queued = nil, 0
	l.mu.Unlock()
	records := make([]segment.Record, 0, min(len(batch), 1000))
	for len(batch) > 0 {
		n := min(len(batch), 1000)
		records = records[:0]
		for _, q := range batch[:n] {
			records = append(records, l.record(q))
		}
		batch = batch[n:]
		err := l.store.Append(context.Background(), records, false)
		if err != nil {
			l.counters.failed.Add(int64(n))
			if !l.failing {
				l.cfg.Log.Error("lines of replicas are lost", "error", err)
			}
		}
		l.failing = err != nil
	}
}

func (l *Logs) record(q queued) segment.Record {
	text := q.text
	if n := 0; len(l.redactors) > 0 {
		text, n = redact(l.redactors, text)
		l.counters.redacted.Add(int64(n))
	}
	l.counters.lines.Add(1)
	l.counters.bytes.Add(int64(len(text)))
	r := segment.Record{Time: q.at.UnixNano(), Stream: q.stream, Body: text, Fields: l.parser.Parse(text)}
	if q.cut > 0 {
		r.Fields = append(r.Fields, segment.Field{Name: "cut_bytes", Value: strconv.Itoa(q.cut)})
	}
	return r
}

// Append stores records that a protocol brought, durably: it returns nil when they are on disk. The bodies are cut and redacted.
// Fields that lines have in them are added to the fields that records have.
func (l *Logs) Append(ctx context.Context, records []segment.Record) error {
	bytes := 0
	for i := range records {
		r := &records[i]
		r.Body, _ = l.bound(r.Body)
		if len(l.redactors) > 0 {
			var n int
			r.Body, n = redact(l.redactors, r.Body)
			for j := range r.Fields {
				f := &r.Fields[j]
				before, m := f.Value, 0
				if f.Value, m = redact(l.redactors, f.Value); m > 0 && before != f.Value {
					f.InBody = false
				}
				n += m
			}
			l.counters.redacted.Add(int64(n))
			for j := range r.Fields { // a body that changed may not have a value any more
				r.Fields[j].InBody = r.Fields[j].InBody && n == 0
			}
		}
		r.Fields = boundFields(r.Fields)
		bytes += len(r.Body)
	}
	l.counters.lines.Add(int64(len(records)))
	l.counters.bytes.Add(int64(bytes))
	if err := l.store.Append(ctx, records, true); err != nil {
		l.counters.failed.Add(int64(len(records)))
		return fmt.Errorf("storing %d lines: %w", len(records), err)
	}
	return nil
}

// bound cuts a line, between two characters, and says how much.
func (l *Logs) bound(line string) (string, int) {
	if len(line) <= l.cfg.MaxLine {
		return line, 0
	}
	l.counters.cut.Add(1)
	kept := strings.ToValidUTF8(line[l.cfg.MaxLine-4:l.cfg.MaxLine], "")
	out := line[:l.cfg.MaxLine-4] + kept
	return out, len(line) - len(out)
}

// boundFields leaves out what is beyond what a record may hold.
func boundFields(fields []segment.Field) []segment.Field {
	kept := fields[:0]
	for _, f := range fields {
		if len(kept) < segment.MaxFields/2 && len(f.Name) <= maxName && f.Name != "" {
			if len(f.Value) > 32<<10 {
				f.Value, f.InBody = f.Value[:32<<10], false
			}
			kept = append(kept, f)
		}
	}
	return kept
}

// Refused counts lines and requests that a protocol did not take.
func (l *Logs) Refused(lines int) { l.counters.refused.Add(int64(lines)) }

// BadRequest counts a request that a protocol could not read.
func (l *Logs) BadRequest() { l.counters.badReq.Add(1) }
