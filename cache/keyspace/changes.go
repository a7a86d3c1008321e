package keyspace

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/banyanhq/banyan/cache/arena"
)

// Changes of a store can be written down, one after the other, such that Apply makes them again in another store: with the
// values and the instants that came of them, so that neither the clock nor chance nor the configuration has a say then.
//
// A change is a byte that says what it is, the database, the key, and what belongs to it; numbers are varints. Where the key
// is that of the change before, the byte has a flag and the key is left out.

// change is what was done.
type change byte

const (
	changeSet     change = 1 + iota // expiry, value: a string, whatever was there
	changeDelete                    //
	changeExpiry                    // expiry
	changePatch                     // offset, length of the whole string, bytes
	changeMake                      // kind, expiry: an empty value, whatever was there
	changeField                     // field, value
	changeUnfield                   // field
	changeFront                     // value
	changeBack                      // value
	changeItem                      // index, value
	changeInsert                    // index, value
	changeRemove                    // index
	changeScore                     // member, 8 bytes
	changeUnscore                   // member
	changeRename                    // database, name
	changeSwap                      // the other database; the key is empty
	changeClear                     // the database; the key is empty
	changeFlush                     // all databases; the key is empty
	changeBegin                     // from here on keys may be incomplete, until changeEnd; the key is empty
	changeEnd
	changeTag        // tag
	changeEntry      // id, number of fields and values, these
	changeUnentry    // id
	changeTrim       // number of the first entries that go
	changePast       // last id, entries that were ever added, greatest id that was deleted
	changeGroup      // name, last id, entries read and 1
	changeUngroup    // name
	changeConsumer   // group, name, instant
	changeUnconsumer // group, name
	changePending    // group, consumer, id, instant, number of deliveries
	changeAck        // group, id
	changeFollowed   // stream, offset, whole, life; the key is empty

	sameKey change = 0x80
)

// notes are changes that were written down and not taken yet.
type notes struct {
	b        []byte
	db       uint8
	from, to int   // the key of the last change, in b; to 0: there is none
	parts    []int // where in b changes begin that can be read without those before them; not the first
}

const (
	// partSize is about how much is written down before a change begins that can be read without those before it.
	partSize = 1 << 20
	// MaxPart bounds what NotedParts and Dump.Parts call a part: partSize and one change, which has a value, or an entry of a stream, and
	// keys and fields.
	MaxPart = partSize + MaxValue + 64<<20
)

// head begins a change.
func (n *notes) head(c change, db uint8, key []byte) {
	last := 0
	if len(n.parts) > 0 {
		last = n.parts[len(n.parts)-1]
	}
	if len(n.b)-last >= partSize {
		n.parts, n.to = append(n.parts, len(n.b)), 0
	}
	if n.to > 0 && n.db == db && bytes.Equal(n.b[n.from:n.to], key) {
		n.b = append(n.b, byte(c|sameKey))
		return
	}
	n.b = append(n.b, byte(c), db)
	n.b = binary.AppendUvarint(n.b, uint64(len(key)))
	n.db, n.from = db, len(n.b)
	n.b = append(n.b, key...)
	n.to = len(n.b)
}

func (n *notes) number(v int64) { n.b = binary.AppendUvarint(n.b, uint64(v)) }

func (n *notes) bytes(v []byte) {
	n.b = binary.AppendUvarint(n.b, uint64(len(v)))
	n.b = append(n.b, v...)
}

// cut makes the next change begin with its key, so that what follows can be read alone.
func (n *notes) cut() { n.to = 0 }

// noting counts a change, and reports whether it is to be written down.
func (s *Store) noting() bool {
	s.Changes++
	return s.writesDown
}

// WriteDown has changes be written down from now on, or no longer.
func (s *Store) WriteDown(on bool) {
	if !on {
		s.TakeNotes(nil)
	}
	s.writesDown = on
}

// Written is how many bytes of changes were written down since the store was made.
func (s *Store) Written() int64 { return s.taken + int64(len(s.notes.b)) }

// Noted are the changes that were written down and not taken yet, from an offset on. What is written down later can be read
// without them.
func (s *Store) Noted(from int) []byte { s.notes.cut(); return s.notes.b[from:] }

// Taken is how many bytes of changes were taken since the store was made.
func (s *Store) Taken() int64 { return s.taken }

// NotedParts calls do for what Noted returns, in parts of at most MaxPart bytes that can each be read alone.
func (s *Store) NotedParts(from int, do func(part []byte)) {
	s.notes.cut()
	eachPart(s.notes.b, from, s.notes.parts, do)
}

func eachPart(b []byte, from int, parts []int, do func(part []byte)) {
	for _, at := range parts {
		if at > from {
			do(b[from:at])
			from = at
		}
	}
	if from < len(b) {
		do(b[from:])
	}
}

// TakeNotes takes the changes that were written down; later ones go into the memory that is given.
func (s *Store) TakeNotes(into []byte) []byte {
	b := s.notes.b
	s.taken += int64(len(b))
	s.notes = notes{b: into[:0], parts: s.notes.parts[:0]}
	return b
}

