package cache

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// service is an origin that tests control.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	values map[string]string
	gate   chan struct{} // nil: requests are answered at once
	status atomic.Int64  // 0: as it should be
	header http.Header
	asked  atomic.Int64
	writes []string
}

func newService(t *testing.T) *service {
	s := &service{values: map[string]string{}, header: http.Header{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if code := s.status.Load(); code != 0 {
		w.WriteHeader(int(code))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/items/")
	switch r.Method {
	case http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		s.values[key] = string(body)
		s.writes = append(s.writes, key+"="+string(body))
	case http.MethodDelete:
		delete(s.values, key)
		s.writes = append(s.writes, key+" deleted")
	default:
		v, ok := s.values[key]
		for name, values := range s.header {
			w.Header()[name] = values
		}
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, v)
	}
}

func (s *service) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

func (s *service) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.gate)
	s.gate = nil
}

func (s *service) set(key, value string) { s.mu.Lock(); defer s.mu.Unlock(); s.values[key] = value }

func (s *service) value(key string) string { s.mu.Lock(); defer s.mu.Unlock(); return s.values[key] }

func (s *service) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.writes, ", ")
}

// origin is that of the service, with time for a busy machine unless a test wants less.
func (s *service) origin(o Origin) Origin {
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	o.Keys, o.URL = "item:*", s.URL+"/items/{key}"
	return o
}

// A thousand clients that miss the same key at once make one load, and get what it yields; others are served meanwhile.
func TestStampede(t *testing.T) {
	from := newService(t)
	from.set("5", "five")
	s := startServer(t, Config{Origins: []Origin{from.origin(Origin{})}})
	from.hold()
	const clients = 1000
	all := make([]*conn, clients)
	for i := range all {
		all[i] = dial(t, s.Addr().String())
		all[i].send("get", "item:5")
	}
	waitFor(t, func() bool { return blocked(s) == clients })
	other := dial(t, s.Addr().String())
	if got := other.doLine("set x 1"); got != "OK" {
		t.Error("while the origin takes its time, set is answered", got)
	}
	from.free()
	for _, c := range all {
		if got := c.read(); got != `"five"` {
			t.Fatal("answered", got)
		}
	}
	if n := from.asked.Load(); n != 1 {
		t.Errorf("%d clients made %d loads", clients, n)
	}
	if got := other.doLine("mget item:5 x item:none item:5"); got != `["five" "1" nil "five"]` || from.asked.Load() != 2 {
		t.Errorf("mget is answered %s after %d loads", got, from.asked.Load())
	}
}

