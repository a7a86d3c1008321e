package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/atomicfile"
)

// anewSuffix is behind the name of a segment's file while it is written anew.
const anewSuffix = ".anew"

// hold refuses what may be refused and keeps the rest for later, or, when there is no later, refuses everything.
func (j *Journal) hold(batch []Record, err error) {
	lost := errors.Is(err, ErrLost)
	for _, r := range batch {
		switch {
		case !r.Refusable && !lost:
			j.retained = append(j.retained, r)
		case r.Done != nil:
			r.Done(Position{}, err)
		}
	}
}

// giveUp refuses what was kept for later when there is no later.
func (j *Journal) giveUp() {
	for _, r := range j.retained {
		if r.Done != nil {
			r.Done(Position{}, ErrClosed)
		}
	}
	j.retained = nil
}

// fault is why nothing can be written now. j.mu is held.
func (j *Journal) fault() error {
	if j.failed != nil {
		return j.failed
	}
	return j.broken
}

// unwritten holds a batch that the disk did not take. What was written in part is overwritten by the next frame.
func (j *Journal) unwritten(batch []Record, err error) {
	kind := ErrFailed
	if noRoom(err) {
		kind = ErrFull
		j.mu.Lock()
		j.stats.Full = true
		j.mu.Unlock()
	}
	j.hold(batch, fmt.Errorf("%w: %w", kind, err))
}

// noRoom reports whether an error says that the disk, or what may be used of it, is full.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// mend has the journal go on after a failed sync, if the disk works again. Only the journal's goroutine calls it.
func (j *Journal) mend() {
	j.mu.Lock()
	broken, failed, s := j.broken, j.failed != nil, j.segments[len(j.segments)-1]
	j.mu.Unlock()
	if broken == nil || failed {
		return
	}
	anew, err := j.writeAnew(s)
	j.mu.Lock()
	switch {
	case errors.Is(err, ErrLost):
		j.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	case err != nil:
		j.broken = fmt.Errorf("%w: %w", ErrFailed, err)
	default:
		// Whoever reads from the old file goes on; it is closed when nobody has it any more.
		s.file, s.synced, j.broken = anew, s.size, nil
		j.unsynced = time.Time{}
	}
	j.mu.Unlock()
}

// writeAnew copies a segment into another file, which takes the place of the old one when it is on disk and was found whole. What is copied
// may come from the system's memory alone; the checksums say that it is what was written.
func (j *Journal) writeAnew(s *segment) (_ File, err error) {
	path := s.path + anewSuffix
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := j.opts.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("writing a segment of the journal anew: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if _, err := io.Copy(io.NewOffsetWriter(f, 0), io.NewSectionReader(s.file, 0, s.size)); err != nil {
		return nil, fmt.Errorf("writing a segment of the journal anew: %w", err)
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("writing a segment of the journal anew: %w", err)
	}
	if err := checkFrames(f, s.size); err != nil {
		return nil, err
	}
	f.Allocate(j.opts.SegmentBytes)
	if err := os.Rename(path, s.path); err != nil {
		return nil, fmt.Errorf("writing a segment of the journal anew: %w", err)
	}
	return f, atomicfile.SyncDir(j.opts.Dir)
}

// dropUnfinished removes the files of segments that were being written anew when the process ended.
func dropUnfinished(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "*"+anewSuffix)) // fails only for a wrong pattern
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// checkFrames returns ErrLost unless a file consists of whole frames up to its end.
func checkFrames(f io.ReaderAt, end int64) error {
	for at := int64(0); at < end; {
		_, payload, err := readFrame(f, at)
		if errors.Is(err, errNoFrame) {
			return fmt.Errorf("at byte %d: %w", at, ErrLost)
		}
		if err != nil {
			return err
		}
		at += headBytes + int64(len(payload))
	}
	return nil
}
