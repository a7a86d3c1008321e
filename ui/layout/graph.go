package layout

import (
	"cmp"
	"maps"
	"slices"

	"github.com/banyanhq/banyan/topology"
)

// Kind is what a node is.
type Kind string

// The kinds of nodes.
const (
	Clients  Kind = "clients"
	Gateway  Kind = "gateway"
	Service  Kind = "service"
	External Kind = "external" // a service that runs elsewhere
	Cache    Kind = "cache"
	Table    Kind = "table"
	Queue    Kind = "queue"
	Topic    Kind = "topic"
	Function Kind = "function"
)

// The nodes that every system has. No service can have such a name.
const (
	ClientsID = "@clients"
	GatewayID = "@gateway"
)

// Node is one box of the picture. A service's ID is its name; the others have their kind before it, as in the file:
// caches.NAME, tables.NAME, queues.NAME, topics.NAME, functions.NAME.
type Node struct {
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// Layer of a service, as the file says it.
	Layer string `json:"layer,omitempty"`
}

// Edge is a call, or for queues and topics the way of the messages.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Graph is what is drawn.
type Graph struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Of returns the graph of a system: the clients, the gateway, everything that the file declares, and the calls between
// them. Calls between services are drawn from one to the other, although the gateway carries them.
func Of(sys *topology.System) Graph {
	b := &graphBuilder{nodes: map[string]Node{}, edges: map[Edge]bool{}}
	b.node(Node{ID: ClientsID, Kind: Clients, Name: "clients"})
	b.node(Node{ID: GatewayID, Kind: Gateway, Name: "gateway"})
	b.edge(ClientsID, GatewayID)
	for name, svc := range sys.Services {
		kind := Service
		if svc.External() {
			kind = External
		}
		b.node(Node{ID: name, Kind: kind, Name: name, Layer: svc.Layer})
	}
	b.stores(sys)
	for _, r := range sys.Routes {
		for _, to := range targets(r) {
			b.edge(GatewayID, to)
		}
	}
	for _, t := range sys.TCP {
		b.edge(GatewayID, t.To)
	}
	for name, svc := range sys.Services {
		for _, use := range svc.Uses {
			b.edge(name, use) // what it uses has the ID by which it is named
		}
	}
	return b.graph()
}

// targets are the services that a route leads to, the copies of requests included.
func targets(r *topology.Route) []string {
	all := slices.Sorted(maps.Keys(r.Split))
	if r.To != "" && r.Redirect == nil {
		all = append(all, r.To)
	}
	if r.Canary != nil {
		all = append(all, r.Canary.To)
	}
	if r.Mirror != nil {
		all = append(all, r.Mirror.To)
	}
	return all
}

type graphBuilder struct {
	nodes map[string]Node
	edges map[Edge]bool
}

func (b *graphBuilder) node(n Node) { b.nodes[n.ID] = n }

// edge adds what leads from one known node to another one.
func (b *graphBuilder) edge(from, to string) {
	b.edges[Edge{from, to}] = true
}

func (b *graphBuilder) stores(sys *topology.System) {
	for name := range sys.Caches {
		b.node(Node{ID: "caches." + name, Kind: Cache, Name: name})
	}
	for name := range sys.Tables {
		b.node(Node{ID: "tables." + name, Kind: Table, Name: name})
	}
	for name, q := range sys.Queues {
		id := "queues." + name
		b.node(Node{ID: id, Kind: Queue, Name: name})
		for service := range q.Consumers {
			b.edge(id, service)
		}
		if q.DeadLetter != "" {
			b.edge(id, "queues."+q.DeadLetter)
		}
	}
	for name, t := range sys.Topics {
		id := "topics." + name
		b.node(Node{ID: id, Kind: Topic, Name: name})
		for service := range t.Consumers {
			b.edge(id, service)
		}
	}
	for name, f := range sys.Functions {
		id := "functions." + name
		b.node(Node{ID: id, Kind: Function, Name: name})
		if f.On.Queue != "" {
			b.edge("queues."+f.On.Queue, id)
		}
		if f.On.Topic != "" {
			b.edge("topics."+f.On.Topic, id)
		}
		if f.On.HTTP != "" {
			b.edge(GatewayID, id)
		}
		for _, use := range f.Uses {
			b.edge(id, use)
		}
	}
}

func (b *graphBuilder) graph() Graph {
	return Graph{Nodes: slices.Collect(maps.Values(b.nodes)), Edges: slices.Collect(maps.Keys(b.edges))}.normal()
}

// normal is the graph in its one order, without what cannot be drawn: edges to nowhere and loops of one node.
func (g Graph) normal() Graph {
	out := Graph{Nodes: slices.Clone(g.Nodes), Edges: slices.Clone(g.Edges)}
	known := map[string]bool{}
	slices.SortFunc(out.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	out.Nodes = slices.CompactFunc(out.Nodes, func(a, b Node) bool { return a.ID == b.ID })
	for _, n := range out.Nodes {
		known[n.ID] = true
	}
	out.Edges = slices.DeleteFunc(out.Edges, func(e Edge) bool { return e.From == e.To || !known[e.From] || !known[e.To] })
	slices.SortFunc(out.Edges, func(a, b Edge) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	out.Edges = slices.Compact(out.Edges)
	return out
}
