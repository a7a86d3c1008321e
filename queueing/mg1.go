package queueing

import "math"

// MG1 solves M/G/1 first come first served by Pollaczek and Khinchine: service
// time of that mean and standard deviation. Means are exact; the variance takes
// the third moment of a gamma distribution with the same two moments (exact for
// exponential, Erlang and constant service). Source: Kleinrock I, section 5.7.
func MG1(lambda, mean, stdDev float64) (*Single, error) {
	if err := checkPositive("mean service time", mean); err != nil {
		return nil, err
	}
	if err := checkNonNegative("standard deviation of service", stdDev); err != nil {
		return nil, err
	}
	c2 := stdDev / mean * stdDev / mean
	return MG1Moments(lambda, mean, mean*mean*(1+c2), mean*mean*mean*(1+c2)*(1+2*c2))
}

// MG1Moments is MG1 from the first three moments of the service time.
func MG1Moments(lambda, m1, m2, m3 float64) (*Single, error) {
	if err := checkPositive("mean service time", m1); err != nil {
		return nil, err
	}
	if err := checkPositive("second moment of service", m2); err != nil {
		return nil, err
	}
	if err := checkPositive("third moment of service", m3); err != nil {
		return nil, err
	}
	if err := checkStation(lambda, 1/m1, 1); err != nil {
		return nil, err
	}
	rho := lambda * m1
	if rho >= 1 {
		return nil, unstable("M/G/1", lambda, 1/m1, 1)
	}
	s := &Single{Model: "M/G/1", Exact: true, Arrival: lambda, Throughput: lambda, Servers: 1, Utilisation: rho, P0: 1 - rho, PWait: rho}
	s.Wq = lambda * m2 / (2 * (1 - rho))
	s.VarWq = s.Wq*s.Wq + lambda*m3/(3*(1-rho))
	s.W = s.Wq + m1
	s.VarW = s.VarWq + math.Max(0, m2-m1*m1)
	s.Lq = lambda * s.Wq
	s.L = lambda * s.W
	if math.Abs(m2/(2*m1*m1)-1) < 1e-12 && math.Abs(m3/(6*m1*m1*m1)-1) < 1e-12 {
		e, err := MM1(lambda, 1/m1) // exponential: the tails are exact
		if err == nil {
			s.tailW, s.tailWq, s.atMost = e.tailW, e.tailWq, e.atMost
		}
	}
	return s, nil
}

// MG1PS solves M/G/1 processor sharing: the mean depends on the service time's
// mean alone. VarW is exact for exponential service (Coffman, Muntz and Trotter
// 1970) and otherwise from the exponential approximation of the M/G/1 workload
// in the formula of Yashkov 1983, with gamma service of that SCV. There is no
// waiting room: Wq is the delay beyond the service time.
func MG1PS(lambda, mean, scv float64) (*Single, error) {
	if err := checkPositive("mean service time", mean); err != nil {
		return nil, err
	}
	if err := checkNonNegative("squared coefficient of variation of service", scv); err != nil {
		return nil, err
	}
	s, err := MM1(lambda, 1/mean)
	if err != nil {
		return nil, err
	}
	s.Model = "M/G/1-PS"
	s.VarW = psVariance(mean, scv, s.Utilisation)
	s.VarWq = math.NaN()
	s.PWait = s.Utilisation
	s.tailW, s.tailWq = nil, nil
	s.tailWq = func(float64) float64 { return math.NaN() }
	return s, nil
}

// psVariance is the variance of the time in a processor-sharing station whose
// mean time is mean/(1-r). For one server r is the utilisation.
func psVariance(mean, scv, r float64) float64 {
	if r <= 0 || mean <= 0 {
		return scv * mean * mean
	}
	r = math.Min(r, 1-1e-12)
	stretch := 1 / (1 - r)
	// Var(T|S=x) = 2 stretch^2 Int_0^x (x-t) P(workload>t) dt, and the workload
	// is taken as exponential of mean theta given that it is positive.
	theta := mean * (1 + scv) / 2 * stretch
	var transform float64 // E[exp(-S/theta)]
	if scv < 1e-9 {
		transform = math.Exp(-mean / theta)
	} else {
		transform = math.Exp(-math.Log1p(mean*scv/theta) / scv)
	}
	within := 2 * r * stretch * stretch * (mean*theta - theta*theta*(1-transform))
	return math.Max(0, within) + scv*mean*mean*stretch*stretch
}
