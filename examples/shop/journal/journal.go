// Package journal keeps the state of a service in one append-only file that
// any number of processes may share.
//
// It exists because the replicas of a service are separate processes over one
// data directory. An embedded database with an exclusive file lock lets one of
// them in and leaves the others, and the new process of a rolling replacement,
// waiting at the door. Here nobody owns the file: a writer takes an advisory
// lock (flock) for the tens of microseconds in which it reads what others
// appended, decides, and appends; the kernel drops the lock of a killed process.
//
// What it promises:
//   - Update acknowledges a record only after fsync, and a decision is made
//     with every record before it applied: updates of all processes are one
//     sequence, and every process applies that same sequence.
//   - fsync happens outside the lock and is shared by all the updates that
//     were waiting (group commit). An update that depends on records another
//     process has not synced yet syncs them too before it is acknowledged.
//   - A process killed at any byte leaves a torn tail at worst; the next
//     writer cuts it. Damage in the middle of the file, with good records
//     after it, is reported and never cut.
//   - View sees everything that was acknowledged before it began, by any
//     process. It may also see a record that is written and not yet synced.
//
// What it does not do: it is for one machine and a local file system (flock
// and rename must be those of one kernel); all live state is held in memory by
// every process; a process stopped (SIGSTOP) inside its critical section holds
// up the writers, not the readers, until it continues or is killed.
//
// Growth: with Config.Snapshot the file is rewritten when it outgrows its live
// content, and the file is bounded by a multiple of that content. Without it
// the file grows by one record for each update, for ever, and opening reads it all.
//
// The rewriting goes on beside the updates; they wait only while its last
// bytes are copied.
//
// Run owns all goroutines.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// MaxRecord is the largest record in bytes.
const MaxRecord = 1 << 20

// ErrClosed is returned by Update once Run has returned, and for the updates
// that were waiting at that moment: they were not written.
var ErrClosed = errors.New("journal: closed")

// State is what the records add up to. The journal calls it one call at a
// time and never together with a View.
type State interface {
	// Reset empties the state: the records from the first on follow.
	Reset()
	// Apply takes the next record. It must be deterministic: every process
	// applies the same records in the same order. The slice is only valid
	// during the call; Journal.Read finds the record again by its position.
	// An error means that the file holds something this program does not
	// understand; the journal then refuses to go on.
	Apply(at Position, record []byte) error
}

// Renewable is a State that can be built beside the present one: then a file
// is replaced without the process having to read it while all wait.
type Renewable interface {
	State
	// Fresh returns an empty state of the same kind.
	Fresh() State
	// Become takes over what is in a state that Fresh returned.
	Become(State)
}

// Position is the place of a record in the file. It holds until the next
// Reset.
type Position int64

// Config of a Journal.
type Config struct {
	// Dir holds the files; it is made if it is missing. Required.
	Dir string
	// Name of the files in Dir. Default "journal".
	Name string
	// State to build from the records. Required.
	State State
	// Snapshot hands records to keep that add up to the present state, to
	// replace the whole file: as they are (and they must not change
	// afterwards), or by their positions. It may leave out what has expired,
	// and should be quick: updates wait. Nil: the file is never rewritten.
	Snapshot func(keep func(record []byte) error, move func(at Position) error) error
	// CompactAbove is the size in bytes under which the file is not
	// rewritten. Default 16 MiB.
	CompactAbove int64
	// Log gets repairs and compactions. Default: nothing is logged.
	Log *slog.Logger
}

// The updates that share one lock and one fsync, at most.
const maxBatch = 1024

// Journal is one handle on the file. Its methods may be called by many
// goroutines; Run must be running for Update to make progress.
type Journal struct {
	cfg  Config
	path string
	lock fileLock // of the writer and of the compaction; its file is never replaced, never removed
	ops  chan *operation
	done chan struct{}
	fail atomic.Pointer[error] // what ended the journal for good

	// mu guards the state and what follows. The writer holds it inside the
	// file lock, a View that must catch up holds it without.
	mu        sync.RWMutex
	file      *os.File
	info      os.FileInfo // identity of file
	end       int64       // after the last applied record
	stale     bool        // the state may not be that of the file: rebuild
	compacted int64       // what the last compaction seen kept
	buf       []byte      // of the batch at hand: what comes at end, not written yet

	synced     int64         // of syncedOf, known to this handle; only the writer looks
	syncedOf   *os.File      // and here
	compaction chan struct{} // closed when the one under way is over; nil: none is
}

type operation struct {
	decide func() ([]byte, error)
	err    error
	done   chan struct{}
	// The writer claims an operation before deciding it, the caller when it
	// gives up: whoever is first.
	claimed atomic.Bool
}

