package stats

import (
	"fmt"
	"math"
)

// Zipf draws ranks 0 to n-1 with probability proportional to 1/(rank+1)^skew, by inversion with rejection (W. Hörmann
// and G. Derflinger, Rejection-inversion to generate variates from monotone discrete distributions, 1996): in constant
// time and memory, however many ranks there are. It is not changed after it is made.
type Zipf struct {
	n, skew      float64
	low, high, s float64
}

// NewZipf returns the distribution over n ranks; a skew of 0 makes all as likely. Errors: n below 1, a skew that is no
// number from 0 to 100.
func NewZipf(n uint64, skew float64) (*Zipf, error) {
	if n < 1 || !(skew >= 0 && skew <= 100) {
		return nil, fmt.Errorf("zipf over %d ranks with a skew of %v: want one rank at least, and a skew from 0 to 100", n, skew)
	}
	z := &Zipf{n: float64(n), skew: skew}
	z.low = z.integral(1.5) - 1
	z.high = z.integral(z.n + 0.5)
	z.s = 2 - z.inverse(z.integral(2.5)-math.Pow(2, -skew))
	return z, nil
}

// integral of x^-skew from 1, in a form that is exact around a skew of 1.
func (z *Zipf) integral(x float64) float64 {
	l := math.Log(x)
	return expm1Over(l*(1-z.skew)) * l
}

func (z *Zipf) inverse(y float64) float64 {
	t := max(y*(1-z.skew), -1)
	return math.Exp(log1pOver(t) * y)
}

// expm1Over is (e^x - 1) / x.
func expm1Over(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Expm1(x) / x
	}
	return 1 + x/2
}

// log1pOver is log(1+x) / x.
func log1pOver(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Log1p(x) / x
	}
	return 1 - x/2
}

// Draw returns a rank; uniform returns numbers in [0, 1).
func (z *Zipf) Draw(uniform func() float64) uint64 {
	for {
		u := z.low + uniform()*(z.high-z.low)
		x := z.inverse(u)
		k := min(max(math.Round(x), 1), z.n)
		if k-x <= z.s || u >= z.integral(k+0.5)-math.Pow(k, -z.skew) {
			return uint64(k) - 1
		}
	}
}

// Weights returns the probabilities of all ranks, for n that fit into memory.
func (z *Zipf) Weights() []float64 {
	w := make([]float64, int(z.n))
	var sum float64
	for i := range w {
		w[i] = math.Pow(float64(i+1), -z.skew)
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	return w
}

// Skew returns the exponent.
func (z *Zipf) Skew() float64 { return z.skew }
