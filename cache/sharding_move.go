package cache

import (
	"context"
	"time"

	"github.com/banyanhq/banyan/cache/cluster"
	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/slot"
)

// Slots go from one node to another while both serve. A key is at one of them at any time: it is sent, and deleted here when
// the other has it, unless it was changed meanwhile, and then it is sent again. Clients that ask for a key that is not here are
// sent there (ASK), so that no key comes into being here any more; one pass over all keys is enough, and then the nodes
// agree that the slots have moved.

// flight is a key that is being moved.
type flight struct{ dirty bool }

const (
	moveKeys  = 256       // that are sent together, at most
	moveBytes = 256 << 10 // likewise, unless one is larger
	moveLooks = 512       // buckets that are looked at while no command is carried out
	moveRetry = 250 * time.Millisecond
	askAgain  = time.Second
)

// touched notes that a key has changed. The lock is held.
func (h *sharding) touched(key []byte) {
	if len(h.flight) > 0 {
		if f := h.flight[string(key)]; f != nil {
			f.dirty = true
		}
	}
	h.tellHolders(key)
}

// move is what goes to one node.
type move struct {
	to      uint64
	slots   []cluster.Range
	in      [slot.Count]bool
	version uint64
}

// moveSlots moves what has to be, until ctx ends.
func (h *sharding) moveSlots(ctx context.Context) {
	again := time.NewTicker(moveRetry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.work:
		case <-again.C:
		}
		for ctx.Err() == nil {
			mv := h.nextMove()
			if mv == nil || !h.carryOutMove(ctx, mv) {
				break
			}
		}
	}
}

// nextMove is what should go from here to some node; nil: nothing.
func (h *sharding) nextMove() *move {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if !h.active || h.self.Of != 0 || len(h.m.Moving) == 0 {
		return nil
	}
	mv := &move{version: h.m.Version}
	for s := range h.m.Owners {
		to := h.m.Moving[uint16(s)]
		if to == 0 || uint64(h.m.Owners[s]) != h.id || mv.to != 0 && to != mv.to {
			continue
		}
		mv.to, mv.in[s] = to, true
		if n := len(mv.slots); n > 0 && int(mv.slots[n-1].Last) == s-1 {
			mv.slots[n-1].Last++
		} else {
			mv.slots = append(mv.slots, cluster.Range{First: uint16(s), Last: uint16(s)})
		}
	}
	if mv.to == 0 {
		return nil
	}
	return mv
}

// still reports whether the slots are to be moved still. The lock is held.
func (h *sharding) still(mv *move) bool {
	if !h.active || h.self.Of != 0 {
		return false
	}
	for s, in := range mv.in {
		if in && (uint64(h.m.Owners[s]) != h.id || h.m.Moving[uint16(s)] != mv.to) {
			return false
		}
	}
	return true
}

