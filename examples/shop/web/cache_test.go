package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/internal/loopback"
)

// shelf is a server that knows as much of Redis's protocol as web asks for.
type shelf struct {
	mu     sync.Mutex
	values map[string]string
	ttls   map[string]time.Duration
	conns  []net.Conn
}

// startShelf runs one until stop is called, and returns where it is.
func startShelf(t *testing.T) (s *shelf, address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", loopback.Any()) // where nobody answers in its place once it has stopped
	if err != nil {
		t.Fatal(err)
	}
	s = &shelf{values: map[string]string{}, ttls: map[string]time.Duration{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			all.Go(func() { s.serve(c) })
		}
	})
	stop = sync.OnceFunc(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		all.Wait()
	})
	t.Cleanup(stop)
	return s, l.Addr().String(), stop
}

// serve answers commands, which are arrays of strings, until the connection ends.
func (s *shelf) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	number := func(kind byte) (n int, err error) {
		line, err := in.ReadString('\n')
		if err != nil || line == "" || line[0] != kind {
			return 0, errors.Join(err, errors.New("not the protocol"))
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	for {
		n, err := number('*')
		if err != nil {
			return
		}
		var words []string
		for range n {
			length, err := number('$')
			if err != nil {
				return
			}
			b := make([]byte, length+2)
			if _, err := io.ReadFull(in, b); err != nil {
				return
			}
			words = append(words, string(b[:length]))
		}
		if _, err := io.WriteString(c, s.answer(words)); err != nil {
			return
		}
	}
}

func (s *shelf) answer(words []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := ""
	if len(words) > 1 {
		key = words[1]
	}
	value, there := s.values[key]
	switch strings.ToUpper(words[0]) {
	case "GET":
		if !there {
			return "$-1\r\n"
		}
		return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	case "SET":
		for i := 3; i < len(words); i++ {
			switch strings.ToUpper(words[i]) {
			case "NX":
				if there {
					return "$-1\r\n"
				}
			case "EX":
				seconds, _ := strconv.Atoi(words[i+1])
				s.ttls[key] = time.Duration(seconds) * time.Second
			}
		}
		s.values[key] = words[2]
		return "+OK\r\n"
	case "DEL":
		delete(s.values, key)
		return ":1\r\n"
	}
	return "-ERR unknown command '" + words[0] + "'\r\n"
}

// put stores a value, and look tells what there is.
func (s *shelf) put(key, value string) { s.mu.Lock(); defer s.mu.Unlock(); s.values[key] = value }

func (s *shelf) look(key string) (ttl time.Duration, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there = s.values[key]
	return s.ttls[key], there
}

// TestCaches: what is there is not asked for again, by no replica; what cannot be read, and a cache that is away, are misses.
func TestCaches(t *testing.T) {
	kept, address, stop := startShelf(t)
	env, err := httpserve.ReadEnv("web", 0, func(name string) string {
		if strings.HasSuffix(name, "_REDIS_URL") {
			return "redis://" + address
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	env.Log = slog.New(slog.DiscardHandler)
	o := &others{down: map[string]bool{}}
	var replicas []http.Handler
	for range 2 {
		b := o.backend(t)
		if b.caches, err = newCaches(env, time.Minute); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.caches.close() })
		w, err := newWeb(b, env.Log)
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, httpserve.Handler(httpserve.Service{Handler: w.handler()}))
	}
	serve := func(replica int, method, path string, form url.Values) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		r.AddCookie(&http.Cookie{Name: cartCookie, Value: "c"})
		rec := httptest.NewRecorder()
		replicas[replica].ServeHTTP(rec, r)
		return rec
	}
	asked := func(replica int, path, shows string) (calls []string) {
		t.Helper()
		o.mu.Lock()
		o.calls = nil
		o.mu.Unlock()
		if rec := serve(replica, "GET", path, nil); rec.Code != 200 || !strings.Contains(rec.Body.String(), shows) {
			t.Fatalf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		calls = slices.DeleteFunc(slices.Clone(o.calls), func(call string) bool { return strings.HasPrefix(call, "orders") })
		slices.Sort(calls)
		return calls
	}
	want := func(when string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: asked for %v, want %v", when, got, want)
		}
	}
	const product, cart = "catalog GET /products/7", "cart GET /carts/c"
	want("nothing is there", asked(0, "/product/7", "Chair"), cart, product)
	want("both are there", asked(1, "/product/7", "Chair"))
	want("home", asked(0, "/", "Chair"), "catalog GET /products")
	want("home is there", asked(1, "/", "Chair"))
	if rec := serve(0, "POST", "/cart", url.Values{"product": {"7"}, "quantity": {"3"}}); rec.Code != http.StatusSeeOther {
		t.Fatal(rec.Code, rec.Body)
	}
	want("a cart that has changed", asked(1, "/", `Cart <b>3<`))
	if rec := serve(1, "POST", "/cart/remove", url.Values{"product": {"7"}}); rec.Code != http.StatusSeeOther {
		t.Fatal(rec.Code, rec.Body)
	}
	want("a cart that has changed in a way that is not told", asked(0, "/", "Chair"), cart)

	for _, key := range []string{"product:7", "session:c"} {
		kept.put(key, "no JSON")
	}
	want("what is there cannot be read", asked(0, "/product/7", "Chair"), cart, product)
	for key, ttl := range map[string]time.Duration{"product:7": productTTL, "page:/products?featured=12": pageTTL} {
		if got, there := kept.look(key); got != ttl || !there {
			t.Errorf("%s expires in %s, there %v", key, got, there)
		}
	}
	rec := serve(0, "GET", "/product/8", nil)
	if _, there := kept.look("product:8"); rec.Code != 404 || there {
		t.Error("a product that there is none of:", rec.Code)
	}

	stop()
	for range 3 {
		want("the cache is away", asked(0, "/product/7", "Chair"), cart, product)
	}
	if rec := serve(0, "POST", "/cart", url.Values{"product": {"7"}, "quantity": {"1"}}); rec.Code != http.StatusSeeOther {
		t.Error("adding without a cache:", rec.Code)
	}
}

