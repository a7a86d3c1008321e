package queueing

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Bin is so many observations between two values, both included.
type Bin struct {
	Low, High float64
	Count     float64
}

// LawFit is a family of distributions, fitted to observations.
type LawFit struct {
	// Law is constant, exponential, gamma, lognormal or hyperexponential.
	Law string `json:"law"`
	// Mean and SCV of the fitted law.
	Mean float64 `json:"mean"`
	SCV  float64 `json:"scv"`
	// KS is the largest distance between the fitted and the observed cumulative distribution (Kolmogorov and Smirnov).
	KS float64 `json:"ks"`
	// Weight is how likely the family is to be the right one of those fitted, by Schwarz's criterion; all together are 1.
	Weight float64 `json:"weight"`

	tail       func(x float64) float64
	parameters float64
}

// FitLaws fits each family to binned observations, the best first by the criterion of Schwarz (1978), BIC = k log n - 2 log L,
// with the likelihood that of the bins. Exponential, lognormal and gamma laws are fitted by maximum likelihood on the middles of
// the bins, the hyperexponential by expectation and maximisation (Asmussen, Nerman and Olsson 1996). Bins are in ascending
// order and do not overlap.
func FitLaws(bins []Bin) ([]LawFit, error) {
	if err := checkBins(bins); err != nil {
		return nil, err
	}
	m := momentsOf(bins)
	if m.mean <= 0 {
		return nil, errors.New("fitting a law: all observations are 0")
	}
	var fits []LawFit
	if first, last := bins[0], bins[len(bins)-1]; last.High-first.Low <= 0.05*m.mean {
		fits = append(fits, LawFit{Law: "constant", Mean: m.mean, parameters: 1, tail: func(x float64) float64 {
			if x < first.Low {
				return 1
			}
			return max(0, min(1, (last.High-x)/max(last.High-first.Low, 1e-300)))
		}})
	}
	fits = append(fits, fitGamma("exponential", m.mean, 1, 1), fitGamma("gamma", m.mean, 1/gammaShape(m), 2), fitLognormal(m))
	if m.scv > 1 {
		fits = append(fits, fitHyper(bins, m))
	}
	best := math.Inf(1)
	bic := make([]float64, len(fits))
	for i := range fits {
		var like float64
		like, fits[i].KS = fits[i].against(bins, m.n)
		bic[i] = math.Log(m.n)*fits[i].parameters - 2*like
		best = min(best, bic[i])
	}
	sum := 0.0
	for i := range fits {
		fits[i].Weight = math.Exp((best - bic[i]) / 2)
		sum += fits[i].Weight
	}
	for i := range fits {
		fits[i].Weight /= sum
	}
	slices.SortStableFunc(fits, func(a, b LawFit) int { return cmp.Compare(b.Weight, a.Weight) })
	return fits, nil
}

// MomentsOf returns the mean and the SCV of binned observations and the standard error of the SCV, by the delta method.
// Observations are taken to lie in the middle of their bin.
func MomentsOf(bins []Bin) (mean, scv, scvError float64, err error) {
	if err := checkBins(bins); err != nil {
		return 0, 0, 0, err
	}
	m := momentsOf(bins)
	if m.mean <= 0 {
		return 0, 0, 0, nil
	}
	// How far one observation moves the SCV.
	second := (1 + m.scv) * m.mean * m.mean
	square := 0.0
	for _, b := range bins {
		x := (b.Low + b.High) / 2
		d := (x*x-second)/(m.mean*m.mean) - 2*second*(x-m.mean)/(m.mean*m.mean*m.mean)
		square += b.Count * d * d
	}
	return m.mean, m.scv, math.Sqrt(square) / m.n, nil
}

func checkBins(bins []Bin) error {
	n, last := 0.0, -1.0
	for i, b := range bins {
		if notFinite(b.Low) || notFinite(b.High) || notFinite(b.Count) || b.Low < 0 || b.High < b.Low || b.Count < 0 {
			return fmt.Errorf("fitting a law: bin %d: %v observations from %v to %v: want numbers of at least 0", i+1, b.Count, b.Low, b.High)
		}
		if b.Low < last {
			return fmt.Errorf("fitting a law: bin %d begins at %v, before the one before it ends", i+1, b.Low)
		}
		last = b.High
		n += b.Count
	}
	if n < 2 {
		return errors.New("fitting a law: fewer than 2 observations")
	}
	return nil
}

// sampleMoments are what the families are fitted to.
type sampleMoments struct {
	n, mean, scv   float64
	logMean, logSD float64 // of the logarithms; nothing is taken to be shorter than a thousandth of the mean
}

