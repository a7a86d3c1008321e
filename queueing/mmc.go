package queueing

import (
	"fmt"
	"math"
)

// MM1 solves M/M/1: Poisson arrivals at rate lambda, one exponential server of
// rate mu. It is MMc with one server.
func MM1(lambda, mu float64) (*Single, error) {
	s, err := MMc(lambda, mu, 1)
	if err != nil {
		return nil, err
	}
	s.Model = "M/M/1"
	return s, nil
}

// MMc solves M/M/c with c servers of rate mu each, first come first served.
// Source: Kleinrock, Queueing Systems I, section 3.5; the tail of W by
// convolution of the wait with the service.
func MMc(lambda, mu float64, c int) (*Single, error) {
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, err
	}
	a := lambda / mu
	if a >= float64(c) {
		return nil, unstable("M/M/c", lambda, mu, c)
	}
	rho := a / float64(c)
	pw := erlangC(c, a)
	drain := float64(c)*mu - lambda
	s := &Single{Model: "M/M/c", Exact: true, Arrival: lambda, Throughput: lambda, Servers: c, Utilisation: rho, PWait: pw}
	s.Wq = pw / drain
	s.W = s.Wq + 1/mu
	s.Lq = lambda * s.Wq
	s.L = lambda * s.W
	s.VarWq = pw * (2 - pw) / (drain * drain)
	s.VarW = s.VarWq + 1/(mu*mu)
	// p(c) = pw (1-rho), p(0) = p(c) c!/a^c: in logarithms, since a^c overflows.
	lg, _ := math.Lgamma(float64(c) + 1)
	logPc := math.Log(pw) + math.Log1p(-rho)
	if a > 0 {
		s.P0 = math.Exp(logPc + lg - float64(c)*math.Log(a))
	} else {
		s.P0 = 1
	}
	s.tailWq = func(t float64) float64 { return pw * math.Exp(-drain*t) }
	s.tailW = func(t float64) float64 { return tailSojourn(mu, drain, pw, t) }
	s.atMost = func(n int) float64 {
		if a == 0 {
			return 1
		}
		if n >= c {
			return 1 - pw*math.Pow(rho, float64(n-c+1))
		}
		// 1 - P(N>=c) - the terms between n and c, each from the one above.
		total, term := 0.0, math.Exp(logPc)
		for k := c - 1; k >= 0; k-- {
			term *= float64(k+1) / a
			if k <= n {
				total += term
			}
		}
		return math.Min(1, total)
	}
	return s, nil
}

// tailSojourn is P(V + S > t) where V is 0 with probability 1-pw and otherwise
// exponential of rate drain, and S is exponential of rate mu.
func tailSojourn(mu, drain, pw, t float64) float64 {
	d := mu - drain
	es := math.Exp(-mu * t)
	if math.Abs(d)*t < 1e-9 {
		return math.Min(1, es*(1+pw*drain*t)) // the limit of equal rates
	}
	if math.Abs(d) < 1e-12*mu {
		return math.Min(1, es*(1+pw*drain*t))
	}
	// mu/(mu-drain) e^{-drain t} - drain/(mu-drain) e^{-mu t} for those that wait
	wait := (mu*math.Exp(-drain*t) - drain*es) / d
	return math.Min(1, math.Max(0, (1-pw)*es+pw*wait))
}

func checkStation(lambda, mu float64, c int) error {
	if err := checkNonNegative("arrival rate", lambda); err != nil {
		return err
	}
	if err := checkPositive("service rate", mu); err != nil {
		return err
	}
	return checkServers(c)
}

func unstable(model string, lambda, mu float64, c int) error {
	return fmt.Errorf("%s: unstable: arrival rate %v is not below the capacity %v (%d x %v)", model, lambda, float64(c)*mu, c, mu)
}
