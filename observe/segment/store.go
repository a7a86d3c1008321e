package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config of a Store.
type Config struct {
	// Dir is the store's directory; it is made. Required.
	Dir string
	// FS that Dir is on. Default: the operating system's.
	FS vfs.FS
	// ReadOnly opens what is there without changing it: no Append, no Run. Another process must not be writing.
	ReadOnly bool
	// HeadBytes of records are held in memory before they are sealed. Default 32 MiB.
	HeadBytes int
	// SyncEvery is how long a record that was not appended durably may wait for its sync. Default 1 s.
	SyncEvery time.Duration
	// Retain is how old a record may become. Default: there is no bound.
	Retain time.Duration
	// MaxBytes of segments are kept. Default: there is no bound.
	MaxBytes int64
	// MaxStreams is how many different sets of labels are kept. Further ones become fields of a stream that they share.
	// Default 10000.
	MaxStreams int
	// Now is the clock, for retention. Default time.Now.
	Now func() time.Time
	// Log of damage and of failures of the disk. Default: none.
	Log *slog.Logger
}

// Errors of Append.
var (
	// ErrClosed says that the store does not run (any more).
	ErrClosed = errors.New("the store is closed")
	// ErrFull says that memory is full of records that the disk does not take.
	ErrFull = errors.New("the disk does not take what is to be sealed")
)

// Store is a store of records. Open makes it, Run keeps it; searches may be made from Open on, appends while it runs.
type Store struct {
	cfg  Config
	lock io.Closer
	in   chan *pending
	done chan struct{} // closed when Run has ended

	mu       sync.RWMutex
	head     []Record
	sealing  []Record // being written as segments
	segments []*segFile
	streams  map[string]*Stream // by key, all that records have
	changed  chan struct{}      // closed at the next change
	next     uint64             // number of the next record
	last     uint64             // number of the latest that searches see
	stats    Stats

	// Of the goroutine that runs.
	wal       *walFile
	manifest  manifest
	headBytes int
	dirty     bool // written and not synced
	sealed    chan sealResult
	sealFails int
	retryAt   time.Time
	batch     []*pending
	buffer    []byte
}

// Stats are counters since Open, and sizes now.
type Stats struct {
	// Appended records, and the syncs that it took.
	Appended, Syncs int64
	// Records, bytes on disk and number of what is sealed; records in memory; sets of labels.
	SealedRecords, SealedBytes int64
	Segments, Head, Streams    int
	// Overflowed records had labels beyond Config.MaxStreams.
	Overflowed int64
	// Damaged is how many frames of the log, blocks and segments could not be read.
	Damaged int64
	// Expired records went by retention.
	Expired int64
}

// pending is an append on its way.
type pending struct {
	frame   []byte
	records []Record
	bytes   int
	durable bool
	err     chan error
}

