package cache

import (
	"bytes"
	"math"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

var keyCommands = []command{
	{name: "del", arity: -2, flags: "write", first: 1, last: -1, step: 1, groups: "keyspace", run: (*call).del},
	{name: "unlink", arity: -2, flags: "write fast", first: 1, last: -1, step: 1, groups: "keyspace", run: (*call).del},
	{name: "exists", arity: -2, flags: "readonly fast", first: 1, last: -1, step: 1, groups: "keyspace", run: (*call).exists},
	{name: "touch", arity: -2, flags: "readonly fast", first: 1, last: -1, step: 1, groups: "keyspace", run: (*call).exists},
	{name: "type", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "keyspace", run: (*call).kind},
	{name: "expire", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.expire(1000, false) }},
	{name: "pexpire", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.expire(1, false) }},
	{name: "expireat", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.expire(1000, true) }},
	{name: "pexpireat", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.expire(1, true) }},
	{name: "ttl", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.ttl(1000, false) }},
	{name: "pttl", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.ttl(1, false) }},
	{name: "expiretime", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.ttl(1000, true) }},
	{name: "pexpiretime", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "keyspace", run: func(k *call) { k.ttl(1, true) }},
	{name: "persist", arity: 2, flags: "write fast", first: 1, last: 1, step: 1, groups: "keyspace", run: (*call).persist},
	{name: "rename", arity: 3, flags: "write", first: 1, last: 2, step: 1, groups: "keyspace", run: (*call).rename},
	{name: "renamenx", arity: 3, flags: "write fast", first: 1, last: 2, step: 1, groups: "keyspace", run: (*call).renameNX},
	{name: "copy", arity: -3, flags: "write denyoom", first: 1, last: 2, step: 1, groups: "keyspace", run: (*call).copyKey},
	{name: "move", arity: 3, flags: "write fast", first: 1, last: 1, step: 1, groups: "keyspace", run: (*call).move},
	{name: "keys", arity: 2, flags: "readonly", groups: "keyspace dangerous", run: (*call).keysLike},
	{name: "scan", arity: -2, flags: "readonly", groups: "keyspace", run: (*call).scan},
	{name: "randomkey", arity: 1, flags: "readonly", groups: "keyspace", run: (*call).randomKey},
	{name: "dbsize", arity: 1, flags: "readonly fast", groups: "keyspace", run: func(k *call) { k.int(k.db.Len()) }},
	{name: "flushdb", arity: -1, flags: "write", groups: "keyspace dangerous", run: (*call).flushDB},
	{name: "flushall", arity: -1, flags: "write", groups: "keyspace dangerous", run: (*call).flushAll},
	{name: "swapdb", arity: 3, flags: "write fast", groups: "keyspace dangerous", run: (*call).swapDB},
	{name: "object", arity: -2, groups: "keyspace", subs: []command{
		{name: "encoding", arity: 3, flags: "readonly", first: 2, last: 2, step: 1, groups: "keyspace", run: (*call).objectEncoding},
		{name: "refcount", arity: 3, flags: "readonly", first: 2, last: 2, step: 1, groups: "keyspace", run: (*call).objectRefcount},
		{name: "freq", arity: 3, flags: "readonly", first: 2, last: 2, step: 1, groups: "keyspace", run: (*call).objectFreq},
	}},
	{name: "sort", arity: -2, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "set sortedset list dangerous", run: (*call).sort},
	{name: "sort_ro", arity: -2, flags: "readonly", first: 1, last: 1, step: 1, groups: "set sortedset list dangerous", run: (*call).sort},
}

func (k *call) del() {
	n := 0
	for _, key := range k.args[1:] {
		if k.db.Delete(key) {
			n++
			k.deleted(key)
		}
	}
	k.int(n)
}

func (k *call) exists() {
	n := 0
	for _, key := range k.args[1:] {
		if _, there := k.db.Get(key); there {
			n++
		}
	}
	k.int(n)
}

func (k *call) kind() {
	if e, there := k.db.Get(k.args[1]); there {
		k.simple(e.Kind().String())
		return
	}
	k.simple("none")
}

