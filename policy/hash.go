package policy

import (
	"math"
	"math/bits"
	"slices"
	"sort"
	"time"
)

// golden is 2^64 divided by the golden ratio.
const golden = 0x9e3779b97f4a7c15

// mix spreads every bit of x over all others (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fraction maps x to [0, 1).
func fraction(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// HashString returns a hash of s for Request.Hash and Backend.Key: 64-bit FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo), and
// mixed. It is no defence against one who chooses keys to load one backend; bounded-hash is.
func HashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// point is one of a member's places on the ring.
type point struct {
	hash   uint64
	member uint16
}

// pointsPerMember is the number of places of a member of average weight: shares differ by about 1/sqrt(160), 8 %.
const pointsPerMember = 160

// makeRing places the members on the circle of hashes by weight (D. Karger et al., Consistent Hashing and Random Trees,
// 1997). A member's places depend on its key alone, as long as weights are equal.
func makeRing(v *view) []point {
	var ring []point
	for i, m := range v.members {
		share := float64(m.weight()) * float64(len(v.members)) / float64(v.weights)
		points := max(1, int(math.Round(pointsPerMember*share)))
		for k := range uint64(points) {
			ring = append(ring, point{mix(mix(m.Key+golden) + k*golden), uint16(i)})
		}
	}
	slices.SortFunc(ring, func(a, b point) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return int(a.member) - int(b.member)
	})
	return ring
}

// walk returns the first member from the key's place on the ring on that ok accepts, -1 if there is none.
func walk(r *Request, ok func(r *Request, i int) bool) int {
	ring := r.view.ring
	key := mix(r.Hash)
	at := sort.Search(len(ring), func(i int) bool { return ring[i].hash >= key })
	last := -1
	for step := range ring {
		if at == len(ring) {
			at = 0
		}
		i := int(ring[at].member)
		if at++; i == last {
			continue
		}
		if ok(r, i) {
			return i
		}
		last = i
		if step == 4*r.Len() && !anyOf(r, ok) {
			return -1 // rather than once around in vain
		}
	}
	return -1
}

func anyOf(r *Request, ok func(r *Request, i int) bool) bool {
	for i := range r.members {
		if ok(r, i) {
			return true
		}
	}
	return false
}

func eligible(r *Request, i int) bool { return r.Eligible(i) }

// ringHash takes the candidate that follows the request's hash on the ring.
type ringHash struct{}

func (p *ringHash) prepare(v *view)                    { v.ring = makeRing(v) }
func (p *ringHash) Pick(r *Request) int                { return walk(r, eligible) }
func (p *ringHash) Done(Grant, time.Duration, Outcome) {}

// boundedHash is ringHash, but for candidates that have more than 1.25 times their share of the requests in flight,
// which are passed over (V. Mirrokni, M. Thorup, M. Zadimoghaddam, Consistent Hashing with Bounded Loads, 2018). So a
// hot key spreads over as many backends as it needs.
type boundedHash struct{}

// The bound is 1 + 1/boundShare of the average load.
const boundShare = 4

func (p *boundedHash) prepare(v *view) { v.ring = makeRing(v) }

func (p *boundedHash) Pick(r *Request) int {
	total := int64(1) // with this one
	for _, m := range r.members {
		total += m.InFlight()
	}
	r.total = uint64(total)
	i := walk(r, within)
	if i < 0 {
		i = walk(r, eligible) // those with room cannot be used for other reasons
	}
	return i
}

// within reports whether a candidate may take one more: ceil(1.25 x total x its share of the weights).
func within(r *Request, i int) bool {
	m := r.members[i]
	hi, lo := bits.Mul64(r.total*(boundShare+1), uint64(m.weight()))
	quotient, rest := bits.Div64(hi, lo, uint64(boundShare*r.view.weights))
	if rest > 0 {
		quotient++
	}
	return uint64(m.InFlight()) < quotient && r.Eligible(i)
}

func (p *boundedHash) Done(Grant, time.Duration, Outcome) {}

// maglevSize is the size of the table: a prime, so that every step visits all places (Google's choice).
const maglevSize = 65537

// maglev takes the candidate that stands at the request's hash in a table that the members fill in turns, each in an
// order of its own (D. Eisenbud et al., Maglev, NSDI 2016, 3.4). Shares are even to about 1 %; when a member leaves,
// nearly only its own places change. Members of more weight take more turns.
type maglev struct{}

func (p *maglev) prepare(v *view) {
	n := len(v.members)
	type order struct{ at, skip uint32 }
	orders := make([]order, n)
	var most int
	for i, m := range v.members {
		h := mix(m.Key + golden)
		orders[i] = order{uint32(h % maglevSize), uint32(mix(h)%(maglevSize-1)) + 1}
		most = max(most, m.weight())
	}
	v.table = make([]uint16, maglevSize)
	taken := make([]bool, maglevSize)
	credit := make([]int, n)
	for filled := 0; ; {
		for i, m := range v.members {
			if credit[i] += m.weight(); credit[i] < most {
				continue
			}
			credit[i] -= most
			o := &orders[i]
			for taken[o.at] {
				o.at = (o.at + o.skip) % maglevSize
			}
			taken[o.at], v.table[o.at] = true, uint16(i)
			if filled++; filled == maglevSize {
				return
			}
		}
	}
}

func (p *maglev) Pick(r *Request) int {
	table := r.view.table
	if len(table) == 0 {
		return -1
	}
	at := mix(r.Hash) % maglevSize
	for step := 0; step < maglevSize; step++ {
		// The places that follow belong to all others alike.
		if i := int(table[at]); r.Eligible(i) {
			return i
		}
		if at++; at == maglevSize {
			at = 0
		}
		if step == 4*r.Len() && !anyOf(r, eligible) {
			return -1
		}
	}
	return -1
}

func (p *maglev) Done(Grant, time.Duration, Outcome) {}

// rendezvous takes the eligible candidate with the highest score for the request (D. Thaler, C. Ravishankar, Using
// Name-Based Mappings to Increase Hit Rates, 1998), weighted as -w/ln(u) (C. Schindelhauer, G. Schomaker, Weighted
// Distributed Hash Tables, 2005). It needs no table and moves the fewest keys of all, at a cost that grows with the
// number of candidates.
type rendezvous struct{}

func (p *rendezvous) Pick(r *Request) int {
	best, highest := -1, uint64(0)
	if !r.view.even {
		return pickWeighted(r)
	}
	for i, m := range r.members {
		if score := mix(r.Hash ^ mix(m.Key+golden)); (best < 0 || score > highest) && r.Eligible(i) {
			best, highest = i, score
		}
	}
	return best
}

func pickWeighted(r *Request) int {
	best, least := -1, math.Inf(1)
	for i, m := range r.members {
		u := fraction(mix(r.Hash ^ mix(m.Key+golden)))
		if cost := -math.Log1p(-u) / float64(m.weight()); cost < least && r.Eligible(i) {
			best, least = i, cost
		}
	}
	return best
}

func (p *rendezvous) Done(Grant, time.Duration, Outcome) {}
