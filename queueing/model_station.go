package queueing

import (
	"errors"
	"fmt"
	"math"
)

// stationInputs are those of all kinds of single station. Rates and times share
// a unit of the author's choosing.
type stationInputs struct {
	model string

	Lam    *float64 `json:"lam"`    // arrival rate (of one source for the finite source)
	Mu     *float64 `json:"mu"`     // service rate of a server
	C      int      `json:"c"`      // servers; default 1
	K      int      `json:"K"`      // capacity, in service included
	N      int      `json:"N"`      // sources
	ES     *float64 `json:"ES"`     // mean service time, instead of mu
	SD     *float64 `json:"sd"`     // standard deviation of service
	SCV    *float64 `json:"scv"`    // or its squared coefficient of variation
	CA2    *float64 `json:"ca2"`    // SCV of the times between arrivals; default 1
	Method Wait     `json:"method"` // GI/G/c: Allen-Cunneen (default), Kimura, Kraemer-Langenbach-Belz
	TW     *float64 `json:"t_W"`    // report P(W > t_W)
	TWq    *float64 `json:"t_Wq"`
	NLE    *int     `json:"n_le"` // report P(N <= n_le)
	NLT    *int     `json:"n_lt"`
	NGE    *int     `json:"n_ge"`
	NGT    *int     `json:"n_gt"`
	NEQ    *int     `json:"n_eq"`
	Stages int      `json:"k"`       // M/E_k/1: stages
	Law    jsonLaw  `json:"service"` // in words, instead of mu or ES, where any law will do
	Source jsonLaw  `json:"arrivals"`
	Away   jsonLaw  `json:"vacation"`
	Theta  *float64 `json:"theta"`  // rate of abandoning, or of trying again
	A      *float64 `json:"a"`      // Erlangs offered, instead of lam and mu
	Target *float64 `json:"target"` // Erlang B and C: the probability not to exceed
	Policy Policy   `json:"policy"`
	Batch  *float64 `json:"batch"`     // mean batch size
	BatchV *float64 `json:"batch_var"` // its variance
	Again  *float64 `json:"feedback"`  // probability of another round
	P      numbers  `json:"percentiles"`
	Note   string   `json:"note"`
}

func (in *stationInputs) solve(r *Report) error {
	if in.classic() {
		return in.solveClassic(r)
	}
	if err := need(map[string]bool{"lam": in.Lam != nil, "mu or ES": in.Mu != nil || in.ES != nil}); err != nil {
		return err
	}
	if in.Mu != nil && in.ES != nil {
		return errors.New("inputs: both mu and ES are given")
	}
	if in.C == 0 {
		in.C = 1
	}
	mean, mu := 0.0, 0.0
	if in.ES != nil {
		if err := checkPositive("ES", *in.ES); err != nil {
			return err
		}
		mean, mu = *in.ES, 1 / *in.ES
	} else {
		if err := checkPositive("mu", *in.Mu); err != nil {
			return err
		}
		mean, mu = 1 / *in.Mu, *in.Mu
	}
	scv := 1.0
	switch {
	case in.SD != nil && in.SCV != nil:
		return errors.New("inputs: both sd and scv are given")
	case in.SD != nil:
		scv = *in.SD / mean * (*in.SD / mean)
	case in.SCV != nil:
		scv = *in.SCV
	}
	s, err := in.station(mean, mu, scv)
	if err != nil {
		return err
	}
	return in.report(r, s)
}

func (in *stationInputs) station(mean, mu, scv float64) (*Single, error) {
	switch in.model {
	case "M/M/1":
		if in.C != 1 {
			return nil, fmt.Errorf("inputs: c is %d; the kind for several servers is M/M/c", in.C)
		}
		return MM1(*in.Lam, mu)
	case "M/M/c":
		return MMc(*in.Lam, mu, in.C)
	case "M/M/c/K":
		return MMcK(*in.Lam, mu, in.C, in.K)
	case "Erlang loss":
		return MMcK(*in.Lam, mu, in.C, in.C)
	case "M/M/c//N":
		return MMcN(*in.Lam, mu, in.C, in.N)
	case "M/G/1":
		if in.SD != nil {
			if err := checkNonNegative("sd", *in.SD); err != nil {
				return nil, err
			}
		}
		law, err := Gamma(mean, scv)
		if err != nil {
			return nil, err
		}
		return MG1Law(*in.Lam, law)
	case "M/G/1-PS":
		return MG1PS(*in.Lam, mean, scv)
	}
	ca2 := 1.0
	if in.CA2 != nil {
		ca2 = *in.CA2
	}
	return GIGc(*in.Lam, mu, in.C, ca2, scv, in.Method)
}

