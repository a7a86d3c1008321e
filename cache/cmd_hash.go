package cache

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

var hashCommands = []command{
	{name: "hset", arity: -4, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "hash", run: func(k *call) { k.hset(false) }},
	{name: "hmset", arity: -4, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "hash", run: func(k *call) { k.hset(true) }},
	{name: "hsetnx", arity: 4, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hsetNX},
	{name: "hget", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hget},
	{name: "hmget", arity: -3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hmget},
	{name: "hdel", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hdel},
	{name: "hlen", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hlen},
	{name: "hstrlen", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hstrlen},
	{name: "hexists", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hexists},
	{name: "hgetall", arity: 2, flags: "readonly", first: 1, last: 1, step: 1, groups: "hash", run: func(k *call) { k.hashAll(true, true) }},
	{name: "hkeys", arity: 2, flags: "readonly", first: 1, last: 1, step: 1, groups: "hash", run: func(k *call) { k.hashAll(true, false) }},
	{name: "hvals", arity: 2, flags: "readonly", first: 1, last: 1, step: 1, groups: "hash", run: func(k *call) { k.hashAll(false, true) }},
	{name: "hincrby", arity: 4, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hincrBy},
	{name: "hincrbyfloat", arity: 4, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hincrByFloat},
	{name: "hrandfield", arity: -2, flags: "readonly", first: 1, last: 1, step: 1, groups: "hash", run: (*call).hrandField},
	{name: "hscan", arity: -3, flags: "readonly", first: 1, last: 1, step: 1, groups: "hash", run: func(k *call) { k.scanFields(keyspace.Hash) }},
}

// fields finds a hash or a set, for a command that reads.
func (k *call) fields(key []byte, kind keyspace.Kind) (keyspace.Fields, bool) {
	e, there := k.db.Get(key)
	if !there {
		return keyspace.Fields{}, true
	}
	if e.Kind() != kind {
		k.wrongType()
		return keyspace.Fields{}, false
	}
	return e.Fields(), true
}

// makeFields finds or makes one.
func (k *call) makeFields(key []byte, kind keyspace.Kind) (keyspace.Fields, bool) {
	if !k.fits(key, 0) {
		return keyspace.Fields{}, false
	}
	f, err := k.db.MakeFields(key, kind)
	if err != nil {
		k.wrongType()
	}
	return f, err == nil
}

// ownFields finds one, for a command that removes from it.
func (k *call) ownFields(key []byte, kind keyspace.Kind) (keyspace.Fields, bool) {
	f, err := k.db.Fields(key, kind)
	if err != nil {
		k.wrongType()
	}
	return f, err == nil
}

// dropEmpty removes a key whose value has nothing in it any more.
func (k *call) dropEmpty(key []byte, n int) {
	if n == 0 {
		k.db.Delete(key)
		k.deleted(key)
	}
}

func (k *call) hset(old bool) {
	if len(k.args)%2 != 0 {
		k.fail(wrongArity(k.cmd))
		return
	}
	for i := 2; i < len(k.args); i += 2 {
		if !k.fits(k.args[i], 0) {
			return
		}
	}
	f, ok := k.makeFields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	n := 0
	for i := 2; i < len(k.args); i += 2 {
		if f.Set(k.args[i], k.args[i+1]) {
			n++
		}
	}
	k.changed(k.args[1], classHash, "hset")
	if old {
		k.ok()
		return
	}
	k.int(n)
}

func (k *call) hsetNX() {
	if !k.fits(k.args[2], 0) {
		return
	}
	f, ok := k.makeFields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	if f.Has(k.args[2]) {
		k.int(0)
		return
	}
	f.Set(k.args[2], k.args[3])
	k.changed(k.args[1], classHash, "hset")
	k.int(1)
}

func (k *call) hget() {
	if f, ok := k.fields(k.args[1], keyspace.Hash); ok {
		k.field(f, k.args[2])
	}
}

func (k *call) field(f keyspace.Fields, name []byte) {
	if v, ok := f.Get(name); ok {
		k.bulk(v)
		return
	}
	k.null()
}

func (k *call) hmget() {
	f, ok := k.fields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	k.array(len(k.args) - 2)
	for _, name := range k.args[2:] {
		k.field(f, name)
	}
}

