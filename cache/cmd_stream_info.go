package cache

import "github.com/banyanhq/banyan/cache/keyspace"

// infoStream finds the stream that XINFO is asked about.
func (k *call) infoStream() (st keyspace.Stream, ok bool) {
	st, there, ok := k.stream(k.args[2])
	if ok && !there {
		k.fail(errNoKey)
	}
	return st, ok && there
}

// readCount answers with how many entries a group has read, if that is known.
func (k *call) readCount(g keyspace.Group) {
	if g.Read() < 0 {
		k.null()
		return
	}
	k.int64(g.Read())
}

// lag answers with how many entries a group has before it, if that can be told.
func (k *call) lag(st keyspace.Stream, g keyspace.Group) {
	read := g.Read()
	switch {
	case st.Added() == 0:
		k.int(0)
		return
	case read < 0 || tombstones(st, g.Last()):
		read = distance(st, g.Last())
	}
	if read < 0 {
		k.null()
		return
	}
	k.int64(int64(st.Added()) - read)
}

func (k *call) xinfoGroups() {
	st, ok := k.infoStream()
	if !ok {
		return
	}
	k.array(st.Groups())
	st.EachGroup(func(g keyspace.Group) {
		k.mapOf(6)
		k.text("name")
		k.bulk(g.Name())
		k.text("consumers")
		k.int(g.Consumers())
		k.text("pending")
		k.int(g.Pending())
		k.groupPlace(st, g)
	})
}

// groupPlace answers with how far a group is: three names and values.
func (k *call) groupPlace(st keyspace.Stream, g keyspace.Group) {
	k.text("last-delivered-id")
	k.id(g.Last())
	k.text("entries-read")
	k.readCount(g)
	k.text("lag")
	k.lag(st, g)
}

func (k *call) xinfoConsumers() {
	st, ok := k.infoStream()
	if !ok {
		return
	}
	g, there := st.Group(k.args[3])
	if !there {
		k.failf("NOGROUP No such consumer group '%s' for key name '%s'", k.args[3], k.args[2])
		return
	}
	k.array(g.Consumers())
	g.EachConsumer(func(c keyspace.Consumer) {
		k.mapOf(3)
		k.text("name")
		k.bulk(c.Name())
		k.text("pending")
		k.int(c.Pending())
		k.text("idle")
		k.int64(max(0, k.s.store.Now()-c.Seen()))
	})
}

func (k *call) xinfoStream() {
	st, ok := k.infoStream()
	if !ok {
		return
	}
	full, count := len(k.args) > 3, int64(10)
	if full {
		if n := len(k.args); n != 4 && n != 6 || !k.is(3, "FULL") || n == 6 && !k.is(4, "COUNT") {
			k.usage()
			return
		}
		if len(k.args) == 6 {
			if count, ok = k.intArg(5); !ok {
				return
			}
			if count < 0 {
				count = 10
			}
		}
	}
	k.mapOf(map[bool]int{true: 9, false: 10}[full])
	k.text("length")
	k.int(st.Len())
	k.text("radix-tree-keys") // what there is in their place: blocks, and the array of them
	k.int(st.Blocks())
	k.text("radix-tree-nodes")
	k.int(st.Blocks() + 1)
	k.text("last-generated-id")
	k.id(st.Last())
	k.text("max-deleted-entry-id")
	k.id(st.Deleted())
	k.text("entries-added")
	k.int64(int64(st.Added()))
	k.text("recorded-first-entry-id")
	k.id(st.Edge(false))
	if full {
		k.infoFull(st, count)
		return
	}
	k.text("groups")
	k.int(st.Groups())
	k.text("first-entry")
	k.edgeEntry(st, false)
	k.text("last-entry")
	k.edgeEntry(st, true)
}

// edgeEntry answers with the first entry, or the last.
func (k *call) edgeEntry(st keyspace.Stream, last bool) {
	if k.entries(st, keyspace.StreamID{}, keyspace.MaxStreamID, 1, last) == 0 {
		k.null()
	}
}

// infoFull answers with entries and groups, count at most of each list unless it is 0.
func (k *call) infoFull(st keyspace.Stream, count int64) {
	k.text("entries")
	k.counted(func() int { return k.entries(st, keyspace.StreamID{}, keyspace.MaxStreamID, count, false) })
	k.text("groups")
	k.array(st.Groups())
	st.EachGroup(func(g keyspace.Group) {
		k.mapOf(7)
		k.text("name")
		k.bulk(g.Name())
		k.groupPlace(st, g)
		k.text("pel-count")
		k.int(g.Pending())
		k.text("pending")
		k.pendingList(g.EachPending, count, true)
		k.text("consumers")
		k.array(g.Consumers())
		g.EachConsumer(func(c keyspace.Consumer) {
			k.mapOf(4)
			k.text("name")
			k.bulk(c.Name())
			k.text("seen-time")
			k.int64(c.Seen())
			k.text("pel-count")
			k.int(c.Pending())
			k.text("pending")
			k.pendingList(c.EachPending, count, false)
		})
	})
}

// pendingList answers with what is pending, with the consumers' names or without.
func (k *call) pendingList(each func(keyspace.StreamID, func(keyspace.Pending) bool), count int64, names bool) {
	k.counted(func() (n int) {
		each(keyspace.StreamID{}, func(p keyspace.Pending) bool {
			k.array(map[bool]int{true: 4, false: 3}[names])
			k.id(p.ID)
			if names {
				k.bulk(p.Consumer.Name())
			}
			k.int64(p.Time)
			k.int64(int64(p.Count))
			n++
			return count == 0 || int64(n) < count
		})
		return n
	})
}
