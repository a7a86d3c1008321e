package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// batch takes the operations that already wait, without waiting for more:
// while one batch is being synced the next one gathers by itself.
func (j *Journal) batch(first *operation) []*operation {
	ops := []*operation{first}
	for len(ops) < maxBatch {
		select {
		case op := <-j.ops:
			ops = append(ops, op)
		default:
			return ops
		}
	}
	return ops
}

// commit decides, writes and syncs a batch, and answers its operations. It
// returns an error only if the journal cannot go on.
func (j *Journal) commit(ops []*operation) error {
	ours := ops[:0]
	for _, op := range ops {
		if op.claimed.CompareAndSwap(false, true) {
			ours = append(ours, op)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	file, end, fatal := j.append(ours)
	if file != j.syncedOf {
		j.syncedOf, j.synced = file, 0
	}
	// The sync is outside the lock: others decide on what we wrote meanwhile,
	// and their sync of the same file covers our records too.
	if fatal == nil && file != nil && end > j.synced {
		if err := file.Sync(); err != nil {
			// After a failed fsync the kernel may have dropped the pages:
			// no later success would mean anything.
			fatal = fmt.Errorf("journal: syncing %s: %w", j.path, err)
		} else {
			j.synced = end
		}
	}
	for _, op := range ours {
		if fatal != nil {
			op.err = fatal
		}
		close(op.done)
	}
	return fatal
}

// append brings the state up to date under the file lock, lets each operation
// decide, and writes their records at once. It returns the file and the length
// of it that must be on the disk before the operations are answered.
func (j *Journal) append(ops []*operation) (*os.File, int64, error) {
	// What can be read without the file lock is: a file that was replaced is long.
	j.mu.Lock()
	err := j.catchUp(false)
	j.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	if err := j.lock.lock(); err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	defer j.lock.unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.catchUp(true); err != nil {
		return nil, 0, err
	}
	buf := j.buf
	for _, op := range ops {
		record, err := decide(op)
		if err != nil || record == nil {
			op.err = err
			continue
		}
		at := j.end + int64(len(buf))
		buf = appendFrame(buf, record)
		j.buf = buf // for Read, by the decisions that follow
		if err := j.cfg.State.Apply(Position(at), record); err != nil {
			// The program does not understand its own record. It is not in
			// the file yet: forget it, and everything behind it.
			j.stale, j.buf = true, nil
			return nil, 0, fmt.Errorf("journal: applying a new record: %w", err)
		}
	}
	if j.buf = buf[:0]; cap(buf) > 4*MaxRecord {
		j.buf = nil
	}
	if len(buf) > 0 {
		if _, err := j.file.WriteAt(buf, j.end); err != nil {
			// A full disk. Some whole records may be there and other processes
			// may have read them, so they stay; the next writer cuts what is
			// torn. The state is ahead of the file and is built anew.
			j.stale = true
			for _, op := range ops {
				if op.err == nil {
					op.err = fmt.Errorf("journal: writing %s: %w", j.path, err)
				}
			}
			return nil, 0, nil
		}
		j.end += int64(len(buf))
	}
	return j.file, j.end, nil
}

func decide(op *operation) ([]byte, error) {
	record, err := op.decide()
	if err == nil && len(record) > MaxRecord {
		return nil, fmt.Errorf("journal: a record of %d bytes, more than %d", len(record), MaxRecord)
	}
	return record, err
}

// catchUp applies what others appended. Called with mu held; with the file
// lock held as well (locked) an incomplete end belongs to a dead process and
// is cut, without it the end may just be in the making and is left alone.
func (j *Journal) catchUp(locked bool) error {
	if j.file == nil && j.Err() != nil {
		return j.Err()
	}
	named, err := os.Stat(j.path)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if j.file == nil || j.stale || named.Size() < j.end || !os.SameFile(named, j.info) {
		if err := j.reopen(); err != nil {
			return err
		}
		if named, err = j.file.Stat(); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	if named.Size() == j.end {
		return nil
	}
	if err := j.replay(named.Size()); err != nil {
		return err
	}
	if !locked || named.Size() == j.end {
		return nil
	}
	if err := checkTorn(j.file, j.end, named.Size()); err != nil {
		return fmt.Errorf("journal: %s: %w", j.path, err)
	}
	if err := j.file.Truncate(j.end); err != nil {
		return fmt.Errorf("journal: cutting the torn end of %s: %w", j.path, err)
	}
	j.cfg.Log.Warn("cut the torn end that a killed process left", "file", j.path, "at", j.end, "bytes", named.Size()-j.end)
	return nil
}

// reopen begins again with the file that now has the name. The old one is not
// closed here, as the writer may be syncing it at this moment: the garbage
// collector closes it when nobody holds it any more.
func (j *Journal) reopen() error {
	f, err := os.OpenFile(j.path, os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), f.Close())
	}
	if j.file != nil {
		j.compacted = info.Size() // another process has just compacted it
	}
	j.file, j.info, j.end, j.stale = f, info, 0, false
	j.cfg.State.Reset()
	return nil
}

// replay applies the good records between the end and size.
func (j *Journal) replay(size int64) error {
	end, err := eachRecord(j.file, j.end, size, j.cfg.State.Apply)
	j.end = end
	if err != nil {
		j.stale = true
		return fmt.Errorf("journal: %s: %w", j.path, err)
	}
	return nil
}

// eachRecord gives the good records of a file between two positions to f, and returns where they end. A record that is torn
// is no error: the caller decides what that means.
func eachRecord(file *os.File, from, size int64, f func(Position, []byte) error) (end int64, err error) {
	end = from
	chunk := make([]byte, min(size-end, 1<<20))
	have := 0 // bytes in chunk, from end on
	for end+int64(have) < size || have > 0 {
		n, err := file.ReadAt(chunk[have:min(int64(len(chunk)), size-end)], end+int64(have))
		if err != nil && !errors.Is(err, io.EOF) {
			return end, fmt.Errorf("reading: %w", err)
		}
		if n == 0 {
			return end, nil
		}
		have += n
		used, need := 0, 0
		for used < have {
			record, size, err := parseFrame(chunk[used:have])
			if err != nil {
				return end, nil
			}
			if record == nil {
				need = size
				break
			}
			if err := f(Position(end), record); err != nil {
				return end, fmt.Errorf("the record at byte %d: %w", end, err)
			}
			end += int64(size)
			used += size
		}
		if end+int64(need) > size {
			return end, nil
		}
		have = copy(chunk, chunk[used:have])
		if need > len(chunk) {
			chunk = append(chunk, make([]byte, need-len(chunk))...)
		}
	}
	return end, nil
}
