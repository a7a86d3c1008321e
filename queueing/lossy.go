package queueing

import (
	"errors"
	"fmt"
	"math"
)

// MGInf is M/G/inf: a server for everyone. The number present is Poisson whatever the service law.
func MGInf(lambda, mean, scv float64) (*Single, error) {
	if err := errors.Join(checkNonNegative("arrival rate", lambda), checkPositive("mean service time", mean), checkNonNegative("SCV of service", scv)); err != nil {
		return nil, err
	}
	a := lambda * mean
	s := &Single{Model: "M/G/inf", Exact: true, Arrival: lambda, Throughput: lambda, Servers: maxServers, P0: math.Exp(-a), L: a, W: mean, VarW: scv * mean * mean}
	s.tailWq = func(float64) float64 { return 0 }
	s.atMost = func(n int) float64 {
		if a == 0 {
			return 1
		}
		return gammaTail(float64(n)+1, a)
	}
	return s, nil
}

// MMcAbandon is Erlang A (M/M/c+M; Palm 1957): customers in line leave after an exponential patience of rate theta. PLoss is
// the share that leaves unserved; W and Wq are means over all arrivals, served or not.
func MMcAbandon(lambda, mu, theta float64, c int) (*Single, error) {
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, err
	}
	if err := checkPositive("abandonment rate", theta); err != nil {
		return nil, err
	}
	// Beyond n the deaths outrun the births ever more: the chain ends where that has made the rest negligible.
	top := float64(c) + 40*math.Sqrt(lambda/mu+float64(c)) + 40*math.Sqrt(lambda/theta+1) + math.Max(0, lambda-float64(c)*mu)/theta + 100
	if top > maxCapacity {
		return nil, fmt.Errorf("erlang A: the line would need %.3g states, at most %d: abandonment is too slow for this load", top, maxCapacity)
	}
	p, err := BirthDeath(int(top), func(int) float64 { return lambda },
		func(k int) float64 { return mu*float64(min(k, c)) + theta*float64(max(k-c, 0)) })
	if err != nil {
		return nil, err
	}
	s := finite("M/M/c+M (Erlang A)", p, mu, c)
	s.Arrival = lambda
	s.VarW, s.VarWq = math.NaN(), math.NaN()
	for n := c; n < len(p); n++ {
		s.PWait += p[n]
	}
	s.Throughput = lambda - theta*s.Lq
	if lambda > 0 {
		s.PLoss = theta * s.Lq / lambda
		s.W, s.Wq = s.L/lambda, s.Lq/lambda
	} else {
		s.W = 1 / mu
	}
	s.tailWq, s.tailW = unknownTail, unknownTail
	return s, nil
}

func unknownTail(float64) float64 { return math.NaN() }

// Engset is the loss system of N sources, each of which asks at rate lambda while it is not served, at c servers without a
// line (Engset 1918). PLoss is the share of requests lost (call congestion); timeCongestion the share of time all are busy.
func Engset(lambda, mu float64, c, N int) (s *Single, timeCongestion float64, err error) {
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, 0, err
	}
	if N < 1 || N > maxCapacity {
		return nil, 0, fmt.Errorf("engset: population %d, must be 1 to %d", N, maxCapacity)
	}
	top := min(c, N)
	p, err := BirthDeath(top, func(k int) float64 { return lambda * float64(N-k) }, func(k int) float64 { return mu * float64(k) })
	if err != nil {
		return nil, 0, err
	}
	s = finite("Engset loss", p, mu, c)
	for k := range p {
		s.Arrival += lambda * float64(N-k) * p[k]
	}
	lost := 0.0
	if top == c {
		lost, timeCongestion = lambda*float64(N-c)*p[c], p[c]
	}
	s.Throughput = s.Arrival - lost
	if s.Arrival > 0 {
		s.PLoss = lost / s.Arrival
	}
	s.W, s.VarW = 1/mu, 1/(mu*mu)
	s.tailWq = func(float64) float64 { return 0 }
	return s, timeCongestion, nil
}

// ErlangServers is the fewest servers whose Erlang B (wait false) or C (wait true) is at most target at a Erlangs.
func ErlangServers(a, target float64, wait bool) (int, error) {
	if err := checkNonNegative("offered load", a); err != nil {
		return 0, err
	}
	if err := checkProbability("target", target); err != nil {
		return 0, err
	}
	if a > maxServers {
		return 0, fmt.Errorf("offered load is %v, at most %d", a, maxServers)
	}
	b := 1.0
	for c := 1; c <= 2*maxServers; c++ {
		b = a * b / (float64(c) + a*b)
		p := b
		if wait {
			rho := a / float64(c)
			if rho >= 1 {
				continue
			}
			p = b / (1 - rho*(1-b))
		}
		if p <= target {
			return c, nil
		}
	}
	return 0, fmt.Errorf("no number of servers up to %d is enough", 2*maxServers)
}

