package cache

import (
	"bytes"
	"math"
	"strconv"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

var listCommands = []command{
	{name: "lpush", arity: -3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "list", run: func(k *call) { k.push(true, true) }},
	{name: "rpush", arity: -3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "list", run: func(k *call) { k.push(false, true) }},
	{name: "lpushx", arity: -3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "list", run: func(k *call) { k.push(true, false) }},
	{name: "rpushx", arity: -3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "list", run: func(k *call) { k.push(false, false) }},
	{name: "lpop", arity: -2, flags: "write fast", first: 1, last: 1, step: 1, groups: "list", run: func(k *call) { k.popList(true) }},
	{name: "rpop", arity: -2, flags: "write fast", first: 1, last: 1, step: 1, groups: "list", run: func(k *call) { k.popList(false) }},
	{name: "llen", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "list", run: (*call).llen},
	{name: "lrange", arity: 4, flags: "readonly", first: 1, last: 1, step: 1, groups: "list", run: (*call).lrange},
	{name: "lindex", arity: 3, flags: "readonly", first: 1, last: 1, step: 1, groups: "list", run: (*call).lindex},
	{name: "lset", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "list", run: (*call).lset},
	{name: "linsert", arity: 5, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "list", run: (*call).linsert},
	{name: "lrem", arity: 4, flags: "write", first: 1, last: 1, step: 1, groups: "list", run: (*call).lrem},
	{name: "ltrim", arity: 4, flags: "write", first: 1, last: 1, step: 1, groups: "list", run: (*call).ltrim},
	{name: "lpos", arity: -3, flags: "readonly", first: 1, last: 1, step: 1, groups: "list", run: (*call).lpos},
	{name: "rpoplpush", arity: 3, flags: "write denyoom", first: 1, last: 2, step: 1, groups: "list", run: func(k *call) { k.moveItem(k.args[1], k.args[2], false, true) }},
	{name: "lmove", arity: 5, flags: "write denyoom", first: 1, last: 2, step: 1, groups: "list", run: (*call).lmove},
	{name: "lmpop", arity: -4, flags: "write", keys: func(a [][]byte) []int { return countedKeys(a, 1) }, groups: "list", run: (*call).lmpop},
	{name: "blpop", arity: -3, flags: "write blocking", first: 1, last: -2, step: 1, groups: "list", run: (*call).blpop},
	{name: "brpop", arity: -3, flags: "write blocking", first: 1, last: -2, step: 1, groups: "list", run: (*call).blpop},
	{name: "brpoplpush", arity: 4, flags: "write denyoom blocking", first: 1, last: 2, step: 1, groups: "list", run: (*call).blmove},
	{name: "blmove", arity: 6, flags: "write denyoom blocking", first: 1, last: 2, step: 1, groups: "list", run: (*call).blmove},
	{name: "blmpop", arity: -5, flags: "write blocking", keys: func(a [][]byte) []int { return countedKeys(a, 2) }, groups: "list", run: (*call).lmpop},
}

func atoi(b []byte) (int, error) { return strconv.Atoi(string(b)) }

// items finds a list, for a command that reads.
func (k *call) items(key []byte) (keyspace.Items, bool) {
	e, there := k.db.Get(key)
	if !there {
		return keyspace.Items{}, true
	}
	if e.Kind() != keyspace.List {
		k.wrongType()
		return keyspace.Items{}, false
	}
	return e.Items(), true
}

// ownItems finds a list, for a command that writes.
func (k *call) ownItems(key []byte) (keyspace.Items, bool) {
	l, err := k.db.Items(key)
	if err != nil {
		k.wrongType()
	}
	return l, err == nil
}

func sideEvent(front bool, verb string) string {
	if front {
		return "l" + verb
	}
	return "r" + verb
}

func (k *call) push(front, make bool) {
	key := k.args[1]
	l, ok := k.ownItems(key)
	if !ok || !k.fits(key, 0) {
		return
	}
	if l.Len() == 0 {
		if !make {
			k.int(0)
			return
		}
		l, _ = k.db.MakeItems(key)
	}
	for _, v := range k.args[2:] {
		pushTo(l, v, front)
	}
	k.changed(key, classList, sideEvent(front, "push"))
	k.signal(key)
	k.int(l.Len())
}

func pushTo(l keyspace.Items, v []byte, front bool) {
	if front {
		l.PushFront(v)
	} else {
		l.PushBack(v)
	}
}

func endOf(l keyspace.Items, front bool) int {
	if front {
		return 0
	}
	return l.Len() - 1
}

// take answers with n values from an end of a list, and removes them.
func (k *call) take(key []byte, l keyspace.Items, n int, front bool) {
	for range n {
		k.bulk(l.At(endOf(l, front)))
		l.Remove(endOf(l, front))
	}
	if n > 0 {
		k.changed(key, classList, sideEvent(front, "pop"))
		k.dropEmpty(key, l.Len())
	}
}

func (k *call) popList(front bool) {
	if len(k.args) > 3 {
		k.fail(wrongArity(k.cmd))
		return
	}
	n := 1
	if len(k.args) == 3 {
		count, ok := resp.ParseInt(k.args[2])
		if !ok || count < 0 {
			k.fail(errPositive)
			return
		}
		n = int(min(count, math.MaxInt32))
	}
	l, ok := k.ownItems(k.args[1])
	if !ok {
		return
	}
	if l.Len() == 0 {
		if len(k.args) == 3 {
			k.nullArray()
		} else {
			k.null()
		}
		return
	}
	n = min(n, l.Len())
	if len(k.args) == 3 {
		k.array(n)
	}
	k.take(k.args[1], l, n, front)
}

func (k *call) llen() {
	if l, ok := k.items(k.args[1]); ok {
		k.int(l.Len())
	}
}

func (k *call) lrange() {
	start, end, ok := k.span()
	if !ok {
		return
	}
	l, ok := k.items(k.args[1])
	if !ok {
		return
	}
	from, n := clip(start, end, l.Len())
	k.array(n)
	l.Range(from, n, func(_ int, v []byte) bool { k.bulk(v); return true })
}

// position is where an index that may count from the end points to.
func position(i int64, n int) (int, bool) {
	if i < 0 {
		i += int64(n)
	}
	return int(i), i >= 0 && i < int64(n)
}

func (k *call) lindex() {
	l, ok := k.items(k.args[1])
	if !ok {
		return
	}
	if l.Len() == 0 {
		k.null()
		return
	}
	i, ok := k.intArg(2)
	if !ok {
		return
	}
	if at, in := position(i, l.Len()); in {
		k.bulk(l.At(at))
		return
	}
	k.null()
}

func (k *call) lset() {
	l, ok := k.ownItems(k.args[1])
	if !ok {
		return
	}
	if l.Len() == 0 {
		k.fail(errNoKey)
		return
	}
	i, ok := k.intArg(2)
	if !ok {
		return
	}
	at, in := position(i, l.Len())
	if !in {
		k.fail(errRange)
		return
	}
	l.Set(at, k.args[3])
	k.changed(k.args[1], classList, "lset")
	k.ok()
}

func (k *call) linsert() {
	after := k.is(2, "AFTER")
	if !after && !k.is(2, "BEFORE") {
		k.syntax()
		return
	}
	l, ok := k.ownItems(k.args[1])
	if !ok {
		return
	}
	if l.Len() == 0 {
		k.int(0)
		return
	}
	at := -1
	l.Range(0, l.Len(), func(i int, v []byte) bool {
		if bytes.Equal(v, k.args[3]) {
			at = i
		}
		return at < 0
	})
	if at < 0 {
		k.int(-1)
		return
	}
	if after {
		at++
	}
	l.Insert(at, k.args[4])
	k.changed(k.args[1], classList, "linsert")
	k.int(l.Len())
}

func (k *call) lrem() {
	count, ok := k.intArg(2)
	if !ok {
		return
	}
	l, ok := k.ownItems(k.args[1])
	if !ok {
		return
	}
	var at []int
	l.Range(0, l.Len(), func(i int, v []byte) bool {
		if bytes.Equal(v, k.args[3]) {
			at = append(at, i)
		}
		return count <= 0 || int64(len(at)) < count
	})
	if n := -count; count < 0 && int64(len(at)) > n {
		at = at[int64(len(at))-n:]
	}
	for i := len(at) - 1; i >= 0; i-- {
		l.Remove(at[i])
	}
	if len(at) > 0 {
		k.changed(k.args[1], classList, "lrem")
		k.dropEmpty(k.args[1], l.Len())
	}
	k.int(len(at))
}

// span reads the first and the last place of a range, the second and third argument.
func (k *call) span() (start, end int64, ok bool) {
	if start, ok = k.intArg(2); !ok {
		return 0, 0, false
	}
	end, ok = k.intArg(3)
	return start, end, ok
}

func (k *call) ltrim() {
	start, end, ok := k.span()
	if !ok {
		return
	}
	l, ok := k.ownItems(k.args[1])
	if !ok {
		return
	}
	if l.Len() > 0 {
		from, n := clip(start, end, l.Len())
		if n == 0 {
			k.db.Delete(k.args[1]) // what is large is freed later
			k.changed(k.args[1], classList, "ltrim")
			k.deleted(k.args[1])
		} else {
			for range l.Len() - from - n {
				l.Remove(l.Len() - 1)
			}
			for range from {
				l.Remove(0)
			}
			k.changed(k.args[1], classList, "ltrim")
		}
	}
	k.ok()
}

func (k *call) lpos() {
	rank, count, most := int64(1), int64(-1), int64(0)
	for i := 3; i < len(k.args); i += 2 {
		if i+1 == len(k.args) {
			k.syntax()
			return
		}
		n, ok := resp.ParseInt(k.args[i+1])
		if !ok {
			n = -1 // as little a count or a length as a negative one
		}
		switch {
		case k.is(i, "RANK") && !ok:
			k.fail(errNotInt)
			return
		case k.is(i, "RANK"):
			if n == 0 {
				k.fail("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
				return
			}
			rank = n
		case k.is(i, "COUNT"):
			if n < 0 {
				k.fail("ERR COUNT can't be negative")
				return
			}
			count = n
		case k.is(i, "MAXLEN"):
			if n < 0 {
				k.fail("ERR MAXLEN can't be negative")
				return
			}
			most = n
		default:
			k.syntax()
			return
		}
	}
	l, ok := k.items(k.args[1])
	if !ok {
		return
	}
	found := matches(l, k.args[2], rank, most, count)
	switch {
	case count >= 0:
		k.array(len(found))
		for _, i := range found {
			k.int(i)
		}
	case len(found) > 0:
		k.int(found[0])
	default:
		k.null()
	}
}

// matches are the places of a value in a list: from the rank-th on, backwards if that is negative, count of them (0: all,
// negative: one), among the first most (0: all).
func matches(l keyspace.Items, value []byte, rank, most, count int64) (found []int) {
	want := count
	if count < 0 {
		want = 1
	}
	skip := rank - 1
	if rank < 0 {
		skip = -rank - 1
	}
	look := func(i int, v []byte) bool {
		if !bytes.Equal(v, value) {
			return true
		}
		if skip > 0 {
			skip--
			return true
		}
		found = append(found, i)
		return want == 0 || int64(len(found)) < want
	}
	n := l.Len()
	if most > 0 {
		n = int(min(most, int64(n)))
	}
	if rank > 0 {
		l.Range(0, n, look)
		return found
	}
	for i := l.Len() - 1; i >= l.Len()-n; i-- {
		if !look(i, l.At(i)) {
			break
		}
	}
	return found
}

// sideArg parses LEFT or RIGHT.
func (k *call) sideArg(i int) (front, ok bool) {
	switch {
	case k.is(i, "LEFT"):
		return true, true
	case k.is(i, "RIGHT"):
		return false, true
	}
	k.syntax()
	return false, false
}

func (k *call) lmove() {
	from, ok := k.sideArg(3)
	if !ok {
		return
	}
	if to, ok := k.sideArg(4); ok {
		k.moveItem(k.args[1], k.args[2], from, to)
	}
}

// moveItem moves a value from one list to another and answers with it.
func (k *call) moveItem(source, target []byte, from, to bool) {
	if done := k.tryMove(source, target, from, to); !done && !k.failed {
		k.null()
	}
}

func (k *call) tryMove(source, target []byte, from, to bool) bool {
	l, ok := k.ownItems(source)
	if !ok || l.Len() == 0 {
		return false
	}
	t, ok := k.ownItems(target)
	if !ok || !k.fits(target, 0) {
		return false
	}
	if t.Len() == 0 {
		t, _ = k.db.MakeItems(target)
		l, _ = k.db.Items(source)
	}
	v := bytes.Clone(l.At(endOf(l, from)))
	l.Remove(endOf(l, from))
	pushTo(t, v, to)
	k.changed(target, classList, sideEvent(to, "push"))
	k.changed(source, classList, sideEvent(from, "pop"))
	k.dropEmpty(source, l.Len())
	k.signal(target)
	k.bulk(v)
	return true
}

// popOptions are those of LMPOP and ZMPOP, which begin at an argument.
func (k *call) popOptions(at int, first, second string) (keys [][]byte, one bool, count int, ok bool) {
	n, err := atoi(k.args[at])
	if err != nil || n <= 0 {
		k.fail("ERR numkeys should be greater than 0")
		return
	}
	side := at + 1 + n
	if n > len(k.args) || side >= len(k.args) {
		k.syntax()
		return
	}
	one = k.is(side, first)
	if !one && !k.is(side, second) {
		k.syntax()
		return
	}
	count = 1
	for i := side + 1; i < len(k.args); i += 2 {
		if !k.is(i, "COUNT") || i+1 == len(k.args) || i > side+1 {
			k.syntax()
			return
		}
		if count, err = atoi(k.args[i+1]); err != nil || count <= 0 {
			k.fail("ERR count should be greater than 0")
			return
		}
	}
	return k.args[at+1 : side], one, count, true
}

// popFirst runs LMPOP, ZMPOP and what blocks like them (the command of that name): pop takes from the first key that has
// something, at the first of the two ends or at the second.
func (k *call) popFirst(blocks, first, second string, pop func(k *call, key []byte, one bool, count int) bool) {
	at, blocking := 1, k.cmd.name == blocks
	var until int64
	if blocking {
		at = 2
		var ok bool
		if until, ok = k.timeout(1); !ok {
			return
		}
	}
	keys, one, count, ok := k.popOptions(at, first, second)
	if !ok {
		return
	}
	k.orWait(blocking, keys, until, func(k *call, key []byte) bool { return pop(k, key, one, count) })
}

func (k *call) lmpop() {
	k.popFirst("blmpop", "LEFT", "RIGHT", func(k *call, key []byte, front bool, count int) bool {
		l, ok := k.ownItems(key)
		if !ok || l.Len() == 0 {
			return k.failed
		}
		n := min(count, l.Len())
		k.array(2)
		k.bulk(key)
		k.array(n)
		k.take(key, l, n, front)
		return true
	})
}

func (k *call) blpop() {
	until, ok := k.timeout(len(k.args) - 1)
	if !ok {
		return
	}
	front := k.cmd.name == "blpop"
	k.orWait(true, k.args[1:len(k.args)-1], until, func(k *call, key []byte) bool {
		l, ok := k.ownItems(key)
		if !ok || l.Len() == 0 {
			return k.failed
		}
		k.array(2)
		k.bulk(key)
		k.take(key, l, 1, front)
		return true
	})
}

func (k *call) blmove() {
	from, to := false, true
	if k.cmd.name == "blmove" {
		var ok bool
		if from, ok = k.sideArg(3); !ok {
			return
		}
		if to, ok = k.sideArg(4); !ok {
			return
		}
	}
	until, ok := k.timeout(len(k.args) - 1)
	if !ok {
		return
	}
	target := bytes.Clone(k.args[2])
	k.orWait(true, k.args[1:2], until, func(k *call, key []byte) bool {
		return k.tryMove(key, target, from, to) || k.failed
	})
}
