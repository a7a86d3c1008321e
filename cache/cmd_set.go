package cache

import (
	"bytes"
	"slices"

	"github.com/banyanhq/banyan/cache/keyspace"
)

var setCommands = []command{
	{name: "sadd", arity: -3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "set", run: (*call).sadd},
	{name: "srem", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "set", run: (*call).srem},
	{name: "scard", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "set", run: (*call).scard},
	{name: "sismember", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "set", run: (*call).sisMember},
	{name: "smismember", arity: -3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "set", run: (*call).smisMember},
	{name: "smembers", arity: 2, flags: "readonly", first: 1, last: 1, step: 1, groups: "set", run: (*call).smembers},
	{name: "smove", arity: 4, flags: "write fast", first: 1, last: 2, step: 1, groups: "set", run: (*call).smove},
	{name: "spop", arity: -2, flags: "write fast", first: 1, last: 1, step: 1, groups: "set", run: (*call).spop},
	{name: "srandmember", arity: -2, flags: "readonly", first: 1, last: 1, step: 1, groups: "set", run: (*call).srandMember},
	{name: "sinter", arity: -2, flags: "readonly", first: 1, last: -1, step: 1, groups: "set", run: func(k *call) { k.answerSet(interOf) }},
	{name: "sunion", arity: -2, flags: "readonly", first: 1, last: -1, step: 1, groups: "set", run: func(k *call) { k.answerSet(unionOf) }},
	{name: "sdiff", arity: -2, flags: "readonly", first: 1, last: -1, step: 1, groups: "set", run: func(k *call) { k.answerSet(diffOf) }},
	{name: "sinterstore", arity: -3, flags: "write denyoom", first: 1, last: -1, step: 1, groups: "set", run: func(k *call) { k.storeSet(interOf, "sinterstore") }},
	{name: "sunionstore", arity: -3, flags: "write denyoom", first: 1, last: -1, step: 1, groups: "set", run: func(k *call) { k.storeSet(unionOf, "sunionstore") }},
	{name: "sdiffstore", arity: -3, flags: "write denyoom", first: 1, last: -1, step: 1, groups: "set", run: func(k *call) { k.storeSet(diffOf, "sdiffstore") }},
	{name: "sintercard", arity: -3, flags: "readonly", keys: func(a [][]byte) []int { return countedKeys(a, 1) }, groups: "set", run: (*call).sinterCard},
	{name: "sscan", arity: -3, flags: "readonly", first: 1, last: 1, step: 1, groups: "set", run: func(k *call) { k.scanFields(keyspace.Set) }},
}

func (k *call) sadd() {
	for _, m := range k.args[2:] {
		if !k.fits(m, 0) {
			return
		}
	}
	f, ok := k.makeFields(k.args[1], keyspace.Set)
	if !ok {
		return
	}
	n := 0
	for _, m := range k.args[2:] {
		if f.Set(m, nil) {
			n++
		}
	}
	if n > 0 {
		k.changed(k.args[1], classSet, "sadd")
	}
	k.int(n)
}

func (k *call) srem() {
	f, ok := k.ownFields(k.args[1], keyspace.Set)
	if !ok {
		return
	}
	n := 0
	for _, m := range k.args[2:] {
		if f.Delete(m) {
			n++
		}
	}
	if n > 0 {
		k.changed(k.args[1], classSet, "srem")
		k.dropEmpty(k.args[1], f.Len())
	}
	k.int(n)
}

func (k *call) scard() {
	if f, ok := k.fields(k.args[1], keyspace.Set); ok {
		k.int(f.Len())
	}
}

func (k *call) sisMember() {
	if f, ok := k.fields(k.args[1], keyspace.Set); ok {
		k.bool(f.Has(k.args[2]))
	}
}

func (k *call) smisMember() {
	f, ok := k.fields(k.args[1], keyspace.Set)
	if !ok {
		return
	}
	k.array(len(k.args) - 2)
	for _, m := range k.args[2:] {
		k.bool(f.Has(m))
	}
}

func (k *call) smembers() {
	f, ok := k.fields(k.args[1], keyspace.Set)
	if !ok {
		return
	}
	k.setOf(f.Len())
	f.Each(func(m, _ []byte) bool { k.bulk(m); return true })
}

func (k *call) smove() {
	from, to, m := k.args[1], k.args[2], k.args[3]
	f, ok := k.ownFields(from, keyspace.Set)
	if !ok {
		return
	}
	if f.Len() == 0 {
		k.int(0)
		return
	}
	t, ok := k.ownFields(to, keyspace.Set)
	if !ok {
		return
	}
	if bytes.Equal(from, to) {
		k.bool(f.Has(m))
		return
	}
	if !f.Has(m) {
		k.int(0)
		return
	}
	if t.Len() == 0 {
		if t, ok = k.makeFields(to, keyspace.Set); !ok {
			return
		}
	}
	f.Delete(m)
	k.changed(from, classSet, "srem")
	added := t.Set(m, nil)
	k.dropEmpty(from, f.Len())
	if added {
		k.changed(to, classSet, "sadd")
	}
	k.int(1)
}