// LossClass is a stream of calls to a loss network.
type LossClass struct {
	Load  float64 // Erlangs offered: arrival rate times mean holding time
	Units []int   // of each link
}

// KaufmanRoberts gives the blocking probability of each class at one link of that many units, exactly, for any law of holding
// times (Kaufman 1981; Roberts 1981), and the mean number of units in use.
func KaufmanRoberts(capacity int, classes []LossClass) (blocking []float64, used float64, err error) {
	if err := checkLoss([]int{capacity}, classes); err != nil {
		return nil, 0, err
	}
	logs := make([]float64, capacity+1) // log q, scaled
	for j := 1; j <= capacity; j++ {
		top := math.Inf(-1)
		for _, c := range classes {
			if u := c.Units[0]; u > 0 && u <= j && c.Load > 0 {
				top = math.Max(top, logs[j-u])
			}
		}
		if math.IsInf(top, -1) {
			logs[j] = top
			continue
		}
		total := 0.0
		for _, c := range classes {
			if u := c.Units[0]; u > 0 && u <= j {
				total += c.Load * float64(u) * math.Exp(logs[j-u]-top)
			}
		}
		logs[j] = top + math.Log(total/float64(j))
	}
	top := math.Inf(-1)
	for _, l := range logs {
		top = math.Max(top, l)
	}
	total := 0.0
	for j, l := range logs {
		logs[j] = math.Exp(l - top)
		total += logs[j]
	}
	for j := range logs {
		logs[j] /= total
		used += float64(j) * logs[j]
	}
	blocking = make([]float64, len(classes))
	for i, c := range classes {
		for j := max(0, capacity-c.Units[0]+1); j <= capacity; j++ {
			blocking[i] += logs[j]
		}
	}
	return blocking, used, nil
}

func checkLoss(capacity []int, classes []LossClass) error {
	if len(capacity) == 0 || len(classes) == 0 || len(capacity) > 1000 || len(classes) > maxClasses {
		return fmt.Errorf("loss network of %d links and %d classes, must be 1 to 1000 and 1 to %d", len(capacity), len(classes), maxClasses)
	}
	for l, c := range capacity {
		if c < 1 || c > maxCapacity {
			return fmt.Errorf("link %d: capacity is %d, must be 1 to %d", l+1, c, maxCapacity)
		}
	}
	for i, c := range classes {
		if err := checkNonNegative("load", c.Load); err != nil {
			return fmt.Errorf("class %d: %w", i+1, err)
		}
		if len(c.Units) != len(capacity) {
			return fmt.Errorf("class %d: units of %d links, the network has %d", i+1, len(c.Units), len(capacity))
		}
		for l, u := range c.Units {
			if u < 0 || u > maxCapacity {
				return fmt.Errorf("class %d: %d units of link %d, must be 0 to %d", i+1, u, l+1, maxCapacity)
			}
		}
	}
	return nil
}

// LossNetwork approximates a network of links by the Erlang fixed point (Kelly 1986): links block independently, and each is
// offered what the others let through. One unit more than one deep, a class needs all of its units at a link at once
// (reduced load with Kaufman and Roberts's recursion). One link is exact.
func LossNetwork(capacity []int, classes []LossClass) (blocking []float64, exact bool, err error) {
	if err := checkLoss(capacity, classes); err != nil {
		return nil, false, err
	}
	work := 0
	for _, c := range capacity {
		work += c * len(classes)
	}
	if work > 20_000_000 {
		return nil, false, fmt.Errorf("loss network: %d cells, at most 20 million", work)
	}
	L, R := len(capacity), len(classes)
	link := matrix(R, L) // blocking of class r at link l
	rounds := max(20, min(2000, 200_000_000/max(work, 1)))
	for range rounds {
		change := 0.0
		for l := range capacity {
			here := make([]LossClass, R)
			for r, c := range classes {
				load := c.Load
				for k := range capacity {
					if k != l && c.Units[k] > 0 {
						load *= 1 - link[r][k]
					}
				}
				if c.Units[l] == 0 {
					load = 0
				}
				here[r] = LossClass{load, []int{c.Units[l]}}
			}
			b, _, err := KaufmanRoberts(capacity[l], here)
			if err != nil {
				return nil, false, err
			}
			for r := range classes {
				if classes[r].Units[l] == 0 {
					b[r] = 0
				}
				next := link[r][l] + 0.7*(b[r]-link[r][l]) // damped: the plain iteration can swing
				if L == 1 {
					next = b[r]
				}
				change = math.Max(change, math.Abs(next-link[r][l]))
				link[r][l] = next
			}
		}
		if change < 1e-12 {
			break
		}
	}
	blocking = make([]float64, R)
	for r := range classes {
		through := 1.0
		for l := range capacity {
			through *= 1 - link[r][l]
		}
		blocking[r] = 1 - through
	}
	return blocking, L == 1, nil
}