func TestReadThrough(t *testing.T) {
	from := newService(t)
	from.set("1", "one")
	from.set("a b/c?", "odd")
	s := startServer(t, Config{Origins: []Origin{from.origin(Origin{TTL: time.Hour, Stale: time.Hour, Missing: time.Hour, MaxValue: 1000})}})
	c := dial(t, s.Addr().String())
	for _, step := range []struct {
		do, want string
		loads    int64 // so far
	}{
		{"get other", "nil", 0},
		{"get item:1", `"one"`, 1},
		{"get item:1", `"one"`, 1},
		{"get item:2", "nil", 2},
		{"get item:2", "nil", 2}, // it is remembered that there is none
		{"set item:2 mine", "OK", 2},
		{"get item:2", `"mine"`, 2},
		{"del item:2", "1", 2},
		{"get item:2", "nil", 3},
		{"get item:..", `-ORIGINERR loading "item:..": ".." cannot be part of a path`, 3},
		{"get item:", `-ORIGINERR loading "item:": "" cannot be part of a path`, 3},
		{"hset item:h f v", "1", 3},
		{"get item:h", "-WRONGTYPE Operation against a key holding the wrong kind of value", 3},
		{"flushall", "OK", 3},
		{"get item:1", `"one"`, 4},
		{"multi", "OK", 4},
		{"get item:1", "QUEUED", 4},
		{"get item:3", "QUEUED", 4},
		{"exec", `["one" nil]`, 4}, // a transaction does not wait
		{"get", "-ERR wrong number of arguments for 'get' command", 4},
	} {
		if got := c.doLine(step.do); got != step.want || from.asked.Load() != step.loads {
			t.Fatalf("%s: %s after %d loads, want %s after %d", step.do, got, from.asked.Load(), step.want, step.loads)
		}
	}
	if got := c.do("get", "item:a b/c?"); got != `"odd"` {
		t.Error("a key that has to be escaped:", got)
	}
	if got := c.doLine("ttl item:1"); !isLeft(got, "7200") {
		t.Error("a loaded key expires after", got)
	}
	from.set("big", strings.Repeat("x", 1001))
	if got := c.doLine("get item:big"); got != `-ORIGINERR loading "item:big": the origin's answer is longer than 1000 bytes` {
		t.Error(got)
	}
	from.mu.Lock()
	from.header.Set("Cache-Control", "max-age=0, no-store")
	from.mu.Unlock()
	from.set("private", "x")
	before := from.asked.Load()
	if got := c.doLine("get item:private") + c.doLine("get item:private"); got != `"x""x"` || from.asked.Load() != before+2 {
		t.Errorf("what is not to be stored: %s after %d loads", got, from.asked.Load()-before)
	}
	if info := c.do("info", "origins"); !strings.Contains(info, "origin0:keys=item:*,loads=") {
		t.Error(info)
	}
}

// A key that changes while it is being loaded is not overwritten by what was loaded.
func TestLoadIsOvertaken(t *testing.T) {
	from := newService(t)
	from.set("1", "old")
	s := startServer(t, Config{Origins: []Origin{from.origin(Origin{})}})
	a, b := dial(t, s.Addr().String()), dial(t, s.Addr().String())
	from.hold()
	a.send("get", "item:1")
	waitFor(t, func() bool { return from.asked.Load() == 1 })
	b.doLine("set item:1 new")
	from.free()
	if got := a.read(); got != `"old"` {
		t.Error("who asked before gets", got)
	}
	if got := b.doLine("get item:1"); got != `"new"` {
		t.Error("who asks later gets", got)
	}
}

// A stale value is served while it is loaded anew, once; also where the origin fails. With early, some do it before.
func TestStale(t *testing.T) {
	from := newService(t)
	from.set("1", "one")
	s := startServer(t, Config{Origins: []Origin{from.origin(Origin{TTL: time.Millisecond, Stale: time.Hour})}})
	c := dial(t, s.Addr().String())
	c.doLine("get item:1")
	s.mu.Lock()
	was, _ := s.store.DB(0).Find([]byte("item:1"))
	expiry := was.Expiry()
	s.mu.Unlock()
	from.set("1", "two")
	waitFor(t, func() bool { return time.Now().UnixMilli() > expiry-time.Hour.Milliseconds() })
	from.hold()
	for range 5 {
		if got := c.doLine("get item:1"); got != `"one"` {
			t.Fatal("a stale value:", got)
		}
	}
	from.free()
	waitFor(t, func() bool { return c.doLine("get item:1") == `"two"` })
	from.status.Store(503)
	waitFor(t, func() bool {
		return strings.Contains(c.do("info", "origins"), "breaker=open") || c.doLine("get item:1") == ""
	})
	if got := c.doLine("get item:1"); got != `"two"` {
		t.Error("while the origin fails:", got)
	}

	early := startServer(t, Config{Origins: []Origin{from.origin(Origin{TTL: time.Hour, Early: 1})}})
	from.status.Store(0)
	c = dial(t, early.Addr().String())
	c.doLine("get item:1")
	early.mu.Lock()
	early.origins[0].took = time.Minute
	early.chance = func() float64 { return 1 - 1e-9 } // 21 times what a load takes
	early.mu.Unlock()
	asked := from.asked.Load()
	c.doLine("get item:1")
	early.mu.Lock()
	if early.origins[0].refreshes != 0 {
		t.Error("loaded too early")
	}
	early.origins[0].took = 3 * time.Minute
	early.mu.Unlock()
	c.doLine("get item:1")
	waitFor(t, func() bool { return from.asked.Load() == asked+1 })
}

