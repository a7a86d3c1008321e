package queueing

import "fmt"

// Open solves a network of open classes. PS stations and delays are exact for
// any service distribution (product form); an FCFS station is M/G/c with the
// mixture of its classes' services, by Allen and Cunneen, and is exact when the
// station keeps the product form. A saturated station is an error that names it.
func Open(n *Network) (*Solution, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	for r := range n.Classes {
		if n.Classes[r].closed() {
			return nil, fmt.Errorf("class %s is closed; Open takes open classes only", n.className(r))
		}
	}
	s := newSolution(n)
	s.Method, s.Exact = "open product form", true
	for r := range n.Classes {
		s.Throughput[r] = n.Classes[r].Arrival
	}
	for k := range n.Stations {
		load, err := n.openLoad(k)
		if err != nil {
			return nil, err
		}
		if !n.productForm(k) {
			s.Method, s.Exact = "open, M/G/c stations by Allen-Cunneen", false
		}
		for r := range n.Classes {
			s.Residence[r][k] = load.residence(n, r, k)
		}
	}
	return s.finish()
}

// openLoad is what the open classes together put on one station.
type openLoad struct {
	erlangs float64 // mean number of busy servers
	visits  float64 // rate of visits
	second  float64 // rate x second moment of service, summed over classes
}

func (n *Network) openLoad(k int) (openLoad, error) {
	st := &n.Stations[k]
	var l openLoad
	for r := range n.Classes {
		c := &n.Classes[r]
		if c.closed() || c.Demands[k] == 0 {
			continue
		}
		x := c.service(k)
		l.erlangs += c.Arrival * c.Demands[k]
		l.visits += c.Arrival * c.visits(k)
		l.second += c.Arrival * c.visits(k) * x * x * (1 + st.scv())
	}
	if notFinite(l.erlangs) || !st.delay() && l.erlangs >= float64(st.servers()) {
		return l, fmt.Errorf("station %s is unstable: the open classes demand %v of its %d servers",
			n.stationName(k), l.erlangs, st.servers())
	}
	return l, nil
}

// residence is the time of class r at station k when only open classes go there.
func (l openLoad) residence(n *Network, r, k int) float64 {
	st, c := &n.Stations[k], &n.Classes[r]
	if st.delay() || c.Demands[k] == 0 || l.erlangs == 0 {
		return c.Demands[k]
	}
	m := float64(st.servers())
	// The wait of M/M/c with the mean service of the mixture.
	mean := l.erlangs / l.visits
	wait := erlangC(st.servers(), l.erlangs) * mean / (m - l.erlangs)
	if n.productForm(k) {
		// Each class is stretched alike (processor sharing); with equal service
		// times that is also each class's wait in line.
		return c.Demands[k] * (1 + wait/mean)
	}
	scv := l.second/l.visits/(mean*mean) - 1
	return c.Demands[k] + c.visits(k)*wait*(1+scv)/2
}
