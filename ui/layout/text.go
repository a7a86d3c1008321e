package layout

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// boxRows is the height of a node in a terminal: two borders and two lines.
const boxRows = 4

// TextNode is what stands in a node's box: two lines, of which what does not fit is cut off.
type TextNode struct {
	Name, Figures string
}

// Text draws a graph with the characters of boxes and lines, a string for each line of the terminal; lines end without
// spaces. say gives the texts of a node, each at most widest cells wide.
func Text(g Graph, widest int, say func(Node) TextNode) []string {
	g = g.normal()
	if len(g.Nodes) == 0 {
		return nil
	}
	texts := make([]TextNode, len(g.Nodes))
	width := map[string]float64{}
	for i, n := range g.Nodes {
		t := say(n)
		t.Name, t.Figures = ansi.Truncate(t.Name, widest, "…"), ansi.Truncate(t.Figures, widest, "…")
		texts[i] = t
		width[n.ID] = float64(max(ansi.StringWidth(t.Name), ansi.StringWidth(t.Figures)) + 4)
	}
	m := Metrics{Size: func(n Node) (float64, float64) { return width[n.ID], boxRows }, RowGap: 1, Lane: 1}
	d := newDrawing(g)
	d.assignRanks()
	d.addLanes()
	d.order()
	d.place(m)
	t := &textDrawing{drawing: d, texts: texts}
	t.rows()
	t.columns(m)
	t.draw()
	return t.lines()
}

// textDrawing is a drawing in cells.
type textDrawing struct {
	*drawing
	texts  []TextNode
	row    []int // of each vertex: the line at which its edges arrive
	height int
	left   []int // of each rank
	width  []int
	nets   [][]net // in the gap after each rank
	grid   [][]cell
}

// net is all that leaves one vertex for the next rank: a level line, an upright one at x, and level ones to the targets.
type net struct {
	from   int
	row    int
	to     []int // rows, sorted
	track  int
	target map[int]int // vertex by row
}

func (n *net) top() int    { return min(n.row, n.to[0]) }
func (n *net) bottom() int { return max(n.row, n.to[len(n.to)-1]) }

// The directions in which a cell has a line.
const (
	north = 1 << iota
	east
	south
	west
)

// cell of the terminal: a character, or lines in directions.
type cell struct {
	text  string
	lines int
	cover bool // the right half of a wide character
}

func (t *textDrawing) rows() {
	top, _ := t.bounds()
	t.row = make([]int, len(t.v))
	for i := range t.v {
		v := &t.v[i]
		at := int(math.Round(v.y - v.h/2 - top))
		t.height = max(t.height, at+int(v.h))
		if v.node >= 0 {
			at++ // the line of the name
		}
		t.row[i] = at
	}
}

// columns finds the width of the ranks and of the gaps between them, which must have room for the upright lines.
func (t *textDrawing) columns(m Metrics) {
	_, width := t.drawing.columns(m)
	x := 0
	for r := range t.ranks {
		t.left = append(t.left, x)
		t.width = append(t.width, int(width[r]))
		x += int(width[r])
		if r+1 < len(t.ranks) {
			nets, tracks := t.netsAfter(r)
			t.nets = append(t.nets, nets)
			x += max(tracks+3, 5)
		}
	}
	t.grid = make([][]cell, t.height)
	for y := range t.grid {
		t.grid[y] = make([]cell, x)
	}
}

func (t *textDrawing) netsAfter(r int) (nets []net, tracks int) {
	for _, v := range t.ranks[r] {
		if len(t.v[v].below) == 0 {
			continue
		}
		n := net{from: v, row: t.row[v], target: map[int]int{}}
		for _, l := range t.v[v].below {
			n.to = append(n.to, t.row[l.to])
			n.target[t.row[l.to]] = l.to
		}
		slices.Sort(n.to)
		nets = append(nets, n)
	}
	return nets, assignTracks(nets)
}

// assignTracks gives each net that bends an upright track of its own in its rows. Where one net begins in the row in which
// another ends, the one turns first, so that the two level lines do not meet.
func assignTracks(nets []net) (tracks int) {
	order := make([]int, 0, len(nets))
	for i := range nets {
		if nets[i].top() != nets[i].bottom() {
			order = append(order, i)
		}
	}
	before := func(a, b int) bool { // a must turn left of where b turns
		for _, row := range nets[b].to {
			if row == nets[a].row && row != nets[b].row {
				return true
			}
		}
		return false
	}
	placed := map[int]bool{}
	for len(order) > 0 {
		k := slices.IndexFunc(order, func(i int) bool {
			return !slices.ContainsFunc(order, func(j int) bool { return j != i && before(j, i) })
		})
		k = max(k, 0) // a circle of such demands: one is not met
		i := order[k]
		order = slices.Delete(order, k, k+1)
		n := &nets[i]
		least := 0
		for j := range placed {
			if before(j, i) {
				least = max(least, nets[j].track+1)
			}
		}
		n.track = least
		for slices.ContainsFunc(nets, func(o net) bool {
			return placed[slices.IndexFunc(nets, func(x net) bool { return x.from == o.from })] && o.track == n.track &&
				o.top() <= n.bottom() && n.top() <= o.bottom()
		}) {
			n.track++
		}
		placed[i] = true
		tracks = max(tracks, n.track+1)
	}
	return tracks
}