func (k *call) spop() {
	if len(k.args) > 3 {
		k.syntax()
		return
	}
	key := k.args[1]
	n := 1
	if len(k.args) == 3 {
		count, ok := k.intArg(2)
		if !ok {
			return
		}
		if count < 0 {
			k.fail(errPositive)
			return
		}
		n = int(count)
	}
	f, ok := k.ownFields(key, keyspace.Set)
	if !ok {
		return
	}
	if f.Len() == 0 {
		if len(k.args) == 2 {
			k.null()
		} else {
			k.setOf(0)
		}
		return
	}
	n = min(n, f.Len())
	if len(k.args) == 3 {
		k.setOf(n)
	}
	for range n {
		m, _ := f.Random()
		k.bulk(m)
		f.Delete(m)
	}
	if n > 0 {
		k.changed(key, classSet, "spop")
		k.dropEmpty(key, f.Len())
	}
}

func (k *call) srandMember() {
	if len(k.args) > 3 {
		k.syntax()
		return
	}
	if len(k.args) == 2 {
		f, ok := k.fields(k.args[1], keyspace.Set)
		switch {
		case !ok:
		case f.Len() == 0:
			k.null()
		default:
			m, _ := f.Random()
			k.bulk(m)
		}
		return
	}
	n, again, ok := k.drawn(2)
	if !ok {
		return
	}
	if f, ok := k.fields(k.args[1], keyspace.Set); ok {
		k.drawFields(f, n, again, false)
	}
}

// setOperation makes one of several sets; visit may stop it.
type setOperation func(sets []keyspace.Fields, visit func(member []byte) bool)

func interOf(sets []keyspace.Fields, visit func([]byte) bool) {
	sorted := slices.Clone(sets)
	slices.SortStableFunc(sorted, func(a, b keyspace.Fields) int { return a.Len() - b.Len() })
	sorted[0].Each(func(m, _ []byte) bool {
		for _, other := range sorted[1:] {
			if !other.Has(m) {
				return true
			}
		}
		return visit(m)
	})
}

func unionOf(sets []keyspace.Fields, visit func([]byte) bool) {
	for i, s := range sets {
		s.Each(func(m, _ []byte) bool {
			for _, before := range sets[:i] {
				if before.Has(m) {
					return true
				}
			}
			return visit(m)
		})
	}
}

func diffOf(sets []keyspace.Fields, visit func([]byte) bool) {
	sets[0].Each(func(m, _ []byte) bool {
		for _, other := range sets[1:] {
			if other.Has(m) {
				return true
			}
		}
		return visit(m)
	})
}

// sets finds several sets.
func (k *call) sets(keys [][]byte) ([]keyspace.Fields, bool) {
	all := make([]keyspace.Fields, len(keys))
	for i, key := range keys {
		f, ok := k.fields(key, keyspace.Set)
		if !ok {
			return nil, false
		}
		all[i] = f
	}
	return all, true
}

func (k *call) answerSet(op setOperation) {
	sets, ok := k.sets(k.args[1:])
	if !ok {
		return
	}
	var found [][]byte
	op(sets, func(m []byte) bool { found = append(found, m); return true })
	k.setOf(len(found))
	for _, m := range found {
		k.bulk(m)
	}
}

func (k *call) storeSet(op setOperation, event string) {
	target := k.args[1]
	sets, ok := k.sets(k.args[2:])
	if !ok || !k.fits(target, 0) {
		return
	}
	var found [][]byte // copies: the target may be one of the sets
	op(sets, func(m []byte) bool { found = append(found, bytes.Clone(m)); return true })
	there := k.db.Delete(target)
	if len(found) == 0 {
		if there {
			k.deleted(target)
		}
		k.int(0)
		return
	}
	f, ok := k.makeFields(target, keyspace.Set)
	if !ok {
		return
	}
	for _, m := range found {
		f.Set(m, nil)
	}
	k.changed(target, classSet, event)
	k.int(len(found))
}

// countedKeys are the keys of a command that says how many there are.
func countedKeys(args [][]byte, at int) []int {
	n, ok := parseCount(args, at)
	if !ok {
		return nil
	}
	all := make([]int, 0, n)
	for i := range n {
		all = append(all, at+1+i)
	}
	return all
}

// parseCount parses a number of keys that follow it.
func parseCount(args [][]byte, at int) (int, bool) {
	if at >= len(args) {
		return 0, false
	}
	n, err := atoi(args[at])
	return n, err == nil && n > 0 && n <= len(args)-at-1
}

func (k *call) sinterCard() {
	n, err := atoi(k.args[1])
	if err != nil || n <= 0 {
		k.fail("ERR numkeys should be greater than 0")
		return
	}
	if n > len(k.args)-2 {
		k.fail("ERR Number of keys can't be greater than number of args")
		return
	}
	limit := 0
	for i := 2 + n; i < len(k.args); i += 2 {
		if !k.is(i, "LIMIT") || i+1 == len(k.args) {
			k.syntax()
			return
		}
		l, err := atoi(k.args[i+1])
		if err != nil || l < 0 {
			k.fail("ERR LIMIT can't be negative")
			return
		}
		limit = l
	}
	sets, ok := k.sets(k.args[2 : 2+n])
	if !ok {
		return
	}
	count := 0
	interOf(sets, func([]byte) bool { count++; return limit == 0 || count < limit })
	k.int(count)
}
