package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/banyanhq/banyan/cache/slot"
)

// TestOriginsInACluster: the owner of a key loads and writes it, a replica sends there who asks for what it has not, and each key is loaded
// once.
func TestOriginsInACluster(t *testing.T) {
	from := newService(t)
	from.values["1"], from.values["2"] = "one", "two"
	f := newFleetOf(t, 4, 1, func(c *Config) { c.Origins = []Origin{from.origin(Origin{Write: writeThrough})} })
	c := f.client()
	ctx := t.Context()
	for range 3 {
		for key, want := range from.values {
			if v, err := c.Get(ctx, "item:"+key).Result(); err != nil || v != want {
				t.Fatal(v, err)
			}
		}
	}
	if n := from.asked.Load(); n != 2 {
		t.Errorf("the origin was asked %d times", n)
	}
	if err := c.Set(ctx, "item:3", "three", 0).Err(); err != nil {
		t.Fatal(err)
	}
	f.following()
	for id := range f.nodes {
		node := f.dial(id)
		node.doLine("readonly")
		for _, key := range []string{"1", "3", "4"} {
			got := node.doLine("get item:" + key)
			moved := strings.HasPrefix(got, "-MOVED")
			f.nodes[id].mu.Lock()
			h := f.nodes[id].sharding
			owner, mine := h.shardOf(id), uint64(h.m.Owners[slot.Of([]byte("item:"+key))])
			f.nodes[id].mu.Unlock()
			switch {
			case owner != mine:
				if !moved {
					t.Errorf("node %d, which has nothing to do with item:%s: %s", id, key, got)
				}
			case owner != id && key == "4":
				if !moved {
					t.Errorf("a replica, of what is not there: %s", got)
				}
			case moved:
				t.Errorf("node %d, of item:%s: %s", id, key, got)
			}
		}
	}
	if got := f.dial(3).doLine("set item:1 x"); !strings.HasPrefix(got, "-MOVED") && !strings.HasPrefix(got, "-READONLY") {
		t.Errorf("a replica that is written to: %s", got)
	}
}

// TestOriginsWhileSlotsMove: what is written while slots move is what the origin and the cache have in the end, and nobody sees an error.
func TestOriginsWhileSlotsMove(t *testing.T) {
	from := newService(t)
	f := newFleetOf(t, 3, 0, func(c *Config) { c.Origins = []Origin{from.origin(Origin{Write: writeThrough})} })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var workers sync.WaitGroup
	last := make([]map[string]string, 3)
	for w := range last {
		last[w] = map[string]string{}
		c := f.client()
		workers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key, value := fmt.Sprintf("item:%d-%d", w, i%40), fmt.Sprint(i)
				if err := c.Set(context.Background(), key, value, 0).Err(); err != nil {
					t.Errorf("SET %s: %v", key, err)
					return
				}
				last[w][key] = value
				other := fmt.Sprintf("item:%d-%d", w, (i*7)%40)
				v, err := c.Get(context.Background(), other).Result()
				if want, known := last[w][other]; known && v != want || err != nil && !errors.Is(err, redis.Nil) {
					t.Errorf("GET %s: %q, %v, want %q", other, v, err, want)
					return
				}
			}
		})
	}
	for _, weights := range []string{"1 0", "1 1 2 0", "2 3"} {
		if got := f.dial(1).doLine("cache.rebalance " + weights); strings.HasPrefix(got, "-") {
			t.Fatal(got)
		}
		f.waitFor("the slots have moved", func() bool {
			for _, s := range f.nodes {
				if len(s.sharding.node.Map().Moving) > 0 {
					return false
				}
			}
			return true
		})
	}
	stop()
	workers.Wait()
	c := f.client()
	for _, values := range last {
		for key, want := range values {
			got, err := c.Get(t.Context(), key).Result()
			from.mu.Lock()
			there := from.values[strings.TrimPrefix(key, "item:")]
			from.mu.Unlock()
			if err != nil || got != want || there != want {
				t.Errorf("%s: the cache has %q (%v), the origin %q, want %q", key, got, err, there, want)
			}
		}
	}
}

func TestNoWriteBehindInACluster(t *testing.T) {
	_, err := New(Config{Listen: "127.0.0.1:0", Cluster: &Cluster{}, Origins: []Origin{{Keys: "a*", URL: "http://127.0.0.1/{key}", Write: writeBehind}}})
	if err == nil || !strings.Contains(err.Error(), "written behind") {
		t.Error(err)
	}
}
