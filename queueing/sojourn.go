package queueing

import "math"

// residenceVariance is the variance of the total time of a request of class r at
// station k. One visit: service plus the wait behind those found there; visits:
// the whole part of their mean for certain, one more with the fraction.
func (s *Solution) residenceVariance(r, k int) float64 {
	class, st := &s.net.Classes[r], &s.net.Stations[k]
	visits := class.visits(k)
	service := class.service(k)
	mean := s.Residence[r][k] / visits
	one := s.visitVariance(k, service, mean, st)
	fraction := visits - math.Floor(visits)
	return visits*one + fraction*(1-fraction)*mean*mean
}

// visitVariance is the variance of one sojourn of that mean.
func (s *Solution) visitVariance(k int, service, mean float64, st *Station) float64 {
	own := st.scv() * service * service
	wait := mean - service
	if st.delay() || wait <= 1e-12*service {
		return own
	}
	if st.Discipline != FCFS {
		return psVariance(service, st.scv(), wait/mean) * s.finiteFactor(k)
	}
	c := float64(st.servers())
	rho := math.Min(s.StationUtilisation[k], 1)
	if s.population(k) == 0 {
		// Open: wait zero with probability 1-pw, else about exponential.
		pw := erlangC(st.servers(), math.Min(rho, 1-1e-12)*c)
		conditional := wait / math.Max(pw, 1e-300)
		return own + 2*pw*conditional*conditional - wait*wait
	}
	// Closed: a line bounded by the population, each ahead one departure.
	departure := s.meanService(k) / c
	ahead := math.Min(wait/departure, float64(s.population(k)-1))
	return own + departure*departure*(ahead*st.scv()+s.aheadVariance(k, ahead, s.population(k)-1))
}

// finiteFactor shrinks the spread at a processor-sharing station of a closed
// network: the number present cannot vary more than the population allows.
func (s *Solution) finiteFactor(k int) float64 {
	n := s.population(k)
	if n == 0 {
		return 1
	}
	q := s.StationQueueLength[k] * float64(n-1) / float64(n)
	if q <= 0 {
		return 1
	}
	free := q * (1 + q)
	return math.Min(1, (q+s.aheadVariance(k, q, n-1))/(q+free)+1/(1+q)/(1+q))
}

// aheadVariance is the variance of the number found at station k, of mean m and
// at most n. Two limits are blended by where the other customers are. At other
// queues: the truncated geometric law (the largest entropy for its mean; exact for
// two balanced queues). Thinking or at delays: their number is about Poisson, so
// the number here cannot vary more than that, nor more than in an open queue.
func (s *Solution) aheadVariance(k int, m float64, n int) float64 {
	if m <= 0 {
		return 0
	}
	elsewhere, away := 0.0, 0.0 // customers, and those of them who do not queue
	for r := range s.net.Classes {
		c := &s.net.Classes[r]
		if c.Demands[k] == 0 {
			continue
		}
		elsewhere += float64(c.Population) - s.QueueLength[r][k]
		away += s.Throughput[r] * c.Think
		for j := range s.net.Stations {
			if s.net.Stations[j].delay() && j != k {
				away += s.QueueLength[r][j]
			} else if j != k { // service itself is a delay, only the line queues
				away += s.Throughput[r] * c.Demands[j] * (1 - min(1, s.StationUtilisation[j]))
			}
		}
	}
	queues := truncatedGeometricVariance(m, n)
	if elsewhere <= 0 || float64(n) <= m {
		return queues
	}
	share := min(1, away/elsewhere)
	thinkers := 1 / (1/(m*(1+m)) + 1/(float64(n)-m))
	return share*thinkers + (1-share)*queues
}

// population is the number of closed customers that can meet at station k; 0
// when an open class goes there.
func (s *Solution) population(k int) int {
	n := 0
	for r := range s.net.Classes {
		c := &s.net.Classes[r]
		if c.Demands[k] == 0 {
			continue
		}
		if !c.closed() {
			return 0
		}
		n += c.Population
	}
	return n
}

// meanService is the mean service time of a visit to station k over classes.
func (s *Solution) meanService(k int) float64 {
	work, visits := 0.0, 0.0
	for r := range s.net.Classes {
		work += s.Throughput[r] * s.net.Classes[r].Demands[k]
		visits += s.Throughput[r] * s.net.Classes[r].visits(k)
	}
	if visits == 0 {
		return 0
	}
	return work / visits
}

// truncatedGeometricVariance is the variance of the law p(n) ~ x^n on 0..N that
// has that mean. x below 1 leans to 0, above 1 to N; the law for N-n is the
// mirror image, so only means up to N/2 are computed.
func truncatedGeometricVariance(mean float64, N int) float64 {
	n := float64(N)
	mean = math.Min(mean, n-mean)
	if mean <= 0 {
		return 0
	}
	if n > 50*(mean+1) {
		return mean * (1 + mean)
	}
	lo, hi := 0.0, 1.0
	var variance float64
	for range 60 {
		x := (lo + hi) / 2
		m, v := truncatedGeometric(x, n)
		variance = v
		if m < mean {
			lo = x
		} else {
			hi = x
		}
	}
	return variance
}

// truncatedGeometric gives mean and variance of p(j) ~ x^j, j = 0..n.
func truncatedGeometric(x, n float64) (mean, variance float64) {
	if x > 1-1e-5 {
		return n / 2, n * (n + 2) / 12 // uniform
	}
	end := math.Pow(x, n+1)
	over := (n + 1) * end / (1 - end)
	mean = x/(1-x) - over
	variance = x/((1-x)*(1-x)) - over*(n+1)/(1-end)
	return mean, math.Max(0, variance)
}
