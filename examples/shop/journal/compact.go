package journal

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"time"
)

// A file is rewritten when it has grown to this many times its size after the last rewriting. Updates wait for the
// rewriting only where the file has grown to twice that meanwhile, so that it stays bounded.
const compactRatio = 4

// What of the tail is copied at most while all writers wait.
const lastCopy = 64 << 10

// kept is a record of a snapshot: itself, or where it is in the file.
type kept struct {
	record []byte
	at     Position
}

// outgrown is the size from which on the file is rewritten. Called with mu held.
func (j *Journal) outgrown() int64 { return max(j.cfg.CompactAbove, compactRatio*j.compacted) }

// compactIfOutgrown starts a compaction if it is due, and waits for the one that is under way where the file grows faster
// than it. Only the writer calls it, with no lock held.
func (j *Journal) compactIfOutgrown() {
	if j.cfg.Snapshot == nil {
		return
	}
	j.mu.RLock()
	end, limit := j.end, j.outgrown()
	j.mu.RUnlock()
	if end < limit {
		return
	}
	if j.compaction == nil {
		done := make(chan struct{})
		j.compaction = done
		go func() {
			defer close(done)
			j.compact()
		}()
	}
	if end >= 2*limit {
		<-j.compaction
	}
	select {
	case <-j.compaction:
		j.compaction = nil
	default:
	}
}

// compact replaces the file by a snapshot of the state and what was appended meanwhile. All of it but the last bytes of the
// tail is written beside the file while everybody goes on. The rename is the moment of truth: the name always stands
// for a complete file, and a process that holds the old one sees that the name means another. A failure leaves the file as it is.
func (j *Journal) compact() {
	lock, err := os.OpenFile(j.path+".compact", os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		defer lock.Close() // which unlocks it
		var mine bool
		if mine, err = tryLockFile(lock); err == nil && !mine {
			return // another process is at it; its new file will be seen by the name
		}
	}
	started := time.Now()
	var before, after int64
	if err == nil {
		before, after, err = j.replace()
	}
	if err != nil {
		// Try again only after more growth.
		j.mu.Lock()
		j.compacted = j.end
		j.mu.Unlock()
		j.cfg.Log.Error("compacting failed; the file stays as it is", "file", j.path, "error", err)
		return
	}
	j.cfg.Log.Info("compacted", "file", j.path, "from_bytes", before, "to_bytes", after, "took", time.Since(started))
}

// replace writes the new file beside the old one and gives it its name.
func (j *Journal) replace() (before, after int64, err error) {
	temporary := j.path + ".new"
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, 0, err
	}
	w := &rewriting{j: j, to: f}
	if err = w.run(); err != nil || !w.named {
		err = errors.Join(err, f.Close(), os.Remove(temporary))
	}
	return w.from, w.size, err
}

// rewriting is a new file in the making.
type rewriting struct {
	j     *Journal
	old   *os.File
	to    *os.File
	from  int64 // up to where the old file is part of it
	size  int64
	first int64 // of it is the snapshot, which the file is to outgrow: what was appended meanwhile is no measure
	fresh State // built from the new file; nil: the state cannot be built beside the present one
	named bool  // it has the name
}

func (w *rewriting) run() error {
	if err := w.snapshot(); err != nil {
		return err
	}
	// What is appended meanwhile is less each time, unless the writers are faster than this; then they wait for more.
	for range 8 {
		info, err := w.old.Stat()
		if err != nil {
			return err
		}
		if info.Size()-w.from <= lastCopy {
			break
		}
		if err := w.copyTo(info.Size()); err != nil {
			return err
		}
	}
	if err := w.to.Sync(); err != nil {
		return err
	}
	if r, ok := w.j.cfg.State.(Renewable); ok {
		w.fresh = r.Fresh()
		w.fresh.Reset()
		if _, err := eachRecord(w.to, 0, w.size, w.fresh.Apply); err != nil {
			return err
		}
	}
	return w.swap()
}

// snapshot writes what the state keeps. The state stands still only while it says what that is.
func (w *rewriting) snapshot() error {
	j := w.j
	var all []kept
	keep := func(k kept) error {
		if len(k.record) > MaxRecord {
			return fmt.Errorf("a record of %d bytes in the snapshot", len(k.record))
		}
		all = append(all, k)
		return nil
	}
	j.mu.RLock()
	w.old, w.from = j.file, j.end
	stale := j.stale || j.file == nil
	var err error
	if !stale {
		err = j.cfg.Snapshot(func(record []byte) error { return keep(kept{record: record}) }, func(at Position) error { return keep(kept{at: at, record: nil}) })
	}
	j.mu.RUnlock()
	if err != nil {
		return err
	}
	if stale {
		return errors.New("the state is ahead of the file")
	}
	out := bufio.NewWriterSize(w.to, 1<<20)
	var frame []byte
	for _, k := range all {
		if k.record == nil {
			if k.record, _, err = readFrame(w.old, int64(k.at), w.from); err != nil {
				return fmt.Errorf("the record at byte %d: %w", k.at, err)
			}
		}
		frame = appendFrame(frame[:0], k.record)
		if _, err := out.Write(frame); err != nil {
			return err
		}
		w.size += int64(len(frame))
	}
	w.first = w.size
	return out.Flush()
}

// copyTo adds what the old file has up to size, as far as it is whole.
func (w *rewriting) copyTo(size int64) error {
	out := bufio.NewWriterSize(w.to, 1<<20)
	var frame []byte
	at := w.size
	end, err := eachRecord(w.old, w.from, size, func(_ Position, record []byte) error {
		frame = appendFrame(frame[:0], record)
		if _, err := out.Write(frame); err != nil {
			return err
		}
		if w.fresh != nil {
			if err := w.fresh.Apply(Position(at), record); err != nil {
				return err
			}
		}
		at += int64(len(frame))
		return nil
	})
	if err != nil {
		return err
	}
	w.from, w.size = end, at
	return out.Flush()
}

// swap adds the rest of the tail and gives the file its name, while no process can append.
func (w *rewriting) swap() error {
	j := w.j
	if err := j.lock.lock(); err != nil {
		return err
	}
	defer j.lock.unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.catchUp(true); err != nil {
		return err
	}
	if j.file != w.old {
		return errors.New("the file was replaced meanwhile")
	}
	if w.from < j.end {
		if err := w.copyTo(j.end); err != nil {
			return err
		}
		if err := w.to.Sync(); err != nil {
			return err
		}
	}
	info, err := w.to.Stat()
	if err != nil {
		return err
	}
	if err := os.Rename(w.to.Name(), j.path); err != nil {
		return err
	}
	w.named = true
	// Where the directory's sync fails, the disk does: a crash may bring back the old file, without what comes from here on.
	if err := syncDir(j.cfg.Dir); err != nil {
		err = fmt.Errorf("journal: syncing %s: %w", j.cfg.Dir, err)
		j.fail.Store(&err)
		return err
	}
	j.file, j.info, j.compacted = w.to, info, w.first
	if w.fresh != nil {
		j.cfg.State.(Renewable).Become(w.fresh)
		j.end = w.size
		return nil
	}
	// Read anew by whoever needs it next, without the file lock. Until then the state is empty: a View that has caught up just
	// before must not take it for the present one.
	j.end, j.stale = 0, true
	j.cfg.State.Reset()
	return nil
}