// An origin that fails or is slow is an error for those who ask, not for others; it is left alone, and tried again.
func TestOriginFails(t *testing.T) {
	from := newService(t)
	from.set("1", "one")
	o := from.origin(Origin{Concurrency: 1, Waiting: 1})
	o.Breaker = topology.Breaker{Failures: 3, Open: topology.Duration(time.Millisecond), MaxOpen: topology.Duration(time.Millisecond)}
	hasty := o
	hasty.Timeout = 50 * time.Millisecond
	s, impatient := startServer(t, Config{Origins: []Origin{o}}), startServer(t, Config{Origins: []Origin{hasty}})
	c := dial(t, s.Addr().String())
	from.status.Store(500)
	if got := c.doLine("get item:1"); got != `-ORIGINERR loading "item:1": the origin answered 500 Internal Server Error` {
		t.Error(got)
	}
	if got := c.doLine("mget x item:1"); !strings.HasPrefix(got, "-ORIGINERR") {
		t.Error(got)
	}
	from.status.Store(0)
	from.hold()
	if got := dial(t, impatient.Addr().String()).doLine("get item:1"); got != `-ORIGINERR loading "item:1": the origin did not answer within 50ms` {
		t.Error(got)
	}
	from.free()
	waitFor(t, func() bool { return c.doLine("get item:1") == `"one"` }) // once the breaker lets a probe pass
	from.hold()
	d, e := dial(t, s.Addr().String()), dial(t, s.Addr().String())
	c.send("get", "item:2")
	d.send("get", "item:3")
	waitFor(t, func() bool { return blocked(s) == 2 })
	if got := e.doLine("get item:4"); got != `-ORIGINERR loading "item:4": 1 requests to the origin wait already` {
		t.Error(got)
	}
	from.free()
	c.read()
	d.read()
}

func TestWriteThrough(t *testing.T) {
	from := newService(t)
	s := startServer(t, Config{Origins: []Origin{from.origin(Origin{TTL: time.Hour, Write: writeThrough})}})
	c := dial(t, s.Addr().String())
	script(t, s.Addr().String(), `
		a: set item:1 one
		> OK
		a: get item:1
		> "one"
		a: ttl item:1
		> about 3600
		a: setex item:2 100 two
		> OK
		a: ttl item:2
		> about 100
		a: del item:1 item:2 other
		> 2
		a: get item:1
		> nil
		a: set item:1 x nx
		> -ERR SET with NX, XX or GET is not supported on keys that are written through to an origin
		a: incr item:1
		> -ERR INCR is not supported on keys that are written through to an origin: SET, SETEX, PSETEX, DEL and UNLINK are
		a: lpush item:1 x
		> -ERR LPUSH is not supported on keys that are written to an origin: they are strings
		a: multi
		a: set item:1 x
		a: exec
		> [-ERR SET of a key that is written through to an origin is not supported in a transaction, which cannot wait]
	`)
	got := strings.Split(from.written(), ", ")
	slices.Sort(got[2:]) // keys of one command are written at the same time
	if got, want := strings.Join(got, ", "), "1=one, 2=two, 1 deleted, 2 deleted"; got != want {
		t.Errorf("the origin got %s, want %s", got, want)
	}
	// What the origin refuses is not stored, and what was there is forgotten.
	c.doLine("set item:3 good")
	from.status.Store(500)
	if got := c.doLine("set item:3 bad"); got != `-ORIGINERR writing "item:3": the origin answered 500 Internal Server Error` {
		t.Error(got)
	}
	from.status.Store(0)
	if got := c.doLine("get item:3"); got != `"good"` {
		t.Error("after a write that failed:", got)
	}
	// Writes of one key come to the origin in the order in which they were asked for.
	from.hold()
	clients := make([]*conn, 20)
	for i := range clients {
		clients[i] = dial(t, s.Addr().String())
		clients[i].send("set", "item:9", fmt.Sprint(i))
		waitFor(t, func() bool { return blocked(s) == i+1 })
	}
	from.free()
	for _, c := range clients {
		if got := c.read(); got != "OK" {
			t.Error(got)
		}
	}
	if got := c.doLine("get item:9"); got != `"19"` || from.value("9") != "19" {
		t.Errorf("the cache has %s, the origin %s", got, from.value("9"))
	}
}

