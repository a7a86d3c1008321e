package queueing

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
)

// stationKinds are the kinds of single station and the inputs that each takes.
func stationKinds() []modelKind {
	const (
		asked   = " t_W t_Wq n_le n_lt n_ge n_gt n_eq percentiles note"
		service = "lam mu ES sd scv service"
	)
	var kinds []modelKind
	add := func(name, model, fields string) {
		kinds = append(kinds, modelKind{name: name, make: func() modelInputs { return &stationInputs{model: model} }, fields: strings.Fields(fields + asked)})
	}
	add("M/M/1", "M/M/1", "lam mu ES c")
	add("M/M/c", "M/M/c", "lam mu ES c")
	add("M/M/1/K", "M/M/1/K", "lam mu ES K c")
	add("M/M/c/K", "M/M/c/K", "lam mu ES c K")
	add("M/M/c//N", "M/M/c//N", "lam mu ES c N")
	add("M/M/c//N (finite source)", "M/M/c//N", "lam mu ES c N")
	add("machine repair", "M/M/c//N", "lam mu ES c N")
	add("M/M/inf", "M/M/inf", "lam mu ES")
	add("M/G/inf", "M/G/inf", service)
	add("M/D/1", "M/D/1", "lam mu ES")
	add("M/D/c", "M/D/c", "lam mu ES c")
	add("M/E_k/1", "M/E_k/1", "lam mu ES k")
	add("M/H2/1", "M/H2/1", service)
	add("M/G/1", "M/G/1", "lam mu ES sd scv")
	add("M/G/1 (service law)", "M/G/1 law", service)
	add("M/G/1-PS", "M/G/1-PS", "lam mu ES sd scv")
	add("M/G/1 scheduling", "M/G/1 scheduling", service+" policy")
	add("M/G/1 with vacations", "M/G/1 with vacations", service+" vacation")
	add("M/G/1 retrial", "M/G/1 retrial", service+" theta")
	add("M/M/1 with feedback", "M/M/1 with feedback", "lam mu ES feedback")
	add("M/G/c", "GI/G/c", "lam mu ES c sd scv ca2 method")
	add("GI/G/c", "GI/G/c", "lam mu ES c sd scv ca2 method")
	add("GI/G/1", "GI/G/c", "lam mu ES c sd scv ca2 method")
	add("GI/M/1", "GI/M/c", "arrivals mu ES")
	add("GI/M/c", "GI/M/c", "arrivals mu ES c")
	add("M^X/M/1 batch arrivals", "M^X/M/1", "lam mu ES batch batch_var")
	add("M/M^[K]/1 bulk service", "M/M^[K]/1", "lam mu ES K")
	add("M/M/c with abandonment (Erlang A)", "Erlang A", "lam mu ES c theta")
	add("M/M/1 tail probabilities", "M/M/c", "lam mu ES c")
	add("M/M/c tail probabilities", "M/M/c", "lam mu ES c")
	add("Erlang loss", "Erlang loss", "lam mu ES c")
	add("Erlang B", "Erlang B", "lam mu ES a c target")
	add("Erlang C", "Erlang C", "lam mu ES a c target")
	add("Engset loss", "Engset", "lam mu ES c N")
	return kinds
}

// jsonLaw is a law in words, as in polling models: "erlang-2 mean .5"; the words a, b bound a uniform, and p, m1, m2 give a
// hyperexponential its branches.
type jsonLaw struct{ law *Law }

func (j *jsonLaw) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("a law is a text such as \"erlang-2 mean .5\": %w", err)
	}
	l, err := ParseLaw(text)
	j.law = l
	return err
}

