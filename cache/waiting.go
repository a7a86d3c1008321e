package cache

import (
	"bytes"
	"math"
	"slices"
	"time"
)

// watchKey is a key that somebody waits for, or watches.
type watchKey struct {
	db  int
	key string
}

// waiting is a client that waits until something can be taken from one of some keys.
type waiting struct {
	c     *client
	cmd   *command
	args  [][]byte
	keys  []watchKey
	until int64 // milliseconds since 1970; 0: for ever
	try   func(k *call, key []byte) bool
	// errors end the wait as well: the key that is waited for has become another, or is gone.
	errors bool
	give   func(k *call) // answers when the time is up; nil: with nothing
}

// timeout parses how long to wait, and returns until when: 0 for ever.
func (k *call) timeout(i int) (until int64, ok bool) {
	f, ok := parseFloat(k.args[i])
	switch {
	case !ok || f > math.MaxInt64/1000/2:
		k.fail("ERR timeout is not a float or out of range")
		return 0, false
	case f < 0:
		k.fail("ERR timeout is negative")
		return 0, false
	case f == 0:
		return 0, true
	}
	return k.s.store.Now() + int64(math.Ceil(f*1000)), true
}

// orWait tries the keys in turn, until one yields an answer. Where none does, and the command may wait, the client does.
func (k *call) orWait(may bool, keys [][]byte, until int64, try func(k *call, key []byte) bool) {
	for _, key := range keys {
		if try(k, key) {
			return
		}
	}
	if !may || k.c.tx != nil && k.c.tx.open {
		if k.cmd.name == "blmove" || k.cmd.name == "brpoplpush" {
			k.null()
		} else {
			k.nullArray()
		}
		return
	}
	w := &waiting{c: k.c, cmd: k.cmd, until: until, try: try}
	for _, a := range k.args {
		w.args = append(w.args, bytes.Clone(a))
	}
	for _, key := range keys {
		at := watchKey{k.c.db, string(key)}
		if all := k.s.waiting[at]; len(all) > 0 && all[len(all)-1] == w {
			continue // the key was named before
		}
		w.keys = append(w.keys, at)
		k.s.waiting[at] = append(k.s.waiting[at], w)
	}
	k.c.blocked, k.block = w, w
}

// timedOut answers that there was nothing.
func (k *call) timedOut() { k.nullArray() }

// signal notes that something has come to a key that others may wait for.
func (k *call) signal(key []byte) { k.signalIn(k.c.db, key) }

func (k *call) signalIn(db int, key []byte) {
	if len(k.s.waiting) == 0 {
		return
	}
	at := watchKey{db, string(key)}
	if len(k.s.waiting[at]) > 0 {
		k.s.ready = append(k.s.ready, at)
	}
}

// disturb has those who wait for a key look at it who end their wait when it is gone. The key may have changed, or be about to.
func (s *Server) disturb(at watchKey) {
	for _, w := range s.waiting[at] {
		if w.errors {
			s.ready = append(s.ready, at)
			return
		}
	}
}

// serveWaiting gives those who wait what has come, first come first served.
func (s *Server) serveWaiting() {
	for len(s.ready) > 0 {
		at := s.ready[0]
		s.ready = s.ready[1:]
		for _, w := range slices.Clone(s.waiting[at]) {
			k := call{s: s, c: w.c, db: s.store.DB(at.db), cmd: w.cmd, args: w.args, v3: w.c.v3}
			if w.try(&k, []byte(at.key)) && (!k.failed || w.errors) {
				s.wake(w, k.out)
			}
		}
	}
	s.ready = nil
}

// wake ends a wait with an answer.
func (s *Server) wake(w *waiting, answer []byte) {
	s.stopWaiting(w)
	s.send(w.c, answer)
	w.c.kick()
}

func (s *Server) stopWaiting(w *waiting) {
	w.c.blocked = nil
	for _, at := range w.keys {
		rest := slices.DeleteFunc(s.waiting[at], func(o *waiting) bool { return o == w })
		if len(rest) == 0 {
			delete(s.waiting, at)
		} else {
			s.waiting[at] = rest
		}
	}
}

// expireWaiting answers those who have waited for long enough, and returns until when the next one waits; 0: nobody does.
func (s *Server) expireWaiting(now time.Time) (next int64) {
	var over []*waiting
	for _, all := range s.waiting {
		for _, w := range all {
			switch {
			case w.until == 0:
			case w.until > now.UnixMilli():
				if next == 0 || w.until < next {
					next = w.until
				}
			case !slices.Contains(over, w):
				over = append(over, w)
			}
		}
	}
	for _, w := range over {
		k := call{s: s, c: w.c, cmd: w.cmd, v3: w.c.v3}
		if w.give != nil {
			w.give(&k)
		} else {
			k.timedOut()
		}
		s.wake(w, k.out)
	}
	return next
}
