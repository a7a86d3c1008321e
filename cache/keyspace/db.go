package keyspace

import (
	"errors"
	"math"

	"github.com/banyanhq/banyan/cache/arena"
	"github.com/banyanhq/banyan/cache/slot"
	"github.com/banyanhq/banyan/policy"
)

// ErrWrongKind says that a key holds another kind of value.
var ErrWrongKind = errors.New("the key holds another kind of value")

// Entry is a key with its value. It is good until the next change of its store.
type Entry struct {
	db  *DB
	ref arena.Ref
	rec *record
}

// Len is the number of keys.
func (db *DB) Len() int { return int(db.keys.n) }

// Volatile is the number of keys that have an expiry.
func (db *DB) Volatile() int { return db.volatile }

func (db *DB) find(key []byte, hash uint64) *arena.Ref { return db.s.heap.find(&db.keys, key, hash) }

// locate returns the place of a key that is there and has not expired.
func (db *DB) locate(key []byte) (*arena.Ref, uint64) {
	s := db.s
	hash := s.hash(key)
	p := db.find(key, hash)
	if p == nil {
		return nil, hash
	}
	r := s.rec(*p)
	if r.flags()&hasExpiry != 0 && *r.expiry() <= s.now {
		if !s.passive {
			db.expire(p, r, hash)
		}
		return nil, hash
	}
	if s.policy != nil && r.flags()&hasSlot != 0 {
		if slot := *r.slot(); slot != policy.NoEntry {
			s.policy.Hit(slot)
		}
	}
	return p, hash
}

func (db *DB) expire(p *arena.Ref, r *record, hash uint64) {
	db.s.Expired++
	db.s.cfg.Gone(int(db.index), r.key(), Expired)
	db.noteDelete(r.key())
	db.drop(p, hash)
}

// Find returns a key's entry.
func (db *DB) Find(key []byte) (Entry, bool) {
	p, _ := db.locate(key)
	if p == nil {
		return Entry{}, false
	}
	return Entry{db, *p, db.s.rec(*p)}, true
}

// Get is Find for a request that reads: it counts as a hit or as a miss.
func (db *DB) Get(key []byte) (Entry, bool) {
	p, hash := db.locate(key)
	if p == nil {
		db.asked(key, hash, nil)
		db.s.Misses++
		if db.s.policy != nil {
			db.s.policy.Miss()
		}
		return Entry{}, false
	}
	r := db.s.rec(*p)
	db.asked(key, hash, r)
	db.s.Hits++
	return Entry{db, *p, r}, true
}

// Kind of the value.
func (e Entry) Kind() Kind { return e.rec.kind() }

// Key of the entry.
func (e Entry) Key() []byte { return e.rec.key() }

// Bytes are a string's value.
func (e Entry) Bytes() []byte { return e.rec.value() }

// Expiry is when the key expires, in milliseconds since 1970; 0: never.
func (e Entry) Expiry() int64 {
	if e.rec.flags()&hasExpiry == 0 {
		return 0
	}
	return *e.rec.expiry()
}

// Frequency is about how often the key was asked for lately, up to 15; -1 where nobody counts.
func (e Entry) Frequency() int {
	if e.db.s.policy == nil {
		return -1
	}
	return e.db.s.policy.Frequency(e.db.s.hash(e.rec.key()))
}

// drop removes the key at a place, and frees it.
func (db *DB) drop(p *arena.Ref, hash uint64) {
	ref := *p
	db.s.clearPlace(&db.keys, p, hash)
	db.release(ref, true)
}

// release frees a key's record that is in no table any more, and its value if that is wanted.
func (db *DB) release(ref arena.Ref, value bool) {
	r := db.s.rec(ref)
	if db.s.slots != nil {
		db.s.slots[slot.Of(r.key())]--
	}
	if r.flags()&hasExpiry != 0 {
		db.volatile--
	}
	if r.flags()&hasSlot != 0 && *r.slot() != policy.NoEntry && db.s.policy != nil {
		db.s.policy.Remove(*r.slot())
	}
	if value && r.kind() != String {
		db.s.freeObject(r.kind(), r.object())
	}
	db.s.heap.free(ref)
}

// remove removes a key to make room for another value of it.
func (db *DB) remove(key []byte) {
	if p, hash := db.locate(key); p != nil {
		db.drop(p, hash)
	}
}

