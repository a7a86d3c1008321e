package layout

// Point in the picture; y grows downwards.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Box is a node in its place.
type Box struct {
	Node
	X float64 `json:"x"`
	Y float64 `json:"y"`
	W float64 `json:"w"`
	H float64 `json:"h"`
	// Rank is the column, Order the place in it from the top.
	Rank  int `json:"rank"`
	Order int `json:"order"`
}

// Path is an edge on its way. Points lie on it in pairs: between the two of a pair it runs level, from one pair to the
// next it swings through the gap between two columns.
type Path struct {
	Edge
	Points []Point `json:"points"`
	// D is the path in the notation of SVG, from the caller to what is called.
	D string `json:"d"`
	// Label is where a figure of the edge goes, and LabelEnd says that the text ends there instead of beginning.
	Label    Point `json:"label"`
	LabelEnd bool  `json:"label_end"`
	// Back says that it leads from right to left: there is a circle of calls.
	Back bool `json:"back,omitempty"`
}

// Layout is the whole picture. Boxes are ordered by their ID, paths by theirs.
type Layout struct {
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
	Nodes  []Box   `json:"nodes"`
	Edges  []Path  `json:"edges"`
	// Crossings of edges that are left.
	Crossings int `json:"crossings"`
}

// Metrics are the sizes of a picture, in pixels or in cells of a terminal.
type Metrics struct {
	// Size of a node.
	Size func(Node) (w, h float64)
	// ColumnGap lies between two columns, RowGap between two nodes.
	ColumnGap, RowGap float64
	// Lane is the height of an edge that passes a column, LaneGap the room beside it.
	Lane, LaneGap float64
	// Margin around everything.
	Margin float64
	// Ports is the distance between two edges at a node's side; 0: all meet in the middle.
	Ports float64
	// Stub is how far an edge runs level at the end that has its figure. Less than ColumnGap.
	Stub float64
}

// Pixels are the metrics of the page and of SVG.
func Pixels() Metrics {
	return Metrics{
		Size: func(n Node) (float64, float64) {
			switch n.Kind {
			case Clients:
				return 124, 64
			case Gateway:
				return 148, 64
			case Service, External, Function:
				return 188, 76
			}
			return 172, 64
		},
		ColumnGap: 124, RowGap: 28, Lane: 14, LaneGap: 12, Margin: 24, Ports: 18, Stub: 46,
	}
}

// Compute lays a graph out.
func Compute(g Graph, m Metrics) *Layout {
	g = g.normal()
	d := newDrawing(g)
	d.assignRanks()
	d.addLanes()
	crossings := d.order()
	d.place(m)
	out := d.layout(g, m)
	out.Crossings = crossings
	return out
}

// vertex is a node, or a lane: the place at which an edge passes a column.
type vertex struct {
	node  int // in the graph; -1: a lane
	rank  int
	pos   int     // in its rank
	y     float64 // of its middle
	h     float64
	above []link // in the rank before
	below []link // in the rank after
}

type link struct {
	to     int     // vertex
	weight float64 // how much it wants to be straight
}

// drawing is a layout in the making.
type drawing struct {
	graph Graph
	index map[string]int
	from  []int // of each edge, in the direction of the ranks
	to    []int
	back  []bool
	v     []vertex
	ranks [][]int // vertices, top to bottom
	chain [][]int // the vertices of each edge, left to right
}

func newDrawing(g Graph) *drawing {
	d := &drawing{graph: g, index: map[string]int{}}
	for i, n := range g.Nodes {
		d.index[n.ID] = i
		d.v = append(d.v, vertex{node: i})
	}
	for _, e := range g.Edges {
		d.from = append(d.from, d.index[e.From])
		d.to = append(d.to, d.index[e.To])
	}
	d.back = make([]bool, len(g.Edges))
	return d
}
