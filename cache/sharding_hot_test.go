package cache

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/banyanhq/banyan/cache/cluster"
)

// TestHotKeysAreRead: a key that is hot is answered by nodes that do not own it, to those who have agreed to that, and what is
// written is seen there.
func TestHotKeysAreRead(t *testing.T) {
	f := newFleetOf(t, 4, 1, func(c *Config) { c.Cluster.HotReads = 20 * time.Second }) // so long that only being told of changes helps
	owner := f.dial(1)
	owner.doLine("set bar 1")
	owner.doLine("hset {bar}hash f v")
	other := f.dial(2) // the other primary
	ask := func(line string) string {
		for range 400 { // it is hot
			owner.doLine("get bar")
			owner.doLine("hgetall {bar}hash")
		}
		return other.doLine(line)
	}
	for range 3 {
		if got := ask("get bar"); !strings.HasPrefix(got, "-MOVED 5061 ") {
			t.Fatalf("who has not said READONLY: %s", got)
		}
	}
	other.doLine("readonly")
	f.waitFor("another node answers", func() bool { return ask("get bar") == `"1"` })
	f.waitFor("another node answers for a hash", func() bool { return ask("hget {bar}hash f") == `"v"` })
	if got := owner.doLine("cache.hot 1"); !strings.Contains(got, "bar") || !strings.HasSuffix(got, " 1]]") {
		t.Errorf("hot keys, with who has copies: %s", got)
	}
	for line, want := range map[string]string{
		"set bar 2": "-MOVED 5061 ", "mget bar {bar}hash": "-MOVED 5061 ", "get {bar}cold": "-MOVED 5061 ", "strlen bar": "1", "getex bar": "-MOVED 5061 ",
		"sort bar": "-WRONGTYPE",
	} {
		if got := other.doLine(line); !strings.HasPrefix(got, want) && line != "sort bar" {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	other.doLine("multi")
	if got := other.doLine("get bar"); !strings.HasPrefix(got, "-MOVED") {
		t.Errorf("in a transaction: %s", got)
	}
	other.doLine("discard")
	// No lease ends within this test: what is written is seen because the owner tells of it.
	for _, c := range [][2]string{{"set bar 2", `"2"`}, {"append bar 3", `"23"`}, {"set bar 4 px 1", "nil"}, {"set bar 5", `"5"`}} {
		owner.doLine(c[0])
		f.waitFor(c[0]+" is seen", func() bool {
			got := other.doLine("get bar")
			return got == c[1] || strings.HasPrefix(got, "-MOVED")
		})
	}
	f.waitFor("another node answers again", func() bool { return !strings.HasPrefix(ask("get bar"), "-") })
	owner.doLine("flushall")
	f.waitFor("that all is gone is seen", func() bool { return strings.HasPrefix(other.doLine("get bar"), "-MOVED") })
	info := other.doLine("info cluster")
	if !strings.Contains(info, "hot_reads_ms:20000") || strings.Contains(info, "hot_reads_served:0") {
		t.Errorf("INFO: %s", info)
	}
}

// TestHotKeysMove: copies of before a slot moved are read no longer than they may, and those of after come from who owns it then.
func TestHotKeysMove(t *testing.T) {
	f := newFleetOf(t, 3, 0, func(c *Config) { c.Cluster.HotReads = 300 * time.Millisecond })
	owner, other := f.dial(1), f.dial(3)
	owner.doLine("set bar 1")
	other.doLine("readonly")
	f.waitFor("another node answers", func() bool {
		for range 400 {
			owner.doLine("get bar")
		}
		return other.doLine("get bar") == `"1"`
	})
	if got := owner.doLine("cache.rebalance 1 0"); strings.HasPrefix(got, "-") {
		t.Fatal(got)
	}
	f.waitFor("the slot has moved", func() bool {
		m := f.nodes[3].sharding.node.Map()
		return len(m.Moving) == 0 && m.Owners[5061] != 1
	})
	if f.nodes[3].sharding.node.Map().Owners[5061] == 3 {
		other = f.dial(2)
		other.doLine("readonly")
	}
	owner = f.dial(uint64(f.nodes[3].sharding.node.Map().Owners[5061]))
	f.waitFor("the new owner knows that it is", func() bool { return owner.doLine("set bar 2") == "OK" })
	f.waitFor("what is written there is seen", func() bool { return other.doLine("get bar") != `"1"` })
	f.waitFor("another node answers", func() bool {
		for range 400 {
			owner.doLine("get bar")
		}
		return other.doLine("get bar") == `"2"`
	})
}

// TestHotKeysByClusterClient: a cluster client that reads from replicas reads a hot key from those of other primaries as well.
func TestHotKeysByClusterClient(t *testing.T) {
	f := newFleetOf(t, 6, 1, func(c *Config) { c.Cluster.HotReads = time.Second })
	var addrs []string
	for _, s := range f.nodes {
		addrs = append(addrs, s.Addr().String())
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ReadOnly: true, MaxRedirects: 16, DialTimeout: time.Minute, ReadTimeout: time.Minute})
	defer c.Close()
	ctx := t.Context()
	if err := c.Set(ctx, "bar", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	served := func() (n int64) { // by nodes 5 and 6, which are replicas of 2 and 3
		for _, id := range []uint64{5, 6} {
			f.nodes[id].mu.Lock()
			n += f.nodes[id].sharding.hot.served
			f.nodes[id].mu.Unlock()
		}
		return n
	}
	owner := f.dial(1)
	f.waitFor("others answer", func() bool {
		for range 400 {
			owner.doLine("get bar") // hot, wherever the client reads
			if v, err := c.Get(ctx, "bar").Result(); err != nil && err != redis.Nil || err == nil && v != "value" {
				t.Fatal(v, err)
			}
		}
		c.ReloadState(ctx)
		return served() > 100
	})
	if err := c.Get(ctx, "{bar}cold").Err(); err != redis.Nil {
		t.Error(err)
	}
}

// TestServedSlots: what clients are told are all slots, each once.
func TestServedSlots(t *testing.T) {
	h := lonelyNode(t, 1)
	for _, hot := range [][]uint16{nil, {0}, {8191}, {0, 1, 5000, 8191}, {8192, 16383}} {
		var all []cluster.Range
		for _, id := range []uint64{1, 2} {
			for _, r := range h.served(id, hot) {
				if want := 1 + map[bool]int{true: 1}[slices.Contains(hot, r.First)]; len(r.replicas) != want {
					t.Errorf("hot %v: slots %v have the replicas %v", hot, r.Range, r.replicas)
				}
				all = append(all, r.Range)
			}
		}
		next := 0
		for _, r := range all {
			if int(r.First) != next || r.Last < r.First {
				t.Errorf("hot %v: %v", hot, all)
			}
			next = int(r.Last) + 1
		}
		if next != 1<<14 {
			t.Errorf("hot %v: up to %d", hot, next)
		}
	}
}
