package queueing

import (
	"errors"
	"fmt"
	"slices"
)

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
		return errors.New("no reference task and no open arrivals: nothing drives the model")
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
	for t := range p.tasks {
		if a := p.graphLoop(t); a >= 0 {
			return fmt.Errorf("task %s: activity %s follows itself: loops in activity graphs are not supported", p.model.Tasks[t].Name, p.acts[a].name)
		}
	}
	p.order = p.callersFirst()
	if err := p.openStable(); err != nil {
		return err
	}
	takes := p.takeTime()
	for i := range p.tasks {
		if t := &p.tasks[i]; t.reference && t.think == 0 && !takes[t.entries[0]] {
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

// takeTime says for each entry whether an invocation takes any time.
func (p *lqnProgram) takeTime() []bool {
	takes := make([]bool, len(p.entries))
	for n := len(p.order) - 1; n >= 0; n-- {
		e := p.order[n]
		for _, a := range p.actsOf(e) {
			x := &p.acts[a]
			takes[e] = takes[e] || x.service > 0 || x.think > 0
			for _, y := range x.calls {
				takes[e] = takes[e] || !y.async && takes[y.entry]
			}
		}
	}
	return takes
}

// callersFirst orders the entries such that each comes before those it calls or
// forwards to. The calls have no cycles.
func (p *lqnProgram) callersFirst() []int {
	var order []int
	seen := make([]bool, len(p.entries))
	var visit func(e int)
	visit = func(e int) {
		if seen[e] {
			return
		}
		seen[e] = true
		for _, a := range p.actsOf(e) {
			for _, y := range p.acts[a].calls {
				visit(y.entry)
			}
		}
		for _, f := range p.entries[e].forwards {
			visit(f.entry)
		}
		order = append(order, e)
	}
	for e := range p.entries {
		visit(e)
	}
	slices.Reverse(order)
	return order
}

// graphLoop returns an activity of the task that can follow itself, or -1.
func (p *lqnProgram) graphLoop(task int) int {
	edges := make([]map[int]bool, len(p.acts))
	for a := range p.acts {
		edges[a] = map[int]bool{}
	}
	for _, e := range p.tasks[task].entries {
		for _, a := range p.actsOf(e) {
			if l := p.acts[a].link; l >= 0 {
				for _, to := range p.links[l].to {
					edges[a][to] = true
				}
			}
		}
	}
	return findCycle(edges)
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

// openStable checks that open arrivals alone load no processor or task fully. A
// thread is held at least for its own work and that of the calls it waits for.
func (p *lqnProgram) openStable() error {
	host, held := make([]float64, len(p.procs)), make([]float64, len(p.tasks))
	rate := make([]float64, len(p.entries)) // of invocations that follow from open arrivals
	for e := range p.entries {
		rate[e] += p.entries[e].arrival
	}
	p.flow(rate)
	whole, first := make([]float64, len(p.entries)), make([]float64, len(p.entries))
	for n := len(p.order) - 1; n >= 0; n-- {
		e := p.order[n]
		if p.entries[e].graph {
			continue // branches are not weighed: an invocation counts as no time
		}
		for _, a := range p.actsOf(e) {
			act := &p.acts[a]
			time := act.service + act.think
			host[p.tasks[p.entries[e].task].proc] += rate[e] * act.service
			for _, y := range act.calls {
				if !y.async {
					time += y.mean * first[y.entry]
				}
			}
			whole[e] += time
			if act.phase == 0 {
				first[e] = time
			}
		}
		held[p.entries[e].task] += rate[e] * whole[e]
	}
	for i, load := range host {
		if x := &p.procs[i]; !x.infinite && load >= float64(x.servers) {
			return fmt.Errorf("processor %s is unstable: open arrivals demand %v of its %d servers", p.model.Processors[i].Name, load, x.servers)
		}
	}
	for i, load := range held {
		if t := &p.tasks[i]; !t.infinite && load >= float64(t.servers) {
			return fmt.Errorf("task %s is unstable: open arrivals hold %v of its %d threads", p.model.Tasks[i].Name, load, t.servers)
		}
	}
	return nil
}

// flow adds to the rates of invocations those that follow by calls and forwards.
func (p *lqnProgram) flow(rate []float64) {
	for _, e := range p.order {
		if rate[e] == 0 {
			continue
		}
		for _, a := range p.actsOf(e) {
			for _, y := range p.acts[a].calls {
				rate[y.entry] += rate[e] * y.mean
			}
		}
		for _, f := range p.entries[e].forwards {
			rate[f.entry] += rate[e] * f.p
		}
	}
}
