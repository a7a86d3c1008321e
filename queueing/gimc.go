package queueing

import (
	"errors"
	"fmt"
	"math"
)

// GIMc is GI/M/c: arrivals of any law, c exponential servers of rate mu each. Exact: the wait of those who wait is exponential
// with the root sigma of sigma = A(c mu (1 - sigma)); the share that waits by Takacs 1962 (Gross and Harris, section 5.2).
func GIMc(between *Law, mu float64, c int) (*Single, error) {
	lambda := 1 / between.M1
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, err
	}
	rho := lambda / mu / float64(c)
	if rho >= 1 {
		return nil, unstable("GI/M/c", lambda, mu, c)
	}
	if c > 500 {
		return nil, fmt.Errorf("GI/M/c: %d servers, the exact sum takes at most 500; kind GI/G/c approximates", c)
	}
	total := float64(c) * mu
	sigma, pw, even := takacs(between, mu, c, 1)
	if even < 1e-6 {
		// One term is nought over nought: the mean of both sides of it.
		const aside = 1e-5
		_, below, _ := takacs(between, mu, c, 1-aside)
		_, above, _ := takacs(between, mu, c, 1+aside)
		pw = (below + above) / 2
	}
	if math.IsNaN(pw) || pw < 0 || pw > 1 {
		return nil, errors.New("GI/M/c: the sum for the share that waits has lost its precision; kind GI/G/c approximates")
	}
	drain := total * (1 - sigma)
	s := &Single{Model: "GI/M/c", Exact: true, Arrival: lambda, Throughput: lambda, Servers: c, Utilisation: rho, P0: math.NaN(), PWait: pw}
	if c == 1 {
		s.Model, s.P0 = "GI/M/1", 1-rho
		s.atMost = func(n int) float64 { return 1 - rho*math.Pow(sigma, float64(n)) }
	}
	s.Wq = pw / drain
	s.W = s.Wq + 1/mu
	s.Lq, s.L = lambda*s.Wq, lambda*s.W
	s.VarWq = pw * (2 - pw) / (drain * drain)
	s.VarW = s.VarWq + 1/(mu*mu)
	s.tailWq = func(t float64) float64 { return pw * math.Exp(-drain*t) }
	s.tailW = func(t float64) float64 { return tailSojourn(mu, drain, pw, t) }
	return s, nil
}

// takacs is the root sigma and the share that waits where all times between arrivals are stretched. even is the smallest
// difference by which the sum divides.
func takacs(between *Law, mu float64, c int, stretch float64) (sigma, wait, even float64) {
	at := func(s float64) float64 { return real(between.transform(complex(s*stretch, 0))) }
	cf := float64(c)
	// sigma - A(c mu (1-sigma)) is negative below the root in (0,1), for A is convex; bisect.
	lo, hi := 0.0, 1-1e-15
	for range 200 {
		mid := (lo + hi) / 2
		if mid < at(cf*mu*(1-mid)) {
			lo = mid
		} else {
			hi = mid
		}
	}
	sigma, even = (lo+hi)/2, 1
	d, logC := 1/(1-sigma), 0.0
	all, _ := math.Lgamma(cf + 1)
	for j := 1; j <= c; j++ {
		x := float64(j)
		phi := at(x * mu)
		logC += math.Log(phi) - math.Log1p(-phi)
		den := cf*(1-sigma) - x
		even = math.Min(even, math.Abs(den))
		chosen, _ := math.Lgamma(x + 1)
		rest, _ := math.Lgamma(cf - x + 1)
		d += math.Exp(all-chosen-rest-logC) / (1 - phi) * (cf*(1-phi) - x) / den
	}
	return sigma, 1 / d / (1 - sigma), even
}

// MG1Vacations is M/G/1 whose server goes away for a vacation whenever it finds no one, again and again. The wait is that of
// M/G/1 and the residual vacation (decomposition; Fuhrmann and Cooper 1985).
func MG1Vacations(lambda float64, service, vacation *Law) (*Single, error) {
	s, err := MG1Moments(lambda, service.M1, service.M2, service.M3)
	if err != nil {
		return nil, err
	}
	s.Model, s.PWait, s.P0 = "M/G/1 with vacations", 1, math.NaN()
	mean := vacation.M2 / (2 * vacation.M1)
	s.Wq += mean
	s.VarWq += vacation.M3/(3*vacation.M1) - mean*mean
	s.W = s.Wq + service.M1
	s.VarW = s.VarWq + math.Max(0, service.M2-service.M1*service.M1)
	s.Lq, s.L = lambda*s.Wq, lambda*s.W
	s.atMost = nil
	rho := s.Utilisation
	wait := func(z complex128) complex128 {
		return complex(1-rho, 0) * z / (z - complex(lambda, 0)*(1-service.transform(z))) * (1 - vacation.transform(z)) / (z * complex(vacation.M1, 0))
	}
	s.tailWq = func(t float64) float64 { return invertTail(wait, t) }
	s.tailW = func(t float64) float64 {
		return invertTail(func(z complex128) complex128 { return wait(z) * service.transform(z) }, t)
	}
	return s, nil
}

