package queueing

import (
	"fmt"
	"math"
)

// Solution is the steady state of a Network. Matrices are [class][station].
type Solution struct {
	Method string // the solver and what it approximates
	Exact  bool   // whether the means are exact for the network as given

	Throughput []float64 // per class: requests per unit of time
	Response   []float64 // per class: mean time in the network, think time excluded
	StdDev     []float64 // per class: standard deviation of that time (approximate)

	Residence   [][]float64 // mean time at the station over all visits of one request
	QueueLength [][]float64 // mean number present, in service included
	Utilisation [][]float64 // per server (mean number in service at a delay)

	StationQueueLength []float64
	StationUtilisation []float64 // per server, 0 to 1 (mean number in service at a delay)

	net    *Network
	byName map[string]int
}

func newSolution(n *Network) *Solution {
	R, K := len(n.Classes), len(n.Stations)
	s := &Solution{
		Throughput: make([]float64, R), Response: make([]float64, R), StdDev: make([]float64, R),
		Residence: matrix(R, K), QueueLength: matrix(R, K), Utilisation: matrix(R, K),
		StationQueueLength: make([]float64, K), StationUtilisation: make([]float64, K),
		net: n.clone(), byName: make(map[string]int, R),
	}
	for r := range n.Classes {
		if _, taken := s.byName[n.className(r)]; !taken {
			s.byName[n.className(r)] = r
		}
	}
	return s
}

// clone keeps a solution valid when the caller changes the network afterwards.
func (n *Network) clone() *Network {
	c := &Network{Stations: append([]Station(nil), n.Stations...), Classes: append([]Class(nil), n.Classes...)}
	for r := range c.Classes {
		c.Classes[r].Demands = append([]float64(nil), c.Classes[r].Demands...)
		if v := c.Classes[r].Visits; v != nil {
			c.Classes[r].Visits = append([]float64(nil), v...)
		}
	}
	return c
}

// finish derives queue lengths and utilisations from throughputs and residence
// times by Little's law, so that the two can never disagree, and refuses to
// hand out anything that is not a number.
func (s *Solution) finish() (*Solution, error) {
	for r := range s.net.Classes {
		x := s.Throughput[r]
		s.Response[r] = 0
		for k := range s.net.Stations {
			s.Response[r] += s.Residence[r][k]
			s.QueueLength[r][k] = x * s.Residence[r][k]
			u := x * s.net.Classes[r].Demands[k]
			if st := &s.net.Stations[k]; !st.delay() {
				u /= float64(st.servers())
			}
			s.Utilisation[r][k] = u
			s.StationQueueLength[k] += s.QueueLength[r][k]
			s.StationUtilisation[k] += u
		}
		if notFinite(x) || notFinite(s.Response[r]) {
			return nil, fmt.Errorf("class %s: no finite answer by %s: throughput %v, response time %v",
				s.net.className(r), s.Method, x, s.Response[r])
		}
	}
	s.spread()
	return s, nil
}

// Class is the index of the class of that name (for one without a name "#1",
// "#2", ...), or -1.
func (s *Solution) Class(name string) int {
	if r, ok := s.byName[name]; ok {
		return r
	}
	return -1
}

// Percentile is the time below which a share p (0 < p < 1) of the requests of
// class number class stay in the network: the quantile of the gamma
// distribution (hyperexponential when StdDev exceeds the mean) with the class's
// mean response time and StdDev. For one M/M/1
// station this is exact; docs/queueing.md has the errors measured elsewhere.
func (s *Solution) Percentile(class int, p float64) (float64, error) {
	if class < 0 || class >= len(s.Response) {
		return 0, fmt.Errorf("class number %d, the network has %d", class, len(s.Response))
	}
	if err := checkProbability("percentile", p); err != nil {
		return 0, err
	}
	return fittedQuantile(s.Response[class], s.StdDev[class]*s.StdDev[class], p), nil
}

// Bottleneck is the Queue station of highest utilisation, or -1 when there are
// only delays.
func (s *Solution) Bottleneck() int {
	best := -1
	for k := range s.net.Stations {
		if !s.net.Stations[k].delay() && (best < 0 || s.StationUtilisation[k] > s.StationUtilisation[best]) {
			best = k
		}
	}
	return best
}

// spread fills StdDev from the variances of the sojourns at the stations,
// taken as independent.
func (s *Solution) spread() {
	for r := range s.net.Classes {
		total := 0.0
		for k := range s.net.Stations {
			if s.net.Classes[r].Demands[k] > 0 {
				total += s.residenceVariance(r, k)
			}
		}
		s.StdDev[r] = math.Sqrt(total)
	}
}
