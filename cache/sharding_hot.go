package cache

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/cache/cluster"
	"github.com/banyanhq/banyan/cache/hot"
	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/slot"
)

// A key that gets more requests than its node can answer is not helped by more nodes, for it is at one of them. So that
// others answer reads of it as well, package hot says who may, and how old an answer can be; here are the frames, and the
// copies. They are for connections that have said READONLY: only these have agreed to answers that may be old.

// hotReads are a node's part in it. The server's lock guards it.
type hotReads struct {
	owner   *hot.Owner // nil: there are no copies
	holder  *hot.Holder
	copies  *keyspace.Store
	offered time.Duration // when keys were last offered
	served  int64         // reads
}

const (
	offerEvery = 250 * time.Millisecond
	// maxCopy is the most memory of a value that is copied, and copiesSize of all.
	maxCopy    = 256 << 10
	copiesSize = 64 << 20
)

func newHotReads(lease time.Duration, others int) (h hotReads, err error) {
	if lease == 0 {
		return h, nil
	}
	h.copies, err = keyspace.New(keyspace.Config{Databases: 1, Reserve: copiesSize})
	if err != nil {
		return h, fmt.Errorf("making room for copies of hot keys: %w", err)
	}
	h.owner, h.holder = hot.NewOwner(lease, others), hot.NewHolder(lease)
	return h, nil
}

func (h *hotReads) close() error {
	if h.copies == nil {
		return nil
	}
	return h.copies.Close()
}

// owns reports whether a key is this node's, and stays that for now.
func (h *sharding) owns(key []byte) bool {
	at := slot.Of(key)
	return h.active && h.node.Leased() && uint64(h.m.Owners[at]) == h.id && h.m.Moving[at] == 0
}

// offerHot offers keys that are hot to the other nodes, from time to time.
func (h *sharding) offerHot() {
	now := h.s.elapsed()
	if h.hot.owner == nil || now-h.hot.offered < offerEvery {
		return
	}
	h.hot.offered = now
	h.s.store.SetNow(time.Now().UnixMilli())
	var seen []hot.Seen
	for _, k := range h.s.store.Hot(hot.MaxOffer) {
		if h.owns(k.Key) {
			seen = append(seen, hot.Seen{Key: k.Key, PerSecond: k.PerSecond, Share: k.Share})
		}
	}
	keys := slices.DeleteFunc(h.hot.owner.Offer(seen, now), func(key []byte) bool { return !h.owns(key) })
	if len(keys) > 0 {
		b := appendNumber([]byte{frameOffer}, uint64(len(keys)))
		for _, key := range keys {
			b = appendBytes(b, key)
		}
		h.sendOthers(b)
	}
	h.hot.holder.Expire(now, func(key []byte) { h.hot.copies.DB(0).Drop(key) })
}

// takeOffer notes keys that another node offers.
func (h *sharding) takeOffer(from uint64, d *keyspace.Pieces) {
	var keys [][]byte
	for n := d.Number(); n > 0 && !d.Bad && len(keys) < hot.MaxOffer; n-- {
		keys = append(keys, d.Bytes())
	}
	if h.hot.owner != nil && !d.Bad {
		h.hot.holder.Offered(from, keys, h.s.elapsed())
	}
}

// readCopy reports whether a command may read a copy of another node's key, and has it do so.
func (h *sharding) readCopy(k *call) bool {
	if h.hot.owner == nil || !k.cmd.read || k.cmd.keys != nil || k.cmd.first == 0 || k.cmd.first != k.cmd.last || k.c.tracks != nil ||
		k.c.tx != nil && k.c.tx.open {
		return false
	}
	key := h.keys[0]
	may, q := h.hot.holder.Read(key, h.s.elapsed())
	if q.ID != 0 {
		b := appendNumber(appendNumber([]byte{frameWant}, q.ID), q.Reads)
		h.node.Send(q.Owner, append(b, key...))
	}
	if !may {
		return false
	}
	h.hot.copies.SetNow(h.s.store.Now())
	k.db = h.hot.copies.DB(0)
	h.hot.served++
	h.s.store.Hits++
	h.s.store.DB(0).Sample(key)
	return true
}