// MG1Retrial is M/G/1 without a line: who finds the server busy comes back after an exponential time of rate retry, for as
// long as it takes. Lq is the mean number away (Falin and Templeton 1997, section 1.2).
func MG1Retrial(lambda float64, service *Law, retry float64) (*Single, error) {
	if err := checkPositive("retrial rate", retry); err != nil {
		return nil, err
	}
	s, err := MG1Moments(lambda, service.M1, service.M2, service.M3)
	if err != nil {
		return nil, err
	}
	rho := s.Utilisation
	s.Model, s.P0 = "M/G/1 retrial", math.NaN()
	s.Wq += rho / ((1 - rho) * retry)
	s.W = s.Wq + service.M1
	s.Lq, s.L = lambda*s.Wq, lambda*s.W
	s.VarW, s.VarWq = math.NaN(), math.NaN()
	s.tailW, s.tailWq, s.atMost = unknownTail, unknownTail, nil
	return s, nil
}

// MXM1 is M^X/M/1: batches arrive at rate lambda; their size has mean and second moment. Means are exact (Gross and Harris 3.1).
func MXM1(lambda, mu, size, sizeSecond float64) (*Single, error) {
	if err := errors.Join(checkPositive("mean batch size", size), checkNonNegative("second moment of the batch size", sizeSecond)); err != nil {
		return nil, err
	}
	if size < 1 || sizeSecond < size*size*(1-1e-12) {
		return nil, fmt.Errorf("batch of mean %v and second moment %v: the mean must be at least 1 and the second moment at least its square", size, sizeSecond)
	}
	rate := lambda * size
	if err := checkStation(rate, mu, 1); err != nil {
		return nil, err
	}
	rho := rate / mu
	if rho >= 1 {
		return nil, unstable("M^X/M/1", rate, mu, 1)
	}
	s := &Single{Model: "M^X/M/1", Exact: true, Arrival: rate, Throughput: rate, Servers: 1, Utilisation: rho, P0: 1 - rho,
		PWait: math.NaN(), VarW: math.NaN(), VarWq: math.NaN(), tailW: unknownTail, tailWq: unknownTail}
	s.W = (1 + sizeSecond/size) / (2 * mu * (1 - rho))
	s.Wq = s.W - 1/mu
	s.L, s.Lq = rate*s.W, rate*s.Wq
	return s, nil
}

// MMBulk is M/M^[K]/1: the server takes all who wait, at most K, for one exponential service of rate mu; who arrives while
// fewer than K are served joins them (Gross and Harris, section 3.2). The number present is geometric.
func MMBulk(lambda, mu float64, K int) (*Single, error) {
	if err := checkStation(lambda, mu, 1); err != nil {
		return nil, err
	}
	if K < 1 || K > maxCapacity {
		return nil, fmt.Errorf("batch is %d, must be 1 to %d", K, maxCapacity)
	}
	k := float64(K)
	rho := lambda / (k * mu)
	if rho >= 1 {
		return nil, fmt.Errorf("M/M^[K]/1: unstable: arrival rate %v is not below %d x %v", lambda, K, mu)
	}
	// mu (r + ... + r^K) = lambda, from mu r^(K+1) - (lambda+mu) r + lambda = 0 without its root 1.
	lo, hi := 0.0, 1.0
	for range 200 {
		r := (lo + hi) / 2
		if mu*r*(1-math.Pow(r, k))/math.Max(1-r, 1e-300) < lambda {
			lo = r
		} else {
			hi = r
		}
	}
	r := (lo + hi) / 2
	s := &Single{Model: "M/M^[K]/1", Exact: true, Arrival: lambda, Throughput: lambda, Servers: 1, Utilisation: rho, P0: 1 - r,
		PWait: math.Pow(r, k), VarW: math.NaN(), VarWq: math.NaN(), tailW: unknownTail, tailWq: unknownTail}
	s.L = r / (1 - r)
	s.atMost = func(n int) float64 { return 1 - math.Pow(r, float64(n)+1) }
	if lambda > 0 {
		s.W = s.L / lambda
		s.Wq = math.Max(0, s.W-1/mu)
		s.Lq = lambda * s.Wq
	} else {
		s.W = 1 / mu
	}
	return s, nil
}
