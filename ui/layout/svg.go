package layout

import (
	"fmt"
	"html"
	"strings"
)

// SVG draws the picture as a document of its own, light or dark as the reader has it. say gives the second line of a
// node, empty for its kind.
func (l *Layout) SVG(title string, say func(Node) string) string {
	var b strings.Builder
	text := html.EscapeString
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img" aria-label="%s">`+"\n",
		l.Width, l.Height, l.Width, l.Height, text(title))
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", text(title), svgStyle)
	b.WriteString(`<defs><marker id="head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0 .5 8 4 0 7.5Z"/></marker></defs>` + "\n")
	fmt.Fprintf(&b, `<rect class="ground" width="%g" height="%g"/>`+"\n", l.Width, l.Height)
	for _, e := range l.Edges {
		fmt.Fprintf(&b, `<path class="edge" d="%s" marker-end="url(#head)"><title>%s to %s</title></path>`+"\n", e.D, text(e.From), text(e.To))
	}
	for _, n := range l.Nodes {
		figures := say(n.Node)
		if figures == "" {
			figures = string(n.Kind)
		}
		fmt.Fprintf(&b, `<g class="node %s"><rect x="%g" y="%g" width="%g" height="%g" rx="6"/>`, n.Kind, n.X+0.5, n.Y+0.5, n.W-1, n.H-1)
		if decoration := Decoration(n); decoration != "" {
			fmt.Fprintf(&b, `<path class="mark" d="%s"/>`, decoration)
		}
		middle := n.Y + n.H/2
		fmt.Fprintf(&b, `<text class="name" x="%g" y="%g">%s</text><text class="kind" x="%g" y="%g">%s</text></g>`+"\n",
			n.X+14, middle-4, text(n.Name), n.X+14, middle+14, text(figures))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// Decoration is a path that tells the kinds apart by their form: a lid for what stores, slots for what queues.
func Decoration(b Box) string {
	switch b.Kind {
	case Cache, Table:
		return fmt.Sprintf("M%g %gH%g", b.X+0.5, b.Y+8.5, b.X+b.W-0.5)
	case Queue, Topic:
		right := b.X + b.W
		return fmt.Sprintf("M%g %gV%gM%g %gV%g", right-8.5, b.Y+0.5, b.Y+b.H-0.5, right-14.5, b.Y+0.5, b.Y+b.H-0.5)
	}
	return ""
}

const svgStyle = `
.ground{fill:#fff}.edge{fill:none;stroke:#a3a9b3}.head{fill:#a3a9b3}
.node rect{fill:#fff;stroke:#c9ced6}.mark{fill:none;stroke:#c9ced6}
.gateway rect{stroke:#2f6feb}.external rect,.clients rect{stroke-dasharray:4 3}
text{font-family:ui-sans-serif,system-ui,sans-serif}.name{font-size:13px;font-weight:600;fill:#171a1f}.kind{font-size:11px;fill:#5b6370}
@media(prefers-color-scheme:dark){.ground{fill:#0f1115}.edge{stroke:#565d69}.head{fill:#565d69}
.node rect{fill:#16191f;stroke:#343a45}.mark{stroke:#343a45}.gateway rect{stroke:#6ea1ff}.name{fill:#eceef2}.kind{fill:#9aa2af}}
`
