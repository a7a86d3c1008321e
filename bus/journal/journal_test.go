package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

type found struct {
	at   Position
	data string
}

func open(t *testing.T, opts Options) (*Journal, []found) {
	t.Helper()
	var all []found
	j, err := Open(opts, func(at Position, data []byte) error {
		all = append(all, found{at, string(data)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, all
}

// put appends and waits.
func put(t *testing.T, j *Journal, data string, refusable bool) (Position, error) {
	t.Helper()
	type outcome struct {
		at  Position
		err error
	}
	done := make(chan outcome, 1)
	err := j.Append(Record{Data: []byte(data), Durable: true, Refusable: refusable, Done: func(at Position, err error) { done <- outcome{at, err} }})
	if err != nil {
		return Position{}, err
	}
	o := <-done
	return o.at, o.err
}

func TestWhatWasAppendedIsFoundInOrder(t *testing.T) {
	opts := Options{Dir: t.TempDir(), SegmentBytes: 4 << 10}
	j, _ := open(t, opts)
	var mu sync.Mutex
	var want []found
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 100 {
				data := fmt.Sprintf("%d/%d/%s", w, i, bytes.Repeat([]byte("x"), i))
				done := make(chan struct{})
				err := j.Append(Record{Data: []byte(data), Durable: i%2 == 0, Done: func(at Position, err error) {
					mu.Lock()
					want = append(want, found{at, data})
					mu.Unlock()
					close(done)
				}})
				if err != nil {
					t.Error(err)
					return
				}
				<-done
			}
		}()
	}
	wg.Wait()
	for _, f := range want {
		p := make([]byte, len(f.data))
		if err := j.Read(f.at, p); err != nil || string(p) != f.data {
			t.Fatalf("read %q, %v; want %q", p, err, f.data)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, got := open(t, opts)
	if len(got) != len(want) {
		t.Fatalf("found %d of %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("record %d: %v, want %v", i, got[i], want[i])
		}
	}
	if st := j.Stats(); st.Segments < 5 {
		t.Errorf("%d segments, want several", st.Segments)
	}
}

// A crash leaves any prefix of what was not synced, and any of its pages.
func TestTornTailIsCutOff(t *testing.T) {
	opts := Options{Dir: t.TempDir(), SegmentBytes: 1 << 20}
	j, _ := open(t, opts)
	for i := range 20 {
		if _, err := put(t, j, fmt.Sprintf("record %d", i), true); err != nil {
			t.Fatal(err)
		}
	}
	end := j.active().size
	j.Close()
	path := filepath.Join(opts.Dir, segmentName(1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(whole)) != end {
		t.Fatalf("the file has %d bytes after closing, the journal %d", len(whole), end)
	}
	lastFrame := end - headBytes - int64(len("record 19")) - 1
	for cut := lastFrame; cut < end; cut++ {
		torn := append(bytes.Clone(whole[:cut]), make([]byte, 4096)...)
		rewrite(t, opts.Dir, path, torn)
		j, got := open(t, opts)
		if len(got) != 19 {
			t.Fatalf("cut at %d: found %d records, want 19", cut, len(got))
		}
		if _, err := put(t, j, "after", true); err != nil {
			t.Fatal(err)
		}
		j.Close()
		j, got = open(t, opts)
		j.Close()
		if len(got) != 20 || got[19].data != "after" {
			t.Fatalf("cut at %d: found %d records after going on", cut, len(got))
		}
	}
}

func rewrite(t *testing.T, dir, path string, data []byte) {
	t.Helper()
	others, _ := filepath.Glob(filepath.Join(dir, "*.journal"))
	for _, o := range others {
		os.Remove(o)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamageOfWhatWasAcknowledgedIsSaid(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		opts := Options{Dir: t.TempDir(), SegmentBytes: 1 << 20}
		j, _ := open(t, opts)
		for i := range 20 {
			put(t, j, fmt.Sprintf("record %d", i), true)
		}
		j.Close()
		if sealed { // reopening begins a new segment
			j, _ = open(t, opts)
			put(t, j, "in the next segment", true)
			j.Close()
		}
		path := filepath.Join(opts.Dir, segmentName(1))
		whole, _ := os.ReadFile(path)
		for range 50 {
			bad := bytes.Clone(whole)
			at := rand.IntN(len(bad) * 17 / 20) // in the frames before the last ones
			bad[at] ^= 1 << rand.IntN(8)
			os.WriteFile(path, bad, 0o600)
			j, err := Open(opts, func(Position, []byte) error { return nil })
			if err == nil {
				j.Close()
				t.Fatalf("sealed %v: the flipped bit at %d went unseen", sealed, at)
			}
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("sealed %v: %v", sealed, err)
			}
		}
	}
}

// badDisk fails on demand.
type badDisk struct {
	File
	full *atomic.Bool
}

func (b badDisk) WriteAt(p []byte, at int64) (int, error) {
	if b.full.Load() {
		n, _ := b.File.WriteAt(p[:len(p)/2], at)
		return n, syscall.ENOSPC
	}
	return b.File.WriteAt(p, at)
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	var full atomic.Bool
	opts := Options{Dir: t.TempDir(), SegmentBytes: 1 << 20, OpenFile: func(path string) (File, error) {
		f, err := OpenFile(path)
		return badDisk{f, &full}, err
	}}
	j, _ := open(t, opts)
	put(t, j, "before", true)
	full.Store(true)
	if _, err := put(t, j, "refused", true); !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk: %v", err)
	}
	kept := make(chan error, 1)
	j.Append(Record{Data: []byte("kept"), Durable: true, Done: func(_ Position, err error) { kept <- err }})
	if _, err := put(t, j, "refused too", true); !errors.Is(err, ErrFull) {
		t.Fatalf("on a full disk: %v", err)
	}
	if !j.Stats().Full {
		t.Error("the full disk is not said")
	}
	full.Store(false)
	if _, err := put(t, j, "after", true); err != nil {
		t.Fatal(err)
	}
	if err := <-kept; err != nil {
		t.Fatalf("what can't be refused: %v", err)
	}
	j.Close()
	_, got := open(t, opts)
	var data []string
	for _, g := range got {
		data = append(data, g.data)
	}
	if fmt.Sprint(data) != "[before kept after]" {
		t.Fatalf("found %q", data)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}, nil); err == nil {
		t.Fatal("opened twice")
	}
}

func TestDrop(t *testing.T) {
	opts := Options{Dir: t.TempDir(), SegmentBytes: 256}
	j, _ := open(t, opts)
	for i := range 30 {
		put(t, j, fmt.Sprintf("record %02d", i), true)
	}
	id, newest, size, ok := j.Oldest()
	if !ok || id != 1 || size == 0 || time.Since(newest) > time.Hour {
		t.Fatal(id, newest, size, ok)
	}
	if err := j.Drop(id + 1); err == nil {
		t.Fatal("dropped one that is not the oldest")
	}
	if err := j.Drop(id); err != nil {
		t.Fatal(err)
	}
	if err := j.Read(Position{Segment: id}, make([]byte, 1)); err == nil {
		t.Fatal("read from a dropped segment")
	}
	j.Close()
	if _, got := open(t, opts); len(got) == 0 || len(got) >= 30 || got[len(got)-1].data != "record 29" {
		t.Fatalf("found %v", got)
	}
}

func FuzzReplay(f *testing.F) {
	offsets := make([]int64, 2)
	f.Add(appendFrame(nil, 0, 0, []Record{{Data: []byte("a")}, {Data: []byte("bb")}}, offsets))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, segmentName(1)), b, 0o600)
		j, err := Open(Options{Dir: dir, SegmentBytes: 1 << 16}, func(Position, []byte) error { return nil })
		if err == nil {
			j.Close()
		}
	})
}

