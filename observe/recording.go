package observe

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"time"
)

// Recording is what one or more runs left on disk. It reads the files anew for each question, so that a recording of
// any size fits into memory and one that is still being written can be read as well.
type Recording struct {
	// Runs in the order of time, at least one.
	Runs []Run

	files []recordFile
}

// Run is one run of a system in a recording.
type Run struct {
	System  string
	Version string
	From    time.Time // start of its first interval that is still there
	To      time.Time // end of its last interval
	// Torn is the number of files that end in the middle of an interval; what was whole before that is used.
	Torn int
}

type recordFile struct {
	name string
	run  int // index into Runs
}

var errTorn = errors.New("torn frame")

// ReadRecording looks through the recording in dir. It returns an error that wraps ErrNoData if no interval is there,
// and one that names the file if that is not a recording or is of a format that this program does not know.
func ReadRecording(dir string) (*Recording, error) {
	names, err := recordFiles(dir)
	if err != nil {
		return nil, err
	}
	r := &Recording{}
	var last time.Time // start of the run of the file before
	for _, name := range names {
		from, to, header, torn, err := scanRecord(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // rotated away meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("reading the recording %s: %w", name, err)
		}
		if from.IsZero() {
			continue // torn before its first interval
		}
		if len(r.Runs) == 0 || !header.Run.Equal(last) {
			last = header.Run
			r.Runs = append(r.Runs, Run{System: header.System, Version: header.Version, From: from})
		}
		run := &r.Runs[len(r.Runs)-1]
		run.To = to
		if torn {
			run.Torn++
		}
		r.files = append(r.files, recordFile{name, len(r.Runs) - 1})
	}
	if len(r.Runs) == 0 {
		return nil, fmt.Errorf("reading the recording in %s: %w", dir, ErrNoData)
	}
	return r, nil
}

// Last returns the latest run.
func (r *Recording) Last() Run { return r.Runs[len(r.Runs)-1] }

// Window returns everything that was recorded between from and to, at full precision. A zero from means the start of
// the latest run, a zero to the end of the recording. It returns an error that wraps ErrNoData if nothing was.
func (r *Recording) Window(from, to time.Time) (*Window, error) {
	if from.IsZero() {
		from = r.Last().From
	}
	if to.IsZero() {
		to = r.Last().To
	}
	w, err := windowOf(r.intervals(from, to))
	if err != nil {
		return nil, fmt.Errorf("window of the recording from %s to %s: %w", from.Format(time.RFC3339), to.Format(time.RFC3339), err)
	}
	return w, nil
}

func (r *Recording) intervals(from, to time.Time) iter.Seq2[*Interval, error] {
	return func(yield func(*Interval, error) bool) {
		for _, file := range r.files {
			if run := r.Runs[file.run]; run.To.Before(from) || to.Before(run.From) {
				continue
			}
			more := true
			_, err := readFrames(file.name, func(payload []byte) error {
				start, end, _, _, err := decodeSpan(payload)
				if err != nil {
					return err
				}
				if m := start.Add(end.Sub(start) / 2); m.Before(from) || !m.Before(to) {
					return nil
				}
				iv, err := decode(payload)
				if more = yield(iv, err); !more {
					return io.EOF
				}
				return err
			})
			if !more {
				return
			}
			if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, os.ErrNotExist) {
				yield(nil, fmt.Errorf("%s: %w", file.name, err))
				return
			}
		}
	}
}

// scanRecord reads when the intervals of a file were, and no more of them.
func scanRecord(name string) (from, to time.Time, header recordHeader, torn bool, err error) {
	header, err = readFrames(name, func(payload []byte) error {
		start, end, _, _, err := decodeSpan(payload)
		if err == nil && from.IsZero() {
			from = start
		}
		to = end
		return err
	})
	if errors.Is(err, errTorn) {
		return from, to, header, true, nil
	}
	return from, to, header, false, err
}

// readFrames calls f with the payload of each frame after the header; f may keep it. It returns errTorn where the file ends within a frame or a frame is damaged: what follows cannot be
// trusted, for the length may be what is damaged.
func readFrames(name string, f func([]byte) error) (recordHeader, error) {
	var header recordHeader
	file, err := os.Open(name)
	if err != nil {
		return header, err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<16)
	first, err := readFrame(in)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errTorn // made, and nothing written yet
		}
		return header, err
	}
	if json.Unmarshal(first, &header) != nil || header.Magic != recordMagic {
		return header, errors.New("not a recording of Banyan")
	}
	for {
		payload, err := readFrame(in)
		if errors.Is(err, io.EOF) {
			return header, nil
		}
		if err == nil {
			err = f(payload)
		}
		if err != nil {
			return header, err
		}
	}
}

// readFrame returns io.EOF at the end of the file and errTorn anywhere else where no whole frame follows.
func readFrame(in *bufio.Reader) ([]byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errTorn
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, errTorn
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(in, payload); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, errTorn
		}
		return nil, err
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, errTorn
	}
	return payload, nil
}
