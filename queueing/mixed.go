package queueing

// Mixed solves a network of open and closed classes. The closed classes see
// each station slowed by the open load, 1/(1-rho); the open classes see what the
// closed ones leave behind (Lazowska et al., Quantitative System Performance,
// section 7.4): exact for single-server stations in product form when the closed
// part is solved exactly. A multi-server station that both kinds use is taken
// by Seidmann et al. 1987 as one fast server and a delay, an approximation.
func Mixed(n *Network, o Options) (*Solution, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := n.Validate(); err != nil {
		return nil, err
	}
	loads := make([]openLoad, len(n.Stations))
	exact := n.allProductForm()
	closed := &Network{Stations: append([]Station(nil), n.Stations...)}
	shared := make([]bool, len(n.Stations))
	for k := range n.Stations {
		l, err := n.openLoad(k)
		if err != nil {
			return nil, err
		}
		loads[k] = l
		shared[k] = l.erlangs > 0 && !n.Stations[k].delay() && n.usedByClosed(k)
		if shared[k] && n.Stations[k].servers() > 1 {
			exact = false
			closed.Stations[k].Servers = 1 // Seidmann's fast server
		}
	}
	var index []int // of the closed classes
	for r := range n.Classes {
		c := n.Classes[r]
		if !c.closed() {
			continue
		}
		c.Demands = append([]float64(nil), c.Demands...)
		for k := range c.Demands {
			if !shared[k] {
				continue
			}
			m := float64(n.Stations[k].servers())
			c.Think += c.Demands[k] * (m - 1) / m
			c.Demands[k] = c.Demands[k] / m / (1 - loads[k].erlangs/m)
		}
		closed.Classes = append(closed.Classes, c)
		index = append(index, r)
	}
	inner, err := solveClosed(closed, o)
	if err != nil {
		return nil, err
	}
	s := newSolution(n)
	s.Exact = exact && inner.Exact
	s.Method = "mixed: open load and " + inner.Method
	if !exact && n.allProductForm() {
		s.Method += ", shared multi-server stations by Seidmann"
	}
	for i, r := range index {
		s.Throughput[r] = inner.Throughput[i]
		for k := range n.Stations {
			s.Residence[r][k] = inner.Residence[i][k]
			if shared[k] {
				m := float64(n.Stations[k].servers())
				s.Residence[r][k] += n.Classes[r].Demands[k] * (m - 1) / m
			}
		}
	}
	for r := range n.Classes {
		if n.Classes[r].closed() {
			continue
		}
		s.Throughput[r] = n.Classes[r].Arrival
		for k := range n.Stations {
			if !shared[k] {
				s.Residence[r][k] = loads[k].residence(n, r, k)
				continue
			}
			m, d := float64(n.Stations[k].servers()), n.Classes[r].Demands[k]
			s.Residence[r][k] = d*(m-1)/m + d/m*(1+inner.StationQueueLength[k])/(1-loads[k].erlangs/m)
		}
	}
	return s.finish()
}

func (n *Network) usedByClosed(k int) bool {
	for r := range n.Classes {
		if n.Classes[r].closed() && n.Classes[r].Demands[k] > 0 {
			return true
		}
	}
	return false
}
