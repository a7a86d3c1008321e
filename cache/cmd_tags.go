package cache

import (
	"bytes"
	"slices"
)

// tagCommands are not of Redis: keys get tags, by which they are invalidated together.
var tagCommands = []command{
	{name: "cache.tag", arity: -3, flags: "write denyoom fast", first: 1, last: 1, step: 1, groups: "keyspace", run: (*call).tag},
	{name: "cache.tags", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "keyspace", run: (*call).tagsOf},
	{name: "cache.tagged", arity: 2, flags: "readonly", groups: "keyspace", run: (*call).taggedWith},
	{name: "cache.invalidate", arity: -2, flags: "write", groups: "keyspace", run: (*call).invalidateTags},
}

// tag gives a key tags, and answers how many are new.
func (k *call) tag() {
	if _, there := k.db.Find(k.args[1]); !there {
		k.fail(errNoKey)
		return
	}
	n, err := k.db.Tag(k.args[1], k.args[2:]...)
	if err != nil {
		k.fail("ERR tagging: " + err.Error())
		return
	}
	k.int(n)
}

// tagsOf answers with the tags of a key.
func (k *call) tagsOf() {
	k.db.Find(k.args[1]) // one that has expired has none
	k.texts(slices.Sorted(slices.Values(k.db.Tags(k.args[1]))))
}

// taggedWith answers with the keys of this database that have a tag.
func (k *call) taggedWith() {
	var keys [][]byte
	k.s.store.Tagged(k.args[1], func(db int, key []byte) {
		if db == k.c.db {
			keys = append(keys, key)
		}
	})
	slices.SortFunc(keys, bytes.Compare)
	k.array(len(keys))
	for _, key := range keys {
		k.bulk(key)
	}
}

// invalidateTags deletes all keys that have one of some tags, in all databases, and answers how many those were. What is being
// loaded from origins is not kept: it may be of before.
func (k *call) invalidateTags() {
	n := 0
	for _, tag := range k.args[1:] {
		k.s.store.Tagged(tag, func(db int, key []byte) {
			if k.s.store.DB(db).Delete(key) {
				n++
				k.s.keyChanged(db, key, k.c)
				k.s.notifyEvent(db, classGeneric, "del", key)
			}
		})
	}
	for _, l := range k.s.loads {
		l.overtaken = true
	}
	k.int(n)
}
