package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/banyanhq/banyan/cache/slot"
)

// keptFleet is a cluster that is kept on disk.
func keptFleet(t *testing.T, nodes, replicas int, persist Persist) *fleet {
	t.Helper()
	return newFleetOf(t, nodes, replicas, func(c *Config) {
		c.Persist = persist
		c.Persist.Dir = t.TempDir()
	})
}

func (f *fleet) restart(ids ...uint64) {
	f.t.Helper()
	for _, id := range ids {
		f.stop(id)
	}
	for _, id := range ids {
		f.start(id)
	}
}

// syncs are how often replicas got all keys, and how often they went on where they were, of the primaries there are now.
func (f *fleet) syncs() (full, partial int64) {
	for _, s := range f.nodes {
		s.mu.Lock()
		full += s.sharding.syncs[beginFull]
		partial += s.sharding.syncs[beginResumed] + s.sharding.syncs[beginRenamed]
		s.mu.Unlock()
	}
	return full, partial
}

// following waits until all replicas follow and have all that was done so far.
func (f *fleet) following() {
	f.t.Helper()
	f.waitFor("all replicas follow", func() bool {
		offsets := map[uint64]int64{}
		for id, s := range f.nodes {
			s.mu.Lock()
			if h := s.sharding; h.active && h.self.Of == 0 && h.node.Leased() {
				h.collect()
				offsets[id] = h.end()
			}
			s.mu.Unlock()
		}
		for _, s := range f.nodes {
			s.mu.Lock()
			h := s.sharding
			end, known := offsets[h.of]
			good := h.active && (h.of == 0 || h.attached && h.complete() && known && h.applied >= end)
			s.mu.Unlock()
			if !good {
				return false
			}
		}
		return true
	})
}

// fill stores n keys of several kinds, and returns what checks that all are there.
func (f *fleet) fill(c *redis.ClusterClient, n int) (check func() error) {
	f.t.Helper()
	ctx := f.t.Context()
	for i := range n {
		if err := c.Set(ctx, fmt.Sprint("key", i), i, 0).Err(); err != nil {
			f.t.Fatal(err)
		}
	}
	c.Del(ctx, "list")
	c.Del(ctx, "stream")
	c.RPush(ctx, "list", "a", "b")
	c.HSet(ctx, "hash", "f", "v")
	c.XAdd(ctx, &redis.XAddArgs{Stream: "stream", Values: []string{"f", "v"}})
	c.Set(ctx, "gone", "v", time.Millisecond)
	return func() error {
		for i := range n {
			if v, err := c.Get(ctx, fmt.Sprint("key", i)).Int(); err != nil || v != i {
				return fmt.Errorf("key%d: %d, %w", i, v, err)
			}
		}
		l, h, x := c.LRange(ctx, "list", 0, -1), c.HGet(ctx, "hash", "f"), c.XLen(ctx, "stream")
		if err := errors.Join(l.Err(), h.Err(), x.Err()); err != nil || len(l.Val()) != 2 || h.Val() != "v" || x.Val() != 1 {
			return fmt.Errorf("%v %v %v: %w", l, h, x, err)
		}
		if err := c.Get(ctx, "gone").Err(); err != redis.Nil {
			return fmt.Errorf("what had expired: %w", err)
		}
		return nil
	}
}

// there waits until a check passes; what is there and wrong fails at once.
func (f *fleet) there(check func() error) {
	f.t.Helper()
	var err error
	defer func() {
		if err != nil {
			f.t.Log("at last: ", err)
		}
	}()
	f.waitFor("all keys are there", func() bool {
		err = check()
		if errors.Is(err, redis.Nil) {
			f.t.Fatal("lost: ", err)
		}
		return err == nil
	})
}

// TestWholeClusterRestarts: all keys are there again, and replicas need not get them anew.
func TestWholeClusterRestarts(t *testing.T) {
	f := keptFleet(t, 6, 1, Persist{})
	c := f.client()
	check := f.fill(c, 500)
	f.following()
	f.restart(1, 2, 3, 4, 5, 6)
	f.there(check)
	f.following()
	if full, partial := f.syncs(); full != 0 || partial < 3 {
		t.Errorf("replicas got all keys %d times, and went on where they were %d times", full, partial)
	}
	// What follows is replicated as before, and kept.
	check = f.fill(c, 600)
	f.following()
	f.restart(2, 5)
	f.there(check)
	c.FlushDB(t.Context())
}

// TestNodeRestarts: a primary that is back before it is missed stays one; a replica goes on where it was; one that was replaced follows.
func TestNodeRestarts(t *testing.T) {
	f := keptFleet(t, 4, 1, Persist{Append: "always"})
	c := f.client()
	check := f.fill(c, 300)
	f.following()
	full, _ := f.syncs()
	f.restart(3) // the replica of 1
	f.following()
	if now, partial := f.syncs(); now != full || partial == 0 {
		t.Errorf("a replica that was started again got all keys: %d full, %d partial", now-full, partial)
	}
	f.there(check)
	f.stop(1)
	check = func(check func() error) func() error { // keys of the other primary change meanwhile
		c.Set(t.Context(), "foo", "of 2", 0)
		return func() error {
			if v, err := c.Get(t.Context(), "foo").Result(); err != nil || v != "of 2" {
				return fmt.Errorf("foo: %q, %w", v, err)
			}
			return check()
		}
	}(check)
	f.waitFor("the replica takes over", func() bool { return f.nodes[2].sharding.node.Map().Members[3].Of == 0 })
	f.start(1)
	f.following()
	f.nodes[1].mu.Lock()
	of := f.nodes[1].sharding.of
	f.nodes[1].mu.Unlock()
	if of != 3 {
		t.Errorf("the one that was replaced follows %d", of)
	}
	f.there(check)
	f.restart(1, 2, 3, 4)
	f.there(check)
}

