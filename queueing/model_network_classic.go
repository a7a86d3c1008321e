package queueing

import (
	"errors"
	"fmt"
	"math"
)

// classicKinds are the kinds of network that are stated by rates and probabilities, as in textbooks, and loss networks.
func classicKinds() []modelKind {
	return []modelKind{
		{name: "open Jackson network", make: func() modelInputs { return &jacksonInputs{} }},
		{name: "tandem queues", make: func() modelInputs { return &jacksonInputs{tandem: true} }, fields: []string{"lam", "mu", "m", "note"}},
		{name: "closed Gordon-Newell network (convolution)", make: func() modelInputs { return &gordonNewellInputs{} }},
		{name: "closed network load-dependent MVA", make: func() modelInputs { return &gordonNewellInputs{dependent: true} }},
		{name: "BCMP network", make: func() modelInputs { return &networkInputs{kind: "mixed"} }},
		{name: "loss network", make: func() modelInputs { return &lossInputs{} }},
		{name: "Kaufman-Roberts", make: func() modelInputs { return &lossInputs{} }},
		{name: "fork-join queue (open)", make: func() modelInputs { return &forkJoinOpenInputs{} }},
		{name: "TTL cache hit ratio", make: func() modelInputs { return &ttlInputs{} }},
	}
}

// jacksonInputs are those of open Jackson networks: outside arrivals, rates, routing.
type jacksonInputs struct {
	tandem bool

	Lam  numbers     `json:"lam"` // from outside, to each station; one number: to the first
	Mu   numbers     `json:"mu"`  // of a server
	M    numbers     `json:"m"`   // servers; default 1, -1 is a delay
	P    [][]float64 `json:"P"`
	Note string      `json:"note"`
}

func (in *jacksonInputs) solve(r *Report) error {
	K := len(in.Mu)
	if err := need(map[string]bool{"lam": len(in.Lam) > 0, "mu": K > 0, "P": in.tandem || in.P != nil}); err != nil {
		return err
	}
	if K > maxRouting {
		return fmt.Errorf("inputs: %d stations, at most %d", K, maxRouting)
	}
	p := in.P
	if in.tandem {
		p = matrix(K, K)
		for k := range K - 1 {
			p[k][k+1] = 1
		}
	}
	entry := make([]float64, K)
	if len(in.Lam) == 1 {
		entry[0] = in.Lam[0]
	} else if copy(entry, in.Lam); len(in.Lam) != K {
		return fmt.Errorf("inputs: lam has %d values for %d stations", len(in.Lam), K)
	}
	for k, x := range entry {
		if err := checkNonNegative(fmt.Sprintf("lam of station %d", k+1), x); err != nil {
			return err
		}
	}
	total := sum(entry)
	if total <= 0 {
		return errors.New("inputs: lam is zero at every station")
	}
	for k := range entry {
		entry[k] /= total
	}
	visits, err := OpenVisits(entry, p)
	if err != nil {
		return err
	}
	service := make([]float64, K)
	for k, mu := range in.Mu {
		if err := checkPositive(fmt.Sprintf("mu of station %d", k+1), mu); err != nil {
			return err
		}
		service[k] = 1 / mu
	}
	net := networkInputs{kind: "open1", Lam: numbers{total}, S: table{service}, V: table{visits}, M: in.M}
	if err := net.solve(r); err != nil {
		return err
	}
	r.Method = "Jackson's product form"
	idle, wait, line := make([]float64, K), make([]float64, K), make([]float64, K)
	rates, perVisit := r.Values["X"].([]float64), r.Values["R"].([]float64)
	length, mean := r.Values["Q"].([]float64), r.Values["Xc"].([]float64)[0]
	for k := range K {
		c := 1
		if in.M != nil {
			c = int(in.M[k])
		}
		idle[k] = math.Exp(-rates[k] * service[k])
		if c > 0 {
			s, err := MMc(rates[k], in.Mu[k], c)
			if err != nil {
				return err
			}
			idle[k] = s.P0
		}
		wait[k] = perVisit[k] - service[k]
		if visits[k] == 0 {
			wait[k] = 0
		}
		line[k] = rates[k] * wait[k]
	}
	r.set("lambda", rates)
	r.set("rho", r.Values["U"])
	r.set("P0", idle)
	r.set("L", length)
	r.set("Lq", line)
	r.set("Wk", perVisit)
	r.set("Wq", wait)
	r.set("L_total", sum(length))
	r.set("W_total", sum(length)/mean)
	return nil
}

