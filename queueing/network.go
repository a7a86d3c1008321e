package queueing

import (
	"errors"
	"fmt"
)

// Kind of a station.
type Kind string

const (
	Queue Kind = "queue" // servers with a waiting line; the zero value means Queue
	Delay Kind = "delay" // as many servers as customers: no one waits
)

// Discipline of a Queue station.
type Discipline string

const (
	PS   Discipline = "PS"   // processor sharing, the zero value: only mean service matters
	FCFS Discipline = "FCFS" // first come first served: SCV and differing service times matter
)

// Deterministic is the value of Station.SCV for constant service times, since
// zero means exponential.
const Deterministic = -1

// Station is one resource of a Network.
type Station struct {
	Name       string
	Kind       Kind
	Servers    int        // identical servers; 0 means 1
	SCV        float64    // squared coefficient of variation of service; 0 means 1 (exponential), Deterministic means 0
	Discipline Discipline // zero means PS
}

// Class is one kind of customer. It is open when Population is 0 and then
// arrives as a Poisson process; otherwise closed with Think time between visits
// to the network.
type Class struct {
	Name       string
	Arrival    float64   // open: requests per unit of time
	Population int       // closed: customers
	Think      float64   // closed: mean time outside
	Demands    []float64 // mean service time at each station in one request: visits x service time
	Visits     []float64 // mean visits to each station in one request; nil means 1 wherever Demands is positive
}

// Network is a set of stations visited by classes of customers.
type Network struct {
	Stations []Station
	Classes  []Class
}

// Validate says what is wrong with a network, naming the station or class. It
// does not judge stability; the solvers do.
func (n *Network) Validate() error {
	if len(n.Stations) == 0 {
		return errors.New("network has no stations")
	}
	if len(n.Classes) == 0 {
		return errors.New("network has no classes")
	}
	if len(n.Stations) > maxStations || len(n.Classes) > maxClasses || len(n.Stations)*len(n.Classes) > maxCells {
		return fmt.Errorf("network of %d stations x %d classes is too large: at most %d stations, %d classes and %d cells",
			len(n.Stations), len(n.Classes), maxStations, maxClasses, maxCells)
	}
	for k := range n.Stations {
		if err := n.Stations[k].validate(); err != nil {
			return fmt.Errorf("station %s: %w", n.stationName(k), err)
		}
	}
	for r := range n.Classes {
		if err := n.Classes[r].validate(n); err != nil {
			return fmt.Errorf("class %s: %w", n.className(r), err)
		}
	}
	return nil
}

func (s *Station) validate() error {
	if s.Kind != "" && s.Kind != Queue && s.Kind != Delay {
		return fmt.Errorf("kind %q is neither %q nor %q", s.Kind, Queue, Delay)
	}
	if s.Discipline != "" && s.Discipline != PS && s.Discipline != FCFS {
		return fmt.Errorf("discipline %q is neither %q nor %q", s.Discipline, PS, FCFS)
	}
	if s.Servers < 0 || s.Servers > maxServers {
		return fmt.Errorf("servers is %d, must be 1 to %d (0 means 1)", s.Servers, maxServers)
	}
	if s.SCV == Deterministic {
		return nil
	}
	return checkNonNegative("SCV", s.SCV)
}

func (c *Class) validate(n *Network) error {
	if len(c.Demands) != len(n.Stations) {
		return fmt.Errorf("%d demands for %d stations", len(c.Demands), len(n.Stations))
	}
	if c.Visits != nil && len(c.Visits) != len(n.Stations) {
		return fmt.Errorf("%d visits for %d stations", len(c.Visits), len(n.Stations))
	}
	if c.Population < 0 || c.Population > maxPopulation {
		return fmt.Errorf("population is %d, must be 0 to %d", c.Population, maxPopulation)
	}
	if err := checkNonNegative("arrival rate", c.Arrival); err != nil {
		return err
	}
	if err := checkNonNegative("think time", c.Think); err != nil {
		return err
	}
	if c.Population > 0 && c.Arrival > 0 {
		return errors.New("has both an arrival rate (open) and a population (closed)")
	}
	if c.Population == 0 && c.Think > 0 {
		return errors.New("has a think time but no population")
	}
	total := 0.0
	for k, d := range c.Demands {
		if err := checkNonNegative("demand at "+n.stationName(k), d); err != nil {
			return err
		}
		total += d
		if c.Visits == nil {
			continue
		}
		if err := checkNonNegative("visits to "+n.stationName(k), c.Visits[k]); err != nil {
			return err
		}
		if d > 0 && c.Visits[k] == 0 {
			return fmt.Errorf("demands %v of %s but never visits it", d, n.stationName(k))
		}
	}
	if total == 0 {
		return errors.New("demands nothing of any station")
	}
	return nil
}

func (n *Network) stationName(k int) string {
	if n.Stations[k].Name != "" {
		return n.Stations[k].Name
	}
	return fmt.Sprintf("#%d", k+1)
}

func (n *Network) className(r int) string {
	if n.Classes[r].Name != "" {
		return n.Classes[r].Name
	}
	return fmt.Sprintf("#%d", r+1)
}

func (s *Station) delay() bool { return s.Kind == Delay }

func (s *Station) servers() int { return max(1, s.Servers) }

func (s *Station) scv() float64 {
	switch s.SCV {
	case 0:
		return 1
	case Deterministic:
		return 0
	}
	return s.SCV
}

func (c *Class) closed() bool { return c.Population > 0 }

// visits is the mean number of visits; 1 where it was not given.
func (c *Class) visits(k int) float64 {
	switch {
	case c.Demands[k] == 0:
		return 0
	case c.Visits == nil:
		return 1
	}
	return c.Visits[k]
}

// service is the mean service time of one visit.
func (c *Class) service(k int) float64 {
	if v := c.visits(k); v > 0 {
		return c.Demands[k] / v
	}
	return 0
}

// productForm reports whether station k keeps the network in product form: PS
// and delays always, FCFS when service is exponential and alike for all classes
// (Baskett, Chandy, Muntz and Palacios 1975).
func (n *Network) productForm(k int) bool {
	s := &n.Stations[k]
	if s.delay() || s.Discipline != FCFS {
		return true
	}
	if s.scv() != 1 {
		return false
	}
	first := 0.0
	for r := range n.Classes {
		x := n.Classes[r].service(k)
		if x == 0 {
			continue
		}
		if first == 0 {
			first = x
		}
		if d := x - first; d > 1e-9*first || d < -1e-9*first {
			return false
		}
	}
	return true
}

func (n *Network) allProductForm() bool {
	for k := range n.Stations {
		if !n.productForm(k) {
			return false
		}
	}
	return true
}
