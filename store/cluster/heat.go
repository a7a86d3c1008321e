package cluster

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/store/shard"
)

// heat counts what is asked for, by bucket and by partition key. Writes are counted where they are applied, which is on every node;
// reads by the node that answers them.
type heat struct {
	partition func(key []byte) (name string, ok bool)

	mu     sync.Mutex
	at     time.Time
	writes [shard.Buckets + 1]float64 // that fade
	reads  [shard.Buckets + 1]float64
	keys   *stats.TopK // of every sampled request
	halved time.Time
}

const (
	sampled  = 8  // one request in so many is looked at more closely
	places   = 64 // of partition keys that are counted
	halfLife = 5 * time.Second
)

func newHeat(now time.Time, partition func([]byte) (string, bool)) *heat {
	return &heat{partition: partition, at: now, halved: now, keys: stats.NewTopK(places)}
}

func (h *heat) read(key []byte)  { h.count(&h.reads, key) }
func (h *heat) wrote(key []byte) { h.count(&h.writes, key) }

func (h *heat) count(what *[shard.Buckets + 1]float64, key []byte) {
	if rand.IntN(sampled) != 0 {
		return
	}
	name, ok := h.partition(key)
	h.mu.Lock()
	defer h.mu.Unlock()
	what[min(shard.HomeOf(key), shard.Buckets)] += sampled
	if ok {
		h.keys.Add([]byte(name))
	}
}

// cool lets what was counted fade, as of an instant.
func (h *heat) cool(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	passed := now.Sub(h.at)
	if passed <= 0 {
		return
	}
	keep := math.Exp2(-float64(passed) / float64(halfLife))
	for i := range h.writes {
		h.writes[i] *= keep
		h.reads[i] *= keep
	}
	if h.at = now; now.Sub(h.halved) >= halfLife {
		h.halved = now
		h.keys.Halve()
	}
}

// perSecond are the requests a second of each home.
func (h *heat) perSecond() (writes, reads [shard.Buckets + 1]float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.writes {
		writes[i] = h.writes[i] * math.Ln2 / halfLife.Seconds()
		reads[i] = h.reads[i] * math.Ln2 / halfLife.Seconds()
	}
	return writes, reads
}

// HotKey is a partition key that is asked for often.
type HotKey struct {
	Key   string  // the table and the value
	Share float64 // of all requests
}

func (h *heat) hottest(n int) (all []HotKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	total := h.keys.Total()
	for _, c := range h.keys.Top(n) {
		all = append(all, HotKey{Key: c.Key, Share: c.Count / max(total, 1)})
	}
	return slices.Clip(all)
}
