package cache

import (
	"bytes"
	"slices"
	"time"
)

var transactionCommands = []command{
	{name: "multi", arity: 1, flags: "fast unqueued", groups: "transaction", run: (*call).multi},
	{name: "exec", arity: 1, flags: "unqueued", groups: "transaction", run: (*call).exec},
	{name: "discard", arity: 1, flags: "fast unqueued", groups: "transaction", run: (*call).discard},
	{name: "watch", arity: -2, flags: "fast unqueued", first: 1, last: -1, step: 1, groups: "transaction", run: (*call).watch},
	{name: "unwatch", arity: 1, flags: "fast", groups: "transaction", run: (*call).unwatch},
}

// transaction of a client.
type transaction struct {
	open    bool // MULTI was called
	broken  bool // a command could not be queued
	dirty   bool // a key that is watched has changed
	queued  []queued
	bytes   int // of what is queued
	watched []watchKey
}

type queued struct {
	cmd  *command
	args [][]byte
}

func (c *client) transaction() *transaction {
	if c.tx == nil {
		c.tx = &transaction{}
	}
	return c.tx
}

func (k *call) multi() {
	tx := k.c.transaction()
	if tx.open {
		k.fail("ERR MULTI calls can not be nested")
		return
	}
	tx.open = true
	k.ok()
}

// queue keeps a command for EXEC. What a client may have queued is bounded as one command is: beyond that it is closed, as Redis does.
func (k *call) queue() {
	tx := k.c.tx
	q := queued{cmd: k.cmd, args: make([][]byte, len(k.args))}
	for _, a := range k.args {
		tx.bytes += len(a) + queuedArg
	}
	if tx.bytes > k.s.set.queryLimit {
		k.s.cfg.Log.Warn("closing a client whose transaction is too long", "client", k.c.from.String(), "bytes", tx.bytes)
		k.c.closing = true
		return
	}
	for i, a := range k.args {
		q.args[i] = bytes.Clone(a)
	}
	tx.queued = append(tx.queued, q)
	k.simple("QUEUED")
}

// queuedArg is about what an argument takes beside its bytes.
const queuedArg = 40

func (k *call) exec() {
	c := k.c
	if c.tx == nil || !c.tx.open {
		k.fail("ERR EXEC without MULTI")
		return
	}
	for _, w := range c.tx.watched {
		k.s.store.DB(w.db).Find([]byte(w.key)) // one that has expired breaks the transaction now
	}
	tx := c.tx
	if tx.broken {
		k.s.endTransaction(c)
		k.fail("EXECABORT Transaction discarded because of previous errors.")
		return
	}
	if tx.dirty {
		k.s.endTransaction(c)
		k.nullArray()
		return
	}
	k.s.forgetWatches(c)
	cmd, args := k.cmd, k.args
	k.array(len(tx.queued))
	at := k.s.elapsed()
	for _, q := range tx.queued {
		from := len(k.out)
		k.cmd, k.args, k.failed = q.cmd, q.args, false
		k.db, k.v3 = k.s.store.DB(c.db), c.v3
		if q.cmd.grows && k.s.set.memory > 0 && k.s.store.Over(0) && !k.s.store.Evict(0) && !k.s.store.CanEvict() {
			k.fail("OOM command not allowed when used memory > 'maxmemory'.")
		} else if q.cmd.write && k.s.keep != nil && k.s.keep.broken != nil {
			k.fail(k.s.keep.refused())
		} else {
			at = k.carry(at)
		}
		if k.failed {
			k.s.noteError(k.out[from:])
		}
	}
	k.cmd, k.args, k.failed = cmd, args, false
	c.tx = nil
}

// carry carries out a command of a transaction.
func (k *call) carry(at time.Duration) time.Duration {
	if len(k.s.monitor) > 0 {
		k.s.tellMonitors(k)
	}
	return k.run(at)
}

func (k *call) discard() {
	if k.c.tx == nil || !k.c.tx.open {
		k.fail("ERR DISCARD without MULTI")
		return
	}
	k.s.endTransaction(k.c)
	k.ok()
}

func (k *call) watch() {
	tx := k.c.transaction()
	if tx.open {
		k.fail("ERR WATCH inside MULTI is not allowed")
		return
	}
	for _, key := range k.args[1:] {
		k.db.Find(key) // one that has expired is gone before it is watched
		w := watchKey{k.c.db, string(key)}
		if !slices.Contains(k.s.watched[w], k.c) { // few watch a key, and one may watch many
			tx.watched = append(tx.watched, w)
			k.s.watched[w] = append(k.s.watched[w], k.c)
		}
	}
	k.ok()
}

// endTransaction ends a client's transaction and what it watches.
func (s *Server) endTransaction(c *client) {
	if c.tx != nil {
		s.forgetWatches(c)
		c.tx = nil
	}
}

func (k *call) unwatch() {
	if k.c.tx != nil {
		k.s.forgetWatches(k.c)
		k.c.tx.dirty = false
	}
	k.ok()
}

func (s *Server) forgetWatches(c *client) {
	for _, w := range c.tx.watched {
		rest := slices.DeleteFunc(s.watched[w], func(o *client) bool { return o == c })
		if len(rest) == 0 {
			delete(s.watched, w)
		} else {
			s.watched[w] = rest
		}
	}
	c.tx.watched = nil
}

// breakWatches makes the transactions fail that watch a key.
func (s *Server) breakWatches(db int, key []byte) {
	for _, c := range s.watched[watchKey{db, string(key)}] {
		c.tx.dirty = true
	}
}

// flushed tells of a database whose keys are about to go, or to be others.
func (s *Server) flushed(db int) {
	for w, clients := range s.watched {
		if w.db != db {
			continue
		}
		if _, there := s.store.DB(db).Find([]byte(w.key)); there {
			for _, c := range clients {
				c.tx.dirty = true
			}
		}
	}
	for at := range s.waiting {
		if at.db == db {
			s.disturb(at)
		}
	}
	for _, l := range s.loads {
		l.overtaken = true
	}
	clear(s.missing)
	if s.sharding != nil {
		s.sharding.tellAllHolders()
	}
	s.invalidateAll()
}

// later frees memory beside what the server does; Run waits for it.
func (s *Server) later(free func() error) {
	s.freeing.Go(func() {
		if err := free(); err != nil {
			s.cfg.Log.Warn("giving memory back", "error", err)
		}
	})
}
