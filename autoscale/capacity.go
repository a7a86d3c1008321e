package autoscale

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/banyanhq/banyan/queueing"
)

// MaxReplicas that a Capacity reckons with.
const MaxReplicas = 10_000

// Objective is the latency that a service is to hold.
type Objective struct {
	Quantile float64       // of the requests, 0.99
	Latency  time.Duration // that these stay below
}

// Capacity says how many replicas hold an objective at a rate. It is made once and never changes.
type Capacity struct {
	linear float64   // requests a second of each replica; zero: by the table
	rates  []float64 // largest rate that 1, 2, ... replicas hold, increasing
}

// LinearCapacity is that of replicas each of which holds a rate, whatever their number.
func LinearCapacity(each float64) (*Capacity, error) {
	if !(each > 0) || math.IsInf(each, 0) {
		return nil, fmt.Errorf("%v requests a second for each replica: want more than none", each)
	}
	return &Capacity{linear: each}, nil
}

// Station is how a replica serves: so many requests at once, each for a time with a mean and a squared coefficient of
// variation.
type Station struct {
	Service     time.Duration
	SCV         float64
	Concurrency int
}

// StationCapacity is that of replicas that share their requests as one station M/G/c does (least outstanding requests
// comes near to that; queueing.MGc). Many replicas hold more for each than few do.
func StationCapacity(s Station, o Objective, most int) (*Capacity, error) {
	switch {
	case s.Service <= 0 || s.Concurrency < 1 || !(s.SCV >= 0):
		return nil, errors.New("a station wants a service time, a concurrency and a variation that is not negative")
	case !(o.Quantile > 0 && o.Quantile < 1) || o.Latency <= 0:
		return nil, errors.New("an objective wants a quantile between 0 and 1 and a latency")
	case most < 1 || most > MaxReplicas:
		return nil, fmt.Errorf("%d replicas: want 1 to %d", most, MaxReplicas)
	}
	c := &Capacity{}
	mu := 1 / s.Service.Seconds()
	holds := func(rate float64, replicas int) bool {
		station, err := queueing.MGc(rate, mu, replicas*s.Concurrency, s.SCV, queueing.Kimura)
		if err != nil {
			return false
		}
		w, err := station.PercentileW(o.Quantile)
		return err == nil && w <= o.Latency.Seconds()
	}
	if !holds(1e-6*mu, 1) {
		return nil, fmt.Errorf("even an idle replica misses the objective: %v at the quantile %v, served in %v with a variation of %v", o.Latency, o.Quantile, s.Service, s.SCV)
	}
	// Exact for few replicas; further on for some, and linear between these: the curve is nearly straight there.
	last, lastRate := 0, 0.0
	for n := 1; ; n = nextCount(n) {
		n = min(n, most)
		low, high := lastRate, float64(n*s.Concurrency)*mu
		for range 40 {
			if mid := (low + high) / 2; holds(mid, n) {
				low = mid
			} else {
				high = mid
			}
		}
		for k := last + 1; k <= n; k++ {
			c.rates = append(c.rates, lastRate+(low-lastRate)*float64(k-last)/float64(n-last))
		}
		last, lastRate = n, low
		if n == most {
			return c, nil
		}
	}
}

func nextCount(n int) int {
	if n < 32 {
		return n + 1
	}
	return n + n/16
}

// Need is the smallest number of replicas that hold the objective at a rate. It never decreases with the rate; where none
// of those reckoned with do, it is one more than these.
func (c *Capacity) Need(rate float64) int {
	if !(rate > 0) {
		return 0
	}
	if c.linear > 0 {
		return int(math.Min(math.Ceil(rate/c.linear-1e-9), MaxReplicas))
	}
	return sort.SearchFloat64s(c.rates, rate) + 1
}

// Holds is the largest rate that so many replicas hold.
func (c *Capacity) Holds(replicas int) float64 {
	switch {
	case replicas < 1:
		return 0
	case c.linear > 0:
		return c.linear * float64(replicas)
	}
	return c.rates[min(replicas, len(c.rates))-1]
}
