package cache

import (
	"bytes"
	"slices"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

// streamKeys are the keys of XREAD and XREADGROUP.
func streamKeys(args [][]byte) (all []int) {
	for i := 1; i < len(args); i++ {
		switch {
		case equalFold(args[i], "BLOCK"), equalFold(args[i], "COUNT"):
			i++
		case equalFold(args[i], "GROUP"):
			i += 2
		case equalFold(args[i], "NOACK"):
		case equalFold(args[i], "STREAMS"):
			n := len(args) - i - 1
			for k := range n / 2 {
				all = append(all, i+1+k)
			}
			return all
		default:
			return nil
		}
	}
	return nil
}

// reading is what XREAD and XREADGROUP are asked for.
type reading struct {
	keys            [][]byte
	from            []keyspace.StreamID // entries behind these; of a group MaxStreamID: those that nobody has had
	count           int64
	block           int64 // milliseconds; -1: not at all, 0: for ever
	group, consumer []byte
	noAck           bool
}

// blockedCount is how many entries a client gets at most that has waited for them, unless it says how many.
const blockedCount = 1000

func (k *call) xread() {
	r, first, ok := k.readOptions()
	if !ok || !k.readPlaces(&r, first) {
		return
	}
	from := len(k.out)
	n := 0
	for i, key := range r.keys {
		if k.readSome(&r, key, r.from[i], r.count) {
			n++
		}
	}
	if n > 0 {
		k.out = slices.Insert(k.out, from, k.streamsHead(n)...)
		return
	}
	if r.block < 0 || k.c.tx != nil && k.c.tx.open {
		k.nullArray()
		return
	}
	k.waitForEntries(r)
}

// streamsHead begins the answer for so many keys: a map, or of RESP2 a list of pairs.
func (k *call) streamsHead(n int) []byte {
	if k.v3 {
		return resp.AppendMap(nil, true, n)
	}
	return resp.AppendArray(nil, n)
}

// readOptions reads the options, and where the keys begin.
func (k *call) readOptions() (r reading, first int, ok bool) {
	r.block = -1
	group := k.cmd.name == "xreadgroup"
	only := func(option string) { // of XREADGROUP
		k.failf("ERR The %s option is only supported by XREADGROUP. You called XREAD instead.", option)
	}
	for i := 1; i < len(k.args) && first == 0; i++ {
		more := len(k.args) - i - 1
		switch {
		case k.is(i, "BLOCK") && more > 0:
			i++
			if r.block, ok = resp.ParseInt(k.args[i]); !ok || r.block > 1<<53 {
				k.fail("ERR timeout is not an integer or out of range")
				return r, 0, false
			}
			if r.block < 0 {
				k.fail("ERR timeout is negative")
				return r, 0, false
			}
		case k.is(i, "COUNT") && more > 0:
			i++
			if r.count, ok = k.intArg(i); !ok {
				return r, 0, false
			}
			r.count = max(r.count, 0)
		case k.is(i, "STREAMS") && more > 0:
			if first = i + 1; more%2 != 0 {
				k.fail("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
				return r, 0, false
			}
		case k.is(i, "GROUP") && more >= 2:
			if !group {
				only("GROUP")
				return r, 0, false
			}
			r.group, r.consumer = k.args[i+1], k.args[i+2]
			i += 2
		case k.is(i, "NOACK"):
			if !group {
				only("NOACK")
				return r, 0, false
			}
			r.noAck = true
		default:
			k.syntax()
			return r, 0, false
		}
	}
	switch {
	case first == 0:
		k.syntax()
		return r, 0, false
	case group && r.group == nil:
		k.fail("ERR Missing GROUP option for XREADGROUP")
		return r, 0, false
	}
	return r, first, true
}

// readPlaces reads the keys, and behind which entries of each it is to be read.
func (k *call) readPlaces(r *reading, first int) bool {
	n := (len(k.args) - first) / 2
	for i := first; i < first+n; i++ {
		key, arg := k.args[i], string(k.args[i+n])
		st, there, ok := k.stream(key)
		if !ok {
			return false
		}
		if r.group != nil {
			if _, found := groupOf(st, there, r.group); !found {
				k.failf("NOGROUP No such key '%s' or consumer group '%s' in XREADGROUP with GROUP option", key, r.group)
				return false
			}
		}
		var id keyspace.StreamID
		switch {
		case arg == "$" && r.group != nil:
			k.fail("ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.")
			return false
		case arg == "$":
			if there {
				id = st.Last()
			}
		case arg == ">" && r.group == nil:
			k.fail("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.")
			return false
		case arg == ">":
			id = keyspace.MaxStreamID
		default:
			if id, ok = k.idArg(i+n, 0); !ok {
				return false
			}
		}
		r.keys, r.from = append(r.keys, key), append(r.from, id)
	}
	return true
}

// readSome answers with a key and what is to be read of it, if there is anything.
func (k *call) readSome(r *reading, key []byte, from keyspace.StreamID, count int64) bool {
	e, there := k.db.Find(key)
	if !there || e.Kind() != keyspace.StreamKind {
		return false
	}
	st := e.Stream()
	history := r.group != nil && from != keyspace.MaxStreamID
	var g keyspace.Group
	if r.group != nil {
		if g, there = st.Group(r.group); !there {
			return false
		}
		if !history {
			from = g.Last()
		}
	}
	if !history && (st.Len() == 0 || st.Edge(true).Compare(from) <= 0) {
		return false
	}
	start, ok := from.Next()
	if !k.v3 {
		k.array(2)
	}
	k.bulk(key)
	if r.group == nil {
		k.counted(func() int {
			if !ok {
				return 0
			}
			return k.entries(st, start, keyspace.MaxStreamID, count, false)
		})
		return true
	}
	c := k.consumerOf(g, key, r.consumer)
	k.counted(func() int {
		if history {
			return k.readHistory(st, g, c, start, count)
		}
		return k.readNew(st, g, c, start, count, r.noAck)
	})
	k.groupChanged(key)
	return true
}

// consumerOf finds a consumer, or makes it, and notes that it is there.
func (k *call) consumerOf(g keyspace.Group, key, name []byte) keyspace.Consumer {
	c, made := g.MakeConsumer(name, k.s.store.Now())
	c.SetSeen(k.s.store.Now())
	if made {
		k.event(key, "xgroup-createconsumer")
	}
	return c
}

// event tells of what happened to a group of a key.
func (k *call) event(key []byte, what string) {
	if k.s.set.notify != 0 {
		k.s.notifyEvent(k.c.db, classStream, what, key)
	}
}

// groupChanged notes that what a group knows has changed. As in Redis that breaks no transaction that watches the key.
func (k *call) groupChanged(key []byte) {
	if k.s.sharding != nil {
		k.s.sharding.touched(key)
	}
}

// readNew answers with entries that nobody has had, which are pending for the consumer from then on.
func (k *call) readNew(st keyspace.Stream, g keyspace.Group, c keyspace.Consumer, start keyspace.StreamID, count int64, noAck bool) (n int) {
	last, read, now := g.Last(), g.Read(), k.s.store.Now()
	st.Range(start, keyspace.MaxStreamID, false, func(e keyspace.StreamEntry) bool {
		switch {
		case read >= 0 && !tombstones(st, e.ID):
			read++
		case st.Added() > 0:
			read = distance(st, e.ID)
		}
		last = e.ID
		k.entry(e)
		if !noAck {
			g.Deliver(c, e.ID, now, 1)
		}
		n++
		return count <= 0 || int64(n) < count
	})
	if n > 0 {
		g.SetLast(last, read)
	}
	return n
}

// readHistory answers with what is pending for the consumer.
func (k *call) readHistory(st keyspace.Stream, g keyspace.Group, c keyspace.Consumer, start keyspace.StreamID, count int64) (n int) {
	c.EachPending(start, func(p keyspace.Pending) bool {
		if e, there := st.Find(p.ID); there {
			k.entry(e)
			g.Deliver(c, p.ID, k.s.store.Now(), p.Count+1)
		} else {
			k.array(2)
			k.id(p.ID)
			k.nullArray()
		}
		n++
		return count <= 0 || int64(n) < count
	})
	return n
}

// tombstones reports whether an entry from an id on was deleted by itself, and those before it were not trimmed.
func tombstones(st keyspace.Stream, from keyspace.StreamID) bool {
	deleted := st.Deleted()
	return st.Len() > 0 && deleted != (keyspace.StreamID{}) && from.Compare(deleted) <= 0 && st.Edge(false).Compare(deleted) <= 0
}

// distance is how many entries were added up to the one of an id, that one too; -1: that can't be told.
func distance(st keyspace.Stream, id keyspace.StreamID) int64 {
	added, n := int64(st.Added()), int64(st.Len())
	switch c := id.Compare(st.Last()); {
	case added == 0:
		return 0
	case n == 0 && c < 1, c == 0:
		return added
	case c > 0:
		return -1
	}
	first := st.Edge(false)
	if st.Deleted() == (keyspace.StreamID{}) || st.Deleted().Compare(first) < 0 {
		switch c := id.Compare(first); {
		case c < 0:
			return added - n
		case c == 0:
			return added - n + 1
		}
	}
	return -1
}

// waitForEntries has the client wait until one of the streams has entries.
func (k *call) waitForEntries(r reading) {
	w := &waiting{c: k.c, cmd: k.cmd, errors: r.group != nil}
	if r.block > 0 {
		w.until = k.s.store.Now() + r.block
	}
	r.group, r.consumer = bytes.Clone(r.group), bytes.Clone(r.consumer)
	if r.count == 0 {
		r.count = blockedCount
	}
	from := map[string]keyspace.StreamID{}
	for i, key := range r.keys {
		at := watchKey{k.c.db, string(key)}
		if _, twice := from[at.key]; twice {
			continue
		}
		from[at.key] = r.from[i]
		w.keys = append(w.keys, at)
		k.s.waiting[at] = append(k.s.waiting[at], w)
	}
	r.keys, r.from = nil, nil // they are the command's
	w.try = func(k *call, key []byte) bool { return k.readWaited(&r, key, from[string(key)]) }
	k.c.blocked, k.block = w, w
}

// readWaited answers a client that has waited for entries of a key, if there are any, or if there will be none.
func (k *call) readWaited(r *reading, key []byte, from keyspace.StreamID) bool {
	if r.group != nil {
		e, there := k.db.Find(key)
		if !there || e.Kind() != keyspace.StreamKind {
			k.fail("UNBLOCKED the stream key no longer exists")
			return true
		}
		if _, there = e.Stream().Group(r.group); !there {
			k.fail("NOGROUP the consumer group this client was blocked on no longer exists")
			return true
		}
	}
	before := len(k.out)
	k.out = append(k.out, k.streamsHead(1)...)
	if !k.readSome(r, key, from, r.count) {
		k.out = k.out[:before]
		return false
	}
	return true
}

// noGroup answers that there is no such key or group.
func (k *call) noGroup(key, group []byte) {
	k.failf("NOGROUP No such key '%s' or consumer group '%s'", key, group)
}
