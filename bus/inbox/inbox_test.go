package inbox

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func open(t *testing.T, cfg Config) *Inbox {
	t.Helper()
	in, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return in
}

func remember(t *testing.T, in *Inbox, consumer, key string) {
	t.Helper()
	if err := in.Remember(t.Context(), consumer, key); err != nil {
		t.Fatal(err)
	}
}

// What was handled is known to who handled it, also when the process was killed, until its window is over.
func TestKeysAreRememberedForTheirWindow(t *testing.T) {
	c := &clock{at: time.Now()}
	cfg := Config{Dir: t.TempDir(), Windows: map[string]time.Duration{"a": time.Hour, "b": 2 * time.Hour}, Now: c.now}
	in := open(t, cfg)
	remember(t, in, "a", "one")
	remember(t, in, "b", "one")
	if !in.Has("a", "one") || in.Has("a", "two") || in.Has("c", "one") || !in.Keeps("a") || in.Keeps("c") {
		t.Error("what is remembered is not what was said")
	}
	killed := cfg
	killed.Dir = t.TempDir() // a copy of the files as they are
	if err := os.CopyFS(killed.Dir, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	in = open(t, killed)
	c.add(59 * time.Minute)
	if !in.Has("a", "one") || !in.Has("b", "one") {
		t.Error("what was on disk is not known any more")
	}
	c.add(time.Minute)
	if in.Has("a", "one") || !in.Has("b", "one") {
		t.Error("the windows are not kept")
	}
	remember(t, in, "a", "one")
	if !in.Has("a", "one") {
		t.Error("a key that came again is not known")
	}
	c.add(90 * time.Minute)
	remember(t, in, "a", "new")
	if n := in.Keys(); n != 2 { // the later of a's, which is within the longest window, and the new one
		t.Errorf("%d keys are kept", n)
	}
}

func TestAnInboxIsBounded(t *testing.T) {
	c := &clock{at: time.Now()}
	cfg := Config{Dir: t.TempDir(), Windows: map[string]time.Duration{"a": time.Hour}, Now: c.now, MaxKeys: 50, SegmentBytes: 1 << 10}
	in := open(t, cfg)
	for i := range 100 {
		remember(t, in, "a", fmt.Sprint(i))
	}
	if in.Keys() != 50 || in.Has("a", "49") || !in.Has("a", "50") {
		t.Errorf("%d keys are kept", in.Keys())
	}
	c.add(2 * time.Hour)
	remember(t, in, "a", "last")
	if files, _ := filepath.Glob(filepath.Join(cfg.Dir, "*.journal")); len(files) > 1 || in.Keys() != 1 {
		t.Errorf("%d keys and %d segments are kept", in.Keys(), len(files))
	}
}
