package queueing

import (
	"fmt"
	"math"
)

// Wait names an approximation of the mean wait of M/G/c and GI/G/c.
type Wait string

const (
	// AllenCunneen multiplies the wait of M/M/c by (ca2+cs2)/2. For one server and
	// Poisson arrivals it is exact; for one server it is Kingman's formula.
	AllenCunneen Wait = "Allen-Cunneen"
	// Kimura interpolates between M/M/c and M/D/c (Kimura 1986, with the M/D/c of
	// Cosmetatos 1975). Only for Poisson arrivals.
	Kimura Wait = "Kimura"
	// KLB is Allen-Cunneen with the correction of Kraemer and Langenbach-Belz
	// 1976 for arrivals that are not Poisson.
	KLB Wait = "Kraemer-Langenbach-Belz"
	// Kingman is Kingman's heavy-traffic formula, for one server the same as Allen-Cunneen.
	Kingman Wait = "Kingman"
	// Marchal scales Kingman's upper bound so that M/G/1 is exact (Marchal 1976). One server.
	Marchal Wait = "Marchal"
)

// MGc approximates M/G/c: service of mean 1/mu and squared coefficient of
// variation scv, by AllenCunneen or Kimura. One server gives M/G/1 exactly.
func MGc(lambda, mu float64, c int, scv float64, method Wait) (*Single, error) {
	return GIGc(lambda, mu, c, 1, scv, method)
}

// GIGc approximates GI/G/c where ca2 and cs2 are the squared coefficients of
// variation of the times between arrivals and of service.
// Source: Bolch et al., Queueing Networks and Markov Chains, sections 6.3.4, 6.3.6.
func GIGc(lambda, mu float64, c int, ca2, cs2 float64, method Wait) (*Single, error) {
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, err
	}
	if err := checkNonNegative("SCV of arrivals", ca2); err != nil {
		return nil, err
	}
	if err := checkNonNegative("SCV of service", cs2); err != nil {
		return nil, err
	}
	s, err := MMc(lambda, mu, c)
	if err != nil {
		return nil, unstable("GI/G/c", lambda, mu, c)
	}
	factor := (ca2 + cs2) / 2
	switch method {
	case "", AllenCunneen:
		method = AllenCunneen
	case Kimura:
		if ca2 != 1 {
			return nil, fmt.Errorf("formula of Kimura needs Poisson arrivals, the SCV of arrivals is %v", ca2)
		}
		factor = (1 + cs2) / (2*cs2 + (1-cs2)/mdcRatio(c, s.Utilisation))
	case KLB:
		factor *= klb(s.Utilisation, ca2, cs2)
	case Kingman, Marchal:
		if c != 1 {
			return nil, fmt.Errorf("formula of %s is for one server, not %d", method, c)
		}
		if rho := s.Utilisation; method == Marchal {
			factor = 0
			if rho > 0 { // the bound over the wait of M/M/1, times Marchal's ratio
				factor = (ca2 + rho*rho*cs2) / (2 * rho * rho) * (1 + cs2) / (1/(rho*rho) + cs2)
			}
		}
	default:
		return nil, fmt.Errorf("unknown approximation %q (have %s, %s, %s, %s, %s)", method, AllenCunneen, Kimura, KLB, Kingman, Marchal)
	}
	if ca2 == 1 && cs2 == 1 {
		return s, nil // M/M/c: exact, whatever the name
	}
	return s.scaleWait(fmt.Sprintf("GI/G/c (%s)", method), factor, mu, cs2, ca2 == 1 && c == 1), nil
}

// scaleWait turns M/M/c into a station whose wait is factor times longer, for
// service of that SCV. The wait of those who wait keeps the coefficient of
// variation that the heavy-traffic limit gives it, one.
func (s *Single) scaleWait(model string, factor, mu, cs2 float64, exact bool) *Single {
	r := *s
	r.Model, r.Exact = model, exact
	r.Wq *= factor
	r.VarWq *= factor * factor
	if exact {
		m := 1 / mu // the third moment of gamma service, as MG1
		r.VarWq = r.Wq*r.Wq + s.Arrival*m*m*m*(1+cs2)*(1+2*cs2)/(3*(1-s.Utilisation))
	}
	r.W = r.Wq + 1/mu
	r.VarW = r.VarWq + cs2/(mu*mu)
	r.Lq, r.L = r.Arrival*r.Wq, r.Arrival*r.W
	r.tailW, r.tailWq, r.atMost = nil, nil, nil
	if s.Servers > 1 {
		r.P0 = math.NaN()
	}
	return &r
}

// mdcRatio is the wait of M/D/c over that of M/M/c (Cosmetatos 1975).
func mdcRatio(c int, rho float64) float64 {
	if rho <= 0 {
		return 0.5
	}
	n := float64(c)
	x := (1 - rho) * (n - 1) * (math.Sqrt(4+5*n) - 2) / (16 * rho * n)
	return math.Min(0.5*(1+x), 1)
}

// klb is the correction factor of Kraemer and Langenbach-Belz.
func klb(rho, ca2, cs2 float64) float64 {
	if ca2+cs2 == 0 || rho == 0 {
		return 1
	}
	if ca2 <= 1 {
		return math.Exp(-2.0 / 3 * (1 - rho) / rho * (1 - ca2) * (1 - ca2) / (ca2 + cs2))
	}
	return math.Exp(-(1 - rho) * (ca2 - 1) / (ca2 + 4*cs2))
}

// KingmanBound is Kingman's 1962 upper bound of the mean wait of GI/G/1.
func KingmanBound(lambda, mu, ca2, cs2 float64) (float64, error) {
	if err := checkStation(lambda, mu, 1); err != nil {
		return 0, err
	}
	if err := checkNonNegative("SCV of arrivals", ca2); err != nil {
		return 0, err
	}
	if err := checkNonNegative("SCV of service", cs2); err != nil {
		return 0, err
	}
	rho := lambda / mu
	if rho >= 1 || lambda == 0 {
		return 0, unstable("GI/G/1", lambda, mu, 1)
	}
	return lambda * (ca2/(lambda*lambda) + cs2/(mu*mu)) / (2 * (1 - rho)), nil
}
