package queueing

import (
	"errors"
	"fmt"
	"math"
)

// PriorityClass is one class at a priority station.
type PriorityClass struct {
	Arrival float64 // Poisson rate
	Service float64 // mean service time
	SCV     float64 // squared coefficient of variation of service; 1 is exponential
}

// Priority solves M/G/1 with classes in order of priority, the first the most
// urgent: preemptive-resume or non-preemptive. Means are exact. Source: Cobham
// 1954; Kleinrock, Queueing Systems II, section 3.4. A class that starves (the
// load of it and its betters is 1 or more) is an error that names it.
//
// Wq is W less the mean service time, so for preemptive-resume it counts the
// interruptions as waiting.
func Priority(classes []PriorityClass, preemptive bool) ([]Single, error) {
	if len(classes) == 0 {
		return nil, errors.New("priority: no classes")
	}
	if len(classes) > maxClasses {
		return nil, fmt.Errorf("priority: %d classes, at most %d", len(classes), maxClasses)
	}
	residual := 0.0 // mean remaining service found, of all classes
	for i, k := range classes {
		if err := checkNonNegative("arrival rate", k.Arrival); err != nil {
			return nil, fmt.Errorf("priority: class %d: %w", i+1, err)
		}
		if err := checkPositive("mean service time", k.Service); err != nil {
			return nil, fmt.Errorf("priority: class %d: %w", i+1, err)
		}
		if err := checkNonNegative("SCV of service", k.SCV); err != nil {
			return nil, fmt.Errorf("priority: class %d: %w", i+1, err)
		}
		residual += k.Arrival * k.Service * k.Service * (1 + k.SCV) / 2
	}
	model := "M/G/1 priority non-preemptive"
	if preemptive {
		model = "M/G/1 priority preemptive-resume"
	}
	out := make([]Single, len(classes))
	above, seen, better := 0.0, 0.0, 0.0 // load of the more urgent; residual of these and this one, and of these alone
	third, seenThird := 0.0, 0.0         // rate times third moment of service, of all and of these and this one
	for _, k := range classes {
		third += k.third()
	}
	for i, k := range classes {
		rho := k.Arrival * k.Service
		load := above + rho
		if load >= 1 {
			return nil, fmt.Errorf("priority: class %d starves: the load of it and the classes above is %v, must be below 1", i+1, load)
		}
		better = seen
		seen += k.Arrival * k.Service * k.Service * (1 + k.SCV) / 2
		seenThird += k.third()
		s := Single{Model: model, Exact: true, Arrival: k.Arrival, Throughput: k.Arrival, Servers: 1, Utilisation: rho,
			P0: math.NaN(), PWait: math.NaN(), VarW: math.NaN(), VarWq: math.NaN()}
		if preemptive {
			s.W = k.Service/(1-above) + seen/((1-above)*(1-load))
		} else {
			s.W = k.Service + residual/((1-above)*(1-load))
		}
		s.Wq = s.W - k.Service
		s.L, s.Lq = k.Arrival*s.W, k.Arrival*s.Wq
		// Variances (Kesten and Runnenburg 1957; Kleinrock II, section 3.3): of the time until service first begins, and of
		// what the service then takes. Under preemption the classes below do not exist.
		own := k.SCV * k.Service * k.Service
		if preemptive {
			begin := startVariance(above, load, seen, seen, better, seenThird)
			s.VarW = begin + own/((1-above)*(1-above)) + k.Service*2*better/math.Pow(1-above, 3)
		} else {
			s.VarWq = startVariance(above, load, residual, seen, better, third)
			s.VarW = s.VarWq + own
		}
		out[i] = s
		above = load
	}
	return out, nil
}

func (k *PriorityClass) third() float64 {
	return k.Arrival * k.Service * k.Service * k.Service * (1 + k.SCV) * (1 + 2*k.SCV)
}

// startVariance is the variance of the time until the service of a class begins. The residuals are half the rates times second
// moments of service: of all that can delay it, of the classes up to it, and of those above it.
func startVariance(above, load, residual, upTo, better, third float64) float64 {
	a, b := 1-above, 1-load
	mean := residual / (a * b)
	second := third/(3*a*a*b) + 2*residual*upTo/(a*a*b*b) + 2*residual*better/(a*a*a*b)
	return math.Max(0, second-mean*mean)
}

// PriorityMMc is Priority for c servers and one exponential service rate mu
// shared by all classes: the forms of the operations-research textbooks
// (Hillier and Lieberman, section 17.8). Preemptive means for c > 1 follow from
// applying M/M/c to the most urgent classes taken together.
func PriorityMMc(arrival []float64, mu float64, c int, preemptive bool) ([]Single, error) {
	if len(arrival) == 0 || len(arrival) > maxClasses {
		return nil, fmt.Errorf("priority: %d classes, must be 1 to %d", len(arrival), maxClasses)
	}
	total := 0.0
	for i, l := range arrival {
		if err := checkStation(l, mu, c); err != nil {
			return nil, fmt.Errorf("priority: class %d: %w", i+1, err)
		}
		total += l
	}
	if total >= mu*float64(c) {
		return nil, unstable("M/M/c priority", total, mu, c)
	}
	capacity := mu * float64(c)
	all := erlangC(c, total/mu) / capacity // mean time until a server frees, as found
	out := make([]Single, len(arrival))
	above, before := 0.0, 0.0
	for i, l := range arrival {
		load := above + l
		s := Single{Model: "M/M/c priority non-preemptive", Exact: true, Arrival: l, Throughput: l, Servers: c,
			Utilisation: l / capacity, P0: math.NaN(), PWait: math.NaN(), VarW: math.NaN(), VarWq: math.NaN()}
		if preemptive {
			s.Model = "M/M/c priority preemptive-resume"
			group, err := MMc(load, mu, c) // classes 1..i see no one below them
			if err != nil {
				return nil, err
			}
			if l > 0 {
				s.W = (group.L - before) / l
			} else { // the limit of a rare class
				rare := 1e-6 * (capacity - load)
				more, err := MMc(load+rare, mu, c)
				if err != nil {
					return nil, err
				}
				s.W = (more.L - before) / rare
			}
			before = group.L
		} else {
			s.W = 1/mu + all/((1-above/capacity)*(1-load/capacity))
		}
		s.Wq = s.W - 1/mu
		s.L, s.Lq = l*s.W, l*s.Wq
		out[i] = s
		above = load
	}
	return out, nil
}
