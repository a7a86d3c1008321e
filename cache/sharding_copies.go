package cache

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/banyanhq/banyan/cache/keyspace"
)

// A primary writes its changes down, in one stream of records that has a number and counts its bytes. The last ones are kept, so
// that a replica which missed some goes on where it was. One that can't gets all keys, a piece at a time, in the same
// stream, between the changes; replicas that have all keys pass over these pieces.
//
// A record is a byte that says what it has, a length, and changes of keyspace.
//
// A primary that was a replica, or was started again with what it had kept, begins a stream of its own, and remembers how far it had come
// in the one before: who has come exactly as far has the same keys, and need not get them again.

const (
	recordChanges = 'c'
	recordPiece   = 'p'
	recordLast    = 'l' // the last piece: all keys are there
)

// What a primary keeps and sends.
const (
	keepStream = 64 << 20  // of the stream, for replicas that lag
	sendWindow = 4 << 20   // that a replica may not have acknowledged
	sendBytes  = 256 << 10 // of the stream, in a frame
	resendTime = 300 * time.Millisecond
	helloEvery = 300 * time.Millisecond
	gotEvery   = 50 * time.Millisecond
)

// copies are what a primary keeps of its replicas. The server's lock guards it.
type copies struct {
	streaming bool
	stream    uint64      // its number
	before    streamPlace // where this node was in another stream when its own began
	seen      int64       // up to where what the store has written down is in tail
	largest   int         // of the records in tail
	base      int64       // offset of the first byte of tail
	tail      []byte
	spare     []byte
	links     map[uint64]*link
	dump      *keyspace.Dump // of all keys, that is being sent
	dumpTo    uint64
	acked     []*ackWait
	syncs     [3]int64 // replicas that began to follow, by how
}

// streamPlace is an offset in a stream. The zero one is in none.
type streamPlace struct {
	stream uint64
	offset int64
}

// link is a replica that follows.
type link struct {
	acked, sent int64
	moved       time.Time // when acked last did, or sent went back
	heard       time.Time
	whole       bool // it has been sent all keys
}

// ackWait is a client that waits for replicas.
type ackWait struct {
	w      *waiting
	need   int
	offset int64
}

func (c *copies) end() int64 { return c.base + int64(len(c.tail)) }

// collect takes what the store has written down into the stream: where it is kept on disk as well, the keeper takes it out of the store.
// The lock is held.
func (h *sharding) collect() {
	store := h.s.store
	if !h.streaming || store.Written() == h.seen {
		return
	}
	store.NotedParts(int(max(0, h.seen-store.Taken())), func(part []byte) { h.record(recordChanges, part) })
	h.seen = store.Written()
	if !h.s.keep.takes() {
		if h.spare = store.TakeNotes(h.spare); cap(h.spare) > keepNotes {
			h.spare = nil
		}
	}
	wake(h.flow)
}

// beforeTaken collects what the keeper is about to take, and has it say how far the store has come with that.
func (h *sharding) beforeTaken() {
	h.collect()
	h.noteFollowed()
}

// noteFollowed writes down how far this node has come, where that has changed. What is written down so is no change of keys, and does not go
// into the stream.
func (h *sharding) noteFollowed() {
	f := keyspace.Followed{Whole: true, Life: h.node.Life()}
	switch {
	case h.of != 0:
		f.Stream, f.Offset, f.Whole = h.source, h.applied, h.complete()
	case h.streaming:
		f.Stream, f.Offset = h.stream, h.end()
	}
	if f != h.noted && h.s.keep != nil {
		h.noted = f
		h.s.store.NoteFollowed(f)
		h.seen = h.s.store.Written()
	}
}

func (h *sharding) record(kind byte, b []byte) {
	from := len(h.tail)
	h.tail = append(h.tail, kind)
	h.tail = appendBytes(h.tail, b)
	h.largest = max(h.largest, len(h.tail)-from)
	// A record that is larger than all that is kept would otherwise never come through.
	keep := keepStream + h.largest
	if len(h.tail) > keep+keep/4 {
		cut := len(h.tail) - keep
		h.base += int64(cut)
		h.tail = append(make([]byte, 0, keep+keep/2), h.tail[cut:]...)
		h.largest = min(h.largest, keepStream)
	}
}

// takeRole makes of this node what the map says that it is. The lock is held.
func (h *sharding) takeRole() {
	primary := h.active && h.self.Of == 0
	streaming := primary && len(h.m.Replicas(h.id)) > 0
	if !streaming && h.streaming {
		h.stopCopies()
	}
	if streaming && !h.streaming {
		h.streaming = true
		h.before = h.position()
		h.stream, h.base, h.tail, h.largest = newStream(), 0, nil, 0
		h.s.writeDown()
		h.seen = h.s.store.Written()
	}
	for id := range h.links {
		if member := h.m.Members[id]; member.Of != h.id || member.Failed { // one that is back asks to follow
			h.forgetLink(id)
		}
	}
	of := uint64(0)
	if h.active {
		of = h.self.Of
	}
	if of != h.of {
		h.follow = follow{of: of}
		if of != 0 && h.kept.stream != 0 { // what was kept, of whichever stream, may be just what this primary has had
			h.source, h.offset, h.applied, h.replay = h.kept.stream, h.kept.offset, h.kept.offset, h.s.store.NewPart()
			h.replay.Complete()
			h.outdated = h.self.Behind
		}
		h.noteStanding()
	}
	if h.active {
		h.kept = streamPlace{}
	}
	h.s.store.SetPassive(of != 0)
	h.tellAcked()
}

