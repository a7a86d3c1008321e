package queueing

import (
	"errors"
	"math"
)

// Capacity tells how far the open load of a network can grow: the station that
// saturates first and the factor on all arrival rates at which it does. The
// station is -1 and the factor +Inf when only delays are used.
func Capacity(n *Network) (factor float64, station int, err error) {
	if err := n.Validate(); err != nil {
		return 0, -1, err
	}
	factor, station = math.Inf(1), -1
	for k := range n.Stations {
		if n.Stations[k].delay() {
			continue
		}
		load := 0.0
		for r := range n.Classes {
			load += n.Classes[r].Arrival * n.Classes[r].Demands[k]
		}
		if f := float64(n.Stations[k].servers()) / load; load > 0 && f < factor {
			factor, station = f, k
		}
	}
	return factor, station, nil
}

// MaxThroughput is the asymptotic throughput 1/max(D/servers) of class r alone and
// the station that sets it (-1 and +Inf with only delays).
func MaxThroughput(n *Network, r int) (x float64, station int, err error) {
	if err := n.Validate(); err != nil {
		return 0, -1, err
	}
	if r < 0 || r >= len(n.Classes) {
		return 0, -1, errors.New("no such class")
	}
	x, station = math.Inf(1), -1
	for k, d := range n.Classes[r].Demands {
		if s := float64(n.Stations[k].servers()) / d; !n.Stations[k].delay() && d > 0 && s < x {
			x, station = s, k
		}
	}
	return x, station, nil
}

// SaturationPopulation is N*, the number of customers of class r alone at which
// the asymptotes N/(D+Z) and 1/Dmax cross: (D+Z)/Dmax. Below it there is room,
// above it customers queue for the bottleneck.
func SaturationPopulation(n *Network, r int) (float64, error) {
	x, _, err := MaxThroughput(n, r)
	if err != nil {
		return 0, err
	}
	return x * (sum(n.Classes[r].Demands) + n.Classes[r].Think), nil
}

// KneePoint is where more load stops being worth its delay.
type KneePoint struct {
	Factor     float64 // on all arrival rates (open) or populations (closed) of the network given
	Throughput float64 // all classes together
	Response   float64 // mean over requests
	Station    int     // the bottleneck
	Saturation float64 // factor at which Station saturates (open), or N*/N (closed)
}

// Knee finds the factor on the load of an all-open or all-closed network that
// maximises Kleinrock's power, throughput over response time (Kleinrock 1979);
// for M/M/1 that is half the capacity. For closed networks the populations are
// scaled and rounded, at least one each; they are solved by Solve with o.
func Knee(n *Network, o Options) (*KneePoint, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	closed := 0
	for r := range n.Classes {
		if n.Classes[r].closed() {
			closed++
		}
	}
	switch closed {
	case 0:
		return openKnee(n, o)
	case len(n.Classes):
		return closedKnee(n, o)
	}
	return nil, errors.New("the knee of a mixed network has no one load to scale")
}

func openKnee(n *Network, o Options) (*KneePoint, error) {
	limit, station, err := Capacity(n)
	if err != nil {
		return nil, err
	}
	if station < 0 {
		return nil, errors.New("no load on any queue station: there is no knee")
	}
	at := func(f float64) (*KneePoint, error) {
		m := n.clone()
		for r := range m.Classes {
			m.Classes[r].Arrival *= f
		}
		s, err := Solve(m, o)
		if err != nil {
			return nil, err
		}
		x, resp := s.overall()
		return &KneePoint{Factor: f, Throughput: x, Response: resp, Station: station, Saturation: limit}, nil
	}
	return maximisePower(1e-6*limit, (1-1e-9)*limit, at)
}

func closedKnee(n *Network, o Options) (*KneePoint, error) {
	// The crossing for the mix: all classes at the throughputs of an idle network.
	limit, station := math.Inf(1), -1
	for k := range n.Stations {
		load := 0.0
		for r := range n.Classes {
			c := &n.Classes[r]
			load += float64(c.Population) * c.Demands[k] / (sum(c.Demands) + c.Think)
		}
		if f := float64(n.Stations[k].servers()) / load; !n.Stations[k].delay() && load > 0 && f < limit {
			limit, station = f, k
		}
	}
	if station < 0 {
		return nil, errors.New("no load on any queue station: there is no knee")
	}
	at := func(f float64) (*KneePoint, error) {
		m := n.clone()
		for r := range m.Classes {
			m.Classes[r].Population = int(min(maxPopulation, max(1, math.Round(f*float64(n.Classes[r].Population)))))
		}
		s, err := Solve(m, o)
		if err != nil {
			return nil, err
		}
		x, resp := s.overall()
		return &KneePoint{Factor: f, Throughput: x, Response: resp, Station: s.Bottleneck(), Saturation: limit}, nil
	}
	return maximisePower(limit/50, 4*limit, at)
}

// overall is the total throughput and the mean response over all requests.
func (s *Solution) overall() (x, response float64) {
	for r := range s.Throughput {
		x += s.Throughput[r]
		response += s.Throughput[r] * s.Response[r]
	}
	if x > 0 {
		response /= x
	}
	return x, response
}

// maximisePower is a golden-section search of throughput/response.
func maximisePower(lo, hi float64, at func(float64) (*KneePoint, error)) (*KneePoint, error) {
	const ratio = 0.6180339887498949
	power := func(k *KneePoint) float64 { return k.Throughput / k.Response }
	a, err := at(hi - ratio*(hi-lo))
	if err != nil {
		return nil, err
	}
	b, err := at(lo + ratio*(hi-lo))
	if err != nil {
		return nil, err
	}
	for i := 0; i < 40; i++ {
		if power(a) >= power(b) {
			hi, b = b.Factor, a
			if a, err = at(hi - ratio*(hi-lo)); err != nil {
				return nil, err
			}
		} else {
			lo, a = a.Factor, b
			if b, err = at(lo + ratio*(hi-lo)); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}
