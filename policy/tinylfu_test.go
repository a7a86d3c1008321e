package policy

import (
	"math/rand/v2"
	"testing"

	"github.com/banyanhq/banyan/stats"
)

// trace is a stream of keys.
type trace func(i int) uint64

// hitRatios runs a trace through a TinyLFU and through an LRU cache of the same size.
func hitRatios(t testing.TB, capacity, warm, n int, next trace) (tiny, lru float64) {
	t.Helper()
	model := newTinyModel(capacity)
	l := newLRUModel(capacity)
	var tinyHits, lruHits int
	for i := range warm + n {
		k := next(i)
		hit := model.get(k)
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
	if len(model.in) != model.policy.Len() || model.policy.Len() > capacity {
		t.Fatalf("%d entries, %d known, room for %d", model.policy.Len(), len(model.in), capacity)
	}
	return float64(tinyHits) / float64(n), float64(lruHits) / float64(n)
}

// tinyModel is a cache of keys alone that is kept by a TinyLFU.
type tinyModel struct {
	policy   *TinyLFU
	capacity int
	in       map[uint64]uint32
	keyOf    map[uint32]uint64
}

func newTinyModel(capacity int) *tinyModel {
	return &tinyModel{NewTinyLFU(), capacity, map[uint64]uint32{}, map[uint32]uint64{}}
}

// get reports whether the key was there, and stores it if not.
func (m *tinyModel) get(key uint64) bool {
	if e, ok := m.in[key]; ok {
		m.policy.Hit(e)
		return true
	}
	m.policy.Miss()
	e := m.policy.Add(mixKey(key))
	m.in[key], m.keyOf[e] = e, key
	for m.policy.Len() > m.capacity {
		v := m.policy.Victim()
		delete(m.in, m.keyOf[v])
		delete(m.keyOf, v)
		m.policy.Remove(v)
	}
	return false
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

// Where requests follow Zipf's law, what is asked for most stays: at least 8 points more hits than LRU. Where a loop is
// longer than the cache, LRU hits nothing. Where requests are for what is new, the window grows, up to near LRU. Where
// popularity moves on, the cache follows.
func TestTinyLFUAgainstLRU(t *testing.T) {
	const keys, capacity = 1_000_000, 1000
	var rng *rand.Rand // each trace has its own
	z, err := stats.NewZipf(keys, 0.99)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		next  trace
		above float64 // LRU's hit ratio
	}{
		"zipf":          {func(int) uint64 { return z.Draw(rng.Float64) }, 0.08},
		"shifting zipf": {func(i int) uint64 { return (z.Draw(rng.Float64) + uint64(i/100_000)*7919) % keys }, 0.02},
		"loop":          {func(i int) uint64 { return uint64(i % 1500) }, 0.4},
		"new":           {func(i int) uint64 { return uint64(i) - uint64(min(float64(i), rng.ExpFloat64()*700)) }, -0.15},
	} {
		t.Run(name, func(t *testing.T) {
			rng = rand.New(rand.NewPCG(1, 2))
			tiny, lru := hitRatios(t, capacity, 300_000, 300_000, c.next)
			t.Logf("TinyLFU %.1f %%, LRU %.1f %%", 100*tiny, 100*lru)
			if tiny < lru+c.above {
				t.Errorf("TinyLFU hits %.1f %%, LRU %.1f %%", 100*tiny, 100*lru)
			}
		})
	}
}

// Whatever is added, asked for, removed and evicted: the numbers are those that are in, and the window and the main queue
// hold each once.
func TestTinyLFUKeepsItsQueues(t *testing.T) {
	p := NewTinyLFU()
	rng := rand.New(rand.NewPCG(3, 4))
	in := map[uint32]bool{}
	for i := range 100_000 {
		switch op := rng.IntN(10); {
		case op < 4:
			n := p.Add(rng.Uint64())
			if in[n] {
				t.Fatalf("step %d: number %d is given out twice", i, n)
			}
			in[n] = true
		case op < 7:
			for n := range in {
				p.Hit(n)
				break
			}
		case op < 9:
			if n := p.Victim(); n != NoEntry {
				if !in[n] {
					t.Fatalf("step %d: the victim %d is not in", i, n)
				}
				p.Remove(n)
				delete(in, n)
			} else if len(in) > 0 {
				t.Fatalf("step %d: no victim among %d", i, len(in))
			}
		default:
			for n := range in {
				p.Remove(n)
				delete(in, n)
				break
			}
		}
		if p.Len() != len(in) || p.window.n+p.main.n != len(in) {
			t.Fatalf("step %d: %d entries, %d and %d in the queues, want %d", i, p.Len(), p.window.n, p.main.n, len(in))
		}
	}
	seen := 0
	for _, q := range []tinyQueue{p.window, p.main} {
		for i := q.front; i != NoEntry; i = p.nodes.at(i).next {
			if !in[i] {
				t.Fatalf("%d is queued and not in", i)
			}
			seen++
		}
	}
	if seen != len(in) {
		t.Errorf("%d are queued, want %d", seen, len(in))
	}
}

// The sketch tells about how often a key was asked for: never too seldom, seldom too often, and it forgets.
func TestFrequencySketch(t *testing.T) {
	var s FrequencySketch
	s.Grow(1000)
	rng := rand.New(rand.NewPCG(5, 6))
	asked := map[uint32]int{}
	for range 4000 {
		k := uint32(mixKey(uint64(rng.IntN(1000))))
		asked[k]++
		s.Add(k)
	}
	over := 0
	for k, n := range asked {
		got := s.Estimate(k)
		if got < min(n, maxFrequency) {
			t.Fatalf("asked for %d times, told %d", n, got)
		}
		over += got - min(n, maxFrequency)
	}
	if over > len(asked)/4 {
		t.Errorf("%d too many for %d keys", over, len(asked))
	}
	for range 200_000 {
		s.Add(rng.Uint32())
	}
	forgotten := 0
	for k := range asked {
		if s.Estimate(k) < 5 {
			forgotten++
		}
	}
	if forgotten < len(asked)/2 {
		t.Errorf("%d of %d keys are forgotten", forgotten, len(asked))
	}
}
