package cache

import (
	"bytes"
	"math"
	"math/big"
	"strconv"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

var stringCommands = []command{
	{name: "get", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).get1},
	{name: "set", arity: -3, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "string", run: (*call).set},
	{name: "getset", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).getSet},
	{name: "getdel", arity: 2, flags: "write fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).getDel},
	{name: "getex", arity: -2, flags: "write fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).getEx},
	{name: "mget", arity: -2, flags: "readonly fast", first: 1, last: -1, step: 1, groups: "string", run: (*call).mget},
	{name: "mset", arity: -3, flags: "write denyoom", first: 1, last: -1, step: 2, groups: "string", run: (*call).mset},
	{name: "msetnx", arity: -3, flags: "write denyoom", first: 1, last: -1, step: 2, groups: "string", run: (*call).msetNX},
	{name: "setnx", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).setNX},
	{name: "setex", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "string", run: func(k *call) { k.setEx(1000) }},
	{name: "psetex", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "string", run: func(k *call) { k.setEx(1) }},
	{name: "strlen", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).strlen},
	{name: "append", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).appendTo},
	{name: "getrange", arity: 4, flags: "readonly", first: 1, last: 1, step: 1, groups: "string", run: (*call).getRange},
	{name: "substr", arity: 4, flags: "readonly", first: 1, last: 1, step: 1, groups: "string", run: (*call).getRange},
	{name: "setrange", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "string", run: (*call).setRange},
	{name: "incr", arity: 2, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: func(k *call) { k.incr(1) }},
	{name: "decr", arity: 2, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: func(k *call) { k.incr(-1) }},
	{name: "incrby", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).incrBy},
	{name: "decrby", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).decrBy},
	{name: "incrbyfloat", arity: 3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "string", run: (*call).incrByFloat},
}

// value answers with a string that was found, or with none.
func (k *call) value(e keyspace.Entry, there bool) {
	if there {
		k.bulk(e.Bytes())
	} else {
		k.null()
	}
}

func (k *call) get1() {
	if e, there, ok := k.get(k.args[1]); ok {
		k.value(e, there)
	}
}

// expiryOptions are those of SET and GETEX.
type expiryOptions struct {
	at      int64 // 0: none was given
	keep    bool
	persist bool
	nx, xx  bool
	get     bool
}

// parseExpiry parses the options from an argument on; those that a command does not have are a syntax error.
func (k *call) parseExpiry(from int, allowed string) (o expiryOptions, ok bool) {
	given := 0
	for i := from; i < len(k.args); i++ {
		unit, absolute := int64(0), false
		switch {
		case k.is(i, "EX"):
			unit = 1000
		case k.is(i, "PX"):
			unit = 1
		case k.is(i, "EXAT"):
			unit, absolute = 1000, true
		case k.is(i, "PXAT"):
			unit, absolute = 1, true
		case k.is(i, "KEEPTTL") && allowed == "set":
			o.keep = true
			given++
			continue
		case k.is(i, "PERSIST") && allowed == "getex":
			o.persist = true
			given++
			continue
		case k.is(i, "NX") && allowed == "set" && !o.xx:
			o.nx = true
			continue
		case k.is(i, "XX") && allowed == "set" && !o.nx:
			o.xx = true
			continue
		case k.is(i, "GET") && allowed == "set":
			o.get = true
			continue
		default:
			k.syntax()
			return o, false
		}
		if i++; i == len(k.args) {
			k.syntax()
			return o, false
		}
		given++
		if given > 1 {
			break
		}
		n, isInt := k.intArg(i)
		if !isInt {
			return o, false
		}
		if o.at, ok = k.expireAt(n, unit, absolute); !ok {
			return o, false
		}
	}
	if given > 1 {
		k.syntax()
		return o, false
	}
	return o, true
}

// expireAt is the instant that an argument means; it must lie behind 1970.
func (k *call) expireAt(n, unit int64, absolute bool) (int64, bool) {
	if n <= 0 || n > math.MaxInt64/unit || !absolute && n*unit > math.MaxInt64-k.s.store.Now() {
		k.failf("ERR invalid expire time in '%s' command", k.cmd.full)
		return 0, false
	}
	if absolute {
		return n * unit, true
	}
	return n*unit + k.s.store.Now(), true
}

