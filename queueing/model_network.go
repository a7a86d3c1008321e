package queueing

import (
	"errors"
	"fmt"
)

// networkInputs are those of all kinds of network. Rows are classes, columns
// stations; with one class a row may stand alone.
type networkInputs struct {
	kind string

	Lam        numbers  `json:"lam"`        // open: arrival rate of each class
	N          numbers  `json:"N"`          // closed: population of each class
	Z          numbers  `json:"Z"`          // closed: think times; default 0
	S          table    `json:"S"`          // service times
	V          table    `json:"V"`          // visits; or
	P          routing  `json:"P"`          // routing matrix (one for each class), from which visits follow
	Entry      table    `json:"entry"`      // with P, open: rates or probabilities of entry at each station; default the first
	M          numbers  `json:"m"`          // servers; default 1, -1 is a delay
	SCV        numbers  `json:"scv"`        // of service at each station; default 1
	Discipline []string `json:"discipline"` // PS (default) or FCFS for each station
	Method     Method   `json:"method"`
	Note       string   `json:"note"`
}

func (in *networkInputs) solve(r *Report) error {
	n, err := in.network()
	if err != nil {
		return err
	}
	o := Options{Method: in.Method}
	switch {
	case in.Method != "":
	case in.kind == "closed1" || in.kind == "closed":
		o.Method = MethodExact
	case in.kind == "approximate":
		o.Method = MethodLinearizer
	}
	if o.Method == MethodExact && !n.allProductForm() {
		o.Method = Auto
	}
	s, err := Solve(n, o)
	if errors.Is(err, ErrTooLarge) && in.Method == "" {
		r.note("%v; solved approximately", err)
		s, err = Solve(n, Options{})
	}
	if err != nil {
		return err
	}
	r.Method, r.Exact = s.Method, s.Exact
	return in.report(r, n, s)
}

func (in *networkInputs) classes() (int, error) {
	R := max(len(in.Lam), len(in.N))
	switch {
	case R == 0:
		return 0, errors.New("inputs: missing lam (open) or N (closed)")
	case in.Lam != nil && in.N != nil && len(in.Lam) != len(in.N):
		return 0, fmt.Errorf("inputs: %d arrival rates and %d populations", len(in.Lam), len(in.N))
	case in.kind == "open1" && (in.N != nil || R != 1), in.kind == "closed1" && (in.Lam != nil || R != 1):
		return 0, errors.New("inputs: the kind has one class; give lam (open) or N (closed) as one number")
	case in.kind == "open" && in.N != nil:
		return 0, errors.New("inputs: N in an open network")
	case (in.kind == "closed" || in.kind == "approximate") && in.Lam != nil:
		return 0, errors.New("inputs: lam in a closed network")
	case len(in.S) == 0:
		return 0, errors.New("inputs: missing S")
	}
	return R, nil
}

func (in *networkInputs) network() (*Network, error) {
	R, err := in.classes()
	if err != nil {
		return nil, err
	}
	K := len(in.S[0])
	if K > maxStations || R > maxClasses || K*R > maxCells {
		return nil, fmt.Errorf("inputs: %d stations x %d classes is too large", K, R)
	}
	n := &Network{Stations: make([]Station, K), Classes: make([]Class, R)}
	if in.M != nil && len(in.M) != K || in.SCV != nil && len(in.SCV) != K || in.Discipline != nil && len(in.Discipline) != K {
		return nil, fmt.Errorf("inputs: m, scv and discipline must have one value for each of the %d stations", K)
	}
	for k := range n.Stations {
		st := &n.Stations[k]
		if in.M != nil {
			if in.M[k] == -1 {
				st.Kind = Delay
			} else if st.Servers, err = whole(fmt.Sprintf("m of station %d", k+1), in.M[k], 1, maxServers); err != nil {
				return nil, err
			}
		}
		if in.SCV != nil {
			if st.SCV = in.SCV[k]; st.SCV == 0 {
				st.SCV = Deterministic
			}
		}
		if in.Discipline != nil {
			switch d := in.Discipline[k]; d {
			case "IS", "delay": // infinite servers
				st.Kind = Delay
			case "LCFS-PR": // for means the same as PS (Baskett, Chandy, Muntz and Palacios 1975)
				st.Discipline = PS
			default:
				st.Discipline = Discipline(d)
			}
		}
	}
	for r := range n.Classes {
		if err := in.class(&n.Classes[r], r, R, K); err != nil {
			return nil, fmt.Errorf("class #%d: %w", r+1, err)
		}
	}
	return n, n.Validate()
}