func (k *call) expire(unit int64, absolute bool) {
	key := k.args[1]
	n, ok := k.intArg(2)
	if !ok {
		return
	}
	var nx, xx, gt, lt bool
	for i := 3; i < len(k.args); i++ {
		switch {
		case k.is(i, "NX"):
			nx = true
		case k.is(i, "XX"):
			xx = true
		case k.is(i, "GT"):
			gt = true
		case k.is(i, "LT"):
			lt = true
		default:
			k.failf("ERR Unsupported option %s", k.args[i])
			return
		}
	}
	if nx && (xx || gt || lt) {
		k.fail("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	}
	if gt && lt {
		k.fail("ERR GT and LT options at the same time are not compatible")
		return
	}
	base := int64(0)
	if !absolute {
		base = k.s.store.Now()
	}
	if n > math.MaxInt64/unit || n < math.MinInt64/unit || n*unit > math.MaxInt64-base {
		k.failf("ERR invalid expire time in '%s' command", k.cmd.full)
		return
	}
	at := n*unit + base
	e, there := k.db.Find(key)
	if !there {
		k.int(0)
		return
	}
	was := e.Expiry()
	if nx && was != 0 || xx && was == 0 || gt && (was == 0 || at <= was) || lt && was != 0 && at >= was {
		k.int(0)
		return
	}
	if at <= k.s.store.Now() {
		k.db.Delete(key)
		k.deleted(key)
	} else {
		k.db.SetExpiry(key, at)
		k.changed(key, classGeneric, "expire")
	}
	k.int(1)
}

func (k *call) ttl(unit int64, absolute bool) {
	e, there := k.db.Get(k.args[1])
	switch {
	case !there:
		k.int(-2)
	case e.Expiry() == 0:
		k.int(-1)
	case absolute:
		k.int64((e.Expiry() + unit/2) / unit)
	default:
		k.int64((e.Expiry() - k.s.store.Now() + unit/2) / unit)
	}
}

func (k *call) persist() {
	e, there := k.db.Find(k.args[1])
	if !there || e.Expiry() == 0 {
		k.int(0)
		return
	}
	k.db.SetExpiry(k.args[1], 0)
	k.changed(k.args[1], classGeneric, "persist")
	k.int(1)
}

// renameTo gives a key's value to another and reports whether it did.
func (k *call) renameTo(replace bool) (done, there bool) {
	from, to := k.args[1], k.args[2]
	if _, there := k.db.Find(from); !there {
		k.fail(errNoKey)
		return false, false
	}
	if !k.fits(to, 0) {
		return false, false
	}
	if bytes.Equal(from, to) {
		return replace, true
	}
	if _, taken := k.db.Find(to); taken {
		if !replace {
			return false, true
		}
		k.db.Delete(to)
	}
	k.db.Rename(from, k.db, to)
	k.changed(from, classGeneric, "rename_from")
	k.changed(to, classGeneric, "rename_to")
	k.signal(to)
	return true, true
}

func (k *call) rename() {
	if _, there := k.renameTo(true); there {
		k.ok()
	}
}

func (k *call) renameNX() {
	if done, there := k.renameTo(false); there {
		k.bool(done)
	}
}

// dbArg parses the number of a database.
func (k *call) dbArg(i int, otherwise string) (int, bool) {
	n, ok := resp.ParseInt(k.args[i])
	if !ok {
		k.fail(otherwise)
		return 0, false
	}
	if n < 0 || n >= int64(k.s.store.Databases()) {
		k.fail("ERR DB index is out of range")
		return 0, false
	}
	return int(n), true
}

func (k *call) copyKey() {
	target, replace := k.c.db, false
	for i := 3; i < len(k.args); i++ {
		switch {
		case k.is(i, "REPLACE"):
			replace = true
		case k.is(i, "DB") && i+1 < len(k.args):
			n, ok := k.dbArg(i+1, errNotInt)
			if !ok {
				return
			}
			target = n
			i++
		default:
			k.syntax()
			return
		}
	}
	from, to := k.args[1], k.args[2]
	if target == k.c.db && bytes.Equal(from, to) {
		k.fail("ERR source and destination objects are the same")
		return
	}
	if !k.fits(to, 0) {
		return
	}
	if _, there := k.db.Find(from); !there {
		k.int(0)
		return
	}
	db := k.s.store.DB(target)
	if _, taken := db.Find(to); taken {
		if !replace {
			k.int(0)
			return
		}
		db.Delete(to)
	}
	k.db.Copy(from, db, to)
	k.s.keyChanged(target, to, k.c)
	if k.s.set.notify != 0 {
		k.s.notifyEvent(target, classGeneric, "copy_to", to)
	}
	k.signalIn(target, to)
	k.int(1)
}

func (k *call) move() {
	target, ok := k.dbArg(2, errNotInt)
	if !ok {
		return
	}
	if target == k.c.db {
		k.fail("ERR source and destination objects are the same")
		return
	}
	key := k.args[1]
	_, there := k.db.Find(key)
	db := k.s.store.DB(target)
	if _, taken := db.Find(key); !there || taken {
		k.int(0)
		return
	}
	k.db.Rename(key, db, key)
	k.changed(key, classGeneric, "move_from")
	k.s.keyChanged(target, key, k.c)
	if k.s.set.notify != 0 {
		k.s.notifyEvent(target, classGeneric, "move_to", key)
	}
	k.signalIn(target, key)
	k.int(1)
}

func (k *call) keysLike() {
	pattern := bytes.Clone(k.args[1])
	every := string(pattern) == "*"
	var found [][]byte
	for cursor := uint64(0); ; {
		cursor = k.db.Scan(cursor, func(e keyspace.Entry) {
			if every || glob(pattern, e.Key()) {
				found = append(found, e.Key())
			}
		})
		if cursor == 0 {
			break
		}
	}
	k.array(len(found))
	for _, key := range found {
		k.bulk(key)
	}
}

func (k *call) randomKey() {
	if e, ok := k.db.RandomKey(); ok {
		k.bulk(e.Key())
		return
	}
	k.null()
}

// flushMode checks the option of FLUSHDB and FLUSHALL; both free memory later.
func (k *call) flushMode() bool {
	if len(k.args) > 2 || len(k.args) == 2 && !k.is(1, "ASYNC") && !k.is(1, "SYNC") {
		k.syntax()
		return false
	}
	return true
}

func (k *call) flushDB() {
	if !k.flushMode() {
		return
	}
	others := 0
	for i := range k.s.store.Databases() {
		if i != k.c.db {
			others += k.s.store.DB(i).Len()
		}
	}
	if others == 0 {
		k.flushAll()
		return
	}
	k.s.flushed(k.c.db)
	k.db.Clear()
	k.ok()
}

func (k *call) flushAll() {
	if !k.flushMode() {
		return
	}
	for i := range k.s.store.Databases() {
		k.s.flushed(i)
	}
	release, err := k.s.store.Flush()
	if err != nil {
		k.failf("ERR flushing: %v", err)
		return
	}
	k.s.later(release)
	k.ok()
}

func (k *call) swapDB() {
	a, ok := k.dbArg(1, "ERR invalid first DB index")
	if !ok {
		return
	}
	b, ok := k.dbArg(2, "ERR invalid second DB index")
	if !ok {
		return
	}
	k.s.flushed(a)
	k.s.flushed(b)
	k.s.store.Swap(a, b)
	k.ok()
}

func (k *call) objectEncoding() {
	e, there := k.db.Find(k.args[2])
	if !there {
		k.null()
		return
	}
	switch e.Kind() {
	case keyspace.String:
		_, isInt := resp.ParseInt(e.Bytes())
		switch {
		case isInt:
			k.text("int")
		case len(e.Bytes()) <= 44:
			k.text("embstr")
		default:
			k.text("raw")
		}
	case keyspace.List:
		k.text("quicklist")
	case keyspace.SortedSet:
		k.text("skiplist")
	case keyspace.StreamKind:
		k.text("stream")
	default:
		k.text("hashtable")
	}
}

func (k *call) objectRefcount() {
	if _, there := k.db.Find(k.args[2]); there {
		k.int(1)
		return
	}
	k.null()
}

func (k *call) objectFreq() {
	e, there := k.db.Find(k.args[2])
	switch {
	case !there:
		k.null()
	case e.Frequency() < 0:
		k.fail("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	default:
		k.int(e.Frequency())
	}
}
