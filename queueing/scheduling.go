package queueing

import (
	"fmt"
	"math"
	"slices"
)

// Policy is the order in which M/G/1 serves.
type Policy string

// The policies of MG1Scheduled. SRPT, PSJF and FB are preemptive; SJF and LCFS are not; LCFS-PR resumes what it interrupted.
const (
	PolicyFCFS   Policy = "FCFS"
	PolicyPS     Policy = "PS"
	PolicyLCFS   Policy = "LCFS"
	PolicyLCFSPR Policy = "LCFS-PR"
	PolicySJF    Policy = "SJF"  // shortest job first
	PolicyPSJF   Policy = "PSJF" // preemptive shortest job first, by size
	PolicySRPT   Policy = "SRPT" // shortest remaining processing time
	PolicyFB     Policy = "FB"   // least attained service (foreground-background)
)

// Policies lists them.
func Policies() []Policy {
	return []Policy{PolicyFCFS, PolicyPS, PolicyLCFS, PolicyLCFSPR, PolicySJF, PolicyPSJF, PolicySRPT, PolicyFB}
}

// MG1Scheduled is M/G/1 under a policy. Means are exact; those by size are integrals over the service law (Schrage and Miller
// 1966; Kleinrock II, chapter 4; Harchol-Balter 2013, chapters 30 to 33). Variances where they have a closed form.
func MG1Scheduled(lambda float64, service *Law, policy Policy) (*Single, error) {
	s, err := MG1Law(lambda, service)
	if err != nil {
		return nil, err
	}
	rho, m1, m2 := s.Utilisation, service.M1, service.M2
	own := math.Max(0, m2-m1*m1)
	switch policy {
	case PolicyFCFS:
		return s, nil
	case PolicyPS:
		return MG1PS(lambda, m1, service.SCV())
	case PolicyLCFS:
		second := (s.VarWq + s.Wq*s.Wq) / (1 - rho) // Wishart 1960
		s.VarWq = second - s.Wq*s.Wq
		s.VarW = s.VarWq + own
	case PolicyLCFSPR:
		s.W = m1 / (1 - rho) // a busy period of one's own
		s.VarW = own/((1-rho)*(1-rho)) + m1*lambda*m2/math.Pow(1-rho, 3)
		s.VarWq = math.NaN()
	default:
		if !slices.Contains(Policies(), policy) {
			return nil, fmt.Errorf("unknown policy %q (have %v)", policy, Policies())
		}
		s.W = m1
		if lambda > 0 {
			s.W = bySize(lambda, service, policy)
		}
		s.VarW, s.VarWq = math.NaN(), math.NaN()
	}
	s.Model = "M/G/1-" + string(policy)
	s.Wq = s.W - m1
	s.L, s.Lq = lambda*s.W, lambda*s.Wq
	s.tailW, s.tailWq = nil, nil
	if math.IsNaN(s.VarW) {
		s.tailW = unknownTail
	}
	if math.IsNaN(s.VarWq) {
		s.tailWq = unknownTail
	}
	if policy != PolicyLCFS { // the order depends on sizes: the number present is not that of FCFS
		s.atMost = nil
		if policy == PolicyLCFSPR {
			s.atMost = func(n int) float64 { return 1 - math.Pow(rho, float64(n)+1) }
		}
	}
	return s, nil
}

// bySize is the mean time in the station of a policy that looks at sizes: E over sizes of the time of that size, on a grid that
// is even in the logarithm of the size; each step adds the load up to there.
func bySize(lambda float64, service *Law, policy Policy) float64 {
	const steps = 20_000
	if service.least == service.most { // all alike: ties in order of arrival, but FB shares among equals
		x := service.M1
		rho := lambda * x
		if policy == PolicyFB {
			return x/(1-rho) + lambda*x*x/(2*(1-rho)*(1-rho))
		}
		return x + lambda*x*x/(2*(1-rho))
	}
	lo, hi := service.M1*1e-9, service.M1
	for service.tail(hi) > 1e-16 && hi < service.M1*1e12 {
		hi *= 2
	}
	ratio := math.Exp(math.Log(hi/lo) / steps)
	below, belowTail := 0.0, 1-service.tail(lo) // F at the step's start
	var load, square, kept, kept2 float64       // of jobs up to x: lambda int t dF, lambda int t^2 dF; lambda int (1-F), lambda int 2t(1-F)
	residence, mean := 0.0, 0.0                 // int dt / (1 - load(t))
	all := lambda * service.M2 / 2
	x := lo
	tail := 1 - belowTail
	kept, kept2, residence = lambda*lo, lambda*lo*lo, lo
	// What is summed belongs to the size in the middle of the step: at either end the error would be of the first order.
	halfway := func(total *float64, step float64) float64 {
		*total += step
		return *total - step/2
	}
	for range steps {
		next := x * ratio
		mid := (x + next) / 2
		after := service.tail(next)
		p := math.Max(0, tail-after)
		loadMid := halfway(&load, lambda*mid*p)
		squareMid := halfway(&square, lambda*mid*mid*p)
		keptMid := halfway(&kept, lambda*(tail+after)/2*(next-x))
		kept2Mid := halfway(&kept2, lambda*(tail*x+after*next)*(next-x))
		residenceMid := halfway(&residence, (next-x)/(1-loadMid))
		var w float64
		switch policy {
		case PolicySJF:
			w = mid + all/((1-loadMid)*(1-loadMid))
		case PolicyPSJF:
			w = mid/(1-loadMid) + squareMid/2/((1-loadMid)*(1-loadMid))
		case PolicySRPT:
			w = residenceMid + (squareMid+lambda*mid*mid*(tail+after)/2)/2/((1-loadMid)*(1-loadMid))
		case PolicyFB:
			w = mid/(1-keptMid) + kept2Mid/2/((1-keptMid)*(1-keptMid))
		}
		mean += p * w
		below += p
		x, tail = next, after
	}
	return mean / below
}
