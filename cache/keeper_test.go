package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/cache/disk"
	"github.com/banyanhq/banyan/cache/keyspace"
)

// contents writes a store down in a way in which two that hold the same are equal.
func contents(s *keyspace.Store) string {
	var all []string
	for i := range s.Databases() {
		for cursor := uint64(0); ; {
			cursor = s.DB(i).Scan(cursor, func(e keyspace.Entry) {
				var parts []string
				switch e.Kind() {
				case keyspace.String:
					parts = []string{string(e.Bytes())}
				case keyspace.List:
					e.Items().Range(0, e.Items().Len(), func(_ int, v []byte) bool { parts = append(parts, string(v)); return true })
				case keyspace.StreamKind:
					parts = []string{string(s.DB(i).AppendKey(nil, e.Key()))}
				case keyspace.SortedSet:
					e.Ranking().Range(0, e.Ranking().Len(), false, func(m []byte, score float64) bool {
						parts = append(parts, fmt.Sprint(string(m), "=", score))
						return true
					})
				default:
					e.Fields().Each(func(f, v []byte) bool { parts = append(parts, fmt.Sprintf("%s=%s", f, v)); return true })
					slices.Sort(parts)
				}
				all = append(all, fmt.Sprintf("%d %q %s %d %q", i, e.Key(), e.Kind(), e.Expiry(), parts))
			})
			if cursor == 0 {
				break
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// kept is a store that is kept on a disk, without a server around it.
type kept struct {
	mu    sync.Mutex
	store *keyspace.Store
	keep  *keeper
}

func openKept(t *testing.T, dir *disk.Dying, cfg Persist) (*kept, error) {
	t.Helper()
	store, err := keyspace.New(keyspace.Config{Databases: 2, Reserve: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	store.SetNow(1_000_000)
	cfg.dir = dir
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	k := &kept{store: store}
	k.keep, err = openKeeper(cfg, &k.mu, store, slog.New(slog.DiscardHandler))
	return k, err
}

// change makes a random change, as a command would.
func (k *kept) change(rng *rand.Rand) {
	k.mu.Lock()
	defer k.mu.Unlock()
	db := k.store.DB(rng.IntN(2))
	key, value := fmt.Append(nil, "key", rng.IntN(12)), fmt.Append(nil, "value", rng.IntN(1000))
	switch rng.IntN(9) {
	case 8:
		if st, err := db.MakeStream(key); err == nil {
			st.Append(keyspace.StreamID{MS: st.Last().MS + 1}, [][]byte{[]byte("f"), value})
			st.MakeGroup([]byte("g"), keyspace.StreamID{}, -1)
			g, _ := st.Group([]byte("g"))
			c, _ := g.MakeConsumer([]byte("c"), 1)
			g.Deliver(c, st.Last(), 1, 1)
		}
	case 0, 1:
		db.SetString(key, value, int64(rng.IntN(2)*2_000_000))
	case 2:
		db.Delete(key)
	case 3:
		if l, err := db.MakeItems(key); err == nil {
			l.PushBack(value)
			if l.PushFront(value); l.Len() > 9 {
				l.Remove(4)
			}
		}
	case 4, 5:
		if f, err := db.MakeFields(key, keyspace.Hash); err == nil {
			for i := range 1 + rng.IntN(2)*700 {
				f.Set(fmt.Append(value, i), value)
			}
		}
	case 6:
		to := fmt.Append(nil, "key", rng.IntN(12))
		if _, there := db.Find(key); there && string(key) != string(to) {
			db.Delete(to)
			db.Rename(key, db, to)
		}
	default:
		if rng.IntN(50) == 0 {
			k.store.Swap(0, 1)
		}
	}
}

// At whatever instant the machine dies, in whatever state that leaves the disk: what was synced is there, and nothing is
// there that never was, also while files are written anew.
func TestMachineDies(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 4))
		dir := disk.NewDying()
		k, err := openKept(t, dir, Persist{Append: appendAlways})
		if err != nil {
			t.Fatal(err)
		}
		history := []string{contents(k.store)} // at each instant at which something was written
		durable := 0
		step := func() {
			for range rng.IntN(4) {
				k.change(rng)
			}
			history = append(history, contents(k.store))
			if rng.IntN(2) == 0 {
				k.keep.sync()
				durable = len(history) - 1
			} else {
				k.keep.writeOut()
			}
		}
		die := func() {
			after, err := openKept(t, dir.Crash(rng), Persist{Append: appendAlways})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if got := contents(after.store); !slices.Contains(history[durable:], got) {
				t.Fatalf("seed %d: restored what was not there since the last sync (%t before):\n%s", seed, slices.Contains(history, got), got)
			}
		}
		k.keep.pause = func(time.Duration) { // while a file is written anew
			if step(); rng.IntN(10) == 0 {
				die()
			}
		}
		for range 30 {
			if step(); rng.IntN(4) == 0 {
				die()
			}
			if rng.IntN(10) == 0 {
				if err := k.keep.rewrite(context.Background()); err != nil {
					t.Fatal(err)
				}
				history, durable = append(history, contents(k.store)), len(history)
				die()
			}
		}
	}
}

// A snapshot is there whole or not at all, and is what was there at one instant.
func TestSnapshots(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 5))
		dir := disk.NewDying()
		k, err := openKept(t, dir, Persist{Append: appendOff})
		if err != nil {
			t.Fatal(err)
		}
		history := []string{contents(k.store)}
		least := 0
		k.keep.pause = func(time.Duration) {
			k.change(rng)
			history = append(history, contents(k.store))
		}
		for range 8 {
			for range 10 {
				k.change(rng)
			}
			history = append(history, contents(k.store))
			before := len(history) - 1
			if err := k.keep.save(context.Background()); err != nil {
				t.Fatal(err)
			}
			if len(k.store.Noted(0)) != 0 {
				t.Fatal("changes are written down that nobody takes")
			}
			least = before
			after, err := openKept(t, dir.Crash(rng), Persist{Append: appendOff})
			if err != nil {
				t.Fatal(err)
			}
			if got := contents(after.store); !slices.Contains(history[least:], got) {
				t.Fatalf("seed %d: the snapshot is of no instant", seed)
			}
		}
		// Appending may begin with what a snapshot holds.
		k.keep.pause = func(time.Duration) {}
		want := contents(k.store)
		if err := k.keep.save(context.Background()); err != nil {
			t.Fatal(err)
		}
		if after, err := openKept(t, dir, Persist{Append: appendSecond}); err != nil || contents(after.store) != want {
			t.Fatalf("appending behind a snapshot: %v", err)
		}
		if _, err := openKept(t, dir, Persist{Append: appendOff}); err == nil || !strings.Contains(err.Error(), "append again, or move it away") {
			t.Errorf("an append file that is not to be kept: %v", err)
		}
	}
}

