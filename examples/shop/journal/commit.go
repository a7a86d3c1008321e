package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
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
	if err := lockFile(j.lock); err != nil {
		return nil, 0, fmt.Errorf("journal: locking %s: %w", j.lock.Name(), err)
	}
	defer unlockFile(j.lock)
	j.mu.Lock()
	defer j.mu.Unlock()
	was := j.file
	if err := j.catchUp(true); err != nil {
		return nil, 0, err
	}
	if j.file != was {
		j.synced = 0
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
	if err := j.compact(); err != nil {
		return nil, 0, fmt.Errorf("journal: compacting %s: %w", j.path, err)
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
	chunk := make([]byte, min(size-j.end, 1<<20))
	have := 0 // bytes in chunk, from j.end on
	for j.end+int64(have) < size || have > 0 {
		n, err := j.file.ReadAt(chunk[have:min(int64(len(chunk)), size-j.end)], j.end+int64(have))
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("journal: reading %s: %w", j.path, err)
		}
		if n == 0 {
			return nil
		}
		have += n
		used := 0
		need := 0
		for used < have {
			record, size, err := parseFrame(chunk[used:have])
			if err != nil {
				return nil // torn: the caller decides what that means
			}
			if record == nil {
				need = size
				break
			}
			if err := j.cfg.State.Apply(Position(j.end), record); err != nil {
				j.stale = true
				return fmt.Errorf("journal: %s: the record at byte %d: %w", j.path, j.end, err)
			}
			j.end += int64(size)
			used += size
		}
		if j.end+int64(need) > size {
			return nil
		}
		have = copy(chunk, chunk[used:have])
		if need > len(chunk) {
			chunk = append(chunk, make([]byte, need-len(chunk))...)
		}
	}
	return nil
}

// compact replaces a file that has outgrown its content. The rename is the
// moment of truth: the name always stands for a complete file, and a process
// that holds the old one sees that the name means another. A failure before
// that moment is logged and leaves the file as it is; one after it is
// returned and ends the journal. Called with both locks held.
func (j *Journal) compact() error {
	if j.cfg.Snapshot == nil || j.end < j.cfg.CompactAbove || j.end < compactRatio*j.compacted {
		return nil
	}
	started, before := time.Now(), j.end
	// Whatever happens, try again only after more growth.
	j.compacted = j.end
	if err := j.replace(); err != nil {
		j.cfg.Log.Error("compacting failed; the file stays as it is", "file", j.path, "error", err)
		return nil
	}
	if err := syncDir(j.cfg.Dir); err != nil {
		return err
	}
	// Reading it back costs a little and means that this process goes on
	// from exactly what the others will see.
	j.synced = 0
	if err := j.catchUp(true); err != nil {
		return err
	}
	j.compacted = j.end
	j.cfg.Log.Info("compacted", "file", j.path, "from_bytes", before, "to_bytes", j.end, "took", time.Since(started))
	return nil
}

// replace writes the snapshot beside the file and gives it the file's name.
func (j *Journal) replace() error {
	temporary := j.path + ".new"
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(j.writeSnapshot(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, j.path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

func (j *Journal) writeSnapshot(f *os.File) error {
	var buf []byte
	flush := func() error {
		_, err := f.Write(buf)
		buf = buf[:0]
		return err
	}
	err := j.cfg.Snapshot(func(record []byte) error {
		if len(record) > MaxRecord {
			return fmt.Errorf("a record of %d bytes in the snapshot", len(record))
		}
		if buf = appendFrame(buf, record); len(buf) < 1<<20 {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return f.Sync()
}
