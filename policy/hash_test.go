package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

var hashing = []topology.Balance{topology.RingHash, topology.Maglev, topology.BoundedHash, topology.Rendezvous}

// named returns a pool of n backends with the keys that a gateway gives them.
func named(t testing.TB, balance topology.Balance, n int) *Pool {
	t.Helper()
	p, err := NewPool(balance, nil)
	if err != nil {
		t.Fatal(err)
	}
	var members []*Member
	for i := range n {
		members = append(members, p.NewMember(&Backend{Key: HashString(fmt.Sprintf("web-%d", i))}))
	}
	p.Set(members)
	return p
}

// assign places keys and returns the backend of each; held ones stay in flight.
func assign(t testing.TB, p *Pool, keys int, hold bool) []*Member {
	t.Helper()
	got := make([]*Member, keys)
	var grants []Grant
	for k := range got {
		g, why := p.Pick(&Request{Hash: HashString(fmt.Sprint("user ", k))}, 0)
		if why != Picked {
			t.Fatal(why)
		}
		got[k] = g.Member
		if hold {
			grants = append(grants, g)
		} else {
			p.Release(g, 0, Success)
		}
	}
	for _, g := range grants {
		p.Release(g, 0, Success)
	}
	return got
}

// When a backend leaves, at most 1/n + 5 % of the keys move, whether the system is idle or every key is in flight; and
// where the hashing is pure, none but the leaver's.
func TestKeysThatMoveWhenABackendLeaves(t *testing.T) {
	const keys = 10_000
	for _, balance := range hashing {
		for _, hold := range []bool{false, true} {
			for _, n := range []int{2, 5, 10, 50} {
				for leaver := range min(n, 3) {
					p := named(t, balance, n)
					before := assign(t, p, keys, hold)
					gone := p.Members()[leaver]
					p.Set(slices.Delete(slices.Clone(p.Members()), leaver, leaver+1))
					after := assign(t, p, keys, hold)
					moved, needless := 0, 0
					for k := range keys {
						if before[k] != after[k] {
							moved++
							if before[k] != gone {
								needless++
							}
						}
					}
					if share, most := float64(moved)/keys, 1/float64(n)+0.05; share > most {
						t.Errorf("%s, %d backends, held %v: %.3f of the keys moved, want at most %.3f", balance, n, hold, share, most)
					}
					if (balance == topology.RingHash || balance == topology.Rendezvous) && needless > 0 {
						t.Errorf("%s, %d backends: %d keys of others moved", balance, n, needless)
					}
					if balance == topology.Maglev && float64(needless)/keys > 0.03 {
						t.Errorf("maglev, %d backends: %.4f of the keys moved although they were not the leaver's", n, float64(needless)/keys)
					}
				}
			}
		}
	}
}

// Keys spread evenly, as far as each policy promises it, and by weight.
func TestHashingSpreadsByWeight(t *testing.T) {
	const keys, n = 40_000, 8
	for _, balance := range hashing {
		tolerance := map[topology.Balance]float64{topology.RingHash: 0.30, topology.BoundedHash: 0.30, topology.Maglev: 0.06, topology.Rendezvous: 0.08}[balance]
		for _, weights := range [][]int{{1}, {1, 2, 3}} {
			p := named(t, balance, n)
			sum := 0
			for i, m := range p.Members() {
				m.Weight = weights[i%len(weights)]
				sum += m.Weight
			}
			p.Set(p.Members())
			counts := map[*Member]int{}
			for _, m := range assign(t, p, keys, false) {
				counts[m]++
			}
			for i, m := range p.Members() {
				want := float64(keys*m.Weight) / float64(sum)
				if off := math.Abs(float64(counts[m])-want) / want; off > tolerance {
					t.Errorf("%s, weights %v: backend %d has %d keys, want about %.0f", balance, weights, i, counts[m], want)
				}
			}
		}
	}
}

func TestMaglevTableIsFull(t *testing.T) {
	p := named(t, topology.Maglev, 7)
	counts := make([]int, 7)
	for _, i := range p.view.Load().table {
		counts[i]++
	}
	if least, most := slices.Min(counts), slices.Max(counts); most-least > 1 {
		t.Errorf("places by backend: %v", counts)
	}
}

// Whatever the keys, no backend is ever given more than 1.25 times its share of what is in flight, rounded up.
func TestBoundIsKept(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	for range 50 {
		n := 1 + rng.IntN(12)
		p := named(t, topology.BoundedHash, n)
		weights := 0
		for _, m := range p.Members() {
			m.Weight = 1 + rng.IntN(3)
			weights += m.Weight
		}
		p.Set(p.Members())
		var held []Grant
		for range 400 {
			if len(held) > 0 && rng.IntN(3) == 0 {
				i := rng.IntN(len(held))
				p.Release(held[i], 0, Success)
				held = slices.Delete(held, i, i+1)
				continue
			}
			g := pick(t, p, &Request{Hash: uint64(rng.IntN(3))}, 0) // hot keys
			held = append(held, g)
			if most := math.Ceil(1.25 * float64(len(held)*g.Weight) / float64(weights)); float64(g.InFlight()) > most {
				t.Fatalf("%d of %d requests at one of %d backends, weight %d of %d: want at most %v", g.InFlight(), len(held), n, g.Weight, weights, most)
			}
		}
	}
}

// Equal keys meet equal backends as long as nothing is in the way, and the same other one where something is.
func TestHashingIsStable(t *testing.T) {
	for _, balance := range hashing {
		p := named(t, balance, 10)
		one, two := assign(t, p, 500, false), assign(t, p, 500, false)
		if !slices.Equal(one, two) {
			t.Errorf("%s: keys wander", balance)
		}
		out := p.Members()[3]
		out.Limit = 1
		place := pick(t, p, &Request{Prefer: out.Key, Bound: true}, 0)
		if place.Member != out {
			t.Fatalf("%s: the bound request went elsewhere", balance)
		}
		detour, again := assign(t, p, 500, false), assign(t, p, 500, false)
		spread := map[*Member]bool{}
		for k := range detour {
			switch {
			case balance != topology.BoundedHash && detour[k] != again[k]:
				t.Fatalf("%s: detours wander", balance)
			case one[k] != out && balance != topology.BoundedHash && detour[k] != one[k]:
				t.Fatalf("%s: a key of another backend moved", balance)
			case detour[k] == out:
				t.Fatalf("%s: a full backend was picked", balance)
			case one[k] == out:
				spread[detour[k]] = true
			}
		}
		if len(spread) < 4 {
			t.Errorf("%s: detours lead to only %d of 9 others", balance, len(spread))
		}
	}
}

func TestHashStringDiffers(t *testing.T) {
	seen := map[uint64]bool{}
	var ones [64]int
	for i := range 10_000 {
		h := HashString(fmt.Sprint("a", i))
		seen[h] = true
		for b := range ones {
			ones[b] += int(h >> b & 1)
		}
	}
	if len(seen) != 10_000 {
		t.Errorf("%d different hashes", len(seen))
	}
	for b, n := range ones {
		if n < 4700 || n > 5300 {
			t.Errorf("bit %d is set %d times in 10,000", b, n)
		}
	}
}
