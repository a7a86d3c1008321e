package workqueue

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	b := NewBucket(Limit{PerSecond: 10, Burst: 3})
	now := time.Hour
	if n := b.Have(now, 100); n != 3 {
		t.Fatalf("a full bucket has %d", n)
	}
	b.Take(now, 3)
	if n := b.Have(now, 100); n != 0 || b.Next() != now+100*time.Millisecond {
		t.Fatalf("an empty bucket has %d, the next at %s", n, b.Next())
	}
	if b.Have(now+99*time.Millisecond, 1) != 0 || b.Have(now+100*time.Millisecond, 5) != 1 || b.Have(now+time.Hour, 5) != 3 {
		t.Error("tokens do not come one each 100 ms, up to three")
	}
	b.Give(2)
	if n := b.Have(now, 100); n != 2 {
		t.Errorf("%d after two were given back", n)
	}
	if NewBucket(Limit{}) != nil || NewBucket(Limit{PerSecond: 0.5}).Have(now, 9) != 1 || NewBucket(Limit{PerSecond: 20}).Have(now, 99) != 20 {
		t.Error("defaults")
	}
	var none *Bucket
	if none.Take(now, 5); none.Have(now, 7) != 7 || none.Next() != 0 {
		t.Error("a nil bucket has a limit")
	}
}

// In no interval are more taken than the rate and the burst allow, and a greedy taker loses nothing of the rate.
func TestBucketKeepsItsRate(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 7))
		l := Limit{PerSecond: 0.5 + 200*rng.Float64(), Burst: 1 + rng.IntN(50)}
		b := NewBucket(l)
		taken := 0
		var now time.Duration
		for now < time.Minute {
			now += time.Duration(rng.IntN(int(20 * time.Millisecond)))
			n := b.Have(now, 1+rng.IntN(100))
			b.Take(now, n)
			taken += n
			if most := l.PerSecond*now.Seconds()*1.0001 + float64(l.Burst); float64(taken) > most {
				t.Fatalf("%+v: %d by %s, at most %.1f", l, taken, now, most)
			}
		}
		if least := l.PerSecond*now.Seconds()*0.95 - 20; float64(taken) < least && float64(l.Burst) > l.PerSecond*0.03 {
			t.Errorf("%+v: only %d by %s, want %.1f", l, taken, now, least)
		}
	}
}
