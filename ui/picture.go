package ui

import (
	"cmp"
	"math"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/banyanhq/banyan/ui/layout"
	"github.com/banyanhq/banyan/ui/words"
)

// The map with its figures, as a page comes with it: what MapView of web/js/map.js makes of the same frame, element by element, so that the
// script finds what it would have made, and goes on from there. TestBothDrawTheSame holds the two together.

// Widths of the map where it fits itself into the window, by its own.
const (
	narrowest = 0.55
	widest    = 1.15
)

const (
	mostDots = 14 // of replicas that fit
	flowing  = 60 // edges that move at most
)

var healthWord = map[Health]string{Idle: "Idle", OK: "Healthy", Warning: "Warning", Failing: "Failing"}

var healthForm = map[Health]string{
	Idle: "M2.5 6h7", OK: "M2.6 6.4 5 8.6l4.4-5", Warning: "M6 1.8 10.8 10.2H1.2Z", Failing: "M2.5 2.5l7 7M9.5 2.5l-7 7",
}

var kindWord = map[layout.Kind]string{
	layout.Clients: "Clients", layout.Gateway: "Gateway", layout.Service: "Service", layout.External: "External service", layout.Cache: "Cache",
	layout.Table: "Table", layout.Queue: "Queue", layout.Topic: "Topic", layout.Function: "Function",
}

// picture draws the map.
func (m *markup) picture(l *layout.Layout, f *Frame) {
	wide := func(by float64) string { return px(math.Floor(l.Width*by + 0.5)) }
	m.open("div", "class", "fit")
	m.leaf("svg", "", "class", "least", "width", wide(narrowest), "height", "0", "aria-hidden", "true")
	m.open("svg", "class", "map", "width", wide(widest), "viewBox", "0 0 "+px(l.Width)+" "+px(l.Height), "role", "group", "aria-label", "Architecture of "+f.System)
	m.open("defs")
	for _, k := range []string{"", "-bad", "-focus"} {
		m.open("marker", "id", "head"+k, "class", "tip"+k, "viewBox", "0 0 8 8", "refX", "7.5", "refY", "4", "markerWidth", "8", "markerHeight", "8",
			"markerUnits", "userSpaceOnUse", "orient", "auto")
		m.leaf("path", "", "d", "M0 .5 8 4 0 7.5Z")
		m.close("marker")
	}
	m.close("defs")
	m.open("g", "aria-hidden", "true")
	for _, e := range l.Edges {
		m.edge(e, f.Edges[EdgeKey(e.From, e.To)], len(l.Edges) <= flowing)
	}
	m.close("g")
	for _, n := range l.Nodes {
		if figures, ok := f.Nodes[n.ID]; ok {
			m.node(n, &figures, float64(f.Machine.Cores))
		} else {
			m.node(n, nil, float64(f.Machine.Cores))
		}
	}
	m.close("svg", "div")
}

// edge of no known figures has none in c.
func (m *markup) edge(e layout.Path, c Calls, moving bool) {
	look, head, weight := "edge", "url(#head)", 1.0
	busy, failing := c.Rate > 0, c.Errors >= someErrors
	if busy {
		look += " busy"
		weight = min(3, 1+math.Log10(1+c.Rate)/2.5)
	}
	if failing {
		look += " failing"
		head = "url(#head-bad)"
	}
	m.open("g", "class", look)
	m.leaf("path", "", "class", "way", "d", e.D, "stroke-width", words.Fixed(weight, 2), "marker-end", head)
	if moving && busy {
		pace := "slow"
		switch {
		case c.Rate > 100:
			pace = "fast"
		case c.Rate > 5:
			pace = "medium"
		}
		m.leaf("path", "", "class", "flow "+pace, "d", e.D)
	}
	if busy {
		anchor, label := "start", words.Number(c.Rate)
		if e.LabelEnd {
			anchor = "end"
		}
		if failing {
			label += " · " + words.Percent(c.Errors) + " err"
		}
		m.leaf("text", label, "class", "label", "x", px(e.Label.X), "y", px(e.Label.Y), "text-anchor", anchor)
	}
	m.close("g")
}

// figuresOf are the words of a node's second line.
func figuresOf(kind layout.Kind, n *NodeFigures) string {
	switch {
	case n.Store != nil && kind == layout.Cache:
		return words.Percent(n.Store.HitRatio) + " hits · " + words.Bytes(float64(n.Store.Used))
	case n.Store != nil:
		return words.Number(float64(n.Store.Waiting)) + " waiting · " + words.Rate(n.Store.In)
	case kind != layout.Clients && n.P99 > 0:
		return words.Rate(n.Rate) + " · p99 " + words.Latency(n.P99)
	}
	return words.Rate(n.Rate)
}

// spoken says everything about a node in a sentence.
func spoken(b layout.Box, n *NodeFigures) string {
	parts := []string{kindWord[b.Kind] + " " + b.Name}
	if n == nil {
		return parts[0]
	}
	parts = append(parts, strings.ToLower(healthWord[n.Health]))
	if n.Why != "" {
		parts = append(parts, n.Why)
	}
	parts = append(parts, figuresOf(b.Kind, n))
	if n.Wanted > 0 {
		parts = append(parts, words.Number(float64(n.Ready))+" of "+words.Plural(n.Wanted, "replica")+" ready")
	}
	if n.Errors > 0 {
		parts = append(parts, words.Percent(n.Errors)+" errors")
	}
	return strings.Join(parts, ", ")
}

