package plan

import (
	"errors"
	"fmt"
	"math"

	"github.com/banyanhq/banyan/queueing"
)

// solution is the steady state of a model. Slices follow model.routes; times in seconds.
type solution struct {
	method         string
	saturated      bool
	rates          map[string]float64
	mean, variance []float64
}

// solveOpen solves the model for given arrival rates.
func (m *model) solveOpen(rates map[string]float64) (*solution, error) {
	if u, _ := m.busiest(rates); u >= 1 {
		// It serves what it holds, of every route alike.
		held := m.heldShare(rates)
		served := map[string]float64{}
		for r, v := range rates {
			served[r] = v * held
		}
		return &solution{method: "saturated: operational bounds", saturated: true, rates: served}, nil
	}
	net := m.network()
	for i, route := range m.routes {
		net.Classes[i].Arrival = rates[route]
	}
	m.addBackground(net, rates)
	s, err := queueing.Solve(net, queueing.Options{})
	if err != nil {
		return nil, fmt.Errorf("solving the open model: %w", err)
	}
	return m.finish(s, net.Classes[0].Demands[0], rates)
}

// heldShare is the largest share of the given rates that no resource refuses. The idle use does not shrink.
func (m *model) heldShare(rates map[string]float64) float64 {
	lo, hi := 0.0, 1.0
	for range 60 {
		mid := (lo + hi) / 2
		scaled := map[string]float64{}
		for r, v := range rates {
			scaled[r] = v * mid
		}
		if u, _ := m.busiest(scaled); u < 1 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// solveClosed solves the model for users who wait and think. All routes are one chain: a user's next request may be
// of any route, by the mix. CPU that nobody waits for and delays by CPU limits depend on the throughput, which depends
// on them: the fixed point is found by bisection, for a higher guess never gives a higher throughput.
func (m *model) solveClosed(load Load) (*solution, error) {
	held := m.heldRate(load.Mix)
	lo, hi := 0.0, held
	var best *queueing.Solution
	var bestDemand float64
	for range 50 {
		guess := (lo + hi) / 2
		s, demand, err := m.closedAt(load, guess)
		switch {
		case err != nil && guess < 1e-9*held:
			return nil, err
		case err != nil || s == nil || s.Throughput[0] < guess:
			hi = guess
		default:
			lo, best, bestDemand = guess, s, demand
		}
		if hi-lo < 1e-7*held {
			break
		}
	}
	if best == nil {
		return nil, errors.New("solving the closed model: no throughput can be sustained; the machine is full before the first request")
	}
	rates := m.ratesAt(load.Mix, lo)
	return m.finish(best, bestDemand, rates)
}

func (m *model) ratesAt(mix map[string]float64, x float64) map[string]float64 {
	rates := map[string]float64{}
	for _, route := range m.routes {
		rates[route] = mix[route] * x
	}
	return rates
}

// heldRate is the highest throughput of a mix that no resource refuses.
func (m *model) heldRate(mix map[string]float64) float64 {
	x := 1.0
	for range 200 {
		if u, _ := m.busiest(m.ratesAt(mix, x)); u >= 1 {
			break
		}
		x *= 2
	}
	return x * m.heldShare(m.ratesAt(mix, x))
}

// closedAt solves for users while background work and limits are as at throughput guess, and returns the solution, nil
// where limits let nothing through, with the users' demand of the machine.
func (m *model) closedAt(load Load, guess float64) (*queueing.Solution, float64, error) {
	rates := m.ratesAt(load.Mix, guess)
	net := m.network()
	// The chain's demands are those of its routes, weighted by the mix.
	chain := queueing.Class{Name: "users", Population: load.Users, Think: load.Think.Seconds(),
		Demands: make([]float64, len(net.Stations)), Visits: make([]float64, len(net.Stations))}
	for i, route := range m.routes {
		share := load.Mix[route]
		for k := range net.Stations {
			chain.Demands[k] += share * net.Classes[i].Demands[k]
			chain.Visits[k] += share * net.Classes[i].Visits[k]
		}
		limit, _ := m.limitDelay(route, rates)
		chain.Think += share * (limit + m.burstDelay(route, rates))
	}
	if math.IsInf(chain.Think, 1) {
		return nil, 0, nil
	}
	net.Classes = []queueing.Class{chain}
	m.addBackground(net, rates)
	s, err := queueing.Solve(net, queueing.Options{})
	if err != nil {
		return nil, 0, fmt.Errorf("solving the closed model: %w", err)
	}
	return s, chain.Demands[0], nil
}

// network is the machine's cores, shared by all, and for each route a delay of its own.
func (m *model) network() *queueing.Network {
	servers, speed := wholeServers(m.cores)
	net := &queueing.Network{Stations: []queueing.Station{{Name: Machine, Servers: servers, Discipline: queueing.PS}}}
	for _, route := range m.routes {
		_, _, delay, delayVar, _ := m.total(route)
		st := queueing.Station{Name: "delay of " + route, Kind: queueing.Delay, SCV: queueing.Deterministic}
		if delay > 0 && delayVar > 0 {
			st.SCV = delayVar / (delay * delay)
		}
		net.Stations = append(net.Stations, st)
	}
	for i, route := range m.routes {
		cpu, _, delay, _, visits := m.total(route)
		c := queueing.Class{Name: route, Demands: make([]float64, len(net.Stations)), Visits: make([]float64, len(net.Stations))}
		c.Demands[0], c.Visits[0] = max(cpu/speed, 1e-12), max(visits, 1)
		c.Demands[1+i], c.Visits[1+i] = delay, 1
		net.Classes = append(net.Classes, c)
	}
	return net
}

// wholeServers represents a number of cores as whole servers of equal speed.
func wholeServers(cores float64) (servers int, speed float64) {
	n := math.Ceil(cores - 1e-9)
	return int(n), cores / n
}

// addBackground adds an open class for the CPU that nobody waits for at the given rates.
func (m *model) addBackground(net *queueing.Network, rates map[string]float64) {
	var use float64
	idle := m.idleShare(rates)
	for _, svc := range m.services {
		use += m.use(svc, rates, idle)
	}
	for _, route := range m.routes {
		cpu, _, _, _, _ := m.total(route)
		use -= rates[route] * cpu
	}
	if use <= 0 {
		return
	}
	// In pieces of a millisecond; a processor-sharing station does not care for their length.
	c := queueing.Class{Name: "background", Arrival: use / 0.001, Demands: make([]float64, len(net.Stations))}
	_, speed := wholeServers(m.cores)
	c.Demands[0] = 0.001 / speed
	net.Classes = append(net.Classes, c)
}

// limitDelay is the time that a request of a route loses to the CPU limits of the services it visits: mean and variance.
func (m *model) limitDelay(route string, rates map[string]float64) (sum, variance float64) {
	idle := m.idleShare(rates)
	for _, s := range m.services {
		d := m.demands[route][s.name]
		if s.limit <= 0 || d.visits == 0 {
			continue
		}
		h, _ := m.heldAt(s, rates, m.asleep(s, rates, idle))
		l := h.loss()
		sum += d.visits * l.mean
		variance += d.visits * l.variance()
	}
	return sum, variance
}

// burstDelay is what requests of a route wait longer for the CPU at the given rates than they would if all work came at
// random: the wait of an M/M/c queue in proportion to the index of dispersion, as in heavy traffic.
func (m *model) burstDelay(route string, rates map[string]float64) float64 {
	if m.burst == 1 {
		return 0
	}
	servers, speed := wholeServers(m.cores)
	utilisation := min((1 - m.idleShare(rates)), 0.999)
	q, err := queueing.MMc(utilisation*float64(servers), 1, servers)
	if err != nil {
		return 0
	}
	cpu, _, _, _, _ := m.total(route)
	return (m.burst - 1) * q.Wq * cpu / speed
}

// finish turns a solved network into latencies by route: the time on the CPU, stretched by sharing it and by bursts, the
// delays, and what the limits cost. demand is the first class's demand of the machine.
func (m *model) finish(s *queueing.Solution, demand float64, rates map[string]float64) (*solution, error) {
	sol := &solution{method: s.Method, rates: rates}
	stretch := max(1, s.Residence[0][0]/demand)
	_, speed := wholeServers(m.cores)
	for _, route := range m.routes {
		cpu, _, delay, delayVar, visits := m.total(route)
		limit, limitVar := m.limitDelay(route, rates)
		burst := m.burstDelay(route, rates)
		n := max(visits, 1)
		onCPU := cpu / speed * stretch
		if onCPU+burst > 0 && cpu > 0 {
			// Bursts stretch waiting and its spread alike.
			stretch := max(1, (onCPU+burst)/(cpu/speed))
			one, err := queueing.PSVariance(cpu/speed/n, m.cpuSCV(route), stretch)
			if err != nil {
				return nil, fmt.Errorf("route %s: %w", route, err)
			}
			delayVar += n * one
		}
		sol.mean = append(sol.mean, onCPU+burst+delay+limit)
		sol.variance = append(sol.variance, delayVar+limitVar)
	}
	return sol, nil
}

// cpuSCV is the squared coefficient of variation of the CPU time of one visit, over all visits of a route.
func (m *model) cpuSCV(route string) float64 {
	var visits, sum, square float64
	for _, d := range m.demands[route] {
		if d.cpu > 0 {
			visits += d.visits
			sum += d.visits * d.cpu
			square += d.visits * d.cpu * d.cpu * (1 + d.scv)
		}
	}
	if sum == 0 {
		return 0
	}
	mean := sum / visits
	return max(0, square/visits/(mean*mean)-1)
}
