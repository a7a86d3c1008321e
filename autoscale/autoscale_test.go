package autoscale

import (
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/queueing"
)

// A station's capacity is what queueing says: enough replicas hold the objective, one fewer do not.
func TestStationCapacity(t *testing.T) {
	s := Station{Service: 20 * time.Millisecond, SCV: 1.5, Concurrency: 4}
	o := Objective{Quantile: 0.99, Latency: 200 * time.Millisecond}
	c, err := StationCapacity(s, o, 400)
	if err != nil {
		t.Fatal(err)
	}
	p99 := func(rate float64, n int) float64 {
		station, err := queueing.MGc(rate, 50, 4*n, 1.5, queueing.Kimura)
		if err != nil {
			return math.Inf(1)
		}
		w, err := station.PercentileW(0.99)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for _, rate := range []float64{10, 150, 1000, 5000, 30000} {
		n := c.Need(rate)
		if got := p99(rate, n); got > 0.2*1.02 {
			t.Errorf("%v/s on %d replicas: p99 %v s, want at most 0.2", rate, n, got)
		}
		if n > 1 {
			if got := p99(rate*1.01, n-1); got < 0.2*0.98 {
				t.Errorf("%v/s: %d replicas asked for, %d would hold p99 %v s", rate, n, n-1, got)
			}
		}
	}
	if c.Need(1e9) != 401 {
		t.Errorf("more than all hold: %d, want 401", c.Need(1e9))
	}
	last := 0
	for rate := 0.0; rate < 60000; rate += 37 {
		if n := c.Need(rate); n < last {
			t.Fatalf("at %v/s %d replicas are needed, at less %d", rate, n, last)
		} else {
			last = n
		}
	}
	for _, n := range []int{1, 7, 100} {
		if got := c.Need(c.Holds(n)); got != n {
			t.Errorf("what %d replicas hold needs %d", n, got)
		}
	}
}

func TestCapacityRefuses(t *testing.T) {
	ok := Station{Service: 20 * time.Millisecond, SCV: 1, Concurrency: 1}
	for name, err := range map[string]error{
		"no rate":           second(LinearCapacity(0)),
		"endless rate":      second(LinearCapacity(math.Inf(1))),
		"no service time":   second(StationCapacity(Station{SCV: 1, Concurrency: 1}, Objective{0.99, time.Second}, 10)),
		"no variation":      second(StationCapacity(Station{Service: 1, SCV: math.NaN(), Concurrency: 1}, Objective{0.99, time.Second}, 10)),
		"quantile 1":        second(StationCapacity(ok, Objective{1, time.Second}, 10)),
		"cannot be held":    second(StationCapacity(ok, Objective{0.99, 30 * time.Millisecond}, 10)),
		"too many replicas": second(StationCapacity(ok, Objective{0.99, time.Second}, MaxReplicas+1)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second(_ *Capacity, err error) error { return err }
