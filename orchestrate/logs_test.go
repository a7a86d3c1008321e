package orchestrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestOutputIsCaptured(t *testing.T) {
	w := up(t, one(t, "lines"))
	w.waitReady()
	w.down()
	lines, err := w.o.Logs().Tail("orders", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		if l.Replica != "orders-0" || l.Time.IsZero() {
			t.Errorf("line %+v", l)
		}
		text := l.Text
		if len(text) > 100 {
			text = fmt.Sprintf("%c*%d", text[0], len(text))
		}
		if l.Stream != streamNote {
			got = append(got, fmt.Sprintf("%s %v %s", l.Stream, l.More, text))
		}
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{"out false x*65536\nout true x*32768\nout false short", "err false without an end", "out false asked to stop"} {
		if !strings.Contains(strings.ReplaceAll(all, "err false without an end\n", ""), want) && !strings.Contains(all, want) {
			t.Errorf("want %q in:\n%s", want, all)
		}
	}
	if first, last := lines[0], lines[len(lines)-1]; first.Stream != streamNote || !strings.Contains(last.Text, "exited with code 0") {
		t.Errorf("from %+v to %+v, want the supervisor's remarks", first, last)
	}
}

// syncBuffer is a buffer that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestFollowMergesReplicas(t *testing.T) {
	services := one(t, "lines")
	services["orders"].Replicas = topology.Replicas{Min: 2, Max: 2}
	w := up(t, services)
	w.waitReady()
	ctx, cancel := context.WithCancel(context.Background())
	var out syncBuffer
	done := make(chan error, 1)
	go func() { done <- w.o.Logs().Follow(ctx, "orders", 100, &out) }()
	eventually(t, "the first lines", func() bool { return strings.Count(out.String(), " out short\n") == 2 })
	w.scale("orders", 3)
	w.settle("orders")
	eventually(t, "a new replica's lines", func() bool { return strings.Contains(out.String(), "orders-2 out short\n") })
	w.down()
	eventually(t, "the last lines", func() bool { return strings.Count(out.String(), "exited with code 0") == 3 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), " err without an end\n"); n != 3 {
		t.Errorf("%d of 3 unfinished lines", n)
	}
}

// TestFullDiskIsTold wants one word about a disk that takes nothing, however many lines are lost, and no line held back.
func TestFullDiskIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders-0.log")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 100)
	c, stdout, stderr, err := newCapture(path, func(err error) { told <- err }, nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(stdout, "first")
	if err := <-told; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("told %v", err)
	}
	for i := range 1000 {
		fmt.Fprintln(stdout, i)
	}
	_, _ = stdout.Close(), stderr.Close()
	c.readers.Wait()
	eventually(t, "all lines are counted as lost", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.dropped == 1001
	})
	c.close()
	if len(told) > 0 {
		t.Errorf("told %d times more", len(told))
	}
}

// TestFollowThroughRotation writes far more than one file holds and expects each line once.
func TestFollowThroughRotation(t *testing.T) {
	dir := t.TempDir()
	path := logPath(dir, "orders", "orders-0")
	c, stdout, stderr, err := newCapture(path, func(err error) { t.Error(err) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out syncBuffer
	done := make(chan error, 1)
	go func() { done <- OpenLogs(dir).Follow(ctx, "orders", 1, &out) }()
	fmt.Fprintln(stdout, "0")
	eventually(t, "it follows", func() bool { return strings.HasSuffix(out.String(), " out 0\n") })
	const n = 1200
	for i := 1; i < n; i++ {
		fmt.Fprintf(stdout, "%s %d\n", strings.Repeat("y", 10<<10), i)
		if i%100 == 99 { // not faster than the follower looks
			eventually(t, fmt.Sprintf("line %d is followed", i), func() bool {
				return strings.Contains(out.String(), fmt.Sprintf("y %d\n", i))
			})
		}
	}
	_, _ = stdout.Close(), stderr.Close()
	c.drain(patience)
	c.close()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != n {
		t.Errorf("%d lines followed, want %d", got, n)
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != 2 {
		t.Errorf("files %v", files)
	}
	lines, err := OpenLogs(dir).Tail("", n)
	if err != nil || len(lines) != n || lines[0].Text != "0" {
		t.Errorf("Tail: %d lines, %v", len(lines), err)
	}
}

func TestRotationKeepsThreeFiles(t *testing.T) {
	path := logPath(t.TempDir(), "orders", "orders-0")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	line := record{time.Now(), streamOut, strings.Repeat("z", maxLine)}
	for range 5 * maxLogFile / maxLine {
		if err := l.append([]record{line}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != maxLogFiles {
		t.Errorf("files %v", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > maxLogFile {
			t.Errorf("%s: %v, %v", f, info.Size(), err)
		}
	}
}

// TestSlowDiskDropsLinesAndSaysSo writes to a pipe that nobody reads in place of a file.
func TestSlowDiskDropsLinesAndSaysSo(t *testing.T) {
	r, slow, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{written: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	go c.write(&logFile{path: filepath.Join(t.TempDir(), "x.log"), file: slow})
	for range 4 * maxPending / maxLine { // would block for ever if it waited for the writer
		c.put(streamOut, strings.Repeat("x", maxLine))
	}
	var out bytes.Buffer
	copied := make(chan struct{})
	go func() { defer close(copied); _, _ = out.ReadFrom(r) }()
	c.close()
	<-copied
	if !strings.Contains(out.String(), "lines were dropped") {
		t.Error("nothing is said of the dropped lines")
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte("2026-11-23T17:55:40.123456789Z out hello world"))
	f.Add([]byte("2026-11-23T17:55:40Z err+ x"))
	f.Add([]byte("no time"))
	f.Fuzz(func(t *testing.T, data []byte) {
		line, ok := parseLine("r", data)
		if ok && (line.Stream == "" && !line.More && !bytes.Contains(data, []byte("  ")) || len(line.Text) > len(data)) {
			t.Errorf("%q is read as %+v", data, line)
		}
	})
}
