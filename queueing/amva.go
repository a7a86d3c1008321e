package queueing

import (
	"errors"
	"math"
)

// Schweitzer solves a closed network approximately (Bard 1979, Schweitzer
// 1979): what an arrival finds is estimated as the time average with its own
// class less one. Multi-server stations wait behind the customers in line and,
// with the probability that all servers are busy, for the next departure; FCFS
// stations with SCV other than 1 or unequal service times wait the residual of
// the services in progress and the mean service of those in line.
func Schweitzer(n *Network, o Options) (*Solution, error) {
	if err := n.closedOnly("Schweitzer"); err != nil {
		return nil, err
	}
	a := newAMVA(n, o)
	if err := a.iterate(a.population, a.queue, nil); err != nil {
		return nil, err
	}
	return a.solution("Schweitzer approximate MVA")
}

// Linearizer solves a closed network approximately by Chandy and Neuse 1982: it
// also solves the networks with one customer less of each class to learn how
// the queue shares change. Typically within 1 % where Schweitzer is within 5 %.
func Linearizer(n *Network, o Options) (*Solution, error) {
	if err := n.closedOnly("Linearizer"); err != nil {
		return nil, err
	}
	a := newAMVA(n, o)
	if err := a.linearize(); err != nil {
		return nil, err
	}
	return a.solution("Linearizer approximate MVA")
}

// amva is the shared state of the approximate solvers.
type amva struct {
	n          *Network
	o          Options
	population []float64
	queue      [][]float64 // [class][station]
	wait       [][]float64 // the part of queue that waits for a server
	x          []float64
	residence  [][]float64
	special    []bool // FCFS without product form
	demands    [][]float64
	service    [][]float64 // of one visit
	allBusy    []float64   // probability that an arrival finds all servers busy
	line       []lineOf    // what stands at an FCFS station without product form
	slow       []float64   // factor on waits that keeps utilisation from passing 1
}

// lineOf sums the work at one station over the classes.
type lineOf struct{ backlog, inService, serving, residual, users, saturated float64 }

func newAMVA(n *Network, o Options) *amva {
	R, K := len(n.Classes), len(n.Stations)
	a := &amva{n: n, o: o, population: make([]float64, R), queue: matrix(R, K), wait: matrix(R, K), x: make([]float64, R),
		residence: matrix(R, K), special: make([]bool, K), demands: make([][]float64, R), service: matrix(R, K), allBusy: make([]float64, K), line: make([]lineOf, K), slow: make([]float64, K)}
	for r := range n.Classes {
		c := &n.Classes[r]
		a.population[r] = float64(c.Population)
		a.demands[r] = c.Demands
		total := sum(c.Demands) + c.Think
		for k, d := range c.Demands {
			a.queue[r][k] = a.population[r] * d / total
			a.service[r][k] = c.service(k)
		}
	}
	for k := range n.Stations {
		a.special[k] = !n.productForm(k)
	}
	return a
}

// errNoConvergence is a guard: on every network tried the iteration converges.
var errNoConvergence = errors.New("approximate MVA did not converge")

// iterate runs the fixed point for that population. queue is the start and
// receives the result. change, when not nil, gives D[r][j][k]: how much larger
// the share of class j at station k is when one customer of class r is taken out.
func (a *amva) iterate(pop []float64, queue [][]float64, change [][][]float64) error {
	K := len(a.n.Stations)
	found, inLine := make([]float64, K), make([]float64, K)
	last, rate := 0.0, 0.0
	rounds := a.o.maxIterations()
	if a.o.MaxIterations == 0 { // bounded time on the largest networks
		rounds = min(rounds, max(500, 2_000_000_000/(K*len(pop)*len(pop)*(1+len(pop)))))
	}
	for k := range a.slow {
		a.slow[k] = 1
	}
	for it := 0; it < rounds; it++ {
		for k := range found {
			found[k], inLine[k] = 0, 0
			for j := range queue {
				found[k] += queue[j][k]
				inLine[k] += a.wait[j][k]
			}
			a.observe(k, pop, queue, change)
		}
		worst, ahead := 0.0, leap(it, rate)
		for r := range pop {
			if pop[r] <= 0 {
				a.x[r] = 0
				clear(a.residence[r])
				continue
			}
			total := a.n.Classes[r].Think
			for k := range found {
				d := a.demands[r][k]
				a.residence[r][k] = d + a.slow[k]*(a.resident(r, k, pop, queue, change, found[k], inLine[k])-d)
				total += a.residence[r][k]
			}
			a.x[r] = pop[r] / total
		}
		for r := range pop {
			for k := range found {
				q := a.x[r] * a.residence[r][k]
				w := max(0, q-a.x[r]*a.demands[r][k])
				worst = max(worst, math.Abs(q-queue[r][k])/max(1, pop[r]), math.Abs(w-a.wait[r][k])/max(1, pop[r]))
				queue[r][k] = max(0, q+ahead*(q-queue[r][k]))
				a.wait[r][k] = max(0, w+ahead*(w-a.wait[r][k]))
			}
		}
		worst = max(worst, a.limit(pop))
		if it >= 3 && worst < a.o.tolerance() { // the first rounds start from an idle network
			return nil
		}
		if ahead == 0 && last > 0 {
			rate = worst / last
		}
		last = worst
	}
	return errNoConvergence
}

