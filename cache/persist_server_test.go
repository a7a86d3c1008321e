package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/cache/keyspace"
)

// runServer is startServer for one that is ended by what it returns.
func runServer(t *testing.T, cfg Config) (s *Server, stop func()) {
	t.Helper()
	cfg.Listen, cfg.Loops = "127.0.0.1:0", 2
	s, err := New(cfg)
	if err == nil {
		err = s.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Random commands of all kinds, by two clients, with eviction and expiry: after a restart everything is as it was.
func TestRestartAfterRandomCommands(t *testing.T) {
	for seed := range uint64(8) {
		dir := t.TempDir()
		cfg := Config{Persist: Persist{Dir: dir, Append: []string{appendAlways, appendSecond, appendNo, appendSecond}[seed%4]}}
		if seed%2 == 1 {
			cfg.TTL = time.Minute
		}
		s, stop := runServer(t, cfg)
		rng := rand.New(rand.NewPCG(seed, 6))
		a, b := dial(t, s.Addr().String()), dial(t, s.Addr().String())
		for i := range 3000 {
			c := a
			if i%3 == 0 {
				c = b
			}
			var args []string
			for _, word := range strings.Split(grammar[rng.IntN(len(grammar))], "_") {
				args = append(args, draw(rng, word, i))
			}
			if name := strings.ToLower(args[0]); name == "subscribe" || name == "select" || name == "discard" {
				continue
			}
			c.do(args...)
			if i == 1500 {
				if got := c.do("bgrewriteaof"); !strings.HasPrefix(got, "Background") && got != "QUEUED" {
					t.Error(got)
				}
			}
		}
		a.do("discard")
		b.do("discard")
		s.mu.Lock()
		want := contents(s.store)
		s.mu.Unlock()
		stop()
		s, stop = runServer(t, cfg)
		s.mu.Lock()
		got := contents(s.store)
		s.mu.Unlock()
		stop()
		if got != want {
			t.Fatalf("seed %d: after the restart\n%s\nbefore\n%s", seed, got, want)
		}
	}
}

// Expiries are kept as instants: a key that has expired meanwhile is gone after a restart, others have the time that is left.
func TestExpiryOverRestart(t *testing.T) {
	cfg := Config{Persist: Persist{Dir: t.TempDir()}}
	s, stop := runServer(t, cfg)
	c := dial(t, s.Addr().String())
	c.doLine("set short x px 300")
	c.doLine("set long x")
	c.doLine("expire long 1000")
	at := c.doLine("pexpiretime long")
	stop()
	time.Sleep(301 * time.Millisecond) // the point of it
	s, stop = runServer(t, cfg)
	defer stop()
	c = dial(t, s.Addr().String())
	if got := c.doLine("exists short"); got != "0" {
		t.Error("a key that has expired is there")
	}
	if got := c.doLine("pexpiretime long"); got != at {
		t.Errorf("it expires at %s, and did at %s", got, at)
	}
}

func TestPersistCommands(t *testing.T) {
	s := startServer(t, Config{})
	script(t, s.Addr().String(), `
		a: save
		> -ERR nothing is kept on disk: the cache was started without a folder for it
		a: config get appendonly
		> ["appendonly" "no"]
		a: config set appendfsync always
		> -ERR CONFIG SET failed (possibly related to argument 'appendfsync') - no append file is kept
	`)
	dir := t.TempDir()
	cfg := Config{Persist: Persist{Dir: dir, Append: appendOff, Snapshot: time.Hour}}
	s, stop := runServer(t, cfg)
	script(t, s.Addr().String(), `
		a: set x 1
		a: save
		> OK
		a: bgrewriteaof
		> -ERR no append file is kept
		a: set y 1
		a: config get save
		> ["save" "3600 1"]
		a: multi
		a: save
		a: exec
		> [-ERR Command not allowed inside a transaction]
		a: bgsave foo
		> -ERR syntax error
		a: bgsave
		> Background saving started
	`)
	c := dial(t, s.Addr().String())
	waitFor(t, func() bool { return strings.Contains(c.do("info", "persistence"), "rdb_saves:2") })
	info := c.do("info", "persistence")
	for _, want := range []string{"aof_enabled:0", "rdb_changes_since_last_save:0", "rdb_last_bgsave_status:ok"} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO does not say %s: %s", want, info)
		}
	}
	if at := c.do("lastsave"); at < fmt.Sprint(time.Now().Add(-time.Minute).Unix()) {
		t.Error("last saved at", at)
	}
	c.doLine("set z 1")
	stop() // which writes a snapshot as well
	s, stop = runServer(t, cfg)
	defer stop()
	c = dial(t, s.Addr().String())
	if got := c.doLine("mget x y z"); got != `["1" "1" "1"]` {
		t.Error("after a restart there is", got)
	}
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), "address already in use") && !strings.Contains(err.Error(), "another process keeps a cache there") {
		t.Error("a folder that is in use:", err)
	}
}

// Commands go on while a large store is written anew, and nothing of what they do is lost.
func TestRewriteUnderLoad(t *testing.T) {
	cfg := Config{Persist: Persist{Dir: t.TempDir(), Append: appendNo}}
	s, stop := runServer(t, cfg)
	c := dial(t, s.Addr().String())
	s.mu.Lock()
	for i := range 100_000 {
		s.store.DB(0).SetString(fmt.Append(nil, "key", i), []byte("value"), 0)
	}
	big, err := s.store.DB(0).MakeFields([]byte("big"), keyspace.Hash)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50_000 {
		big.Set(fmt.Append(nil, "field", i), []byte("value"))
	}
	round := make(chan struct{})
	s.keep.pause = func(time.Duration) { // until commands have been carried out between two pieces of the file, however long that takes
		select {
		case <-round:
		case <-t.Context().Done():
		}
	}
	s.mu.Unlock()
	if got := c.do("bgrewriteaof"); got != "Background append only file rewriting started" {
		t.Fatal(got)
	}
	during := 0
	for i := 0; ; i++ {
		c.do("set", fmt.Sprint("key", i), "new")
		c.do("hset", "big", fmt.Sprint("field", i), "new", fmt.Sprint("more", i), "x")
		c.do("rename", fmt.Sprint("key", 99_999-i), fmt.Sprint("renamed", i))
		s.mu.Lock()
		busy := s.keep.jobs.busy() || s.keep.jobs.wantRewrite
		s.mu.Unlock()
		if !busy {
			break
		}
		during++
		select {
		case round <- struct{}{}:
		default:
		}
	}
	if during < 3 {
		t.Errorf("only %d rounds of commands were carried out meanwhile", during)
	}
	s.mu.Lock()
	want := contents(s.store)
	s.mu.Unlock()
	stop()
	s, stop = runServer(t, cfg)
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if contents(s.store) != want {
		t.Error("after the restart it is not what it was")
	}
}
