package layout

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// layout turns ranks and heights into boxes and paths.
func (d *drawing) layout(g Graph, m Metrics) *Layout {
	out := &Layout{}
	if len(g.Nodes) == 0 {
		out.Width, out.Height = 2*m.Margin, 2*m.Margin
		return out
	}
	left, width := d.columns(m)
	top, bottom := d.bounds()
	for i := range d.v {
		d.v[i].y += m.Margin - top
	}
	last := len(left) - 1
	out.Width, out.Height = math.Ceil(left[last]+width[last]+m.Margin), math.Ceil(bottom-top+2*m.Margin)
	for i, n := range g.Nodes {
		v := d.v[i]
		w, h := m.Size(n)
		out.Nodes = append(out.Nodes, Box{Node: n, X: left[v.rank], Y: math.Round(v.y - h/2), W: w, H: h, Rank: v.rank, Order: d.orderAmongNodes(i)})
	}
	ports := d.ports(m)
	for e, edge := range g.Edges {
		out.Edges = append(out.Edges, d.path(e, edge, left, width, ports[e], out.Nodes, m.Stub))
	}
	return out
}

// columns returns where each rank begins and how wide it is.
func (d *drawing) columns(m Metrics) (left, width []float64) {
	width = make([]float64, len(d.ranks))
	for _, v := range d.v {
		if v.node >= 0 {
			w, _ := m.Size(d.graph.Nodes[v.node])
			width[v.rank] = max(width[v.rank], w)
		}
	}
	x := m.Margin
	for _, w := range width {
		left = append(left, x)
		x += w + m.ColumnGap
	}
	return left, width
}

func (d *drawing) bounds() (top, bottom float64) {
	top, bottom = math.Inf(1), math.Inf(-1)
	for _, v := range d.v {
		top, bottom = min(top, v.y-v.h/2), max(bottom, v.y+v.h/2)
	}
	return top, bottom
}

func (d *drawing) orderAmongNodes(i int) (n int) {
	for _, v := range d.ranks[d.v[i].rank][:d.v[i].pos] {
		if d.v[v].node >= 0 {
			n++
		}
	}
	return n
}

// port is how far from the middle of a node's side an edge begins and ends.
type port struct{ from, to float64 }

// ports spreads the edges at each side of a node, in the order of where they lead.
func (d *drawing) ports(m Metrics) []port {
	out := make([]port, len(d.from))
	if m.Ports == 0 {
		return out
	}
	leaving := make([][]int, len(d.graph.Nodes))
	arriving := make([][]int, len(d.graph.Nodes))
	for e := range d.from {
		leaving[d.from[e]] = append(leaving[d.from[e]], e)
		arriving[d.to[e]] = append(arriving[d.to[e]], e)
	}
	spread := func(i int, edges []int, next func(e int) int, set func(e int, offset float64)) {
		slices.SortStableFunc(edges, func(a, b int) int { return cmp.Compare(d.v[next(a)].y, d.v[next(b)].y) })
		step := min(m.Ports, (d.v[i].h-16)/float64(max(len(edges)-1, 1)))
		for k, e := range edges {
			set(e, (float64(k)-float64(len(edges)-1)/2)*step)
		}
	}
	for i := range d.graph.Nodes {
		spread(i, leaving[i], func(e int) int { return d.chain[e][1] }, func(e int, o float64) { out[e].from = o })
		spread(i, arriving[i], func(e int) int { return d.chain[e][len(d.chain[e])-2] }, func(e int, o float64) { out[e].to = o })
	}
	return out
}

// path leads an edge from the right side of one node through its lanes to the left side of the other.
func (d *drawing) path(e int, edge Edge, left, width []float64, p port, boxes []Box, stub float64) Path {
	out := Path{Edge: edge, Back: d.back[e]}
	chain := d.chain[e]
	first, last := boxes[chain[0]], boxes[chain[len(chain)-1]]
	// The figure goes to that end at which fewer edges meet, where there is most room, and lies on a level piece.
	start, end := 0.0, 0.0
	if len(d.v[chain[0]].below) < len(d.v[chain[len(chain)-1]].above) {
		start = stub
	} else {
		end = stub
	}
	y := func(b Box, offset float64) float64 { return b.Y + b.H/2 + offset }
	add := func(x, y float64) { out.Points = append(out.Points, Point{round(x), round(y)}) }
	add(first.X+first.W, y(first, p.from))
	add(left[first.Rank]+width[first.Rank]+start, y(first, p.from))
	for _, lane := range chain[1 : len(chain)-1] {
		r := d.v[lane].rank
		add(left[r], d.v[lane].y)
		add(left[r]+width[r], d.v[lane].y)
	}
	add(last.X-end, y(last, p.to))
	add(last.X, y(last, p.to))
	if out.Label = (Point{first.X + first.W + 8, round(y(first, p.from)) - 5}); end > 0 {
		out.Label, out.LabelEnd = Point{last.X - 10, round(y(last, p.to)) - 5}, true
	}
	if out.Back {
		slices.Reverse(out.Points)
	}
	out.D = svgPath(out.Points)
	return out
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

// svgPath draws level lines within columns and curves between them, whose middles are in the middle of the gap.
func svgPath(points []Point) string {
	var b strings.Builder
	number := func(v float64) { b.WriteString(strconv.FormatFloat(v, 'f', -1, 64)) }
	pair := func(command byte, p Point) {
		b.WriteByte(command)
		number(p.X)
		b.WriteByte(' ')
		number(p.Y)
	}
	pair('M', points[0])
	for i := 1; i < len(points); i++ {
		p, q := points[i-1], points[i]
		switch {
		case p == q:
		case p.Y == q.Y:
			b.WriteByte('H')
			number(q.X)
		default:
			middle := round((p.X + q.X) / 2)
			pair('C', Point{middle, p.Y})
			pair(' ', Point{middle, q.Y})
			pair(' ', q)
		}
	}
	return b.String()
}