// giveCopy answers a node that wants a copy of a key.
func (h *sharding) giveCopy(from, id, reads uint64, key []byte) {
	db := h.s.store.DB(0)
	e, there := db.Find(key)
	yes := h.hot.owner != nil && there && h.owns(key) && e.Memory() <= maxCopy && h.hot.owner.Wanted(from, key, reads, h.s.elapsed())
	b := appendBytes(appendNumber([]byte{frameCopy}, id), key)
	b = append(b, map[bool]byte{true: 1}[yes])
	if yes {
		b = db.AppendKey(b, key)
	}
	h.node.Send(from, b)
}

// takeCopy takes a copy that was asked for.
func (h *sharding) takeCopy(from, id uint64, key []byte, yes bool, changes []byte) {
	if h.hot.owner == nil || !h.hot.holder.Copied(from, id, key, yes, h.s.elapsed()) {
		return
	}
	err := keyspace.ErrChanges
	if len(changes) <= 4*maxCopy && !h.hot.copies.Over(4*len(changes)) {
		_, err = h.hot.copies.Take([][]byte{changes}, false, func(other []byte) bool { return string(other) == string(key) })
	}
	if err != nil {
		h.hot.holder.Changed(key) // there is none to be read
	}
}

// tellHolders tells those who have a copy of a key that it has changed.
func (h *sharding) tellHolders(key []byte) {
	if h.hot.owner == nil || h.hot.owner.Len() == 0 {
		return
	}
	for _, node := range h.hot.owner.Changed(key, h.s.elapsed()) {
		h.node.Send(node, append([]byte{frameChanged}, key...))
	}
}

// tellAllHolders tells those who have a copy of any key.
func (h *sharding) tellAllHolders() {
	if h.hot.owner == nil {
		return
	}
	var keys [][]byte
	h.hot.owner.Keys(h.s.elapsed(), func(key []byte) { keys = append(keys, key) })
	for _, key := range keys {
		h.tellHolders(key)
	}
}

// holders is how many other nodes may answer for a key of this one.
func (h *sharding) holders(key []byte) int {
	if h == nil || h.hot.owner == nil {
		return 0
	}
	return h.hot.owner.Holders(key, h.s.elapsed())
}

// hotSlots are the slots that have a hot key, as far as this node knows.
func (h *sharding) hotSlots() (slots []uint16) {
	if h.hot.owner == nil {
		return nil
	}
	note := func(key string) { slots = append(slots, slot.Of([]byte(key))) }
	h.hot.owner.Offers(note)
	h.hot.holder.Offers(h.s.elapsed(), note)
	slices.Sort(slots)
	return slices.Compact(slots)
}

// served is a range of slots, and who else answers reads of it.
type served struct {
	cluster.Range
	replicas []uint64
}

// served are the slots of a primary, as clients are told of them. Of a slot with a hot key all replicas answer reads, also those of
// other primaries; what else they are asked for of that slot, they do not have.
func (h *sharding) served(primary uint64, hot []uint16) (all []served) {
	own := h.available(primary)
	var every []uint64
	for id, m := range h.m.Members {
		if m.Of != 0 && m.Of != primary && h.health(m) == "online" {
			every = append(every, id)
		}
	}
	slices.Sort(every)
	every = slices.Concat(own, every)
	for _, r := range h.m.Ranges(primary) {
		for _, at := range hot {
			if at < r.First || at > r.Last {
				continue
			}
			if at > r.First {
				all = append(all, served{cluster.Range{First: r.First, Last: at - 1}, own})
			}
			all = append(all, served{cluster.Range{First: at, Last: at}, every})
			r.First = at + 1
		}
		if r.First <= r.Last {
			all = append(all, served{r, own})
		}
	}
	return all
}

func (h *sharding) infoHot(b *strings.Builder) {
	if h.hot.owner == nil {
		b.WriteString("hot_reads_ms:0\r\n")
		return
	}
	fmt.Fprintf(b, "hot_reads_ms:%d\r\nhot_keys:%d\r\nhot_copies:%d\r\nhot_copies_bytes:%d\r\nhot_reads_served:%d\r\n", h.s.cfg.Cluster.HotReads.Milliseconds(),
		h.hot.owner.Len(), h.hot.holder.Copies(h.s.elapsed()), h.hot.copies.Used(), h.hot.served)
}