func (k *call) hdel() {
	f, ok := k.ownFields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	n := 0
	for _, name := range k.args[2:] {
		if f.Delete(name) {
			n++
		}
	}
	if n > 0 {
		k.changed(k.args[1], classHash, "hdel")
		k.dropEmpty(k.args[1], f.Len())
	}
	k.int(n)
}

func (k *call) hlen() {
	if f, ok := k.fields(k.args[1], keyspace.Hash); ok {
		k.int(f.Len())
	}
}

func (k *call) hstrlen() {
	if f, ok := k.fields(k.args[1], keyspace.Hash); ok {
		v, _ := f.Get(k.args[2])
		k.int(len(v))
	}
}

func (k *call) hexists() {
	if f, ok := k.fields(k.args[1], keyspace.Hash); ok {
		k.bool(f.Has(k.args[2]))
	}
}

func (k *call) hashAll(names, values bool) {
	f, ok := k.fields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	if names && values {
		k.mapOf(f.Len())
	} else {
		k.array(f.Len())
	}
	f.Each(func(name, value []byte) bool {
		if names {
			k.bulk(name)
		}
		if values {
			k.bulk(value)
		}
		return true
	})
}

func (k *call) hincrBy() {
	by, ok := k.intArg(3)
	if !ok || !k.fits(k.args[2], 0) {
		return
	}
	f, ok := k.makeFields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	n := int64(0)
	if v, there := f.Get(k.args[2]); there {
		if n, ok = resp.ParseInt(v); !ok {
			k.fail("ERR hash value is not an integer")
			return
		}
	}
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		k.fail(errOverflow)
		return
	}
	n += by
	var text [20]byte
	f.Set(k.args[2], strconv.AppendInt(text[:0], n, 10))
	k.changed(k.args[1], classHash, "hincrby")
	k.int64(n)
}

func (k *call) hincrByFloat() {
	by, ok := k.floatArg(3, errNotFloat)
	if !ok || !k.fits(k.args[2], 0) {
		return
	}
	if math.IsInf(by, 0) {
		k.fail("ERR value is NaN or Infinity")
		return
	}
	f, ok := k.makeFields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	was, there := f.Get(k.args[2])
	if !there {
		was = []byte("0")
	}
	sum, wrong := addFloats(was, k.args[3])
	if wrong != "" {
		if wrong == errNotFloat {
			wrong = "ERR hash value is not a float"
		}
		k.fail(wrong)
		return
	}
	f.Set(k.args[2], sum)
	k.changed(k.args[1], classHash, "hincrbyfloat")
	k.bulk(sum)
}

// drawn is the count of commands that draw at random: how many, and whether one may come more than once.
func (k *call) drawn(i int) (n int, again, ok bool) {
	count, ok := k.intArg(i)
	if !ok {
		return 0, false, false
	}
	if count < -maxDrawn || count > math.MaxInt64/2 {
		k.fail("ERR value is out of range")
		return 0, false, false
	}
	if count < 0 {
		return int(-count), true, true
	}
	return int(count), false, true
}

// maxDrawn bounds an answer that is larger than what it is drawn from.
const maxDrawn = 1 << 20

func (k *call) hrandField() {
	if len(k.args) > 4 || len(k.args) == 4 && !k.is(3, "WITHVALUES") {
		k.syntax()
		return
	}
	if len(k.args) == 2 {
		f, ok := k.fields(k.args[1], keyspace.Hash)
		switch {
		case !ok:
		case f.Len() == 0:
			k.null()
		default:
			name, _ := f.Random()
			k.bulk(name)
		}
		return
	}
	n, again, ok := k.drawn(2)
	if !ok {
		return
	}
	f, ok := k.fields(k.args[1], keyspace.Hash)
	if !ok {
		return
	}
	values := len(k.args) == 4
	k.drawFields(f, n, again, values)
}

// drawFields answers with n fields at random.
func (k *call) drawFields(f keyspace.Fields, n int, again, values bool) {
	if f.Len() == 0 {
		n = 0
	} else if !again {
		n = min(n, f.Len())
	}
	if values && !k.v3 {
		k.array(2 * n)
	} else {
		k.array(n)
	}
	answer := func(name, value []byte) {
		if values && k.v3 {
			k.array(2)
		}
		k.bulk(name)
		if values {
			k.bulk(value)
		}
	}
	if again {
		for range n {
			answer(f.Random())
		}
		return
	}
	sample(k.s, n, f.Len(), f.Each, answer)
}

