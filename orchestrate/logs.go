package orchestrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Logs reads what replicas have written, from the files below a state directory. Any process may do so, also while
// the system runs or after it has ended.
type Logs struct {
	dir string // the state directory's logs folder
}

// OpenLogs returns the logs of the state directory.
func OpenLogs(stateDir string) Logs { return Logs{filepath.Join(stateDir, "logs")} }

// Line is one line of a replica's log.
type Line struct {
	Time    time.Time `json:"time"`
	Replica string    `json:"replica"`
	Stream  string    `json:"stream"`         // out, err, or sys for the supervisor's own remarks
	More    bool      `json:"more,omitempty"` // continues the line before it, which was too long for one
	Text    string    `json:"text"`
}

// String returns the line as it is shown to people: time, replica, stream, text.
func (l Line) String() string {
	stream := l.Stream
	if l.More {
		stream += "+"
	}
	return fmt.Sprintf("%s %s %s %s", l.Time.Local().Format("15:04:05.000"), l.Replica, stream, l.Text)
}

// parseLine reads a line of a log file; ok is false if it is not one, or only a part of one.
func parseLine(replica string, data []byte) (line Line, ok bool) {
	stamp, rest, ok1 := bytes.Cut(data, []byte{' '})
	stream, text, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 {
		return Line{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, false
	}
	name, more := strings.CutSuffix(string(stream), "+")
	return Line{Time: at, Replica: replica, Stream: name, More: more, Text: string(text)}, true
}

// Paths returns the current log files of a service's replicas by replica; of all services' if service is "".
func (l Logs) Paths(service string) (map[string]string, error) {
	services := []string{service}
	if service == "" {
		services = nil
		entries, err := readFolder(l.dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			services = append(services, e.Name())
		}
	} else if service != filepath.Base(service) || service == ".." || service == "." {
		return nil, fmt.Errorf("read logs: %q is not the name of a service", service)
	}
	paths := make(map[string]string)
	for _, name := range services {
		entries, err := readFolder(filepath.Join(l.dir, name))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if replica, ok := strings.CutSuffix(e.Name(), ".log"); ok {
				paths[replica] = filepath.Join(l.dir, name, e.Name())
			}
		}
	}
	return paths, nil
}

// readFolder lists a folder; one that does not exist yet is empty.
func readFolder(path string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("read logs: %w", err)
	}
	return entries, nil
}

// Tail returns the last n lines of a service's replicas in order of time; of all services' if service is "".
func (l Logs) Tail(service string, n int) ([]Line, error) {
	paths, err := l.Paths(service)
	if err != nil || n <= 0 {
		return nil, err
	}
	var all []Line
	for replica, path := range paths {
		lines, err := tailReplica(replica, path, n)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	sortLines(all)
	return all[max(0, len(all)-n):], nil
}

// tailReplica reads the files of a replica from the newest back until it has n lines.
func tailReplica(replica, path string, n int) ([]Line, error) {
	var all []Line
	for i := 0; i < maxLogFiles && len(all) < n; i++ {
		file := path
		if i > 0 {
			file = olderLog(path, i)
		}
		data, err := os.ReadFile(file) // bounded by the rotation
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("read logs: %w", err)
		}
		var lines []Line
		for end := len(data); end > 0 && len(all)+len(lines) < n; {
			begin := bytes.LastIndexByte(data[:end-1], '\n') + 1
			if line, ok := parseLine(replica, bytes.TrimSuffix(data[begin:end], []byte{'\n'})); ok {
				lines = append(lines, line)
			}
			end = begin
		}
		slices.Reverse(lines)
		all = append(lines, all...)
	}
	return all, nil
}

func sortLines(lines []Line) {
	slices.SortStableFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
}

const (
	followEvery = 100 * time.Millisecond // between two looks at the files
	followHold  = 50 * time.Millisecond  // a line is held back for so long, for older ones of other replicas to come
	followBatch = 4 << 20                // bytes read from one replica at one look
)

// Follow writes the last n lines of a service's replicas, as far as their current files go back, and then new ones as they come, each with its line end, in
// order of time, until ctx ends. Replicas that start later join. A service of "" follows all. It returns nil when ctx
// ends, else w's error.
func (l Logs) Follow(ctx context.Context, service string, n int, w io.Writer) error {
	if _, err := l.Paths(service); err != nil {
		return err
	}
	f := &follower{logs: l, service: service, files: make(map[string]*followed)}
	defer f.close()
	if err := f.begin(n); err != nil {
		return err
	}
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		if err := f.step(w, time.Now().Add(-followHold)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return f.step(w, time.Now())
		case <-ticker.C:
		}
	}
}

// follower remembers how far each replica's log has been read.
type follower struct {
	logs    Logs
	service string
	files   map[string]*followed
	held    []Line
	bytes   int64 // read so far
}

type followed struct {
	file *os.File
	rest []byte // of a line that is not complete yet
}

// begin reads what there is, to have its last n lines and the places where new ones will begin.
func (f *follower) begin(n int) error {
	for {
		before := f.bytes
		if err := f.read(); err != nil {
			return err
		}
		sortLines(f.held)
		f.held = append(f.held[:0:0], f.held[max(0, len(f.held)-max(n, 0)):]...)
		if f.bytes == before {
			return nil
		}
	}
}

// step reads what is new and writes the lines up to the given time.
func (f *follower) step(w io.Writer, until time.Time) error {
	if err := f.read(); err != nil {
		return err
	}
	sortLines(f.held)
	i := 0
	for ; i < len(f.held) && !f.held[i].Time.After(until); i++ {
		if _, err := io.WriteString(w, f.held[i].String()+"\n"); err != nil {
			return err
		}
	}
	f.held = append(f.held[:0:0], f.held[i:]...)
	return nil
}

func (f *follower) read() error {
	paths, err := f.logs.Paths(f.service)
	if err != nil {
		return err
	}
	for replica, path := range paths {
		s := f.files[replica]
		if s == nil {
			file, err := os.Open(path)
			if err != nil {
				continue // rotated this very moment: next time
			}
			s = &followed{file: file}
			f.files[replica] = s
		}
		f.drain(replica, s)
		now, err1 := os.Stat(path)
		then, err2 := s.file.Stat()
		if err1 == nil && err2 == nil && !os.SameFile(now, then) {
			f.drain(replica, s) // what came between reading and rotating
			if file, err := os.Open(path); err == nil {
				_ = s.file.Close()
				*s = followed{file: file}
				f.drain(replica, s)
			}
		}
	}
	return nil
}

// drain reads the complete lines that are there.
func (f *follower) drain(replica string, s *followed) {
	r := bufio.NewReader(io.LimitReader(s.file, followBatch))
	for {
		piece, err := r.ReadBytes('\n')
		f.bytes += int64(len(piece))
		s.rest = append(s.rest, piece...)
		if err != nil {
			return
		}
		if line, ok := parseLine(replica, bytes.TrimSuffix(s.rest, []byte{'\n'})); ok {
			f.held = append(f.held, line)
		}
		s.rest = s.rest[:0]
	}
}

func (f *follower) close() {
	for _, s := range f.files {
		_ = s.file.Close()
	}
}