func (in *stationInputs) report(r *Report, s *Single) error {
	r.Method, r.Exact = s.Model, s.Exact
	if s.Model != "M/G/inf" {
		r.set("U", s.Utilisation)
		if s.Servers == 1 || s.PLoss == 0 {
			r.set("rho", s.Arrival/s.Throughput*s.Utilisation)
		}
	}
	r.set("X", s.Throughput)
	r.set("P0", s.P0)
	r.set("Pwait", s.PWait)
	if in.K > 0 || in.model == "Erlang loss" {
		r.set("PK", s.PLoss)
		r.set("lam_eff", s.Throughput)
	}
	r.set("L", s.L)
	r.set("Lq", s.Lq)
	r.set("W", s.W)
	r.set("Wq", s.Wq)
	r.set("VarW", s.VarW)
	r.set("VarWq", s.VarWq)
	ps := in.P
	if len(ps) > 20 {
		return fmt.Errorf("inputs: %d percentiles, at most 20", len(ps))
	}
	if len(ps) == 0 {
		ps = numbers{0.5, 0.95, 0.99}
	}
	for _, p := range ps {
		x, err := s.PercentileW(p)
		if err != nil {
			return err
		}
		r.set(fmt.Sprintf("W p%g", p*100), x)
	}
	for _, p := range ps {
		x, err := s.PercentileWq(p)
		if err != nil {
			return err
		}
		r.set(fmt.Sprintf("Wq p%g", p*100), x)
	}
	if in.TW != nil {
		r.set("P_W_gt", s.TailW(*in.TW))
	}
	if in.TWq != nil {
		r.set("P_Wq_gt", s.TailWq(*in.TWq))
	}
	if in.NLE != nil {
		r.set("P_N_le", s.PAtMost(*in.NLE))
	}
	if in.NLT != nil {
		r.set("P_N_lt", s.PAtMost(*in.NLT-1))
	}
	if in.NGE != nil {
		r.set("P_N_ge", 1-s.PAtMost(*in.NGE-1))
	}
	if in.NGT != nil {
		r.set("P_N_gt", 1-s.PAtMost(*in.NGT))
	}
	if in.NEQ != nil {
		r.set("P_N_eq", s.PExactly(*in.NEQ))
	}
	return nil
}

type priorityInputs struct {
	preemptive bool

	Lam  numbers `json:"lam"` // by class, the most urgent first
	Mu   numbers `json:"mu"`  // one for all, or by class
	SCV  numbers `json:"scv"` // by class; default 1
	ES   numbers `json:"ES"`  // instead of mu
	C    int     `json:"c"`   // servers; more than one needs one mu and no scv
	Note string  `json:"note"`
}

func (in *priorityInputs) solve(r *Report) error {
	if in.ES != nil && in.Mu == nil {
		for _, x := range in.ES {
			if err := checkPositive("ES", x); err != nil {
				return err
			}
			in.Mu = append(in.Mu, 1/x)
		}
		in.ES = nil
	}
	if err := need(map[string]bool{"lam": in.Lam != nil, "mu (or ES)": in.Mu != nil && in.ES == nil}); err != nil {
		return err
	}
	var out []Single
	var err error
	if in.C > 1 {
		if len(in.Mu) != 1 || in.SCV != nil {
			return errors.New("inputs: several servers need one mu for all classes and exponential service")
		}
		out, err = PriorityMMc(in.Lam, in.Mu[0], in.C, in.preemptive)
	} else {
		classes := make([]PriorityClass, len(in.Lam))
		if len(in.Mu) != 1 && len(in.Mu) != len(classes) || in.SCV != nil && len(in.SCV) != 1 && len(in.SCV) != len(classes) {
			return errors.New("inputs: mu and scv must be one number or one for each class")
		}
		for i, l := range in.Lam {
			mu := in.Mu[min(i, len(in.Mu)-1)]
			if err := checkPositive("mu", mu); err != nil {
				return err
			}
			classes[i] = PriorityClass{Arrival: l, Service: 1 / mu, SCV: 1}
			if in.SCV != nil {
				classes[i].SCV = in.SCV[min(i, len(in.SCV)-1)]
			}
		}
		out, err = Priority(classes, in.preemptive)
	}
	if err != nil {
		return err
	}
	r.Method, r.Exact = out[0].Model, out[0].Exact
	for _, m := range []struct {
		name string
		get  func(*Single) float64
	}{
		{"U", func(s *Single) float64 { return s.Utilisation }},
		{"L", func(s *Single) float64 { return s.L }},
		{"Lq", func(s *Single) float64 { return s.Lq }},
		{"W", func(s *Single) float64 { return s.W }},
		{"Wq", func(s *Single) float64 { return s.Wq }},
		{"VarW", func(s *Single) float64 { return s.VarW }},
		{"VarWq", func(s *Single) float64 { return s.VarWq }},
		{"W p50", percentileOf(0.5)},
		{"W p95", percentileOf(0.95)},
		{"W p99", percentileOf(0.99)},
	} {
		v := make([]float64, len(out))
		for i := range out {
			v[i] = m.get(&out[i])
		}
		r.set(m.name, v)
	}
	return nil
}

func percentileOf(p float64) func(*Single) float64 {
	return func(s *Single) float64 {
		if math.IsNaN(s.VarW) {
			return math.NaN()
		}
		v, err := s.PercentileW(p)
		if err != nil {
			return math.NaN()
		}
		return v
	}
}
