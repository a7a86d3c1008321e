package main

import (
	"fmt"
	"strings"

	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// explore prints the counterfactuals and the map of bottlenecks.
func (c *cli) explore(sys *topology.System, load plan.Load, o plan.Options) error {
	e, err := plan.Explore(sys, load, o)
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.out, e)
	}
	fmt.Fprintf(c.out, "%s under %s\n\n", sys.Name, describeLoad(load))
	t := table{head: []string{"IF", "HOLDS", "KNEE", "GAIN", "MEAN", "P99", "METASTABLE"}}
	var idle []string
	for i, x := range e.Counterfactuals {
		if now := e.Counterfactuals[0]; i > 0 && x.What != "no retries" && noDifference(x, now.Saturation, now.P99) {
			idle = append(idle, x.What)
			continue
		}
		from := ""
		switch {
		case x.Metastable > 0:
			from = "from " + digits(x.Metastable) + "/s"
		case i == 0 || x.What == "no retries":
			from = "never"
		}
		t.row(x.What, digits(x.Saturation)+"/s", digits(x.Knee)+"/s", deviation(x.Gain), duration(x.Mean), duration(x.P99), from)
	}
	t.write(c.out)
	if len(idle) > 0 {
		fmt.Fprintf(c.out, "No difference: %s.\n", strings.Join(idle, "; "))
	}
	fmt.Fprintln(c.out, "\nThe resource that is used most, over the load:")
	t = table{head: []string{"FROM", "TO", "BOTTLENECK"}}
	for _, r := range e.Loads {
		t.row(digits(r.From)+"/s", digits(r.To)+"/s", r.By)
	}
	t.write(c.out)
	if len(e.Mixes) == 0 {
		return nil
	}
	fmt.Fprintln(c.out, "\nThe resource that fills first, over each route's share of the requests (* today's):")
	t = table{head: []string{"ROUTE", "FROM", "TO", "BOTTLENECK", "HOLDS"}}
	for _, r := range e.Mixes {
		name := r.Route
		if r.Now {
			name += " *"
		}
		t.row(name, percent(r.From), percent(r.To), r.By, digits(r.Least)+" to "+digits(r.Most)+"/s")
	}
	t.write(c.out)
	return nil
}
