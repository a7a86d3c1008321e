package layout

import (
	"cmp"
	"math"
	"slices"
)

// assignRanks gives each node its column: right of everything that calls it, circles broken at the edge that closes
// them, and no column so full that the picture becomes a tower.
func (d *drawing) assignRanks() {
	d.breakCircles()
	n := len(d.graph.Nodes)
	incoming := make([]int, n)
	out := make([][]int, n)
	for e := range d.from {
		out[d.from[e]] = append(out[d.from[e]], d.to[e])
		incoming[d.to[e]]++
	}
	least := make([]int, n)
	depth := d.depths(out)
	capacity := max(9, int(math.Ceil(math.Sqrt(1.6*float64(n)))))
	filled := map[int]int{}
	var free []int
	for i := range n {
		if incoming[i] == 0 {
			free = append(free, i)
		}
	}
	for len(free) > 0 {
		// What has the longest way still to go comes first, so that it is not pushed to the right by others.
		slices.SortFunc(free, func(a, b int) int {
			return cmp.Or(cmp.Compare(least[a], least[b]), cmp.Compare(depth[b], depth[a]), cmp.Compare(a, b))
		})
		i := free[0]
		free = free[1:]
		r := least[i]
		for filled[r] >= capacity {
			r++
		}
		d.v[i].rank = r
		filled[r]++
		for _, j := range out[i] {
			least[j] = max(least[j], r+1)
			if incoming[j]--; incoming[j] == 0 {
				free = append(free, j)
			}
		}
	}
	d.closeGaps()
}

// breakCircles turns those edges around that lead back to where a walk from the clients has come from.
func (d *drawing) breakCircles() {
	n := len(d.graph.Nodes)
	out := make([][]int, n) // edges
	entered := make([]bool, n)
	for e := range d.from {
		out[d.from[e]] = append(out[d.from[e]], e)
		entered[d.to[e]] = true
	}
	const unseen, open, done = 0, 1, 2
	state := make([]int, n)
	var walk func(i int)
	walk = func(i int) {
		state[i] = open
		for _, e := range out[i] {
			switch j := d.to[e]; state[j] {
			case open:
				d.back[e] = true
			case unseen:
				walk(j)
			}
		}
		state[i] = done
	}
	for _, roots := range []bool{true, false} { // first from where nothing leads to
		for i := range n {
			if state[i] == unseen && (!roots || !entered[i]) {
				walk(i)
			}
		}
	}
	for e, back := range d.back {
		if back {
			d.from[e], d.to[e] = d.to[e], d.from[e]
		}
	}
}

// depths is the length of the longest way from each node on.
func (d *drawing) depths(out [][]int) []int {
	depth := make([]int, len(out))
	known := make([]bool, len(out))
	var walk func(i int) int
	walk = func(i int) int {
		if !known[i] {
			known[i] = true
			for _, j := range out[i] {
				depth[i] = max(depth[i], 1+walk(j))
			}
		}
		return depth[i]
	}
	for i := range out {
		walk(i)
	}
	return depth
}

// closeGaps numbers the ranks that are used from 0 on.
func (d *drawing) closeGaps() {
	var used []int
	for _, v := range d.v {
		used = append(used, v.rank)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for i := range d.v {
		d.v[i].rank, _ = slices.BinarySearch(used, d.v[i].rank)
	}
}

// addLanes puts a vertex into every column that an edge passes, and links neighbours.
func (d *drawing) addLanes() {
	d.chain = make([][]int, len(d.from))
	for e := range d.from {
		chain := []int{d.from[e]}
		for r := d.v[d.from[e]].rank + 1; r < d.v[d.to[e]].rank; r++ {
			d.v = append(d.v, vertex{node: -1, rank: r})
			chain = append(chain, len(d.v)-1)
		}
		chain = append(chain, d.to[e])
		d.chain[e] = chain
		for k := 1; k < len(chain); k++ {
			a, b := chain[k-1], chain[k]
			// Long edges are kept straight where they pass columns (Gansner and others, 1993).
			weight := 1.0
			if d.v[a].node < 0 && d.v[b].node < 0 {
				weight = 8
			} else if d.v[a].node < 0 || d.v[b].node < 0 {
				weight = 2
			}
			d.v[a].below = append(d.v[a].below, link{b, weight})
			d.v[b].above = append(d.v[b].above, link{a, weight})
		}
	}
	most := 0
	for _, v := range d.v {
		most = max(most, v.rank)
	}
	d.ranks = make([][]int, most+1)
	for i, v := range d.v {
		d.ranks[v.rank] = append(d.ranks[v.rank], i)
	}
}
