package cache

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

var streamCommands = []command{
	{name: "xadd", arity: -5, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xadd},
	{name: "xlen", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xlen},
	{name: "xrange", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "stream", run: func(k *call) { k.xrange(2, 3, false) }},
	{name: "xrevrange", arity: -4, flags: "readonly", first: 1, last: 1, step: 1, groups: "stream", run: func(k *call) { k.xrange(3, 2, true) }},
	{name: "xread", arity: -4, flags: "readonly blocking", keys: streamKeys, groups: "stream", run: (*call).xread},
	{name: "xreadgroup", arity: -7, flags: "write blocking", keys: streamKeys, groups: "stream", run: (*call).xread},
	{name: "xdel", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xdel},
	{name: "xtrim", arity: -4, flags: "write", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xtrim},
	{name: "xsetid", arity: -3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xsetid},
	{name: "xgroup", arity: -2, subs: []command{
		{name: "create", arity: -5, flags: "write denyoom", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xgroupCreate},
		{name: "setid", arity: -5, flags: "write", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xgroupSetID},
		{name: "destroy", arity: 4, flags: "write", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xgroupDestroy},
		{name: "createconsumer", arity: 5, flags: "write denyoom", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xgroupCreateConsumer},
		{name: "delconsumer", arity: 5, flags: "write", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xgroupDelConsumer},
	}},
	{name: "xack", arity: -4, flags: "write fast", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xack},
	{name: "xpending", arity: -3, flags: "readonly", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xpending},
	{name: "xclaim", arity: -6, flags: "write fast", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xclaim},
	{name: "xautoclaim", arity: -6, flags: "write fast", first: 1, last: 1, step: 1, groups: "stream", run: (*call).xautoclaim},
	{name: "xinfo", arity: -2, subs: []command{
		{name: "stream", arity: -3, flags: "readonly", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xinfoStream},
		{name: "groups", arity: 3, flags: "readonly", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xinfoGroups},
		{name: "consumers", arity: 4, flags: "readonly", first: 2, last: 2, step: 1, groups: "stream", run: (*call).xinfoConsumers},
	}},
}

const errStreamID = "ERR Invalid stream ID specified as stream command argument"

// parseUint reads a number as strtoull does: the sign may be +, and space before it.
func parseUint(b []byte) (uint64, bool) {
	b = bytes.TrimPrefix(bytes.TrimLeft(b, " \t\n\v\f\r"), []byte("+"))
	n, err := strconv.ParseUint(string(b), 10, 64)
	return n, err == nil
}

// parseStreamID reads an id; seq is meant where it has no number, and given is false where that is to be found (MS-*).
func parseStreamID(b []byte, seq uint64) (id keyspace.StreamID, given, ok bool) {
	if len(b) > 127 {
		return id, false, false
	}
	ms, number, two := bytes.Cut(b, []byte("-"))
	if id.MS, ok = parseUint(ms); !ok {
		return id, false, false
	}
	switch {
	case !two:
		id.Seq = seq
		return id, true, true
	case string(number) == "*":
		return id, false, true
	}
	id.Seq, ok = parseUint(number)
	return id, true, ok
}

// idArg parses an argument that is an id without MS-*.
func (k *call) idArg(i int, seq uint64) (keyspace.StreamID, bool) {
	id, given, ok := parseStreamID(k.args[i], seq)
	if !ok || !given {
		k.fail(errStreamID)
		return id, false
	}
	return id, true
}

// edgeArg parses an end of an interval of ids, which may be - or +, and exclusive: ( before it.
func (k *call) edgeArg(i int, end bool) (id keyspace.StreamID, ok bool) {
	arg := k.args[i]
	exclusive := len(arg) > 1 && arg[0] == '('
	if exclusive {
		arg = arg[1:]
	}
	switch {
	case !exclusive && string(arg) == "-":
		return keyspace.StreamID{}, true
	case !exclusive && string(arg) == "+":
		return keyspace.MaxStreamID, true
	}
	seq := uint64(0)
	if end {
		seq = math.MaxUint64
	}
	id, given, ok := parseStreamID(arg, seq)
	switch {
	case !ok || !given:
		k.fail(errStreamID)
		return id, false
	case exclusive && end:
		if id, ok = id.Previous(); !ok {
			k.fail("ERR invalid end ID for the interval")
		}
	case exclusive:
		if id, ok = id.Next(); !ok {
			k.fail("ERR invalid start ID for the interval")
		}
	}
	return id, ok
}

func appendID(b []byte, id keyspace.StreamID) []byte {
	b = strconv.AppendUint(b, id.MS, 10)
	return strconv.AppendUint(append(b, '-'), id.Seq, 10)
}

// id answers with an id.
func (k *call) id(id keyspace.StreamID) {
	var b [41]byte
	k.bulk(appendID(b[:0], id))
}

// stream finds a stream, for a command that reads.
func (k *call) stream(key []byte) (st keyspace.Stream, there, ok bool) {
	e, there := k.db.Get(key)
	if !there {
		return st, false, true
	}
	if e.Kind() != keyspace.StreamKind {
		k.wrongType()
		return st, false, false
	}
	return e.Stream(), true, true
}

// ownStream finds a stream, for a command that writes.
func (k *call) ownStream(key []byte) (st keyspace.Stream, there, ok bool) {
	st, there, err := k.db.Stream(key)
	if err != nil {
		k.wrongType()
	}
	return st, there, err == nil
}

// groupOf finds a group of a stream, if that is there.
func groupOf(st keyspace.Stream, there bool, name []byte) (g keyspace.Group, found bool) {
	if !there {
		return g, false
	}
	return st.Group(name)
}

// xrange answers with the entries between the ids of two arguments.
func (k *call) xrange(first, last int, backwards bool) {
	from, ok := k.edgeArg(first, false)
	if !ok {
		return
	}
	to, ok := k.edgeArg(last, true)
	if !ok {
		return
	}
	count := int64(-1)
	for i := 4; i < len(k.args); i += 2 {
		if !k.is(i, "COUNT") || i+1 >= len(k.args) {
			k.syntax()
			return
		}
		if count, ok = k.intArg(i + 1); !ok {
			return
		}
		count = max(count, 0)
	}
	st, there, ok := k.stream(k.args[1])
	switch {
	case !ok:
	case !there:
		k.array(0)
	case count == 0:
		k.nullArray()
	default:
		k.counted(func() int { return k.entries(st, from, to, count, backwards) })
	}
}

// counted answers with an array of as many values as fill writes.
func (k *call) counted(fill func() int) {
	from := len(k.out)
	n := fill()
	var head [24]byte
	k.out = slices.Insert(k.out, from, resp.AppendArray(head[:0], n)...)
}

// entries answers with entries, count at most unless it is 0 or less, and returns how many those are.
func (k *call) entries(st keyspace.Stream, from, to keyspace.StreamID, count int64, backwards bool) (n int) {
	st.Range(from, to, backwards, func(e keyspace.StreamEntry) bool {
		k.entry(e)
		n++
		return count <= 0 || int64(n) < count
	})
	return n
}

// entry answers with an entry.
func (k *call) entry(e keyspace.StreamEntry) {
	k.array(2)
	k.id(e.ID)
	k.array(2 * e.Len())
	e.Each(func(name, value []byte) { k.bulk(name); k.bulk(value) })
}

// usage answers that a subcommand is not to be called like that.
func (k *call) usage() {
	k.failf("ERR unknown subcommand or wrong number of arguments for '%s'. Try %s HELP.", k.args[1], strings.ToUpper(k.cmd.parent.name))
}
