package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Remedy is the cheapest set of changes found that holds everything promised through the horizon: every SLO or, without
// SLOs, every resource at 80% of what it has.
type Remedy struct {
	// Needed is false where the system holds as it is.
	Needed bool `json:"needed"`
	// Possible is false where no such set was found; Why says what stands in the way.
	Possible bool   `json:"possible"`
	Why      string `json:"why,omitempty"`
	// Changes in words.
	Changes []string `json:"changes,omitempty"`
	// Services that are sized differently from the plan, by name, and the machine's cores.
	Services map[string]Size `json:"services,omitempty"`
	Cores    float64         `json:"cores,omitempty"`
	// Cost with the changes, at the horizon's load; nil without prices.
	Cost *Cost `json:"cost,omitempty"`
	// Knee with the changes, and how long they last (Never: over a hundred years).
	Knee  float64       `json:"knee,omitempty"`
	Never bool          `json:"never,omitempty"`
	Lasts time.Duration `json:"lasts_ns,omitempty"`
}

// Size of a service.
type Size struct {
	Replicas int     `json:"replicas"`
	CPU      float64 `json:"cpu"` // limit of one replica in cores, 0 for none
}

// The bounds of the search.
const (
	maxCoresAdded  = 4096
	coresLookAhead = 16  // numbers of cores tried beyond the fewest that can do
	maxMoves       = 500 // enlargements for one number of cores
	roomWithoutSLO = 0.8
	roomToBegin    = 0.97
)

// remedy searches: exactly over the number of cores, from the fewest that would do if no service had a limit to where
// the machine alone costs more than the best found; for each, greedily over replicas and limits with a look two moves
// ahead, and then back, taking away what turns out not to be needed.
func (g *grower) remedy(sys *topology.System, target float64) (Remedy, error) {
	defer g.lose(g.spare)()
	strain, _, err := g.strainAt(target)
	if err != nil || strain <= 1 {
		return Remedy{Possible: err == nil}, err
	}
	planned, plannedCores := slices.Clone(g.services), g.cores
	defer func() { g.services, g.cores = planned, plannedCores }()
	restore := func() { g.services = slices.Clone(planned) }

	fewest, worst, err := g.fewestCores(target)
	if err != nil {
		return Remedy{}, err
	}
	if fewest < 0 {
		why := "its requests take too long on any number of cores: they need less CPU time or delay each"
		if worst >= 0 {
			why = fmt.Sprintf("SLO %s cannot be kept: %s", g.slos[worst].slo, why)
		}
		return Remedy{Needed: true, Why: why}, nil
	}
	bill := g.biller(sys.Prices)
	var best []station
	bestCores, bestBill := 0.0, math.Inf(1)
	for k := fewest; k <= fewest+coresLookAhead; k++ {
		restore()
		for i := range g.services {
			if st := &g.services[i]; st.own && st.visits > 0 {
				st.replicas = max(st.replicas, g.spare+1)
			}
		}
		g.cores = plannedCores + float64(k)
		if bill() >= bestBill {
			break
		}
		ok, err := g.fit(target, bill)
		if err != nil {
			return Remedy{}, err
		}
		if !ok {
			continue
		}
		if err := g.trim(target, planned); err != nil {
			return Remedy{}, err
		}
		if b := bill(); b < bestBill {
			best, bestCores, bestBill = slices.Clone(g.services), g.cores, b
		}
	}
	if best == nil {
		return Remedy{Needed: true, Why: "no replicas and CPU limits within the search's bounds keep every SLO"}, nil
	}
	g.services, g.cores = best, bestCores
	return g.describe(sys, target, planned, plannedCores)
}

// strainAt is how much a multiple of today's load strains the worst promise (or resource, over what it may use).
func (g *grower) strainAt(factor float64) (float64, int, error) {
	x, err := g.demand(factor)
	if err != nil {
		return 0, -1, err
	}
	if math.IsInf(x, 1) {
		return math.Inf(1), -1, nil
	}
	if len(g.slos) > 0 {
		return g.brokenAt(x)
	}
	held, _ := g.held()
	return x / (roomWithoutSLO * min(held, ample)), -1, nil
}

