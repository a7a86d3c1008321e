package cache

import (
	"bytes"

	"github.com/banyanhq/banyan/cache/slot"
)

func (k *call) slotArg(i int) (uint16, bool) {
	n, ok := k.intArg(i)
	if !ok {
		return 0, false
	}
	if n < 0 || n >= slot.Count {
		k.fail("ERR Invalid slot")
		return 0, false
	}
	return uint16(n), true
}

func (k *call) countKeysInSlot() {
	if at, ok := k.slotArg(2); ok {
		k.int(k.s.store.SlotLen(at))
	}
}

// getKeysInSlot looks through all keys, until it has found as many as there are or are asked for.
func (k *call) getKeysInSlot() {
	at, ok := k.slotArg(2)
	if !ok {
		return
	}
	n, ok := k.intArg(3)
	if !ok {
		return
	}
	if n < 0 {
		k.fail("ERR Invalid number of keys")
		return
	}
	want := int(min(n, int64(k.s.store.SlotLen(at))))
	seen := map[string]bool{}
	var keys [][]byte
	for cursor := uint64(0); len(keys) < want; {
		var some [][]byte
		some, cursor = k.db.KeysIn(cursor, func(key []byte) bool { return slot.Of(key) == at })
		for _, key := range some {
			if !seen[string(key)] && len(keys) < want {
				seen[string(key)] = true
				keys = append(keys, bytes.Clone(key))
			}
		}
		if cursor == 0 {
			break
		}
	}
	k.array(len(keys))
	for _, key := range keys {
		k.bulk(key)
	}
}