func TestWriteBehind(t *testing.T) {
	from := newService(t)
	s, stop := runServer(t, Config{Origins: []Origin{from.origin(Origin{Write: writeBehind, Delay: time.Hour, Behind: 3})}})
	c := dial(t, s.Addr().String())
	for i := range 10 {
		if got := c.do("incr", "item:1"); got != fmt.Sprint(i+1) {
			t.Fatal(got)
		}
	}
	c.doLine("set item:2 two")
	c.doLine("set item:3 three")
	c.doLine("del item:3")
	if got := c.doLine("set item:4 x"); got != "-ORIGINERR too many keys wait to be written to the origin" {
		t.Error(got)
	}
	if from.asked.Load() != 0 {
		t.Error("the origin was asked before its time")
	}
	// One that goes before the origin has it is not lost, and one that was deleted does not come back.
	s.mu.Lock()
	s.store.DB(0).Delete([]byte("item:2"))
	s.mu.Unlock()
	from.set("3", "old")
	if got := c.doLine("mget item:2 item:3"); got != `["two" nil]` {
		t.Error("what waits to be written is read as", got)
	}
	// It is sent when it is due, again where that fails, with what it is by then.
	from.status.Store(503)
	s.mu.Lock()
	for _, p := range s.behind {
		p.due, p.o.Delay = 0, time.Millisecond
	}
	s.mu.Unlock()
	waitFor(t, func() bool { return from.asked.Load() > 0 })
	c.doLine("incr item:1")
	from.status.Store(0)
	waitFor(t, func() bool { return strings.Contains(c.do("info", "origins"), "behind=0") })
	if from.value("1") != "11" || from.value("2") != "two" || from.value("3") != "" {
		t.Errorf("the origin has %q, %q and %q", from.value("1"), from.value("2"), from.value("3"))
	}
	s.mu.Lock()
	s.origins[0].Delay = time.Hour
	s.mu.Unlock()
	c.doLine("set item:5 last")
	stop() // which sends what waits
	if got := from.value("5"); got != "last" {
		t.Errorf("at the end the origin has %q", got)
	}
}

func TestOriginConfig(t *testing.T) {
	for _, c := range []struct {
		o    Origin
		want string
	}{
		{Origin{Keys: "item", URL: "http://x/{key}"}, "one * in it"},
		{Origin{Keys: "i*m*", URL: "http://x/{key}"}, "one * in it"},
		{Origin{Keys: "i*", URL: "http://x/"}, "{key} in it"},
		{Origin{Keys: "i*", URL: "redis://x/{key}"}, "http://HOST/PATH"},
		{Origin{Keys: "i*", URL: "http://{key}/"}, "path or the query"},
		{Origin{Keys: "i*", URL: "http://x/{key}", Write: "up"}, "off, through or behind"},
		{Origin{Keys: "i*", URL: "http://x/{key}", TTL: -1}, "negative"},
	} {
		if _, err := New(Config{Origins: []Origin{c.o}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	o, err := newOrigin(Origin{Keys: "user:*:name", URL: "http://x/u/{key}?id={key}"})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := o.urlOf("user:a b&c/d:name"); err != nil || u != "http://x/u/a%20b&c%2Fd?id=a+b%26c%2Fd" {
		t.Error(u, err)
	}
	if _, err := o.urlOf("user:" + strings.Repeat("x", maxURL) + ":name"); err == nil {
		t.Error("a URL without end")
	}
}
