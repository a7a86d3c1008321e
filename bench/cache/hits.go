package main

import (
	"container/list"
	"fmt"
	"math/rand/v2"

	"github.com/maypok86/otter/v2"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
)

// hits prints the hit ratios of policy.TinyLFU, of otter (W-TinyLFU) and of LRU for the same requests: each key is looked
// up, and stored where it is not found. The first requests, which fill the caches, do not count.
func hits() error {
	const warm, n = 2_000_000, 4_000_000
	fmt.Printf("\nhit ratios; %d requests after %d that do not count\n%-34s %9s %9s %9s\n", n, warm, "", "banyan", "otter", "LRU")
	for _, c := range []struct {
		name           string
		keys, capacity int
		next           func(z *stats.Zipf, rng *rand.Rand, i int) uint64
	}{
		{"zipf 0.99, 1M keys, 0.1 %", 1_000_000, 1000, zipf},
		{"zipf 0.99, 10M keys, 0.1 %", 10_000_000, 10_000, zipf},
		{"zipf 0.99, 1M keys, 1 %", 1_000_000, 10_000, zipf},
		{"the same, moving on", 1_000_000, 10_000, func(z *stats.Zipf, rng *rand.Rand, i int) uint64 {
			return (z.Draw(rng.Float64) + uint64(i/500_000)*7919) % 1_000_000
		}},
		{"a loop of 1.5 times the cache", 1, 10_000, func(_ *stats.Zipf, _ *rand.Rand, i int) uint64 { return uint64(i % 15_000) }},
		{"new keys, asked for again soon", 1, 10_000, func(_ *stats.Zipf, rng *rand.Rand, i int) uint64 {
			return uint64(i) - uint64(min(float64(i), rng.ExpFloat64()*7000))
		}},
	} {
		z, err := stats.NewZipf(uint64(c.keys), 0.99)
		if err != nil {
			return err
		}
		fmt.Printf("%-34s", c.name)
		peer, err := newOtter(c.capacity)
		if err != nil {
			return err
		}
		for _, cache := range []store{newTiny(c.capacity), peer, newLRU(c.capacity)} {
			rng := rand.New(rand.NewPCG(1, 2))
			found := 0
			for i := range warm + n {
				if cache.ask(c.next(z, rng, i)) && i >= warm {
					found++
				}
			}
			fmt.Printf(" %7.2f %%", 100*float64(found)/n)
		}
		fmt.Println()
	}
	return nil
}

func zipf(z *stats.Zipf, rng *rand.Rand, _ int) uint64 { return z.Draw(rng.Float64) }

// store is a cache; ask looks a key up, stores it if it is not there, and reports whether it was.
type store interface{ ask(key uint64) bool }

type tiny struct {
	p        *policy.TinyLFU
	capacity int
	in       map[uint64]uint32
	keys     map[uint32]uint64
}

func newTiny(capacity int) *tiny {
	return &tiny{policy.NewTinyLFU(), capacity, map[uint64]uint32{}, map[uint32]uint64{}}
}

func (t *tiny) ask(key uint64) bool {
	if i, ok := t.in[key]; ok {
		t.p.Hit(i)
		return true
	}
	t.p.Miss()
	h := (key ^ key>>33) * 0xff51afd7ed558ccd
	i := t.p.Add(h ^ h>>33)
	t.in[key], t.keys[i] = i, key
	for t.p.Len() > t.capacity {
		v := t.p.Victim()
		delete(t.in, t.keys[v])
		delete(t.keys, v)
		t.p.Remove(v)
	}
	return false
}

type peer struct{ c *otter.Cache[uint64, uint64] }

func newOtter(capacity int) (*peer, error) {
	c, err := otter.New(&otter.Options[uint64, uint64]{MaximumSize: capacity, Executor: func(f func()) { f() }})
	return &peer{c}, err
}

func (p *peer) ask(key uint64) bool {
	if _, ok := p.c.GetIfPresent(key); ok {
		return true
	}
	p.c.Set(key, key)
	return false
}

type lru struct {
	capacity int
	order    *list.List
	at       map[uint64]*list.Element
}

func newLRU(capacity int) *lru { return &lru{capacity, list.New(), map[uint64]*list.Element{}} }

func (l *lru) ask(key uint64) bool {
	if e, ok := l.at[key]; ok {
		l.order.MoveToFront(e)
		return true
	}
	l.at[key] = l.order.PushFront(key)
	if l.order.Len() > l.capacity {
		delete(l.at, l.order.Remove(l.order.Back()).(uint64))
	}
	return false
}
