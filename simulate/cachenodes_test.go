package simulate

import (
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// onNodes is one service that asks a cache of six nodes, of which three are primaries.
func onNodes(rate float64, v topology.Cache) *topology.System {
	sys := withBlocks(rate, "caches.pages")
	v.Nodes, v.Replicas = 6, 1
	sys.Caches = map[string]*topology.Cache{"pages": &v}
	return sys
}

// Each node carries out one command after the other. Where nothing is known of the keys each node gets a third of the commands, at
// random: three M/M/1 queues, in which a command is for 1/(mu - lambda/3).
func TestNodesOfACacheAreQueues(t *testing.T) {
	heavy(t)
	const rate, lookup = 2100.0, 0.001
	r := simulate(t, onNodes(rate, topology.Cache{HitRatio: 1, Lookup: &topology.Cost{CPU: ms(1000 * lookup)}}), Options{Seed: 1, Replications: 4, Duration: 60 * time.Second})
	within(t, "a lookup takes", r.service(t, "caches.pages").Response.Value.Seconds(), 1/(1/lookup-rate/3), 0.05)
	within(t, "cores used", r.service(t, "caches.pages").CPU.Value, rate*lookup, 0.02)
	within(t, "the busiest has", r.block(t, "caches.pages").Busiest.Value, 1.0/3, 0.02)
	if n := r.block(t, "caches.pages").Nodes; n != 3 {
		t.Errorf("%d nodes", n)
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "of its 6 nodes the 3 primaries are simulated") {
		t.Errorf("it is not said what is left out: %s", notes)
	}
}

// Each node has its own memory: one that holds few keys does not lend to one that holds many. Asked for all alike, an LRU list of c
// entries that n keys compete for has min(n, c) of them.
func TestNodesOfACacheDoNotShareMemory(t *testing.T) {
	const keys, entries = 40, 14
	sys := onNodes(500, topology.Cache{Engine: "redis", Keys: keys, Skew: ptr(0.0), Entry: 1 << 10, Memory: 3 * entries << 10, Lookup: free})
	sys.Services["web"].Uses = append(sys.Services["web"].Uses, "tables.pages")
	sys.Tables = map[string]*topology.Table{"pages": {Read: free, Write: free, Engine: "embedded"}}
	held := [3]int{}
	b := block{blockModel: &blockModel{nodes: 3}}
	for k := range uint64(keys) {
		held[b.nodeOf(k)]++
	}
	want := 0.0
	for _, n := range held {
		want += float64(min(n, entries)) / keys
	}
	if want > 0.97 {
		t.Fatalf("the nodes have %v keys: want some to have more than %d", held, entries)
	}
	r := simulate(t, sys, Options{Seed: 2, Warmup: 5 * time.Second, Replications: 2, Duration: 40 * time.Second})
	within(t, "hit ratio", r.block(t, "caches.pages").HitRatio.Value, want, 0.02)
}

// A hot key is at one node, which gets all that is asked of it beside its share of the others.
func TestHotKeyIsAtOneNode(t *testing.T) {
	const keys, skew = 1000, 2.0
	z, err := stats.NewZipf(keys, skew)
	if err != nil {
		t.Fatal(err)
	}
	share := [3]float64{}
	b := block{blockModel: &blockModel{nodes: 3}}
	for k, w := range z.Weights() {
		share[b.nodeOf(uint64(k))] += w
	}
	want := max(share[0], share[1], share[2])
	if want < 0.65 { // the hottest key alone has 1/zeta(2) = 0.608
		t.Fatalf("the nodes have %v of the requests", share)
	}
	r := simulate(t, onNodes(500, topology.Cache{Engine: "embedded", Keys: keys, Skew: ptr(skew), Lookup: free}), Options{Seed: 3, Warmup: -1, Replications: 2, Duration: 30 * time.Second})
	within(t, "the busiest has", r.block(t, "caches.pages").Busiest.Value, want, 0.02)
}

// When a node dies its keys are not there, and those of the others are.
func TestNodeOfACacheDies(t *testing.T) {
	sys := onNodes(200, topology.Cache{HitRatio: 1, Lookup: free})
	r := simulate(t, sys, Options{Seed: 4, Warmup: -1, Replications: 2, Duration: 60 * time.Second,
		Faults: []Fault{{Kind: FaultKill, Service: "caches.pages", Replicas: 1, At: 20 * time.Second, For: -1}}})
	b := r.block(t, "caches.pages")
	within(t, "operations that no node answers", float64(b.Unavailable)/float64(b.Operations), 1.0/3*2/3, 0.03)
	for _, embedded := range []bool{true, false} {
		b := block{blockModel: &blockModel{nodes: 3, keys: 300, capacity: 300, embedded: embedded}}
		b.caches = b.newCaches()
		for k := range b.keys {
			b.cacheOf(k).put(k, 0)
		}
		dead := b.nodeOf(0)
		b.caches[dead].clear()
		for k := range b.keys {
			if got, want := b.cacheOf(k).get(k, 0), b.nodeOf(k) != dead; got != want {
				t.Errorf("embedded %v: key %d of node %d is held: %v", embedded, k, b.nodeOf(k), got)
			}
		}
		b.caches = b.newCaches()
		b.cacheOf(0).put(0, 0)
		for i, c := range b.caches {
			if i != dead {
				c.clear()
			}
		}
		if !b.cacheOf(0).get(0, 0) {
			t.Errorf("embedded %v: what was stored last, at another node, is not there", embedded)
		}
	}
}

// TestNodeOfACacheForgets: the node that is killed is empty afterwards, and the others are not.
func TestNodeOfACacheForgets(t *testing.T) {
	m, err := New(onNodes(10, topology.Cache{Engine: "embedded", Keys: 300, Memory: 3 << 20, Lookup: free}), Options{Seed: 5, Warmup: -1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSim(m, m.load, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &s.blocks[0]
	const dead = 1
	s.halt(s.services[b.service].replicas[dead], replicaDown)
	for k := range b.keys {
		if got, want := b.cacheOf(k).get(k, 0), b.nodeOf(k) != dead; got != want {
			t.Errorf("key %d of node %d is held: %v", k, b.nodeOf(k), got)
		}
	}
}

// A node that has no room for what it is asked for does not disturb the others, with which it has its table of keys in common.
func TestNodesOfACacheKeepTheirKeys(t *testing.T) {
	for _, embedded := range []bool{true, false} {
		b := block{blockModel: &blockModel{nodes: 3, keys: 5000, capacity: 64, embedded: embedded}, draws: newStream(1, 0, "keys")}
		b.caches = b.newCaches()
		for range 200_000 {
			k := b.key()
			switch c := b.cacheOf(k); {
			case b.draws.uniform() < 0.0001:
				c.clear()
			case b.draws.uniform() < 0.1:
				c.drop(k)
			case !c.get(k, 0):
				c.put(k, 0)
			}
		}
		held := [3]int{}
		for k := range b.keys {
			if b.cacheOf(k).get(k, 0) {
				held[b.nodeOf(k)]++
			}
		}
		for i, n := range held {
			if n == 0 || n > 64 {
				t.Errorf("embedded %v: node %d holds %d keys", embedded, i, n)
			}
		}
	}
}