// nodePath is the address of a node's view.
func nodePath(id string) string { return "/node/" + asScripts.Replace(url.QueryEscape(id)) }

// asScripts makes what encodeURIComponent writes of what QueryEscape does.
var asScripts = strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")

// node of no known figures has nil.
func (m *markup) node(b layout.Box, n *NodeFigures, machine float64) {
	service := b.Kind == layout.Service || b.Kind == layout.External || b.Kind == layout.Function
	first, inset := b.Y+27, 0.0
	if service {
		first = b.Y + 22
	}
	if b.Kind == layout.Queue || b.Kind == layout.Topic {
		inset = 18
	}
	health, figures := Idle, kindWord[b.Kind]
	if n != nil {
		health, figures = n.Health, figuresOf(b.Kind, n)
	}
	m.open("a", "class", "node "+string(b.Kind)+" is-"+string(health), "href", nodePath(b.ID), "data-id", b.ID)
	m.leaf("title", spoken(b, n))
	m.leaf("rect", "", "class", "box", "x", px(b.X+0.5), "y", px(b.Y+0.5), "width", px(b.W-1), "height", px(b.H-1), "rx", "6")
	if d := layout.Decoration(b); d != "" {
		m.leaf("path", "", "class", "deco", "d", d)
	}
	m.leaf("text", shortened(b.Name, int((b.W-46-inset)/7.2)), "class", "name", "x", px(b.X+14), "y", px(first))
	if n != nil && b.Kind != layout.Clients {
		m.leaf("path", "", "class", "mark-"+string(health), "transform", "translate("+px(b.X+b.W-25-inset)+" "+px(first-10)+")", "d", healthForm[health])
	}
	m.leaf("text", figures, "class", "figures", "x", px(b.X+14), "y", px(first+18))
	if service && n != nil {
		m.service(b, n, machine)
	}
	m.close("a")
}

// service draws what only services have: their replicas, what is wrong, their CPU.
func (m *markup) service(b layout.Box, n *NodeFigures, machine float64) {
	if len(n.Replicas) > 0 {
		m.dots(b, n.Replicas)
	}
	if n.BreakersOpen > 0 || n.Errors >= someErrors {
		alarm := words.Percent(n.Errors) + " err"
		if n.BreakersOpen > 0 {
			alarm = words.Plural(n.BreakersOpen, "breaker") + " open"
		}
		m.leaf("text", alarm, "class", "alarm", "x", px(b.X+b.W-14), "y", px(b.Y+59), "text-anchor", "end")
	}
	if limit := cmp.Or(n.Limit, machine); b.Kind == layout.Service && limit > 0 {
		m.use(b, n, limit)
	}
}

var dotForm = map[string]string{"ready": "full", "starting": "ring", "draining": "half", "stopping": "half"}

// dots are the replicas, one for each.
func (m *markup) dots(b layout.Box, states []string) {
	shown := states
	if len(states) > mostDots {
		shown = states[:mostDots-2]
	}
	x, y := b.X+17, b.Y+55
	m.open("g", "class", "dots")
	for _, state := range shown {
		form, radius := dotForm[state], "3"
		if form == "full" {
			radius = "3.5"
		}
		if form == "" {
			m.open("rect", "class", "dot-bad", "x", px(x-3), "y", px(y-3), "width", "6", "height", "6")
			m.leaf("title", state)
			m.close("rect")
		} else {
			m.open("circle", "class", "dot-"+form, "cx", px(x), "cy", px(y), "r", radius)
			m.leaf("title", state)
			m.close("circle")
		}
		x += 10
	}
	if more := len(states) - len(shown); more > 0 {
		m.leaf("text", "+"+words.Number(float64(more)), "class", "small", "x", px(x), "y", px(y+4))
	}
	m.close("g")
}

// use is a bar of CPU at the foot of a service, with a mark where the plan expects it.
func (m *markup) use(b layout.Box, n *NodeFigures, limit float64) {
	width := b.W - 28
	at := func(v float64) float64 { return min(1, v/limit) * width }
	x, y := b.X+14, b.Y+b.H-9
	title, fill := words.Cores(n.Cores)+" of "+words.Cores(limit)+" cores", "fill"
	if n.Expected != nil {
		title += ", expected " + words.Cores(n.Expected.Cores)
	}
	if n.Cores > 0.85*limit {
		fill += " full"
	}
	m.open("g", "class", "use")
	m.leaf("title", title)
	m.leaf("rect", "", "class", "track", "x", px(x), "y", px(y), "width", px(width), "height", "3", "rx", "1.5")
	m.leaf("rect", "", "class", fill, "x", px(x), "y", px(y), "width", px(at(n.Cores)), "height", "3", "rx", "1.5")
	if n.Expected != nil && n.Expected.Cores > 0 {
		m.leaf("path", "", "class", "expect", "d", "M"+words.Fixed(x+at(n.Expected.Cores), 1)+" "+px(y-2)+"v7")
	}
	m.close("g")
}

// shortened to so many letters.
func shortened(name string, room int) string {
	if utf8.RuneCountInString(name) <= room {
		return name
	}
	return string([]rune(name)[:room-1]) + "…"
}
