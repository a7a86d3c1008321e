package simulate

import "math"

// student975 are the 97.5 % quantiles of Student's t distribution with 1 to 30 degrees of freedom.
var student975 = [...]float64{
	12.706, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
	2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
	2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
}

// student returns the 97.5 % quantile of Student's t distribution: beyond the table by the first terms of its expansion
// around the normal one (Abramowitz and Stegun 26.7.5).
func student(degrees int) float64 {
	if degrees < 1 {
		return math.Inf(1)
	}
	if degrees <= len(student975) {
		return student975[degrees-1]
	}
	const z = 1.959964
	n := float64(degrees)
	return z + (z*z*z+z)/(4*n) + (5*z*z*z*z*z+16*z*z*z+3*z)/(96*n*n)
}

// sample collects one figure of each replication.
type sample struct {
	n         int
	mean, ssd float64 // sum of squared deviations (Welford 1962)
}

func (s *sample) add(x float64) {
	s.n++
	d := x - s.mean
	s.mean += d / float64(s.n)
	s.ssd += d * (x - s.mean)
}

// halfWidth of the 95 % confidence interval of the mean; 0 where fewer than two replications give none.
func (s *sample) halfWidth() float64 {
	if s.n < 2 {
		return 0
	}
	n := float64(s.n)
	return student(s.n-1) * math.Sqrt(s.ssd/(n-1)/n)
}

// warmupProbe collects what MSER-5 needs: means of batches of five latencies, in the order in which requests ended.
// Where there are very many, pairs of batches become one.
type warmupProbe struct {
	size    int // of a batch
	n       int
	sum     float64
	means   []float64
	endings []int64
}

const (
	mserBatch   = 5
	mserBatches = 1 << 16
)

func (p *warmupProbe) add(at int64, x float64) {
	if p.size == 0 {
		p.size = mserBatch
	}
	p.sum += x
	if p.n++; p.n < p.size {
		return
	}
	p.means, p.endings = append(p.means, p.sum/float64(p.n)), append(p.endings, at)
	p.n, p.sum = 0, 0
	if len(p.means) < mserBatches {
		return
	}
	half := len(p.means) / 2
	for i := range half {
		p.means[i] = (p.means[2*i] + p.means[2*i+1]) / 2
		p.endings[i] = p.endings[2*i+1]
	}
	p.means, p.endings = p.means[:half], p.endings[:half]
	p.size *= 2
}

// warmup returns the instant before which the figures tell of the start and not of the steady state: the truncation
// that makes the standard error of the rest least (MSER-5: White, Cobb and Spratt 2000). settled is false if that lies
// in the second half, which means that no steady state was reached.
func (p *warmupProbe) warmup() (at int64, settled bool) {
	n := len(p.means)
	if n < 10 {
		return 0, true
	}
	var sum, square float64
	best, cut := math.Inf(1), 0
	// From the end: sums over what remains after each truncation. A handful at the very end says nothing.
	for d := n - 1; d >= 0; d-- {
		x := p.means[d]
		sum += x
		square += x * x
		k := float64(n - d)
		if n-d < 5 {
			continue
		}
		if v := (square - sum*sum/k) / (k * k); v <= best {
			best, cut = v, d
		}
	}
	if cut == 0 {
		return 0, true
	}
	if cut > n/2 {
		return p.endings[n/2], false
	}
	return p.endings[cut-1], true
}
