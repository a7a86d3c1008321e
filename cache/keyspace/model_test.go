package keyspace

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

func newStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Reserve == 0 {
		cfg.Reserve = 4 << 30
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.SetNow(1_000_000)
	return s
}

// empty fails the test unless deleting every key leaves nothing in the arena.
func empty(t *testing.T, s *Store) {
	t.Helper()
	s.SetNow(0) // so that nothing hides because it has expired
	for i := range s.Databases() {
		var keys [][]byte
		for cursor := uint64(0); ; {
			cursor = s.DB(i).Scan(cursor, func(e Entry) { keys = append(keys, bytes.Clone(e.Key())) })
			if cursor == 0 {
				break
			}
		}
		for _, k := range keys {
			s.DB(i).Delete(k)
		}
		if s.DB(i).Len() != 0 || s.DB(i).Volatile() != 0 {
			t.Errorf("after deleting all: %d keys, %d with an expiry", s.DB(i).Len(), s.DB(i).Volatile())
		}
	}
	for s.Tidy(10) {
	}
	left := int64(0)
	for i := range s.dbs {
		for side, b := range s.dbs[i].keys.buckets {
			if b != 0 {
				left += int64(bucketSize << s.dbs[i].keys.bits[side])
			}
		}
	}
	if s.Arena.Used() != left {
		t.Errorf("after deleting all: %d bytes in %d blocks are left, of which %d are buckets", s.Arena.Used(), s.Blocks(), left)
	}
}

// Strings against a map: set, extend, delete, expire, rename, while the table grows and shrinks; scans miss nothing.
func TestStringsAgainstAModel(t *testing.T) {
	for _, evict := range []Eviction{EvictNone, EvictAll, EvictVolatile} {
		t.Run(fmt.Sprint(evict), func(t *testing.T) {
			type entry struct {
				value  []byte
				expiry int64
			}
			s := newStore(t, Config{})
			s.SetLimit(1<<30, evict)
			db := s.DB(0)
			rng := rand.New(rand.NewPCG(1, uint64(evict)))
			model := map[string]entry{}
			now := s.Now()
			for i := range 24_000 {
				span := 3000 // the table grows, and later shrinks
				if i > 16_000 {
					span = 200
				}
				k := fmt.Sprintf("key:%d", rng.IntN(span))
				if m, ok := model[k]; ok && m.expiry != 0 && m.expiry <= now {
					delete(model, k)
				}
				m, ok := model[k]
				switch op := rng.IntN(12); op {
				case 0, 1, 2, 3:
					v := bytes.Repeat([]byte{byte(i)}, rng.IntN(200))
					expiry := int64(0)
					switch rng.IntN(4) {
					case 0:
						expiry = now + 1 + rng.Int64N(3000)
					case 1:
						expiry = KeepExpiry
					}
					db.SetString([]byte(k), v, expiry)
					if expiry == KeepExpiry {
						expiry = m.expiry
					}
					model[k] = entry{v, expiry}
				case 4:
					n := rng.IntN(300)
					b, err := db.Extend([]byte(k), n)
					if err != nil {
						t.Fatal(err)
					}
					v := slices.Clone(m.value)
					for len(v) < n {
						v = append(v, 0)
					}
					if !bytes.Equal(b, v) {
						t.Fatalf("step %d: extended to %q, want %q", i, b, v)
					}
					if n > 0 {
						b[n-1], v[n-1] = 'x', 'x'
					}
					model[k] = entry{v, m.expiry}
				case 5, 6, 7:
					if got := db.Delete([]byte(k)); got != ok {
						t.Fatalf("step %d: delete %s: %v, want %v", i, k, got, ok)
					}
					delete(model, k)
				case 8:
					at := int64(0)
					if rng.IntN(2) == 0 {
						at = now + 1 + rng.Int64N(3000)
					}
					if got := db.SetExpiry([]byte(k), at); got != ok {
						t.Fatalf("step %d: expire %s: %v, want %v", i, k, got, ok)
					}
					if ok {
						model[k] = entry{m.value, at}
					}
				case 9:
					if to := k + "new"; ok {
						db.Delete([]byte(to))
						db.Rename([]byte(k), db, []byte(to))
						model[to] = m
						delete(model, k)
					}
				case 10:
					s.Sweep(2)
				default:
					now += rng.Int64N(4)
					s.SetNow(now)
				}
				if m, ok := model[k]; ok && m.expiry != 0 && m.expiry <= now {
					delete(model, k)
				}
				m, ok = model[k]
				e, got := db.Find([]byte(k))
				if got != ok || ok && (!bytes.Equal(e.Bytes(), m.value) || e.Expiry() != m.expiry) {
					t.Fatalf("step %d: %s is there: %v, want %v", i, k, got, ok)
				}
			}
			for k, m := range model {
				if m.expiry != 0 && m.expiry <= now {
					delete(model, k)
				}
			}
			seen := map[string]bool{}
			for cursor := uint64(0); ; {
				if cursor = db.Scan(cursor, func(e Entry) { seen[string(e.Key())] = true }); cursor == 0 {
					break
				}
			}
			if len(seen) != len(model) {
				t.Errorf("scan found %d keys, want %d", len(seen), len(model))
			}
			if s.policy != nil && evict == EvictAll && s.policy.Len() != db.Len() {
				t.Errorf("the policy knows %d of %d keys", s.policy.Len(), db.Len())
			}
			empty(t, s)
			if s.policy != nil && s.policy.Len() != 0 {
				t.Errorf("the policy knows %d keys that are gone", s.policy.Len())
			}
		})
	}
}

