// Package engine keeps tables on one node: one pebble database, one goroutine that applies commands one after the other, and a
// group commit, so that many commands share one fsync. What was answered is on disk.
//
// Run owns all goroutines. Reads go on beside the commands; Durable says when what was read is on disk, too.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/cpuclock"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/upkeep"
)

// group is the only one of a node without replication.
const group = 1

// Errors of Propose and Durable.
var (
	ErrStopped = errors.New("the tables are stopping")
	ErrBusy    = errors.New("too many writes are waiting")
)

// Config of an engine.
type Config struct {
	// Dir for the data; made if it is not there.
	Dir string
	// FS that Dir lies in. Default: the machine's.
	FS vfs.FS
	// Cache for blocks of data, in bytes. Default 64 MiB.
	Cache int64
	// Waiting commands, at most; further ones are refused with ErrBusy. Default 10000.
	Waiting int
	// Sweep is how often expired items, old changes and old tokens are looked for. Default 5s.
	Sweep time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

// Engine holds tables. Open it, Run it, and Close it.
type Engine struct {
	cfg     Config
	db      *pebble.DB
	logs    *Synced
	machine *shard.Machine
	keeper  *upkeep.Keeper
	index   uint64 // of the last command; the applier's

	queue   chan *proposal
	sealed  chan *sealed
	done    chan struct{} // closed when nothing is applied any more
	broken  chan struct{} // closed when there is a failure
	failure atomic.Pointer[error]

	applied atomic.Uint64 // the last group of commands that readers see
	synced  atomic.Uint64 // the last group that is on disk
	onDisk  signal
	touched [slots]atomic.Uint64 // by the hash of a partition key: the last group that changed an item of it
	current uint64               // the group that is being applied; the applier's

	counters counters
	cpu      cpuclock.Sampler // of groups
}

// cpuEvery: one group in so many is looked at for its CPU time.
const cpuEvery = 16

// slots that partition keys share. A read waits for the fsync of a write to another key once in so many.
const slots = 1 << 14

// Open opens the data, or makes it.
func Open(cfg Config) (*Engine, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	if cfg.Waiting == 0 {
		cfg.Waiting = 10_000
	}
	if cfg.Sweep == 0 {
		cfg.Sweep = 5 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, queue: make(chan *proposal, cfg.Waiting), sealed: make(chan *sealed, 64), done: make(chan struct{}),
		broken: make(chan struct{})}
	var err error
	if e.logs, err = OpenSynced(cfg.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("opening the tables in %s: %w (without the file %s there, they are opened with what can be read)", cfg.Dir, err, noteFile)
	}
	cfg.FS = e.logs
	if e.db, err = pebble.Open(cfg.Dir, Options(cfg, quiet{e})); errors.Is(err, syscall.EAGAIN) {
		return nil, errors.Join(fmt.Errorf("opening the tables in %s: another process has them open", cfg.Dir), e.logs.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the tables in %s: %w", cfg.Dir, err), e.logs.Close())
	}
	if e.index, err = shard.Applied(e.db, group); err == nil {
		e.machine, err = shard.Open(e.db, group)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the tables in %s: %w", cfg.Dir, err), e.db.Close(), e.logs.Close())
	}
	e.machine.Touched = func(hash uint64) { e.touched[slot(hash)].Store(e.current) }
	e.onDisk.init()
	e.cpu.Every = cpuEvery
	e.keeper = upkeep.New(upkeep.Config{Machine: e.machine, Rows: e.db, Now: e.Now, Every: cfg.Sweep, Log: cfg.Log,
		Propose: func(ctx context.Context, _ shard.Home, command []byte) ([]byte, error) {
			return e.Propose(ctx, nil, command)
		}})
	return e, nil
}

func slot(hash uint64) uint64 { return hash >> (64 - 14) }

// Options of the database of a configuration, of which only FS and Cache matter; it tells log of its errors.
func Options(cfg Config, log pebble.Logger) *pebble.Options {
	if cfg.Cache == 0 {
		cfg.Cache = 64 << 20
	}
	o := &pebble.Options{
		FS:                          cfg.FS,
		FormatMajorVersion:          pebble.FormatNewest,
		CacheSize:                   cfg.Cache,
		MemTableSize:                32 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      log,
	}
	o.EnsureDefaults()
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// quiet passes on only what pebble calls fatal or an error.
type quiet struct{ e *Engine }

func (q quiet) Infof(string, ...any) {}

func (q quiet) Errorf(format string, a ...any) {
	q.e.cfg.Log.Error(fmt.Sprintf("tables: "+format, a...))
}

// Fatalf is called when pebble can't go on, for instance because the disk is full while it writes its log. Nothing is confirmed from
// then on, and Run ends with the error.
func (q quiet) Fatalf(format string, a ...any) {
	q.e.fail(fmt.Errorf("writing the tables in %s: "+format, append([]any{q.e.cfg.Dir}, a...)...))
}

// fail has Run end with an error, if it is the first.
func (e *Engine) fail(err error) {
	if e.failure.CompareAndSwap(nil, &err) {
		close(e.broken)
	}
}

// Close closes the data. Run must have ended.
func (e *Engine) Close() error {
	if err := errors.Join(e.db.Close(), e.logs.Close()); err != nil {
		return fmt.Errorf("closing the tables in %s: %w", e.cfg.Dir, err)
	}
	return nil
}

// Table returns the description of a table, nil if there is none of that name. It is not to be changed.
func (e *Engine) Table(name string) *shard.Table { return e.machine.Table(name) }

// Tables returns the descriptions of all tables, in no order.
func (e *Engine) Tables() []*shard.Table { return e.machine.Tables() }

// Now is the engine's clock, in milliseconds.
func (e *Engine) Now() int64 { return e.cfg.Now().UnixMilli() }

// Read returns where the items of a data key are read. On one node every read is consistent.
func (e *Engine) Read(_ context.Context, _, _ []byte, _ bool) (pebble.Reader, error) {
	return e.db, nil
}

// Write carries writes out, all or none, and returns the result once it is on disk.
func (e *Engine) Write(ctx context.Context, w *shard.Writes) (*shard.Result, error) {
	b, err := e.Propose(ctx, nil, shard.WriteCommand(w.Instant, w.Token, w.Digest, w.All))
	if err != nil {
		return nil, err
	}
	return shard.DecodeResult(b)
}

// Together reads several items as of one instant, which is on disk.
func (e *Engine) Together(ctx context.Context, checks []shard.Write) (*shard.Result, error) {
	snapshot := e.db.NewSnapshot()
	defer snapshot.Close()
	res, err := e.machine.Check(snapshot, checks)
	for i := 0; i < len(checks) && err == nil; i++ {
		if t := e.machine.ByID(checks[i].Table); t != nil {
			err = e.Durable(ctx, t.DataKey(checks[i].Item))
		}
	}
	return res, err
}

// Durable waits until what was read before of a data key's partition is on disk, so that nobody is told of a write that a crash
// could undo; with no key, until all is.
func (e *Engine) Durable(ctx context.Context, key []byte) error {
	want := e.applied.Load()
	if key != nil {
		want = e.touched[slot(shard.PartitionHash(key))].Load()
	}
	for e.synced.Load() < want {
		wait := e.onDisk.wait()
		if e.synced.Load() >= want {
			return nil
		}
		select {
		case <-wait:
		case <-e.done:
			if e.synced.Load() < want {
				return e.stopped()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// DiskUsage is about how many bytes the keys of a range take on disk.
func (e *Engine) DiskUsage(lower, upper []byte) (uint64, error) {
	n, err := e.db.EstimateDiskUsage(lower, upper)
	if err != nil {
		return 0, fmt.Errorf("estimating what is stored: %w", err)
	}
	return n, nil
}

func (e *Engine) stopped() error {
	if err := e.failure.Load(); err != nil {
		return *err
	}
	return ErrStopped
}

// Overloaded says that an error means that the client is to slow down; Unavailable that nobody can do it at present, which one node
// alone never is.
func (e *Engine) Overloaded(err error) bool { return errors.Is(err, ErrBusy) }
func (e *Engine) Unavailable(error) bool    { return false }