func (t *textDrawing) draw() {
	for r, nets := range t.nets {
		for i := range nets {
			t.drawNet(r, &nets[i])
		}
	}
	for i, v := range t.v {
		if v.node < 0 {
			t.level(t.row[i], t.left[v.rank], t.left[v.rank]+t.width[v.rank]-1)
		}
	}
	for i, v := range t.v {
		if v.node >= 0 {
			t.box(i)
		}
	}
	t.heads()
}

func (t *textDrawing) drawNet(r int, n *net) {
	start := t.left[r]
	if v := t.v[n.from]; v.node >= 0 {
		w := ansi.StringWidth
		start += max(w(t.texts[v.node].Name), w(t.texts[v.node].Figures)) + 4
	} else {
		start += t.width[r]
	}
	end := t.left[r+1] - 1
	bend := t.left[r] + t.width[r] + 1 + n.track
	if n.top() == n.bottom() {
		t.level(n.row, start-1, end+1)
		return
	}
	t.level(n.row, start-1, bend)
	for y := n.top(); y < n.bottom(); y++ {
		t.grid[y][bend].lines |= south
		t.grid[y+1][bend].lines |= north
	}
	for _, row := range n.to {
		t.level(row, bend, end+1)
	}
}

// level draws from one cell to another one; the halves of the cells beyond stay open.
func (t *textDrawing) level(row, from, to int) {
	for x := from; x < to; x++ {
		t.grid[row][x].lines |= east
		if x+1 < len(t.grid[row]) {
			t.grid[row][x+1].lines |= west
		}
	}
}

func (t *textDrawing) box(i int) {
	v := t.v[i]
	text := t.texts[v.node]
	w := ansi.StringWidth
	inner := max(w(text.Name), w(text.Figures)) + 2
	x, y := t.left[v.rank], t.row[i]-1
	t.write(y, x, "┌"+strings.Repeat("─", inner)+"┐")
	t.write(y+1, x, "│ "+text.Name+strings.Repeat(" ", inner-1-w(text.Name))+"│")
	t.write(y+2, x, "│ "+text.Figures+strings.Repeat(" ", inner-1-w(text.Figures))+"│")
	t.write(y+3, x, "└"+strings.Repeat("─", inner)+"┘")
}

// write puts text into cells, in place of lines.
func (t *textDrawing) write(y, x int, s string) {
	for s != "" {
		cluster, width := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
		s = s[len(cluster):]
		if width == 0 {
			continue
		}
		t.grid[y][x] = cell{text: cluster}
		for k := 1; k < width; k++ {
			t.grid[y][x+k] = cell{cover: true}
		}
		x += width
	}
}

// heads puts the points of the arrows where edges end, and joints where they begin.
func (t *textDrawing) heads() {
	w := ansi.StringWidth
	for e, chain := range t.chain {
		first, last := chain[0], chain[len(chain)-1]
		text := t.texts[t.v[first].node]
		right := t.left[t.v[first].rank] + max(w(text.Name), w(text.Figures)) + 3
		left := t.left[t.v[last].rank]
		if t.back[e] {
			t.grid[t.row[first]][right+1] = cell{text: "◀"}
			continue
		}
		t.grid[t.row[first]][right] = cell{text: "├"}
		t.grid[t.row[last]][left-1] = cell{text: "▶"}
	}
}

// boxLines are the characters by the directions of their lines.
const boxLines = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"

func (t *textDrawing) lines() []string {
	glyphs := []rune(boxLines)
	out := make([]string, 0, len(t.grid))
	for _, row := range t.grid {
		var b strings.Builder
		for _, c := range row {
			switch {
			case c.cover:
			case c.text != "":
				b.WriteString(c.text)
			default:
				b.WriteRune(glyphs[c.lines])
			}
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}

// List says who calls whom in lines of words, for where there is no room for a picture. Callers come before what they
// call.
func List(g Graph) []string {
	g = g.normal()
	d := newDrawing(g)
	d.assignRanks()
	order := make([]int, len(g.Nodes))
	names := 0
	for i, n := range g.Nodes {
		order[i] = i
		names = max(names, ansi.StringWidth(label(n)))
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(d.v[a].rank, d.v[b].rank) })
	var out []string
	for _, i := range order {
		var to []string
		for _, e := range g.Edges {
			if e.From == g.Nodes[i].ID {
				to = append(to, label(g.Nodes[d.index[e.To]]))
			}
		}
		name := label(g.Nodes[i])
		if len(to) > 0 {
			name += strings.Repeat(" ", names-ansi.StringWidth(name)) + "  → " + strings.Join(to, ", ")
		}
		out = append(out, name)
	}
	return out
}

// label is a node's name, with its kind where that is no service.
func label(n Node) string {
	switch n.Kind {
	case Service, Clients, Gateway:
		return n.Name
	}
	return string(n.Kind) + " " + n.Name
}
