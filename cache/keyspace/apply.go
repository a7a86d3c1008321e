package keyspace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrChanges says that changes do not fit the store that they are applied to, or are none.
var ErrChanges = errors.New("the changes do not fit")

// Replay applies changes that another store has written down.
type Replay struct {
	s *Store
	// Loose: keys may be incomplete, so that changes of what is not there are passed over.
	loose    bool
	ended    bool
	only     []byte // no other key may be changed; nil: any may
	followed Followed
	known    bool // followed is
}

// NewReplay begins to apply changes to a store, which is empty. Nothing expires and nothing is evicted until Done.
func (s *Store) NewReplay() *Replay { return &Replay{s: s} }

// NewPart begins to apply changes to a store, which is empty, of another one whose keys come between them. Complete says that all have.
func (s *Store) NewPart() *Replay { return &Replay{s: s, loose: true} }

// Complete says that all keys are there.
func (r *Replay) Complete() { r.loose, r.ended = false, true }

// Followed is how far the changes say that the store has come which has written them down; ok is false where they say nothing.
func (r *Replay) Followed() (f Followed, ok bool) { return r.followed, r.known }

// ApplyNoted is Apply, and writes the changes down as if they had been made here.
func (r *Replay) ApplyNoted(b []byte) error {
	if err := r.Apply(b); err != nil {
		return err
	}
	if n := &r.s.notes; r.s.noting() {
		n.cut()
		n.b = append(n.b, b...)
		n.cut()
	}
	return nil
}

// Whole reports whether all keys are complete.
func (r *Replay) Whole() bool { return r.ended && !r.loose }

// Apply applies changes in order. An error leaves some of them applied.
func (r *Replay) Apply(b []byte) error {
	s := r.s
	now, ttl, down, changes := s.now, s.ttl, s.writesDown, s.Changes
	s.now, s.ttl, s.writesDown = math.MinInt64, 0, false
	defer func() { s.now, s.ttl, s.writesDown, s.Changes = now, ttl, down, changes }()
	d := reader{Pieces: Pieces{B: b}}
	for len(d.B) > 0 && !d.Bad {
		c := change(d.Byte())
		if c&sameKey == 0 {
			d.db = d.Byte()
			d.key = d.Bytes()
			d.keyed = true
		}
		if c &^= sameKey; d.Bad || !d.keyed || len(d.key) > MaxKey {
			break
		}
		if r.only != nil && (string(d.key) != string(r.only) || !c.ofOneKey()) {
			return fmt.Errorf("%w: change %d of %.50q, and only %.50q may be changed", ErrChanges, c, d.key, r.only)
		}
		if int(d.db) >= len(s.dbs) {
			return fmt.Errorf("%w: database %d, and there are %d", ErrChanges, d.db, len(s.dbs))
		}
		if err := r.apply(c, &s.dbs[d.db], &d); err != nil {
			return fmt.Errorf("%w: change %d of %.50q: %w", ErrChanges, c, d.key, err)
		}
	}
	if len(d.B) > 0 || d.Bad {
		return fmt.Errorf("%w: they break off", ErrChanges)
	}
	return nil
}

// ofOneKey reports whether a change leaves all keys but its own alone.
func (c change) ofOneKey() bool {
	switch c {
	case changeRename, changeSwap, changeClear, changeFlush, changeBegin, changeEnd, changeFollowed:
		return false
	}
	return true
}

// reader takes changes apart.
type reader struct {
	Pieces
	db    byte
	key   []byte
	keyed bool
}

func (d *reader) number() int64 { return int64(d.Number()) }

var (
	errMissing = errors.New("there is no such key of that kind")
	errNoIndex = errors.New("the list is not so long")
	errValue   = errors.New("a value that cannot be")
)

