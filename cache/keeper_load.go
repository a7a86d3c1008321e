package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/banyanhq/banyan/cache/persist"
)

// load reads the append file or, where there is none, the snapshot, and has changes be appended from then on.
func (k *keeper) load() error {
	for _, name := range []string{appendName + fresh, snapshotName + fresh} {
		if err := k.dir.Remove(name); err != nil {
			return fmt.Errorf("removing what a crash has left: %w", err)
		}
	}
	began := time.Now()
	name := appendName
	file, report, whole, err := k.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		name = snapshotName
		file, report, whole, err = k.open(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if file != nil {
		k.restored = whole && !k.cut
		k.log.Info("restored", "file", k.dir.Path(name), "keys", k.keys(), "bytes", report.Bytes, "took", time.Since(began).Round(time.Millisecond))
		if report.Torn > 0 {
			k.log.Warn("the end had not been written whole when the cache ended: cut off", "file", k.dir.Path(name), "bytes", report.Torn)
		}
		if name == appendName && whole && k.appends() {
			k.begin(file)
			return nil
		}
		if err := file.Abandon(); err != nil {
			return err
		}
	}
	switch {
	case k.appends(): // before anything is acknowledged there is a file that has all that was
		return k.rewrite(context.Background())
	case file != nil && name == appendName:
		return fmt.Errorf("%s is there, and no append file is to be kept: append again, or move it away to begin with the snapshot", k.dir.Path(name))
	}
	return nil
}

// keys counts all keys.
func (k *keeper) keys() (n int) {
	for i := range k.store.Databases() {
		n += k.store.DB(i).Len()
	}
	return n
}

// begin has changes go into a file.
func (k *keeper) begin(file *persist.Log) {
	k.file = file
	k.size.Store(file.End())
	k.jobs.baseSize = file.End()
	k.store.WriteDown(true)
	k.written.Store(k.store.Written())
	k.durable.Store(k.store.Written())
}

// open reads a file into the store, and reports whether it is whole: what is left of one that was repaired may not be.
func (k *keeper) open(name string) (file *persist.Log, report persist.Report, whole bool, err error) {
	file, report, whole, err = k.read(name, false)
	var damage *persist.DamageError
	if !errors.As(err, &damage) {
		return file, report, whole, err
	}
	if !k.cfg.Repair || damage.At == 0 {
		return nil, report, false, fmt.Errorf("%w. Restore the file from a copy, or move it away to begin without it, or start once with --repair, "+
			"which keeps what comes before and leaves the file as it was in %s", err, name+damaged)
	}
	k.cut = true
	k.log.Warn("a damaged file is cut off", "file", damage.Path, "at", damage.At, "why", damage.Why, "later entries lost", damage.Later)
	if err := persist.Cut(k.dir, name, name+damaged, damage.At); err != nil {
		return nil, report, false, err
	}
	free, err := k.store.Flush()
	if err == nil {
		err = free()
	}
	if err != nil {
		return nil, report, false, err
	}
	return k.read(name, true)
}

// read reads a file into the store. One that is not whole is damage, unless part of it is wanted.
func (k *keeper) read(name string, part bool) (file *persist.Log, report persist.Report, whole bool, err error) {
	replay := k.store.NewReplay()
	file, report, err = persist.OpenLog(k.dir, name, replay.Apply, func(torn int64) error {
		switch {
		case !replay.Whole() && !part:
			return errors.New("it ends before all keys were written")
		case torn > 0 && name == snapshotName:
			return errors.New("a checksum is wrong")
		}
		return nil
	})
	k.followed, k.followedKnown = replay.Followed()
	return file, report, replay.Whole(), err
}
