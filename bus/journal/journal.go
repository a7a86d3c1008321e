// Package journal is a log on disk in which many writers share each fsync.
//
// Records are appended to segments; one goroutine writes all that has gathered in one go, as a frame, and syncs it once
// for all of them (group commit). Each record says whether its writer waits for the disk, and whether it can be refused
// when the disk is full; records that can't be refused are kept in memory and written when there is room again.
//
// It promises: a durable record whose Done was called without an error is found again after a crash of the process, of the
// system or of the power, as long as the disk keeps what it said it had synced; records come back in the order in which
// they were appended; a frame is found whole or not at all. Where a frame that was synced is damaged, Open says so rather
// than go on without what was acknowledged; a damaged tail that nobody was told of is cut off. One process at a time has a
// directory, which a lock file ensures.
//
// A failed fsync is never tried again on the same file: the system may have given up what it could not write, and the next fsync
// says nothing of it (see "PostgreSQL's fsync() surprise", LWN, 2018). From then on what can be refused is refused (ErrFailed),
// and once each SyncEvery the whole segment is read back, checked against its checksums, written into another file, and that is synced
// and takes the place of the old one. If that succeeds the journal goes on, and all that was acknowledged is on disk; what was
// refused is not there. If what was written can't be read back whole, it is refused for ever.
package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/atomicfile"
)

// Options of a Journal.
type Options struct {
	// Dir that holds the segments. It is made if it is not there.
	Dir string
	// SegmentBytes after which a new segment is begun. Default 64 MiB.
	SegmentBytes int64
	// SyncEvery is how long records that nobody waits for may be in the system's memory only. Default 1s.
	SyncEvery time.Duration
	// MaxBacklog bounds the bytes that wait to be written; a record beyond is refused. Default 64 MiB.
	MaxBacklog int
	// OpenFile opens a segment for reading and writing, for tests that make disks fail. Default: a file.
	OpenFile func(path string) (File, error)
}

// Errors of appending.
var (
	// ErrFull says that the disk has no room; nothing was written, and writing is tried again with the next record.
	ErrFull = errors.New("the disk has no room")
	// ErrFailed says that the disk failed. Nothing of the record is stored; the journal goes on by itself when the disk works again, unless
	// ErrLost is in the error as well.
	ErrFailed = errors.New("the disk failed, and nothing is taken until it works again")
	// ErrLost says that the disk failed and that what was written before can't be read back: no process goes on from there.
	ErrLost = errors.New("what was written before can't be read back whole: end the process, see to the disk, and start it anew; then it says what is damaged")
	// ErrBacklog says that the disk does not keep up.
	ErrBacklog = errors.New("too much waits for the disk")
	// ErrTooLarge says that a log which is elsewhere does not take so large a record.
	ErrTooLarge = errors.New("the record is too large")
	// ErrClosed says that the journal was closed.
	ErrClosed = errors.New("the journal is closed")
)

// Position of a record's bytes.
type Position struct {
	Segment uint64
	Offset  int64
}

// Journal is safe for concurrent use.
type Journal struct {
	opts Options
	lock *os.File

	mu       sync.Mutex
	gathered []Record
	backlog  int
	broken   error // the disk failed to sync; until mend
	failed   error // for ever
	closed   bool
	segments []*segment // the last one is written to
	copies   int        // that are being made: meanwhile no segment is dropped
	wake     chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
	stats    Stats

	// Only of the goroutine:
	retained []Record // not refusable, and the disk was full
	unsynced time.Time
	frame    []byte
	spare    []Record // changes places with gathered
	offsets  []int64
}

// Stats of a journal.
type Stats struct {
	Records, Frames, Syncs uint64
	Bytes                  int64 // of all segments
	Segments               int
	Full                   bool // the last frame found no room
	// Failed says why nothing is taken; nil: it is.
	Failed error
}

