package cache

import (
	"strconv"

	"github.com/banyanhq/banyan/cache/keyspace"
)

const errGroupKey = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically."

// groupOptions reads what comes behind the id: MKSTREAM, and how many entries the group has read.
func (k *call) groupOptions(create bool) (makes bool, read int64, ok bool) {
	read = -1
	for i := 5; i < len(k.args); i++ {
		switch {
		case create && k.is(i, "MKSTREAM"):
			makes = true
		case k.is(i, "ENTRIESREAD") && i+1 < len(k.args):
			i++
			if read, ok = k.intArg(i); !ok {
				return false, 0, false
			}
			if read < -1 {
				k.fail("ERR value for ENTRIESREAD must be positive or -1")
				return false, 0, false
			}
		default:
			k.usage()
			return false, 0, false
		}
	}
	return makes, read, true
}

// groupID reads the id up to which a group has been delivered all; $: the last one.
func (k *call) groupID(last keyspace.StreamID, loose bool) (id keyspace.StreamID, ok bool) {
	switch arg := string(k.args[4]); {
	case arg == "$":
		return last, true
	case loose && arg == "-":
		return id, true
	case loose && arg == "+":
		return keyspace.MaxStreamID, true
	}
	return k.idArg(4, 0)
}

func (k *call) xgroupCreate() {
	makes, read, ok := k.groupOptions(true)
	if !ok {
		return
	}
	key, name := k.args[2], k.args[3]
	st, there, ok := k.ownStream(key)
	switch {
	case !ok:
		return
	case !there && !makes:
		k.fail(errGroupKey)
		return
	case len(k.args) > 8:
		k.usage()
		return
	}
	last := keyspace.StreamID{}
	if there {
		last = st.Last()
	}
	id, ok := k.groupID(last, false)
	if !ok || !k.fits(key, 0) || !k.fits(name, 0) {
		return
	}
	if !there {
		st, _ = k.db.MakeStream(key)
		k.s.keyChanged(k.c.db, key, k.c)
	}
	if !st.MakeGroup(name, id, read) {
		k.fail("BUSYGROUP Consumer Group name already exists")
		return
	}
	k.groupChanged(key)
	k.event(key, "xgroup-create")
	k.ok()
}

// ownGroup finds the group that a subcommand of XGROUP is about.
func (k *call) ownGroup() (st keyspace.Stream, g keyspace.Group, ok bool) {
	st, there, ok := k.ownStream(k.args[2])
	switch {
	case !ok:
		return st, g, false
	case !there:
		k.fail(errGroupKey)
		return st, g, false
	}
	if g, ok = st.Group(k.args[3]); !ok {
		k.failf("NOGROUP No such consumer group '%s' for key name '%s'", k.args[3], k.args[2])
	}
	return st, g, ok
}

func (k *call) xgroupSetID() {
	_, read, ok := k.groupOptions(false)
	if !ok {
		return
	}
	st, g, ok := k.ownGroup()
	if !ok {
		return
	}
	if len(k.args) > 7 {
		k.usage()
		return
	}
	id, ok := k.groupID(st.Last(), true)
	if !ok {
		return
	}
	g.SetLast(id, read)
	k.groupChanged(k.args[2])
	k.event(k.args[2], "xgroup-setid")
	k.ok()
}

func (k *call) xgroupDestroy() {
	st, there, ok := k.ownStream(k.args[2])
	switch {
	case !ok:
	case !there:
		k.fail(errGroupKey)
	case !st.DestroyGroup(k.args[3]):
		k.int(0)
	default:
		k.groupChanged(k.args[2])
		k.event(k.args[2], "xgroup-destroy")
		k.signal(k.args[2]) // who waits for its entries learns that there will be none
		k.int(1)
	}
}

