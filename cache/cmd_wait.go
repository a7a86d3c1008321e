package cache

// waitReplicas answers how many replicas have all that was done so far, when as many have it as are asked for, or the time is up.
func (k *call) waitReplicas() {
	need, ok := k.intArg(1)
	if !ok {
		return
	}
	ms, ok := k.intArg(2)
	if !ok {
		return
	}
	h := k.s.sharding
	have, offset := 0, int64(0)
	switch {
	case ms < 0:
		k.fail("ERR timeout is negative")
		return
	case h != nil && h.of != 0:
		k.fail("ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.")
		return
	case h != nil:
		h.collect()
		offset = h.end()
		have = h.have(offset)
	}
	if int64(have) >= need || k.c.tx != nil && k.c.tx.open {
		k.int(have)
		return
	}
	at := watchKey{-1, "wait"}
	w := &waiting{c: k.c, cmd: k.cmd, keys: []watchKey{at}}
	if ms > 0 {
		w.until = k.s.store.Now() + ms
	}
	if h != nil {
		h.acked = append(h.acked, &ackWait{w, int(min(need, 1<<30)), offset})
	}
	w.give = func(k *call) {
		n := 0
		if h != nil {
			n = h.have(offset)
		}
		k.int(n)
	}
	k.s.waiting[at] = append(k.s.waiting[at], w)
	k.c.blocked, k.block = w, w
}
