package cache

import (
	"encoding/binary"
	"time"

	"github.com/banyanhq/banyan/cache/cluster"
	"github.com/banyanhq/banyan/cache/keyspace"
)

// follow is what a replica keeps of the primary that it follows. The server's lock guards it.
type follow struct {
	of       uint64 // 0: it is no replica
	attached bool
	source   uint64 // number of the stream
	offset   int64  // up to where the stream has come
	partial  []byte // the record that has not come whole, from the last whole one on
	applied  int64
	replay   *keyspace.Replay
	outdated bool // it has what it had kept, and that may be old
	heard    time.Time
	asked    time.Time
}

// complete reports whether the replica has had all keys at some time. A primary has.
func (h *sharding) complete() bool { return h.replay != nil && h.replay.Whole() }

// whole reports whether it has had them lately enough to take the place of its primary.
func (h *sharding) whole() bool { return h.complete() && !h.outdated }

// standing is for the choice of a successor. It does not wait for the server's lock, so that a command which takes long costs
// no lease.
func (h *sharding) standing() cluster.Standing {
	v := h.far.Load()
	return cluster.Standing{Whole: v&1 == 1, Offset: v >> 1}
}

// noteStanding notes how far this replica is.
func (h *sharding) noteStanding() {
	v := h.applied << 1
	if h.of != 0 && h.whole() {
		v |= 1
	}
	h.far.Store(v)
}

// keepFollowing asks to follow, or says how far it has come.
func (h *sharding) keepFollowing() {
	switch now := time.Now(); {
	case h.of == 0:
	case h.attached:
		h.sayGot()
	case now.Sub(h.asked) >= helloEvery:
		h.asked = now
		stream := h.source
		if !h.complete() {
			stream = 0
		}
		h.node.Send(h.of, appendNumber(appendNumber([]byte{frameHello}, stream), uint64(h.offset)))
	}
}

func (h *sharding) sayGot() {
	h.node.Send(h.of, appendNumber(appendNumber([]byte{frameGot}, h.source), uint64(h.offset)))
}

// How a replica begins to follow.
const (
	beginResumed = iota // where it was
	beginFull           // with no keys: all are sent
	beginRenamed        // where it was, by another stream's number and offset
)

// begin follows a primary that has agreed to it.
func (h *sharding) begin(from, stream uint64, offset int64, how byte) {
	if from != h.of || h.of == 0 || h.attached {
		return
	}
	switch how {
	case beginResumed:
		if stream != h.source || offset != h.offset || !h.complete() {
			return
		}
	case beginRenamed:
		if offset != 0 || !h.complete() {
			return
		}
		h.source, h.offset, h.applied, h.partial = stream, 0, 0, nil
	case beginFull:
		free, err := h.s.store.Flush()
		if err != nil {
			h.s.cfg.Log.Error("emptying the store for a primary's keys", "error", err)
			return
		}
		h.s.later(free)
		h.s.flushed(0)
		h.source, h.offset, h.applied, h.partial, h.replay = stream, offset, offset, nil, h.s.store.NewPart()
	default:
		return
	}
	h.attached, h.outdated, h.heard = true, false, time.Now()
	h.noteFollowed()
	h.noteStanding()
}

// lost begins anew: the primary does not know this replica.
func (h *sharding) lost(from uint64) {
	if from == h.of {
		h.attached = false
	}
}

// feed takes a part of the stream.
func (h *sharding) feed(from, stream uint64, offset int64, b []byte) {
	if from != h.of || !h.attached || stream != h.source || offset < 0 {
		return
	}
	h.heard = time.Now()
	if skip := h.offset - offset; skip < 0 || skip >= int64(len(b)) {
		h.sayGot() // some was lost, or comes a second time
		return
	} else if skip > 0 {
		b = b[skip:]
	}
	h.offset += int64(len(b))
	h.partial = append(h.partial, b...)
	for {
		n := h.applyRecord(h.partial)
		if n == 0 {
			break
		}
		if n < 0 {
			h.attached, h.source, h.replay, h.partial = false, 0, nil, nil
			h.noteFollowed()
			h.noteStanding()
			return
		}
		h.partial = h.partial[n:]
		h.applied += int64(n)
		h.noteFollowed()
	}
	if len(h.partial) == 0 {
		h.partial = nil
	}
	h.noteStanding()
	h.sayGot()
}

// applyRecord applies the first record, if it is there whole, and returns its length; negative: it can't be applied.
func (h *sharding) applyRecord(b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case b[0] != recordChanges && b[0] != recordPiece && b[0] != recordLast:
		return -1
	}
	size, n := binary.Uvarint(b[1:])
	if n < 0 || size > maxRecord {
		return -1
	}
	if n == 0 || uint64(len(b)-1-n) < size {
		return 0
	}
	end := 1 + n + int(size)
	switch {
	case b[0] == recordLast:
		h.replay.Complete()
		return end
	case b[0] == recordPiece && h.complete():
		return end
	}
	if err := h.replay.ApplyNoted(b[1+n : end]); err != nil {
		h.s.cfg.Log.Error("the primary's changes do not fit: all keys are asked for", "error", err)
		return -1
	}
	if len(h.s.watched) > 0 || h.s.track.any() {
		h.s.flushed(0) // what was read here may have changed
	}
	return end
}

// maxRecord bounds a record.
const maxRecord = keyspace.MaxPart
