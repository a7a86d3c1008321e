package cluster

import (
	"slices"
	"testing"

	"github.com/banyanhq/banyan/store/shard"
)

func loads(perHome map[shard.Home]float64, cuts ...shard.Home) (all []Load) {
	all = append(all, Load{Range: Range{Group: 1, Leader: 1, nodes: []uint64{1, 2, 3}}, load: []float64{0}, sizes: []uint64{0}})
	for i, first := range cuts {
		l := Load{Range: Range{Group: uint64(i + 2), First: first, Last: shard.Buckets, Leader: 1, nodes: []uint64{1, 2, 3}}}
		if i+1 < len(cuts) {
			l.Last = cuts[i+1] - 1
		}
		for h := l.First; h <= l.Last; h++ {
			l.Writes += perHome[h]
			l.load, l.sizes = append(l.load, perHome[h]), append(l.sizes, 1<<20)
			l.Bytes += 1 << 20
		}
		all = append(all, l)
	}
	return all
}

// A hot range is split where its load is halved; one that is hot by one bucket is cut down to that and then left alone; cold ones are
// merged down to one for each node.
func TestPlanOfRanges(t *testing.T) {
	even := map[shard.Home]float64{}
	for h := shard.Home(1); h <= shard.Buckets; h++ {
		even[h] = 100
	}
	if a := planRanges(loads(even, 1, 12, 22), 3); len(a) != 0 {
		t.Errorf("even load: %v", a)
	}
	hot := map[shard.Home]float64{1: 500, 2: 500, 3: 500, 4: 500, 20: 100, 30: 100}
	if a := planRanges(loads(hot, 1, 12, 22), 3); len(a) != 1 || a[0].Do != "split" || a[0].Group != 2 || a[0].At != 3 {
		t.Errorf("a hot range: %v", a)
	}
	one := map[shard.Home]float64{5: 3000}
	cuts := []shard.Home{1}
	for range 10 {
		for _, a := range planRanges(loads(one, cuts...), 3) {
			if a.Do == "split" {
				cuts = append(cuts, a.At)
				slices.Sort(cuts)
			}
		}
	}
	if len(cuts) > 7 || !slices.Contains(cuts, 5) || !slices.Contains(cuts, 6) {
		t.Errorf("one hot bucket: cut at %v", cuts)
	}
	cold := loads(nil, 1, 8, 12, 22, 30)
	a := planRanges(cold, 3)
	if len(a) != 2 || a[0].Do != "merge" || a[1].Do != "merge" {
		t.Errorf("cold ranges: %v", a)
	}
	for _, m := range planLeaders(pinned(cold, a), func(uint64) bool { return true }) {
		if m.Group != 1 && m.Group != 6 {
			t.Errorf("ranges that are to be merged are handed over: %v", m)
		}
	}
}

// Leaders are spread over nodes that are fit, and then rest.
func TestPlanOfLeaders(t *testing.T) {
	all := loads(nil, 1, 8, 12, 22, 30)
	for _, fit := range []map[uint64]bool{{1: true, 2: true, 3: true}, {1: true, 2: true}} {
		led := map[uint64]int{}
		state := slices.Clone(all)
		for range 10 {
			moves := planLeaders(state, func(n uint64) bool { return fit[n] })
			for _, m := range moves {
				for i := range state {
					if state[i].Group == m.Group {
						state[i].Leader = m.To
					}
				}
			}
			if len(moves) == 0 {
				break
			}
		}
		for _, r := range state {
			led[r.Leader]++
		}
		for node, n := range led {
			if !fit[node] || n != len(all)/len(fit) {
				t.Errorf("of %v: %v", fit, led)
			}
		}
		if len(led) != len(fit) {
			t.Errorf("of %v: %v", fit, led)
		}
	}
}