// Damage is refused with the way out, which works.
func TestDamagedFile(t *testing.T) {
	dir := disk.NewDying()
	k, err := openKept(t, dir, Persist{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		k.store.DB(0).SetString(fmt.Append(nil, "key", i), []byte("value"), 0)
		k.keep.sync()
	}
	if err := k.keep.close(); err != nil {
		t.Fatal(err)
	}
	whole := dir.Bytes(appendName)
	for _, at := range []int{30, 40, 100, len(whole) / 2} { // in the head of the base, in it, behind it
		data := slices.Clone(whole)
		data[at] ^= 1
		dir.Put(appendName, data)
		if _, err := openKept(t, dir, Persist{}); err == nil || !strings.Contains(err.Error(), "--repair") || !strings.Contains(err.Error(), "damaged at byte") {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
		if !slices.Equal(dir.Bytes(appendName), data) {
			t.Fatalf("byte %d flipped: the file was changed", at)
		}
		k, err := openKept(t, dir, Persist{Repair: true})
		if err != nil {
			t.Fatalf("byte %d flipped, repaired: %v", at, err)
		}
		n := k.store.DB(0).Len()
		if at == len(whole)/2 && (n < 40 || n > 60) {
			t.Errorf("half of the file is left, and %d keys of 100", n)
		}
		if !slices.Equal(dir.Bytes(appendName+damaged), data) {
			t.Error("what was there is gone")
		}
		if err := k.keep.close(); err != nil {
			t.Fatal(err)
		}
		if k, err = openKept(t, dir, Persist{}); err != nil || k.store.DB(0).Len() != n {
			t.Errorf("byte %d, after the repair: %v", at, err)
		}
	}
}

// syncs counts syncs of files, and holds them back.
type syncs struct {
	n    atomic.Int64
	gate chan struct{} // nil: they are not held back
}

func (s *syncs) fail(operation, _ string) error {
	if operation == "fsync" {
		s.n.Add(1)
		if s.gate != nil {
			<-s.gate
		}
	}
	return nil
}

// With always nothing is answered before it is synced, and those who wait share a sync.
func TestGroupCommit(t *testing.T) {
	dir := disk.NewDying()
	s := startServer(t, Config{Persist: Persist{Append: appendAlways, dir: dir}})
	held := &syncs{gate: make(chan struct{})}
	before := s.keep.durable.Load()
	dir.FailWith(held.fail)
	const clients = 64
	var all []*conn
	for range clients {
		all = append(all, dial(t, s.Addr().String()))
	}
	for i, c := range all {
		c.send("set", fmt.Sprint("key", i), "x")
	}
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.store.DB(0).Len() == clients })
	if s.keep.durable.Load() != before {
		t.Error("something is said to be synced that is not")
	}
	waitFor(t, func() bool { return held.n.Load() == 1 })
	close(held.gate) // a few are behind the first sync, all others behind the second
	for _, c := range all {
		if got := c.read(); got != "OK" {
			t.Fatal(got)
		}
	}
	if n := held.n.Load(); n > 3 {
		t.Errorf("%d clients took %d syncs", clients, n)
	}
	// What only reads waits as well for what it has seen, and not otherwise.
	n := held.n.Load()
	if got := all[0].do("get", "key1"); got != `"x"` || held.n.Load() != n {
		t.Errorf("get is answered %s after %d syncs", got, held.n.Load()-n)
	}
	if got := all[0].do("config", "set", "appendfsync", "everysec"); got != "OK" {
		t.Error(got)
	}
}

