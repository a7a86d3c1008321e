package cache

import (
	"bytes"
	"math"

	"github.com/banyanhq/banyan/cache/keyspace"
)

var sortedSetCommands = []command{
	{name: "zadd", arity: -4, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zadd},
	{name: "zincrby", arity: 4, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zincrBy},
	{name: "zrem", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrem},
	{name: "zcard", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zcard},
	{name: "zscore", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zscore},
	{name: "zmscore", arity: -3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zmscore},
	{name: "zrank", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "sortedset", run: func(k *call) { k.zrank(false) }},
	{name: "zrevrank", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "sortedset", run: func(k *call) { k.zrank(true) }},
	{name: "zcount", arity: 4, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zcount},
	{name: "zlexcount", arity: 4, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zlexCount},
	{name: "zrange", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrange},
	{name: "zrevrange", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrange},
	{name: "zrangebyscore", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrange},
	{name: "zrevrangebyscore", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrange},
	{name: "zrangebylex", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrange},
	{name: "zrevrangebylex", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrange},
	{name: "zrangestore", arity: -5, flags: "write denyoom", first: 1, last: 2, step: 1, groups: "sortedset", run: (*call).zrange},
	{name: "zremrangebyrank", arity: 4, flags: "write", first: 1, last: 1, step: 1, groups: "sortedset", run: func(k *call) { k.zremRange(byRank) }},
	{name: "zremrangebyscore", arity: 4, flags: "write", first: 1, last: 1, step: 1, groups: "sortedset", run: func(k *call) { k.zremRange(byScore) }},
	{name: "zremrangebylex", arity: 4, flags: "write", first: 1, last: 1, step: 1, groups: "sortedset", run: func(k *call) { k.zremRange(byLex) }},
	{name: "zpopmin", arity: -2, flags: "write fast", first: 1, last: 1, step: 1, groups: "sortedset", run: func(k *call) { k.zpop(true) }},
	{name: "zpopmax", arity: -2, flags: "write fast", first: 1, last: 1, step: 1, groups: "sortedset", run: func(k *call) { k.zpop(false) }},
	{name: "zmpop", arity: -4, flags: "write", keys: func(a [][]byte) []int { return countedKeys(a, 1) }, groups: "sortedset", run: (*call).zmpop},
	{name: "bzpopmin", arity: -3, flags: "write fast blocking", first: 1, last: -2, step: 1, groups: "sortedset", run: (*call).bzpop},
	{name: "bzpopmax", arity: -3, flags: "write fast blocking", first: 1, last: -2, step: 1, groups: "sortedset", run: (*call).bzpop},
	{name: "bzmpop", arity: -5, flags: "write blocking", keys: func(a [][]byte) []int { return countedKeys(a, 2) }, groups: "sortedset", run: (*call).zmpop},
	{name: "zrandmember", arity: -2, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zrandMember},
	{name: "zscan", arity: -3, flags: "readonly", first: 1, last: 1, step: 1, groups: "sortedset", run: (*call).zscan},
	{name: "zunion", arity: -3, flags: "readonly", keys: func(a [][]byte) []int { return countedKeys(a, 1) }, groups: "sortedset", run: func(k *call) { k.zcombine(zUnion, false) }},
	{name: "zinter", arity: -3, flags: "readonly", keys: func(a [][]byte) []int { return countedKeys(a, 1) }, groups: "sortedset", run: func(k *call) { k.zcombine(zInter, false) }},
	{name: "zdiff", arity: -3, flags: "readonly", keys: func(a [][]byte) []int { return countedKeys(a, 1) }, groups: "sortedset", run: func(k *call) { k.zcombine(zDiff, false) }},
	{name: "zunionstore", arity: -4, flags: "write denyoom", keys: storeKeys, groups: "sortedset", run: func(k *call) { k.zcombine(zUnion, true) }},
	{name: "zinterstore", arity: -4, flags: "write denyoom", keys: storeKeys, groups: "sortedset", run: func(k *call) { k.zcombine(zInter, true) }},
	{name: "zdiffstore", arity: -4, flags: "write denyoom", keys: storeKeys, groups: "sortedset", run: func(k *call) { k.zcombine(zDiff, true) }},
	{name: "zintercard", arity: -3, flags: "readonly", keys: func(a [][]byte) []int { return countedKeys(a, 1) }, groups: "sortedset", run: (*call).zinterCard},
}

func storeKeys(a [][]byte) []int { return append([]int{1}, countedKeys(a, 2)...) }

// ranking finds a sorted set, for a command that reads.
func (k *call) ranking(key []byte) (keyspace.Ranking, bool) {
	e, there := k.db.Get(key)
	if !there {
		return keyspace.Ranking{}, true
	}
	if e.Kind() != keyspace.SortedSet {
		k.wrongType()
		return keyspace.Ranking{}, false
	}
	return e.Ranking(), true
}