// Delete removes a key and reports whether it was there.
func (db *DB) Delete(key []byte) bool {
	p, hash := db.locate(key)
	if p == nil {
		return false
	}
	db.noteDelete(key)
	db.dropped(hash)
	db.drop(p, hash)
	return true
}

// relayout replaces the record at a place by one with other flags and room for a value of n bytes, of which what there
// was of the old one is copied. The policy's number is kept.
func (db *DB) relayout(p *arena.Ref, flags uint8, n int) arena.Ref {
	s := db.s
	old := *p
	from := s.rec(old)
	length := blockLen(headOf(flags)+from.keyLen()+n, flags)
	ref := s.Alloc(length)
	to := s.rec(ref)
	to.word = wordOf(from.keyLen(), n, from.kind(), flags)
	copy(to.key(), from.key())
	copy(to.value(), from.value())
	if flags&hasExpiry != 0 {
		*to.expiry() = math.MaxInt64
		if from.flags()&hasExpiry != 0 {
			*to.expiry() = *from.expiry()
		}
	}
	if flags&hasSlot != 0 {
		*to.slot() = policy.NoEntry
		if from.flags()&hasSlot != 0 {
			if *to.slot() = *from.slot(); *to.slot() != policy.NoEntry {
				s.holder(*to.slot()).ref = ref
			}
		}
	}
	*p = ref
	s.heap.free(old)
	return ref
}

// expiryOf is when a new key expires that was given an expiry, or none (0).
func (db *DB) expiryOf(expiry int64) int64 {
	if expiry == 0 && db.s.ttl > 0 {
		return db.s.now + db.s.ttl
	}
	return expiry
}

// addAsIs makes a new key with a value of n bytes that are still to be written.
func (db *DB) addAsIs(key []byte, hash uint64, kind Kind, n int, expiry int64) *record {
	s := db.s
	var flags uint8
	if expiry != 0 {
		flags |= hasExpiry
		db.volatile++
	}
	if s.policy != nil && (s.eviction == EvictAll || expiry != 0) {
		flags |= hasSlot
	}
	ref := s.Alloc(headOf(flags) + len(key) + n)
	r := s.rec(ref)
	r.word = wordOf(len(key), n, kind, flags)
	if expiry != 0 {
		*r.expiry() = expiry
	}
	copy(r.key(), key)
	if flags&hasSlot != 0 {
		s.hold(db, r, ref, hash)
	}
	s.insert(&db.keys, ref, hash)
	if s.slots != nil {
		s.slots[slot.Of(key)]++
	}
	db.stored(hash, expiry)
	return r
}

// SetExpiry sets when a key expires (0: never), and reports whether it is there.
func (db *DB) SetExpiry(key []byte, at int64) bool {
	p, hash := db.locate(key)
	if p == nil {
		return false
	}
	r := db.s.rec(*p)
	switch has := r.flags()&hasExpiry != 0; {
	case has && at != 0:
		*r.expiry() = at
	case has:
		db.volatile--
		flags := r.flags() &^ hasExpiry
		if db.s.eviction == EvictVolatile && flags&hasSlot != 0 {
			if slot := r.slot(); *slot != policy.NoEntry {
				db.s.policy.Remove(*slot)
				*slot = policy.NoEntry
			}
		}
		db.relayout(p, flags, r.valueLen())
	case at != 0:
		db.volatile++
		flags := r.flags() | hasExpiry
		if db.s.policy != nil {
			flags |= hasSlot
		}
		ref := db.relayout(p, flags, r.valueLen())
		r = db.s.rec(ref)
		*r.expiry() = at
		if flags&hasSlot != 0 && *r.slot() == policy.NoEntry {
			db.s.hold(db, r, ref, hash)
		}
	}
	db.noteExpiry(key, at)
	return true
}

// Rename gives the value of one key, with its expiry, to another, in to, which is not there (any more). It reports
// whether the key was there.
func (db *DB) Rename(key []byte, to *DB, name []byte) bool {
	p, hash := db.locate(key)
	if p == nil {
		return false
	}
	s := db.s
	ref := *p
	from := s.rec(ref)
	expiry := int64(0)
	if from.flags()&hasExpiry != 0 {
		expiry = *from.expiry()
	}
	s.clearPlace(&db.keys, p, hash)
	r := to.addAsIs(name, s.hash(name), from.kind(), from.valueLen(), expiry)
	copy(r.value(), from.value())
	db.release(ref, false)
	db.noteMoved(key, to, name)
	return true
}

