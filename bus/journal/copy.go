package journal

import (
	"context"
	"errors"
	"fmt"
)

// Copy hands out all records that were appended before, oldest first, as they are on disk. Meanwhile more can be appended, and no
// segment is dropped. The data that emit gets is its own only until it returns; one frame is in memory at a time.
func (j *Journal) Copy(ctx context.Context, emit func([]byte) error) error {
	j.mu.Lock()
	j.copies++
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.copies--
	}()
	if err := j.Flush(ctx); err != nil {
		return err
	}
	type part struct {
		path string
		file File
		end  int64
	}
	var parts []part
	j.mu.Lock()
	for _, s := range j.segments {
		parts = append(parts, part{s.path, s.file, s.size})
	}
	j.mu.Unlock()
	for _, p := range parts {
		for at := int64(0); at < p.end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, payload, err := readFrame(p.file, at)
			if errors.Is(err, errNoFrame) {
				err = ErrDamaged
			}
			if err != nil {
				return fmt.Errorf("reading %s at byte %d: %w", p.path, at, err)
			}
			if _, err := EachRecord(payload, func(_ int64, data []byte) error { return emit(data) }); err != nil {
				return err
			}
			at += headBytes + int64(len(payload))
		}
	}
	return nil
}