func TestListsAgainstAModel(t *testing.T) {
	s := newStore(t, Config{})
	db := s.DB(0)
	rng := rand.New(rand.NewPCG(3, 4))
	var model []string
	key := []byte("list")
	for i := range 12_000 {
		l, err := db.MakeItems(key)
		if err != nil {
			t.Fatal(err)
		}
		v := fmt.Sprint(i)
		grow := 7
		if i > 6000 {
			grow = 4
		}
		switch op := rng.IntN(11); {
		case op < 2:
			l.PushFront([]byte(v))
			model = slices.Insert(model, 0, v)
		case op < 4:
			l.PushBack([]byte(v))
			model = append(model, v)
		case op < grow:
			at := rng.IntN(len(model) + 1)
			l.Insert(at, []byte(v))
			model = slices.Insert(model, at, v)
		case len(model) == 0:
		case op < 9:
			at := []int{0, len(model) - 1, rng.IntN(len(model))}[rng.IntN(3)]
			l.Remove(at)
			model = slices.Delete(model, at, at+1)
		case op < 10:
			at := rng.IntN(len(model))
			v += string(bytes.Repeat([]byte("x"), rng.IntN(30)))
			l.Set(at, []byte(v))
			model[at] = v
		default:
			at, n := rng.IntN(len(model)), rng.IntN(len(model))
			var got []string
			l.Range(at, n, func(i int, b []byte) bool {
				if string(b) != model[i] {
					t.Fatalf("step %d: item %d is %s, want %s", i, i, b, model[i])
				}
				got = append(got, string(b))
				return true
			})
			if len(got) != min(n, len(model)-at) {
				t.Fatalf("step %d: %d items from %d on, want %d", i, len(got), at, n)
			}
		}
		if l.Len() != len(model) {
			t.Fatalf("step %d: %d items, want %d", i, l.Len(), len(model))
		}
		if len(model) > 0 {
			if at := rng.IntN(len(model)); string(l.At(at)) != model[at] {
				t.Fatalf("step %d: item %d is %s, want %s", i, at, l.At(at), model[at])
			}
		}
	}
	empty(t, s)
}

func TestRankingsAgainstAModel(t *testing.T) {
	s := newStore(t, Config{})
	db := s.DB(0)
	rng := rand.New(rand.NewPCG(5, 6))
	model := map[string]float64{}
	key := []byte("zset")
	for i := range 8_000 {
		z, err := db.MakeRanking(key)
		if err != nil {
			t.Fatal(err)
		}
		m := fmt.Sprint(rng.IntN(800))
		if rng.IntN(3) > 0 {
			score := float64(rng.IntN(50))
			_, had := model[m]
			if z.Set([]byte(m), score) == had {
				t.Fatalf("step %d: %s is new: %v", i, m, had)
			}
			model[m] = score
		} else {
			_, had := model[m]
			if z.Delete([]byte(m)) != had {
				t.Fatalf("step %d: %s was there: %v", i, m, !had)
			}
			delete(model, m)
		}
		if i%500 != 0 || len(model) == 0 {
			continue
		}
		names := make([]string, 0, len(model))
		for m := range model {
			names = append(names, m)
		}
		sort.Slice(names, func(a, b int) bool {
			x, y := model[names[a]], model[names[b]]
			return x < y || x == y && names[a] < names[b]
		})
		k := 0
		z.Range(0, len(names), false, func(m []byte, score float64) bool {
			if string(m) != names[k] || score != model[names[k]] {
				t.Fatalf("step %d: rank %d is %s, want %s", i, k, m, names[k])
			}
			k++
			return true
		})
		if k != len(names) || z.Len() != k {
			t.Fatalf("step %d: %d members, want %d", i, k, len(names))
		}
		for want, m := range names {
			if rank, ok := z.Rank([]byte(m)); !ok || rank != want {
				t.Fatalf("step %d: %s has rank %d, want %d", i, m, rank, want)
			}
		}
		from := rng.IntN(len(names))
		k = from
		z.Range(from, len(names), true, func(m []byte, _ float64) bool {
			if string(m) != names[k] {
				t.Fatalf("step %d: backwards, rank %d is %s, want %s", i, k, m, names[k])
			}
			k--
			return true
		})
		if k != -1 {
			t.Fatalf("step %d: backwards it ended before rank %d", i, k)
		}
	}
	empty(t, s)
}