// Open reads all records, oldest first, hands each to replay, and is then ready for more. The data that replay gets is
// its own only until it returns.
func Open(opts Options, replay func(Position, []byte) error) (*Journal, error) {
	if opts.SegmentBytes <= 0 {
		opts.SegmentBytes = 64 << 20
	}
	if opts.SyncEvery <= 0 {
		opts.SyncEvery = time.Second
	}
	if opts.MaxBacklog <= 0 {
		opts.MaxBacklog = 64 << 20
	}
	if opts.OpenFile == nil {
		opts.OpenFile = OpenFile
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the journal's folder: %w", err)
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{opts: opts, lock: lock, wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	if err := j.recover(replay); err != nil {
		for _, s := range j.segments {
			s.file.Close()
		}
		lock.Close()
		return nil, err
	}
	go j.run()
	return j, nil
}

// recover reads the segments and begins a new one.
func (j *Journal) recover(replay func(Position, []byte) error) error {
	ids, err := segmentIDs(j.opts.Dir)
	if err != nil {
		return err
	}
	if err := dropUnfinished(j.opts.Dir); err != nil {
		return err
	}
	for i, id := range ids {
		s, err := j.openSegment(id)
		if err != nil {
			return err
		}
		j.segments = append(j.segments, s)
		if err := s.replay(i == len(ids)-1, replay); err != nil {
			return fmt.Errorf("reading %s: %w", s.path, err)
		}
	}
	if len(ids) == 0 {
		return j.begin(1)
	}
	last := j.active()
	if last.size == 0 {
		return nil // nothing was ever written to it
	}
	if err := last.seal(); err != nil {
		return err
	}
	return j.begin(last.id + 1)
}

// begin adds a new segment, to which is written from now on.
func (j *Journal) begin(id uint64) error {
	s, err := j.openSegment(id)
	if err != nil {
		return err
	}
	s.file.Allocate(j.opts.SegmentBytes) // saves the disk work at each sync; where it can't be done nothing is lost
	if err := atomicfile.SyncDir(j.opts.Dir); err != nil {
		s.file.Close()
		return errors.Join(err, os.Remove(s.path)) // the next try makes the entry anew, and does not only sync again
	}
	j.mu.Lock()
	j.segments = append(j.segments, s)
	j.mu.Unlock()
	return nil
}

func (j *Journal) openSegment(id uint64) (*segment, error) {
	path := filepath.Join(j.opts.Dir, segmentName(id))
	f, err := j.opts.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("opening a segment of the journal: %w", err)
	}
	return &segment{id: id, path: path, file: f}, nil
}

// Append adds a record. It does not block; r.Done hears what became of it, unless it is refused at once by an error.
func (j *Journal) Append(r Record) error {
	j.mu.Lock()
	var err error
	switch {
	case j.failed != nil:
		err = j.failed
	case j.closed:
		err = ErrClosed
	case r.Refusable && j.broken != nil:
		err = j.broken
	case r.Refusable && j.backlog+len(r.Data) > j.opts.MaxBacklog:
		err = ErrBacklog
	}
	if err != nil {
		j.mu.Unlock()
		return err
	}
	j.gathered = append(j.gathered, r)
	j.backlog += len(r.Data)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return nil
}

// Flush returns when all that was appended before is on disk. It fails rather than wait for a disk that takes nothing.
func (j *Journal) Flush(ctx context.Context) error { return j.Write(ctx, Record{Refusable: true}) }

// Write appends a record, and returns when it is on disk. Its Durable and Done are not used.
func (j *Journal) Write(ctx context.Context, r Record) error { return WriteTo(ctx, j.Append, r) }

// Close writes and syncs what was appended, and closes.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		<-j.stopped
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	close(j.stop)
	<-j.stopped
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.fault()
	if last := j.segments[len(j.segments)-1]; err == nil {
		if err = last.file.Truncate(last.size); err != nil {
			err = fmt.Errorf("cutting %s at its end: %w", last.path, err)
		}
	}
	for _, s := range j.segments {
		err = errors.Join(err, s.file.Close())
	}
	return errors.Join(err, j.lock.Close())
}

// run writes until Close.
func (j *Journal) run() {
	defer close(j.stopped)
	tick := time.NewTicker(j.opts.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-j.wake:
			for range turns {
				runtime.Gosched()
			}
			j.commit(false)
		case <-tick.C:
			j.mend()
			j.commit(!j.unsynced.IsZero())
		case <-j.stop:
			j.mend()
			j.commit(true)
			j.giveUp()
			return
		}
	}
}

// turns is how often the journal's goroutine lets others run before it commits. One who appends wakes it, and would otherwise be followed by a
// commit of its record alone while others are about to append; these have appended after two turns (bench/bus, relaxed: 14 records a
// commit rather than 2, and a sixth less work for each). Where nobody else has anything to do, it costs nothing.
const turns = 2

// commit writes what has gathered as one frame.
func (j *Journal) commit(sync bool) {
	j.mu.Lock()
	batch, failed := j.gathered, j.fault()
	j.gathered, j.backlog = j.spare, 0
	j.mu.Unlock()
	all := batch
	defer func() {
		clear(all)
		j.spare = nil
		if cap(all) <= maxSpare {
			j.spare = all[:0]
		}
	}()
	if len(j.retained) > 0 {
		batch, j.retained = slices.Concat(j.retained, batch), nil
	}
	for len(batch) > 0 && failed == nil {
		n := Framed(batch, maxFrame/2)
		failed = j.write(batch[:n], sync)
		batch = batch[n:]
	}
	if sync && failed == nil && !j.unsynced.IsZero() {
		failed = j.sync(j.active())
	}
	if failed != nil {
		j.hold(batch, failed)
	}
}

