package plan

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// bound is the adaptive bound of a service that all routes of the load lead to: with its requests, those that it makes in turn
// are bounded too. Below it nothing changes. What comes while it is full is refused, so that throughput levels off at what is
// held and latency at what a full service takes. By Norton's theorem (Chandy, Herzog and Woo 1975) all that is behind the bound
// is one station, whose rate with n requests in it is the throughput of n that circulate without a pause; the number of requests
// in it is a birth-death chain that ends at the bound.
type bound struct {
	service string
	cfg     topology.Adaptive
}

// What is taken of the bound, and when its presence makes a difference.
const (
	boundWindows = 60    // seconds of the load, from a start, after which the bound is looked at
	fewRefused   = 0.001 // share below which latencies are those without a bound
	levelled     = 1e-4  // growth of the throughput by a half more requests, as a share, from which on more add nothing
	neverReached = 1e-6  // chance of a full service, by the geometric tail of the number in line, below which it is not looked at
)

// findBound finds the bound that holds for the whole load. What else is bounded is left out of the closed form: a bound between
// services turns into failures of their callers, and one that some routes are spared shares the machine with what it does not bound.
func (m *model) findBound(sys *topology.System) {
	var to []*topology.Adaptive
	inner := false
	names := map[string]bool{}
	for _, name := range m.routes {
		route := sys.RouteByName(name)
		shares := route.Shares(false)
		for _, s := range shares {
			names[s.Service] = true
		}
		if len(shares) != 1 || route.Canary != nil {
			names[""] = true
		}
		to = append(to, route.Adaptive)
		for caller := range m.demands[name] {
			if svc := sys.Services[caller]; svc != nil {
				for _, used := range svc.Uses {
					callee := sys.Services[used]
					_, visited := m.demands[name][used]
					inner = inner || visited && callee != nil && callee.Inbound.Adaptive != nil
				}
			}
		}
	}
	some := slices.ContainsFunc(to, func(a *topology.Adaptive) bool { return a != nil })
	alike := !slices.ContainsFunc(to, func(a *topology.Adaptive) bool { return a == nil || *a != *to[0] })
	if some && alike && len(names) == 1 && !names[""] {
		for name := range names {
			m.bound = &bound{service: name, cfg: *to[0]}
		}
	}
	if inner || some && m.bound == nil {
		m.leaveOut("adaptive")
		m.notes = append(m.notes, "adaptive is modelled where one service with one setting answers the whole load, and not between services: the rest of it is left out; 'banyan simulate' knows it")
	}
}

// BoundPrediction is what becomes of a load at the adaptive bound of the service that answers it.
type BoundPrediction struct {
	Service string `json:"service"`
	// Limit is where the bound stands after a minute of this load. While more is offered than is held it creeps on, up to Max, with
	// what it takes for the usual latency.
	Limit int `json:"limit"`
	Max   int `json:"max"`
	// InFlight requests on average.
	InFlight float64 `json:"in_flight"`
	// Offered requests a second, and the share of them that is refused (503). The rest is the prediction's throughput.
	Offered float64 `json:"offered"`
	Refused float64 `json:"refused"`
}

// chain is the number of requests behind a bound: its mean, the rate at which they are answered, the rate at which others are
// refused, and the most that are there at once in a second.
type chain struct {
	mean, answered, refused float64
	most                    int64
}

// bounded looks at a load with the bound, and leaves in s the latencies of what is answered if more than a few are refused. x is what is
// answered without it, if all of it is: otherwise ok is false. It returns what is answered with it.
func (s *steady) bounded(load Load, x float64, ok bool, p *Prediction) (float64, error) {
	b := s.bound
	p.Bound = &BoundPrediction{Service: b.service, Limit: b.cfg.Initial, Max: b.cfg.Max, Offered: x}
	if ok {
		p.Bound.InFlight = x * s.latency()
	}
	least := min(b.cfg.Min, b.cfg.Initial)
	if load.Users > 0 && load.Users <= least {
		return x, nil // they cannot fill it
	}
	if used, _ := s.mostUsed(x); ok && used < 1 && math.Pow(used, float64(least)-p.Bound.InFlight) < neverReached {
		return x, nil
	}
	at, limit, err := s.fill(load)
	if err != nil {
		return 0, fmt.Errorf("the adaptive bound of %s: %w", b.service, err)
	}
	p.Bound.Limit, p.Bound.Offered = int(limit), at.answered+at.refused
	p.Bound.Refused = at.refused / max(p.Bound.Offered, 1e-300)
	if ok && p.Bound.Refused < fewRefused {
		s.turned = 0
		p.Bound.Refused = 0
		_, _, err := s.unbounded(load)
		return x, err
	}
	p.Bound.InFlight = at.mean
	p.Method = s.method(fmt.Sprintf("closed network behind a bound of %d requests", limit))
	// The latencies of as many as there are on average; what is between that and Little's law is the spread of their number.
	s.packed = true
	_, err = s.closed(int(max(math.Round(at.mean), 1)), 0)
	s.packed = false
	if err != nil {
		return 0, err
	}
	f := at.mean / at.answered / max(s.latency(), 1e-12)
	for i := range s.routes {
		s.mean[i] *= f
		s.variance[i] *= f * f
		s.odd[i].mean *= f
		s.odd[i].variance *= f * f
	}
	return at.answered, nil
}

