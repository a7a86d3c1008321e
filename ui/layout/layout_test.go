package layout

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/banyanhq/banyan/topology"
)

// shop is a system with something of every kind.
func shop(t testing.TB) Graph {
	t.Helper()
	sys, err := topology.Load(filepath.Join("testdata", "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return Of(sys)
}

// large is a graph of so many services in the shape of real ones: a few entries, shared services at the bottom, stores.
func large(services int, seed uint64) Graph {
	rng := rand.New(rand.NewPCG(seed, 1))
	g := Graph{Nodes: []Node{{ID: ClientsID, Kind: Clients, Name: "clients"}, {ID: GatewayID, Kind: Gateway, Name: "gateway"}}, Edges: []Edge{{ClientsID, GatewayID}}}
	name := func(i int) string { return fmt.Sprintf("service-%03d", i) }
	for i := range services {
		g.Nodes = append(g.Nodes, Node{ID: name(i), Kind: Service, Name: name(i)})
		if i < 6 {
			g.Edges = append(g.Edges, Edge{GatewayID, name(i)})
		} else {
			g.Edges = append(g.Edges, Edge{name(rng.IntN(max(1, i/2))), name(i)})
		}
		for range rng.IntN(3) {
			g.Edges = append(g.Edges, Edge{name(i), name(min(services-1, i+1+rng.IntN(12)))})
		}
		if i%5 == 0 {
			id := fmt.Sprintf("tables.t%d", i)
			g.Nodes = append(g.Nodes, Node{ID: id, Kind: Table, Name: id[7:]})
			g.Edges = append(g.Edges, Edge{name(i), id})
		}
	}
	return g
}

// check returns what is wrong with a picture.
func check(l *Layout) error {
	for i, a := range l.Nodes {
		if a.X < 0 || a.Y < 0 || a.X+a.W > l.Width || a.Y+a.H > l.Height {
			return fmt.Errorf("%s lies outside of the picture: %+v in %g x %g", a.ID, a, l.Width, l.Height)
		}
		for _, b := range l.Nodes[i+1:] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				return fmt.Errorf("%s and %s overlap", a.ID, b.ID)
			}
		}
	}
	for _, e := range l.Edges {
		points, err := sample(e.D)
		if err != nil {
			return err
		}
		for _, p := range points {
			if p.X < 0 || p.Y < 0 || p.X > l.Width || p.Y > l.Height {
				return fmt.Errorf("%s to %s leaves the picture at %v", e.From, e.To, p)
			}
			for _, n := range l.Nodes {
				if n.ID != e.From && n.ID != e.To && p.X > n.X && p.X < n.X+n.W && p.Y > n.Y && p.Y < n.Y+n.H {
					return fmt.Errorf("%s to %s runs through %s at %v", e.From, e.To, n.ID, p)
				}
			}
		}
		for _, end := range []struct {
			id string
			p  Point
		}{{e.From, points[0]}, {e.To, points[len(points)-1]}} {
			for _, n := range l.Nodes {
				if n.ID == end.id && (end.p.Y < n.Y || end.p.Y > n.Y+n.H || (end.p.X != n.X && end.p.X != n.X+n.W)) {
					return fmt.Errorf("%s to %s does not meet %s: %v", e.From, e.To, n.ID, end.p)
				}
			}
		}
	}
	return nil
}

// sample reads a path of SVG and returns points on it.
func sample(d string) (points []Point, err error) {
	fields := strings.Fields(strings.NewReplacer("M", " M ", "H", " H ", "C", " C ").Replace(d))
	number := func() (v float64) {
		if len(fields) == 0 {
			err = fmt.Errorf("the path ends early: %s", d)
			return 0
		}
		var e error
		if v, e = strconv.ParseFloat(fields[0], 64); e != nil {
			err = e
		}
		fields = fields[1:]
		return v
	}
	var at Point
	for len(fields) > 0 && err == nil {
		command := fields[0]
		fields = fields[1:]
		from := at
		switch command {
		case "M":
			at = Point{number(), number()}
			points = append(points, at)
		case "H":
			at.X = number()
			for i := 1; i <= 20; i++ {
				points = append(points, Point{from.X + (at.X-from.X)*float64(i)/20, at.Y})
			}
		case "C":
			a, b, c := Point{number(), number()}, Point{number(), number()}, Point{number(), number()}
			at = c
			for i := 1; i <= 30; i++ {
				t := float64(i) / 30
				u := 1 - t
				points = append(points, Point{u*u*u*from.X + 3*u*u*t*a.X + 3*u*t*t*b.X + t*t*t*c.X, u*u*u*from.Y + 3*u*u*t*a.Y + 3*u*t*t*b.Y + t*t*t*c.Y})
			}
		default:
			return nil, fmt.Errorf("command %q in %s", command, d)
		}
	}
	return points, err
}