// maxSpare bounds the records whose room is kept for the next ones.
const maxSpare = 4096

// active is the segment that is written to.
func (j *Journal) active() *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.segments[len(j.segments)-1]
}

// write writes one frame and tells the writers. It returns an error only after which nothing can be written now.
func (j *Journal) write(batch []Record, sync bool) error {
	s := j.active()
	if s.size > 0 && s.size+frameBytes(batch) > j.opts.SegmentBytes {
		// No segment follows one that is not sealed: what stands behind its end would be taken for damage.
		if err := s.file.Truncate(s.size); err != nil {
			j.unwritten(batch, err)
			return nil
		}
		if err := j.sync(s); err != nil {
			j.hold(batch, err)
			return err
		}
		if err := j.begin(s.id + 1); err != nil {
			j.unwritten(batch, err)
			return nil
		}
		s = j.active()
	}
	j.offsets = slices.Grow(j.offsets[:0], len(batch))[:len(batch)]
	j.frame = appendFrame(j.frame[:0], s.synced, s.size, batch, j.offsets)
	for _, r := range batch {
		sync = sync || r.Durable
	}
	if _, err := s.file.WriteAt(j.frame, s.size); err != nil {
		j.unwritten(batch, err)
		return nil
	}
	begin := s.size
	j.mu.Lock()
	s.size += int64(len(j.frame))
	s.newest = time.Now()
	j.stats.Frames++
	j.stats.Records += uint64(len(batch))
	j.stats.Full = false
	j.mu.Unlock()
	if j.unsynced.IsZero() {
		j.unsynced = s.newest
	}
	if sync {
		if err := j.sync(s); err != nil {
			j.mu.Lock()
			s.size = begin // of this frame nobody is told that it is there
			j.mu.Unlock()
			j.hold(batch, err)
			return err
		}
	}
	for i, r := range batch {
		if r.Done != nil {
			r.Done(Position{s.id, j.offsets[i]}, nil)
		}
	}
	return nil
}

func (j *Journal) sync(s *segment) error {
	if err := s.file.Sync(); err != nil {
		err = fmt.Errorf("%w: syncing: %w", ErrFailed, err)
		j.mu.Lock()
		j.broken = err
		j.mu.Unlock()
		return err
	}
	s.synced = s.size
	j.unsynced = time.Time{}
	j.mu.Lock()
	j.stats.Syncs++
	j.mu.Unlock()
	return nil
}

// Read fills p with the bytes at a position.
func (j *Journal) Read(at Position, p []byte) error {
	j.mu.Lock()
	i, ok := slices.BinarySearchFunc(j.segments, at.Segment, func(s *segment, id uint64) int { return compare(s.id, id) })
	if !ok {
		j.mu.Unlock()
		return fmt.Errorf("the journal has no segment %d any more", at.Segment)
	}
	f := j.segments[i].file
	j.mu.Unlock()
	if _, err := f.ReadAt(p, at.Offset); err != nil {
		return fmt.Errorf("reading from the journal: %w", err)
	}
	return nil
}

// Oldest says which segment is the oldest that is not written to any more, when it was last written to, and how many
// bytes of records it has; ok is false if there is none, and while a copy is made.
func (j *Journal) Oldest() (id uint64, newest time.Time, size int64, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) < 2 || j.copies > 0 {
		return 0, time.Time{}, 0, false
	}
	s := j.segments[0]
	return s.id, s.newest, s.size, true
}

// Drop removes the oldest segment, of which nothing is needed any more; what replaces it must have been Flushed.
func (j *Journal) Drop(id uint64) error {
	j.mu.Lock()
	switch {
	case j.copies > 0:
		j.mu.Unlock()
		return nil // it is found again as the oldest
	case len(j.segments) < 2 || j.segments[0].id != id:
		j.mu.Unlock()
		return fmt.Errorf("segment %d is not the oldest of the journal", id)
	}
	s := j.segments[0]
	j.segments = slices.Clone(j.segments[1:])
	j.mu.Unlock()
	s.file.Close()
	if err := os.Remove(s.path); err != nil {
		return fmt.Errorf("removing a segment of the journal: %w", err)
	}
	return atomicfile.SyncDir(j.opts.Dir)
}

// Stats so far.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.stats
	st.Segments, st.Failed = len(j.segments), j.fault()
	for _, s := range j.segments {
		st.Bytes += s.size
	}
	return st
}
