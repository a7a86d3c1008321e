package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/persist"
)

// jobs are what is done beside the commands: one at a time, by one goroutine. The server's lock guards all of it.
type jobs struct {
	wantRewrite, wantSave bool
	rewriting, saving     bool
	begun                 time.Time // when the one that runs began
	waiters               []func(error)
	retryAt               time.Time // not to be tried before

	baseSize     int64 // of the append file when it was written anew
	savedChanges int64 // what the store had counted when the last snapshot was taken
	lastSave     int64 // seconds since 1970
	saves        int64
	saveErr      error
	rewriteErr   error
	saveTook     time.Duration
	rewriteTook  time.Duration
}

func (j *jobs) busy() bool { return j.rewriting || j.saving }

const (
	// pieceSize is about how much is written down while no command is carried out.
	pieceSize = 32 << 10
	// tailSize is how much may be left to be written when a new append file takes the place of the old one.
	tailSize = 64 << 10
	retry    = 5 * time.Second
)

// schedule says what is to be done by now.
func (k *keeper) schedule(now time.Time) {
	if k.appends() {
		k.writeOut() // what nobody waited for
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	j := &k.jobs
	size := k.size.Load()
	if k.appends() && !now.Before(j.retryAt) && (k.broken != nil || size >= k.cfg.Rewrite && size >= 2*j.baseSize) {
		j.wantRewrite = true
	}
	if k.cfg.Snapshot > 0 && now.Unix()-j.lastSave >= int64(k.cfg.Snapshot.Seconds()) && k.store.Changes != j.savedChanges && !now.Before(j.retryAt) {
		j.wantSave = true
	}
	if j.wantRewrite || j.wantSave {
		wake(k.work)
	}
}

// runJobs does what is wanted, until ctx ends.
func (k *keeper) runJobs(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			k.answerWaiters(ctx.Err())
			return
		case <-k.work:
		}
		for k.job(ctx) {
		}
	}
}

// job does one thing that is wanted, and reports whether it did.
func (k *keeper) job(ctx context.Context) bool {
	k.mu.Lock()
	j := &k.jobs
	j.begun = time.Now()
	switch {
	case ctx.Err() != nil || !j.wantRewrite && !j.wantSave:
		k.mu.Unlock()
		return false
	case j.wantRewrite:
		j.wantRewrite, j.rewriting = false, true
		k.mu.Unlock()
		k.finish(k.rewrite(ctx), &j.rewriteErr, &j.rewriteTook, &j.rewriting, "writing the append file anew")
	default:
		j.wantSave, j.saving = false, true
		k.mu.Unlock()
		err := k.save(ctx)
		k.finish(err, &j.saveErr, &j.saveTook, &j.saving, "writing a snapshot")
		k.answerWaiters(err)
	}
	return true
}

func (k *keeper) finish(err error, into *error, took *time.Duration, running *bool, what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*into, *took, *running = err, time.Since(k.jobs.begun), false
	if err != nil {
		k.jobs.retryAt = time.Now().Add(retry)
		k.log.Error(what, "error", err)
		return
	}
	k.log.Debug(what, "took", *took)
}

// answerWaiters answers those who wait for a snapshot.
func (k *keeper) answerWaiters(err error) {
	k.mu.Lock()
	waiters := k.jobs.waiters
	k.jobs.waiters = nil
	for _, w := range waiters {
		w(err)
	}
	k.mu.Unlock()
}

// errSpoiled says that databases were exchanged while they were being written.
var errSpoiled = errors.New("databases were exchanged meanwhile")

// copyOut writes all that the store holds to a new file beside the one of a name, while commands go on. With follow, changes
// are copied to k.next from then on as well.
func (k *keeper) copyOut(ctx context.Context, name string, follow bool) (file *persist.Log, err error) {
	for range 10 {
		file, err = persist.CreateLog(k.dir, name+fresh)
		if err != nil {
			return nil, err
		}
		if err = k.copyPieces(ctx, file, follow); err == nil {
			return file, nil
		}
		if e := k.drop(file, name); e != nil {
			return nil, errors.Join(err, e)
		}
		if !errors.Is(err, errSpoiled) {
			break
		}
	}
	return nil, err
}

// drop gives up a new file.
func (k *keeper) drop(file *persist.Log, name string) error {
	k.mu.Lock()
	k.endCopy()
	k.mu.Unlock()
	return errors.Join(file.Abandon(), k.dir.Remove(name+fresh))
}

func (k *keeper) endDump() {
	if k.dumping {
		k.store.EndDump()
		k.dumping = false
	}
}

func (k *keeper) endCopy() {
	k.endDump()
	if k.copying && !k.appends() { // nobody takes them any more, but for those with whom they are shared
		k.before()
		k.store.TakeNotes(nil)
	}
	k.copying, k.next, k.copied = false, nil, 0
	k.store.WriteDown(k.appends() || k.shared())
}

