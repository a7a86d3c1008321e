package cache

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/banyanhq/banyan/cache/keyspace"
)

func sortScored(all []scored) {
	slices.SortFunc(all, func(a, b scored) int {
		if c := cmp.Compare(a.score, b.score); c != 0 {
			return c
		}
		return bytes.Compare(a.name, b.name)
	})
}

// sorting is what SORT asks for.
type sorting struct {
	by            []byte
	get           [][]byte
	store         []byte
	offset, count int64
	descending    bool
	alpha         bool
}

func (k *call) sorting() (o sorting, ok bool) {
	o.count = -1
	for i := 2; i < len(k.args); i++ {
		more := len(k.args) - i - 1
		switch {
		case k.is(i, "ASC"):
			o.descending = false
		case k.is(i, "DESC"):
			o.descending = true
		case k.is(i, "ALPHA"):
			o.alpha = true
		case k.is(i, "LIMIT") && more >= 2:
			if o.offset, ok = k.intArg(i + 1); !ok {
				return o, false
			}
			if o.count, ok = k.intArg(i + 2); !ok {
				return o, false
			}
			i += 2
		case k.is(i, "STORE") && more >= 1 && k.cmd.name == "sort":
			o.store = k.args[i+1]
			i++
		case k.is(i, "BY") && more >= 1:
			o.by = k.args[i+1]
			i++
		case k.is(i, "GET") && more >= 1:
			o.get = append(o.get, k.args[i+1])
			i++
		default:
			k.syntax()
			return o, false
		}
	}
	if !k.c.user.allKeys && (o.by != nil && bytes.IndexByte(o.by, '*') >= 0 || len(o.get) > 0) {
		k.fail("ERR BY and GET options of SORT are denied due to insufficient ACL permissions.")
		return o, false
	}
	return o, true
}

// sortable copies the elements of a list, a set or a sorted set.
func (k *call) sortable(key []byte) (all [][]byte, kind keyspace.Kind, ok bool) {
	e, there := k.db.Get(key)
	if !there {
		return nil, 0, true
	}
	add := func(v []byte) { all = append(all, bytes.Clone(v)) }
	switch e.Kind() {
	case keyspace.List:
		e.Items().Range(0, e.Items().Len(), func(_ int, v []byte) bool { add(v); return true })
	case keyspace.Set:
		e.Fields().Each(func(m, _ []byte) bool { add(m); return true })
	case keyspace.SortedSet:
		e.Ranking().Range(0, e.Ranking().Len(), false, func(m []byte, _ float64) bool { add(m); return true })
	default:
		k.wrongType()
		return nil, 0, false
	}
	return all, e.Kind(), true
}

// byPattern finds the value that a pattern of SORT means for an element: that of a key, or of a hash's field.
func (k *call) byPattern(pattern, element []byte) ([]byte, bool) {
	if string(pattern) == "#" {
		return element, true
	}
	star := bytes.IndexByte(pattern, '*')
	if star < 0 {
		return nil, false
	}
	var field []byte
	if arrow := bytes.Index(pattern[star:], []byte("->")); arrow >= 0 && star+arrow+2 < len(pattern) {
		field = pattern[star+arrow+2:]
		pattern = pattern[:star+arrow]
	}
	e, there := k.db.Find(slices.Concat(pattern[:star], element, pattern[star+1:]))
	switch {
	case !there:
		return nil, false
	case field == nil && e.Kind() == keyspace.String:
		return bytes.Clone(e.Bytes()), true
	case field != nil && e.Kind() == keyspace.Hash:
		v, ok := e.Fields().Get(field)
		return bytes.Clone(v), ok
	}
	return nil, false
}

func (k *call) sort() {
	o, ok := k.sorting()
	if !ok {
		return
	}
	all, kind, ok := k.sortable(k.args[1])
	if !ok {
		return
	}
	unsorted := o.by != nil && bytes.IndexByte(o.by, '*') < 0
	if unsorted && kind == keyspace.Set && o.store != nil {
		o.alpha, o.by, unsorted = true, nil, false
	}
	switch {
	case unsorted && o.descending && kind == keyspace.SortedSet:
		slices.Reverse(all)
	case !unsorted:
		if all, ok = k.sorted(all, o); !ok {
			return
		}
	}
	start := int(min(max(o.offset, 0), int64(len(all))))
	end := len(all)
	if o.count >= 0 {
		end = int(min(int64(start)+o.count, int64(end)))
	}
	all = all[start:end]
	if o.get == nil {
		o.get = [][]byte{[]byte("#")}
	}
	if o.store != nil {
		k.storeSorted(o, all)
		return
	}
	k.array(len(all) * len(o.get))
	for _, v := range all {
		for _, pattern := range o.get {
			if found, ok := k.byPattern(pattern, v); ok {
				k.bulk(found)
			} else {
				k.null()
			}
		}
	}
}

// sorted sorts by number, or by text, of the elements or of what a pattern finds for them.
func (k *call) sorted(all [][]byte, o sorting) ([][]byte, bool) {
	type item struct {
		value, text []byte
		number      float64
	}
	items := make([]item, len(all))
	for i, v := range all {
		items[i] = item{value: v, text: v}
		if o.by != nil {
			items[i].text, _ = k.byPattern(o.by, v)
		}
		if !o.alpha && items[i].text != nil {
			var ok bool
			if items[i].number, ok = parseFloat(items[i].text); !ok {
				k.fail("ERR One or more scores can't be converted into double")
				return nil, false
			}
		}
	}
	slices.SortFunc(items, func(a, b item) int {
		c := cmp.Compare(a.number, b.number)
		if o.alpha {
			c = bytes.Compare(a.text, b.text)
		}
		if c == 0 {
			c = bytes.Compare(a.value, b.value)
		}
		if o.descending {
			return -c
		}
		return c
	})
	for i := range items {
		all[i] = items[i].value
	}
	return all, true
}

func (k *call) storeSorted(o sorting, all [][]byte) {
	if !k.fits(o.store, 0) {
		return
	}
	var values [][]byte
	for _, v := range all {
		for _, pattern := range o.get {
			found, _ := k.byPattern(pattern, v)
			values = append(values, found)
		}
	}
	there := k.db.Delete(o.store)
	if len(values) == 0 {
		if there {
			k.deleted(o.store)
		}
		k.int(0)
		return
	}
	l, err := k.db.MakeItems(o.store)
	if err != nil {
		k.wrongType()
		return
	}
	for _, v := range values {
		l.PushBack(v)
	}
	k.changed(o.store, classList, "sortstore")
	k.signal(o.store)
	k.int(len(values))
}