// gordonNewellInputs are those of closed networks of one class by rates.
type gordonNewellInputs struct {
	dependent bool

	N    int         `json:"N"`
	Mu   table       `json:"mu"` // of a server; load-dependent: for each station the rate with 1, 2, ... present, the last for more
	S    numbers     `json:"S"`  // or service times
	M    numbers     `json:"m"`  // servers; default 1, -1 is a delay
	P    [][]float64 `json:"P"`
	V    numbers     `json:"V"` // instead of P
	Z    float64     `json:"Z"`
	Note string      `json:"note"`
}

func (in *gordonNewellInputs) solve(r *Report) error {
	if err := need(map[string]bool{"N": in.N > 0, "mu or S": in.Mu != nil || in.S != nil}); err != nil {
		return err
	}
	if in.S != nil && in.Mu != nil || in.V != nil && in.P != nil {
		return errors.New("inputs: give one of mu and S, and one of V and P")
	}
	rates, err := in.rates()
	if err != nil {
		return err
	}
	K := len(rates)
	visits := []float64(in.V)
	if in.P != nil {
		if visits, err = ClosedVisits(in.P, 0); err != nil {
			return err
		}
	}
	if visits == nil {
		visits = make([]float64, K)
		for k := range visits {
			visits[k] = 1
		}
	}
	s, err := ClosedLoadDependent(in.N, in.Z, visits, rates)
	if err != nil {
		return err
	}
	r.Method, r.Exact = "convolution (Buzen)", true
	r.set("Xc", s.Throughput)
	r.set("Rc", float64(in.N)/s.Throughput-in.Z)
	x, resp := make([]float64, K), make([]float64, K)
	for k := range K {
		x[k] = s.Throughput * visits[k]
		if x[k] > 0 {
			resp[k] = s.QueueLength[k] / x[k]
		}
	}
	r.set("X", x)
	r.set("lambda", x)
	r.set("U", s.Busy)
	r.set("Q", s.QueueLength)
	r.set("L", s.QueueLength)
	r.set("R", resp)
	r.set("P0", s.Idle)
	r.set("log_G", s.LogG)
	r.set("G", math.Exp(s.LogG))
	if in.N <= 100 {
		r.set("marginal", s.Marginal)
	}
	return nil
}

// rates are the service rates of each station with 1, 2, ... present, the last for more.
func (in *gordonNewellInputs) rates() ([][]float64, error) {
	var out [][]float64
	if in.dependent {
		if in.M != nil || in.S != nil {
			return nil, errors.New("inputs: the rates mu say all of a load-dependent station, drop m and S")
		}
		return in.Mu, nil
	}
	one := []float64(in.S)
	if in.Mu != nil {
		if len(in.Mu) != 1 {
			return nil, errors.New("inputs: mu is one list; rates that depend on the load are kind \"closed network load-dependent MVA\"")
		}
		one = in.Mu[0]
	}
	if in.M != nil && len(in.M) != len(one) {
		return nil, fmt.Errorf("inputs: m has %d values for %d stations", len(in.M), len(one))
	}
	if in.N > 20_000 {
		return nil, fmt.Errorf("inputs: population %d, at most 20000 by convolution; kind \"closed single-class exact MVA\" takes more", in.N)
	}
	for k, mu := range one {
		if err := checkPositive(fmt.Sprintf("rate or time of station %d", k+1), mu); err != nil {
			return nil, err
		}
		if in.S != nil {
			mu = 1 / mu
		}
		c := 1
		if in.M != nil {
			var err error
			if c, err = whole(fmt.Sprintf("m of station %d", k+1), in.M[k], -1, maxServers); err != nil || c == 0 {
				return nil, fmt.Errorf("inputs: m of station %d must be 1 or more, or -1 for a delay", k+1)
			}
			if c == -1 {
				c = in.N
			}
		}
		row := make([]float64, c)
		for j := range row {
			row[j] = mu * float64(j+1)
		}
		out = append(out, row)
	}
	return out, nil
}

// lossInputs are those of loss networks; a single link may give its capacity and units as numbers.
type lossInputs struct {
	Capacity numbers `json:"capacity"`
	A        numbers `json:"a"`   // Erlangs of each class; or
	Lam      numbers `json:"lam"` // rates and
	Mu       numbers `json:"mu"`  // one over holding times, one for all or for each class
	Units    table   `json:"b"`   // rows classes, columns links; one link: a list over classes
	Note     string  `json:"note"`
}

