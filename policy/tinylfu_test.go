package policy

import (
	"math/rand/v2"
	"testing"

	"github.com/banyanhq/banyan/stats"
)

// trace is a stream of keys.
type trace func(i int) uint64

// hitRatios runs a trace through a TinyLFU and through an LRU cache of the same size.
func hitRatios(t testing.TB, keys int, capacity, warm, n int, next trace) (tiny, lru float64) {
	t.Helper()
	p := NewTinyLFU()
	in, keyOf := map[uint64]uint32{}, map[uint32]uint64{}
	l := newLRUModel(capacity)
	var tinyHits, lruHits int
	for i := range warm + n {
		k := next(i)
		hit := false
		if e, ok := in[k]; ok {
			p.Hit(e)
			hit = true
		} else {
			p.Miss()
			e := p.Add(mixKey(k))
			in[k], keyOf[e] = e, k
			for p.Len() > capacity {
				v := p.Victim()
				if v == NoEntry {
					t.Fatal("over its size, and no victim")
				}
				delete(in, keyOf[v])
				delete(keyOf, v)
				p.Remove(v)
			}
		}
		lruHit := l.get(k)
		if i >= warm {
			if hit {
				tinyHits++
			}
			if lruHit {
				lruHits++
			}
		}
	}
	if len(in) != p.Len() {
		t.Fatalf("%d entries, %d known", p.Len(), len(in))
	}
	return float64(tinyHits) / float64(n), float64(lruHits) / float64(n)
}

func mixKey(k uint64) uint64 {
	k *= 0x9e3779b97f4a7c15
	k ^= k >> 29
	k *= 0xbf58476d1ce4e5b9
	return k ^ k>>32
}

type lruModel struct {
	capacity   int
	at         map[uint64]*lruNode
	head, tail lruNode
}

type lruNode struct {
	key        uint64
	prev, next *lruNode
}

func newLRUModel(capacity int) *lruModel {
	l := &lruModel{capacity: capacity, at: map[uint64]*lruNode{}}
	l.head.next, l.tail.prev = &l.tail, &l.head
	return l
}

func (l *lruModel) get(k uint64) bool {
	n := l.at[k]
	hit := n != nil
	if hit {
		n.prev.next, n.next.prev = n.next, n.prev
	} else {
		n = &lruNode{key: k}
		l.at[k] = n
	}
	n.prev, n.next = &l.head, l.head.next
	n.prev.next, n.next.prev = n, n
	if len(l.at) > l.capacity {
		last := l.tail.prev
		last.prev.next, l.tail.prev = &l.tail, last.prev
		delete(l.at, last.key)
	}
	return hit
}

func TestTinyLFUExperiment(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const keys = 1_000_000
	z, err := stats.NewZipf(keys, 0.99)
	if err != nil {
		t.Fatal(err)
	}
	zipf := func(int) uint64 { return 1 + z.Draw(rng.Float64) }
	tiny, lru := hitRatios(t, keys, 1000, 1_000_000, 1_500_000, zipf)
	t.Logf("zipf 0.1%%: %.4f lru %.4f", tiny, lru)
	tiny, lru = hitRatios(t, keys, 10000, 1_000_000, 1_500_000, zipf)
	t.Logf("zipf 1%%: %.4f lru %.4f", tiny, lru)
	shift := func(i int) uint64 { return 1 + (z.Draw(rng.Float64)+uint64(i/100000)*7919)%keys }
	tiny, lru = hitRatios(t, keys, 1000, 1_000_000, 2_000_000, shift)
	t.Logf("shifting zipf 0.1%%: %.4f lru %.4f", tiny, lru)
	loop := func(i int) uint64 { return 1 + uint64(i%1500) }
	tiny, lru = hitRatios(t, keys, 1000, 100_000, 1_000_000, loop)
	t.Logf("loop 1.5x: %.4f lru %.4f", tiny, lru)
	recent := func(i int) uint64 { return 1 + uint64(i) - uint64(min(float64(i), rng.ExpFloat64()*700)) }
	tiny, lru = hitRatios(t, keys, 1000, 1_000_000, 4_000_000, recent)
	t.Logf("recency: %.4f lru %.4f", tiny, lru)
}
