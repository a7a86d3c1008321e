package orchestrate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	maxLine     = 64 << 10 // bytes of one line; a longer one is written in pieces
	maxLogFile  = 10 << 20 // bytes after which a file is rotated
	maxLogFiles = 3        // kept for each replica, the current one included
	maxPending  = 4 << 20  // bytes read from a replica but not written yet, after which lines are dropped
	recentLines = 20       // kept in memory to explain an exit
	recentWidth = 400      // bytes of each
)

// Streams of a log line. A '+' behind one says that the line goes on where the one before it was cut.
const (
	streamOut  = "out" // the replica's standard output
	streamErr  = "err" // the replica's standard error
	streamNote = "sys" // what the supervisor says about the replica
)

// timeFormat has a fixed width, so that log lines sort as text.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Output takes what a replica writes, besides its log file. Its methods may be called from several goroutines and must not block.
type Output interface {
	// Line takes a line of a stream: out, err, or sys for what the supervisor says about the replica. A long line comes in pieces,
	// of which all but the last go on.
	Line(at time.Time, stream, text string, goesOn bool)
	// Close says that the replica's process has ended and nothing follows.
	Close(at time.Time)
}

// capture reads the output of one process and writes it to the replica's log file. Reading never waits for writing:
// a slow or full disk costs log lines, which are counted, but never holds up the replica.
type capture struct {
	out, err *os.File // read ends
	readers  sync.WaitGroup
	written  chan struct{}
	failed   func(error)
	also     Output // nil: nobody

	mu      sync.Mutex
	wake    *sync.Cond
	pending []record
	bytes   int
	dropped int
	closed  bool
	recent  []record // latest lines, for explaining an exit
}

type record struct {
	at     time.Time
	stream string
	text   string
}

// newCapture begins to write to the log file at path, and returns the write ends of the two streams for the child.
// The caller closes these once the child has them. failed is told when lines begin to be lost because the file cannot be
// written, once until they get through again; it must not block. also, unless it is nil, gets every line as well.
func newCapture(path string, failed func(error), also Output) (c *capture, stdout, stderr *os.File, err error) {
	file, err := openLog(path)
	if err != nil {
		return nil, nil, nil, err
	}
	c = &capture{written: make(chan struct{}), failed: failed, also: also}
	c.wake = sync.NewCond(&c.mu)
	if c.out, stdout, err = os.Pipe(); err != nil {
		_ = file.close()
		return nil, nil, nil, err
	}
	if c.err, stderr, err = os.Pipe(); err != nil {
		_ = file.close()
		_, _ = c.out.Close(), stdout.Close()
		return nil, nil, nil, err
	}
	c.readers.Add(2)
	go c.read(c.out, streamOut)
	go c.read(c.err, streamErr)
	go c.write(file)
	return c, stdout, stderr, nil
}

// note adds a line of the supervisor's.
func (c *capture) note(text string) { c.put(streamNote, text, false) }

// drain waits for the rest of a dead process's output, up to patience: one that escaped may hold the pipes open for
// ever.
func (c *capture) drain(patience time.Duration) {
	deadline := time.Now().Add(patience)
	_ = c.out.SetReadDeadline(deadline)
	_ = c.err.SetReadDeadline(deadline)
	c.readers.Wait()
	_ = c.out.Close()
	_ = c.err.Close()
}

// close ends the writing, after drain.
func (c *capture) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wake.Signal()
	<-c.written
	if c.also != nil {
		c.also.Close(time.Now())
	}
}

func (c *capture) read(from *os.File, stream string) {
	defer c.readers.Done()
	r := bufio.NewReaderSize(from, maxLine)
	mark := stream
	for {
		piece, err := r.ReadSlice('\n')
		if len(piece) > 0 {
			text := strings.TrimSuffix(strings.TrimSuffix(string(piece), "\n"), "\r")
			c.put(mark, text, errors.Is(err, bufio.ErrBufferFull))
		}
		switch {
		case err == nil:
			mark = stream
		case errors.Is(err, bufio.ErrBufferFull):
			mark = stream + "+"
		default:
			return
		}
	}
}

