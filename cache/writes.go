package cache

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/cache/keyspace"
)

// viaOrigin lets commands on keys that have an origin go their own way: reads may have to load, writes to write. It reports
// whether the command is done, or waits.
func (k *call) viaOrigin() (taken bool) {
	if k.cmd.name == "get" || k.cmd.name == "mget" {
		return k.readElsewhere() || k.loadMissing()
	}
	if !k.cmd.write {
		return false
	}
	var through []watchKey
	behind := false
	for _, i := range k.cmd.keysOf(k.args) {
		o := k.s.originOf(k.args[i])
		if o == nil || o.Write == writeOff {
			continue
		}
		if reason := k.unwritable(o, k.args[i]); reason != "" {
			k.fail(reason)
			return true
		}
		if behind = behind || o.Write == writeBehind; o.Write == writeThrough {
			through = append(through, watchKey{k.c.db, string(k.args[i])})
		}
	}
	switch {
	case len(through) > 0:
		k.writeThrough(through)
		return true
	case behind:
		k.cmd.run(k)
		if !k.failed {
			k.writeBehind()
		}
		return true
	}
	return false
}

// unwritable says why a command cannot be carried out on a key that is written to its origin; "": it can.
func (k *call) unwritable(o *origin, key []byte) string {
	name := strings.ToUpper(k.cmd.full)
	for _, kind := range strings.Fields(k.cmd.groups) {
		if slices.Contains([]string{"hash", "list", "set", "sortedset", "stream"}, kind) {
			return "ERR " + name + " is not supported on keys that are written to an origin: they are strings"
		}
	}
	if o.Write == writeBehind {
		if o.behind >= o.Behind && k.s.behind[watchKey{k.c.db, string(key)}] == nil {
			return "ORIGINERR too many keys wait to be written to the origin"
		}
		return ""
	}
	switch k.cmd.name {
	case "set":
		for i := 3; i < len(k.args); i++ {
			if k.is(i, "NX") || k.is(i, "XX") || k.is(i, "GET") {
				return "ERR SET with NX, XX or GET is not supported on keys that are written through to an origin"
			}
		}
	case "setex", "psetex", "del", "unlink":
	default:
		return "ERR " + name + " is not supported on keys that are written through to an origin: SET, SETEX, PSETEX, DEL and UNLINK are"
	}
	if k.c.tx != nil && k.c.tx.open {
		return "ERR " + name + " of a key that is written through to an origin is not supported in a transaction, which cannot wait"
	}
	return ""
}

// valueArg is the value that a command stores, nil where it deletes.
func (k *call) valueArg() []byte {
	switch k.cmd.name {
	case "set":
		return k.args[2]
	case "setex", "psetex":
		return k.args[3]
	}
	return nil
}

// through is a command that waits until the origin has what it writes.
type through struct {
	w    *waiting
	v3   bool
	db   int
	left int
	err  error
}

// writeThrough has the origin get what a command writes, and the client wait for it. The command is carried out when the
// origin has it. Writes of one key are sent one after the other.
func (k *call) writeThrough(keys []watchKey) {
	s := k.s
	value := bytes.Clone(k.valueArg())
	if k.valueArg() != nil && !k.fits(k.args[1], len(value)) {
		return
	}
	t := &through{w: &waiting{c: k.c, cmd: k.cmd}, v3: k.v3, db: k.c.db, left: len(keys)}
	for _, a := range k.args {
		t.w.args = append(t.w.args, bytes.Clone(a))
	}
	for _, at := range keys {
		s.enqueue(&write{at: at, o: s.originOf([]byte(at.key)), value: value, done: func(err error) {
			if err != nil {
				t.err = fmt.Errorf("writing %s: %w", quoteKey(at.key), err)
			}
			if t.left--; t.left == 0 {
				s.endThrough(t, keys)
			}
		}})
	}
	k.c.blocked, k.block = t.w, t.w
}

// endThrough carries a command out that the origin has agreed to, or answers that it did not. What the origin has then is not
// known: it is loaded when it is asked for.
func (s *Server) endThrough(t *through, keys []watchKey) {
	k := call{s: s, c: t.w.c, db: s.store.DB(t.db), cmd: t.w.cmd, args: t.w.args, v3: t.v3}
	if t.err != nil {
		for _, at := range keys {
			if k.db.Delete([]byte(at.key)) {
				s.keyChanged(at.db, []byte(at.key), nil)
			}
		}
		k.fail("ORIGINERR " + t.err.Error())
		s.noteError(k.out)
	} else if reason := k.stillHere(); reason != "" { // the client repeats it where the key is now
		k.fail(reason)
	} else {
		k.cmd.run(&k)
		for _, at := range keys {
			s.expireLater(at)
		}
		s.makeRoom()
	}
	if t.w.c.blocked == t.w {
		s.wake(t.w, k.out)
	}
}

// expireLater gives a key that comes from an origin, and has no expiry, that of one that was loaded.
func (s *Server) expireLater(at watchKey) {
	db, key := s.store.DB(at.db), []byte(at.key)
	if e, there := db.Find(key); there && e.Expiry() == 0 {
		db.SetExpiry(key, s.originOf(key).expiry(s.store.Now()))
	}
}

