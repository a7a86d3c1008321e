package simulate

import (
	"errors"
	"fmt"
	"math"
)

// Sizing is what a system of many cells needs.
type Sizing struct {
	// Cells that the load is spread over; one was simulated.
	Cells int `json:"cells"`
	// Cores and Replicas of all cells together.
	Cores    float64        `json:"cores"`
	Replicas map[string]int `json:"replicas"`
	// Fit is the utilisation that it was sized for; 0: it is as large as the file says.
	Fit float64 `json:"fit,omitempty"`
	// CostHour is what that costs an hour by the file's prices: cores, and the memory that replicas are limited to. 0:
	// nothing is known of prices.
	CostHour float64 `json:"cost_hour,omitempty"`
	Currency string  `json:"currency,omitempty"`
}

// divide makes a load that of one of so many cells. Cells are independent, each with its own gateway, replicas and cores:
// what one does all do, so that a system of any size costs no more to simulate than one cell. A system whose parts were
// shared by all would wait no longer than its cells do.
func (l *workload) divide(cells int) error {
	if cells <= 1 {
		return nil
	}
	if l.users > 0 {
		if l.users%cells != 0 && l.users < 100*cells {
			return fmt.Errorf("%d users in %d cells: want a number of cells that leaves at least 100 to each", l.users, cells)
		}
		l.users = int(math.Round(float64(l.users) / float64(cells)))
	}
	before := 0.0
	for i := range l.pieces {
		p := &l.pieces[i]
		p.from, p.to, p.before = p.from/float64(cells), p.to/float64(cells), before
		before += p.area()
	}
	return nil
}

// size gives the machine and each service what one cell needs: its share of what the file says, or what makes each
// resource as busy as Options.Fit.
func (c *compiler) size() error {
	o := &c.m.o
	if o.Cells <= 1 && o.Fit == 0 {
		return nil
	}
	c.leaveOutClient()
	use := make([]float64, len(c.m.services))
	if o.Fit > 0 {
		var err error
		if use, err = c.m.expectedUse(); err != nil {
			return err
		}
	}
	z := &Sizing{Cells: max(o.Cells, 1), Replicas: map[string]int{}, Fit: o.Fit}
	if o.Fit > 0 {
		var all float64
		for i := range use {
			all += use[i] + c.m.services[i].idle
		}
		c.m.cores = max(all/o.Fit, 1e-3)
	} else {
		c.m.cores /= float64(z.Cells)
	}
	z.Cores = c.m.cores * float64(z.Cells)
	var memory float64
	for i := range c.m.services {
		s := &c.m.services[i]
		svc := c.sys.Services[s.name]
		if svc == nil {
			continue
		}
		s.replicas = int(math.Ceil(float64(s.replicas) / float64(z.Cells)))
		if o.Fit > 0 {
			one := 1.0 // core that a replica is sized for, where it has no limit
			if s.limit > 0 {
				one = s.limit
			}
			s.replicas = int(math.Ceil(use[i] / (o.Fit * one)))
		}
		if s.replicas = max(s.replicas, 1); s.replicas > maxReplicas {
			return fmt.Errorf("service %s would need %d replicas in each cell: simulate more cells", s.name, s.replicas)
		}
		s.min, s.max = min(s.min, s.replicas), max(s.max, s.replicas)
		z.Replicas[s.name] = s.replicas * z.Cells
		memory += float64(svc.Limits.Memory) / (1 << 30) * float64(s.replicas*z.Cells)
	}
	if p := c.sys.Prices; p != nil {
		z.CostHour, z.Currency = z.Cores*p.CPUHour+memory*p.MemoryGiBHour, p.Currency
	}
	if z.Cells > 1 {
		c.assume("one of %d equal cells was simulated, each with its own gateway, replicas, blocks and %.4g cores: counts and rates are those of one cell", z.Cells, c.m.cores)
	}
	c.m.sizing = z
	return nil
}

// leaveOutClient takes the load generator's CPU away, which a calibration knows: real users bring their own.
func (c *compiler) leaveOutClient() {
	client := c.index[Client]
	for i := range c.m.nodes {
		if n := &c.m.nodes[i]; n.service == client && c.sys.Services[Client] == nil {
			n.cpu, n.async, n.wake = distribution{}, distribution{}, 0
		}
	}
	c.m.services[client].idle = 0
}

// expectedUse is the CPU that each service is expected to use, in cores, under the load, and if nothing has to wait.
func (m *Model) expectedUse() ([]float64, error) {
	cpu, alone := m.demands(m.o.Fit)
	l := m.load
	rates := make([]float64, len(m.routes)) // requests of one scenario
	var length float64                      // of one scenario
	before := 0.0
	for _, sc := range l.scenarios {
		share := sc.share - before
		before = sc.share
		for _, st := range sc.steps {
			rates[st.route] += share * st.weight
			length += share * st.weight * (st.think + alone[st.route])
		}
	}
	scenarios := 0.0 // a second
	for _, p := range l.pieces {
		scenarios = max(scenarios, p.from, p.to)
	}
	if l.users > 0 {
		if length <= 0 {
			return nil, errors.New("users who neither think nor wait cannot be sized for")
		}
		scenarios = float64(l.users) / length
	}
	use := make([]float64, len(m.services))
	for r, rate := range rates {
		for i, c := range cpu[r] {
			use[i] += scenarios * rate * c
		}
	}
	return use, nil
}
