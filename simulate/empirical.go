package simulate

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// quantilePoints are a distribution by some of its quantiles. Between two the logarithm of the time grows evenly; below
// the first it begins at half of it; beyond the last it goes on as an exponential tail that leads through the last two.
type quantilePoints struct {
	p, x []float64
	tail float64 // mean of what lies beyond the last point
}

// newEmpirical is the distribution of the given quantiles, stretched to the mean; a mean of 0 takes it as it is.
func newEmpirical(quantiles map[string]topology.Duration, mean float64) (distribution, error) {
	q := &quantilePoints{}
	names := sortedKeys(quantiles)
	value := func(name string) float64 {
		v, err := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64)
		if err != nil {
			return math.NaN()
		}
		return v / 100
	}
	sort.SliceStable(names, func(i, k int) bool { return value(names[i]) < value(names[k]) })
	for _, name := range names {
		p, x := value(name), quantiles[name].Std().Seconds()
		if !(p > 0 && p < 1) || !(x > 0) || (len(q.x) > 0 && x < q.x[len(q.x)-1]) {
			return distribution{}, fmt.Errorf("quantile %s of %v: want percentiles between 0 and 100 whose times are above 0 and grow", name, quantiles[name].Std())
		}
		q.p, q.x = append(q.p, p), append(q.x, x)
	}
	n := len(q.p)
	if n == 0 {
		return distribution{}, fmt.Errorf("no quantiles")
	}
	q.p, q.x = slices.Insert(q.p, 0, 0), slices.Insert(q.x, 0, q.x[0]/2)
	q.tail = (q.x[n] - q.x[n-1]) / math.Log((1-q.p[n-1])/(1-q.p[n]))
	own := q.mean()
	d := distribution{family: empirical, mean: own, a: 1, points: q}
	if mean > 0 {
		d.mean, d.a = mean, mean/own
	}
	return d, nil
}

// at is the quantile u, 0 <= u < 1.
func (q *quantilePoints) at(u float64) float64 {
	for i := 1; i < len(q.p); i++ {
		if u < q.p[i] {
			return q.x[i-1] * math.Pow(q.x[i]/q.x[i-1], (u-q.p[i-1])/(q.p[i]-q.p[i-1]))
		}
	}
	last := len(q.p) - 1
	return q.x[last] + q.tail*math.Log((1-q.p[last])/(1-u))
}

// mean adds up the pieces: the mean of x r^u over a piece is (b - a) / ln(b / a).
func (q *quantilePoints) mean() float64 {
	var sum float64
	for i := 1; i < len(q.p); i++ {
		a, b := q.x[i-1], q.x[i]
		m := a
		if b > a*(1+1e-12) {
			m = (b - a) / math.Log(b/a)
		}
		sum += m * (q.p[i] - q.p[i-1])
	}
	last := len(q.p) - 1
	return sum + (1-q.p[last])*(q.x[last]+q.tail)
}
