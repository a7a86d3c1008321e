package ui

import (
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/ui/layout"
	"github.com/banyanhq/banyan/ui/words"
)

// view is one of the page's, as its navigation names them.
type view struct {
	path, name string
	there      func(Features) bool // nil: always
}

var views = []view{
	{path: "/", name: "Map"},
	{path: "/services", name: "Table"},
	{path: "/plan", name: "Plan"},
	{path: "/load", name: "Load test"},
	{path: "/slos", name: "SLOs"},
	{path: "/log", name: "Logs", there: func(f Features) bool { return f.Logs }},
	{path: "/trace", name: "Traces", there: func(f Features) bool { return f.Traces }},
	{path: "/timeline", name: "Timeline"},
}

// Views of one thing each, whose ID follows, with the view that they are part of.
var viewsBelow = map[string]string{"/node/": "/", "/trace/": "/trace"}

// viewOf is the path of the view that a path belongs to, and whether it is that view or one below it.
func viewOf(path string) (of string, below, ok bool) {
	for _, v := range views {
		if v.path == path {
			return path, false, true
		}
	}
	for prefix, of := range viewsBelow {
		if strings.HasPrefix(path, prefix) {
			return of, true, true
		}
	}
	return "", false, false
}

// titleOf is the title of a page, until its script knows better what is looked at.
func titleOf(path string, f first) string {
	system := f.Hello.Frame.System
	for _, v := range views {
		if v.path == path {
			return v.name + " · " + system
		}
	}
	return system
}

// paint writes what the browser shows until the script has run, and what the script then goes on with: the frame around all views, and
// in the map's the tiles and the map, whose figures are all that most come for. The script adds what stands below them.
func (m *markup) paint(path string, f first) {
	frame := f.Hello.Frame
	m.leaf("a", "Skip to content", "class", "skip", "href", "#main")
	m.open("header", "class", "top")
	m.open("a", "class", "brand", "href", "/", "aria-label", frame.System+", map")
	m.open("svg", "viewBox", "0 0 16 16", "width", "18", "height", "18", "aria-hidden", "true")
	m.leaf("path", "", "d", "M8 2.5v11M4 6v7.5M12 6v7.5M2 6h12")
	m.close("svg")
	m.leaf("span", frame.System)
	m.close("a")
	current, below, _ := viewOf(path)
	m.open("nav", "aria-label", "Views")
	for _, v := range views {
		switch {
		case v.there != nil && !v.there(f.Hello.Features):
		case v.path == current:
			m.leaf("a", v.name, "href", v.path, "aria-current", "page")
		default:
			m.leaf("a", v.name, "href", v.path)
		}
	}
	m.close("nav")
	m.open("div", "class", "right")
	m.leaf("span", "up "+words.Span(frame.UpSeconds), "class", "up muted")
	m.open("span", "class", "live connecting", "role", "status")
	m.leaf("span", "", "class", "lamp", "aria-hidden", "true")
	m.text("Connecting")
	m.close("span")
	m.open("button", "class", "icon", "type", "button", "aria-label", "Switch theme", "title", "Switch theme")
	m.open("svg", "viewBox", "0 0 16 16", "width", "16", "height", "16", "aria-hidden", "true")
	m.leaf("circle", "", "cx", "8", "cy", "8", "r", "5.5", "class", "ring")
	m.leaf("path", "", "d", "M8 2.5a5.5 5.5 0 0 1 0 11Z", "class", "fill")
	m.close("svg", "button", "div", "header")
	m.open("main", "id", "main", "tabindex", "-1")
	if current == "/" && !below {
		m.leaf("h1", "Map of "+frame.System, "class", "hidden")
		m.tiles(frame)
		m.panel(f.Map.Layout, frame)
	}
	m.close("main")
}

func (m *markup) tile(name, value, note string) {
	m.open("div", "class", "tile")
	m.leaf("dt", name)
	m.open("dd")
	m.text(value)
	if note != "" {
		m.leaf("small", note)
	}
	m.close("dd", "div")
}

// tiles are the figures of the whole system.
func (m *markup) tiles(f *Frame) {
	m.open("dl", "class", "tiles")
	m.tile("Requests", words.Rate(f.Total.Rate), "")
	m.tile("p50", words.Latency(f.Total.P50), "")
	m.tile("p99", words.Latency(f.Total.P99), "")
	m.tile("Errors", words.Percent(f.Total.Errors), "")
	m.tile("In flight", words.Number(float64(f.Total.InFlight)), "")
	m.tile("CPU", words.Cores(f.Machine.Busy), " of "+strconv.Itoa(f.Machine.Cores))
	bottleneck, note := words.None, ""
	if f.Expected.Known {
		bottleneck = f.Expected.Bottleneck
		if f.Expected.Saturated {
			note = " saturated"
		}
	}
	m.tile("Bottleneck", bottleneck, note)
	trouble := 0
	for _, n := range f.Nodes {
		if n.Health == Warning || n.Health == Failing {
			trouble++
		}
	}
	unwell := "none"
	if trouble > 0 {
		unwell = words.Plural(trouble, "node")
	}
	m.tile("Not well", unwell, "")
	m.close("dl")
}

// panel is the map with the tools above it.
func (m *markup) panel(l *layout.Layout, f *Frame) {
	m.open("section", "class", "panel", "aria-label", "Map")
	m.open("div", "class", "tools")
	m.open("label", "class", "search")
	m.leaf("span", "Find a node", "class", "hidden")
	m.open("input", "type", "search", "placeholder", "Find a node")
	m.close("label")
	m.open("span", "class", "legend muted", "aria-hidden", "true")
	m.open("svg", "width", "104", "height", "12")
	m.leaf("path", "", "class", "legend-track", "d", "M1 6h30")
	m.leaf("path", "", "class", "legend-expect", "d", "M20 1v10")
	m.leaf("text", "expected", "x", "38", "y", "10")
	m.close("svg", "span")
	m.open("div", "class", "group", "role", "group", "aria-label", "Zoom")
	m.leaf("button", "−", "type", "button", "aria-label", "Zoom out")
	m.leaf("button", "Fit", "type", "button", "aria-pressed", "true")
	m.leaf("button", "+", "type", "button", "aria-label", "Zoom in")
	m.close("div", "div")
	m.open("div", "class", "scroll", "tabindex", "0", "role", "region", "aria-label", "Drawing of the map, also as a table under Table")
	m.picture(l, f)
	m.close("div", "section")
}
