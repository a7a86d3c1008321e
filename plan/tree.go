package plan

import (
	"math"
	"slices"

	"github.com/banyanhq/banyan/topology"
)

// visit is what a request of a route does at one service, over all its calls to it: those of several callers are merged,
// since they meet the same replicas.
type visit struct {
	service int
	call    int     // index of the route's demand
	visits  float64 // of one request
	down    []branch
	fork    []int // indexes into down: calls that are made at the same time
}

// branch is the calls that one visit makes to another service of the route.
type branch struct {
	to int // index into the tree
	n  float64
}

// growTree finds who calls whom in a route whose demands say only how often each service is visited: a service's visits
// are spread over its callers by their own visits and the calls that were counted, or that their 'work' states. A visit comes before those
// that it makes. The simulator spreads them alike.
func growTree(sys *topology.System, route *topology.Route, r *pass, index map[string]int) []visit {
	calls := map[int]int{} // of a service: index of the route's demand
	for i, c := range r.at {
		calls[c.service] = i
	}
	var order []string
	seen := map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		svc, at := sys.Services[name], index[name]
		if _, called := calls[at]; svc == nil && !isTable(name) || !called || seen[name] {
			return
		}
		if _, there := index[name]; !there {
			return
		}
		seen[name] = true
		if svc != nil {
			for _, used := range svc.Uses {
				walk(used)
			}
		}
		order = append(order, name)
	}
	walk(route.To)
	slices.Reverse(order)
	tree := make([]visit, len(order))
	position := map[string]int{}
	for i, name := range order {
		position[name] = i
		call := calls[index[name]]
		tree[i] = visit{service: index[name], call: call, visits: r.at[call].demand.visits}
	}
	weight := func(name, used string) float64 {
		v := &tree[position[name]]
		if n, ok := r.at[v.call].demand.calls[used]; ok {
			return n * v.visits
		}
		return callsOf(sys.Services[name], used) * v.visits
	}
	weights := map[string]float64{}
	callers := slices.DeleteFunc(slices.Clone(order), isTable)
	for _, name := range callers {
		for _, used := range sys.Services[name].Uses {
			if _, ok := position[used]; ok {
				weights[used] += weight(name, used)
			}
		}
	}
	for _, name := range callers {
		from, svc := &tree[position[name]], sys.Services[name]
		for _, used := range svc.Uses {
			at, ok := position[used]
			if ok && weights[used] > 0 && from.visits > 0 {
				from.down = append(from.down, branch{at, tree[at].visits * weight(name, used) / weights[used] / from.visits})
			}
		}
		from.fork = forkOf(svc, from.down, position)
	}
	return tree
}

// callsOf is how often a visit to a service calls another that it uses, by its own 'work'.
func callsOf(svc *topology.Service, used string) float64 {
	if svc.Work != nil {
		if n, ok := svc.Work.Calls[used]; ok {
			return n
		}
	}
	return 1
}

// forkOf are those of a service's calls in a route that are made at the same time, where there can be two of them.
func forkOf(svc *topology.Service, down []branch, position map[string]int) []int {
	if svc.Work == nil {
		return nil
	}
	var fork []int
	calls := 0.0
	for _, used := range svc.Work.Parallel {
		at, ok := position[used]
		if i := slices.IndexFunc(down, func(b branch) bool { return ok && b.to == at }); i >= 0 {
			fork = append(fork, i)
			calls += math.Ceil(down[i].n - 1e-9)
		}
	}
	if calls < 2 {
		return nil
	}
	return fork
}