// position is where this node is in a stream that it does not write itself.
func (h *sharding) position() streamPlace {
	switch {
	case h.of != 0 && h.complete() && len(h.partial) == 0:
		return streamPlace{h.source, h.applied}
	case h.of == 0:
		return h.kept
	}
	return streamPlace{}
}

func newStream() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])>>2 | 1
}

func (h *sharding) stopCopies() {
	for id := range h.links {
		h.forgetLink(id)
	}
	h.endDump()
	h.collect()
	h.streaming, h.tail, h.spare = false, nil, nil
	h.s.writeDown()
	for _, a := range h.acked { // what they wait for will not come
		h.answerAcked(a)
	}
	h.acked = nil
}

func (h *sharding) endDump() {
	if h.dump != nil {
		h.s.store.EndDump()
		h.dump, h.dumpTo = nil, 0
	}
}

func (h *sharding) forgetLink(id uint64) {
	delete(h.links, id)
	if h.dumpTo == id {
		h.endDump()
	}
}

// greet takes a replica that wants to follow from an offset of a stream on.
func (h *sharding) greet(from, stream uint64, offset int64) {
	if !h.streaming || h.m.Members[from].Of != h.id {
		return
	}
	h.collect()
	now := time.Now()
	how := byte(beginResumed)
	switch {
	case stream == h.stream && offset >= h.base && offset <= h.end():
	case stream != 0 && streamPlace{stream, offset} == h.before && h.base == 0:
		how, offset = beginRenamed, 0
	default:
		how = beginFull
	}
	full := how == beginFull
	if full {
		if h.dump != nil && h.dumpTo != from {
			return // it asks again
		}
		h.endDump()
		offset = h.end()
		h.dump, h.dumpTo = h.s.store.NewBareDump(), from
	}
	h.links[from] = &link{acked: offset, sent: offset, moved: now, heard: now, whole: !full}
	b := appendNumber(appendNumber([]byte{frameBegin}, h.stream), uint64(offset))
	h.node.Send(from, append(b, how))
	h.syncs[how]++
	h.s.cfg.Log.Info("a replica follows", "node", from, "all keys are sent", full)
	h.tellAcked() // one that goes on where it was may have all already
	wake(h.flow)
}

// got notes what a replica has.
func (h *sharding) got(from, stream uint64, offset int64) {
	l := h.links[from]
	if !h.streaming || l == nil || stream != h.stream {
		h.node.Send(from, []byte{frameLost})
		return
	}
	l.heard = time.Now()
	if offset > l.acked && offset <= h.end() {
		l.acked, l.moved = offset, l.heard
		l.sent = max(l.sent, offset)
		h.tellAcked()
		wake(h.flow)
	}
}

// sendCopies sends the stream to replicas, and asks to follow a primary, until ctx ends.
func (h *sharding) sendCopies(ctx context.Context) {
	tick := time.NewTicker(gotEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.flow:
		case <-tick.C:
			h.s.mu.Lock()
			h.keepFollowing()
			h.offerHot()
			h.s.mu.Unlock()
		}
		for ctx.Err() == nil && h.sendSome() {
		}
	}
}

// sendSome sends a frame to each replica that may have one, and reports whether there may be more.
func (h *sharding) sendSome() (more bool) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if !h.streaming {
		return false
	}
	h.collect()
	if h.dump != nil {
		if l := h.links[h.dumpTo]; h.end()-l.acked < sendWindow {
			h.sendPiece()
			more = true
		}
	}
	now := time.Now()
	for id, l := range h.links {
		if l.acked < h.base {
			h.s.cfg.Log.Warn("a replica lags too far behind and begins anew", "node", id)
			h.forgetLink(id)
			h.node.Send(id, []byte{frameLost})
			continue
		}
		if l.sent > l.acked && now.Sub(l.moved) > resendTime {
			l.sent, l.moved = l.acked, now
		}
		n := min(h.end()-l.sent, sendBytes, l.acked+sendWindow-l.sent)
		if n <= 0 {
			continue
		}
		if l.sent == l.acked {
			l.moved = now
		}
		b := appendNumber(appendNumber([]byte{frameStream}, h.stream), uint64(l.sent))
		h.node.Send(id, append(b, h.tail[l.sent-h.base:][:n]...))
		l.sent += n
		more = true
	}
	return more
}

// sendPiece puts the next piece of all keys into the stream.
func (h *sharding) sendPiece() {
	piece, last := h.dump.Next(nil, pieceSize)
	h.dump.Parts(piece, func(part []byte) { h.record(recordPiece, part) })
	if last {
		h.record(recordLast, nil)
		h.links[h.dumpTo].whole = true
		h.endDump()
	}
}

// have is how many replicas have all up to an offset.
func (h *sharding) have(offset int64) (n int) {
	for _, l := range h.links {
		if l.whole && l.acked >= offset {
			n++
		}
	}
	return n
}

// tellAcked answers clients that have waited for replicas.
func (h *sharding) tellAcked() {
	rest := h.acked[:0]
	for _, a := range h.acked {
		switch {
		case a.w.c.blocked != a.w: // it does not wait any more
		case h.have(a.offset) >= a.need:
			h.answerAcked(a)
		default:
			rest = append(rest, a)
		}
	}
	clear(h.acked[len(rest):])
	h.acked = rest
}

func (h *sharding) answerAcked(a *ackWait) {
	if a.w.c.blocked == a.w {
		k := call{s: h.s, c: a.w.c, cmd: a.w.cmd, v3: a.w.c.v3}
		k.int(h.have(a.offset))
		h.s.wake(a.w, k.out)
	}
}
