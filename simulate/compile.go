package simulate

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// link is what the network adds to a call; none where that is nothing.
func (c *compiler) link(from, to int32) (int32, error) {
	caller, callee := "", c.m.services[to].name
	if from != none {
		caller = c.m.services[from].name
	}
	l, ok := c.m.o.Links[caller+">"+callee]
	if !ok {
		svc := c.sys.Services[callee]
		if svc == nil || svc.Link == nil {
			return none, nil
		}
		l = *svc.Link
	}
	d, err := newDistribution(c.m.o.Shape, l.Delay.Std().Seconds(), scvOf(l.SCV))
	if err != nil {
		return none, fmt.Errorf("link from %q to %s: %w", caller, callee, err)
	}
	if d.mean == 0 {
		return none, nil
	}
	if i := slices.Index(c.m.links, d); i >= 0 {
		return int32(i), nil
	}
	c.m.links = append(c.m.links, d)
	return int32(len(c.m.links) - 1), nil
}

// addNode adds a node whose children are there already.
func (c *compiler) addNode(n node) (int32, error) {
	n.visits = 1
	slices.SortStableFunc(n.calls, func(a, b nodeCall) int { return compareBools(a.together, b.together) })
	if n.fork = int32(slices.IndexFunc(n.calls, func(c nodeCall) bool { return c.together })); n.fork < 0 {
		n.fork = int32(len(n.calls))
	}
	for i := range n.calls {
		call := &n.calls[i]
		if !(call.mean >= 0 && call.mean <= 1e6) {
			return none, fmt.Errorf("%v calls: want a number from 0 to a million", call.mean)
		}
		whole, rest := math.Modf(call.mean)
		call.whole, call.rest = int32(whole), rest
		child := &c.m.nodes[call.node]
		n.visits += call.mean * child.visits
		n.height = max(n.height, child.height+1)
	}
	if !(n.visits <= maxVisitsRequest) {
		return none, fmt.Errorf("one request makes %.3g visits to services: at most %.0g are simulated", n.visits, float64(maxVisitsRequest))
	}
	if n.height > maxHeight {
		return none, fmt.Errorf("calls are nested more than %d deep", maxHeight)
	}
	c.m.nodes = append(c.m.nodes, n)
	return int32(len(c.m.nodes) - 1), nil
}

// expandWork compiles a visit to a service by its own 'work', and what it calls. All routes share it.
func (c *compiler) expandWork(name string) (int32, error) {
	if i, ok := c.byWork[name]; ok {
		return i, nil
	}
	if c.onPath[name] {
		return none, fmt.Errorf("service %s calls itself, by way of others or directly: the simulation would not end", name)
	}
	if len(c.onPath) > maxHeight {
		return none, fmt.Errorf("calls are nested more than %d deep", maxHeight)
	}
	c.onPath[name] = true
	defer delete(c.onPath, name)
	work, uses := c.program(name)
	n := node{service: c.index[name], block: none}
	if work.Known() {
		if err := c.setTimes(&n, name, &topology.Demand{CPU: work.CPU, Delay: work.Delay, SCV: work.SCV}); err != nil {
			return none, err
		}
	} else {
		c.silent[name] = true
	}
	var called []string
	for _, used := range uses {
		mean := callsOf(work, used)
		if mean == 0 || c.consumes(name, used) {
			continue
		}
		if kind, _ := topology.ServiceOf(used); kind != "" {
			if !c.hasBlock(used) {
				continue
			}
			call, err := c.blockCall(n.service, used, mean)
			if err != nil {
				return none, err
			}
			n.calls, called = append(n.calls, call), append(called, used)
			continue
		}
		if c.sys.Services[used] == nil {
			continue
		}
		called = append(called, used)
		child, err := c.expandWork(used)
		if err != nil {
			return none, err
		}
		edge, err := c.edge(n.service, c.index[used], c.sys.Services[used].Inbound)
		if err != nil {
			return none, err
		}
		n.calls = append(n.calls, nodeCall{node: child, edge: edge, mean: mean, together: isParallel(work, used)})
	}
	c.behind(&n, called)
	i, err := c.addNode(n)
	if err != nil {
		return none, fmt.Errorf("service %s: %w", name, err)
	}
	c.byWork[name] = i
	return i, nil
}

