package load

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// files are where traces and feeders are read from: a folder, or contents that were sent here by a coordinator.
type files struct {
	dir  string
	held map[string][]byte // by name as the workload writes it; not nil: nothing else is opened
}

func (f files) open(name string) (io.ReadCloser, error) {
	if f.held != nil {
		data, ok := f.held[name]
		if !ok {
			return nil, fmt.Errorf("open %s: the coordinator has not sent it", name)
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(f.dir, path)
	}
	return os.Open(path)
}

// unpacked reads what is gzip'd or not, and never more than limit+1 bytes: a caller who finds N at 0 has met a file that
// is too long.
func unpacked(r io.Reader, limit int64) (*io.LimitedReader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		zr, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpacking: %w", err)
		}
		return &io.LimitedReader{R: zr, N: limit + 1}, nil
	}
	return &io.LimitedReader{R: in, N: limit + 1}, nil
}