// ParseLaw reads a law in words: exp, det, erlang-k, gamma, hyperexp and uniform, each followed by names and numbers, as in
// "exp mean 1", "gamma mean 1 scv .5", "hyperexp p .9 m1 1 m2 10", "hyperexp mean 1 scv 4", "uniform a 1 b 3".
func ParseLaw(text string) (*Law, error) {
	words := strings.Fields(text)
	if len(words) > 0 {
		name := words[0]
		given := map[string]float64{}
		for i := 1; i+1 < len(words); i += 2 {
			var x float64
			if _, err := fmt.Sscan(words[i+1], &x); err != nil {
				return nil, fmt.Errorf("law %q: %s is not a number", text, words[i+1])
			}
			given[words[i]] = x
		}
		has := func(names ...string) bool {
			for _, n := range names {
				if _, ok := given[n]; !ok {
					return false
				}
			}
			return len(given) == len(names) && len(words) == 1+2*len(names)
		}
		switch {
		case name == "uniform" && has("a", "b"):
			return Uniform(given["a"], given["b"])
		case name == "hyperexp" && has("p", "m1", "m2"):
			return Hyperexponential(given["p"], given["m1"], given["m2"])
		case name == "uniform":
			return nil, fmt.Errorf("law %q: a uniform is like \"uniform a 1 b 3\"", text)
		case name == "hyperexp" && has("mean", "scv"):
			return BalancedHyperexponential(given["mean"], given["scv"])
		}
	}
	d, err := parseDistribution(text)
	if err != nil {
		return nil, err
	}
	return Gamma(d.mean, d.scv)
}

// classic says whether the kind is one of those that solveClassic knows.
func (in *stationInputs) classic() bool {
	switch in.model {
	case "M/M/1", "M/M/c", "M/M/c/K", "Erlang loss", "M/M/c//N", "M/G/1", "M/G/1-PS", "GI/G/c":
		return false
	}
	return true
}