// fewestCores is the fewest cores to add for the target where no service has a limit: -1 for none.
func (g *grower) fewestCores(target float64) (added, worst int, err error) {
	limited, cores := g.services, g.cores
	defer func() { g.services, g.cores = limited, cores }()
	g.services = slices.Clone(limited)
	for i := range g.services {
		g.services[i].limit, g.services[i].places, g.services[i].gone = 0, 0, 0
	}
	ok := func(k int) bool {
		if err != nil {
			return false
		}
		g.cores = cores + float64(k)
		var ratio float64
		ratio, worst, err = g.strainAt(target)
		return err == nil && ratio <= 1
	}
	hi := 0
	for ; !ok(hi); hi = max(1, 2*hi) {
		if hi >= maxCoresAdded || err != nil {
			return -1, worst, err
		}
	}
	lo := hi / 2
	if hi <= 1 {
		return hi, worst, err
	}
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; ok(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, worst, err
}

// biller returns what the system costs as it stands: money where there are prices, else cores. What is free still counts
// a little, so that of equal ones the smaller is taken.
func (g *grower) biller(p *topology.Prices) func() float64 {
	core, memory := 1.0, 0.0
	if p != nil && p.CPUHour+p.MemoryGiBHour > 0 {
		core, memory = p.CPUHour, p.MemoryGiBHour
	}
	unit := max(core, memory)
	return func() float64 {
		cores, reserved, gibs := g.resources()
		return cores*core + gibs*memory + 1e-6*unit*(reserved+gibs+g.cores)
	}
}

// wanted is the throughput that a multiple of today's load would make if nothing queued.
func (g *grower) wanted(factor float64) float64 {
	if g.load.Users == 0 {
		return g.load.Total() * factor
	}
	return float64(g.load.Users) * factor / max(g.alone()+g.think, 1e-9)
}

// move enlarges one service.
type move struct {
	replicas int
	limit    float64
}

// fit enlarges services until the target is held; false where nothing helps.
func (g *grower) fit(target float64, bill func() float64) (bool, error) {
	x := min(g.wanted(target), g.machineFullAt())
	for i := range g.services {
		st := &g.services[i]
		if st.limit <= 0 {
			continue
		}
		room := roomToBegin
		if len(g.slos) == 0 {
			room = roomWithoutSLO
		}
		need := (st.idle + x*(st.full+st.wake*st.asleep(x))) / room
		if need <= st.limit*st.alike() {
			continue
		}
		if st.table != nil { // more nodes are another table: its nodes are enlarged
			st.limit = hundredths(need / st.alike())
			continue
		}
		// A larger limit costs no memory; but no replica uses more than the machine.
		st.limit = max(st.limit, min(hundredths(need/float64(max(st.serving(), 1))), g.cores))
		st.replicas = max(st.replicas, g.spare+int(min(math.Ceil(need/st.limit-1e-9), 1e6)))
	}
	if err := g.seat(x); err != nil {
		return false, err
	}
	strain, worst, err := g.strainAt(target)
	for n := 0; err == nil && strain > 1; n++ {
		if n == maxMoves || worst < 0 {
			return false, nil
		}
		var better bool
		if better, err = g.enlarge(target, strain, worst, bill); err != nil || !better {
			return false, err
		}
		strain, worst, err = g.strainAt(target)
	}
	return err == nil, err
}

// seat adds replicas to services whose places do not do at throughput x.
func (g *grower) seat(x float64) error {
	for range g.services {
		clear(g.waits)
		if ok, err := g.solve(x); ok || err != nil {
			return err
		}
		for i, w := range g.waits {
			if st := &g.services[i]; math.IsInf(w.mean, 1) {
				st.replicas = st.gone + int(min(math.Ceil(w.used*float64(max(st.serving(), 1))/roomToBegin), 1e6))
			}
		}
	}
	return nil
}

// enlarge makes the move that relieves the worst promise most for its price; false where none does.
func (g *grower) enlarge(target, strain float64, worst int, bill func() float64) (bool, error) {
	before := bill()
	bestGain, bestService, bestMove := 0.0, -1, move{}
	for _, c := range g.routes[g.slos[worst].route].at {
		st := &g.services[c.service]
		if st.limit <= 0 && st.places <= 0 || !st.own {
			continue
		}
		old := *st
		for _, m := range []move{{old.replicas, hundredths(old.limit * 1.1)}, {old.replicas, hundredths(old.limit * 1.5)},
			{old.replicas + 1, old.limit}, {old.replicas + 2, old.limit}} {
			if st.limit <= 0 && m.limit > 0 {
				continue
			}
			st.replicas, st.limit = m.replicas, min(m.limit, max(g.cores, old.limit))
			after, _, err := g.strainAt(target)
			if err != nil {
				return false, err
			}
			gain := (strain - after) / max(bill()-before, 1e-12)
			if strain-after > 1e-9 && gain > bestGain {
				bestGain, bestService, bestMove = gain, c.service, move{st.replicas, st.limit}
			}
		}
		*st = old
	}
	if bestService < 0 {
		return false, nil
	}
	g.services[bestService].replicas, g.services[bestService].limit = bestMove.replicas, bestMove.limit
	return true, nil
}

// trim takes back what is not needed, the costliest first.
func (g *grower) trim(target float64, planned []station) error {
	var order []int
	for i := range g.services {
		if g.services[i].replicas != planned[i].replicas || g.services[i].limit != planned[i].limit {
			order = append(order, i)
		}
	}
	added := func(i int) float64 {
		return g.services[i].limit*float64(g.services[i].replicas) - planned[i].limit*float64(planned[i].replicas)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(added(b), added(a)) })
	var failed error
	holds := func() bool {
		strain, _, err := g.strainAt(target)
		if err != nil {
			failed = err
		}
		return err == nil && strain <= 1
	}
	for _, i := range order {
		st := &g.services[i]
		for st.replicas > planned[i].replicas {
			if st.replicas--; !holds() {
				st.replicas++
				break
			}
		}
		lo, hi := int(math.Round(planned[i].limit*100)), int(math.Round(st.limit*100))
		if st.limit = planned[i].limit; holds() {
			continue
		}
		for hi-lo > 1 {
			mid := (lo + hi) / 2
			if st.limit = float64(mid) / 100; holds() {
				hi = mid
			} else {
				lo = mid
			}
		}
		st.limit = float64(hi) / 100
	}
	return failed
}

