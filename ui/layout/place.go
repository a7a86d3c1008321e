package layout

// settle is how often the ranks are aligned with their neighbours.
const settle = 26

// place gives each vertex its height: near those that it is linked to, in order, and at a distance from its neighbours.
func (d *drawing) place(m Metrics) {
	for i := range d.v {
		v := &d.v[i]
		if v.h = m.Lane; v.node >= 0 {
			_, v.h = m.Size(d.graph.Nodes[v.node])
		}
	}
	for _, rank := range d.ranks { // begin from the top
		y := 0.0
		for i, v := range rank {
			if i > 0 {
				y += d.distance(rank[i-1], v, m)
			}
			d.v[v].y = y
		}
	}
	for i := range settle {
		for k := range d.ranks {
			switch {
			case i >= settle-14: // at the end both sides count
				d.align(d.ranks[k], m, true, true)
			case i%2 == 0:
				d.align(d.ranks[k], m, true, false)
			default:
				d.align(d.ranks[len(d.ranks)-1-k], m, false, true)
			}
		}
	}
}

// distance between the middles of two neighbours at least.
func (d *drawing) distance(a, b int, m Metrics) float64 {
	gap := m.RowGap
	if d.v[a].node < 0 || d.v[b].node < 0 {
		gap = m.LaneGap
	}
	return d.v[a].h/2 + gap + d.v[b].h/2
}

// align moves the vertices of a rank to where the squares of the distances to their neighbours in other ranks are
// least, without changing their order: a regression with order, which pooling adjacent violators solves exactly.
func (d *drawing) align(rank []int, m Metrics, above, below bool) {
	type pool struct {
		sum, weight float64 // of the wanted places, each less its offset
		first       int
	}
	var pools []pool
	offset := 0.0
	offsets := make([]float64, len(rank))
	for i, v := range rank {
		if i > 0 {
			offset += d.distance(rank[i-1], v, m)
		}
		offsets[i] = offset
		want, weight := d.wanted(v, above, below)
		p := pool{weight * (want - offset), weight, i}
		for len(pools) > 0 && pools[len(pools)-1].sum*p.weight >= p.sum*pools[len(pools)-1].weight {
			q := pools[len(pools)-1]
			pools = pools[:len(pools)-1]
			p = pool{q.sum + p.sum, q.weight + p.weight, q.first}
		}
		pools = append(pools, p)
	}
	for k, p := range pools {
		end := len(rank)
		if k+1 < len(pools) {
			end = pools[k+1].first
		}
		for i := p.first; i < end; i++ {
			d.v[rank[i]].y = p.sum/p.weight + offsets[i]
		}
	}
}

// wanted is where a vertex would like to be, and how much.
func (d *drawing) wanted(v int, above, below bool) (y, weight float64) {
	sum := 0.0
	add := func(links []link) {
		for _, l := range links {
			sum += l.weight * d.v[l.to].y
			weight += l.weight
		}
	}
	if above {
		add(d.v[v].above)
	}
	if below {
		add(d.v[v].below)
	}
	if weight == 0 {
		return d.v[v].y, 0.01 // it stays, unless others push it
	}
	return sum / weight, weight
}