// RandomKey returns some key; false where there is none.
func (db *DB) RandomKey() (Entry, bool) {
	for range 100 {
		if db.keys.n == 0 {
			break
		}
		ref := db.s.random(&db.keys, db.s.Random)
		r := db.s.rec(ref)
		if r.flags()&hasExpiry == 0 || *r.expiry() > db.s.now {
			return Entry{db, ref, r}, true
		}
		if db.s.passive {
			continue
		}
		key := r.key()
		hash := db.s.hash(key)
		db.expire(db.find(key, hash), r, hash)
	}
	return Entry{}, false
}

// Scan visits some of the keys and returns the cursor with which to go on; 0: that was the end. Keys that are there from
// the first call to the last are visited at least once. visit must not change the store.
func (db *DB) Scan(cursor uint64, visit func(Entry)) uint64 {
	return db.s.scan(&db.keys, cursor, func(ref arena.Ref) {
		r := db.s.rec(ref)
		if r.flags()&hasExpiry == 0 || *r.expiry() > db.s.now {
			visit(Entry{db, ref, r})
		}
	})
}

// Swap exchanges the contents of two databases.
func (s *Store) Swap(a, b int) {
	x, y := &s.dbs[a], &s.dbs[b]
	if a == b {
		return
	}
	x.keys, y.keys = y.keys, x.keys
	x.volatile, y.volatile = y.volatile, x.volatile
	for _, chunk := range s.holders {
		for i := range chunk {
			switch chunk[i].db {
			case x.index:
				chunk[i].db = y.index
			case y.index:
				chunk[i].db = x.index
			}
		}
	}
	s.swaps++
	if len(s.tags.byKey) > 0 {
		s.swapTags(x.index, y.index)
	}
	if s.noting() {
		s.notes.head(changeSwap, x.index, nil)
		s.notes.b = append(s.notes.b, y.index)
	}
}

// Clear removes all keys of the database.
func (db *DB) Clear() {
	s := db.s
	for db.keys.n > 0 {
		for cursor := uint64(0); ; {
			s.batch = s.batch[:0]
			cursor = s.scan(&db.keys, cursor, func(ref arena.Ref) { s.batch = append(s.batch, ref) })
			for _, ref := range s.batch {
				key := s.rec(ref).key()
				hash := s.hash(key)
				db.drop(db.find(key, hash), hash)
			}
			if cursor == 0 {
				break
			}
		}
	}
	db.untagAll()
	if s.noting() {
		s.notes.head(changeClear, db.index, nil)
	}
}

// makers make empty values, by kind.
var makers = map[Kind]func(*Store) arena.Ref{List: newList, Set: newTable, Hash: newTable, SortedSet: newRanking, StreamKind: newStream}

// Copy gives another key, which is not there, a copy of a key's value and its expiry. It reports whether the key was
// there.
func (db *DB) Copy(key []byte, to *DB, name []byte) bool {
	if !db.copy(key, to, name) {
		return false
	}
	if db.s.noting() {
		to.noteWhole(name)
	}
	return true
}

func (db *DB) copy(key []byte, to *DB, name []byte) bool {
	e, ok := db.Find(key)
	if !ok {
		return false
	}
	s, kind, at := db.s, e.Kind(), e.Expiry()
	if kind == String {
		r := to.addAsIs(name, s.hash(name), String, len(e.Bytes()), at)
		copy(r.value(), e.Bytes()) // e's record stays where it was
		return true
	}
	ref := makers[kind](s)
	switch kind {
	case List:
		into, of := Items{s: s, l: (*list)(s.At(ref))}, e.Items()
		of.Range(0, of.Len(), func(_ int, v []byte) bool { into.pushBack(v); return true })
	case StreamKind:
		down := s.writesDown
		s.writesDown = false // the caller writes it down as a whole
		e.Stream().copyTo(Stream{s: s, t: (*stream)(s.At(ref))})
		s.writesDown = down
	case SortedSet:
		into, of := Ranking{s: s, z: (*ranking)(s.At(ref))}, e.Ranking()
		of.Range(0, of.Len(), false, func(m []byte, score float64) bool { into.set(m, score); return true })
	default:
		into := Fields{s: s, t: (*table)(s.At(ref))}
		e.Fields().Each(func(f, v []byte) bool { into.set(f, v); return true })
	}
	putUint32(to.addAsIs(name, s.hash(name), kind, 4, at).value(), uint32(ref))
	return true
}
