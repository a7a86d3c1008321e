package keyspace

import (
	"bytes"

	"github.com/banyanhq/banyan/cache/arena"
)

// Dump writes down what a store holds, a piece at a time, as changes that make it again. Between two pieces the store may
// change, as long as those changes are written down too, behind the pieces that came before them: a key that was visited is
// complete from then on, one that was not may be wrong until it is. When the last piece is written all are right, as of
// that instant.
type Dump struct {
	s      *Store
	db     int
	cursor uint64
	begun  bool
	bare   bool // it says neither that it begins nor that it ends
	swaps  int64
	parts  []int
	large  []largeKey
	refs   []arena.Ref
}

// largeKey is a key whose value is written in several pieces.
type largeKey struct {
	db     int
	key    []byte
	kind   Kind
	begun  bool
	cursor uint64
}

// largeFrom is the number of elements from which a hash, a set or a sorted set is written in several pieces. A list, and a
// stream, is always written in one.
const largeFrom = 512

// NewDump begins a dump, until EndDump. There may be several.
func (s *Store) NewDump() *Dump {
	s.dumping++
	return &Dump{s: s, swaps: s.swaps}
}

// NewBareDump begins a dump whose reader knows by other ways where it begins and ends.
func (s *Store) NewBareDump() *Dump {
	d := s.NewDump()
	d.begun, d.bare = true, true
	return d
}

// EndDump says that a dump is over.
func (s *Store) EndDump() { s.dumping-- }

// Spoiled reports whether the dump has become useless, because databases were exchanged.
func (d *Dump) Spoiled() bool { return d.swaps != d.s.swaps }

// Next appends a piece of about n bytes, or of one key, and reports whether it was the last one.
func (d *Dump) Next(b []byte, n int) (out []byte, last bool) {
	w := notes{b: b}
	if !d.begun {
		d.begun = true
		w.head(changeBegin, 0, nil)
	}
	from := len(w.b)
	// Empty buckets cost time as well.
	for buckets := 0; len(w.b)-from < n && buckets < n/16+16; buckets++ {
		if len(d.large) > 0 {
			d.part(&w)
			continue
		}
		if d.db == len(d.s.dbs) {
			if !d.bare {
				w.head(changeEnd, 0, nil)
			}
			d.parts = w.parts
			return w.b, true
		}
		db := &d.s.dbs[d.db]
		d.refs = d.refs[:0]
		d.cursor = d.s.scan(&db.keys, d.cursor, func(ref arena.Ref) { d.refs = append(d.refs, ref) })
		for _, ref := range d.refs {
			d.write(&w, Entry{db, ref, d.s.rec(ref)})
		}
		if d.cursor == 0 {
			d.db++
		}
	}
	d.parts = w.parts
	return w.b, false
}

// Parts calls do for what Next has returned, where that was given nothing to append to, in parts of at most MaxPart bytes that can each
// be read alone.
func (d *Dump) Parts(piece []byte, do func(part []byte)) { eachPart(piece, 0, d.parts, do) }

// write writes a key, or notes that it is large.
func (d *Dump) write(w *notes, e Entry) {
	kind := e.Kind()
	if kind != String && kind != List && kind != StreamKind && d.s.fieldsAt(kind, e.rec.object()).n >= largeFrom {
		d.large = append(d.large, largeKey{db: d.db, key: bytes.Clone(e.Key()), kind: kind})
		return
	}
	w.whole(e)
}

// part writes a part of the first large key, if it still is what it was.
func (d *Dump) part(w *notes) {
	l := &d.large[0]
	db := &d.s.dbs[l.db]
	p := db.find(l.key, d.s.hash(l.key))
	if p == nil || d.s.rec(*p).kind() != l.kind {
		d.large = d.large[1:]
		return
	}
	e := Entry{db, *p, d.s.rec(*p)}
	if !l.begun {
		l.begun = true
		w.make(db.index, l.key, l.kind, e.Expiry())
		w.tags(e)
	}
	t := d.s.fieldsAt(l.kind, e.rec.object())
	for range 64 {
		l.cursor = d.s.scan(t, l.cursor, func(ref arena.Ref) { w.element(d.s, db.index, l.key, l.kind, ref) })
		if l.cursor == 0 {
			d.large = d.large[1:]
			return
		}
	}
}
