package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// list is a State that remembers every record.
type list struct {
	records []string
	places  []Position
}

func (l *list) Reset() { l.records, l.places = nil, nil }

func (l *list) Apply(at Position, record []byte) error {
	if string(record) == "poison" {
		return errors.New("a record that nobody understands")
	}
	l.records = append(l.records, string(record))
	l.places = append(l.places, at)
	return nil
}

// open opens a journal on dir and runs it until the test ends or stop is called.
func open(t *testing.T, cfg Config) (j *Journal, stop func()) {
	t.Helper()
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := j.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return j, stop
}

func put(t *testing.T, j *Journal, record string) {
	t.Helper()
	if err := j.Update(t.Context(), func() ([]byte, error) { return []byte(record), nil }); err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, j *Journal, l *list) []string {
	t.Helper()
	var records []string
	if err := j.View(func() error { records = slices.Clone(l.records); return nil }); err != nil {
		t.Fatal(err)
	}
	return records
}

func TestUpdateViewReadReopen(t *testing.T) {
	dir, l := t.TempDir(), &list{}
	j, stop := open(t, Config{Dir: dir, State: l})
	want := []string{"one", "", strings.Repeat("x", MaxRecord), "four"}
	for _, r := range want {
		put(t, j, r)
	}
	refusal := errors.New("refused")
	if err := j.Update(t.Context(), func() ([]byte, error) { return nil, refusal }); err != refusal {
		t.Fatalf("Update = %v, want the error of decide", err)
	}
	if err := j.Update(t.Context(), func() ([]byte, error) { return nil, nil }); err != nil {
		t.Fatalf("Update of nothing: %v", err)
	}
	if err := j.Update(t.Context(), func() ([]byte, error) { return make([]byte, MaxRecord+1), nil }); err == nil {
		t.Fatal("a record above MaxRecord was taken")
	}
	if got := all(t, j, l); !slices.Equal(got, want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	err := j.View(func() error {
		for i, at := range l.places {
			if r, err := j.Read(at); err != nil || string(r) != want[i] {
				return fmt.Errorf("Read(%d) = %.20q, %v, want %.20q", at, r, err, want[i])
			}
		}
		_, err := j.Read(3)
		if err == nil {
			return errors.New("Read at no record's place succeeded")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := j.Update(t.Context(), func() ([]byte, error) { return []byte("late"), nil }); !errors.Is(err, ErrClosed) {
		t.Fatalf("Update after Run = %v, want ErrClosed", err)
	}
	if err := j.View(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Fatalf("View after Run = %v, want ErrClosed", err)
	}
	again := &list{}
	j, _ = open(t, Config{Dir: dir, State: again})
	if got := all(t, j, again); !slices.Equal(got, want) {
		t.Fatalf("after reopening: %d records, want %d", len(got), len(want))
	}
}

// A process may be killed at any byte of a write: whatever the length of the
// file then, the whole records in it are there and the next ones can be added.
func TestCrashAtEveryByte(t *testing.T) {
	dir, l := t.TempDir(), &list{}
	j, stop := open(t, Config{Dir: dir, State: l})
	want := []string{"first", "", "the third is longer", "4"}
	for _, r := range want {
		put(t, j, r)
	}
	ends := append(slices.Clone(l.places[1:]), Position(j.end))
	stop()
	whole, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	for size := range len(whole) + 1 {
		for _, tail := range []string{"", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "garbage\xf9JR"} {
			dir, l := t.TempDir(), &list{}
			if err := os.WriteFile(filepath.Join(dir, "journal.log"), append(whole[:size:size], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			n, _ := slices.BinarySearch(ends, Position(size+1))
			j, stop := open(t, Config{Dir: dir, State: l})
			if got := all(t, j, l); !slices.Equal(got, want[:n]) {
				t.Fatalf("cut at %d: %q, want %q", size, got, want[:n])
			}
			put(t, j, "new")
			if info, err := os.Stat(j.path); err != nil || info.Size() != j.end {
				t.Fatalf("cut at %d: the file has %d bytes, %v, its records end at %d", size, info.Size(), err, j.end)
			}
			stop()
			again := &list{}
			j, stop = open(t, Config{Dir: dir, State: again})
			if got := all(t, j, again); !slices.Equal(got, append(want[:n:n], "new")) {
				t.Fatalf("cut at %d, then one more: %q", size, got)
			}
			stop()
		}
	}
}

// Damage before good records is not a torn end: it must be reported, and the
// file left as it is.
func TestDamageInTheMiddleIsNotCut(t *testing.T) {
	dir, l := t.TempDir(), &list{}
	j, stop := open(t, Config{Dir: dir, State: l})
	for i := range 5 {
		put(t, j, fmt.Sprintf("record %d", i))
	}
	second := l.places[1]
	last := l.places[4]
	stop()
	whole, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	for at := int(second); at < int(last); at++ {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x41
		if err := os.WriteFile(j.path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir, State: &list{}}); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Fatalf("byte %d damaged: Open = %v, want an error that says so", at, err)
		}
		if after, _ := os.ReadFile(j.path); !bytes.Equal(after, damaged) {
			t.Fatalf("byte %d damaged: Open changed the file", at)
		}
	}
}

func TestStateThatRefusesARecord(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journal.log"), appendFrame(nil, []byte("poison")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir, State: &list{}}); err == nil || !strings.Contains(err.Error(), "byte 0") {
		t.Fatalf("Open = %v, want an error that names the place", err)
	}
}

// Many handles on one file, each with many writers: a counter that each
// increment must have read the latest value of.
func TestHandlesShareOneSequence(t *testing.T) {
	dir := t.TempDir()
	const handles, writers, each = 4, 8, 25
	var wg sync.WaitGroup
	for range handles {
		l := &list{}
		j, _ := open(t, Config{Dir: dir, State: l})
		for range writers {
			wg.Go(func() { count(t, j, l, each) })
		}
	}
	wg.Wait()
	checkCount(t, dir, handles*writers*each)
}

func count(t *testing.T, j *Journal, l *list, n int) {
	for range n {
		var wrote int
		err := j.Update(context.Background(), func() ([]byte, error) {
			wrote = len(l.records)
			return []byte(strconv.Itoa(wrote)), nil
		})
		if err != nil {
			t.Errorf("Update: %v", err)
			return
		}
		err = j.View(func() error {
			if len(l.records) <= wrote || l.records[wrote] != strconv.Itoa(wrote) {
				return fmt.Errorf("an acknowledged record is not seen: %d of %d", wrote, len(l.records))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
			return
		}
	}
}

func checkCount(t *testing.T, dir string, least int) {
	t.Helper()
	l := &list{}
	if _, err := Open(Config{Dir: dir, State: l}); err != nil {
		t.Fatal(err)
	}
	for i, r := range l.records {
		if r != strconv.Itoa(i) {
			t.Fatalf("record %d says %s", i, r)
		}
	}
	if len(l.records) < least {
		t.Fatalf("%d records, want %d at least", len(l.records), least)
	}
}

// The decisions of one batch see each other's records, before they are written.
func TestReadWithinABatch(t *testing.T) {
	l := &list{}
	j, err := Open(Config{Dir: t.TempDir(), State: l})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const updates = 10
	for range updates {
		wg.Go(func() {
			err := j.Update(t.Context(), func() ([]byte, error) {
				for i, at := range l.places {
					if r, err := j.Read(at); err != nil || string(r) != strconv.Itoa(i) {
						return nil, fmt.Errorf("Read(%d) = %q, %v, want %d", at, r, err, i)
					}
				}
				return []byte(strconv.Itoa(len(l.records))), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for len(j.ops) < updates {
		runtime.Gosched() // Run does not run yet: they come to wait
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- j.Run(ctx) }()
	wg.Wait()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWriterProcess is not a test: TestKilledProcesses runs it as a process of
// its own. It prints each number that was acknowledged.
func TestWriterProcess(t *testing.T) {
	dir := os.Getenv("JOURNAL_TEST_DIR")
	if dir == "" {
		t.Skip("runs as a process of TestKilledProcesses")
	}
	l := &list{}
	j, _ := open(t, Config{Dir: dir, State: l})
	for {
		wrote := 0
		err := j.Update(context.Background(), func() ([]byte, error) {
			wrote = len(l.records)
			return []byte(strconv.Itoa(wrote)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("acknowledged %d\n", wrote)
	}
}

// Processes that are killed in the middle of writing leave a file with
// everything that they had acknowledged, and the others go on.
func TestKilledProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	highest := -1
	for range 4 {
		var processes []*exec.Cmd
		var outputs []*bytes.Buffer
		for range 3 {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriterProcess$", "-test.timeout=60s")
			c.Env = append(os.Environ(), "JOURNAL_TEST_DIR="+dir)
			out := &bytes.Buffer{}
			c.Stdout = out
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			processes, outputs = append(processes, c), append(outputs, out)
		}
		// Write along with them; after some records of theirs, kill them.
		l := &list{}
		j, stop := open(t, Config{Dir: dir, State: l})
		for start := len(all(t, j, l)); len(all(t, j, l)) < start+300; {
			count(t, j, l, 1)
		}
		stop()
		for i, c := range processes {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait() // it was killed
			for line := range strings.SplitSeq(outputs[i].String(), "\n") {
				if n, err := strconv.Atoi(strings.TrimPrefix(line, "acknowledged ")); err == nil {
					highest = max(highest, n)
				}
			}
		}
		checkCount(t, dir, highest+1)
	}
	if highest < 0 {
		t.Fatal("the other processes wrote nothing")
	}
}

// register is a State with a snapshot: the last value of each name.
type register struct {
	values map[string]string
	resets int
}

func (r *register) Reset() { r.values = map[string]string{}; r.resets++ }

func (r *register) Apply(_ Position, record []byte) error {
	name, value, _ := strings.Cut(string(record), "=")
	r.values[name] = value
	return nil
}

func (r *register) snapshot(keep func([]byte) error, _ func(Position) error) error {
	for name, value := range r.values {
		if err := keep([]byte(name + "=" + value)); err != nil {
			return err
		}
	}
	return nil
}

// Random writes through several handles with compactions all the while: every
// handle sees what a plain map holds.
func TestCompactionAgainstModel(t *testing.T) {
	dir := t.TempDir()
	const compactAbove = 2000
	var handles []*Journal
	var states []*register
	for range 4 {
		r := &register{}
		j, _ := open(t, Config{Dir: dir, State: r, Snapshot: r.snapshot, CompactAbove: compactAbove})
		handles, states = append(handles, j), append(states, r)
	}
	random := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	largest := int64(0)
	for i := range 1500 {
		name, value := strconv.Itoa(random.IntN(20)), strconv.Itoa(i)
		put(t, handles[random.IntN(3)], name+"="+value)
		model[name] = value
		k := random.IntN(3)
		if i%97 == 0 {
			k = 3 // one that looks rarely, and may find quite another file
		}
		err := handles[k].View(func() error {
			if got := states[k].values[name]; got != value {
				return fmt.Errorf("after write %d: handle %d has %s=%s, want %s", i, k, name, got, value)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(handles[0].path); err == nil {
			largest = max(largest, info.Size())
		}
	}
	if states[0].resets < 3 {
		t.Error("the file was hardly ever compacted")
	}
	if most := int64(5 * compactAbove); largest > most {
		t.Errorf("the file grew to %d bytes, want %d at most", largest, most)
	}
	again := &register{}
	if _, err := Open(Config{Dir: dir, State: again}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(again.values) != fmt.Sprint(model) {
		t.Fatalf("on the disk: %v\nwant %v", again.values, model)
	}
}

// A snapshot that fails half-way must leave the old file.
func TestFailedCompaction(t *testing.T) {
	dir, r := t.TempDir(), &register{}
	j, stop := open(t, Config{Dir: dir, State: r, CompactAbove: 100, Snapshot: func(keep func([]byte) error, _ func(Position) error) error {
		return errors.Join(keep([]byte("half=1")), errors.New("no more"))
	}})
	for i := range 100 {
		put(t, j, "a="+strconv.Itoa(i))
	}
	stop()
	again := &register{}
	if _, err := Open(Config{Dir: dir, State: again}); err != nil || again.values["a"] != "99" || again.values["half"] != "" {
		t.Fatalf("Open = %v, values %v", err, again.values)
	}
	if _, err := os.Stat(j.path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half-written snapshot is still there: %v", err)
	}
}

// An update whose caller gave up before it was decided is not written.
func TestCallerThatGivesUp(t *testing.T) {
	dir, l := t.TempDir(), &list{}
	j, err := Open(Config{Dir: dir, State: l})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- j.Update(ctx, func() ([]byte, error) { return []byte("given up"), nil }) }()
	for len(j.ops) == 0 {
		runtime.Gosched() // Run does not run yet: the update comes to wait
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatalf("Update = %v, want that it was cancelled", err)
	}
	running, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- j.Run(running) }()
	put(t, j, "kept")
	if got := all(t, j, l); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("records %q, want only the one that was waited for", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A full disk fails the updates of the moment, without losing any other.
func TestFailedWriteIsForgotten(t *testing.T) {
	dir, l := t.TempDir(), &list{}
	j, _ := open(t, Config{Dir: dir, State: l})
	put(t, j, "before")
	// A file that cannot be written stands in for the full disk.
	readOnly, err := os.Open(j.path)
	if err != nil {
		t.Fatal(err)
	}
	j.mu.Lock()
	j.file = readOnly
	j.mu.Unlock()
	if err := j.Update(t.Context(), func() ([]byte, error) { return []byte("lost"), nil }); err == nil {
		t.Fatal("a write to a read-only file succeeded")
	}
	if got := all(t, j, l); !slices.Equal(got, []string{"before"}) {
		t.Fatalf("after the failed write: %q", got)
	}
	put(t, j, "after")
	if got := all(t, j, l); !slices.Equal(got, []string{"before", "after"}) {
		t.Fatalf("after the next write: %q", got)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(appendFrame(nil, []byte("hello")))
	f.Add([]byte("\xf9JR\xfa\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		record, need, err := parseFrame(data)
		switch {
		case err != nil:
		case record != nil && !bytes.Equal(appendFrame(nil, record), data[:need]):
			t.Errorf("%x is not the frame of %x", data[:need], record)
		case record == nil && need <= len(data):
			t.Errorf("wants %d bytes and has %d", need, len(data))
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			l := &register{}
			j, err := Open(Config{Dir: b.TempDir(), State: l})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- j.Run(ctx) }()
			record := []byte("a=" + strings.Repeat("x", 300))
			b.SetParallelism(writers)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := j.Update(ctx, func() ([]byte, error) { return record, nil }); err != nil {
						b.Error(err)
					}
				}
			})
			cancel()
			<-done
		})
	}
}

// The compaction of a handle and its writer share one open file, whose lock the first to unlock must not take from the other.
func TestLockAmongGoroutinesOfOneHandle(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, Config{Dir: dir, State: &list{}})
	for range 20 {
		if err := first.lock.lock(); err != nil {
			t.Fatal(err)
		}
		has, release := make(chan error), make(chan struct{})
		go func() {
			has <- first.lock.lock()
			<-release
			first.lock.unlock()
			close(has)
		}()
		for range 1000 {
			runtime.Gosched() // it is at the lock by now
		}
		first.lock.unlock()
		if err := <-has; err != nil {
			t.Fatal(err)
		}
		other, err := os.Open(first.lock.file.Name())
		if err != nil {
			t.Fatal(err)
		}
		taken, err := tryLockFile(other)
		if err != nil || taken {
			t.Fatalf("another handle could take the lock that a goroutine holds (%v)", err)
		}
		other.Close()
		close(release)
		<-has
	}
}
