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
}

func newAMVA(n *Network, o Options) *amva {
	R, K := len(n.Classes), len(n.Stations)
	a := &amva{n: n, o: o, population: make([]float64, R), queue: matrix(R, K), wait: matrix(R, K), x: make([]float64, R),
		residence: matrix(R, K), special: make([]bool, K), demands: make([][]float64, R)}
	for r := range n.Classes {
		c := &n.Classes[r]
		a.population[r] = float64(c.Population)
		a.demands[r] = c.Demands
		total := sum(c.Demands) + c.Think
		for k, d := range c.Demands {
			a.queue[r][k] = a.population[r] * d / total
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
	for it := 0; it < a.o.maxIterations(); it++ {
		for k := range found {
			found[k], inLine[k] = 0, 0
			for j := range queue {
				found[k] += queue[j][k]
				inLine[k] += a.wait[j][k]
			}
		}
		worst := 0.0
		for r := range pop {
			if pop[r] <= 0 {
				a.x[r] = 0
				clear(a.residence[r])
				continue
			}
			total := a.n.Classes[r].Think
			for k := range found {
				a.residence[r][k] = a.resident(r, k, pop, queue, change, found[k], inLine[k])
				total += a.residence[r][k]
			}
			a.x[r] = pop[r] / total
		}
		for r := range pop {
			for k := range found {
				q := a.x[r] * a.residence[r][k]
				worst = max(worst, math.Abs(q-queue[r][k])/max(1, pop[r]))
				queue[r][k] = q
				a.wait[r][k] = max(0, q-a.x[r]*a.demands[r][k])
			}
		}
		if worst < a.o.tolerance() {
			return nil
		}
	}
	return errNoConvergence
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
	return d + d/float64(c)*(line+a.allBusy(k, pop))
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

// allBusy estimates the probability that an arrival finds all servers busy: the
// Erlang C of the present utilisation, and none when all customers fit.
func (a *amva) allBusy(k int, pop []float64) float64 {
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
	st, class := &a.n.Stations[k], &a.n.Classes[r]
	c := float64(st.servers())
	backlog, inService, residual := 0.0, 0.0, 0.0
	for j := range pop {
		if pop[j] <= 0 || a.demands[j][k] == 0 {
			continue
		}
		scale := 1.0
		if j == r {
			scale = (pop[j] - 1) / pop[j]
		}
		n := pop[j]
		if j == r {
			n--
		}
		q := queue[j][k] * scale
		if change != nil {
			q = max(0, q+n*change[r][j][k])
		}
		busy := min(a.x[j]*a.demands[j][k]*scale, q)
		s := a.n.Classes[j].service(k)
		backlog += (q - busy) * s
		inService += busy
		residual += busy * s * (1 + st.scv()) / 2
	}
	wait := backlog / c
	if inService > 0 {
		if c == 1 {
			wait += residual
		} else {
			wait += a.allBusy(k, pop) * residual / inService / c
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