// write is a value on its way to an origin.
type write struct {
	at    watchKey
	o     *origin
	value []byte // nil: the key is deleted
	done  func(error)
}

// enqueue sends a write when those of the same key that came before have ended.
func (s *Server) enqueue(w *write) {
	s.writing[w.at] = append(s.writing[w.at], w)
	if len(s.writing[w.at]) == 1 {
		s.begin(w)
	}
}

func (s *Server) begin(w *write) {
	ticket, err := w.o.admit(s.elapsed())
	if err != nil {
		s.outside.Go(func() { // like one that was sent, so that done is never called by who waits for it
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ended(w, err)
		})
		return
	}
	s.outside.Go(func() {
		err, refused := w.o.write(s.away, w.at.key, w.value)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.store.SetNow(time.Now().UnixMilli())
		w.o.release(s.elapsed(), ticket, err != nil && !refused)
		w.o.writes++
		s.ended(w, err)
	})
}

// ended tells of a write that has ended, and begins the next one of its key.
func (s *Server) ended(w *write, err error) {
	if l := s.loads[w.at]; l != nil {
		l.overtaken = true // it may have seen what was before
	}
	delete(s.missing, w.at)
	w.done(err)
	queue := s.writing[w.at][1:]
	if len(queue) == 0 {
		delete(s.writing, w.at)
		return
	}
	s.writing[w.at] = queue
	s.begin(queue[0])
}

// write sends a value to the origin. refused: it will not have this one, and is not broken for that.
func (o *origin) write(ctx context.Context, key string, value []byte) (err error, refused bool) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	method := http.MethodPut
	if value == nil {
		method = http.MethodDelete
	}
	resp, err := o.request(ctx, method, key, value)
	if err != nil {
		return err, false
	}
	defer resp.Body.Close()
	drain(resp.Body)
	code := resp.StatusCode
	gone := value == nil && (code == http.StatusNotFound || code == http.StatusGone)
	if code/100 == 2 || gone {
		return nil, false
	}
	return fmt.Errorf("the origin answered %s", resp.Status), code/100 == 4 && code != http.StatusTooManyRequests
}

// pending is a key whose value the origin does not have yet.
type pending struct {
	o       *origin
	value   []byte // nil: the key is deleted
	due     time.Duration
	sent    bool // it is on its way
	newer   bool // and has changed since
	retries int
}

// maxRetries is how often a write behind is sent again before it is given up.
const maxRetries = 10

// writeBehind notes what a command has left under its keys, for the origin.
func (k *call) writeBehind() {
	s := k.s
	for _, i := range k.cmd.keysOf(k.args) {
		o := s.originOf(k.args[i])
		if o == nil || o.Write != writeBehind {
			continue
		}
		at := watchKey{k.c.db, string(k.args[i])}
		p := s.behind[at]
		if p == nil {
			p = &pending{o: o, due: s.elapsed() + o.Delay}
			s.behind[at] = p
			o.behind++
		}
		p.value, p.newer, p.retries = nil, p.sent, 0
		if e, there := k.db.Find(k.args[i]); there && e.Kind() == keyspace.String {
			p.value = append([]byte{}, e.Bytes()...)
		}
		s.expireLater(at)
		delete(s.missing, at)
	}
}

// sendBehind sends what is due to the origins; with all whatever waits.
func (s *Server) sendBehind(all bool) {
	now := s.elapsed()
	for at, p := range s.behind {
		if p.sent || p.due > now && !all {
			continue
		}
		if p.o.admitted >= p.o.Concurrency && !all {
			continue // its turn comes
		}
		p.sent, p.newer = true, false
		s.enqueue(&write{at: at, o: p.o, value: p.value, done: func(err error) { s.sentBehind(at, p, err) }})
	}
}

func (s *Server) sentBehind(at watchKey, p *pending, err error) {
	p.sent = false
	switch {
	case err == nil && !p.newer:
		delete(s.behind, at)
		p.o.behind--
	case err == nil:
		p.due = s.elapsed() + p.o.Delay
	case p.retries >= maxRetries:
		s.cfg.Log.Error("a write behind was given up: the origin does not have it", "key", at.key, "error", err)
		delete(s.behind, at)
		p.o.behind--
		p.o.lost++
	default:
		p.due = s.elapsed() + min(p.o.Delay<<p.retries, time.Minute)
		p.retries++
		s.cfg.Log.Warn("a write behind has failed, and is sent again", "key", at.key, "error", err)
	}
}

// closeOrigins sends what waits to be written, for a while, and waits until nothing is under way.
func (s *Server) closeOrigins() {
	if len(s.origins) == 0 {
		s.recall()
		s.outside.Wait()
		return
	}
	s.mu.Lock()
	s.sendBehind(true)
	s.mu.Unlock()
	patience := time.AfterFunc(closePatience, s.recall)
	s.outside.Wait()
	patience.Stop()
	s.recall()
	s.mu.Lock()
	if n := len(s.behind); n > 0 {
		s.cfg.Log.Error("keys were not written to their origins before the end", "keys", n)
	}
	s.mu.Unlock()
	for _, o := range s.origins {
		o.client.CloseIdleConnections()
	}
}

// closePatience is how long the end waits for what is to be written to origins.
const closePatience = 5 * time.Second
