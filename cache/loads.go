package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/policy"
)

// load is a key that is being loaded from its origin: one for all who ask for it.
type load struct {
	at        watchKey
	o         *origin
	ticket    policy.Ticket
	waiters   []*loading
	overtaken bool // the key was changed meanwhile: what is loaded is for those who wait, and is not kept
}

// loading is a command that waits for one or several loads.
type loading struct {
	w     *waiting
	v3    bool
	left  int
	found map[string]loaded
	track bool // the client wants to hear when what it has read changes
}

// loaded is what came of a load.
type loaded struct {
	value   []byte
	missing bool
	keep    bool // it may be stored
	tags    [][]byte
	err     error
}

// missing remembers keys that the origin does not have, and until when, in milliseconds since 1970. It is bounded: where it is
// full, some go.
type missing map[watchKey]int64

const maxMissing = 65536

func (m missing) add(at watchKey, until int64) {
	for other := range m {
		if len(m) < maxMissing {
			break
		}
		delete(m, other)
	}
	m[at] = until
}

func (m missing) has(at watchKey, now int64) bool {
	until, ok := m[at]
	if ok && until <= now {
		delete(m, at)
		return false
	}
	return ok
}

// loadMissing has GET and MGET wait for what has to be loaded, and reports whether they do, or have been answered. Within a
// transaction, which cannot wait, they find what is there.
func (k *call) loadMissing() (taken bool) {
	if k.c.tx != nil && k.c.tx.open {
		return false
	}
	s := k.s
	var wanted map[watchKey]*origin
	for _, key := range k.args[1:] {
		if o := s.originOf(key); o != nil && k.mustLoad(o, key) {
			if wanted == nil {
				wanted = map[watchKey]*origin{}
			}
			wanted[watchKey{k.c.db, string(key)}] = o
		}
	}
	if len(wanted) == 0 {
		return false
	}
	l := &loading{w: &waiting{c: k.c, cmd: k.cmd}, v3: k.v3, left: len(wanted), found: map[string]loaded{}, track: k.c.tracks != nil && k.c.tracks.wants()}
	for at, o := range wanted {
		s.store.Misses++
		if err := s.join(at, o, l); err != nil {
			k.fail("ORIGINERR loading " + quoteKey(at.key) + ": " + err.Error())
			return true // loads that were begun go on for others
		}
	}
	for _, a := range k.args {
		l.w.args = append(l.w.args, bytes.Clone(a))
	}
	k.c.blocked, k.block = l.w, l.w
	return true
}

// quoteKey writes a key for an error, which is one line.
func quoteKey(key string) string { return fmt.Sprintf("%.100q", key) }

// mustLoad reports whether a key has to be loaded before it can be answered. One that is there and is stale, or nearly, is
// loaded beside.
func (k *call) mustLoad(o *origin, key []byte) bool {
	s := k.s
	now := s.store.Now()
	at := watchKey{k.c.db, string(key)}
	e, there := k.db.Find(key)
	if !there {
		if p := s.behind[at]; p != nil { // it was evicted before the origin had it
			if p.value != nil {
				k.db.SetString(key, p.value, o.expiry(now))
			}
			return false
		}
		return !s.missing.has(at, now)
	}
	if e.Kind() == keyspace.String && e.Expiry() > 0 && s.loads[at] == nil && s.behind[at] == nil {
		fresh := time.Duration(e.Expiry()-now)*time.Millisecond - o.Stale
		if fresh <= 0 || o.Early > 0 && policy.RefreshEarly(fresh, o.took, o.Early, s.chance()) {
			o.refreshes++
			_ = s.join(at, o, nil) // where it cannot be loaded, the stale value has to do
		}
	}
	return false
}

// join has somebody (nil: nobody) wait for a load, which is begun if there is none.
func (s *Server) join(at watchKey, o *origin, who *loading) error {
	l := s.loads[at]
	if l == nil {
		ticket, err := o.admit(s.elapsed())
		if err != nil {
			return err
		}
		l = &load{at: at, o: o, ticket: ticket}
		s.loads[at] = l
		s.outside.Go(func() { s.carryOutLoad(l) })
	}
	if who != nil {
		l.waiters = append(l.waiters, who)
	}
	return nil
}