func (in *lossInputs) solve(r *Report) error {
	if err := need(map[string]bool{"capacity": in.Capacity != nil, "b": in.Units != nil, "a or lam": in.A != nil || in.Lam != nil}); err != nil {
		return err
	}
	load := []float64(in.A)
	if in.Lam != nil {
		if in.A != nil || len(in.Mu) != 1 && len(in.Mu) != len(in.Lam) {
			return errors.New("inputs: give a, or lam and mu (one, or one for each class)")
		}
		for i, l := range in.Lam {
			mu := in.Mu[min(i, len(in.Mu)-1)]
			if err := checkPositive("mu", mu); err != nil {
				return err
			}
			load = append(load, l/mu)
		}
	}
	capacity := make([]int, len(in.Capacity))
	for l, c := range in.Capacity {
		var err error
		if capacity[l], err = whole(fmt.Sprintf("capacity of link %d", l+1), c, 1, maxCapacity); err != nil {
			return err
		}
	}
	units := in.Units
	if len(capacity) == 1 && len(units) == 1 && len(units[0]) == len(load) {
		row := units[0]
		units = nil
		for _, b := range row {
			units = append(units, []float64{b})
		}
	}
	if len(units) != len(load) {
		return fmt.Errorf("inputs: b has %d rows for %d classes", len(units), len(load))
	}
	classes := make([]LossClass, len(load))
	for i := range classes {
		classes[i].Load = load[i]
		for l, b := range units[i] {
			u, err := whole(fmt.Sprintf("b of class %d at link %d", i+1, l+1), b, 0, maxCapacity)
			if err != nil {
				return err
			}
			classes[i].Units = append(classes[i].Units, u)
		}
	}
	blocking, exact, err := LossNetwork(capacity, classes)
	if err != nil {
		return err
	}
	r.Method, r.Exact = "Erlang fixed point", exact
	carried := make([]float64, len(load))
	for i := range carried {
		carried[i] = load[i] * (1 - blocking[i])
	}
	if exact {
		r.Method = "Kaufman-Roberts"
	}
	r.set("B", blocking)
	r.set("carried", carried)
	used := make([]float64, len(capacity))
	for i := range classes {
		for l, u := range classes[i].Units {
			used[l] += carried[i] * float64(u) / float64(capacity[l])
		}
	}
	r.set("U", used)
	return nil
}

type forkJoinOpenInputs struct {
	Lam    *float64       `json:"lam"`
	Mu     *float64       `json:"mu"`
	N      int            `json:"n"`      // branches
	Method ForkJoinMethod `json:"method"` // Nelson-Tantawi (default), Varma-Makowski
	Note   string         `json:"note"`
}

func (in *forkJoinOpenInputs) solve(r *Report) error {
	if err := need(map[string]bool{"lam": in.Lam != nil, "mu": in.Mu != nil, "n": in.N > 0}); err != nil {
		return err
	}
	x, lower, upper, exact, err := ForkJoinOpen(*in.Lam, *in.Mu, in.N, in.Method)
	if err != nil {
		return err
	}
	r.Method, r.Exact = "fork-join queue, "+string(in.Method), exact
	switch {
	case exact:
		r.Method = "fork-join queue, Flatto-Hahn"
	case in.Method == "":
		r.Method += string(NelsonTantawi)
	}
	r.set("R", x)
	r.set("R_lower", lower)
	r.set("R_upper", upper)
	r.set("U", *in.Lam / *in.Mu)
	return nil
}

type ttlInputs struct {
	Rate  numbers  `json:"rate"` // requests a second of each object, Poisson
	TTL   *float64 `json:"ttl"`
	Reset bool     `json:"reset"` // a hit starts the time anew
	Note  string   `json:"note"`
}

func (in *ttlInputs) solve(r *Report) error {
	if err := need(map[string]bool{"rate": len(in.Rate) > 0, "ttl": in.TTL != nil}); err != nil {
		return err
	}
	each, all, held, err := TTLHits(in.Rate, *in.TTL, in.Reset)
	if err != nil {
		return err
	}
	r.Method, r.Exact = "renewals of a TTL cache", true
	r.set("hit", all)
	r.set("miss", 1-all)
	r.set("objects", held)
	if len(each) <= 100 {
		r.set("hits", each)
	}
	return nil
}