func TestFieldsAgainstAModel(t *testing.T) {
	s := newStore(t, Config{})
	db := s.DB(0)
	rng := rand.New(rand.NewPCG(7, 8))
	model := map[string]string{}
	for i := range 16_000 {
		f, err := db.MakeFields([]byte("hash"), Hash)
		if err != nil {
			t.Fatal(err)
		}
		k, v := fmt.Sprint(rng.IntN(2000)), fmt.Sprint(rng.Uint64())
		_, had := model[k]
		if add := rng.IntN(5); add < 3 && i < 10_000 || add < 1 {
			if f.Set([]byte(k), []byte(v)) == had {
				t.Fatalf("step %d: %s was there: %v", i, k, had)
			}
			model[k] = v
		} else {
			if f.Delete([]byte(k)) != had {
				t.Fatalf("step %d: %s was there: %v", i, k, !had)
			}
			delete(model, k)
		}
		if got, ok := f.Get([]byte(k)); ok != (model[k] != "") || string(got) != model[k] {
			t.Fatalf("step %d: %s is %q, want %q", i, k, got, model[k])
		}
		if f.Len() != len(model) {
			t.Fatalf("step %d: %d fields, want %d", i, f.Len(), len(model))
		}
	}
	seen := map[string]bool{}
	f, _ := db.MakeFields([]byte("hash"), Hash)
	f.Each(func(k, v []byte) bool {
		if model[string(k)] != string(v) {
			t.Errorf("%s is %s, want %s", k, v, model[string(k)])
		}
		seen[string(k)] = true
		return true
	})
	if len(seen) != len(model) {
		t.Errorf("%d fields visited, want %d", len(seen), len(model))
	}
	empty(t, s)
}

// Keys that are there all the while are found by a scan during which the table grows, and shrinks.
func TestScanWhileTheTableMoves(t *testing.T) {
	s := newStore(t, Config{})
	db := s.DB(0)
	for i := range 500 {
		db.SetString(fmt.Append(nil, "stays", i), nil, 0)
	}
	rng := rand.New(rand.NewPCG(9, 10))
	for round := range 8 {
		seen := map[string]bool{}
		n := 0
		for cursor := uint64(0); ; {
			cursor = db.Scan(cursor, func(e Entry) { seen[string(e.Key())] = true })
			if cursor == 0 {
				break
			}
			for range 60 {
				if k := fmt.Append(nil, "goes", rng.IntN(20_000)); round%2 == 0 {
					db.SetString(k, nil, 0)
				} else {
					db.Delete(k)
				}
			}
			if n++; n > 100_000 {
				t.Fatal("the scan has no end")
			}
		}
		for i := range 500 {
			if k := fmt.Sprint("stays", i); !seen[k] {
				t.Fatalf("round %d: %s was not found", round, k)
			}
		}
	}
}

// The budget is kept, by the arena's own count, with values of all sizes; the newest key is always there.
func TestBudgetIsKept(t *testing.T) {
	evicted := 0
	s := newStore(t, Config{Gone: func(_ int, _ []byte, why Reason) {
		if why == Evicted {
			evicted++
		}
	}})
	const limit = 8 << 20
	s.SetLimit(limit, EvictAll)
	db := s.DB(0)
	rng := rand.New(rand.NewPCG(11, 12))
	for i := range 40_000 {
		k := fmt.Append(nil, "key", rng.IntN(200_000))
		db.SetString(k, make([]byte, rng.IntN(400)), 0)
		for !s.Evict(0) && s.CanEvict() {
		}
		if s.Used() > limit {
			t.Fatalf("step %d: %d bytes are used", i, s.Used())
		}
		if _, ok := db.Find(k); !ok {
			t.Fatalf("step %d: the key that was set is gone at once", i)
		}
	}
	if evicted == 0 || s.Used() < limit*9/10 {
		t.Errorf("%d keys were evicted, %d bytes of %d are used", evicted, s.Used(), limit)
	}
	// Keys from before there was a limit are evicted as well.
	s.SetLimit(0, EvictNone)
	s.SetLimit(limit/2, EvictAll)
	for !s.Evict(0) && s.CanEvict() {
	}
	if s.Used() > limit/2 || db.Len() == 0 {
		t.Errorf("with half the limit %d bytes are used by %d keys", s.Used(), db.Len())
	}
}
