package queueing

import "fmt"

// reach checks what needs the whole graph: that something drives the model,
// that no synchronous calls form a cycle (a deadlock), and that a cycle of a user
// takes time.
func (c *lqnCompiler) reach() error {
	p := c.p
	driven := p.open
	for i := range p.tasks {
		driven = driven || p.tasks[i].reference
	}
	if !driven {
		return fmt.Errorf("no reference task and no open arrivals: nothing drives the model")
	}
	// Edges between tasks by calls and forwards, asynchronous ones left out.
	edges := make([]map[int]bool, len(p.tasks))
	for i := range edges {
		edges[i] = map[int]bool{}
	}
	asyncCycle := make([]map[int]bool, len(p.tasks))
	for i := range asyncCycle {
		asyncCycle[i] = map[int]bool{}
	}
	for e := range p.entries {
		from := p.entries[e].task
		for _, f := range p.entries[e].forwards {
			edges[from][p.entries[f.entry].task] = true
		}
		for _, a := range p.actsOf(e) {
			for _, y := range p.acts[a].calls {
				to := p.entries[y.entry].task
				if !y.async {
					edges[from][to] = true
				}
				asyncCycle[from][to] = true
			}
		}
	}
	if t := findCycle(edges); t >= 0 {
		return fmt.Errorf("task %s calls itself, directly or through others: the calls would deadlock", p.model.Tasks[t].Name)
	}
	if t := findCycle(asyncCycle); t >= 0 {
		return fmt.Errorf("task %s sends to itself, directly or through others: not supported", p.model.Tasks[t].Name)
	}
	for i := range p.tasks {
		if t := &p.tasks[i]; t.reference && t.think == 0 && !p.takesTime(t.entries[0], 0) {
			return fmt.Errorf("reference task %s: a cycle takes no time, so its throughput is infinite", p.model.Tasks[i].Name)
		}
	}
	return nil
}

// actsOf lists the activities that an entry can reach.
func (p *lqnProgram) actsOf(e int) []int {
	seen := map[int]bool{}
	todo := []int{p.entries[e].start}
	var out []int
	for len(todo) > 0 {
		a := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[a] {
			continue
		}
		seen[a] = true
		out = append(out, a)
		if l := p.acts[a].link; l >= 0 {
			todo = append(todo, p.links[l].to...)
		}
	}
	return out
}

func (p *lqnProgram) takesTime(e, depth int) bool {
	for _, a := range p.actsOf(e) {
		x := &p.acts[a]
		if x.service > 0 || x.think > 0 {
			return true
		}
		for _, y := range x.calls {
			if !y.async && depth <= len(p.tasks) && p.takesTime(y.entry, depth+1) {
				return true
			}
		}
	}
	return false
}

// findCycle returns a node on a cycle, or -1.
func findCycle(edges []map[int]bool) int {
	state := make([]int8, len(edges)) // 0 new, 1 open, 2 done
	var visit func(i int) int
	visit = func(i int) int {
		state[i] = 1
		for j := range edges[i] {
			if state[j] == 1 {
				return j
			}
			if state[j] == 0 {
				if c := visit(j); c >= 0 {
					return c
				}
			}
		}
		state[i] = 2
		return -1
	}
	for i := range edges {
		if state[i] == 0 {
			if c := visit(i); c >= 0 {
				return c
			}
		}
	}
	return -1
}
