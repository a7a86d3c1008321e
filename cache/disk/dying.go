package disk

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// Dying is a folder in memory that knows what is safe: when the machine dies, of what was written since the last sync any
// blocks may be there and others not, and of what was done to names since the folder's last sync any first part. It may be
// used by several goroutines.
type Dying struct {
	mu    sync.Mutex
	fail  func(operation, name string) error
	files map[string]*dyingFile
	safe  map[string]*dyingFile // the names that are safe
	done  []map[string]*dyingFile
}

var _ FS = (*Dying)(nil)

// NewDying returns an empty folder.
func NewDying() *Dying {
	return &Dying{files: map[string]*dyingFile{}, safe: map[string]*dyingFile{}}
}

// Bytes are what a file holds, nil where there is none.
func (d *Dying) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return slices.Clone(f.data)
	}
	return nil
}

// Put makes a file that is safe.
func (d *Dying) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &dyingFile{dir: d, name: name, data: slices.Clone(data), synced: slices.Clone(data)}
	d.files[name], d.safe[name] = f, f
}

type dyingFile struct {
	dir    *Dying
	name   string
	data   []byte
	synced []byte
	writes []write // since the last sync
}

type write struct {
	at   int64
	data []byte // nil: the file was cut off there
}

// FailWith has f say whether an operation fails: create, write, truncate, fsync, rename, or sync of the folder. nil: none does.
// f may take its time.
func (d *Dying) FailWith(f func(operation, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = f
}

// may asks whether an operation fails. The lock is not held.
func (d *Dying) may(what, name string) error {
	d.mu.Lock()
	fail := d.fail
	d.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(what, name)
}

func (d *Dying) note() { d.done = append(d.done, maps.Clone(d.files)) }

// Path implements FS.
func (d *Dying) Path(name string) string { return name }

// Open implements FS.
func (d *Dying) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

// Create implements FS.
func (d *Dying) Create(name string) (File, error) {
	if err := d.may("create", name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[name] = &dyingFile{dir: d, name: name}
	d.note()
	return d.files[name], nil
}

// Rename implements FS.
func (d *Dying) Rename(from, to string) error {
	if err := d.may("rename", to); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[to] = d.files[from]
	delete(d.files, from)
	d.note()
	return nil
}

// Remove implements FS.
func (d *Dying) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
	d.note()
	return nil
}

// Sync implements FS.
func (d *Dying) Sync() error {
	if err := d.may("sync", ""); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.safe, d.done = maps.Clone(d.files), nil
	return nil
}

func (f *dyingFile) ReadAt(b []byte, at int64) (int, error) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	if at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	if n := copy(b, f.data[at:]); n < len(b) {
		return n, io.EOF
	}
	return len(b), nil
}

func (f *dyingFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := len(b), f.dir.may("write", f.name)
	if err != nil {
		n /= 2 // part of it
	}
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	f.data = put(f.data, b[:n], at)
	f.writes = append(f.writes, write{at, slices.Clone(b[:n])})
	return n, err
}

// put writes into a file's bytes, which it may make longer.
func put(data, b []byte, at int64) []byte {
	if need := at + int64(len(b)); need > int64(len(data)) {
		data = append(data, make([]byte, need-int64(len(data)))...)
	}
	copy(data[at:], b)
	return data
}

func (f *dyingFile) Truncate(size int64) error {
	if err := f.dir.may("truncate", f.name); err != nil {
		return err
	}
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	f.data = f.data[:size]
	f.writes = append(f.writes, write{size, nil})
	return nil
}

func (f *dyingFile) Sync() error {
	f.dir.mu.Lock()
	data, n := slices.Clone(f.data), len(f.writes)
	f.dir.mu.Unlock()
	if err := f.dir.may("fsync", f.name); err != nil {
		return err
	}
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	f.synced, f.writes = data, f.writes[n:] // what was written while it was synced is not safe
	return nil
}

func (f *dyingFile) Size() (int64, error) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *dyingFile) Close() error { return nil }

// block is what reaches the disk whole or not at all.
const block = 64

// Crash returns a folder as it might be found after the machine has died now.
func (d *Dying) Crash(rng *rand.Rand) *Dying {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := NewDying()
	names := d.safe
	if n := rng.IntN(len(d.done) + 1); n > 0 {
		names = d.done[n-1]
	}
	for name, f := range names {
		data := slices.Clone(f.synced)
		for _, w := range f.writes {
			if w.data == nil {
				if rng.IntN(2) == 0 {
					data = data[:min(w.at, int64(len(data)))]
				}
				continue
			}
			for at := 0; at < len(w.data); at += block {
				if part := w.data[at:min(at+block, len(w.data))]; rng.IntN(3) > 0 {
					data = put(data, part, w.at+int64(at))
				}
			}
		}
		after.files[name] = &dyingFile{dir: after, name: name, data: data, synced: slices.Clone(data)}
	}
	after.safe = maps.Clone(after.files)
	return after
}