// lose takes replicas of every service of the file away until the function that it returns is called.
func (g *grower) lose(n int) (back func()) {
	for i := range g.services {
		if g.services[i].own {
			g.services[i].gone = n
		}
	}
	return func() {
		for i := range g.services {
			g.services[i].gone = 0
		}
	}
}

// hundredths rounds a CPU limit up to what one writes in a file.
func hundredths(cores float64) float64 { return math.Ceil(cores*100-1e-6) / 100 }

// describe says what the system that the search ended with has more than the planned one.
func (g *grower) describe(sys *topology.System, target float64, planned []station, cores float64) (Remedy, error) {
	r := Remedy{Needed: true, Possible: true, Services: map[string]Size{}}
	for i, st := range g.services {
		was := planned[i]
		if st.replicas != was.replicas {
			r.Changes = append(r.Changes, fmt.Sprintf("%s: %d -> %d replicas", st.name, was.replicas, st.replicas))
		}
		if st.limit != was.limit {
			r.Changes = append(r.Changes, fmt.Sprintf("%s: cpu %g -> %g", st.name, was.limit, st.limit))
		}
		if st.replicas != was.replicas || st.limit != was.limit {
			r.Services[st.name] = Size{Replicas: st.replicas, CPU: st.limit}
		}
	}
	if g.cores != cores {
		r.Changes = append(r.Changes, fmt.Sprintf("machine: %g -> %g cores", cores, g.cores))
		r.Cores = g.cores
	}
	x, err := g.demand(target)
	if err != nil {
		return r, err
	}
	r.Cost = g.cost(sys.Prices, x)
	knee, err := g.knee()
	if err != nil {
		return r, err
	}
	r.Knee = knee.Throughput
	factor, err := g.end()
	if err != nil {
		return r, err
	}
	lasts, ok := g.until(factor)
	r.Lasts, r.Never = lasts, !ok
	return r, nil
}