// ownRanking finds one for a command that writes.
func (k *call) ownRanking(key []byte) (keyspace.Ranking, bool) {
	z, err := k.db.Ranking(key)
	if err != nil {
		k.wrongType()
	}
	return z, err == nil
}

func (k *call) makeRanking(key []byte) (keyspace.Ranking, bool) {
	if !k.fits(key, 0) {
		return keyspace.Ranking{}, false
	}
	z, err := k.db.MakeRanking(key)
	if err != nil {
		k.wrongType()
	}
	return z, err == nil
}

// zaddOptions are those of ZADD.
type zaddOptions struct{ nx, xx, gt, lt, ch, incr bool }

func (k *call) zaddOptions() (o zaddOptions, from int, ok bool) {
	for from = 2; from < len(k.args); from++ {
		switch {
		case k.is(from, "NX"):
			o.nx = true
		case k.is(from, "XX"):
			o.xx = true
		case k.is(from, "GT"):
			o.gt = true
		case k.is(from, "LT"):
			o.lt = true
		case k.is(from, "CH"):
			o.ch = true
		case k.is(from, "INCR"):
			o.incr = true
		default:
			ok = true
		}
		if ok {
			break
		}
	}
	pairs := len(k.args) - from
	switch {
	case pairs == 0 || pairs%2 != 0:
		k.syntax()
	case o.nx && o.xx:
		k.fail("ERR XX and NX options at the same time are not compatible")
	case o.gt && o.nx || o.lt && o.nx || o.gt && o.lt:
		k.fail("ERR GT, LT, and/or NX options at the same time are not compatible")
	case o.incr && pairs > 2:
		k.fail("ERR INCR option supports a single increment-element pair")
	default:
		return o, from, true
	}
	return o, from, false
}

func (k *call) zadd() {
	o, from, ok := k.zaddOptions()
	if !ok {
		return
	}
	scores := make([]float64, 0, 8)
	for i := from; i < len(k.args); i += 2 {
		f, ok := k.floatArg(i, errNotFloat)
		if !ok || !k.fits(k.args[i+1], 0) {
			return
		}
		scores = append(scores, f)
	}
	k.zaddAll(o, from, scores)
}

func (k *call) zincrBy() {
	f, ok := k.floatArg(2, errNotFloat)
	if ok && k.fits(k.args[3], 0) {
		k.zaddAll(zaddOptions{incr: true}, 2, []float64{f})
	}
}

func (k *call) zaddAll(o zaddOptions, from int, scores []float64) {
	key := k.args[1]
	z, ok := k.ownRanking(key)
	if !ok {
		return
	}
	if z.Len() == 0 {
		if o.xx {
			if o.incr {
				k.null()
			} else {
				k.int(0)
			}
			return
		}
		if z, ok = k.makeRanking(key); !ok {
			return
		}
	}
	added, updated, result, did := 0, 0, 0.0, false
	for i, score := range scores {
		m := k.args[from+2*i+1]
		was, there := z.Score(m)
		if o.incr && there {
			if score += was; math.IsNaN(score) {
				k.fail("ERR resulting score is not a number (NaN)")
				break
			}
		}
		if there && (o.nx || o.gt && score <= was || o.lt && score >= was) || !there && o.xx {
			continue
		}
		result, did = score, true
		if z.Set(m, score) {
			added++
		} else if score != was {
			updated++
		}
	}
	if added+updated > 0 {
		event := "zadd"
		if o.incr {
			event = "zincr"
		}
		k.changed(key, classSortedSet, event)
		k.signal(key)
	}
	if z.Len() == 0 {
		k.db.Delete(key)
	}
	switch {
	case k.failed:
	case o.incr && did:
		k.double(result)
	case o.incr:
		k.null()
	case o.ch:
		k.int(added + updated)
	default:
		k.int(added)
	}
}

func (k *call) zrem() {
	z, ok := k.ownRanking(k.args[1])
	if !ok {
		return
	}
	n := 0
	for _, m := range k.args[2:] {
		if z.Delete(m) {
			n++
		}
	}
	if n > 0 {
		k.changed(k.args[1], classSortedSet, "zrem")
		k.dropEmpty(k.args[1], z.Len())
	}
	k.int(n)
}

func (k *call) zcard() {
	if z, ok := k.ranking(k.args[1]); ok {
		k.int(z.Len())
	}
}

func (k *call) score(z keyspace.Ranking, m []byte) {
	if f, ok := z.Score(m); ok {
		k.double(f)
		return
	}
	k.null()
}

func (k *call) zscore() {
	if z, ok := k.ranking(k.args[1]); ok {
		k.score(z, k.args[2])
	}
}

func (k *call) zmscore() {
	z, ok := k.ranking(k.args[1])
	if !ok {
		return
	}
	k.array(len(k.args) - 2)
	for _, m := range k.args[2:] {
		k.score(z, m)
	}
}