func (in *networkInputs) class(c *Class, r, R, K int) error {
	var err error
	if in.Lam != nil {
		c.Arrival = in.Lam[r]
	}
	if in.N != nil {
		if c.Population, err = whole("N", in.N[r], 0, maxPopulation); err != nil {
			return err
		}
	}
	if in.Z != nil {
		if len(in.Z) != R {
			return fmt.Errorf("%d think times for %d classes", len(in.Z), R)
		}
		c.Think = in.Z[r]
	}
	if len(in.S) != R && len(in.S) != 1 {
		return fmt.Errorf("inputs: S has %d rows for %d classes", len(in.S), R)
	}
	s := in.S[min(r, len(in.S)-1)]
	if c.Visits, err = in.visits(r, R, K, c.Population > 0); err != nil {
		return err
	}
	if len(s) != K || len(c.Visits) != K {
		return fmt.Errorf("%d service times and %d visits for %d stations", len(s), len(c.Visits), K)
	}
	c.Demands = make([]float64, K)
	for k := range s {
		if err := checkNonNegative(fmt.Sprintf("service time at station %d", k+1), s[k]); err != nil {
			return err
		}
		c.Demands[k] = s[k] * c.Visits[k]
	}
	return nil
}

func (in *networkInputs) visits(r, R, K int, closed bool) ([]float64, error) {
	if in.V != nil && in.P != nil {
		return nil, errors.New("both V and P are given")
	}
	if in.P == nil {
		if in.V == nil {
			v := make([]float64, K)
			for k := range v {
				v[k] = 1
			}
			return v, nil
		}
		if len(in.V) != R && len(in.V) != 1 {
			return nil, fmt.Errorf("inputs: V has %d rows for %d classes", len(in.V), R)
		}
		return append([]float64(nil), in.V[min(r, len(in.V)-1)]...), nil
	}
	if len(in.P) != R && len(in.P) != 1 {
		return nil, fmt.Errorf("inputs: P has %d matrices for %d classes", len(in.P), R)
	}
	p := in.P[min(r, len(in.P)-1)]
	if closed {
		return ClosedVisits(p, 0)
	}
	entry := make([]float64, len(p))
	if len(entry) > 0 {
		entry[0] = 1
	}
	if in.Entry != nil {
		if len(in.Entry) != R && len(in.Entry) != 1 {
			return nil, fmt.Errorf("entry has %d rows for %d classes", len(in.Entry), R)
		}
		row := in.Entry[min(r, len(in.Entry)-1)]
		total := sum(row)
		if err := checkPositive("sum of the entry rates", total); err != nil {
			return nil, err
		}
		entry = make([]float64, len(row))
		for i := range row {
			entry[i] = row[i] / total
		}
	}
	return OpenVisits(entry, p)
}

// whole is a JSON number that must be an integer in a range.
func whole(what string, x float64, lo, hi int) (int, error) {
	if x != float64(int(max(-1, min(x, float64(hi)+1)))) || x < float64(lo) || x > float64(hi) {
		return 0, fmt.Errorf("%s is %v, must be a whole number from %d to %d", what, x, lo, hi)
	}
	return int(x), nil
}

func (in *networkInputs) report(r *Report, n *Network, s *Solution) error {
	R, K := len(n.Classes), len(n.Stations)
	perStation, perVisit := matrix(R, K), matrix(R, K)
	for c := range R {
		for k := range K {
			v := n.Classes[c].Visits[k]
			perStation[c][k] = s.Throughput[c] * v
			if v > 0 {
				perVisit[c][k] = s.Residence[c][k] / v
			}
		}
	}
	r.set("Xc", s.Throughput)
	r.set("Rc", s.Response)
	r.set("StdDev", s.StdDev)
	for _, p := range []float64{0.5, 0.95, 0.99} {
		v := make([]float64, R)
		for c := range v {
			x, err := s.Percentile(c, p)
			if err != nil {
				return err
			}
			v[c] = x
		}
		r.set(fmt.Sprintf("Rc p%g", p*100), v)
	}
	r.set("Uk", s.StationUtilisation)
	r.set("Qk", s.StationQueueLength)
	if in.kind == "open1" || in.kind == "closed1" {
		r.set("U", s.Utilisation[0])
		r.set("Q", s.QueueLength[0])
		r.set("W", s.Residence[0])
		r.set("R", perVisit[0])
		r.set("X", perStation[0])
		return nil
	}
	r.set("U", s.Utilisation)
	r.set("Q", s.QueueLength)
	r.set("W", s.Residence) // over all visits of a request
	r.set("R", perVisit)    // of one visit
	r.set("X", perStation)
	return nil
}
