package queueing

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Without a TTL and with objects of one size it is Che's approximation as CacheHits has it.
func TestSharedCacheIsChe(t *testing.T) {
	p, err := Zipf(20_000, 0.8)
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := CacheHits(p, 1500, LRU)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := ZipfObjects(20_000, 0.8, 37)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) > 1000 {
		t.Errorf("%d groups", len(objects))
	}
	uses, err := SharedCache([]CacheClass{{Objects: objects, Size: 10}}, 15_000)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(uses[0].HitRatio-want) > 1e-3 || math.Abs(uses[0].Held-1500) > 0.1 {
		t.Errorf("hits %v, holds %v; want %v, 1500", uses[0].HitRatio, uses[0].Held, want)
	}
}

// The formula against a cache at work: two classes of different sizes, of which one expires.
func TestSharedCacheAgainstAnLRU(t *testing.T) {
	type class struct {
		n                     int
		zipf, rate, size, ttl float64
	}
	classes := []class{{n: 2000, zipf: 0.9, rate: 100, size: 1, ttl: 20}, {n: 500, zipf: 0, rate: 50, size: 3}}
	for _, size := range []float64{200, 900, 1e9} {
		var model []CacheClass
		var cum [][]float64
		for _, c := range classes {
			objects, err := FamilyObjects([]ZipfFactor{{c.n, c.zipf}}, false, c.rate)
			if err != nil {
				t.Fatal(err)
			}
			model = append(model, CacheClass{Objects: objects, Size: c.size, TTL: c.ttl})
			p, _ := Zipf(c.n, c.zipf)
			for i := 1; i < len(p); i++ {
				p[i] += p[i-1]
			}
			cum = append(cum, p)
		}
		uses, err := SharedCache(model, size)
		if err != nil {
			t.Fatal(err)
		}
		hits, asked := simulateShared(size, cum, func(i int) (rate, size, ttl float64) { return classes[i].rate, classes[i].size, classes[i].ttl })
		for i := range classes {
			got := hits[i] / asked[i]
			t.Logf("size %g, class %d: predicted %.4f, simulated %.4f", size, i, uses[i].HitRatio, got)
			if math.Abs(got-uses[i].HitRatio) > 0.02 {
				t.Errorf("size %g, class %d: predicted %.4f, simulated %.4f", size, i, uses[i].HitRatio, got)
			}
		}
	}
}

// simulateShared runs a naive LRU list.
func simulateShared(size float64, cum [][]float64, of func(int) (rate, size, ttl float64)) (hits, asked []float64) {
	rng := rand.New(rand.NewPCG(1, 2))
	type key struct{ class, rank int }
	type entry struct {
		fetched float64
		used    int
	}
	held, order, used, now := map[key]*entry{}, []key{}, 0.0, 0.0
	var total float64
	for i := range cum {
		rate, _, _ := of(i)
		total += rate
	}
	hits, asked = make([]float64, len(cum)), make([]float64, len(cum))
	const n = 120_000
	for turn := range n {
		now += rng.ExpFloat64() / total
		k, x := key{}, rng.Float64()*total
		for rate, _, _ := of(k.class); x > rate && k.class < len(cum)-1; rate, _, _ = of(k.class) {
			x -= rate
			k.class++
		}
		u := rng.Float64()
		lo, hi := 0, len(cum[k.class])-1
		for lo < hi {
			if mid := (lo + hi) / 2; cum[k.class][mid] < u {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		k.rank = lo
		_, s, ttl := of(k.class)
		e := held[k]
		hit := e != nil && (ttl == 0 || now-e.fetched < ttl)
		if e == nil {
			e = &entry{}
			held[k] = e
			used += s
		}
		if !hit {
			e.fetched = now
		}
		e.used = turn
		order = append(order, k)
		for used > size { // the oldest use that is still an entry's last one
			old := order[0]
			if o := held[old]; o != nil && o.used == turn-len(order)+1 {
				delete(held, old)
				_, s, _ := of(old.class)
				used -= s
			}
			order = order[1:]
		}
		if turn > n/3 {
			asked[k.class]++
			if hit {
				hits[k.class]++
			}
		}
	}
	return hits, asked
}
