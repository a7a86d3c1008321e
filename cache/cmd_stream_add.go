package cache

import (
	"math"

	"github.com/banyanhq/banyan/cache/keyspace"
)

// addition is what the options of XADD and XTRIM say.
type addition struct {
	trims    bool
	trim     keyspace.Trimming
	noMake   bool
	id       keyspace.StreamID
	given    bool // the id was, and
	seqGiven bool // its number too
}

// addOptions reads the options of XADD, up to the id, whose place it returns; or those of XTRIM.
func (k *call) addOptions(add bool) (a addition, at int, ok bool) {
	limited := false
	i := 2
loop:
	for ; i < len(k.args); i++ {
		more := i+1 < len(k.args)
		switch {
		case add && string(k.args[i]) == "*":
			break loop
		case (k.is(i, "MAXLEN") || k.is(i, "MINID")) && more:
			if i, ok = k.trimOption(&a, i); !ok {
				return a, 0, false
			}
		case k.is(i, "LIMIT") && more:
			if a.trim.Limit, ok = k.intArg(i + 1); !ok {
				return a, 0, false
			}
			if a.trim.Limit < 0 {
				k.fail("ERR The LIMIT argument must be >= 0.")
				return a, 0, false
			}
			limited = true
			i++
		case add && k.is(i, "NOMKSTREAM"):
			a.noMake = true
		case add:
			if a.id, a.seqGiven, ok = parseStreamID(k.args[i], 0); !ok {
				k.fail(errStreamID)
				return a, 0, false
			}
			a.given = true
			break loop
		default:
			k.syntax()
			return a, 0, false
		}
	}
	switch {
	case a.trim.Limit > 0 && !a.trims:
		k.fail("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
	case !add && !a.trims:
		k.fail("ERR syntax error, XTRIM must be called with a trimming strategy")
	case limited && !a.trim.Whole:
		k.fail("ERR syntax error, LIMIT cannot be used without the special ~ option")
	default:
		if !limited && a.trim.Whole {
			a.trim.Limit = trimLimit
		}
		return a, i, true
	}
	return a, 0, false
}

// trimLimit bounds what is trimmed at a time where it need not be exact.
const trimLimit = 10_000

// trimOption reads MAXLEN or MINID, and returns where it ends.
func (k *call) trimOption(a *addition, i int) (end int, ok bool) {
	if a.trims {
		k.fail("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
		return i, false
	}
	a.trims, a.trim.ByID, a.trim.Whole = true, k.is(i, "MINID"), false
	if next := string(k.args[i+1]); (next == "~" || next == "=") && i+2 < len(k.args) {
		a.trim.Whole = next == "~"
		i++
	}
	i++
	if a.trim.ByID {
		a.trim.From, ok = k.idArg(i, 0)
		return i, ok
	}
	if a.trim.Most, ok = k.intArg(i); ok && a.trim.Most < 0 {
		k.fail("ERR The MAXLEN argument must be >= 0.")
		return i, false
	}
	return i, ok
}

// nextID is the id of an entry that is to be added; why it can't be otherwise.
func (k *call) nextID(a addition, last keyspace.StreamID) (id keyspace.StreamID, why string) {
	const small = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
	switch {
	case last == keyspace.MaxStreamID:
		return id, "ERR The stream has exhausted the last possible ID, unable to add more items"
	case !a.given:
		if now := uint64(k.s.store.Now()); now > last.MS {
			return keyspace.StreamID{MS: now}, ""
		}
		id, _ = last.Next()
		return id, ""
	case !a.seqGiven && a.id.MS == last.MS:
		if last.Seq == math.MaxUint64 {
			return id, small
		}
		a.id.Seq = last.Seq + 1
	}
	if a.id.Compare(last) <= 0 {
		return id, small
	}
	return a.id, ""
}

// maxStreamEntry bounds the fields of one entry together.
const maxStreamEntry = keyspace.MaxValue

func (k *call) xadd() {
	a, at, ok := k.addOptions(true)
	if !ok {
		return
	}
	fields := k.args[min(at+1, len(k.args)):]
	if len(fields) < 2 || len(fields)%2 == 1 {
		k.fail(wrongArity(k.cmd))
		return
	}
	if a.given && a.seqGiven && a.id == (keyspace.StreamID{}) {
		k.fail("ERR The ID specified in XADD must be greater than 0-0")
		return
	}
	key := k.args[1]
	st, there, ok := k.ownStream(key)
	if !ok || !k.fits(key, 0) {
		return
	}
	if !there && a.noMake {
		k.null()
		return
	}
	last := keyspace.StreamID{}
	if there {
		last = st.Last()
	}
	id, why := k.nextID(a, last)
	if why != "" {
		k.fail(why)
		return
	}
	size := 0
	for _, f := range fields {
		size += len(f)
	}
	if size > maxStreamEntry {
		k.fail("ERR Elements are too large to be stored")
		return
	}
	if !there {
		st, _ = k.db.MakeStream(key)
	}
	st.Append(id, fields)
	k.id(id)
	k.changed(key, classStream, "xadd")
	if a.trims && st.Trim(a.trim) > 0 {
		k.changed(key, classStream, "xtrim")
	}
	k.signal(key)
}

func (k *call) xlen() {
	if st, there, ok := k.stream(k.args[1]); ok {
		n := 0
		if there {
			n = st.Len()
		}
		k.int(n)
	}
}

// idArgs parses all arguments from one on.
func (k *call) idArgs(i int) (ids []keyspace.StreamID, ok bool) {
	ids = make([]keyspace.StreamID, 0, len(k.args)-i)
	for ; i < len(k.args); i++ {
		id, ok := k.idArg(i, 0)
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

func (k *call) xdel() {
	st, there, ok := k.ownStream(k.args[1])
	if !ok {
		return
	}
	if !there {
		k.int(0)
		return
	}
	ids, ok := k.idArgs(2)
	if !ok {
		return
	}
	n := 0
	for _, id := range ids {
		if st.Delete(id) {
			n++
		}
	}
	if n > 0 {
		k.changed(k.args[1], classStream, "xdel")
	}
	k.int(n)
}

func (k *call) xtrim() {
	a, _, ok := k.addOptions(false)
	if !ok {
		return
	}
	st, there, ok := k.ownStream(k.args[1])
	if !ok {
		return
	}
	n := int64(0)
	if there {
		n = st.Trim(a.trim)
	}
	if n > 0 {
		k.changed(k.args[1], classStream, "xtrim")
	}
	k.int64(n)
}

func (k *call) xsetid() {
	id, ok := k.idArg(2, 0)
	if !ok {
		return
	}
	added, deleted := int64(-1), keyspace.StreamID{}
	for i := 3; i < len(k.args); i += 2 {
		more := i+1 < len(k.args)
		switch {
		case k.is(i, "ENTRIESADDED") && more:
			if added, ok = k.intArg(i + 1); !ok {
				return
			}
			if added < 0 {
				k.fail("ERR entries_added must be positive")
				return
			}
		case k.is(i, "MAXDELETEDID") && more:
			if deleted, ok = k.idArg(i+1, 0); !ok {
				return
			}
			if id.Compare(deleted) < 0 {
				k.fail("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
				return
			}
		default:
			k.syntax()
			return
		}
	}
	st, there, ok := k.ownStream(k.args[1])
	switch {
	case !ok:
		return
	case !there:
		k.fail(errNoKey)
		return
	}
	switch {
	case st.Len() > 0 && id.Compare(st.Edge(true)) < 0:
		k.fail("ERR The ID specified in XSETID is smaller than the target stream top item")
	case st.Len() > 0 && added != -1 && int64(st.Len()) > added:
		k.fail("ERR The entries_added specified in XSETID is smaller than the target stream length")
	default:
		if added == -1 {
			added = int64(st.Added())
		}
		if deleted == (keyspace.StreamID{}) {
			deleted = st.Deleted()
		}
		st.SetLast(id, uint64(added), deleted)
		k.changed(k.args[1], classStream, "xsetid")
		k.ok()
	}
}