// carryOutLoad asks the origin. It is a goroutine of its own, bounded by admit.
func (s *Server) carryOutLoad(l *load) {
	began := time.Now()
	got := l.o.load(s.away, l.at.key)
	took := time.Since(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.SetNow(time.Now().UnixMilli())
	l.o.release(s.elapsed(), l.ticket, got.err != nil)
	l.o.loads++
	if got.err == nil {
		if l.o.took == 0 {
			l.o.took = took
		}
		l.o.took += (took - l.o.took) / 8
	} else {
		s.cfg.Log.Debug("loading from the origin", "key", l.at.key, "error", got.err)
	}
	delete(s.loads, l.at)
	if !l.overtaken {
		s.keepLoaded(l, got)
	}
	for _, who := range l.waiters {
		who.found[l.at.key] = got
		if who.left--; who.left == 0 {
			s.answerLoading(who)
		}
	}
}

// keepLoaded stores what was loaded.
func (s *Server) keepLoaded(l *load, got loaded) {
	key, db := []byte(l.at.key), s.store.DB(l.at.db)
	e, there := db.Find(key)
	switch {
	case got.err != nil || there && e.Kind() != keyspace.String || !s.sharding.mayKeep(key):
		return
	case got.missing:
		if there {
			db.Delete(key)
			s.keyChanged(l.at.db, key, nil)
		}
		if l.o.Missing > 0 {
			s.missing.add(l.at, s.store.Now()+l.o.Missing.Milliseconds())
		}
		return
	case !got.keep || len(key) > keyspace.MaxKey || s.keep != nil && s.keep.broken != nil:
		return
	}
	changed := !there || !bytes.Equal(e.Bytes(), got.value)
	for s.set.memory > 0 && s.store.Over(len(got.value)+len(key)) && s.store.CanEvict() {
		s.store.Evict(len(got.value) + len(key))
	}
	if s.store.Over(len(got.value) + len(key)) {
		return // there is no room for it, and nothing to go for it
	}
	db.SetString(key, got.value, l.o.expiry(s.store.Now()))
	if _, err := db.Tag(key, got.tags...); err != nil {
		db.Delete(key) // it could not be invalidated
		s.cfg.Log.Warn("an answer of the origin is not kept", "key", l.at.key, "error", err)
	}
	if changed {
		s.keyChanged(l.at.db, key, nil)
	}
}

// answerLoading answers a command whose loads have ended.
func (s *Server) answerLoading(l *loading) {
	if l.w.c.blocked != l.w {
		return // it did not wait for so long
	}
	k := call{s: s, c: l.w.c, cmd: l.w.cmd, args: l.w.args, v3: l.v3}
	for key, got := range l.found {
		if got.err != nil {
			k.fail("ORIGINERR loading " + quoteKey(key) + ": " + got.err.Error())
			s.noteError(k.out)
			s.wake(l.w, k.out)
			return
		}
	}
	if l.w.cmd.name == "mget" {
		k.array(len(l.w.args) - 1)
	}
	db := s.store.DB(l.w.c.db)
	for _, key := range l.w.args[1:] {
		if got, ok := l.found[string(key)]; ok {
			if got.missing {
				k.null()
			} else {
				k.bulk(got.value)
			}
			continue
		}
		e, there := db.Get(key)
		k.value(e, there && e.Kind() == keyspace.String)
	}
	if l.track && k.c.tracks != nil {
		s.remember(&k) // it may have been forgotten when what was loaded was stored
	}
	s.wake(l.w, k.out)
}

// load asks the origin for a key.
func (o *origin) load(ctx context.Context, key string) loaded {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	resp, err := o.request(ctx, http.MethodGet, key, nil)
	if err != nil {
		return loaded{err: err}
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNonAuthoritativeInfo:
	case http.StatusNotFound, http.StatusGone:
		drain(resp.Body)
		return loaded{missing: true}
	default:
		drain(resp.Body)
		return loaded{err: fmt.Errorf("the origin answered %s", resp.Status)}
	}
	value, err := io.ReadAll(io.LimitReader(resp.Body, o.MaxValue+1))
	switch {
	case err != nil:
		return loaded{err: o.explain(ctx, err)}
	case int64(len(value)) > o.MaxValue:
		return loaded{err: fmt.Errorf("the origin's answer is longer than %d bytes", o.MaxValue)}
	}
	return loaded{value: value, keep: keepable(resp.Header), tags: tagsIn(resp.Header)}
}

// request sends a request when there is a place for it. The place is free again when it is done.
func (o *origin) request(ctx context.Context, method, key string, body []byte) (*http.Response, error) {
	u, err := o.urlOf(key)
	if err != nil {
		return nil, err
	}
	select {
	case o.places <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("there was no turn for it within %v", o.Timeout)
	}
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		<-o.places
		return nil, err
	}
	for name, values := range o.Header {
		req.Header[name] = values
	}
	resp, err := o.client.Do(req)
	if err != nil {
		<-o.places
		return nil, o.explain(ctx, err)
	}
	resp.Body = &placed{resp.Body, o}
	return resp, nil
}

// placed is a body that gives its place free when it is closed.
type placed struct {
	io.ReadCloser
	o *origin
}

func (p *placed) Close() error {
	err := p.ReadCloser.Close()
	<-p.o.places
	return err
}

// explain says what went wrong in words that mean something to a client of the cache.
func (o *origin) explain(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the origin did not answer within %v", o.Timeout)
	}
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err // where the origin is does not concern who uses the cache
	}
	return err
}

// drain reads what is left of a short answer, so that its connection can be used again.
func drain(r io.Reader) { _, _ = io.CopyN(io.Discard, r, 64<<10) }

// keepable reports whether an answer may be stored.
func keepable(h http.Header) bool {
	for _, line := range h.Values("Cache-Control") {
		for word := range strings.SplitSeq(strings.ToLower(line), ",") {
			if word = strings.TrimSpace(word); word == "no-store" || word == "private" {
				return false
			}
		}
	}
	return true
}

// overtake notes that a key has changed: what is known of it from its origin, or being loaded, is older.
func (s *Server) overtake(db int, key []byte) {
	at := watchKey{db, string(key)}
	if l := s.loads[at]; l != nil {
		l.overtaken = true
	}
	delete(s.missing, at)
}

// tagsIn are the tags that an answer names: Cache-Tag separates them by commas, Surrogate-Key by spaces.
func tagsIn(h http.Header) (tags [][]byte) {
	for _, line := range h.Values("Cache-Tag") {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, []byte(tag))
			}
		}
	}
	for _, line := range h.Values("Surrogate-Key") {
		for tag := range strings.FieldsSeq(line) {
			tags = append(tags, []byte(tag))
		}
	}
	return tags
}