// fill finds the chain behind the bound, and the bound. Refusing costs CPU time too, which what is answered is short of: from none
// refused on, each round refuses more, by ever less, for an answer costs more.
func (s *steady) fill(load Load) (c chain, limit int64, err error) {
	s.turned = 0
	for range 20 {
		rate, err := s.filled(s.bound.cfg.Max)
		if err != nil {
			return c, 0, err
		}
		at := func(limit int64) chain {
			var found chain
			if found, err = s.chain(load, int(limit), rate); err != nil {
				return chain{mean: 1, answered: 1}
			}
			return found
		}
		limit = policy.Foresee(s.bound.cfg, boundWindows, func(limit int64) (time.Duration, int64) {
			c := at(limit)
			return seconds(c.mean / max(c.answered, 1e-9)), c.most
		})
		if c = at(limit); err != nil {
			return c, 0, err
		}
		if math.Abs(c.refused-s.turned) <= 1e-3*(c.answered+c.refused) {
			break
		}
		s.turned = c.refused
	}
	return c, limit, nil
}

// filled is the throughput of n requests that circulate behind the bound, for n up to most: solved at a few, which are farther
// apart where it changes less, and straight between them.
func (s *steady) filled(most int) (func(n int) float64, error) {
	var at []int
	for n := 1; n < most; n += max(1, n/2) {
		at = append(at, n)
	}
	at = append(at, most)
	rates := make([]float64, most+1)
	for i, n := range at {
		if i > 1 && rates[at[i-1]] < (1+levelled)*rates[at[i-2]] {
			rates[n] = rates[at[i-1]]
		} else {
			x, err := s.closed(n, 0)
			if err != nil {
				return nil, err
			}
			rates[n] = max(x, 1e-9)
		}
		if i > 0 {
			for k := at[i-1] + 1; k < n; k++ {
				f := float64(k-at[i-1]) / float64(n-at[i-1])
				rates[k] = rates[at[i-1]]*(1-f) + rates[n]*f
			}
		}
	}
	return func(n int) float64 { return rates[n] }, nil
}

// chain solves the number of requests behind a bound. Users who are refused think, and come back.
func (s *steady) chain(load Load, limit int, rate func(n int) float64) (chain, error) {
	total := load.Total()
	arrive := func(int) float64 { return total }
	if load.Users > 0 {
		think := max(load.Think.Seconds(), s.refusal(), 1e-5) // no pause is shorter than being refused
		limit = min(limit, load.Users)
		arrive = func(n int) float64 { return float64(load.Users-n) / think }
	}
	p, err := queueing.BirthDeath(limit, arrive, rate)
	if err != nil {
		return chain{}, err
	}
	var c chain
	for n, share := range p {
		c.mean += float64(n) * share
		if n > 0 {
			c.answered += share * rate(n)
			if share*rate(n) >= 1 { // reached once a second
				c.most = int64(n)
			}
		}
	}
	// Answers of the gateway's cache come from before the bound.
	c.refused = p[limit] * arrive(limit) * s.behind()
	c.answered += p[limit] * arrive(limit) * (1 - s.behind())
	return c, nil
}

// calms reports whether the bound keeps calls from running into these time-outs: then there is nothing that would be tried again.
func (b *bound) calms(held float64, t *tangle) bool {
	for i := range t.mix {
		for _, e := range t.mix[i].edges {
			if float64(b.cfg.Max)/held >= e.timeout {
				return false
			}
		}
	}
	return true
}

// behind is the share of the requests that come to the bound at all.
func (s *steady) behind() float64 {
	var behind, all float64
	for i := range s.routes {
		r := &s.routes[i]
		all += r.share
		if behind += r.share; r.cache != nil {
			behind -= r.share * r.cache.hit
		}
	}
	return behind / all
}

// refusal is the CPU time that refusing a request costs: one hop of the gateway, and what the client does for each.
func (s *steady) refusal() (cpu float64) {
	if s.bound == nil {
		return 0
	}
	for i := range s.services {
		cpu += s.services[i].refusal
	}
	return cpu
}