// limit lengthens the waits at stations that the approximation would load beyond
// their capacity, until they are just saturated. It returns by how much it
// changed them.
func (a *amva) limit(pop []float64) float64 {
	worst := 0.0
	for k := range a.slow {
		st := &a.n.Stations[k]
		if st.delay() {
			continue
		}
		u := 0.0
		for r := range pop {
			u += a.x[r] * a.demands[r][k]
		}
		next := max(1, a.slow[k]*math.Sqrt(u/float64(st.servers())))
		worst = max(worst, math.Abs(next/a.slow[k]-1))
		a.slow[k] = next
	}
	return worst
}

// leap says how far to go beyond the next iterate. Near saturation the error
// shrinks by a constant rate near 1 in each round; every so often the rest of
// that geometric series is taken at once. After many rounds without an end the
// step is halved instead, in case of an oscillation.
func leap(it int, rate float64) float64 {
	switch {
	case it > 3000:
		return -0.5
	case it%16 == 15 && rate > 0.5 && rate < 0.9999:
		return rate / (1 - rate)
	}
	return 0
}

// resident is the residence time of class r at station k.
func (a *amva) resident(r, k int, pop []float64, queue [][]float64, change [][][]float64, found, inLine float64) float64 {
	d := a.demands[r][k]
	st := &a.n.Stations[k]
	if d == 0 || st.delay() {
		return d
	}
	c := st.servers()
	if a.special[k] {
		return a.fcfs(r, k, pop, queue, change)
	}
	// One customer of its own class less, and the shift of the shares.
	less := queue[r][k] / pop[r]
	shift := 0.0
	if change != nil {
		shift = a.shift(r, k, pop, change)
	}
	if c == 1 {
		return d * (1 + max(0, found-less+shift))
	}
	line := max(0, inLine-a.wait[r][k]/pop[r]+shift)
	return d + d/float64(c)*(line+a.allBusy[k])
}

// shift is the sum over classes j of (pop_j less one of r) x D[r][j][k].
func (a *amva) shift(r, k int, pop []float64, change [][][]float64) float64 {
	total := 0.0
	for j := range pop {
		n := pop[j]
		if j == r {
			n--
		}
		total += n * change[r][j][k]
	}
	return total
}

// observe prepares what all classes see alike at station k.
func (a *amva) observe(k int, pop []float64, queue [][]float64, change [][][]float64) {
	if st := &a.n.Stations[k]; st.delay() || st.servers() == 1 && !a.special[k] {
		return
	}
	a.allBusy[k] = a.findsAllBusy(k, pop)
	if !a.special[k] {
		return
	}
	a.line[k] = lineOf{}
	for j := range pop {
		a.line[k].add(a, j, k, queue[j][k], 1)
		if a.demands[j][k] > 0 {
			a.line[k].users += pop[j]
		}
	}
	l := &a.line[k]
	l.saturated = math.Pow(min(1, l.inService/float64(a.n.Stations[k].servers())), l.users)
}

// add puts in share of the customers of class j at station k, of whom there are q.
func (l *lineOf) add(a *amva, j, k int, q, share float64) {
	d := a.demands[j][k]
	if d == 0 || q <= 0 {
		return
	}
	s := a.service[j][k]
	busy := min(a.x[j]*d, q)
	l.backlog += share * (q - busy) * s
	l.inService += share * busy
	l.serving += share * busy * s
	l.residual += share * busy * s * (1 + a.n.Stations[k].scv()) / 2
}

// findsAllBusy estimates the probability that an arrival finds all servers
// busy: the Erlang C of the present utilisation, and none when all customers fit.
func (a *amva) findsAllBusy(k int, pop []float64) float64 {
	c := a.n.Stations[k].servers()
	users, busy := 0.0, 0.0
	for j := range pop {
		if a.demands[j][k] > 0 {
			users += pop[j]
			busy += a.x[j] * a.demands[j][k]
		}
	}
	if users <= float64(c) {
		return 0
	}
	// What an arrival sees has one customer less; near saturation that matters.
	busy = min(busy*(1-1/users), float64(c)*(1-1e-9))
	if busy <= 0 {
		return 0
	}
	return erlangC(c, busy)
}

// fcfs is the residence at a first-come-first-served station out of product
// form: residual services and the line ahead, served c at a time.
func (a *amva) fcfs(r, k int, pop []float64, queue [][]float64, change [][][]float64) float64 {
	class := &a.n.Classes[r]
	c := float64(a.n.Stations[k].servers())
	l := a.line[k]
	l.add(a, r, k, queue[r][k], -1/pop[r]) // one of its own less
	if change != nil {
		for j := range pop {
			n := pop[j]
			if j == r {
				n--
			}
			l.backlog += n * change[r][j][k] * a.service[j][k]
		}
	}
	wait := max(0, l.backlog) / c
	if l.inService > 0 {
		// An arrival at a random time meets the residual of a service. At a
		// saturated station customers come back in step with departures and wait a
		// whole one; the more customers, the nearer to saturation that begins.
		saturated := l.saturated
		next := l.residual*(1-saturated) + l.serving*saturated
		if c == 1 {
			wait += next
		} else {
			wait += a.allBusy[k] * next / l.inService / c
		}
	}
	return a.demands[r][k] + class.visits(k)*wait
}

func (a *amva) solution(method string) (*Solution, error) {
	s := newSolution(a.n)
	s.Method = method
	copy(s.Throughput, a.x)
	for r := range a.residence {
		copy(s.Residence[r], a.residence[r])
	}
	return s.finish()
}