// put takes a line, or a piece of one if it goes on.
func (c *capture) put(stream, text string, goesOn bool) {
	r := record{time.Now().UTC(), stream, text}
	if c.also != nil {
		c.also.Line(r.at, strings.TrimSuffix(stream, "+"), text, goesOn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if stream != streamNote {
		short := r
		if len(short.text) > recentWidth {
			short.text = short.text[:recentWidth] + "..."
		}
		c.recent = append(c.recent, short)
		if len(c.recent) > recentLines {
			c.recent = append(c.recent[:0], c.recent[1:]...)
		}
	}
	if c.bytes+len(text) > maxPending {
		c.dropped++
		return
	}
	c.pending = append(c.pending, r)
	c.bytes += len(text) + 64
	c.wake.Signal()
}

// lastLines returns up to n of the latest lines: of standard error if there are any, else of standard output.
func (c *capture) lastLines(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stream := range []string{streamErr, streamOut} {
		var lines []string
		for _, r := range c.recent {
			if strings.TrimSuffix(r.stream, "+") == stream && strings.TrimSpace(r.text) != "" {
				lines = append(lines, r.text)
			}
		}
		if len(lines) > 0 {
			return lines[max(0, len(lines)-n):]
		}
	}
	return nil
}

// write is the goroutine that owns the log file.
func (c *capture) write(file *logFile) {
	defer close(c.written)
	defer func() { _ = file.close() }()
	failing := false
	for {
		c.mu.Lock()
		for len(c.pending) == 0 && !c.closed {
			c.wake.Wait()
		}
		batch, dropped, closed := c.pending, c.dropped, c.closed
		c.pending, c.bytes, c.dropped = nil, 0, 0
		c.mu.Unlock()
		lost := dropped + len(batch) // unless they get through
		if dropped > 0 {
			why := "they came faster than the disk takes them"
			if failing {
				why = "the disk did not take them"
			}
			batch = append(batch, record{time.Now().UTC(), streamNote, fmt.Sprintf("%d lines were dropped: %s", dropped, why)})
		}
		err := file.append(batch)
		if err != nil {
			if !failing {
				c.failed(err)
			}
			// The next line that gets through tells of these.
			c.mu.Lock()
			c.dropped += lost
			c.mu.Unlock()
			if closed {
				return
			}
		}
		failing = err != nil
		if closed && len(batch) == 0 {
			return
		}
	}
}

// logFile is a replica's log with its older parts: REPLICA.log, REPLICA.log.1, REPLICA.log.2.
type logFile struct {
	path string
	file *os.File
	size int64
}

func openLog(path string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	l := &logFile{path: path}
	return l, l.open()
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	l.file, l.size = file, 0
	if info, err := file.Stat(); err == nil {
		l.size = info.Size()
	}
	// A supervisor that was killed may have left a line without its end.
	last := make([]byte, 1)
	if l.size > 0 {
		if _, err := file.ReadAt(last, l.size-1); err == nil && last[0] != '\n' {
			if n, err := file.WriteString("\n"); err == nil {
				l.size += int64(n)
			}
		}
	}
	return nil
}

func (l *logFile) append(batch []record) error {
	var b strings.Builder
	for _, r := range batch {
		b.Reset()
		b.Grow(len(r.text) + 40)
		b.WriteString(r.at.Format(timeFormat))
		b.WriteByte(' ')
		b.WriteString(r.stream)
		b.WriteByte(' ')
		b.WriteString(r.text)
		b.WriteByte('\n')
		if l.size+int64(b.Len()) > maxLogFile {
			if err := l.rotate(); err != nil {
				return err
			}
		}
		n, err := io.WriteString(l.file, b.String())
		l.size += int64(n)
		if err != nil {
			return fmt.Errorf("write the log: %w", err)
		}
	}
	return nil
}

func (l *logFile) rotate() error {
	_ = l.file.Close()
	for i := maxLogFiles - 1; i > 1; i-- {
		_ = os.Rename(olderLog(l.path, i-1), olderLog(l.path, i))
	}
	_ = os.Rename(l.path, olderLog(l.path, 1))
	return l.open()
}

func (l *logFile) close() error { return l.file.Close() }

func olderLog(path string, n int) string { return fmt.Sprintf("%s.%d", path, n) }