// carryOutMove moves slots, and reports whether it did.
func (h *sharding) carryOutMove(ctx context.Context, mv *move) bool {
	if answer := h.askNode(ctx, mv.to, func(id uint64) []byte { return appendNumber(appendNumber([]byte{frameReady}, id), mv.version) }); answer != answerYes {
		return false
	}
	h.s.mu.Lock()
	ok := h.still(mv)
	if ok {
		for s, in := range mv.in {
			if in {
				h.confirmed[s] = true
			}
		}
	}
	h.s.mu.Unlock()
	if !ok || !h.moveAll(ctx, mv) {
		return false
	}
	// The other node serves all of it before the nodes agree, for one that hears of that first sends clients there.
	if answer := h.askNode(ctx, mv.to, func(id uint64) []byte {
		b := appendNumber([]byte{frameGiven}, id)
		for _, r := range mv.slots {
			b = appendNumber(appendNumber(b, uint64(r.First)), uint64(r.Last))
		}
		return b
	}); answer != answerYes {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := h.node.Propose(ctx, cluster.Command{Op: cluster.Moved, From: h.id, To: mv.to, Slots: mv.slots}); err != nil {
		h.s.cfg.Log.Warn("slots are empty here, and the nodes have not agreed on it", "error", err)
		return false
	}
	return true
}

// askNode sends a node a question until it answers or ctx ends. 0: there is no answer.
func (h *sharding) askNode(ctx context.Context, node uint64, question func(id uint64) []byte) byte {
	id, answer := h.pending.ask()
	defer h.pending.forget(id)
	again := time.NewTimer(askAgain)
	defer again.Stop()
	h.node.Send(node, question(id))
	select {
	case a := <-answer:
		return a
	case <-again.C:
	case <-ctx.Done():
	}
	return 0
}

// moveAll sends all keys of the slots, and reports whether none are left.
func (h *sharding) moveAll(ctx context.Context, mv *move) bool {
	var cursor uint64
	for {
		var keys [][]byte
		h.s.mu.Lock()
		if !h.still(mv) {
			h.s.mu.Unlock()
			return false
		}
		h.s.store.SetNow(time.Now().UnixMilli())
		db := h.s.store.DB(0)
		for range moveLooks {
			var some [][]byte
			some, cursor = db.KeysIn(cursor, func(key []byte) bool { return mv.in[slot.Of(key)] })
			if keys = append(keys, some...); cursor == 0 || len(keys) >= moveKeys {
				break
			}
		}
		h.s.mu.Unlock()
		for len(keys) > 0 {
			var ok bool
			if keys, ok = h.sendKeys(ctx, mv, keys); !ok {
				return false
			}
		}
		if cursor == 0 {
			return h.emptied(mv)
		}
	}
}

// sendKeys sends some of the keys, and returns those that are still to be sent: others, and those that have changed meanwhile,
// or of which it is not known whether they have come. Of these the other node may have a copy, which must not outlive the key
// here: they are sent until it is known. ok is false where the slots are not to be moved any more.
func (h *sharding) sendKeys(ctx context.Context, mv *move, keys [][]byte) (again [][]byte, ok bool) {
	h.s.mu.Lock()
	if !h.still(mv) {
		h.s.mu.Unlock()
		return nil, false
	}
	db, n, keep := h.s.store.DB(0), 0, h.inherited
	var body []byte
	keys = h.idle(keys)
	for n < len(keys) && len(body) < moveBytes {
		body = appendBytes(body, db.AppendKey(nil, keys[n]))
		h.flight[string(keys[n])] = &flight{}
		n++
	}
	h.s.mu.Unlock()
	if n == 0 { // their origin is being written to
		return nil, ctx.Err() == nil
	}
	answer := h.askNode(ctx, mv.to, func(id uint64) []byte {
		b := appendNumber(appendNumber([]byte{frameKeys}, id), h.node.Life())
		b = append(b, map[bool]byte{true: 1}[keep])
		return append(appendNumber(b, uint64(n)), body...)
	})
	h.s.mu.Lock()
	h.s.store.SetNow(time.Now().UnixMilli())
	for _, key := range keys[:n] {
		f := h.flight[string(key)]
		delete(h.flight, string(key))
		if answer != answerYes || f.dirty || h.writing(key) || !h.still(mv) {
			again = append(again, key)
			continue
		}
		db.Drop(key)
		h.s.keyChanged(0, key, nil)
	}
	h.collect()
	h.s.mu.Unlock()
	h.keepNow() // that they are gone
	if answer == answerNo || answer == answerFull {
		h.s.cfg.Log.Warn("a node takes no keys now", "node", mv.to, "no memory", answer == answerFull)
		wait := time.NewTimer(askAgain)
		defer wait.Stop()
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
	}
	return append(again, keys[n:]...), ctx.Err() == nil
}

// takeGiven takes slots of which nothing is left where they were.
func (h *sharding) takeGiven(d *keyspace.Pieces) byte {
	for len(d.B) > 0 && !d.Bad {
		first, last := d.Number(), d.Number()
		if d.Bad || first > last || last >= slot.Count {
			return answerNo
		}
		for s := first; s <= last; s++ {
			if h.m.Moving[uint16(s)] != h.id {
				return answerNo
			}
			h.given[s] = true
		}
	}
	return answerYes
}

// asker remembers the last question that a node has asked to take keys: one that comes late, from a connection that broke, is
// of before.
type asker struct{ life, last uint64 }

// takeKeys takes keys that another node gives away.
func (h *sharding) takeKeys(from, id uint64, d *keyspace.Pieces) byte {
	life, keep, n := d.Number(), d.Byte() == 1, d.Number()
	var changes [][]byte
	size := 0
	for ; n > 0 && !d.Bad; n-- {
		c := d.Bytes()
		changes, size = append(changes, c), size+len(c)
	}
	if was := h.askers[from]; d.Bad || !h.active || h.self.Of != 0 || was.life == life && id < was.last || h.s.keep != nil && h.s.keep.broken != nil {
		return answerNo
	}
	h.askers[from] = asker{life, id}
	s := h.s
	if s.set.memory > 0 && s.store.Over(size) && !s.store.Evict(size) && !s.store.CanEvict() {
		return answerFull
	}
	taken, err := s.store.Take(changes, keep, func(key []byte) bool { return h.m.Moving[slot.Of(key)] == h.id })
	if err != nil {
		s.cfg.Log.Error("taking keys", "from", from, "error", err)
		return answerNo
	}
	for _, key := range taken {
		s.overtake(0, key)
		s.keyChanged(0, key, nil)
		if len(s.waiting[watchKey{0, string(key)}]) > 0 {
			s.ready = append(s.ready, watchKey{0, string(key)})
		}
	}
	if len(s.ready) > 0 {
		s.serveWaiting()
	}
	s.makeRoom()
	return answerYes
}

// emptied reports whether nothing of the slots is left here.
func (h *sharding) emptied(mv *move) bool {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for s, in := range mv.in {
		if in && h.s.store.SlotLen(uint16(s)) > 0 {
			return false
		}
	}
	return h.still(mv)
}
