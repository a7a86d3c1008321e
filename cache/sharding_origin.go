package cache

import (
	"slices"

	"github.com/banyanhq/banyan/cache/slot"
)

// Keys that come from an origin are loaded, and written, by the node that owns them. While their slot moves, that is the one which clients
// are sent to; what it loads or writes meanwhile may come when the key is no longer its own, and then is not stored there.

// readElsewhere carries out GET and MGET of keys that are another node's, as a replica's are: what would have to be loaded, the owner loads.
// It reports whether the command is done.
func (k *call) readElsewhere() bool {
	h := k.s.sharding
	if h == nil || h.takes(slot.Of(k.args[1])) {
		return false
	}
	for _, key := range k.args[1:] {
		if _, there := k.db.Find(key); !there && k.s.originOf(key) != nil {
			k.fail(h.moved(slot.Of(key)))
			return true
		}
	}
	k.cmd.run(k)
	return true
}

// takes reports whether keys of a slot may come into being here: it is this node's, or on its way here.
func (h *sharding) takes(at uint16) bool {
	return h.active && h.self.Of == 0 && h.node.Leased() && (uint64(h.m.Owners[at]) == h.id || h.m.Moving[at] == h.id)
}

// mayKeep reports whether what was loaded may be stored: not where clients are sent on already.
func (h *sharding) mayKeep(key []byte) bool {
	at := slot.Of(key)
	if h == nil {
		return true
	}
	_, there := h.s.store.DB(0).Find(key)
	return h.takes(at) && (there || !h.confirmed[at])
}

// writing reports whether a key's origin is being written to.
func (h *sharding) writing(key []byte) bool {
	return len(h.s.writing) > 0 && len(h.s.writing[watchKey{0, string(key)}]) > 0
}

// idle leaves out keys whose origin is being written to: they stay until it has answered.
func (h *sharding) idle(keys [][]byte) [][]byte {
	return slices.DeleteFunc(keys, h.writing)
}

// stillHere says why a command that has waited for an origin is not carried out any more.
func (k *call) stillHere() string {
	h := k.s.sharding
	if h == nil {
		return ""
	}
	h.keys = k.cmd.routed(h.keys[:0], k.args)
	return h.admit(k, true, h.m.Moving[slot.Of(h.keys[0])] == h.id)
}