// TestLateCacheIsAskedAgain: a replica that is short of CPU time takes its own lateness for the cache's. It must not stop asking for
// that, or everybody asks catalog just when there is no time for it.
func TestLateCacheIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		visitor, gone := context.WithCancel(t.Context())
		c := &cache{log: slog.New(slog.DiscardHandler)}
		for range 3 {
			for range cacheLate - 1 {
				c.failed(visitor, "GET", fmt.Errorf("asking: %w", context.DeadlineExceeded))
			}
			time.Sleep(cacheSilent)
			c.failed(visitor, "GET", redis.Nil)
		}
		for range 100 * cacheLate { // a stall
			c.failed(visitor, "GET", redis.ErrPoolTimeout)
		}
		if !c.usable() {
			t.Fatal("it rests after time-outs with answers between them, and many at once")
		}
		time.Sleep(cacheSilent)
		if c.failed(visitor, "GET", &net.OpError{Err: os.ErrDeadlineExceeded}); c.usable() {
			t.Error("it does not rest after time-outs for", cacheSilent)
		}
		time.Sleep(cacheRest)
		if !c.usable() {
			t.Fatal("it rests for longer than", cacheRest)
		}
		gone()
		if c.failed(visitor, "GET", errors.New("cut")); !c.usable() {
			t.Error("it rests because a visitor has gone")
		}
		if c.failed(t.Context(), "GET", errors.New("refused")); c.usable() {
			t.Error("it does not rest after an error")
		}
	})
}

func TestCacheSettings(t *testing.T) {
	for url, good := range map[string]bool{"": true, "redis://127.0.0.1:1": true, "http://x": false, "nonsense": false} {
		env, err := httpserve.ReadEnv("web", 0, func(name string) string {
			if name == "PAGES_REDIS_URL" {
				return url
			}
			return ""
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCaches(env, cacheTime)
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "PAGES_REDIS_URL") {
			t.Errorf("%q: %v", url, err)
		}
		_ = c.close()
	}
}
