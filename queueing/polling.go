package queueing

import (
	"errors"
	"fmt"
	"math"
)

// PollingService is how long a polling server stays at a queue.
type PollingService string

const (
	Gated      PollingService = "gated"      // serves those found on arrival
	Exhaustive PollingService = "exhaustive" // until the queue is empty
	Limited1   PollingService = "1-limited"  // at most one customer
)

// PollingQueue is one queue of a polling system.
type PollingQueue struct {
	Arrival    float64 // Poisson rate
	Service    float64 // mean service time
	ServiceSCV float64 // its squared coefficient of variation
	Switch     float64 // mean time to switch from this queue to the next
	SwitchVar  float64 // variance of that time
}

const maxPolling = 100

// Polling gives the mean wait (service excluded) at each queue of a server that
// visits the queues in turn. Gated and exhaustive are exact: the covariances of
// the times between polls solve a linear system (station-time method, Ferguson
// and Aminetzah 1985; Takagi 1988). 1-limited is the approximation of Boxma and
// Meister 1986, exact for queues that are all alike.
func Polling(queues []PollingQueue, service PollingService) ([]float64, error) {
	n := len(queues)
	if n == 0 || n > maxPolling {
		return nil, fmt.Errorf("polling: %d queues, must be 1 to %d", n, maxPolling)
	}
	load, switching, switchVar, work := 0.0, 0.0, 0.0, 0.0
	for i := range queues {
		q := &queues[i]
		if err := q.validate(); err != nil {
			return nil, fmt.Errorf("polling: queue %d: %w", i+1, err)
		}
		load += q.Arrival * q.Service
		switching += q.Switch
		switchVar += q.SwitchVar
		work += q.Arrival * q.second()
	}
	if load >= 1 {
		return nil, fmt.Errorf("polling: unstable: the load is %v, must be below 1", load)
	}
	if switching == 0 {
		return nil, errors.New("polling: switching takes no time at all; then the server's path between empty queues is not defined")
	}
	cycle := switching / (1 - load)
	switch service {
	case Gated:
		return pollGated(queues, cycle)
	case Exhaustive:
		return pollExhaustive(queues, cycle)
	case Limited1:
		return pollLimited(queues, load, switching, switchVar, work)
	}
	return nil, fmt.Errorf("polling: unknown service %q (have %s, %s, %s)", service, Gated, Exhaustive, Limited1)
}

func (q *PollingQueue) validate() error {
	for _, c := range []struct {
		what string
		x    float64
	}{{"arrival rate", q.Arrival}, {"SCV of service", q.ServiceSCV}, {"switch-over time", q.Switch}, {"variance of the switch-over time", q.SwitchVar}} {
		if err := checkNonNegative(c.what, c.x); err != nil {
			return err
		}
	}
	return checkPositive("mean service time", q.Service)
}

func (q *PollingQueue) second() float64 { return q.Service * q.Service * (1 + q.ServiceSCV) }

// lagged holds Cov(T_i, T_{i-k}) of station times, k = 0..n-1 stations back.
type lagged [][]float64

// cov is the covariance of the times of stations i-a and i-b.
func (c lagged) cov(i, a, b int) float64 {
	n := len(c)
	if a > b {
		a, b = b, a
	}
	return c[((i-a)%n+n)%n][b-a]
}

// window is Var(sum of T_{i-1} .. T_{i-m}).
func (c lagged) window(i, m int) float64 {
	total := 0.0
	for a := 1; a <= m; a++ {
		total += c.cov(i, a, a)
		for b := a + 1; b <= m; b++ {
			total += 2 * c.cov(i, a, b)
		}
	}
	return total
}

// relax solves for the covariances by sweeps: station i's time grows by gain of
// the m station times before it, and has variance own beside that.
func relax(n, m int, gain, own []float64) (lagged, error) {
	c := lagged(matrix(n, n))
	for range max(500, 2_000_000_000/(2*n*n*n+50)/10) { // a few seconds at most
		change, size := 0.0, 0.0
		set := func(i, k int, x float64) {
			change = math.Max(change, math.Abs(x-c[i][k]))
			size = math.Max(size, math.Abs(x))
			c[i][k] = x
		}
		for i := range n {
			for k := 1; k < n; k++ {
				total := 0.0
				for a := 1; a <= m; a++ {
					total += c.cov(i, a, k)
				}
				set(i, k, gain[i]*total)
			}
			set(i, 0, own[i]+gain[i]*gain[i]*c.window(i, m))
		}
		if change <= 1e-15*size {
			return c, nil
		}
		if notFinite(size) {
			break
		}
	}
	return nil, errors.New("polling: the load is too near 1 for the equations to settle")
}

// pollGated: T_i is the service of those that came during the cycle before,
// then the switch-over.
func pollGated(q []PollingQueue, cycle float64) ([]float64, error) {
	n := len(q)
	gain, own, wait := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range q {
		gain[i] = q[i].Arrival * q[i].Service
		own[i] = q[i].SwitchVar + q[i].Arrival*q[i].second()*cycle
	}
	c, err := relax(n, n, gain, own)
	if err != nil {
		return nil, err
	}
	for i := range q {
		square := c.window(i, n) + cycle*cycle
		wait[i] = (1 + gain[i]) * square / (2 * cycle)
	}
	return wait, nil
}

// pollExhaustive: T_i is the switch-over into i and the busy periods of the
// work that came since the server left i.
func pollExhaustive(q []PollingQueue, cycle float64) ([]float64, error) {
	n := len(q)
	gain, own, wait := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range q {
		rho := q[i].Arrival * q[i].Service
		before := &q[(i-1+n)%n]
		away := cycle * (1 - rho)
		gain[i] = rho / (1 - rho)
		own[i] = before.SwitchVar/((1-rho)*(1-rho)) + q[i].Arrival*q[i].second()*away/((1-rho)*(1-rho)*(1-rho))
	}
	c, err := relax(n, n-1, gain, own)
	if err != nil {
		return nil, err
	}
	for i := range q {
		rho := q[i].Arrival * q[i].Service
		away := cycle * (1 - rho)
		square := q[(i-1+n)%n].SwitchVar + c.window(i, n-1) + away*away
		wait[i] = q[i].Arrival*q[i].second()/(2*(1-rho)) + square/(2*away)
	}
	return wait, nil
}

func pollLimited(q []PollingQueue, load, switching, switchVar, work float64) ([]float64, error) {
	squares := 0.0
	for i := range q {
		rho := q[i].Arrival * q[i].Service
		squares += rho * rho
	}
	wait := make([]float64, len(q))
	for i := range q {
		rho := q[i].Arrival * q[i].Service
		room := 1 - load - q[i].Arrival*switching
		if room <= 0 {
			return nil, fmt.Errorf("polling: queue %d is unstable under 1-limited service: load %v plus arrivals in the switch-over times %v, must be below 1",
				i+1, load, q[i].Arrival*switching)
		}
		if load == 0 {
			wait[i] = switching/2 + switchVar/(2*switching)
			continue
		}
		wait[i] = (1 - load + rho) / room * (1 - load) / ((1-load)*load + squares) *
			(load*work/(2*(1-load)) + load*switchVar/(2*switching) + switching*0.5/(1-load)*sumLimited(q))
	}
	return wait, nil
}

// sumLimited is the sum of rho_i(1+rho_i), from the pseudo-conservation law.
func sumLimited(q []PollingQueue) float64 {
	total := 0.0
	for i := range q {
		rho := q[i].Arrival * q[i].Service
		total += rho * (1 + rho)
	}
	return total
}
