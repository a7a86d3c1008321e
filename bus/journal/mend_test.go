package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// forgetfulDisk is one as Linux has it: what could not be synced is given up, can still be read, and the next sync says nothing of it.
type forgetfulDisk struct {
	failing atomic.Bool

	mu    sync.Mutex
	files []*forgetfulFile
}

// forgetfulFile is a file as processes see it, and what of it is on the disk.
type forgetfulFile struct {
	File
	disk    *forgetfulDisk
	pending []write
	onDisk  []byte
}

func (d *forgetfulDisk) open(path string) (File, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ff := &forgetfulFile{File: f, disk: d}
	d.files = append(d.files, ff)
	return ff, nil
}

func (f *forgetfulFile) WriteAt(p []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.pending = append(f.pending, write{at, slices.Clone(p)})
	return f.File.WriteAt(p, at)
}

func (f *forgetfulFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.failing.Load() {
		f.pending = nil
		return syscall.EIO
	}
	for _, w := range f.pending {
		if end := int(w.at) + len(w.data); end > len(f.onDisk) {
			f.onDisk = append(f.onDisk, make([]byte, end-len(f.onDisk))...)
		}
		copy(f.onDisk[w.at:], w.data)
	}
	f.pending = nil
	return nil
}

func (f *forgetfulFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.onDisk = f.onDisk[:min(int64(len(f.onDisk)), size)]
	return f.File.Truncate(size)
}

func (f *forgetfulFile) Allocate(int64) {}

// losePower is a folder as it is after the power went, of one that has a journal.
func (d *forgetfulDisk) losePower(t *testing.T, dir string) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	left := t.TempDir()
	paths, _ := filepath.Glob(filepath.Join(dir, "*.journal"))
	for _, path := range paths {
		named, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range d.files {
			if info, err := f.File.(*file).Stat(); err == nil && os.SameFile(named, info) {
				if err := os.WriteFile(filepath.Join(left, filepath.Base(path)), f.onDisk, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return left
}

// until waits for what the journal does by itself.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain: ", what)
		}
	}
}

// A failed sync is not forgotten with the next one that succeeds: all that was acknowledged before it and after it is there when the power
// goes, what was refused is not, and meanwhile everything is refused with an error that says why.
func TestFailedSyncLosesNothing(t *testing.T) {
	for _, segmentBytes := range []int64{1 << 20, 150} {
		var disk forgetfulDisk
		opts := Options{Dir: t.TempDir(), SegmentBytes: segmentBytes, SyncEvery: time.Millisecond, OpenFile: disk.open}
		j, _ := open(t, opts)
		var want []string
		taken := func(data string) {
			t.Helper()
			if _, err := put(t, j, data, true); err != nil {
				t.Fatal(err)
			}
			want = append(want, data)
		}
		for round := range 3 {
			taken(fmt.Sprint("before ", round))
			disk.failing.Store(true)
			relaxed := make(chan error, 1)
			if err := j.Append(Record{Data: []byte(fmt.Sprint("relaxed ", round)), Done: func(_ Position, err error) { relaxed <- err }}); err != nil {
				t.Fatal(err)
			}
			until(t, "the failure", func() bool { return j.Stats().Failed != nil })
			if _, err := put(t, j, "refused", true); !errors.Is(err, ErrFailed) || errors.Is(err, ErrLost) || !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			if err := j.Flush(t.Context()); !errors.Is(err, ErrFailed) {
				t.Fatalf("flushing: %v", err)
			}
			disk.failing.Store(false)
			until(t, "going on", func() bool { return j.Stats().Failed == nil })
			if err := <-relaxed; err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprint("relaxed ", round))
			taken(fmt.Sprint("after ", round))
		}
		left := disk.losePower(t, opts.Dir)
		_, got := open(t, Options{Dir: left})
		var data []string
		for _, g := range got {
			data = append(data, g.data)
		}
		if !slices.Equal(data, want) {
			t.Errorf("segments of %d bytes: found %q, want %q", segmentBytes, data, want)
		}
		for _, g := range got { // and it is read where it was said to be
			p := make([]byte, len(g.data))
			if err := j.Read(g.at, p); err != nil || string(p) != g.data {
				t.Errorf("read %q, %v; want %q", p, err, g.data)
			}
		}
	}
}

// Of a sync that fails while somebody waits for it, nobody is told that it succeeded, and the record is not there later.
func TestRecordOfAFailedSyncIsRefused(t *testing.T) {
	var disk forgetfulDisk
	opts := Options{Dir: t.TempDir(), SyncEvery: time.Millisecond, OpenFile: disk.open}
	j, _ := open(t, opts)
	disk.failing.Store(true)
	kept := make(chan error, 1)
	if err := j.Append(Record{Data: []byte("kept"), Durable: true, Done: func(_ Position, err error) { kept <- err }}); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, j, "refused", true); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	select {
	case err := <-kept:
		t.Fatalf("what can't be refused was answered while nothing could be written: %v", err)
	default:
	}
	disk.failing.Store(false)
	if err := <-kept; err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, j, "after", true); err != nil {
		t.Fatal(err)
	}
	_, got := open(t, Options{Dir: disk.losePower(t, opts.Dir)})
	if len(got) != 2 || got[0].data != "kept" || got[1].data != "after" {
		t.Errorf("found %v", got)
	}
}

// What was kept for later is refused when the journal closes before the disk works again.
func TestClosingAnswersEverybody(t *testing.T) {
	var disk forgetfulDisk
	j, _ := open(t, Options{Dir: t.TempDir(), SyncEvery: time.Hour, OpenFile: disk.open})
	disk.failing.Store(true)
	kept := make(chan error, 1)
	if err := j.Append(Record{Data: []byte("kept"), Durable: true, Done: func(_ Position, err error) { kept <- err }}); err != nil {
		t.Fatal(err)
	}
	until(t, "the failure", func() bool { return j.Stats().Failed != nil })
	if err := j.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("closing: %v", err)
	}
	if err := <-kept; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// Where what was written can't be read back whole after a failed sync, the journal takes nothing any more, and says so.
func TestWhatCannotBeReadBackStaysRefused(t *testing.T) {
	var disk forgetfulDisk
	dir := t.TempDir()
	j, _ := open(t, Options{Dir: dir, SyncEvery: time.Millisecond, OpenFile: disk.open})
	at, err := put(t, j, "acknowledged", true)
	if err != nil {
		t.Fatal(err)
	}
	disk.failing.Store(true)
	if _, err := put(t, j, "refused", true); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, segmentName(at.Segment)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("X"), at.Offset); err != nil {
		t.Fatal(err)
	}
	disk.failing.Store(false)
	until(t, "giving up", func() bool { return errors.Is(j.Stats().Failed, ErrLost) })
	if _, err := put(t, j, "not refusable", false); !errors.Is(err, ErrLost) || !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	if err := j.Close(); !errors.Is(err, ErrLost) {
		t.Errorf("closing: %v", err)
	}
}