// TestOldReplicaIsNotPromoted: what a replica has kept from long ago never takes the place of what its primary has.
func TestOldReplicaIsNotPromoted(t *testing.T) {
	f := keptFleet(t, 4, 1, Persist{})
	c := f.client()
	ctx := t.Context()
	if err := c.Set(ctx, "bar", "old", 0).Err(); err != nil { // of node 1
		t.Fatal(err)
	}
	f.following()
	f.stop(3)
	f.waitFor("it is missed", func() bool { return f.nodes[2].sharding.node.Map().Members[3].Failed })
	if err := c.Set(ctx, "bar", "new", 0).Err(); err != nil {
		t.Fatal(err)
	}
	f.stop(1)
	f.start(3)
	f.waitFor("it is let in", func() bool { m := f.nodes[2].sharding.node.Map(); return m.Members[3].Behind && !m.Members[3].Failed })
	f.waitFor("its primary is missed", func() bool { return f.nodes[2].sharding.node.Map().Members[1].Failed })
	if of := f.nodes[2].sharding.node.Map().Members[3].Of; of != 1 {
		t.Fatal("it was promoted")
	}
	f.start(1)
	f.there(func() error {
		v, err := c.Get(ctx, "bar").Result()
		if err == nil && v != "new" {
			t.Fatalf("bar: %s", v)
		}
		return err
	})
	f.following()
	f.waitFor("it is as new as its primary", func() bool {
		r := f.dial(3)
		r.doLine("readonly")
		return r.doLine("get bar") == `"new"`
	})
}

// TestSnapshotsOfACluster: of a cluster that keeps snapshots alone what they have is there again.
func TestSnapshotsOfACluster(t *testing.T) {
	f := keptFleet(t, 3, 0, Persist{Append: "off", Snapshot: time.Hour})
	c := f.client()
	check := f.fill(c, 300)
	for id := range f.nodes {
		if got := f.dial(id).doLine("save"); got != "OK" {
			t.Fatal(got)
		}
	}
	f.restart(1, 2, 3)
	f.there(check)
}

// TestMovedSlotsAreKept: what moved is at one node after all have been started again, and what had been there before is not.
func TestMovedSlotsAreKept(t *testing.T) {
	f := keptFleet(t, 3, 0, Persist{Append: "always"})
	c := f.client()
	check := f.fill(c, 300)
	if got := f.dial(1).doLine("cache.rebalance 1 0"); strings.HasPrefix(got, "-") {
		t.Fatal(got)
	}
	f.waitFor("the slots have moved", func() bool {
		m := f.nodes[1].sharding.node.Map()
		return m.Owned(1) == 0 && len(m.Moving) == 0
	})
	f.restart(1, 2, 3)
	f.there(check)
	if n := f.nodes[1].Stats().Keys; n != 0 {
		t.Errorf("node 1 has %d keys still", n)
	}
}

// TestKeptNodesOfOneProcess: so it is with the nodes that one process runs, whose addresses are others each time.
func TestKeptNodesOfOneProcess(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		nodes, err := NewNodes(Config{Listen: "127.0.0.1:0", Loops: 1, Persist: Persist{Dir: dir}}, Shape{Nodes: 3, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := nodes.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- nodes.Run(ctx) }()
		if err := nodes.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: nodes.Addresses(), MaxRedirects: 16, DialTimeout: time.Minute, ReadTimeout: time.Minute})
		for i := range 100 {
			if n, err := c.Incr(ctx, fmt.Sprint("key", i)).Result(); err != nil || n != int64(round+1) {
				t.Errorf("round %d: key%d is %d, %v", round, i, n, err)
			}
		}
		c.Close()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestForeignKeysAreDropped: keys of slots that are another node's now do not come back with what was kept.
func TestForeignKeysAreDropped(t *testing.T) {
	h := lonelyNode(t, 1)
	db := h.s.store.DB(0)
	for i := range 3000 {
		db.SetString(fmt.Appendf(nil, "key%d", i), []byte("v"), 0)
	}
	h.dropForeign()
	n := db.Len()
	for i := range 3000 {
		key := fmt.Appendf(nil, "key%d", i)
		at := slot.Of(key)
		_, there := db.Find(key)
		if mine := uint64(h.m.Owners[at]) == 1 || h.m.Moving[at] == 1; there != mine {
			t.Fatalf("%s of slot %d: there %v, mine %v", key, at, there, mine)
		}
	}
	if n < 1000 || n > 2000 {
		t.Errorf("%d keys", n)
	}
}

// TestLargeValuesAreReplicated: a value that is larger than what is kept of the stream comes through.
func TestLargeValuesAreReplicated(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 200 MiB")
	}
	f := newFleet(t, 4, 1)
	owner := f.dial(1)
	owner.send("SETRANGE", "bar", fmt.Sprint(keepStream+keepStream/2), "end")
	if got := owner.read(); got != fmt.Sprint(keepStream+keepStream/2+3) {
		t.Fatal(got)
	}
	if got := owner.doLine("wait 1 60000"); got != "1" {
		t.Errorf("WAIT: %s", got)
	}
	if full, _ := f.syncs(); full > 2 {
		t.Errorf("replicas began anew %d times", full)
	}
}