func momentsOf(bins []Bin) sampleMoments {
	var m sampleMoments
	for _, b := range bins {
		m.n += b.Count
		m.mean += b.Count * (b.Low + b.High) / 2
	}
	m.mean /= m.n
	if m.mean <= 0 {
		return m
	}
	for _, b := range bins {
		x := (b.Low + b.High) / 2
		m.scv += b.Count * (x/m.mean - 1) * (x/m.mean - 1) / m.n
		m.logMean += b.Count * math.Log(max(x, 1e-3*m.mean)) / m.n
	}
	for _, b := range bins {
		d := math.Log(max((b.Low+b.High)/2, 1e-3*m.mean)) - m.logMean
		m.logSD += b.Count * d * d / m.n
	}
	m.logSD = math.Sqrt(m.logSD)
	return m
}

func fitGamma(name string, mean, scv, parameters float64) LawFit {
	shape, scale := 1/scv, mean*scv
	return LawFit{Law: name, Mean: mean, SCV: scv, parameters: parameters, tail: func(x float64) float64 { return gammaTail(shape, x/scale) }}
}

// gammaShape solves log k - digamma(k) = log(mean) - mean of logs, from Minka's start (2002), by Newton's steps on 1/k.
func gammaShape(m sampleMoments) float64 {
	s := math.Log(m.mean) - m.logMean
	if s < 1e-9 {
		return 1e9
	}
	k := (3 - s + math.Sqrt((s-3)*(s-3)+24*s)) / (12 * s)
	for range 50 {
		next := 1 / (1/k + (math.Log(k)-digamma(k)-s)/(k*k*(1/k-trigamma(k))))
		if !(next > 0) || math.Abs(next-k) < 1e-12*k {
			break
		}
		k = next
	}
	return k
}

// digamma and trigamma, by recurrence up to 6 and the asymptotic series there (Abramowitz and Stegun 6.3.18, 6.4.12).
func digamma(x float64) float64 {
	sum := 0.0
	for ; x < 6; x++ {
		sum -= 1 / x
	}
	y := 1 / (x * x)
	return sum + math.Log(x) - 1/(2*x) - y*(1.0/12-y*(1.0/120-y*(1.0/252-y/240)))
}

func trigamma(x float64) float64 {
	sum := 0.0
	for ; x < 6; x++ {
		sum += 1 / (x * x)
	}
	y := 1 / (x * x)
	return sum + 1/x + y/2 + y/x*(1.0/6-y*(1.0/30-y*(1.0/42-y/30)))
}

func fitLognormal(m sampleMoments) LawFit {
	sd := max(m.logSD, 1e-9)
	return LawFit{Law: "lognormal", Mean: math.Exp(m.logMean + sd*sd/2), SCV: math.Expm1(sd * sd), parameters: 2, tail: func(x float64) float64 {
		if x <= 0 {
			return 1
		}
		return math.Erfc((math.Log(x)-m.logMean)/(sd*math.Sqrt2)) / 2
	}}
}

// fitHyper fits two exponential branches, from the law with balanced means of the same moments on.
func fitHyper(bins []Bin, m sampleMoments) LawFit {
	p := (1 + math.Sqrt((m.scv-1)/(m.scv+1))) / 2
	a, b := m.mean/(2*p), m.mean/(2*(1-p))
	for range 500 {
		var weight, first, second float64
		for _, bin := range bins {
			x := (bin.Low + bin.High) / 2
			fa, fb := p/a*math.Exp(-x/a), (1-p)/b*math.Exp(-x/b)
			w := bin.Count
			if fa+fb > 0 {
				w *= fa / (fa + fb)
			} else if b > a {
				w = 0
			}
			weight += w
			first += w * x
			second += (bin.Count - w) * x
		}
		if weight <= 0 || weight >= m.n || first <= 0 || second <= 0 {
			break
		}
		before := p
		p, a, b = weight/m.n, first/weight, second/(m.n-weight)
		if math.Abs(p-before) < 1e-9 {
			break
		}
	}
	mean := p*a + (1-p)*b
	return LawFit{Law: "hyperexponential", Mean: mean, SCV: 2*(p*a*a+(1-p)*b*b)/(mean*mean) - 1, parameters: 3,
		tail: func(x float64) float64 { return p*math.Exp(-x/a) + (1-p)*math.Exp(-x/b) }}
}

// against is the logarithm of the likelihood of the bins, and the largest distance of the distributions. A bin reaches half
// way to a neighbour that is near, so that nothing falls between two.
func (f *LawFit) against(bins []Bin, n float64) (like, distance float64) {
	seen := 0.0
	for i, b := range bins {
		reach := max(b.High-b.Low, 1e-6*b.High) / 2
		low, high := b.Low-reach, b.High+reach
		if i > 0 {
			low = max(low, (bins[i-1].High+b.Low)/2)
		}
		if i+1 < len(bins) {
			high = min(high, (b.High+bins[i+1].Low)/2)
		}
		above := f.tail(high)
		like += b.Count * math.Log(max(f.tail(low)-above, 1e-12))
		seen += b.Count
		distance = max(distance, math.Abs(1-seen/n-above))
	}
	return like, distance
}
