package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/charmbracelet/x/ansi"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/topology"
	"github.com/banyanhq/banyan/ui/layout"
)

// widestNode is how many cells the text of a node takes at most.
const widestNode = 22

func (c *cli) architecture() *cobra.Command {
	var svg, list bool
	cmd := &cobra.Command{
		Use:     "map",
		GroupID: "file",
		Short:   "Draw the architecture: who calls whom",
		Long: `Draw the architecture that the file describes: clients, gateway, services, caches, tables, queues and topics, and the
calls between them. It is the picture of the page ('banyan ui') and of 'banyan top', there with live figures. On a terminal
that is too narrow for it, calls are listed instead. --svg writes the picture for documents, light or dark as the reader
has it.`,
		Example: "  banyan map\n  banyan map --svg > architecture.svg",
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := c.open()
			if err != nil {
				return err
			}
			g := layout.Of(sys)
			switch {
			case c.json:
				return writeJSON(c.out, layout.Compute(g, layout.Pixels()))
			case svg:
				_, err := fmt.Fprint(c.out, layout.Compute(g, layout.Pixels()).SVG(sys.Name, func(n layout.Node) string { return declared(sys, n) }))
				return err
			}
			lines := layout.Text(g, widestNode, func(n layout.Node) layout.TextNode { return layout.TextNode{Name: n.Name, Figures: declared(sys, n)} })
			if list || tooWide(c.out, lines) {
				lines = layout.List(g)
			}
			_, err = fmt.Fprintln(c.out, strings.Join(lines, "\n"))
			return err
		},
	}
	cmd.Flags().BoolVar(&svg, "svg", false, "write SVG")
	cmd.Flags().BoolVar(&list, "list", false, "list the calls instead of drawing them")
	cmd.MarkFlagsMutuallyExclusive("svg", "list")
	return cmd
}

// tooWide reports whether a terminal has no room for the lines; elsewhere there is always room.
func tooWide(out any, lines []string) bool {
	f, ok := out.(*os.File)
	if !ok || !terminal(f) {
		return false
	}
	width, _, err := term.GetSize(f.Fd())
	if err != nil || width <= 0 {
		return false
	}
	for _, l := range lines {
		if ansi.StringWidth(l) > width {
			return true
		}
	}
	return false
}

// declared is what the file says of a node, in a few words.
func declared(sys *topology.System, n layout.Node) string {
	switch n.Kind {
	case layout.Clients:
		if w := sys.Workload; w != nil && w.Users > 0 {
			return plural(w.Users, "user")
		} else if w != nil && w.Rate > 0 {
			return w.Rate.String()
		}
		return "outside"
	case layout.Gateway:
		return plural(len(sys.Routes), "route")
	case layout.Service:
		r := sys.Services[n.ID].Replicas
		if r.Max > r.Min {
			return fmt.Sprintf("%d to %d replicas", r.Min, r.Max)
		}
		return plural(r.Min, "replica")
	case layout.External:
		return "elsewhere"
	case layout.Cache:
		c := sys.Caches[n.Name]
		if c.Nodes > 1 {
			return fmt.Sprintf("cache, %v on %d nodes", c.Memory, c.Nodes)
		}
		return "cache, " + c.Memory.String()
	case layout.Table:
		return "table, " + sys.Tables[n.Name].Consistency
	}
	return string(n.Kind)
}

// liveMap draws the architecture of a running system with the figures of a status.
func liveMap(sys *topology.System) func(observe.Status) []string {
	g := layout.Of(sys)
	return func(st observe.Status) []string {
		services := map[string]observe.ServiceStatus{}
		for _, s := range st.Services {
			services[s.Service] = s
		}
		return layout.Text(g, widestNode, func(n layout.Node) layout.TextNode {
			t := layout.TextNode{Name: n.Name, Figures: declared(sys, n)}
			s, ok := services[n.ID]
			switch {
			case n.Kind == layout.Clients || n.Kind == layout.Gateway:
				t.Figures = callFigures(st.Total)
			case ok:
				t.Name = cmp.Or(strings.TrimSpace(replicaDots(s)+" "+n.Name), n.Name)
				t.Figures = callFigures(s.CallStatus)
			}
			return t
		})
	}
}

// callFigures are the rate, the p99 and, where there are any, the errors.
func callFigures(c observe.CallStatus) string {
	if c.Rate == 0 {
		return "idle"
	}
	text := digits(c.Rate) + "/s " + duration(c.Latency.P99)
	if c.Errors > 0 {
		text += fmt.Sprintf(" %.2g%%!", 100*c.Errors)
	}
	return text
}

// replicaDots shows a replica each: ready or not; many as a number.
func replicaDots(s observe.ServiceStatus) string {
	n := max(s.Wanted, len(s.Replicas))
	ready := s.Ready
	if s.Wanted == 0 { // elsewhere: what is healthy is ready
		ready = 0
		for _, r := range s.Replicas {
			if r.Healthy {
				ready++
			}
		}
	}
	if n > 6 {
		return fmt.Sprintf("%d/%d", ready, n)
	}
	return strings.Repeat("●", min(ready, n)) + strings.Repeat("○", max(n-ready, 0))
}