// A copy has what was appended before it, in order, while more comes and segments would be dropped.
func TestCopy(t *testing.T) {
	j, _ := open(t, Options{Dir: t.TempDir(), SegmentBytes: 1 << 10})
	for i := range 100 {
		if _, err := put(t, j, fmt.Sprintf("record %d %s", i, make([]byte, 50)), false); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := j.Copy(t.Context(), func(data []byte) error {
		if n == 0 {
			if _, err := put(t, j, "later", false); err != nil {
				t.Fatal(err)
			}
			if _, _, _, ok := j.Oldest(); ok {
				t.Error("a segment can be dropped while it is copied")
			}
			if err := j.Drop(1); err != nil {
				t.Error(err)
			}
		}
		if want := fmt.Sprintf("record %d ", n); !bytes.HasPrefix(data, []byte(want)) {
			t.Fatalf("%.20q stands where %q is expected", data, want)
		}
		n++
		return nil
	})
	if err != nil || n != 100 {
		t.Fatal(n, err)
	}
	if _, _, _, ok := j.Oldest(); !ok {
		t.Error("after the copy no segment can be dropped")
	}
	stop := errors.New("stop")
	if err := j.Copy(t.Context(), func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestRecordsOfAFrame(t *testing.T) {
	sized := func(sizes ...int) (batch []Record) {
		for _, n := range sizes {
			batch = append(batch, Record{Data: make([]byte, n)})
		}
		return batch
	}
	const each = lengthBytes
	for _, c := range []struct {
		batch      []Record
		room, want int
	}{
		{nil, 100, 0}, {sized(10), 10 + each, 1}, {sized(1000), 10, 1}, {sized(1000, 1), 10, 1}, {sized(10, 10), 20 + 2*each, 2}, {sized(10, 11), 20 + 2*each, 1},
		{sized(10, 1000, 1, 1), 100, 1}, {sized(0, 0, 0), 2 * each, 2},
	} {
		if got := Framed(c.batch, c.room); got != c.want {
			t.Errorf("%d of %d records fit into %d bytes, want %d", got, len(c.batch), c.room, c.want)
		}
	}
}
