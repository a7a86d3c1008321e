package replica

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Checksum is what the rows of a replica, and the tokens that it remembers, come to when all entries up to an index are applied.
// Replicas of a group that are right have the same one at the same index.
type Checksum struct {
	Index uint64   `json:"index"`
	Bytes int64    `json:"bytes"`
	Sum   [32]byte `json:"sum"` // SHA-256
}

// checkpoint is the database just after the entry that asked for a checksum was applied. Whoever gets it must close the snapshot.
type checkpoint struct {
	group, index uint64
	start, end   []byte
	snapshot     *pebble.Snapshot
}

// checkGroup has all replicas of a group add up what they have, as it is at one entry of its log.
func checkGroup(c *core, g *group, event uint64) error {
	c.submit(event, command{kind: commandCheck, key: g.state.desc.Start})
	return nil
}

// check carries the command out: its result is its index. A replica that is caught up for a merge never is in a database of its own
// as it was at that entry, and adds nothing up.
func (a *application) check(index uint64) []byte {
	if a.within {
		return binary.BigEndian.AppendUint64(nil, index)
	}
	a.cut = true
	a.after = append(a.after, func() {
		d := &a.g.state.desc
		a.c.effects.checks = append(a.c.effects.checks, checkpoint{group: a.g.id, index: index, start: d.Start, end: d.End, snapshot: a.c.db.NewSnapshot()})
	})
	return binary.BigEndian.AppendUint64(nil, index)
}

// sum reads all that a checkpoint has. read is told of bytes, so that it can slow the reading down; its error ends it.
func (p *checkpoint) sum(read func(bytes int) error) (sum Checksum, err error) {
	sum.Index = p.index
	h := sha256.New()
	if err := errors.Join(p.add(h, p.start, p.end, &sum, read),
		p.add(h, metaKey(p.group, tokenKind), metaKey(p.group, tokenKind+1), &sum, read)); err != nil {
		return sum, fmt.Errorf("adding up group %d at entry %d: %w", p.group, p.index, err)
	}
	h.Sum(sum.Sum[:0])
	return sum, nil
}

func (p *checkpoint) add(h hash.Hash, start, end []byte, sum *Checksum, read func(int) error) error {
	it, err := p.snapshot.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return err
	}
	var sizes [16]byte
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		binary.BigEndian.PutUint64(sizes[:], uint64(len(it.Key())))
		binary.BigEndian.PutUint64(sizes[8:], uint64(len(value)))
		h.Write(sizes[:])
		h.Write(it.Key())
		h.Write(value)
		n := len(it.Key()) + len(value)
		sum.Bytes += int64(n)
		if err := read(n); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// checks are the checkpoints that a Host has yet to add up, and what it has.
type checks struct {
	queue chan checkpoint
	sums  map[uint64]Checksum // by group: the newest
	errs  map[uint64]error

	adding [2]uint64 // group and index that are being added up
}

// Bounds of checks: checkpoints that wait, and bytes that are read in a second.
const (
	maxCheckpoints = 64
	checkRate      = 64 << 20
	checkPortion   = 1 << 20
)

// take queues checkpoints. Those for which there is no room have no result.
func (h *Host) takeChecks(all []checkpoint) {
	for _, p := range all {
		select {
		case h.checks.queue <- p:
		default:
			_ = p.snapshot.Close()
		}
	}
}

// runChecks adds checkpoints up, one after the other, until the context ends.
func (h *Host) runChecks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-h.checks.queue:
			h.mu.Lock()
			h.checks.adding = [2]uint64{p.group, p.index}
			h.mu.Unlock()
			sum, err := p.sum(pace(ctx, checkRate))
			err = errors.Join(err, p.snapshot.Close())
			h.mu.Lock()
			h.checks.sums[p.group], h.checks.errs[p.group] = sum, err
			h.mu.Unlock()
		}
	}
}

// dropChecks closes what is left once nobody adds up any more.
func (h *Host) dropChecks() {
	for {
		select {
		case p := <-h.checks.queue:
			_ = p.snapshot.Close()
		default:
			return
		}
	}
}

// pace returns a function that waits, now and then, so that no more bytes pass it in a second than rate.
func pace(ctx context.Context, rate int) func(int) error {
	some := 0
	return func(n int) error {
		if some += n; some < checkPortion {
			return nil
		}
		timer := time.NewTimer(time.Duration(some) * time.Second / time.Duration(rate))
		defer timer.Stop()
		some = 0
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		}
	}
}

// Check has all replicas of a group, which this node must lead, add up what they have at the entry of the log that it returns.
// Checksum says on each node what that is.
func (h *Host) Check(ctx context.Context, group uint64) (index uint64, err error) {
	r, err := h.ask(ctx, func(id uint64) event { return changeGroup{event: id, group: group, do: checkGroup} })
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(r.value), nil
}

// Checksum returns what this node's replica of a group came to at the entry that Check named; adding: it is at it. It is never found
// if the replica did not apply that entry but got a snapshot, or if a newer Check overtook it. An error means that the data can't be read.
func (h *Host) Checksum(group, index uint64) (sum Checksum, adding, found bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum, found = h.checks.sums[group]
	if found = found && sum.Index == index; found {
		err = h.checks.errs[group]
	}
	return sum, h.checks.adding == [2]uint64{group, index}, found, err
}
