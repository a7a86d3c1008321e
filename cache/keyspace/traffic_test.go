package keyspace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/banyanhq/banyan/stats"
)

// A key that gets a quarter of the requests is told of with its rate; when it cools down it is forgotten.
func TestHotKeys(t *testing.T) {
	s := newStore(t, Config{})
	rng := rand.New(rand.NewPCG(1, 1))
	now := int64(1_000_000)
	play := func(seconds int, hot string, share float64) {
		for range seconds * 1000 {
			now++
			s.SetNow(now)
			for range 10 { // 10,000 a second
				key := fmt.Sprint("cold", rng.IntN(100_000))
				if rng.Float64() < share {
					key = hot
				}
				s.DB(3).Get([]byte(key))
			}
		}
	}
	play(40, "hot", 0.25)
	keys := s.Hot(5)
	if len(keys) == 0 || string(keys[0].Key) != "hot" || keys[0].DB != 3 {
		t.Fatalf("hot keys %+v", keys)
	}
	if math.Abs(keys[0].Share-0.25) > 0.03 || math.Abs(keys[0].PerSecond-2500) > 300 {
		t.Errorf("told as %+v, it is a quarter of 10,000/s", keys[0])
	}
	play(60, "warm", 0.1)
	if keys = s.Hot(5); string(keys[0].Key) != "warm" || len(keys) > 1 && string(keys[1].Key) == "hot" && keys[1].Share > 0.02 {
		t.Errorf("a minute later %+v", keys)
	}
	s.SetNow(now + 1000*hotHalf)
	if keys = s.Hot(5); len(keys) > 0 {
		t.Errorf("after hours without a request %+v", keys)
	}
}

// The curve at the store's own size is what the store does.
func TestCurve(t *testing.T) {
	s := newStore(t, Config{})
	s.SetLimit(leastForCurve, EvictAll)
	z, err := stats.NewZipf(400_000, 0.9)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 100)
	ask := func(n int) {
		for range n {
			key := fmt.Append(nil, "key:", z.Draw(rng.Float64))
			if _, ok := s.DB(0).Get(key); !ok {
				s.DB(0).SetString(key, value, 0)
				s.Evict(0)
			}
		}
	}
	ask(800_000)
	before := s.Counters
	ask(800_000)
	hits := float64(s.Hits-before.Hits) / float64(s.Hits-before.Hits+s.Misses-before.Misses)
	points := s.Curve()
	if points == nil {
		t.Fatal("no curve")
	}
	for i, p := range points {
		if p.Size == 1 && math.Abs(p.HitRatio-hits) > 0.04 {
			t.Errorf("%.3f by the curve, %.3f in truth", p.HitRatio, hits)
		}
		if i > 0 && p.HitRatio < points[i-1].HitRatio {
			t.Errorf("more memory, fewer hits: %v", points)
		}
	}
	if points[0].HitRatio > hits-0.05 || points[len(points)-1].HitRatio < hits+0.05 {
		t.Errorf("a flat curve: %v", points)
	}
	if s.Used() > leastForCurve {
		t.Errorf("takes %d bytes of %d", s.Used(), leastForCurve)
	}
}