func (k *call) zrank(reverse bool) {
	z, ok := k.ranking(k.args[1])
	if !ok {
		return
	}
	n, ok := z.Rank(k.args[2])
	switch {
	case !ok:
		k.null()
	case reverse:
		k.int(z.Len() - 1 - n)
	default:
		k.int(n)
	}
}

// zpop pops from one end: ZPOPMIN, ZPOPMAX.
func (k *call) zpop(least bool) {
	if len(k.args) > 3 {
		k.syntax()
		return
	}
	n := 1
	if len(k.args) == 3 {
		count, err := atoi(k.args[2])
		if err != nil || count < 0 {
			k.fail(errPositive)
			return
		}
		n = count
	}
	z, ok := k.ownRanking(k.args[1])
	if !ok {
		return
	}
	n = min(n, z.Len())
	pairs := k.v3 && len(k.args) == 3
	if pairs {
		k.array(n)
	} else {
		k.array(2 * n)
	}
	k.zpopSome(k.args[1], z, n, least, pairs)
}

// zpopSome answers with n members from one end, and removes them.
func (k *call) zpopSome(key []byte, z keyspace.Ranking, n int, least, pairs bool) {
	for range n {
		at := 0
		if !least {
			at = z.Len() - 1
		}
		var name []byte
		z.Range(at, 1, false, func(m []byte, score float64) bool {
			if pairs {
				k.array(2)
			}
			k.bulk(m)
			k.double(score)
			name = bytes.Clone(m)
			return false
		})
		z.Delete(name)
	}
	if n == 0 {
		return
	}
	event := "zpopmin"
	if !least {
		event = "zpopmax"
	}
	k.changed(key, classSortedSet, event)
	k.dropEmpty(key, z.Len())
}

func (k *call) zmpop() {
	k.popFirst("bzmpop", "MIN", "MAX", func(k *call, key []byte, least bool, count int) bool {
		z, ok := k.ownRanking(key)
		if !ok || z.Len() == 0 {
			return k.failed
		}
		n := min(count, z.Len())
		k.array(2)
		k.bulk(key)
		k.array(n)
		k.zpopSome(key, z, n, least, true)
		return true
	})
}

func (k *call) bzpop() {
	until, ok := k.timeout(len(k.args) - 1)
	if !ok {
		return
	}
	least := k.cmd.name == "bzpopmin"
	k.orWait(true, k.args[1:len(k.args)-1], until, func(k *call, key []byte) bool {
		z, ok := k.ownRanking(key)
		if !ok || z.Len() == 0 {
			return k.failed
		}
		k.array(3)
		k.bulk(key)
		k.zpopSome(key, z, 1, least, false)
		return true
	})
}

func (k *call) zrandMember() {
	if len(k.args) > 4 || len(k.args) == 4 && !k.is(3, "WITHSCORES") {
		k.syntax()
		return
	}
	n, again, ok := 1, false, true
	if len(k.args) > 2 {
		if n, again, ok = k.drawn(2); !ok {
			return
		}
	}
	z, ok := k.ranking(k.args[1])
	if !ok {
		return
	}
	if len(k.args) == 2 {
		if z.Len() == 0 {
			k.null()
			return
		}
		m, _ := z.Random()
		k.bulk(m)
		return
	}
	if z.Len() == 0 {
		n = 0
	} else if !again {
		n = min(n, z.Len())
	}
	scores := len(k.args) == 4
	k.pairsHead(n, scores)
	answer := func(m []byte, score float64) { k.pair(m, score, scores) }
	if again {
		for range n {
			answer(z.Random())
		}
		return
	}
	left, size := n, z.Len()
	z.Range(0, z.Len(), false, func(m []byte, score float64) bool {
		if k.s.store.Random(uint64(size)) < uint64(left) {
			answer(m, score)
			left--
		}
		size--
		return left > 0
	})
}

// pairsHead begins an answer of n members, with their scores or without.
func (k *call) pairsHead(n int, scores bool) {
	if scores && !k.v3 {
		n *= 2
	}
	k.array(n)
}

func (k *call) pair(m []byte, score float64, scores bool) {
	if scores && k.v3 {
		k.array(2)
	}
	k.bulk(m)
	if scores {
		k.double(score)
	}
}

func (k *call) zscan() {
	cursor, ok := k.cursor(2)
	if !ok {
		return
	}
	z, ok := k.ranking(k.args[1])
	if !ok || !k.scanKey(z.Len() > 0) {
		return
	}
	o, ok := k.scanOptions(cursor, 3)
	if !ok {
		return
	}
	k.scanAnswer(o, func(cursor uint64, found func(...[]byte)) uint64 {
		return z.Scan(cursor, func(m []byte, score float64) { found(m, scoreText(score)) })
	})
}
