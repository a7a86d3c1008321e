package keyspace

import (
	"errors"
	"slices"
)

// Tags mark keys that become wrong together. They belong to a key until it is gone.

// Errors of Tag.
var (
	ErrNoKey       = errors.New("there is no such key")
	ErrTooManyTags = errors.New("there are too many tags")
	ErrLongTag     = errors.New("the tag is too long")
)

// What there may be of tags.
const (
	maxTagLen  = 1024
	maxKeyTags = 128
	maxTags    = 4 << 20 // of all keys together
)

// tagged is a key that has tags.
type tagged struct {
	db  uint8
	key string
}

// tags of a store. What they take is an estimate: they lie on Go's heap.
type tags struct {
	byTag map[string]map[tagged]struct{}
	byKey map[tagged][]string
	n     int
	bytes int64
}

// tagCost is about what a tag of a key takes beside the bytes of both.
const tagCost = 120

// Tag gives a key tags, and returns how many of them are new.
func (db *DB) Tag(key []byte, names ...[]byte) (added int, err error) {
	if _, there := db.Find(key); !there {
		return 0, ErrNoKey
	}
	t, at := &db.s.tags, tagged{db.index, string(key)}
	if t.byKey == nil {
		t.byKey, t.byTag = map[tagged][]string{}, map[string]map[tagged]struct{}{}
	}
	for _, name := range names {
		tag := string(name)
		switch {
		case len(tag) > maxTagLen:
			return added, ErrLongTag
		case slices.Contains(t.byKey[at], tag):
			continue
		case len(t.byKey[at]) >= maxKeyTags || t.n >= maxTags:
			return added, ErrTooManyTags
		}
		t.byKey[at] = append(t.byKey[at], tag)
		if t.byTag[tag] == nil {
			t.byTag[tag] = map[tagged]struct{}{}
		}
		t.byTag[tag][at] = struct{}{}
		t.n++
		t.bytes += t.cost(at, tag)
		added++
		if db.s.noting() {
			db.s.notes.head(changeTag, db.index, key)
			db.s.notes.bytes(name)
		}
	}
	return added, nil
}

func (t *tags) cost(at tagged, tag string) int64 { return int64(tagCost + len(tag) + 2*len(at.key)) }

// Tags returns the tags of a key.
func (db *DB) Tags(key []byte) []string {
	if len(db.s.tags.byKey) == 0 {
		return nil
	}
	return db.s.tags.byKey[tagged{db.index, string(key)}]
}

// Tagged visits the keys that have a tag. visit may delete the key that it visits.
func (s *Store) Tagged(tag []byte, visit func(db int, key []byte)) {
	for at := range s.tags.byTag[string(tag)] {
		visit(int(at.db), []byte(at.key))
	}
}

// untag forgets the tags of a key.
func (db *DB) untag(key []byte) {
	t := &db.s.tags
	if len(t.byKey) == 0 {
		return
	}
	at := tagged{db.index, string(key)}
	for _, tag := range t.byKey[at] {
		t.bytes -= t.cost(at, tag)
		t.n--
		if delete(t.byTag[tag], at); len(t.byTag[tag]) == 0 {
			delete(t.byTag, tag)
		}
	}
	delete(t.byKey, at)
}

// untagAll forgets the tags of all keys of a database.
func (db *DB) untagAll() {
	for at := range db.s.tags.byKey {
		if at.db == db.index {
			db.untag([]byte(at.key))
		}
	}
}

// swapTags has the keys of two databases change places.
func (s *Store) swapTags(a, b uint8) {
	other := func(at tagged) tagged {
		switch at.db {
		case a:
			at.db = b
		case b:
			at.db = a
		}
		return at
	}
	t := tags{byTag: map[string]map[tagged]struct{}{}, byKey: map[tagged][]string{}, n: s.tags.n, bytes: s.tags.bytes}
	for at, names := range s.tags.byKey {
		t.byKey[other(at)] = names
	}
	for tag, keys := range s.tags.byTag {
		t.byTag[tag] = map[tagged]struct{}{}
		for at := range keys {
			t.byTag[tag][other(at)] = struct{}{}
		}
	}
	s.tags = t
}