// Open reads what the directory holds.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("segment: no directory is given")
	}
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	cfg.HeadBytes = cmp.Or(cfg.HeadBytes, 32<<20)
	cfg.SyncEvery = cmp.Or(cfg.SyncEvery, time.Second)
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 10000)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		cfg: cfg, in: make(chan *pending, 256), done: make(chan struct{}), streams: map[string]*Stream{},
		changed: make(chan struct{}), sealed: make(chan sealResult, 1),
	}
	if err := s.open(); err != nil {
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, fmt.Errorf("opening the records in %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	fs, dir := s.cfg.FS, s.cfg.Dir
	if !s.cfg.ReadOnly {
		if err := makeDir(fs, dir); err != nil {
			return err
		}
		if s.lock, err = fs.Lock(fs.PathJoin(dir, "lock")); err != nil {
			return fmt.Errorf("another process has it open: %w", err)
		}
	} else if _, err := fs.Stat(dir); err != nil {
		return err
	}
	if s.manifest, err = readManifest(fs, dir); err != nil {
		return err
	}
	kept := s.manifest.Segments[:0:0]
	for _, info := range s.manifest.Segments {
		seg, err := openSegment(fs, dir, info, s.intern)
		if err != nil {
			s.damage("a segment cannot be read, and is left out", info.File, err)
			continue
		}
		s.segments = append(s.segments, seg)
		kept = append(kept, info)
	}
	if err := s.replay(); err != nil {
		return err
	}
	if s.cfg.ReadOnly {
		close(s.done)
		return nil
	}
	// The manifest in memory goes on naming what could be read; a damaged segment's file stays until somebody looks at it.
	damaged := len(kept) < len(s.manifest.Segments)
	if !damaged {
		s.removeStrays()
	}
	s.manifest.Segments = kept
	return nil
}

// makeDir makes a directory and those above it that are missing, so that they outlive a failure of the machine.
func makeDir(fs vfs.FS, dir string) error {
	var above []string
	for d := dir; ; d = fs.PathDir(d) {
		if _, err := fs.Stat(d); err == nil || d == fs.PathDir(d) {
			break
		}
		above = append(above, fs.PathDir(d))
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range above {
		if err := syncDir(fs, d); err != nil {
			return err
		}
	}
	return nil
}

// replay reads the log into the head.
func (s *Store) replay() error {
	firsts, err := walFiles(s.cfg.FS, s.cfg.Dir)
	if err != nil {
		return err
	}
	s.next, s.last = s.manifest.Sealed+1, s.manifest.Sealed
	for i, first := range firsts {
		path := s.cfg.FS.PathJoin(s.cfg.Dir, walName(first))
		rest, err := readWAL(s.cfg.FS, path, func(seq uint64, batch string) error {
			records, err := decodeBatch(batch, seq, s.intern)
			if err != nil {
				return err
			}
			for _, r := range records {
				if r.Seq > s.manifest.Sealed {
					s.head = append(s.head, r)
					s.headBytes += r.size()
				}
			}
			s.next = max(s.next, seq+uint64(len(records)))
			s.last = s.next - 1
			return nil
		})
		if err != nil {
			return err
		}
		// A torn end is what a crash leaves. More than that, or one in a file that a later run wrote behind, is told.
		if rest > 0 {
			s.damage("the log ends in the middle of a frame, as after a crash", walName(first), fmt.Errorf("%d bytes, file %d of %d", rest, i+1, len(firsts)))
		}
	}
	return nil
}

// removeStrays deletes files of segments that no manifest names: a crash came between the two.
func (s *Store) removeStrays() {
	named := map[string]bool{}
	for _, info := range s.manifest.Segments {
		named[info.File] = true
	}
	names, err := s.cfg.FS.List(s.cfg.Dir)
	if err != nil {
		return
	}
	for _, n := range names {
		if isSegment(n) && !named[n] {
			_ = s.cfg.FS.Remove(s.cfg.FS.PathJoin(s.cfg.Dir, n)) // else it is tried at the next start
		}
	}
}

func (s *Store) damage(what, file string, err error) {
	s.mu.Lock()
	s.stats.Damaged++
	s.mu.Unlock()
	s.cfg.Log.Warn(what, "file", file, "error", err)
}

// intern returns the one stream of a key.
func (s *Store) intern(key string) (*Stream, error) {
	s.mu.RLock()
	stream := s.streams[key]
	s.mu.RUnlock()
	if stream != nil {
		return stream, nil
	}
	stream, err := parseStream(string(append([]byte(nil), key...)))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.streams[key]; known != nil {
		return known, nil
	}
	s.streams[stream.key] = stream
	return stream, nil
}

// Append stores records and gives them numbers in their order. If durable, it returns nil once they are on disk; else as soon as
// they are written and can be found, and a crash of the machine may lose the last Config.SyncEvery. An error says that they were not
// stored, or, where the disk failed or ctx ended, that it is not known. The records are copied; Append fills in their Seq.
func (s *Store) Append(ctx context.Context, records []Record, durable bool) error {
	for len(records) > 0 {
		n, bytes := 0, 0
		for n < len(records) && bytes < 4<<20 && n < 1<<16 {
			bytes += records[n].size()
			n++
		}
		if err := s.append(ctx, records[:n], durable); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

func (s *Store) append(ctx context.Context, given []Record, durable bool) error {
	if s.cfg.ReadOnly {
		return ErrClosed
	}
	records := s.boundStreams(given)
	frame, err := encodeBatch(make([]byte, frameHead, frameHead+encodedSize(records)), records)
	if err != nil {
		return fmt.Errorf("storing records: %w", err)
	}
	if len(frame) > maxFrame {
		return fmt.Errorf("storing records: %d bytes at once are too many", len(frame))
	}
	// What is kept shares one piece of memory of just its size, whatever the caller cut it from. It is not the frame's, for a vfs.File may
	// change what it is given.
	kept, err := decodeBatch(string(frame[frameHead:]), 0, s.intern)
	if err != nil {
		return fmt.Errorf("storing records: %w", err)
	}
	p := &pending{frame: frame, records: kept, durable: durable, err: make(chan error, 1)}
	for i := range kept {
		p.bytes += kept[i].size()
	}
	select {
	case s.in <- p:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err = <-p.err:
	case <-s.done:
		select {
		case err = <-p.err: // it was the last thing done
		default:
			err = ErrClosed
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		for i := range given {
			given[i].Seq = kept[i].Seq
		}
	}
	return err
}

// boundStreams moves labels of streams beyond the bound into fields.
func (s *Store) boundStreams(records []Record) []Record {
	copied := false
	for i := range records {
		stream := records[i].Stream
		if stream == nil || i > 0 && stream == records[i-1].Stream { // of one that was within the bound, as that was not replaced
			continue
		}
		s.mu.RLock()
		over := len(s.streams) >= s.cfg.MaxStreams && s.streams[stream.key] == nil
		s.mu.RUnlock()
		if !over {
			continue
		}
		if !copied {
			records, copied = append([]Record(nil), records...), true
		}
		r := &records[i]
		r.Fields = append(append([]Field(nil), r.Fields...), stream.labels...)
		r.Fields = r.Fields[:min(len(r.Fields), MaxFields)]
		r.Stream = overflow
		s.mu.Lock()
		s.stats.Overflowed++
		s.mu.Unlock()
	}
	return records
}

// overflow is the stream of records whose own would be one too many.
var overflow = NewStream(map[string]string{"overflow": "true"})

// Changed returns a channel that is closed when records are appended after the call.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Last is the number of the latest record that searches see; 0 if there is none.
func (s *Store) Last() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// Done is closed when the store has ended.
func (s *Store) Done() <-chan struct{} { return s.done }

// Stats returns counters and sizes.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.stats
	st.Segments, st.Head, st.Streams = len(s.segments), len(s.head)+len(s.sealing), len(s.streams)
	for _, seg := range s.segments {
		st.SealedRecords += int64(seg.Records)
		st.SealedBytes += seg.Bytes
	}
	return st
}

// Close gives up a store on which Run is not called.
func (s *Store) Close() error {
	if s.lock != nil {
		return s.lock.Close()
	}
	return nil
}
