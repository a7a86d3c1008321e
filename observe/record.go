package observe

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A recording is a folder of files named samples-<start>-<number>.banyan, in the order of their names. A file is a row
// of frames: length of the payload (4 bytes, little-endian), CRC-32C of the payload (4 bytes), payload. The first
// payload is JSON (recordHeader), the others are intervals in their stored form. Nothing is ever written into the middle
// of a file or after a damaged frame: each run, and each run's new attempt after a failure, begins a file of its own.
const (
	recordPrefix = "samples-"
	recordSuffix = ".banyan"
	recordMagic  = "banyan samples"
	maxFrame     = 16 << 20
	frameHeader  = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// RecordConfig says where and how much is recorded.
type RecordConfig struct {
	// Dir is the folder; it is made if it does not exist. Empty: nothing is recorded.
	Dir string
	// FileSize in bytes after which a new file is begun. Default: 16 MiB.
	FileSize int64
	// TotalSize in bytes that all files together may have: the oldest are deleted. Default: 256 MiB; at least two files.
	TotalSize int64
}

type recordHeader struct {
	Magic   string    `json:"magic"`
	System  string    `json:"system"`
	Version string    `json:"version"`
	Run     time.Time `json:"run"` // first interval of the run
}

// recorder appends intervals to files. It is used by one goroutine at a time.
type recorder struct {
	cfg     RecordConfig
	header  recordHeader
	file    *os.File // nil: none is open
	size    int64
	number  int
	failing bool
}

func newRecorder(cfg RecordConfig, system, version string) (*recorder, error) {
	if cfg.FileSize == 0 {
		cfg.FileSize = 16 << 20
	}
	if cfg.TotalSize == 0 {
		cfg.TotalSize = 256 << 20
	}
	if cfg.FileSize < 1 || cfg.TotalSize < 2*cfg.FileSize {
		return nil, fmt.Errorf("recording: files of %d bytes, %d in all: want room for at least two", cfg.FileSize, cfg.TotalSize)
	}
	return &recorder{cfg: cfg, header: recordHeader{Magic: recordMagic, System: system, Version: version}}, nil
}

// append writes one interval and returns the bytes written. After an error the next call begins a new file, for the end
// of this one is unknown.
func (r *recorder) append(blob []byte, start time.Time) (int, error) {
	n, err := r.write(blob, start)
	if r.failing = err != nil; r.failing && r.file != nil {
		r.file.Close()
		r.file = nil
	}
	return n, err
}

func (r *recorder) write(blob []byte, start time.Time) (int, error) {
	if len(blob) > maxFrame {
		return 0, fmt.Errorf("recording an interval of %d bytes: more than %d", len(blob), maxFrame)
	}
	if r.file == nil || r.size+int64(len(blob)+frameHeader) > r.cfg.FileSize {
		if err := r.begin(start); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(frame(blob))
	r.size += int64(n)
	return n, err
}

func frame(payload []byte) []byte {
	b := make([]byte, frameHeader, frameHeader+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

// begin opens the next file and deletes the oldest ones.
func (r *recorder) begin(start time.Time) error {
	if err := r.close(); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if err := os.MkdirAll(r.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if err := r.trim(); err != nil {
		return err
	}
	if r.header.Run.IsZero() {
		r.header.Run = start.UTC()
	}
	header, err := json.Marshal(r.header)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	for {
		r.number++
		name := fmt.Sprintf("%s%s-%06d%s", recordPrefix, r.header.Run.Format("20060102T150405.000"), r.number, recordSuffix)
		f, err := os.OpenFile(filepath.Join(r.cfg.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("recording: %w", err)
		}
		r.file, r.size = f, 0
		break
	}
	n, err := r.file.Write(frame(header))
	r.size += int64(n)
	return err
}

// trim deletes the oldest files until there is room for one more.
func (r *recorder) trim() error {
	names, err := recordFiles(r.cfg.Dir)
	if err != nil {
		return err
	}
	sizes := make([]int64, len(names))
	total := int64(0)
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	for i, name := range names {
		if total <= r.cfg.TotalSize-r.cfg.FileSize {
			break
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("recording: making room: %w", err)
		}
		total -= sizes[i]
	}
	return nil
}

func (r *recorder) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// recordFiles returns the files of a recording, oldest first.
func recordFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the recording: %w", err)
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); e.Type().IsRegular() && strings.HasPrefix(n, recordPrefix) && strings.HasSuffix(n, recordSuffix) {
			names = append(names, filepath.Join(dir, n))
		}
	}
	slices.Sort(names)
	return names, nil
}
