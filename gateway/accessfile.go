package gateway

import (
	"errors"
	"fmt"
	"os"
)

// logFile is the access log's file. One that has its full size is moved aside, in the place of the one before, so that both
// together never have more than twice that and one batch.
type logFile struct {
	file *os.File
	path string
	size int64
	most int64 // 0: any
}

// asideSuffix is what is appended to the name of a file that is moved aside.
const asideSuffix = ".1"

func openLogFile(path string, most int64) (*logFile, error) {
	l := &logFile{path: path, most: most}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("gateway: opening the access log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("gateway: opening the access log: %w", err), f.Close())
	}
	l.file, l.size = f, 0
	if info.Mode().IsRegular() {
		l.size = info.Size()
	}
	return nil
}

// Write appends lines, whole ones.
func (l *logFile) Write(lines []byte) (int, error) {
	n, err := l.file.Write(lines)
	l.size += int64(n)
	if err != nil || l.most <= 0 || l.size < l.most {
		return n, err
	}
	before := l.file
	if err := os.Rename(l.path, l.path+asideSuffix); err != nil {
		l.size = 0 // or each batch would try again
		return n, fmt.Errorf("moving the access log aside: %w", err)
	}
	if err := l.open(); err != nil {
		return n, err // it goes on in the one that was moved
	}
	return n, before.Close()
}

// Close closes the file.
func (l *logFile) Close() error { return l.file.Close() }
