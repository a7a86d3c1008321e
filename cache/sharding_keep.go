package cache

import (
	"fmt"
	"time"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/slot"
)

// A node of a cluster that is kept on disk comes back with what it had. A primary of which nobody has taken the place goes on where it
// was; of one that was replaced, and of a replica, the primary says whether it has just what that one had at some time.

// takeKept finds out what was restored, and returns the life of the process that last followed, or was followed; 0: nothing is known.
// The node is not there yet.
func (h *sharding) takeKept() (life uint64, err error) {
	k := h.s.keep
	if k == nil {
		return 0, nil
	}
	f, known := k.followed, k.followedKnown
	switch {
	case !k.restored:
	case known && !f.Whole: // it ended while all keys were on their way to it
		h.s.cfg.Log.Info("what was kept is not complete, and is fetched anew", "keys", k.keys())
		free, err := h.s.store.Flush()
		if err != nil {
			return 0, fmt.Errorf("emptying the store of a node that had not all keys: %w", err)
		}
		h.s.later(free)
	default:
		h.hasKept, h.kept, life = true, streamPlace{f.Stream, f.Offset}, f.Life
	}
	return life, nil
}

// shareNotes has the keeper and the replicas get what the store writes down. The lock is held.
func (h *sharding) shareNotes() {
	if k := h.s.keep; k != nil {
		k.before = h.beforeTaken
		k.anew = func() { h.noted = keyspace.Followed{} }
		k.shared = func() bool { return h.streaming }
	}
}

// dropForeign drops keys of slots that are none of this node's any more, which it had kept.
func (h *sharding) dropForeign() {
	mine := func(at uint16) bool { return uint64(h.m.Owners[at]) == h.id || h.m.Moving[at] == h.id }
	some := false
	for at := range uint16(slot.Count) {
		some = some || h.s.store.SlotLen(at) > 0 && !mine(at)
	}
	if !some {
		return
	}
	h.kept = streamPlace{} // nobody else has just these keys
	h.s.store.SetNow(time.Now().UnixMilli())
	db := h.s.store.DB(0)
	for cursor, more := uint64(0), true; more; more = cursor != 0 {
		var keys [][]byte
		keys, cursor = db.KeysIn(cursor, func(key []byte) bool { return !mine(slot.Of(key)) })
		for _, key := range keys {
			db.Drop(key)
		}
	}
}

// writeDown has the store write its changes down where somebody takes them.
func (s *Server) writeDown() {
	s.store.WriteDown(s.keep.takes() || s.sharding != nil && s.sharding.streaming)
}

// keepNow has what was changed outlive this process, and the machine as well where that is promised to clients, before another node
// goes by it. No lock is held.
func (h *sharding) keepNow() {
	k := h.s.keep
	if k == nil {
		return
	}
	k.mu.Lock()
	policy := k.policy
	k.mu.Unlock()
	if policy == appendAlways {
		k.sync()
	} else {
		k.writeOut()
	}
}
