package cache

import (
	"math"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

// claiming is how entries that are pending are claimed for a consumer.
type claiming struct {
	minIdle int64
	time    int64 // of the delivery, in milliseconds since 1970; -1: now
	retries int64 // -1: one more than before
	force   bool
	justID  bool
	last    keyspace.StreamID
}

// claimGroup finds the group, and how long what is claimed must have been idle.
func (k *call) claimGroup() (st keyspace.Stream, g keyspace.Group, ok bool) {
	st, there, ok := k.ownStream(k.args[1])
	if !ok {
		return st, g, false
	}
	if g, there = groupOf(st, there, k.args[2]); !there {
		k.noGroup(k.args[1], k.args[2])
	}
	return st, g, there
}

// intOr parses an argument that is an integer; it answers with an error of its own where that is none.
func (k *call) intOr(i int, otherwise string) (int64, bool) {
	n, ok := resp.ParseInt(k.args[i])
	if !ok {
		k.fail(otherwise)
	}
	return n, ok
}

func (k *call) xclaim() {
	st, g, ok := k.claimGroup()
	if !ok {
		return
	}
	r := claiming{time: -1, retries: -1}
	if r.minIdle, ok = k.intOr(4, "ERR Invalid min-idle-time argument for XCLAIM"); !ok {
		return
	}
	var ids []keyspace.StreamID
	i := 5
	for ; i < len(k.args); i++ {
		id, given, ok := parseStreamID(k.args[i], 0)
		if !ok || !given {
			break
		}
		ids = append(ids, id)
	}
	if !k.claimOptions(&r, i) || !k.fits(k.args[3], 0) {
		return
	}
	if r.last.Compare(g.Last()) > 0 {
		g.SetLast(r.last, g.Read())
	}
	now := k.s.store.Now()
	if r.time < 0 || r.time > now {
		r.time = now
	}
	k.counted(func() (n int) {
		for _, id := range ids {
			if k.claim(st, g, id, &r) {
				n++
			}
		}
		return n
	})
	k.groupChanged(k.args[1])
}

// claimOptions reads the options of XCLAIM, from an argument on.
func (k *call) claimOptions(r *claiming, i int) (ok bool) {
	now := k.s.store.Now()
	for ; i < len(k.args); i++ {
		more := i+1 < len(k.args)
		ok = true
		switch {
		case k.is(i, "FORCE"):
			r.force = true
		case k.is(i, "JUSTID"):
			r.justID = true
		case k.is(i, "IDLE") && more:
			i++
			r.time, ok = k.intOr(i, "ERR Invalid IDLE option argument for XCLAIM")
			r.time = now - r.time
		case k.is(i, "TIME") && more:
			i++
			r.time, ok = k.intOr(i, "ERR Invalid TIME option argument for XCLAIM")
		case k.is(i, "RETRYCOUNT") && more:
			i++
			r.retries, ok = k.intOr(i, "ERR Invalid RETRYCOUNT option argument for XCLAIM")
		case k.is(i, "LASTID") && more:
			i++
			r.last, ok = k.idArg(i, 0)
		default:
			k.failf("ERR Unrecognized XCLAIM option '%s'", k.args[i])
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

// claim claims an entry, and answers with it. One that is gone is not pending any more. The consumer is made with the first that it gets.
func (k *call) claim(st keyspace.Stream, g keyspace.Group, id keyspace.StreamID, r *claiming) bool {
	p, pending := g.FindPending(id)
	e, there := st.Find(id)
	switch {
	case !there:
		g.Acknowledge(id)
		return false
	case !pending && !r.force:
		return false
	case !pending:
		p.Count = 1
	case r.minIdle > 0 && k.s.store.Now()-p.Time < r.minIdle:
		return false
	}
	count := int64(p.Count)
	switch {
	case r.retries >= 0:
		count = r.retries
	case !r.justID:
		count++
	}
	g.Deliver(k.consumerOf(g, k.args[1], k.args[3]), id, r.time, uint32(min(count, math.MaxUint32)))
	if r.justID {
		k.id(id)
	} else {
		k.entry(e)
	}
	return true
}

// claimTries bounds how many pending entries XAUTOCLAIM looks at, for each that it may return.
const claimTries = 10

func (k *call) xautoclaim() {
	r := claiming{retries: -1}
	var ok bool
	if r.minIdle, ok = k.intOr(4, "ERR Invalid min-idle-time argument for XAUTOCLAIM"); !ok {
		return
	}
	from, ok := k.edgeArg(5, false)
	if !ok {
		return
	}
	count := int64(100)
	for i := 6; i < len(k.args); i++ {
		switch {
		case k.is(i, "COUNT") && i+1 < len(k.args):
			i++
			if count, ok = k.intOr(i, "ERR COUNT must be > 0"); !ok {
				return
			}
			if count < 1 || count > math.MaxInt64/16 {
				k.fail("ERR COUNT must be > 0")
				return
			}
		case k.is(i, "JUSTID"):
			r.justID = true
		default:
			k.syntax()
			return
		}
	}
	st, g, ok := k.claimGroup()
	if !ok || !k.fits(k.args[3], 0) {
		return
	}
	r.time = k.s.store.Now()
	k.autoclaim(st, g, from, count, &r)
	k.groupChanged(k.args[1])
}

// autoclaim claims what is pending from an id on, and answers with where to go on, what was claimed, and what was gone.
func (k *call) autoclaim(st keyspace.Stream, g keyspace.Group, from keyspace.StreamID, count int64, r *claiming) {
	var gone []keyspace.StreamID
	k.array(3)
	before := len(k.out)
	goOn := keyspace.StreamID{} // 0-0: it came to the end
	n, tries := 0, count*claimTries
	g.EachPending(from, func(p keyspace.Pending) bool {
		id := p.ID
		if count == 0 || tries == 0 {
			goOn = id
			return false
		}
		tries--
		if _, there := st.Find(id); !there {
			g.Acknowledge(id)
			gone = append(gone, id)
			count--
		} else if k.claim(st, g, id, r) {
			n++
			count--
		}
		return true
	})
	claimed := append([]byte(nil), k.out[before:]...)
	k.out = k.out[:before]
	k.id(goOn)
	k.array(n)
	k.out = append(k.out, claimed...)
	k.array(len(gone))
	for _, id := range gone {
		k.id(id)
	}
}