func TestPicturesHold(t *testing.T) {
	for name, g := range map[string]Graph{
		"shop": shop(t), "empty": {}, "one": {Nodes: []Node{{ID: "a", Kind: Service, Name: "a"}}},
		"circle": {Nodes: []Node{{ID: "a", Name: "a"}, {ID: "b", Name: "b"}, {ID: "c", Name: "c"}}, Edges: []Edge{{"a", "b"}, {"b", "c"}, {"c", "a"}}},
		"large":  large(100, 1), "larger": large(300, 2),
	} {
		if err := check(Compute(g, Pixels())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A picture whose nodes lie over each other, or whose edges run through nodes, is found out.
func TestCheckCanFail(t *testing.T) {
	l := Compute(shop(t), Pixels())
	l.Nodes[3].X, l.Nodes[3].Y = l.Nodes[4].X, l.Nodes[4].Y+5
	if check(l) == nil {
		t.Error("two nodes in one place were not noticed")
	}
	l = Compute(shop(t), Pixels())
	l.Edges[0].D = fmt.Sprintf("M0 %gH%g", l.Nodes[2].Y+10, l.Width)
	if check(l) == nil {
		t.Error("an edge through a node was not noticed")
	}
}

func TestCallersStandLeftOfWhatTheyCall(t *testing.T) {
	for _, g := range []Graph{shop(t), large(100, 3)} {
		l := Compute(g, Pixels())
		rank := map[string]int{}
		for _, n := range l.Nodes {
			rank[n.ID] = n.Rank
		}
		for _, e := range l.Edges {
			if e.Back != (rank[e.From] > rank[e.To]) || rank[e.From] == rank[e.To] {
				t.Errorf("%s in column %d calls %s in column %d, back: %v", e.From, rank[e.From], e.To, rank[e.To], e.Back)
			}
		}
	}
}

func TestAnyGraph(t *testing.T) {
	kinds := []Kind{Clients, Gateway, Service, External, Cache, Table, Queue, Topic, Function}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(rt, "nodes")
		var g Graph
		for i := range n {
			id := fmt.Sprintf("n%d", i)
			g.Nodes = append(g.Nodes, Node{ID: id, Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"), Name: id})
		}
		for range rapid.IntRange(0, 3*n).Draw(rt, "edges") {
			at := rapid.IntRange(0, n) // one of them leads nowhere
			g.Edges = append(g.Edges, Edge{fmt.Sprintf("n%d", at.Draw(rt, "from")), fmt.Sprintf("n%d", at.Draw(rt, "to"))})
		}
		l := Compute(g, Pixels())
		if err := check(l); err != nil {
			rt.Fatal(err)
		}
		if len(l.Nodes) != n {
			rt.Fatalf("%d nodes were drawn of %d", len(l.Nodes), n)
		}
		shuffled := Graph{Nodes: rapid.Permutation(g.Nodes).Draw(rt, "nodes anew"), Edges: rapid.Permutation(g.Edges).Draw(rt, "edges anew")}
		if again := Compute(shuffled, Pixels()); again.SVG("x", noFigures) != l.SVG("x", noFigures) {
			rt.Fatal("the order in which the graph is given changes the picture")
		}
		for _, line := range Text(g, 20, nameOnly) {
			if strings.TrimRight(line, " ") != line {
				rt.Fatalf("a line ends in spaces: %q", line)
			}
		}
	})
}

func noFigures(Node) string { return "" }

func nameOnly(n Node) TextNode { return TextNode{n.Name, string(n.Kind)} }

// golden compares with a file; BANYAN_REWRITE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("BANYAN_REWRITE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; BANYAN_REWRITE=1 writes it anew. Now:\n%s", name, got)
	}
}

func TestGolden(t *testing.T) {
	g := shop(t)
	golden(t, "shop.svg", Compute(g, Pixels()).SVG("shop", noFigures))
	golden(t, "shop.txt", strings.Join(Text(g, 20, nameOnly), "\n")+"\n")
	golden(t, "shop-list.txt", strings.Join(List(g), "\n")+"\n")
}

// What the page draws is what SVG draws: few edges cross.
func TestFewCrossings(t *testing.T) {
	if n := Compute(shop(t), Pixels()).Crossings; n > 3 {
		t.Errorf("%d edges of the shop cross, want 3 at most", n)
	}
}

func TestWidthStaysInBounds(t *testing.T) {
	// A star of many services is wrapped into several columns instead of one tower.
	g := Graph{Nodes: []Node{{ID: "hub", Kind: Service, Name: "hub"}}}
	for i := range 60 {
		id := fmt.Sprintf("leaf-%02d", i)
		g.Nodes = append(g.Nodes, Node{ID: id, Kind: Service, Name: id})
		g.Edges = append(g.Edges, Edge{"hub", id})
	}
	l := Compute(g, Pixels())
	if err := check(l); err != nil {
		t.Fatal(err)
	}
	if ratio := l.Height / l.Width; ratio > 2.5 || math.IsNaN(ratio) {
		t.Errorf("the picture is %g x %g: a tower", l.Width, l.Height)
	}
}

func BenchmarkCompute(b *testing.B) {
	for _, n := range []int{10, 100, 300} {
		g := large(n, 1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				Compute(g, Pixels())
			}
		})
	}
}