func (k *call) set() {
	key, value := k.args[1], k.args[2]
	if len(k.args) == 3 {
		if !k.fits(key, len(value)) {
			return
		}
		k.db.SetString(key, value, 0)
		k.changed(key, classString, "set")
		k.ok()
		return
	}
	o, ok := k.parseExpiry(3, "set")
	if !ok || !k.fits(key, len(value)) {
		return
	}
	_, there := k.db.Find(key)
	if o.get {
		e, found, ok := k.get(key)
		if !ok {
			return
		}
		k.value(e, found)
	}
	if o.nx && there || o.xx && !there {
		if !o.get {
			k.null()
		}
		return
	}
	expiry := o.at
	if o.keep {
		expiry = keyspace.KeepExpiry
	}
	k.put(key, value, expiry)
	if !o.get {
		k.ok()
	}
}

// put stores a string that may have expired already.
func (k *call) put(key, value []byte, expiry int64) {
	k.db.SetString(key, value, expiry)
	k.changed(key, classString, "set")
	if expiry > 0 {
		k.changed(key, classGeneric, "expire")
	}
}

// fits answers with an error where a key or a value is too long.
func (k *call) fits(key []byte, value int) bool {
	if len(key) > keyspace.MaxKey {
		k.failf("ERR key is too long: keys, fields and members of more than %d bytes are not supported", keyspace.MaxKey)
		return false
	}
	if value > k.s.set.maxBulk {
		k.fail("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
		return false
	}
	return true
}

func (k *call) getSet() {
	e, there, ok := k.get(k.args[1])
	if !ok || !k.fits(k.args[1], 0) {
		return
	}
	k.value(e, there)
	k.put(k.args[1], k.args[2], 0)
}

func (k *call) getDel() {
	e, there, ok := k.get(k.args[1])
	if !ok {
		return
	}
	k.value(e, there)
	if there {
		k.db.Delete(k.args[1])
		k.deleted(k.args[1])
	}
}

func (k *call) getEx() {
	o, ok := k.parseExpiry(2, "getex")
	if !ok {
		return
	}
	key := k.args[1]
	e, there, ok := k.get(key)
	if !ok {
		return
	}
	k.value(e, there)
	switch {
	case !there:
	case o.at != 0 && o.at <= k.s.store.Now():
		k.db.Delete(key)
		k.deleted(key)
	case o.at != 0:
		k.db.SetExpiry(key, o.at)
		k.changed(key, classGeneric, "expire")
	case o.persist && e.Expiry() != 0:
		k.db.SetExpiry(key, 0)
		k.changed(key, classGeneric, "persist")
	}
}

func (k *call) mget() {
	k.array(len(k.args) - 1)
	for _, key := range k.args[1:] {
		e, there := k.db.Get(key)
		k.value(e, there && e.Kind() == keyspace.String)
	}
}

func (k *call) pairs() bool {
	if len(k.args)%2 == 0 {
		k.fail(wrongArity(k.cmd))
		return false
	}
	for i := 1; i < len(k.args); i += 2 {
		if !k.fits(k.args[i], 0) {
			return false
		}
	}
	return true
}

func (k *call) mset() {
	if !k.pairs() {
		return
	}
	for i := 1; i < len(k.args); i += 2 {
		k.put(k.args[i], k.args[i+1], 0)
	}
	k.ok()
}

func (k *call) msetNX() {
	if !k.pairs() {
		return
	}
	for i := 1; i < len(k.args); i += 2 {
		if _, there := k.db.Find(k.args[i]); there {
			k.int(0)
			return
		}
	}
	for i := 1; i < len(k.args); i += 2 {
		k.put(k.args[i], k.args[i+1], 0)
	}
	k.int(1)
}

func (k *call) setNX() {
	if _, there := k.db.Find(k.args[1]); there {
		k.int(0)
		return
	}
	if k.fits(k.args[1], 0) {
		k.put(k.args[1], k.args[2], 0)
		k.int(1)
	}
}

func (k *call) setEx(unit int64) {
	n, ok := k.intArg(2)
	if !ok {
		return
	}
	if at, ok := k.expireAt(n, unit, false); ok && k.fits(k.args[1], 0) {
		k.put(k.args[1], k.args[3], at)
		k.ok()
	}
}

func (k *call) strlen() {
	e, there, ok := k.get(k.args[1])
	switch {
	case ok && there:
		k.int(len(e.Bytes()))
	case ok:
		k.int(0)
	}
}

func (k *call) appendTo() {
	key, value := k.args[1], k.args[2]
	e, there, ok := k.find(key)
	if !ok {
		return
	}
	was := 0
	if there {
		was = len(e.Bytes())
	}
	if !k.fits(key, was+len(value)) {
		return
	}
	if !there {
		k.db.SetString(key, value, 0)
	} else if b, err := k.db.Extend(key, was+len(value)); err == nil {
		copy(b[was:], value)
		k.db.Rewrote(key, was, len(value))
	}
	k.changed(key, classString, "append")
	k.int(was + len(value))
}

// find is get for a command that writes.
func (k *call) find(key []byte) (e keyspace.Entry, there, ok bool) {
	e, there = k.db.Find(key)
	if there && e.Kind() != keyspace.String {
		k.wrongType()
		return e, there, false
	}
	return e, there, true
}

// clip turns the two ends of a range, of which negative ones count from the end, into a from and a length.
func clip(start, end int64, n int) (from, length int) {
	if start < 0 {
		start = max(start+int64(n), 0)
	}
	if end < 0 {
		end += int64(n)
	}
	end = min(end, int64(n)-1)
	if start > end {
		return 0, 0
	}
	return int(start), int(end - start + 1)
}

func (k *call) getRange() {
	start, end, ok := k.span()
	if !ok {
		return
	}
	e, there, ok := k.get(k.args[1])
	if !ok {
		return
	}
	var b []byte
	if there && (start >= 0 || end >= 0 || start <= end) {
		b = e.Bytes()
		from, n := clip(start, max(end, -int64(len(b))), len(b))
		b = b[from : from+n]
	}
	k.bulk(b)
}

func (k *call) setRange() {
	key, value := k.args[1], k.args[3]
	offset, ok := k.intArg(2)
	if !ok {
		return
	}
	if offset < 0 {
		k.fail("ERR offset is out of range")
		return
	}
	e, there, ok := k.find(key)
	if !ok {
		return
	}
	if len(value) == 0 {
		if there {
			k.int(len(e.Bytes()))
		} else {
			k.int(0)
		}
		return
	}
	if offset > int64(k.s.set.maxBulk) || !k.fits(key, int(offset)+len(value)) {
		if !k.failed {
			k.fail("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
		}
		return
	}
	b, err := k.db.Extend(key, int(offset)+len(value))
	if err != nil {
		k.wrongType()
		return
	}
	copy(b[offset:], value)
	k.db.Rewrote(key, int(offset), len(value))
	k.changed(key, classString, "setrange")
	k.int(len(b))
}

func (k *call) incrBy() {
	if by, ok := k.intArg(2); ok {
		k.incr(by)
	}
}

func (k *call) decrBy() {
	by, ok := k.intArg(2)
	if !ok {
		return
	}
	if by == math.MinInt64 {
		k.fail("ERR decrement would overflow")
		return
	}
	k.incr(-by)
}

func (k *call) incr(by int64) {
	key := k.args[1]
	e, there, ok := k.find(key)
	if !ok {
		return
	}
	n := int64(0)
	if there {
		if n, ok = resp.ParseInt(e.Bytes()); !ok {
			k.fail(errNotInt)
			return
		}
	}
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		k.fail(errOverflow)
		return
	}
	if !k.fits(key, 0) {
		return
	}
	n += by
	var text [20]byte
	k.rewrite(key, strconv.AppendInt(text[:0], n, 10), there)
	k.changed(key, classString, "incrby")
	k.int64(n)
}

// rewrite gives a key another string, and leaves its expiry.
func (k *call) rewrite(key, value []byte, there bool) {
	if there {
		k.db.SetString(key, value, keyspace.KeepExpiry)
	} else {
		k.db.SetString(key, value, 0)
	}
}

func (k *call) incrByFloat() {
	key := k.args[1]
	e, there, ok := k.find(key)
	if !ok {
		return
	}
	was := []byte("0")
	if there {
		was = e.Bytes()
	}
	sum, wrong := addFloats(was, k.args[2])
	if wrong != "" {
		k.fail(wrong)
		return
	}
	if !k.fits(key, 0) {
		return
	}
	k.rewrite(key, sum, there)
	k.changed(key, classString, "incrbyfloat")
	k.bulk(sum)
}

// addFloats adds two numbers with 64 bits of precision, which is what C's long double has on most machines, and writes
// the sum without an exponent.
func addFloats(a, b []byte) (sum []byte, wrong string) {
	for _, t := range [][]byte{a, b} {
		if _, ok := parseFloat(t); !ok {
			return nil, errNotFloat
		}
	}
	const precision = 64
	x, _, err := big.ParseFloat(string(a), 10, precision, big.ToNearestEven)
	y, _, also := big.ParseFloat(string(b), 10, precision, big.ToNearestEven)
	if err != nil || also != nil || x.IsInf() || y.IsInf() || x.MantExp(nil) > 16384 || y.MantExp(nil) > 16384 {
		return nil, "ERR increment would produce NaN or Infinity"
	}
	text := x.Add(x, y).Append(nil, 'f', 17)
	text = bytes.TrimSuffix(bytes.TrimRight(text, "0"), []byte("."))
	if string(text) == "-0" {
		text = []byte("0")
	}
	return text, ""
}
