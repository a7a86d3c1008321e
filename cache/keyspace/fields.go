package keyspace

import (
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

const tableSize = int(unsafe.Sizeof(table{}))

// object is the reference that is the value of a key that is no string.
func (r *record) object() arena.Ref {
	return arena.Ref(nativeUint32(r.value()))
}

func nativeUint32(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func putUint32(b []byte, v uint32) {
	_ = b[3]
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

// objectOf returns the object of a key, 0 where there is none. make has one made.
func (db *DB) objectOf(key []byte, kind Kind, make func(*Store) arena.Ref) (arena.Ref, error) {
	p, hash := db.locate(key)
	if p == nil {
		if make == nil {
			return 0, nil
		}
		ref := make(db.s)
		expiry := db.expiryOf(0)
		putUint32(db.addAsIs(key, hash, kind, 4, expiry).value(), uint32(ref))
		db.noteMake(key, kind, expiry)
		return ref, nil
	}
	r := db.s.rec(*p)
	if r.kind() != kind {
		return 0, ErrWrongKind
	}
	return r.object(), nil
}

// Fields is a hash, or a set, whose members are fields without values.
type Fields struct {
	s   *Store
	t   *table
	db  uint8
	key []byte
}

// Fields returns the hash or set of a key; it has none where there is no such key.
func (db *DB) Fields(key []byte, kind Kind) (Fields, error) {
	ref, err := db.objectOf(key, kind, nil)
	if ref == 0 {
		return Fields{}, err
	}
	return db.fields(key, ref), nil
}

// MakeFields is Fields, and makes an empty one where there is none. The caller puts something into it, or deletes it.
func (db *DB) MakeFields(key []byte, kind Kind) (Fields, error) {
	ref, err := db.objectOf(key, kind, newTable)
	if err != nil {
		return Fields{}, err
	}
	return db.fields(key, ref), nil
}

func newTable(s *Store) arena.Ref {
	ref := s.Alloc(tableSize)
	*(*table)(s.At(ref)) = table{}
	return ref
}

func (db *DB) fields(key []byte, ref arena.Ref) Fields {
	return Fields{db.s, (*table)(db.s.At(ref)), db.index, key}
}

// Fields is the value of an entry that is a hash or a set.
func (e Entry) Fields() Fields { return e.db.fields(e.Key(), e.rec.object()) }

// Len is the number of fields.
func (f Fields) Len() int {
	if f.t == nil {
		return 0
	}
	return int(f.t.n)
}

// Get returns a field's value.
func (f Fields) Get(field []byte) ([]byte, bool) {
	if f.Len() == 0 {
		return nil, false
	}
	p := f.s.find(f.t, field, f.s.hash(field))
	if p == nil {
		return nil, false
	}
	return f.s.rec(*p).value(), true
}

// Has reports whether there is such a field.
func (f Fields) Has(field []byte) bool { _, ok := f.Get(field); return ok }

// Set sets a field's value and reports whether the field is new.
func (f Fields) Set(field, value []byte) bool {
	if f.s.noting() {
		f.s.notes.pair(changeField, f.db, f.key, field, value)
	}
	return f.set(field, value)
}

func (f Fields) set(field, value []byte) bool {
	hash := f.s.hash(field)
	if p := f.s.find(f.t, field, hash); p != nil {
		*p = f.s.setElement(*p, value)
		return false
	}
	f.s.insert(f.t, f.s.element(field, value), hash)
	return true
}

// Delete removes a field and reports whether it was there.
func (f Fields) Delete(field []byte) bool {
	if f.Len() == 0 {
		return false
	}
	ref := f.s.remove(f.t, field, f.s.hash(field))
	if ref == 0 {
		return false
	}
	if f.s.noting() { // before the bytes of the field, which may be its own, are free
		f.s.notes.head(changeUnfield, f.db, f.key)
		f.s.notes.bytes(field)
	}
	f.s.heap.free(ref)
	return true
}

// Each visits all fields until visit returns false. visit must not change the store.
func (f Fields) Each(visit func(field, value []byte) bool) {
	if f.Len() == 0 {
		return
	}
	f.s.each(f.t, func(ref arena.Ref) bool {
		r := f.s.rec(ref)
		return visit(r.key(), r.value())
	})
}

// Random returns some field.
func (f Fields) Random() (field, value []byte) {
	r := f.s.rec(f.s.random(f.t, f.s.Random))
	return r.key(), r.value()
}

// Scan is like that of a database.
func (f Fields) Scan(cursor uint64, visit func(field, value []byte)) uint64 {
	if f.Len() == 0 {
		return 0
	}
	return f.s.scan(f.t, cursor, func(ref arena.Ref) {
		r := f.s.rec(ref)
		visit(r.key(), r.value())
	})
}

// Memory is what a key takes with its value, about where there are more than a few elements.
func (e Entry) Memory() int64 {
	s := e.db.s
	total := int64(arena.Size(e.rec.blockLen()))
	if e.Kind() == String {
		return total
	}
	ref := e.rec.object()
	if e.Kind() == List {
		return total + s.listMemory((*list)(s.At(ref)))
	}
	if e.Kind() == StreamKind {
		return total + s.streamMemory((*stream)(s.At(ref)))
	}
	t := s.fieldsAt(e.Kind(), ref)
	total += int64(arena.Size(tableSize))
	for side, b := range t.buckets {
		if b != 0 {
			total += bucketSize << t.bits[side]
		}
	}
	sampled, bytes := int64(0), int64(0)
	s.each(t, func(ref arena.Ref) bool {
		r := s.rec(ref)
		bytes += int64(arena.Size(r.blockLen()))
		if e.Kind() == SortedSet {
			bytes += int64(arena.Size(s.node(r.object()).blockLen()))
		}
		sampled++
		return sampled < memorySample
	})
	if sampled > 0 {
		total += bytes * int64(t.n) / sampled
	}
	return total
}

// memorySample is how many elements of a value are looked at to tell its size.
const memorySample = 1000

func (s *Store) listMemory(l *list) int64 {
	total := int64(arena.Size(listSize))
	seen, bytes := int64(0), int64(0)
	for ref := l.head; ref != 0 && seen < memorySample; ref = s.listNode(ref).next {
		n := s.listNode(ref)
		bytes += int64(arena.Size(nodeLen(int(n.space))))
		for _, item := range n.used() {
			bytes += int64(arena.Size(s.rec(item).blockLen()))
			seen++
		}
	}
	if seen > 0 {
		total += bytes * int64(l.n) / seen
	}
	return total
}
