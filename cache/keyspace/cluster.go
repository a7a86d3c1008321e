package keyspace

import (
	"bytes"

	"github.com/banyanhq/banyan/cache/arena"
)

// What a store is asked for by those that share keys among several.

// SlotLen is how many keys a hash slot has. They must be counted: Config.CountSlots.
func (s *Store) SlotLen(slot uint16) int { return int(s.slots[slot]) }

// SetPassive has the store no longer expire keys by itself, or again: they are hidden, and stay until whoever writes its changes
// down says that they go.
func (s *Store) SetPassive(on bool) { s.passive = on }

// AppendKey appends a key with all of its value, its expiry and its tags, as changes that make it, or delete it where it is not
// there. One that has expired and is still there counts.
func (db *DB) AppendKey(b, key []byte) []byte {
	w := notes{b: b}
	if p := db.find(key, db.s.hash(key)); p != nil {
		w.whole(Entry{db, *p, db.s.rec(*p)})
	} else {
		w.head(changeDelete, db.index, key)
	}
	return w.b
}

// Drop removes a key, expired or not.
func (db *DB) Drop(key []byte) {
	hash := db.s.hash(key)
	if p := db.find(key, hash); p != nil {
		db.noteDelete(key)
		db.drop(p, hash)
	}
}

// Take applies what AppendKey has made of some keys, and writes it down as if it had been done here. With keep, keys that are
// there stay as they are. Where mine does not accept all keys, none is taken. It returns those that were. An
// error leaves the keys that came before taken, and the one that could not be taken is not there.
func (s *Store) Take(changes [][]byte, keep bool, mine func(key []byte) bool) (taken [][]byte, err error) {
	keys := make([][]byte, len(changes))
	for i, c := range changes {
		d := Pieces{B: c}
		kind, db, key := change(d.Byte()), int(d.Byte()), d.Bytes()
		if d.Bad || kind&sameKey != 0 || db >= len(s.dbs) || !mine(key) {
			return nil, ErrChanges
		}
		keys[i] = key
	}
	for i, c := range changes {
		db := &s.dbs[c[1]]
		if keep && db.find(keys[i], s.hash(keys[i])) != nil {
			continue
		}
		db.untag(keys[i])
		replay := s.NewReplay()
		replay.only = keys[i]
		if err := replay.Apply(c); err != nil {
			db.Drop(keys[i]) // half of a key is worse than none
			return taken, err
		}
		taken = append(taken, keys[i])
		if s.noting() {
			s.notes.cut()
			s.notes.b = append(s.notes.b, c...)
			s.notes.cut()
		}
	}
	return taken, nil
}

// KeysIn collects keys of a hash slot that in accepts, by way of Scan: those in one or a few buckets from a cursor on.
func (db *DB) KeysIn(cursor uint64, in func(key []byte) bool) (keys [][]byte, next uint64) {
	next = db.s.scan(&db.keys, cursor, func(ref arena.Ref) {
		if key := db.s.rec(ref).key(); in(key) {
			keys = append(keys, bytes.Clone(key))
		}
	})
	return keys, next
}