// program is the work of a service or function, and what it uses.
func (c *compiler) program(name string) (*topology.Work, []string) {
	if svc := c.sys.Services[name]; svc != nil {
		return svc.Work, svc.Uses
	}
	_, f := topology.ServiceOf(name)
	return c.sys.Functions[f].Work, c.sys.Functions[f].Uses
}

// hasBlock reports whether a block exists.
func (c *compiler) hasBlock(use string) bool {
	switch kind, name := topology.ServiceOf(use); kind {
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
	}
	return false
}

// consumes reports whether a service uses a queue or topic to take messages from it.
func (c *compiler) consumes(name, used string) bool {
	switch kind, block := topology.ServiceOf(used); kind {
	case "queues":
		q := c.sys.Queues[block]
		return q != nil && q.Consumers[name] > 0
	case "topics":
		t := c.sys.Topics[block]
		return t != nil && t.Consumers[name] > 0
	}
	return false
}

// callsOf is how often a visit to a service calls another that it uses, by its own 'work'.
func callsOf(work *topology.Work, used string) float64 {
	if work != nil {
		if n, ok := work.Calls[used]; ok {
			return n
		}
	}
	return 1
}

// isParallel reports whether a used service is called at the same time as others.
func isParallel(work *topology.Work, used string) bool {
	return work != nil && slices.Contains(work.Parallel, used)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// shape is the family that a service's times are drawn from: the one that the options ask for, or else the one that was
// found to fit them.
func (c *compiler) shape(service string) Shape {
	k := c.sys.Calibration
	if c.m.o.Shape != ShapeAuto || k == nil || k.Services[service] == nil {
		return c.m.o.Shape
	}
	switch k.Services[service].Distribution {
	case "lognormal":
		return ShapeLognormal
	case "gamma":
		return ShapeGamma
	}
	return ShapeAuto
}

func (c *compiler) setTimes(n *node, name string, d *topology.Demand) error {
	for _, t := range []struct {
		to   *distribution
		what string
		mean topology.Duration
		scv  *float64
		like map[string]topology.Duration
	}{{&n.cpu, "CPU time", d.CPU, d.SCV, d.Quantiles}, {&n.async, "asynchronous CPU time", d.Async, d.SCV, nil}, {&n.delay, "delay", d.Delay, d.DelaySCV, d.DelayQuantiles}} {
		drawn, err := newDistribution(c.shape(name), t.mean.Std().Seconds(), scvOf(t.scv))
		if err == nil && len(t.like) > 0 {
			drawn, err = newEmpirical(t.like, t.mean.Std().Seconds())
		}
		if err != nil {
			return fmt.Errorf("service %s: %s: %w", name, t.what, err)
		}
		*t.to = drawn
	}
	if n.wake = d.Wake.Std().Seconds(); n.wake < 0 {
		return fmt.Errorf("service %s: CPU time of waking up of %v", name, d.Wake.Std())
	}
	return nil
}

func scvOf(p *float64) float64 {
	if p == nil {
		return 1
	}
	return *p
}

// expandDemands compiles a route whose demands are given as visits and times by service. Who calls whom is taken from
// 'uses': a service's visits are spread over the services that use it, in proportion to their own visits and to the
// calls that their demands or their 'work' state, so that each service gets just the visits that the demands say.
func (c *compiler) expandDemands(root *node, edge int32, entry string, demands map[string]*topology.Demand) error {
	for name, d := range demands {
		if d == nil || !(d.Visits >= 0 && d.Visits <= 1e6) {
			return fmt.Errorf("demands of %s: want visits from 0 to a million", name)
		}
		if kind, table := topology.ServiceOf(name); kind == "tables" {
			if c.sys.Tables[table] == nil {
				return fmt.Errorf("demands of table %q, which does not exist", table)
			}
		} else if _, ok := c.index[name]; !ok {
			return fmt.Errorf("demands of service %q, which does not exist", name)
		}
	}
	r := &demandReader{c: c, demands: demands, entry: entry, nodes: map[string]int32{}, reached: map[string]bool{entry: true}}
	if err := r.reach(entry, 0); err != nil {
		return err
	}
	r.offer()
	for _, name := range []string{Client, Gateway} {
		if d := demands[name]; d != nil && d.Visits > 0 && c.sys.Services[name] == nil {
			n := node{service: c.index[name], block: none}
			if err := c.setTimes(&n, name, d); err != nil {
				return err
			}
			visits := d.Visits
			if inner := r.visitsBehind(); name == Gateway && inner > 0 && inner <= visits {
				visits -= inner
				r.hop = &n
			}
			if err := c.callDirectly(root, n, visits); err != nil {
				return err
			}
		}
	}
	node, err := r.expand(entry)
	if err != nil {
		return err
	}
	root.calls = append(root.calls, nodeCall{node: node, edge: edge, mean: r.visits(entry)})
	return r.unreached(root)
}

// callDirectly makes a node call another past all policies.
func (c *compiler) callDirectly(from *node, n node, mean float64) error {
	i, err := c.addNode(n)
	if err != nil {
		return err
	}
	c.m.edges = append(c.m.edges, edgeModel{from: none, to: n.service, lane: none, timeout: none, tryTimeout: none, aim: none, block: none, link: none})
	from.calls = append(from.calls, nodeCall{node: i, edge: int32(len(c.m.edges) - 1), mean: mean})
	return nil
}

// demandReader expands the demands of one route.
type demandReader struct {
	c       *compiler
	demands map[string]*topology.Demand
	entry   string
	nodes   map[string]int32
	reached map[string]bool
	offered map[string]float64
	hop     *node // what the gateway does for a call between services; nil: all that it does comes before the request goes to its service
}

func (r *demandReader) visits(name string) float64 {
	if d := r.demands[name]; d != nil && (d.Visits > 0 || name != r.entry) {
		return d.Visits
	}
	if name == r.entry {
		return 1
	}
	return 0
}

// calls is how often a visit to a service calls another, or a table, that it uses: as its demand says, or else its 'work'.
func (r *demandReader) calls(caller, used string) float64 {
	if d := r.demands[caller]; d != nil && d.Calls != nil {
		if n, ok := d.Calls[used]; ok || !isTable(used) {
			return n
		}
	}
	return callsOf(r.c.sys.Services[caller].Work, used)
}

// reach finds the services that the entry leads to, through services that are visited.
func (r *demandReader) reach(name string, depth int) error {
	if depth > maxHeight {
		return fmt.Errorf("calls are nested more than %d deep", maxHeight)
	}
	for _, used := range r.c.sys.Services[name].Uses {
		if r.c.sys.Services[used] != nil && r.visits(used) > 0 && !r.reached[used] {
			r.reached[used] = true
			if err := r.reach(used, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// offer sums the calls that each service would get of its users by their own 'work'.
func (r *demandReader) offer() {
	r.offered = map[string]float64{}
	for _, caller := range sortedKeys(r.reached) {
		svc := r.c.sys.Services[caller]
		for _, used := range svc.Uses {
			r.offered[used] += r.visits(caller) * r.calls(caller, used)
		}
	}
}

// visitsBehind is how many visits the calls between services make for a request. Each takes a hop of the gateway, which comes with the
// call: a request that is refused at the door takes none of them.
func (r *demandReader) visitsBehind() float64 {
	sum := 0.0
	for _, caller := range sortedKeys(r.reached) {
		for _, used := range r.c.sys.Services[caller].Uses {
			if r.reached[used] && used != r.entry && r.offered[used] > 0 {
				sum += r.visits(caller) * r.callsEach(caller, used)
			}
		}
	}
	return sum
}

// callsEach is how often each visit to a service calls another: what all users offer, scaled to the visits that are known.
func (r *demandReader) callsEach(caller, used string) float64 {
	return r.calls(caller, used) * r.visits(used) / r.offered[used]
}

// through puts the gateway's hop in front of a call.
func (r *demandReader) through(call nodeCall) (nodeCall, error) {
	if r.hop == nil {
		return call, nil
	}
	hop, inner := *r.hop, call
	inner.mean, inner.together = 1, false
	hop.calls = []nodeCall{inner}
	var by node
	if err := r.c.callDirectly(&by, hop, call.mean); err != nil {
		return call, err
	}
	by.calls[0].together = call.together
	return by.calls[0], nil
}

func (r *demandReader) expand(name string) (int32, error) {
	if i, ok := r.nodes[name]; ok {
		return i, nil
	}
	if r.c.onPath[name] {
		return none, fmt.Errorf("service %s calls itself, by way of others or directly: the simulation would not end", name)
	}
	r.c.onPath[name] = true
	defer delete(r.c.onPath, name)
	svc := r.c.sys.Services[name]
	n := node{service: r.c.index[name], block: none}
	if d := r.demands[name]; d != nil {
		if err := r.c.setTimes(&n, name, d); err != nil {
			return none, err
		}
	}
	for _, used := range svc.Uses {
		calls := r.calls(name, used)
		if isTable(used) {
			if err := r.ask(&n, name, used); err != nil {
				return none, err
			}
			continue
		}
		if !r.reached[used] || used == r.entry || calls == 0 {
			continue
		}
		if offered := r.offered[used]; !(offered > 0) || math.IsInf(offered, 0) {
			continue
		}
		child, err := r.expand(used)
		if err != nil {
			return none, err
		}
		edge, err := r.c.edge(n.service, r.c.index[used], r.c.sys.Services[used].Inbound)
		if err != nil {
			return none, err
		}
		call, err := r.through(nodeCall{node: child, edge: edge, mean: r.callsEach(name, used), together: isParallel(svc.Work, used)})
		if err != nil {
			return none, err
		}
		n.calls = append(n.calls, call)
	}
	i, err := r.c.addNode(n)
	if err != nil {
		return none, fmt.Errorf("service %s: %w", name, err)
	}
	r.nodes[name] = i
	return i, nil
}

// isTable reports whether a name in demands is that of a table.
func isTable(name string) bool { return strings.HasPrefix(name, "tables.") }

// ask adds the operations on a table that visits to a service make, where the demands have them.
func (r *demandReader) ask(n *node, caller, table string) error {
	d := r.demands[table]
	if d == nil || d.Visits == 0 || !(r.offered[table] > 0) || math.IsInf(r.offered[table], 0) {
		return nil
	}
	writes := -1.0
	if d.Writes != nil {
		if writes = float64(*d.Writes); !(writes >= 0 && writes <= 1) {
			return fmt.Errorf("demands of %s: a share of %v writes", table, writes)
		}
	}
	call, err := r.c.blockCallOf(n.service, table, r.callsEach(caller, table), writes)
	if err == nil {
		n.calls = append(n.calls, call)
	}
	return err
}

// unreached calls what the demands name but 'uses' does not lead to straight from the gateway.
func (r *demandReader) unreached(root *node) error {
	for _, name := range sortedKeys(r.demands) {
		d := r.demands[name]
		if isTable(name) && d.Visits > 0 && !(r.offered[name] > 0) {
			r.c.assume("demands name %s, which no service that the route visits uses: left out", name)
		}
		if _, done := r.nodes[name]; done || d.Visits == 0 || r.c.sys.Services[name] == nil {
			continue
		}
		n := node{service: r.c.index[name], block: none}
		if err := r.c.setTimes(&n, name, d); err != nil {
			return err
		}
		i, err := r.c.addNode(n)
		if err != nil {
			return err
		}
		edge, err := r.c.edge(none, n.service, r.c.sys.Services[name].Inbound)
		if err != nil {
			return err
		}
		root.calls = append(root.calls, nodeCall{node: i, edge: edge, mean: d.Visits})
		r.c.m.notes = append(r.c.m.notes, fmt.Sprintf("demands name %s, which no 'uses' leads to: its visits are called from the gateway", name))
	}
	return nil
}