// apply makes one change. What it needs is read first, so that a change that breaks off changes nothing.
func (r *Replay) apply(c change, db *DB, d *reader) error {
	switch c {
	case changeSet:
		expiry, value := d.number(), d.Bytes()
		if len(value) > MaxValue || expiry < 0 {
			return errValue
		}
		if !d.Bad {
			db.remove(d.key)
			copy(db.addAsIs(d.key, db.s.hash(d.key), String, len(value), expiry).value(), value)
		}
	case changeDelete:
		db.Delete(d.key)
	case changeExpiry:
		if at := d.number(); at < 0 {
			return errValue
		} else if !d.Bad && !db.SetExpiry(d.key, at) {
			return r.unless(errMissing)
		}
	case changePatch:
		return r.patch(db, d, d.number(), d.number(), d.Bytes())
	case changeMake:
		return db.makeAs(d, Kind(d.Byte()), d.number())
	case changeField, changeUnfield:
		return r.field(c, db, d)
	case changeFront, changeBack, changeItem, changeInsert, changeRemove:
		return r.item(c, db, d)
	case changeScore, changeUnscore:
		return r.score(c, db, d)
	case changeEntry, changeUnentry, changeTrim, changePast, changeGroup, changeUngroup, changeConsumer, changeUnconsumer, changePending, changeAck:
		return r.stream(c, db, d)
	case changeRename:
		to, name := d.Byte(), d.Bytes()
		if int(to) >= len(db.s.dbs) || len(name) > MaxKey {
			return errValue
		}
		if !d.Bad {
			into := &db.s.dbs[to]
			if _, there := db.Find(d.key); !there {
				return r.unless(errMissing)
			}
			into.Delete(name)
			db.Rename(d.key, into, name)
		}
	case changeTag:
		if tag := d.Bytes(); !d.Bad {
			if _, err := db.Tag(d.key, tag); errors.Is(err, ErrNoKey) {
				return r.unless(err)
			} else if err != nil {
				return err
			}
		}
	case changeSwap:
		other := d.Byte()
		if int(other) >= len(db.s.dbs) {
			return errValue
		}
		db.s.Swap(int(db.index), int(other))
	case changeClear:
		db.Clear()
	case changeFlush:
		free, err := db.s.Flush()
		if err != nil {
			return err
		}
		return free()
	case changeBegin:
		r.loose = true
	case changeEnd:
		r.loose, r.ended = false, true
	case changeFollowed:
		f := Followed{Stream: d.Number(), Offset: d.number(), Whole: d.Byte() == 1, Life: d.Number()}
		if !d.Bad {
			r.followed, r.known = f, true
		}
	default:
		return errors.New("no such change is known: the file is of a later version, or damaged")
	}
	return nil
}

// unless returns the error, unless keys may be incomplete.
func (r *Replay) unless(err error) error {
	if r.loose || r.known && !r.followed.Whole {
		return nil
	}
	return err
}

// makeAs makes an empty value, whatever was there.
func (db *DB) makeAs(d *reader, kind Kind, expiry int64) error {
	if d.Bad {
		return nil
	}
	make := makers[kind]
	if make == nil || expiry < 0 {
		return errValue
	}
	db.remove(d.key)
	ref := make(db.s)
	putUint32(db.addAsIs(d.key, db.s.hash(d.key), kind, 4, expiry).value(), uint32(ref))
	return nil
}

func (r *Replay) patch(db *DB, d *reader, from, length int64, value []byte) error {
	if d.Bad {
		return nil
	}
	if length < 0 || length > MaxValue || from < 0 || from+int64(len(value)) > length {
		return errValue
	}
	if e, there := db.Find(d.key); !there || e.Kind() != String {
		return r.unless(errMissing)
	}
	b, err := db.Extend(d.key, int(length))
	if err != nil {
		return err
	}
	copy(b[from:], value)
	return nil
}

// entry finds the value of a kind that a change is of.
func (r *Replay) entry(db *DB, key []byte, kinds ...Kind) (e Entry, ok bool, err error) {
	e, there := db.Find(key)
	for _, k := range kinds {
		if there && e.Kind() == k {
			return e, true, nil
		}
	}
	return e, false, r.unless(errMissing)
}

func (r *Replay) field(c change, db *DB, d *reader) error {
	field := d.Bytes()
	var value []byte
	if c == changeField {
		value = d.Bytes()
	}
	if d.Bad {
		return nil
	}
	if len(field) > MaxKey || len(value) > MaxValue {
		return errValue
	}
	e, ok, err := r.entry(db, d.key, Hash, Set)
	switch {
	case !ok:
		return err
	case c == changeField:
		e.Fields().Set(field, value)
	case !e.Fields().Delete(field):
		return r.unless(errMissing)
	}
	return nil
}

func (r *Replay) item(c change, db *DB, d *reader) error {
	i, value := int64(0), []byte(nil)
	if c == changeItem || c == changeInsert || c == changeRemove {
		i = d.number()
	}
	if c != changeRemove {
		value = d.Bytes()
	}
	if d.Bad {
		return nil
	}
	if len(value) > MaxValue {
		return errValue
	}
	e, ok, err := r.entry(db, d.key, List)
	if !ok {
		return err
	}
	l := e.Items()
	n := int64(l.Len())
	switch {
	case c == changeFront:
		l.PushFront(value)
	case c == changeBack:
		l.PushBack(value)
	case i < 0 || i > n || i == n && c != changeInsert:
		return r.unless(errNoIndex)
	case c == changeItem:
		l.Set(int(i), value)
	case c == changeInsert:
		l.Insert(int(i), value)
	default:
		l.Remove(int(i))
	}
	return nil
}

func (r *Replay) score(c change, db *DB, d *reader) error {
	member := d.Bytes()
	score := 0.0
	if c == changeScore {
		if b := d.Take(8); !d.Bad {
			score = math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
	}
	if d.Bad {
		return nil
	}
	if len(member) > MaxKey || math.IsNaN(score) {
		return errValue
	}
	e, ok, err := r.entry(db, d.key, SortedSet)
	switch {
	case !ok:
		return err
	case c == changeScore:
		e.Ranking().Set(member, score)
	case !e.Ranking().Delete(member):
		return r.unless(errMissing)
	}
	return nil
}
