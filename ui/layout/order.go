package layout

import (
	"cmp"
	"slices"
)

// sweeps over the ranks, there and back; the best order that was seen is kept.
const sweeps = 24

// order sorts the vertices of each rank so that few edges cross, and returns how many do.
func (d *drawing) order() int {
	d.firstOrder()
	best, bestRanks := d.crossings(), cloneRanks(d.ranks)
	for i := 0; i < sweeps && best > 0; i++ {
		down := i%2 == 0
		for k := range d.ranks {
			r := k
			if !down {
				r = len(d.ranks) - 1 - k
			}
			d.sortByNeighbours(r, down)
		}
		d.exchange()
		if n := d.crossings(); n < best {
			best, bestRanks = n, cloneRanks(d.ranks)
		}
	}
	d.ranks = bestRanks
	d.number()
	return best
}

func cloneRanks(ranks [][]int) [][]int {
	out := make([][]int, len(ranks))
	for i, r := range ranks {
		out[i] = slices.Clone(r)
	}
	return out
}

// number tells each vertex its place.
func (d *drawing) number() {
	for _, rank := range d.ranks {
		for i, v := range rank {
			d.v[v].pos = i
		}
	}
}

// firstOrder is that in which a walk meets the vertices, so that what hangs together lies together.
func (d *drawing) firstOrder() {
	seen := make([]bool, len(d.v))
	next := make([][]int, len(d.ranks))
	var walk func(i int)
	walk = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		next[d.v[i].rank] = append(next[d.v[i].rank], i)
		for _, l := range d.v[i].below {
			walk(l.to)
		}
	}
	for _, rank := range d.ranks {
		for _, i := range rank {
			walk(i)
		}
	}
	d.ranks = next
	d.number()
}

// sortByNeighbours sorts a rank by the mean place of what its vertices are linked to in the rank before, or after.
func (d *drawing) sortByNeighbours(r int, before bool) {
	rank := d.ranks[r]
	key := make(map[int]float64, len(rank))
	for i, v := range rank {
		links := d.v[v].below
		if before {
			links = d.v[v].above
		}
		key[v] = float64(i) // without neighbours it stays
		if len(links) > 0 {
			sum := 0.0
			for _, l := range links {
				sum += float64(d.v[l.to].pos)
			}
			key[v] = sum / float64(len(links))
		}
	}
	slices.SortStableFunc(rank, func(a, b int) int { return cmp.Compare(key[a], key[b]) })
	for i, v := range rank {
		d.v[v].pos = i
	}
}

// exchange swaps neighbours in a rank as long as that takes crossings away.
func (d *drawing) exchange() {
	for better := true; better; {
		better = false
		for _, rank := range d.ranks {
			for i := 1; i < len(rank); i++ {
				a, b := rank[i-1], rank[i]
				if d.crossingsOf(a, b) > d.crossingsOf(b, a) {
					rank[i-1], rank[i] = b, a
					d.v[a].pos, d.v[b].pos = i, i-1
					better = true
				}
			}
		}
	}
}

// crossingsOf is how many edges of two neighbours cross each other when the one is above the other.
func (d *drawing) crossingsOf(upper, lower int) (n int) {
	for _, side := range [2]struct{ u, l []link }{{d.v[upper].above, d.v[lower].above}, {d.v[upper].below, d.v[lower].below}} {
		for _, x := range side.u {
			for _, y := range side.l {
				if d.v[x.to].pos > d.v[y.to].pos {
					n++
				}
			}
		}
	}
	return n
}

// crossings of all edges, counted rank by rank with a tree of partial sums (Barth, Juenger and Mutzel, 2002).
func (d *drawing) crossings() (n int) {
	for r := 1; r < len(d.ranks); r++ {
		width := len(d.ranks[r])
		tree := make([]int, width+1)
		total := 0
		for _, v := range d.ranks[r-1] {
			places := make([]int, 0, len(d.v[v].below))
			for _, l := range d.v[v].below {
				places = append(places, d.v[l.to].pos)
			}
			for _, p := range places {
				sum := 0
				for i := p + 1; i > 0; i -= i & -i {
					sum += tree[i]
				}
				n += total - sum
			}
			for _, p := range places {
				for i := p + 1; i <= width; i += i & -i {
					tree[i]++
				}
				total++
			}
		}
	}
	return n
}