// sample visits n of size fields, each at most once, all with the same chance (D. Knuth's algorithm S).
func sample(s *Server, n, size int, each func(func(a, b []byte) bool), visit func(a, b []byte)) {
	each(func(a, b []byte) bool {
		if s.store.Random(uint64(size)) < uint64(n) {
			visit(a, b)
			n--
		}
		size--
		return n > 0
	})
}

// scanOptions are those of the commands that scan.
type scanOptions struct {
	cursor uint64
	count  int
	match  []byte // nil: all
	kind   string
}

// scanKey answers for HSCAN and the like where there is no such key.
func (k *call) scanKey(there bool) bool {
	if !there {
		k.scanAnswer(scanOptions{count: 1}, func(uint64, func(...[]byte)) uint64 { return 0 })
	}
	return there
}

// cursor parses a cursor, as strtoul of C does.
func (k *call) cursor(i int) (uint64, bool) {
	if len(k.args[i]) == 0 {
		return 0, true
	}
	digits, negative := strings.CutPrefix(k.arg(i), "-")
	cursor, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		k.fail("ERR invalid cursor")
	}
	if negative {
		cursor = -cursor
	}
	return cursor, err == nil
}

// scanOptions parses what follows a cursor.
func (k *call) scanOptions(cursor uint64, i int) (o scanOptions, ok bool) {
	o = scanOptions{cursor: cursor, count: 10}
	for ; i < len(k.args); i += 2 {
		if i+1 == len(k.args) {
			k.syntax()
			return o, false
		}
		switch {
		case k.is(i, "COUNT"):
			n, ok := k.intArg(i + 1)
			if !ok {
				return o, false
			}
			if n < 1 {
				k.syntax()
				return o, false
			}
			o.count = int(min(n, 100_000))
		case k.is(i, "MATCH"):
			if o.match = k.args[i+1]; string(o.match) == "*" {
				o.match = nil
			}
		case k.is(i, "TYPE") && k.cmd.name == "scan":
			o.kind = string(bytes.ToLower(k.args[i+1]))
		default:
			k.syntax()
			return o, false
		}
	}
	return o, true
}

// scanAnswer answers with what a scan has found: step visits some and returns the next cursor.
func (k *call) scanAnswer(o scanOptions, step func(cursor uint64, found func(pair ...[]byte)) uint64) {
	var found [][]byte
	cursor := o.cursor
	seen := 0
	for range 10 * o.count {
		cursor = step(cursor, func(pair ...[]byte) {
			seen++
			if o.match == nil || glob(o.match, pair[0]) {
				found = append(found, pair...)
			}
		})
		if cursor == 0 || seen >= o.count {
			break
		}
	}
	k.array(2)
	k.text(strconv.FormatUint(cursor, 10))
	k.array(len(found))
	for _, b := range found {
		k.bulk(b)
	}
}

// scanFields scans a hash, or a set, whose members have no values.
func (k *call) scanFields(kind keyspace.Kind) {
	cursor, ok := k.cursor(2)
	if !ok {
		return
	}
	f, ok := k.fields(k.args[1], kind)
	if !ok || !k.scanKey(f.Len() > 0) {
		return
	}
	o, ok := k.scanOptions(cursor, 3)
	if !ok {
		return
	}
	k.scanAnswer(o, func(cursor uint64, found func(...[]byte)) uint64 {
		return f.Scan(cursor, func(name, value []byte) {
			if kind == keyspace.Set {
				found(name)
			} else {
				found(name, value)
			}
		})
	})
}

func (k *call) scan() {
	cursor, ok := k.cursor(1)
	if !ok {
		return
	}
	o, ok := k.scanOptions(cursor, 2)
	if !ok {
		return
	}
	k.scanAnswer(o, func(cursor uint64, found func(...[]byte)) uint64 {
		return k.db.Scan(cursor, func(e keyspace.Entry) {
			if o.kind == "" || e.Kind().String() == o.kind {
				found(e.Key())
			}
		})
	})
}
