package broker

import (
	"context"
	"fmt"

	"github.com/banyanhq/banyan/bus/journal"
)

// Copy hands out all that happened to the given queues (nil: to all) before, as records that Restore takes: the queues as they
// were at one instant. The record is emit's own only until it returns; one frame of the journal is in memory at a time.
func (b *Broker) Copy(ctx context.Context, queues []string, emit func(record []byte) error) error {
	wanted := map[string]bool{}
	for _, name := range queues {
		wanted[name] = true
	}
	return b.journal.Copy(ctx, func(data []byte) error {
		if queues == nil {
			return emit(data)
		}
		changes, err := decode(data)
		if err != nil {
			return err
		}
		kept := changes[:0]
		for _, c := range changes {
			if wanted[c.queue] {
				kept = append(kept, c)
			}
		}
		if len(kept) == 0 {
			return nil
		}
		return emit(encode(kept))
	})
}

// restoreAtOnce bounds the bytes that wait for the disk.
const restoreAtOnce = 16 << 20

// Restore makes the journal of a Broker, in a folder that has none, from the records of a copy. When it returns without an
// error all of them are on disk.
func Restore(ctx context.Context, dir string, next func() (record []byte, ok bool, err error)) (err error) {
	j, err := journal.Open(journal.Options{Dir: dir}, func(journal.Position, []byte) error {
		return fmt.Errorf("%s holds queues already", dir)
	})
	if err != nil {
		return err
	}
	defer func() {
		if closed := j.Close(); err == nil {
			err = closed
		}
	}()
	waiting := 0
	for {
		record, ok, err := next()
		if err != nil {
			return err
		}
		if !ok {
			return j.Flush(ctx)
		}
		if _, err := decode(record); err != nil {
			return err
		}
		if err := j.Append(journal.Record{Data: append([]byte(nil), record...)}); err != nil {
			return err
		}
		if waiting += len(record); waiting > restoreAtOnce {
			if err := j.Flush(ctx); err != nil {
				return err
			}
			waiting = 0
		}
	}
}
