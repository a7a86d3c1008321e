package topology

import (
	"fmt"
	"slices"
	"strings"
)

// uses checks what services and functions use: that it exists, that no service of a lower layer calls up, and that
// nothing calls itself in a circle.
func (c *checker) uses() {
	graph := map[string][]call{}
	for _, name := range c.sys.SortedServices() {
		v := c.sys.Services[name]
		graph[name] = c.callsOf(v.Uses, c.spots[v].child("uses"))
		for _, use := range graph[name] {
			c.layering(v, c.sys.Services[use.to], use)
		}
	}
	for _, name := range sortedKeys(c.sys.Functions) {
		v := c.sys.Functions[name]
		graph["functions."+name] = c.callsOf(v.Uses, c.spots[v].child("uses"))
	}
	c.cycles(graph)
}

// call is one entry of 'uses' that leads to a service or a function.
type call struct {
	to   string
	spot spot
}

func (c *checker) callsOf(uses []string, s spot) []call {
	var out []call
	seen := make(map[string]bool, len(uses))
	for i, use := range uses {
		at := s.item(i)
		if seen[use] {
			c.at(at, Problem{Found: quoteFound(use), Message: "it stands twice"})
			continue
		}
		seen[use] = true
		kind, name := ServiceOf(use)
		if c.exists(kind, name) {
			if kind == "" || kind == "functions" {
				out = append(out, call{use, at})
			}
			continue
		}
		what := "service"
		if kind != "" {
			what = strings.TrimSuffix(kind, "s")
		}
		if !slices.Contains([]string{"", "caches", "tables", "queues", "topics", "functions", "sagas"}, kind) {
			c.at(at, Problem{Found: quoteFound(use), Hint: c.problems.didYouMean(use, c.usable),
				Expected: "a service, or caches.NAME, tables.NAME, queues.NAME, topics.NAME, functions.NAME or sagas.NAME"})
			continue
		}
		problem := Problem{Found: quoteFound(use), Message: "there is no such " + what}
		for _, other := range []string{"caches", "tables", "queues", "topics", "functions", "sagas"} {
			if kind == "" && c.exists(other, name) {
				problem.Hint = fmt.Sprintf("did you mean %q?", other+"."+name)
				break
			}
		}
		if problem.Hint == "" {
			problem.Hint = c.problems.didYouMean(use, c.usable)
		}
		c.at(at, problem)
	}
	return out
}

func (c *checker) exists(kind, name string) bool {
	switch kind {
	case "":
		return c.sys.Services[name] != nil
	case "caches":
		return c.sys.Caches[name] != nil
	case "tables":
		return c.sys.Tables[name] != nil
	case "queues":
		return c.sys.Queues[name] != nil
	case "topics":
		return c.sys.Topics[name] != nil
	case "functions":
		return c.sys.Functions[name] != nil
	case "sagas":
		return c.sys.Sagas[name] != nil
	}
	return false
}

// usable lists all that 'uses' may name.
func (c *checker) usable() []string {
	out := c.sys.SortedServices()
	add := func(kind string, names []string) {
		for _, n := range names {
			out = append(out, kind+"."+n)
		}
	}
	add("caches", sortedKeys(c.sys.Caches))
	add("tables", sortedKeys(c.sys.Tables))
	add("queues", sortedKeys(c.sys.Queues))
	add("topics", sortedKeys(c.sys.Topics))
	add("functions", sortedKeys(c.sys.Functions))
	add("sagas", sortedKeys(c.sys.Sagas))
	return out
}

// layering says whether a call leads up.
func (c *checker) layering(caller, callee *Service, use call) {
	if callee == nil || caller.Layer == "" || callee.Layer == "" {
		return
	}
	from, to := slices.Index(c.sys.Layers, caller.Layer), slices.Index(c.sys.Layers, callee.Layer)
	if from < 0 || to < 0 || to >= from {
		return
	}
	c.at(use.spot, Problem{Found: quoteFound(use.to),
		Message:  fmt.Sprintf("the layer %s calls up into the layer %s", caller.Layer, callee.Layer),
		Expected: "calls within a layer or down"})
}

// cycles finds the calls that close a circle: a depth-first walk in which each call back into the walk closes one.
func (c *checker) cycles(graph map[string][]call) {
	const (
		untouched = iota
		onWalk
		done
	)
	state := make(map[string]int, len(graph))
	var walk []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = onWalk
		walk = append(walk, name)
		for _, use := range graph[name] {
			switch state[use.to] {
			case untouched:
				visit(use.to)
			case onWalk:
				circle := append(slices.Clone(walk[slices.Index(walk, use.to):]), use.to)
				c.at(use.spot, Problem{Found: quoteFound(use.to), Message: "the calls go round in a circle: " + chain(circle)})
			}
		}
		walk = walk[:len(walk)-1]
		state[name] = done
	}
	for _, name := range sortedKeys(graph) {
		if state[name] == untouched {
			visit(name)
		}
	}
}

// chain writes a -> b -> a, its middle left out where it is long.
func chain(names []string) string {
	const most = 10
	if len(names) > most {
		names = append(append(slices.Clone(names[:most-2]), "..."), names[len(names)-1])
	}
	return strings.Join(names, " -> ")
}