func (k *call) xgroupCreateConsumer() {
	_, g, ok := k.ownGroup()
	if !ok || !k.fits(k.args[4], 0) {
		return
	}
	_, made := g.MakeConsumer(k.args[4], k.s.store.Now())
	if made {
		k.groupChanged(k.args[2])
		k.event(k.args[2], "xgroup-createconsumer")
	}
	k.bool(made)
}

func (k *call) xgroupDelConsumer() {
	_, g, ok := k.ownGroup()
	if !ok {
		return
	}
	n := 0
	if _, there := g.Consumer(k.args[4]); there {
		n = g.DeleteConsumer(k.args[4])
		k.groupChanged(k.args[2])
		k.event(k.args[2], "xgroup-delconsumer")
	}
	k.int(n)
}

func (k *call) xack() {
	st, there, ok := k.ownStream(k.args[1])
	if !ok {
		return
	}
	g, there := groupOf(st, there, k.args[2])
	if !there {
		k.int(0)
		return
	}
	ids, ok := k.idArgs(3)
	if !ok {
		return
	}
	n := 0
	for _, id := range ids {
		if g.Acknowledge(id) {
			n++
		}
	}
	if n > 0 {
		k.groupChanged(k.args[1])
	}
	k.int(n)
}

func (k *call) xpending() {
	if n := len(k.args); n != 3 && (n < 6 || n > 9) {
		k.syntax()
		return
	}
	at, minIdle, count := 3, int64(0), int64(0)
	var from, to keyspace.StreamID
	var by []byte
	if len(k.args) >= 6 {
		ok := true
		if k.is(3, "IDLE") {
			if minIdle, ok = k.intArg(4); !ok {
				return
			}
			if len(k.args) < 8 {
				k.syntax()
				return
			}
			at += 2
		}
		if count, ok = k.intArg(at + 2); !ok {
			return
		}
		if from, ok = k.edgeArg(at, false); !ok {
			return
		}
		if to, ok = k.edgeArg(at+1, true); !ok {
			return
		}
		if at+3 < len(k.args) {
			by = k.args[at+3]
		}
	}
	st, there, ok := k.stream(k.args[1])
	if !ok {
		return
	}
	g, there := groupOf(st, there, k.args[2])
	switch {
	case !there:
		k.noGroup(k.args[1], k.args[2])
	case len(k.args) == 3:
		k.pendingSummary(g)
	default:
		k.pendingRange(g, by, from, to, count, minIdle)
	}
}

// pendingSummary answers with how much is pending, and for whom.
func (k *call) pendingSummary(g keyspace.Group) {
	k.array(4)
	k.int(g.Pending())
	if g.Pending() == 0 {
		k.null()
		k.null()
		k.nullArray()
		return
	}
	k.id(g.PendingEdge(false))
	k.id(g.PendingEdge(true))
	k.counted(func() (n int) {
		g.EachConsumer(func(c keyspace.Consumer) {
			if c.Pending() > 0 {
				k.array(2)
				k.bulk(c.Name())
				k.bulk(strconv.AppendInt(nil, int64(c.Pending()), 10))
				n++
			}
		})
		return n
	})
}

// pendingRange answers with what is pending between two ids, of one consumer if it is named.
func (k *call) pendingRange(g keyspace.Group, by []byte, from, to keyspace.StreamID, count, minIdle int64) {
	each := g.EachPending
	if by != nil {
		c, there := g.Consumer(by)
		if !there {
			k.array(0)
			return
		}
		each = c.EachPending
	}
	now := k.s.store.Now()
	k.counted(func() (n int) {
		each(from, func(p keyspace.Pending) bool {
			if int64(n) >= count || p.ID.Compare(to) > 0 {
				return false
			}
			if idle := now - p.Time; idle >= minIdle || minIdle == 0 {
				k.array(4)
				k.id(p.ID)
				k.bulk(p.Consumer.Name())
				k.int64(max(idle, 0))
				k.int64(int64(p.Count))
				n++
			}
			return true
		})
		return n
	})
}
