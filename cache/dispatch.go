package cache

import (
	"strings"
	"time"

	"github.com/banyanhq/banyan/cache/resp"
)

// done says what became of a batch.
type done struct {
	more    bool  // there is more to be carried out, once the answers are sent
	blocked bool  // the client waits,
	until   int64 // until then, in milliseconds since 1970; 0: for ever
	kicked  bool  // there is something to deliver for clients of the same loop
	sync    int64 // what must be synced before the answers are sent; 0: nothing
	write   bool  // something is to be written to the append file before
}

// batch carries out the commands in data, one after the other, and returns what is left. The answers are in the loop's
// call.
func (s *Server) batch(c *client, p *resp.Parser, data []byte) (rest []byte, did done) {
	k := &c.l.call
	k.out = k.out[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	at := now.Sub(s.begun)
	s.store.SetNow(now.UnixMilli())
	c.heard = now.Unix()
	s.current, k.c = k, c
	s.count.in += int64(len(data))
	first := true
	for len(data) > 0 && !c.closing && !c.killed {
		lim := &s.limits
		if !c.known {
			lim = &resp.Stranger
		}
		n, err := p.Parse(data, lim)
		if err != nil {
			k.fail("ERR " + err.Error())
			s.count.errors++
			c.closing = true
			break
		}
		if n == 0 {
			if len(data) > s.set.queryLimit {
				s.cfg.Log.Warn("closing a client whose command is too long", "client", c.from.String(), "bytes", len(data))
				c.closing = true
			}
			break
		}
		data = data[n:]
		if len(p.Args) == 0 {
			continue
		}
		k.args = p.Args
		k.alone = first && len(data) == 0
		first = false
		at = k.carryOut(at)
		if k.block != nil {
			did.blocked, did.until = true, k.block.until
			k.block = nil
			break
		}
		if len(k.out) > flushAbove {
			did.more = true
			break
		}
	}
	s.current = nil
	if s.sharding != nil {
		s.sharding.collect()
	}
	s.count.out += int64(len(k.out))
	did.kicked = len(c.l.kicked) > 0
	if s.keep != nil {
		did.sync, did.write = s.keep.mark()
	}
	return data, did
}

// carryOut carries out one command, which began at an instant, and returns the one at which it ended.
func (k *call) carryOut(at time.Duration) time.Duration {
	s, c := k.s, k.c
	from := len(k.out)
	k.failed, k.v3 = false, c.v3
	k.db = s.store.DB(c.db)
	cmd := c.last
	if cmd == nil || cmd.parent != nil || cmd.byName != nil || string(k.args[0]) != cmd.upper && string(k.args[0]) != cmd.name {
		if cmd = s.registry.find(k.args); cmd != nil {
			c.last = cmd
		}
	}
	k.cmd = cmd
	if reason := k.refuse(); reason != "" {
		k.fail(reason)
		if c.tx != nil && c.tx.open && cmd != nil && cmd.name != "exec" || c.tx != nil && c.tx.open && cmd == nil {
			c.tx.broken = true
		}
		if cmd != nil {
			s.count.calls[cmd.number].rejected++
		}
	} else if c.tx != nil && c.tx.open && !cmd.always {
		k.queue()
	} else {
		if len(s.monitor) > 0 {
			s.tellMonitors(k)
		}
		at = k.run(at)
	}
	if k.failed {
		s.noteError(k.out[from:])
	}
	if c.silent != answers {
		k.hush(from)
	}
	if len(k.after) > 0 {
		k.out, k.after = append(k.out, k.after...), k.after[:0]
	}
	return at
}

// run carries out the command, whatever it is, and whatever follows from it.
func (k *call) run(at time.Duration) time.Duration {
	s := k.s
	if len(s.origins) == 0 || !k.viaOrigin() {
		k.cmd.run(k)
	}
	if len(s.ready) > 0 && (k.c.tx == nil || !k.c.tx.open) { // not within a transaction
		s.serveWaiting()
	}
	if k.cmd.write {
		s.makeRoom()
	}
	if t := k.c.tracks; t != nil {
		if k.cmd.read && t.wants() {
			s.remember(k)
		}
		t.caching = t.caching && k.cmd.full == "client|caching"
	}
	s.count.commands++
	end := s.elapsed()
	took := (end - at).Microseconds()
	n := &s.count.calls[k.cmd.number]
	n.calls++
	n.micros += took
	if k.failed {
		n.failed++
	}
	if s.set.slowerThan >= 0 && took >= s.set.slowerThan && !k.cmd.has("blocking") {
		s.slowlog.add(s, k, took)
	}
	if s.set.latency > 0 && took >= s.set.latency*1000 {
		s.events.add("command", s.store.Now()/1000, took/1000)
	}
	return end
}

// makeRoom evicts what is too much.
func (s *Server) makeRoom() {
	if s.set.memory > 0 {
		for s.store.Over(0) && s.store.CanEvict() {
			s.store.Evict(0)
		}
	}
}

// refuse says why a command is not carried out; "": it is.
func (k *call) refuse() string {
	s, c, cmd := k.s, k.c, k.cmd
	switch {
	case cmd == nil:
		return s.registry.unknown(k.args)
	case !cmd.takes(len(k.args)) || cmd.run == nil:
		return wrongArity(cmd)
	case !c.known && !cmd.noAuth:
		return "NOAUTH Authentication required."
	}
	if !c.user.all && !cmd.noAuth {
		if reason := s.acl.check(c, cmd, k.args); reason != "" {
			return reason
		}
	}
	if cmd.write && s.keep != nil && s.keep.broken != nil {
		return s.keep.refused()
	}
	if s.sharding != nil {
		if reason := k.route(); reason != "" {
			return reason
		}
	}
	if cmd.grows && s.set.memory > 0 && s.store.Over(0) && !s.store.Evict(0) && !s.store.CanEvict() {
		return "OOM command not allowed when used memory > 'maxmemory'."
	}
	if c.subs != nil && !c.v3 && !cmd.pubsub && c.subs.n() > 0 {
		return "ERR Can't execute '" + strings.ToLower(cmd.full) + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
	}
	return ""
}

// noteError counts an error by its first word.
func (s *Server) noteError(answer []byte) {
	s.count.errors++
	word, _, _ := strings.Cut(strings.TrimPrefix(string(answer[:min(len(answer), 32)]), "-"), " ")
	if word = strings.TrimRight(word, "\r\n"); len(s.count.byError) < 100 || s.count.byError[word] > 0 {
		s.count.byError[word]++
	}
}

// hush takes an answer back that the client does not want.
func (k *call) hush(from int) {
	switch k.c.silent {
	case noAnswers, skipThis:
		k.out = k.out[:from]
	}
	switch k.c.silent {
	case skipThis:
		k.c.silent = answers
	case skipNext:
		k.c.silent = skipThis
	}
}

// changed tells whoever wants to know that a key has changed.
func (k *call) changed(key []byte, class notifyClass, event string) {
	k.s.keyChanged(k.c.db, key, k.c)
	if k.s.set.notify != 0 {
		k.s.notifyEvent(k.c.db, class, event, key)
	}
}

// deleted is changed for a key that is gone.
func (k *call) deleted(key []byte) { k.changed(key, classGeneric, "del") }

// keyChanged breaks the transactions that watch a key, and tells those that keep a copy of it. by is who changed it, nil:
// the server itself.
func (s *Server) keyChanged(db int, key []byte, by *client) {
	if len(s.origins) > 0 && by != nil {
		s.overtake(db, key)
	}
	if len(s.watched) > 0 {
		s.breakWatches(db, key)
	}
	if len(s.waiting) > 0 {
		s.disturb(watchKey{db, string(key)})
	}
	if s.track.any() {
		s.invalidate(key, by)
	}
	if s.sharding != nil {
		s.sharding.touched(key)
	}
}