// While nothing can be written, commands that write are refused and others are not; then the file is written anew.
func TestDiskFull(t *testing.T) {
	for _, policy := range []string{appendAlways, appendSecond} {
		for _, what := range []string{"write", "fsync"} {
			if policy == appendSecond && what == "fsync" {
				continue // comes with the second
			}
			t.Run(policy+" "+what, func(t *testing.T) { diskFull(t, policy, what) })
		}
	}
}

func diskFull(t *testing.T, policy, what string) {
	dir := disk.NewDying()
	var full atomic.Bool
	dir.FailWith(func(operation, _ string) error {
		if full.Load() && (operation == what || operation == "create") {
			return errors.New("no space left on device")
		}
		return nil
	})
	s := startServer(t, Config{Persist: Persist{Append: policy, dir: dir}})
	a, b := dial(t, s.Addr().String()), dial(t, s.Addr().String())
	a.do("set", "before", "1")
	full.Store(true)
	a.send("set", "meanwhile", "1")
	if _, err := readAnswer(a.r); (err == nil) != (policy != appendAlways) {
		t.Errorf("a write that could not be written: %v", err)
	}
	waitFor(t, func() bool {
		return strings.HasPrefix(b.do("set", "x", "1"), "-MISCONF Errors writing to the AOF file")
	})
	if got := b.do("get", "before"); got != `"1"` {
		t.Error("get is answered", got)
	}
	if got := b.do("info", "persistence"); !strings.Contains(got, "aof_last_write_status:err") {
		t.Error(got)
	}
	full.Store(false)
	b.do("bgrewriteaof") // it is tried again by itself as well
	waitFor(t, func() bool { return b.do("set", "after", "1") == "OK" })
	if got := b.do("info", "persistence"); !strings.Contains(got, "aof_last_write_status:ok") {
		t.Error(got)
	}
	s.keep.sync()
	after, err := openKept(t, dir, Persist{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"before", "meanwhile", "after"} {
		if _, there := after.store.DB(0).Find([]byte(key)); !there {
			t.Errorf("%s is not there", key)
		}
	}
}