func (k *keeper) copyPieces(ctx context.Context, file *persist.Log, follow bool) error {
	var dump *keyspace.Dump
	var spare []byte
	for last := false; !last; {
		k.mu.Lock()
		began := time.Now()
		if dump == nil {
			k.store.WriteDown(true)
			k.before()
			if !k.appends() {
				k.store.TakeNotes(nil) // they are in the dump
			}
			k.anew()
			dump, k.dumping, k.copying, k.copied = k.store.NewDump(), true, true, len(k.store.Noted(0))
		}
		if dump.Spoiled() {
			k.mu.Unlock()
			return errSpoiled
		}
		var piece []byte
		piece, last = dump.Next(k.noted(), pieceSize)
		k.next = spare[:0]
		if last {
			k.endDump()
		}
		if last && !follow {
			k.jobs.savedChanges = k.store.Changes
			k.endCopy()
		}
		held := time.Since(began)
		k.mu.Unlock()
		if err := errors.Join(ctx.Err(), file.Append(piece)); err != nil {
			return err
		}
		if spare = piece; cap(spare) > keepNotes {
			spare = nil
		}
		if !last {
			k.pause(held) // commands get at least half of the time
		}
	}
	return nil
}

// noted returns all changes that the new file does not have yet.
func (k *keeper) noted() []byte {
	k.before()
	k.copyNotes()
	if !k.appends() { // nobody else takes them
		k.store.TakeNotes(nil)
		k.copied = 0
	}
	return k.next
}

// save writes a snapshot.
func (k *keeper) save(ctx context.Context) error {
	file, err := k.copyOut(ctx, snapshotName, false)
	if err != nil {
		return fmt.Errorf("writing a snapshot: %w", err)
	}
	if err = file.Close(); err == nil {
		err = k.dir.Rename(snapshotName+fresh, snapshotName)
	}
	if err == nil {
		err = k.dir.Sync()
	}
	if err != nil {
		return fmt.Errorf("writing a snapshot: %w", err)
	}
	k.mu.Lock()
	k.jobs.lastSave = time.Now().Unix()
	k.jobs.saves++
	k.mu.Unlock()
	return nil
}

// rewrite writes a new append file, and has it take the place of the old one.
func (k *keeper) rewrite(ctx context.Context) error {
	file, err := k.copyOut(ctx, appendName, true)
	if err != nil {
		return fmt.Errorf("writing the append file anew: %w", err)
	}
	if err = k.catchUp(ctx, file); err == nil {
		err = k.replace(file)
	} else {
		err = errors.Join(err, k.drop(file, appendName))
	}
	if err != nil {
		return fmt.Errorf("writing the append file anew: %w", err)
	}
	return nil
}

// catchUp writes the changes that have come meanwhile, until few are left, and syncs the file.
func (k *keeper) catchUp(ctx context.Context, file *persist.Log) error {
	for synced := false; ; {
		k.mu.Lock()
		tail := k.noted()
		k.next = nil
		k.mu.Unlock()
		if err := errors.Join(ctx.Err(), file.Append(tail)); err != nil {
			return err
		}
		switch {
		case len(tail) > tailSize:
		case synced:
			return nil
		default:
			if err := file.Seal(); err != nil {
				return err
			}
			synced = true
		}
	}
}

// replace puts a new file in the place of the old one: whichever a crash leaves has all that was acknowledged.
func (k *keeper) replace(file *persist.Log) error {
	k.syncing.Lock()
	defer k.syncing.Unlock()
	k.writing.Lock()
	defer k.writing.Unlock()
	k.mu.Lock()
	payload, at := k.take()
	tail, old, broken := k.next, k.file, k.broken
	k.endCopy()
	k.mu.Unlock()
	if old != nil && broken == nil {
		if err := old.Append(payload); err != nil {
			k.fail(err) // it may still be mended by what follows
		}
	}
	err := file.Append(tail)
	if err == nil {
		err = file.Sync(file.End())
	}
	if err == nil {
		err = k.dir.Rename(appendName+fresh, appendName)
	}
	if err != nil {
		k.written.Store(at)
		return errors.Join(err, file.Abandon(), k.dir.Remove(appendName+fresh))
	}
	err = k.dir.Sync()
	k.mu.Lock()
	k.file, k.jobs.baseSize, k.broken = file, file.End(), nil
	k.mu.Unlock()
	k.size.Store(file.End())
	k.written.Store(at)
	k.durable.Store(at)
	if err != nil {
		k.fail(fmt.Errorf("syncing the folder of the append file: %w", err))
	}
	k.tell()
	if old != nil {
		if e := old.Abandon(); e != nil {
			k.log.Warn("closing the old append file", "error", e)
		}
	}
	return nil
}
