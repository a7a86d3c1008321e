package cache

import (
	"bytes"
	"math"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

func scoreText(f float64) []byte { return resp.AppendFloat(nil, f) }

// By what a range of a sorted set goes.
type rangeBy uint8

const (
	byRank rangeBy = iota
	byScore
	byLex
)

const (
	errScoreRange = "ERR min or max is not a float"
	errLexRange   = "ERR min or max not valid string range item"
)

// scoreBound is an end of a range of scores.
type scoreBound struct {
	score float64
	open  bool // the score itself is not in
}

func parseScoreBound(b []byte) (s scoreBound, ok bool) {
	if len(b) > 0 && b[0] == '(' {
		s.open, b = true, b[1:]
	}
	if b = bytes.TrimLeft(b, " "); len(b) == 0 {
		return s, true // 0, as for Redis
	}
	s.score, ok = parseFloat(b)
	return s, ok
}

// lexBound is an end of a range of names.
type lexBound struct {
	name     []byte
	open     bool
	infinite int // -1 and 1: before and behind all
}

func parseLexBound(b []byte) (l lexBound, ok bool) {
	switch {
	case len(b) == 0:
		return l, false
	case string(b) == "-":
		return lexBound{infinite: -1}, true
	case string(b) == "+":
		return lexBound{infinite: 1}, true
	case b[0] == '(':
		return lexBound{name: b[1:], open: true}, true
	case b[0] == '[':
		return lexBound{name: b[1:]}, true
	}
	return l, false
}

// before reports whether a name comes before the bound, which is the low end if low.
func (l lexBound) before(name []byte, low bool) bool {
	if l.infinite != 0 {
		return l.infinite > 0
	}
	c := bytes.Compare(name, l.name)
	return c < 0 || c == 0 && l.open == low
}

func (s scoreBound) before(score float64, low bool) bool {
	return score < s.score || score == s.score && s.open == low
}

// ends finds the ranks of a range's members: n from a rank on. low and high are the arguments.
func (k *call) ends(by rangeBy, low, high []byte) (find func(z keyspace.Ranking) (from, n int), ok bool) {
	switch by {
	case byScore:
		a, ok := parseScoreBound(low)
		b, also := parseScoreBound(high)
		if !ok || !also {
			k.fail(errScoreRange)
			return nil, false
		}
		return func(z keyspace.Ranking) (int, int) {
			from := z.CountBefore(func(s float64, _ []byte) bool { return a.before(s, true) })
			to := z.CountBefore(func(s float64, _ []byte) bool { return b.before(s, false) })
			return from, max(to-from, 0)
		}, true
	case byLex:
		a, ok := parseLexBound(low)
		b, also := parseLexBound(high)
		if !ok || !also {
			k.fail(errLexRange)
			return nil, false
		}
		return func(z keyspace.Ranking) (int, int) {
			from := z.CountBefore(func(_ float64, m []byte) bool { return a.before(m, true) })
			to := z.CountBefore(func(_ float64, m []byte) bool { return b.before(m, false) })
			return from, max(to-from, 0)
		}, true
	}
	a, ok := resp.ParseInt(low)
	b, also := resp.ParseInt(high)
	if !ok || !also {
		k.fail(errNotInt)
		return nil, false
	}
	return func(z keyspace.Ranking) (int, int) { return clip(a, b, z.Len()) }, true
}

func (k *call) zcount() {
	find, ok := k.ends(byScore, k.args[2], k.args[3])
	if !ok {
		return
	}
	if z, ok := k.ranking(k.args[1]); ok {
		_, n := find(z)
		k.int(n)
	}
}

func (k *call) zlexCount() {
	find, ok := k.ends(byLex, k.args[2], k.args[3])
	if !ok {
		return
	}
	if z, ok := k.ranking(k.args[1]); ok {
		_, n := find(z)
		k.int(n)
	}
}

func (k *call) zremRange(by rangeBy) {
	find, ok := k.ends(by, k.args[2], k.args[3])
	if !ok {
		return
	}
	key := k.args[1]
	z, ok := k.ownRanking(key)
	if !ok {
		return
	}
	from, n := find(z)
	for range n {
		var name []byte
		z.Range(from, 1, false, func(m []byte, _ float64) bool { name = bytes.Clone(m); return false })
		z.Delete(name)
	}
	if n > 0 {
		k.changed(key, classSortedSet, map[rangeBy]string{byRank: "zremrangebyrank", byScore: "zremrangebyscore", byLex: "zremrangebylex"}[by])
		k.dropEmpty(key, z.Len())
	}
	k.int(n)
}

// zrangeOptions are those of the commands that answer with a range.
type zrangeOptions struct {
	by            rangeBy
	reverse       bool
	scores        bool
	offset, count int64
	limited       bool
}

// zrangeOptions parses them from an argument on, on top of what the command's name says.
func (k *call) zrangeOptions(i int) (o zrangeOptions, ok bool) {
	name := k.cmd.name
	free := name == "zrange" || name == "zrangestore"
	o = zrangeOptions{count: -1, reverse: len(name) > 4 && name[1:4] == "rev"}
	switch {
	case bytes.HasSuffix([]byte(name), []byte("byscore")):
		o.by = byScore
	case bytes.HasSuffix([]byte(name), []byte("bylex")):
		o.by = byLex
	}
	for ; i < len(k.args); i++ {
		switch {
		case k.is(i, "WITHSCORES") && name != "zrangestore":
			o.scores = true
		case k.is(i, "BYSCORE") && free:
			o.by = byScore
		case k.is(i, "BYLEX") && free:
			o.by = byLex
		case k.is(i, "REV") && free:
			o.reverse = true
		case k.is(i, "LIMIT") && i+2 < len(k.args):
			if o.offset, ok = k.intArg(i + 1); !ok {
				return o, false
			}
			if o.count, ok = k.intArg(i + 2); !ok {
				return o, false
			}
			o.limited = true
			i += 2
		default:
			k.syntax()
			return o, false
		}
	}
	if o.limited && o.by == byRank {
		k.fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
		return o, false
	}
	if o.scores && o.by == byLex {
		k.fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
		return o, false
	}
	return o, true
}

func (k *call) zrange() {
	at := 1
	if k.cmd.name == "zrangestore" {
		at = 2
	}
	o, ok := k.zrangeOptions(at + 3)
	if !ok {
		return
	}
	low, high := k.args[at+1], k.args[at+2]
	if o.reverse && o.by != byRank {
		low, high = high, low
	}
	find, ok := k.ends(o.by, low, high)
	if !ok {
		return
	}
	z, ok := k.ranking(k.args[at])
	if !ok {
		return
	}
	from, n := find(z)
	if o.reverse {
		if o.by == byRank {
			from = z.Len() - 1 - from
		} else {
			from = from + n - 1
		}
	}
	if o.limited {
		if o.offset < 0 || o.offset >= int64(n) {
			n = 0
		} else {
			n -= int(o.offset)
			if o.reverse {
				from -= int(o.offset)
			} else {
				from += int(o.offset)
			}
			if o.count >= 0 {
				n = int(min(int64(n), o.count))
			}
		}
	}
	if at == 2 {
		k.zrangeStore(z, from, n, o.reverse)
		return
	}
	k.pairsHead(n, o.scores)
	z.Range(from, n, o.reverse, func(m []byte, score float64) bool { k.pair(m, score, o.scores); return true })
}

func (k *call) zrangeStore(z keyspace.Ranking, from, n int, reverse bool) {
	found := make([]scored, 0, min(n, 1024))
	z.Range(from, n, reverse, func(m []byte, score float64) bool {
		found = append(found, scored{bytes.Clone(m), score})
		return true
	})
	k.storeRanking(k.args[1], found, "zrangestore")
}

type scored struct {
	name  []byte
	score float64
}

// storeRanking replaces a key by a sorted set and answers with the number of its members.
func (k *call) storeRanking(target []byte, found []scored, event string) {
	if !k.fits(target, 0) {
		return
	}
	there := k.db.Delete(target)
	if len(found) == 0 {
		if there {
			k.deleted(target)
		}
		k.int(0)
		return
	}
	z, ok := k.makeRanking(target)
	if !ok {
		return
	}
	for _, m := range found {
		z.Set(m.name, m.score)
	}
	k.changed(target, classSortedSet, event)
	k.signal(target)
	k.int(len(found))
}

// zOperation says how sorted sets are combined.
type zOperation uint8

const (
	zUnion zOperation = iota
	zInter
	zDiff
)

// ranked is a sorted set, or a set whose members count 1, with the weight of its scores.
type ranked struct {
	z      keyspace.Ranking
	f      keyspace.Fields
	weight float64
}

func (r ranked) size() int { return r.z.Len() + r.f.Len() }

func (r ranked) score(m []byte) (float64, bool) {
	s, ok := 1.0, false
	if r.z.Len() > 0 {
		s, ok = r.z.Score(m)
	} else {
		ok = r.f.Has(m)
	}
	return weigh(s, r.weight), ok
}

func weigh(score, weight float64) float64 {
	if w := score * weight; !math.IsNaN(w) {
		return w
	}
	return 0
}

func (r ranked) each(visit func(m []byte, score float64) bool) {
	if r.z.Len() > 0 {
		r.z.Range(0, r.z.Len(), false, func(m []byte, s float64) bool { return visit(m, weigh(s, r.weight)) })
		return
	}
	r.f.Each(func(m, _ []byte) bool { return visit(m, weigh(1, r.weight)) })
}

// combination is what a ZUNION, ZINTER or ZDIFF asks for.
type combination struct {
	sets      []ranked
	aggregate string
	scores    bool
	limit     int
}

// combination parses the arguments from the number of keys on, and finds the sets.
func (k *call) combination(at int, op zOperation, store bool) (c combination, ok bool) {
	n, err := atoi(k.args[at])
	if err != nil {
		k.fail(errNotInt)
		return c, false
	}
	if n < 1 {
		k.failf("ERR at least 1 input key is needed for '%s' command", k.cmd.full)
		return c, false
	}
	if n > len(k.args)-at-1 {
		k.syntax()
		return c, false
	}
	for _, key := range k.args[at+1 : at+1+n] {
		r := ranked{weight: 1}
		if e, there := k.db.Get(key); there {
			switch e.Kind() {
			case keyspace.SortedSet:
				r.z = e.Ranking()
			case keyspace.Set:
				r.f = e.Fields()
			default:
				k.wrongType()
				return c, false
			}
		}
		c.sets = append(c.sets, r)
	}
	card := k.cmd.name == "zintercard"
	for i := at + 1 + n; i < len(k.args); i++ {
		switch {
		case k.is(i, "WEIGHTS") && op != zDiff && !card && i+n < len(k.args):
			for j := range c.sets {
				if c.sets[j].weight, ok = k.floatArg(i+1+j, "ERR weight value is not a float"); !ok {
					return c, false
				}
			}
			i += n
		case k.is(i, "AGGREGATE") && op != zDiff && !card && i+1 < len(k.args) && (k.is(i+1, "SUM") || k.is(i+1, "MIN") || k.is(i+1, "MAX")):
			c.aggregate = string(bytes.ToUpper(k.args[i+1]))
			i++
		case k.is(i, "WITHSCORES") && !store && !card:
			c.scores = true
		case k.is(i, "LIMIT") && card && i+1 < len(k.args):
			if c.limit, err = atoi(k.args[i+1]); err != nil || c.limit < 0 {
				k.fail("ERR LIMIT can't be negative")
				return c, false
			}
			i++
		default:
			k.syntax()
			return c, false
		}
	}
	return c, true
}

func (c combination) join(a, b float64) float64 {
	switch c.aggregate {
	case "MIN":
		return min(a, b)
	case "MAX":
		return max(a, b)
	}
	if sum := a + b; !math.IsNaN(sum) {
		return sum
	}
	return 0
}

// visit visits what a combination yields, a member once, in no order.
func (c combination) visit(op zOperation, visit func(m []byte, score float64) bool) {
	sets := c.sets
	switch op {
	case zInter:
		least := 0
		for i := range sets {
			if sets[i].size() < sets[least].size() {
				least = i
			}
		}
		sets[least].each(func(m []byte, score float64) bool {
			for i := range sets {
				if i == least {
					continue
				}
				other, ok := sets[i].score(m)
				if !ok {
					return true
				}
				score = c.join(score, other)
			}
			return visit(m, score)
		})
	case zUnion:
		for i := range sets {
			sets[i].each(func(m []byte, score float64) bool {
				for _, before := range sets[:i] {
					if _, ok := before.score(m); ok {
						return true
					}
				}
				for _, after := range sets[i+1:] {
					if other, ok := after.score(m); ok {
						score = c.join(score, other)
					}
				}
				return visit(m, score)
			})
		}
	case zDiff:
		sets[0].each(func(m []byte, score float64) bool {
			for _, other := range sets[1:] {
				if _, ok := other.score(m); ok {
					return true
				}
			}
			return visit(m, score)
		})
	}
}

func (k *call) zcombine(op zOperation, store bool) {
	at := 1
	if store {
		at = 2
	}
	c, ok := k.combination(at, op, store)
	if !ok {
		return
	}
	var found []scored
	c.visit(op, func(m []byte, score float64) bool {
		found = append(found, scored{bytes.Clone(m), score})
		return true
	})
	if store {
		k.storeRanking(bytes.Clone(k.args[1]), found, k.cmd.name)
		return
	}
	sortScored(found)
	k.pairsHead(len(found), c.scores)
	for _, m := range found {
		k.pair(m.name, m.score, c.scores)
	}
}

func (k *call) zinterCard() {
	c, ok := k.combination(1, zInter, false)
	if !ok {
		return
	}
	n := 0
	c.visit(zInter, func([]byte, float64) bool { n++; return c.limit == 0 || n < c.limit })
	k.int(n)
}
