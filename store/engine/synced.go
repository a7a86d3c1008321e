package engine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/ahead"
)

// Synced is a file system that notes, for the logs of a database, how far they are known to be on disk: of its write-ahead logs, and
// of its manifest, which is a log of which tables there are.
//
// A database takes the end of what it can read in the newest log for the place at which a crash tore a write. A flipped bit, or a file
// that is shorter than it was, therefore takes away what was acknowledged, and nobody is told. The notes tell the one from the other:
// what was synced is there and has its checksums, or the log is damaged.
//
// A note is written after the sync that it speaks of, and is not synced itself: it survives the death of the process, and where the
// machine dies it says less than there is, or nothing.
type Synced struct {
	vfs.FS
	dir string

	mu    sync.Mutex
	file  vfs.File
	slots [notes]string // the log that each note is of
}

// The file of notes: as many as there are logs at the same time, and some more; what is noted of one; its name, which people may remove
// to have a database opened that lacks what it had.
const (
	notes     = 64
	noteBytes = 32
	noteFile  = "SYNCED"
)

// What a log may have behind its last chunk: the rest of a block, into which no head fits, and a mark of the end.
const (
	blockBytes = 32 << 10
	walTail    = 18 + 11
	tableTail  = 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenSynced holds the logs of the database in a folder against what was noted of them, and returns the file system that the database
// is to be opened with. On a real disk it also writes zeros ahead of the write-ahead log. The error is pebble.ErrCorruption if something
// is missing.
func OpenSynced(under vfs.FS, dir string) (s *Synced, err error) {
	if under == vfs.Default {
		under = ahead.FS(under)
	}
	if err := under.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s = &Synced{FS: under, dir: dir}
	if s.file, err = under.OpenReadWrite(under.PathJoin(dir, noteFile), vfs.WriteCategoryUnspecified); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// load reads the notes, and the logs that they are of.
func (s *Synced) load() error {
	all := make([]byte, notes*noteBytes)
	switch n, err := s.file.ReadAt(all, 0); {
	case n == 0 && errors.Is(err, io.EOF):
		return s.create(all)
	case errors.Is(err, io.EOF) && n < len(all):
		return fmt.Errorf("%w: %s has %d bytes, expected %d", pebble.ErrCorruption, noteFile, n, len(all))
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	for i := range s.slots {
		name, synced, err := decodeNote(all[i*noteBytes:][:noteBytes])
		if err != nil {
			return fmt.Errorf("%w: note %d in %s: %w", pebble.ErrCorruption, i, noteFile, err)
		}
		if name == "" {
			continue
		}
		found, err := s.readable(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed, and the machine died before that was noted
		}
		if err != nil {
			return err
		}
		if found < synced {
			return fmt.Errorf("%w: %d bytes of %s were on disk, and %d can be read", pebble.ErrCorruption, synced, name, found)
		}
		s.slots[i] = name
	}
	return nil
}

func (s *Synced) create(all []byte) error {
	_, err := s.file.WriteAt(all, 0)
	if err = errors.Join(err, s.file.Sync()); err != nil {
		return err
	}
	dir, err := s.OpenDir(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readable is how far a log can be read, at least, if all of it is there.
func (s *Synced) readable(name string) (uint64, error) {
	f, err := s.Open(s.PathJoin(s.dir, name))
	if err != nil {
		return 0, err
	}
	number, tail := uint64(0), tableTail
	if digits, ok := strings.CutSuffix(name, ".log"); ok {
		tail = walTail
		if number, err = strconv.ParseUint(digits, 10, 64); err != nil {
			return 0, errors.Join(fmt.Errorf("%w: a note is of %q", pebble.ErrCorruption, name), f.Close())
		}
	}
	r := numbered(record.NewReader, bufio.NewReaderSize(f, 1<<20), number)
	end, buf := int64(0), make([]byte, blockBytes)
	for err == nil {
		var one io.Reader
		if one, err = r.Next(); err != nil {
			break
		}
		for err == nil {
			// The end of a chunk and not that of a record: a sync may come while there is half of one.
			var n int
			if n, err = one.Read(buf); n > 0 {
				end = r.Offset()
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return uint64(end) + uint64(tail), f.Close()
}

// numbered calls a function of pebble's whose parameter is of a type that has no name outside of it.
func numbered[N ~uint64](open func(io.Reader, N) *record.Reader, from io.Reader, number uint64) *record.Reader {
	return open(from, N(number))
}

// Close gives up the notes. The database must be closed.
func (s *Synced) Close() error { return s.file.Close() }

func encodeNote(name string, synced uint64) []byte {
	note := make([]byte, noteBytes)
	if name == "" {
		return note
	}
	binary.BigEndian.PutUint64(note[4:], synced)
	copy(note[12:], name)
	binary.BigEndian.PutUint32(note, crc32.Checksum(note[4:], castagnoli))
	return note
}

func decodeNote(note []byte) (name string, synced uint64, err error) {
	if string(note) == string(make([]byte, noteBytes)) {
		return "", 0, nil
	}
	if crc32.Checksum(note[4:], castagnoli) != binary.BigEndian.Uint32(note) {
		return "", 0, errors.New("wrong checksum")
	}
	return strings.TrimRight(string(note[12:]), "\x00"), binary.BigEndian.Uint64(note[4:]), nil
}

// log is the name of a file that is noted, "" for others.
func (s *Synced) log(path string) string {
	name := s.PathBase(path)
	if s.PathDir(path) != s.PathDir(s.PathJoin(s.dir, name)) || len(name) > noteBytes-12 ||
		!strings.HasSuffix(name, ".log") && !strings.HasPrefix(name, "MANIFEST-") {
		return ""
	}
	return name
}

// note notes how much of a log is on disk. What can't be noted is lacking from the notes, which is no harm.
func (s *Synced) note(name string, synced uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := -1
	for i, other := range s.slots {
		if other == name {
			free = i
			break
		}
		if other == "" && free < 0 {
			free = i
		}
	}
	if free >= 0 {
		s.slots[free] = name
		_, _ = s.file.WriteAt(encodeNote(name, synced), int64(free)*noteBytes)
	}
}

// forget removes the note of a log that is about to go.
func (s *Synced) forget(path string) {
	name := s.log(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.slots {
		if name != "" && other == name {
			s.slots[i] = ""
			_, _ = s.file.WriteAt(encodeNote("", 0), int64(i)*noteBytes)
		}
	}
}

// Create implements vfs.FS.
func (s *Synced) Create(path string, category vfs.DiskWriteCategory) (vfs.File, error) {
	s.forget(path)
	f, err := s.FS.Create(path, category)
	return s.follow(path, f, err)
}

// ReuseForWrite implements vfs.FS.
func (s *Synced) ReuseForWrite(old, path string, category vfs.DiskWriteCategory) (vfs.File, error) {
	s.forget(old)
	s.forget(path)
	f, err := s.FS.ReuseForWrite(old, path, category)
	return s.follow(path, f, err)
}

// Remove implements vfs.FS.
func (s *Synced) Remove(path string) error {
	s.forget(path)
	return s.FS.Remove(path)
}

// Rename implements vfs.FS.
func (s *Synced) Rename(old, path string) error {
	s.forget(old)
	s.forget(path)
	return s.FS.Rename(old, path)
}

// Unwrap implements vfs.FS.
func (s *Synced) Unwrap() vfs.FS { return s.FS }

func (s *Synced) follow(path string, f vfs.File, err error) (vfs.File, error) {
	name := s.log(path)
	if err != nil || name == "" {
		return f, err
	}
	return &followed{File: f, notes: s, name: name}, nil
}

// followed is a log that is being written, by one goroutine.
type followed struct {
	vfs.File
	notes   *Synced
	name    string
	written uint64
}

func (f *followed) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.written += uint64(n)
	return n, err
}

func (f *followed) Sync() error { return f.synced(f.File.Sync()) }

func (f *followed) SyncData() error { return f.synced(f.File.SyncData()) }

func (f *followed) synced(err error) error {
	if err == nil && f.written > 0 {
		f.notes.note(f.name, f.written)
	}
	return err
}