// serviceLaw is the service law from the words, or from mean and SCV as a gamma law (H2: balanced hyperexponential).
func (in *stationInputs) serviceLaw() (*Law, error) {
	given := 0
	for _, ok := range []bool{in.Law.law != nil, in.Mu != nil, in.ES != nil} {
		if ok {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("inputs: give one of mu, ES and service")
	}
	if in.Law.law != nil {
		if in.SD != nil || in.SCV != nil {
			return nil, errors.New("inputs: service says its own variance, drop sd and scv")
		}
		return in.Law.law, nil
	}
	mean := 0.0
	if in.ES != nil {
		mean = *in.ES
	} else {
		if err := checkPositive("mu", *in.Mu); err != nil {
			return nil, err
		}
		mean = 1 / *in.Mu
	}
	if err := checkPositive("ES", mean); err != nil {
		return nil, err
	}
	scv := 1.0
	switch {
	case in.SD != nil && in.SCV != nil:
		return nil, errors.New("inputs: both sd and scv are given")
	case in.SD != nil:
		if err := checkNonNegative("sd", *in.SD); err != nil {
			return nil, err
		}
		scv = *in.SD / mean * (*in.SD / mean)
	case in.SCV != nil:
		scv = *in.SCV
	}
	if in.model == "M/H2/1" {
		return BalancedHyperexponential(mean, scv)
	}
	return Gamma(mean, scv)
}

func (in *stationInputs) solveClassic(r *Report) error {
	if in.model == "Erlang B" || in.model == "Erlang C" {
		return in.erlang(r)
	}
	if in.Lam == nil && in.model != "GI/M/c" {
		return need(map[string]bool{"lam": false})
	}
	service, err := in.serviceLaw()
	if err != nil {
		return err
	}
	if in.C == 0 {
		in.C = 1
	}
	s, err := in.classicStation(service, r)
	if err != nil {
		return err
	}
	if err := in.report(r, s); err != nil {
		return err
	}
	if in.model == "Erlang A" {
		r.set("P_abandon", s.PLoss)
	}
	return nil
}

func (in *stationInputs) classicStation(service *Law, r *Report) (*Single, error) {
	mean, mu := service.M1, 1/service.M1
	switch in.model {
	case "M/M/1/K":
		if in.C != 1 {
			return nil, fmt.Errorf("inputs: c is %d; the kind for several servers is M/M/c/K", in.C)
		}
		return MMcK(*in.Lam, mu, 1, in.K)
	case "M/M/inf":
		return MGInf(*in.Lam, mean, 1)
	case "M/G/inf":
		return MGInf(*in.Lam, mean, service.SCV())
	case "M/D/1":
		return MD1(*in.Lam, mu)
	case "M/D/c":
		return MDc(*in.Lam, mu, in.C)
	case "M/E_k/1":
		law, err := Erlang(mean, max(in.Stages, 0))
		if err != nil {
			return nil, fmt.Errorf("inputs: k: %w", err)
		}
		return named(fmt.Sprintf("M/E_%d/1", in.Stages))(MG1Law(*in.Lam, law))
	case "M/H2/1", "M/G/1 law":
		return named("M/G/1, " + service.Name)(MG1Law(*in.Lam, service))
	case "M/G/1 scheduling":
		return MG1Scheduled(*in.Lam, service, in.Policy)
	case "M/G/1 with vacations":
		if in.Away.law == nil {
			return nil, need(map[string]bool{"vacation": false})
		}
		return MG1Vacations(*in.Lam, service, in.Away.law)
	case "M/G/1 retrial":
		if in.Theta == nil {
			return nil, need(map[string]bool{"theta": false})
		}
		return MG1Retrial(*in.Lam, service, *in.Theta)
	case "M/M/1 with feedback":
		return in.feedback(mu)
	case "GI/M/c":
		if in.Source.law == nil {
			return nil, need(map[string]bool{"arrivals": false})
		}
		return GIMc(in.Source.law, mu, in.C)
	case "M^X/M/1":
		size, variance := 1.0, 0.0
		if in.Batch != nil {
			size = *in.Batch
		}
		if in.BatchV != nil {
			variance = *in.BatchV
		}
		return MXM1(*in.Lam, mu, size, size*size+variance)
	case "M/M^[K]/1":
		return MMBulk(*in.Lam, mu, in.K)
	case "Erlang A":
		if in.Theta == nil {
			return nil, need(map[string]bool{"theta": false})
		}
		return MMcAbandon(*in.Lam, mu, *in.Theta, in.C)
	case "Engset":
		s, busy, err := Engset(*in.Lam, mu, in.C, in.N)
		if err == nil {
			r.set("PK", s.PLoss)
			r.set("time_congestion", busy)
		}
		return s, err
	}
	return nil, fmt.Errorf("kind %s is not known", in.model)
}

// named gives an answer another name.
func named(model string) func(*Single, error) (*Single, error) {
	return func(s *Single, err error) (*Single, error) {
		if err == nil {
			s.Model = model
		}
		return s, err
	}
}

// feedback is M/M/1 whose customers come back with a probability: a geometric number of rounds, each with a new place in line
// (Jackson 1957). W is over all rounds; only its mean is known here.
func (in *stationInputs) feedback(mu float64) (*Single, error) {
	p := 0.0
	if in.Again != nil {
		p = *in.Again
	}
	if math.IsNaN(p) || p < 0 || p >= 1 {
		return nil, fmt.Errorf("inputs: feedback is %v, must be 0 or more and below 1", p)
	}
	s, err := MM1(*in.Lam/(1-p), mu)
	if err != nil {
		return nil, err
	}
	rounds := 1 / (1 - p)
	s.Model, s.Arrival, s.Throughput = "M/M/1 with feedback", *in.Lam, *in.Lam
	s.W, s.Wq = s.W*rounds, s.Wq*rounds
	if p > 0 {
		s.VarW, s.VarWq, s.tailW, s.tailWq = math.NaN(), math.NaN(), unknownTail, unknownTail
	}
	return s, nil
}

func (in *stationInputs) erlang(r *Report) error {
	a := 0.0
	switch {
	case in.A != nil && in.Lam == nil && in.Mu == nil && in.ES == nil:
		a = *in.A
	case in.A == nil && in.Lam != nil && (in.Mu != nil) != (in.ES != nil):
		if in.Mu != nil {
			if err := checkPositive("mu", *in.Mu); err != nil {
				return err
			}
			a = *in.Lam / *in.Mu
		} else {
			a = *in.Lam * *in.ES
		}
	default:
		return errors.New("inputs: give a, or lam and mu (or ES)")
	}
	wait := in.model == "Erlang C"
	c := in.C
	if in.Target != nil {
		if c != 0 {
			return errors.New("inputs: give c or target, not both")
		}
		var err error
		if c, err = ErlangServers(a, *in.Target, wait); err != nil {
			return err
		}
	}
	get := ErlangB
	if wait {
		get = ErlangC
	}
	p, err := get(c, a)
	if err != nil {
		return err
	}
	r.Method, r.Exact = in.model, true
	r.set("a", a)
	r.set("c", float64(c))
	if wait {
		r.set("C", p)
		r.set("Pwait", p)
		r.set("U", a/float64(c))
		return nil
	}
	r.set("B", p)
	r.set("PK", p)
	r.set("U", a*(1-p)/float64(c))
	return nil
}