// Open opens or creates the journal and applies all of its records.
func Open(cfg Config) (*Journal, error) {
	if cfg.Dir == "" || cfg.State == nil {
		return nil, errors.New("journal: Dir and State are required")
	}
	if cfg.Name == "" {
		cfg.Name = "journal"
	}
	if cfg.CompactAbove == 0 {
		cfg.CompactAbove = 16 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: making the directory: %w", err)
	}
	j := &Journal{
		cfg:  cfg,
		path: filepath.Join(cfg.Dir, cfg.Name+".log"),
		ops:  make(chan *operation, maxBatch),
		done: make(chan struct{}),
	}
	var err error
	if j.lock.file, err = os.OpenFile(filepath.Join(cfg.Dir, cfg.Name+".lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := j.start(); err != nil {
		return nil, errors.Join(err, j.lock.file.Close())
	}
	return j, nil
}

// start replays the file. Nearly all of it is read without the lock, so that
// opening a long one does not hold up the others; then, with it, the rest, and
// what a killed process left is cut.
func (j *Journal) start() error {
	if err := j.create(); err != nil {
		return fmt.Errorf("journal: creating %s: %w", j.path, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.catchUp(false); err != nil {
		return err
	}
	if err := j.lock.lock(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer j.lock.unlock()
	return j.catchUp(true)
}

// create makes the file if need be, and its name durable.
func (j *Journal) create() error {
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(j.cfg.Dir))
}

// Run writes the updates until ctx ends, then finishes the batch at hand,
// refuses what still waits and closes the file. It returns nil then, and an
// error if the disk failed: the state in memory can no longer be vouched for
// and the process should end.
func (j *Journal) Run(ctx context.Context) error {
	defer j.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case op := <-j.ops:
			if err := j.commit(j.batch(op)); err != nil {
				j.fail.Store(&err)
				return err
			}
			j.compactIfOutgrown()
			if err := j.fail.Load(); err != nil {
				return *err
			}
		}
	}
}

func (j *Journal) close() {
	if j.compaction != nil {
		<-j.compaction
	}
	close(j.done)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
	j.lock.file.Close()
}

// Err says why the journal cannot serve, or nil.
func (j *Journal) Err() error {
	if err := j.fail.Load(); err != nil {
		return *err
	}
	select {
	case <-j.done:
		return ErrClosed
	default:
		return nil
	}
}

// Update calls decide with the state up to date and no other process able to
// append, appends the record it returns, applies it, and returns when it is on
// the disk. decide returns a nil record to append nothing, or an error, which
// Update returns as it is; in both cases what decide has seen is on the disk
// when Update returns. decide must be quick and must not call Update or View.
//
// Another error means that the record may or may not have been written (a
// failed disk, an ended ctx), unless it is ErrClosed or the ctx ended while
// the update still waited. Do not use what decide has computed then.
func (j *Journal) Update(ctx context.Context, decide func() ([]byte, error)) error {
	op := &operation{decide: decide, done: make(chan struct{})}
	if err := j.Err(); err != nil {
		return err
	}
	select {
	case j.ops <- op:
	case <-j.done:
		return j.Err()
	case <-ctx.Done():
		return fmt.Errorf("journal: waiting to write: %w", context.Cause(ctx))
	}
	select {
	case <-op.done:
		return op.err
	case <-j.done:
		if op.claimed.CompareAndSwap(false, true) {
			return j.Err()
		}
		<-op.done // the last batch is always finished before done closes
		return op.err
	case <-ctx.Done():
		if op.claimed.CompareAndSwap(false, true) {
			return fmt.Errorf("journal: waiting to write: %w", context.Cause(ctx))
		}
		return fmt.Errorf("journal: writing: %w", context.Cause(ctx))
	}
}

// View calls read with the state up to date and held still. It takes no file
// lock, so that a slow writer never holds up readers.
func (j *Journal) View(read func() error) error {
	if err := j.Err(); err != nil {
		return err
	}
	j.mu.RLock()
	for caughtUp := false; ; caughtUp = true {
		fresh, err := j.fresh()
		// One catch-up is enough: others may be appending all the time, and
		// a state is only ever too old before the first.
		if fresh || err == nil && caughtUp && !j.stale {
			defer j.mu.RUnlock()
			return read()
		}
		j.mu.RUnlock()
		if err != nil {
			return err
		}
		j.mu.Lock()
		err = j.catchUp(false)
		j.mu.Unlock()
		if err != nil {
			return err
		}
		j.mu.RLock()
	}
}

// Read returns the record at a position that Apply was given. It may be called
// inside View and Update only.
func (j *Journal) Read(at Position) ([]byte, error) {
	if j.file == nil {
		return nil, ErrClosed
	}
	var record []byte
	var err error
	if int64(at) >= j.end && int64(at)-j.end < int64(len(j.buf)) {
		record, _, err = parseFrame(j.buf[int64(at)-j.end:])
		record = slices.Clone(record)
	} else {
		record, _, err = readFrame(j.file, int64(at), j.end)
	}
	if err != nil {
		return nil, fmt.Errorf("journal: reading %s at %d: %w", j.path, at, err)
	}
	return record, nil
}

// fresh reports whether nobody has appended to or replaced the file since the
// last catch-up. Called with mu held for reading.
func (j *Journal) fresh() (bool, error) {
	if j.file == nil {
		return false, ErrClosed
	}
	now, err := os.Stat(j.path)
	if err != nil {
		return false, fmt.Errorf("journal: %w", err)
	}
	return !j.stale && os.SameFile(now, j.info) && now.Size() == j.end, nil
}