// Followed says how far a store has come in the stream of changes of another one, or in its own. It is written down among the changes, so that
// it is known of what was made of these as well.
type Followed struct {
	Stream uint64 // 0: in none
	Offset int64
	Whole  bool   // all keys are complete
	Life   uint64 // of the process that has written it
}

// NoteFollowed writes down how far the store has come.
func (s *Store) NoteFollowed(f Followed) {
	if !s.writesDown {
		return
	}
	n := &s.notes
	n.head(changeFollowed, 0, nil)
	n.number(int64(f.Stream))
	n.number(f.Offset)
	n.b = append(n.b, map[bool]byte{true: 1}[f.Whole])
	n.number(int64(f.Life))
}

// noteSet writes a string down as it is now.
func (db *DB) noteSet(key, value []byte, expiry int64) {
	n := &db.s.notes
	n.head(changeSet, db.index, key)
	n.number(expiry)
	n.bytes(value)
}

func (db *DB) noteDelete(key []byte) {
	db.untag(key)
	if db.s.noting() {
		db.s.notes.head(changeDelete, db.index, key)
	}
}

func (db *DB) noteExpiry(key []byte, at int64) {
	if db.s.noting() {
		db.s.notes.head(changeExpiry, db.index, key)
		db.s.notes.number(at)
	}
}

func (db *DB) noteMake(key []byte, kind Kind, expiry int64) {
	if db.s.noting() {
		db.s.notes.make(db.index, key, kind, expiry)
	}
}

func (n *notes) make(db uint8, key []byte, kind Kind, expiry int64) {
	n.head(changeMake, db, key)
	n.b = append(n.b, byte(kind))
	n.number(expiry)
}

func (n *notes) pair(c change, db uint8, key, field, value []byte) {
	n.head(c, db, key)
	n.bytes(field)
	n.bytes(value)
}

func (n *notes) score(db uint8, key, member []byte, score float64) {
	n.head(changeScore, db, key)
	n.bytes(member)
	n.b = binary.LittleEndian.AppendUint64(n.b, math.Float64bits(score))
}

// noteMoved writes down that a key has another name. While the store is being dumped that would not do, for the new name may
// not be visited any more: then the whole value is written.
func (db *DB) noteMoved(key []byte, to *DB, name []byte) {
	db.untag(key)
	switch s := db.s; {
	case !s.noting():
	case s.dumping > 0:
		s.notes.head(changeDelete, db.index, key)
		to.noteWhole(name)
	default:
		s.notes.head(changeRename, db.index, key)
		s.notes.b = append(s.notes.b, to.index)
		s.notes.bytes(name)
	}
}

// noteWhole writes a key down with all of its value. The key must be there, expired or not.
func (db *DB) noteWhole(key []byte) {
	if p := db.find(key, db.s.hash(key)); p != nil {
		db.s.notes.whole(Entry{db, *p, db.s.rec(*p)})
	}
}

// whole writes an entry with all of its value.
func (n *notes) whole(e Entry) {
	n.value(e)
	n.tags(e)
}

func (n *notes) tags(e Entry) {
	for _, tag := range e.db.Tags(e.Key()) {
		n.head(changeTag, e.db.index, e.Key())
		n.bytes([]byte(tag))
	}
}

func (n *notes) value(e Entry) {
	s, db, key := e.db.s, e.db.index, e.Key()
	if e.Kind() == String {
		n.head(changeSet, db, key)
		n.number(e.Expiry())
		n.bytes(e.Bytes())
		return
	}
	n.make(db, key, e.Kind(), e.Expiry())
	ref := e.rec.object()
	switch e.Kind() {
	case List:
		l := Items{s: s, l: (*list)(s.At(ref))}
		l.Range(0, l.Len(), func(_ int, v []byte) bool {
			n.head(changeBack, db, key)
			n.bytes(v)
			return true
		})
	case StreamKind:
		n.stream(e.Stream())
	case SortedSet:
		s.each(s.fieldsAt(SortedSet, ref), func(ref arena.Ref) bool { n.element(s, db, key, SortedSet, ref); return true })
	default:
		s.each(s.fieldsAt(e.Kind(), ref), func(ref arena.Ref) bool { n.element(s, db, key, e.Kind(), ref); return true })
	}
}

// element writes an element of a hash, a set or a sorted set.
func (n *notes) element(s *Store, db uint8, key []byte, kind Kind, ref arena.Ref) {
	r := s.rec(ref)
	if kind == SortedSet {
		n.score(db, key, r.key(), s.node(r.object()).score)
	} else {
		n.pair(changeField, db, key, r.key(), r.value())
	}
}

// Rewrote writes down what a caller has written into the bytes that Extend returned: n of them from an offset on.
func (db *DB) Rewrote(key []byte, from, n int) {
	if !db.s.noting() {
		return
	}
	p := db.find(key, db.s.hash(key))
	if p == nil {
		return
	}
	r := db.s.rec(*p)
	v := r.value()
	to := &db.s.notes
	to.head(changePatch, db.index, key)
	to.number(int64(from))
	to.number(int64(len(v)))
	to.bytes(v[from : from+n])
}
