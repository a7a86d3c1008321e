package cache

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/banyanhq/banyan/cache/slot"
)

// Errors of a cluster.
const (
	errCrossSlot = "CROSSSLOT Keys in request don't hash to the same slot"
	errDown      = "CLUSTERDOWN The cluster is down"
	errUnserved  = "CLUSTERDOWN Hash slot not served"
	errTryAgain  = "TRYAGAIN Multiple keys request during rehashing of slot"
	errReadOnly  = "READONLY You can't write against a read only replica."
)

// route says why this node does not carry a command out: "": it does.
func (k *call) route() string {
	h, c, cmd := k.s.sharding, k.c, k.cmd
	asking := c.asking
	open := c.tx != nil && c.tx.open
	if asking && !open && cmd.name != "multi" || cmd.name == "exec" || cmd.name == "discard" {
		c.asking = false
	}
	if cmd.name == "exec" && open {
		if reason := k.routeExec(asking); reason != "" {
			k.s.endTransaction(c)
			return reason
		}
		return ""
	}
	if cmd.keys == nil && cmd.first > 0 && cmd.first == cmd.last && cmd.name != "sort" && cmd.name != "sort_ro" {
		h.keys = append(h.keys[:0], k.args[cmd.first])
		return h.admit(k, cmd.write, asking)
	}
	h.keys = cmd.routed(h.keys[:0], k.args)
	if (cmd.name == "sort" || cmd.name == "sort_ro") && k.looksElsewhere() {
		return "ERR BY and GET options of SORT denied in cluster mode when the pattern names keys"
	}
	switch {
	case len(h.keys) > 0:
		return h.admit(k, cmd.write, asking)
	case !cmd.write:
		return ""
	case h.self.Of != 0:
		return errReadOnly
	case !h.active || !h.node.Leased():
		return errDown
	}
	return ""
}

// looksElsewhere reports whether SORT is to look at keys that its arguments do not name.
func (k *call) looksElsewhere() bool {
	for i := 2; i+1 < len(k.args); i++ {
		if (k.is(i, "BY") || k.is(i, "GET")) && bytes.IndexByte(k.args[i+1], '*') >= 0 {
			return true
		}
	}
	return false
}

// routeExec routes a transaction as one command with all its keys.
func (k *call) routeExec(asking bool) string {
	h := k.s.sharding
	h.keys = h.keys[:0]
	write := false
	for _, q := range k.c.tx.queued {
		h.keys = q.cmd.routed(h.keys, q.args)
		write = write || q.cmd.write
	}
	if len(h.keys) == 0 {
		return ""
	}
	return h.admit(k, write, asking)
}

// routed appends the arguments by which a command is routed: its keys, or the channel of its shard.
func (c *command) routed(keys [][]byte, args [][]byte) [][]byte {
	switch c.name {
	case "spublish":
		return append(keys, args[1])
	case "ssubscribe":
		return append(keys, args[1:]...)
	case "sort":
		for i := 2; i+1 < len(args); i++ {
			if equalFold(args[i], "STORE") {
				keys = append(keys, args[i+1])
			}
		}
	}
	for _, i := range c.keysOf(args) {
		if i > 0 && i < len(args) {
			keys = append(keys, args[i])
		}
	}
	return keys
}

// admit says why this node does not carry out a command with the keys of h.keys.
//
// A client that was connected before a replica took over is once told that a key has moved, to where it is. So it asks who owns
// which slots, and finds the successor: libraries do that when they are redirected, and not when they reach nobody. It
// costs a round trip, and is done only where no other command is on its way, whose order it could change.
func (h *sharding) admit(k *call, write, asking bool) string {
	at := slot.Of(h.keys[0])
	for _, key := range h.keys[1:] {
		if slot.Of(key) != at {
			return errCrossSlot
		}
	}
	if !h.active || !h.node.Leased() {
		return errDown
	}
	switch owner := uint64(h.m.Owners[at]); {
	case owner == 0:
		return errUnserved
	case owner == h.id:
		if k.c.epoch != h.m.Epoch && k.alone && (k.c.tx == nil || !k.c.tx.open) {
			k.c.epoch = h.m.Epoch
			return h.moved(at)
		}
		if !h.confirmed[at] {
			return ""
		}
		switch missing := h.missing(k); missing {
		case 0:
			return ""
		case len(h.keys):
			return "ASK " + strconv.Itoa(int(at)) + " " + h.m.Members[h.m.Moving[at]].Addr
		}
		return errTryAgain
	case (asking || h.given[at]) && h.m.Moving[at] == h.id:
		if !h.given[at] && len(h.keys) > 1 && h.missing(k) > 0 {
			return errTryAgain
		}
		return ""
	case k.c.readonly && !write && (owner == h.self.Of && h.whole() || h.readCopy(k)):
		return ""
	}
	return h.moved(at)
}

// missing counts the keys that are not there, and not about to be.
func (h *sharding) missing(k *call) (n int) {
	db := k.s.store.DB(0)
	for _, key := range h.keys {
		if _, there := db.Find(key); !there && !h.writing(key) {
			n++
		}
	}
	return n
}

// moved sends a client to the owner of a slot.
func (h *sharding) moved(at uint16) string {
	owner := h.m.Members[uint64(h.m.Owners[at])]
	if owner.ID == 0 {
		return errUnserved
	}
	return "MOVED " + strconv.Itoa(int(at)) + " " + owner.Addr
}

func appendNumber(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

func appendBytes(b, v []byte) []byte { return append(appendNumber(b, uint64(len(v))), v...) }
