package observe

import (
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Interval is what happened between two instants. Entries with nothing to tell are left out; the others are ordered by
// their names.
type Interval struct {
	Start      time.Time        `json:"start"`
	End        time.Time        `json:"end"`
	Routes     []CallSums       `json:"routes"`
	Edges      []CallSums       `json:"edges"`
	Attributed []AttributedSums `json:"attributed"`
	Backends   []BackendSums    `json:"backends"`
	Processes  []ProcessSums    `json:"processes"`
	Bounds     []BoundMean      `json:"bounds,omitempty"`
	Machine    MachineSums      `json:"machine"`

	digits int // precision of the histograms
}

// Duration returns how long the interval lasted.
func (iv *Interval) Duration() time.Duration { return iv.End.Sub(iv.Start) }

// CallSums is what happened on one route or edge.
type CallSums struct {
	Route string `json:"route,omitempty"` // of a route
	From  string `json:"from,omitempty"`  // of an edge; empty: from outside
	To    string `json:"to,omitempty"`    // of an edge
	// Requests answered, and Errors and ByCode among them.
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"`
	// Refused are the errors for which the service had no room; recordings of before have none.
	Refused int64         `json:"refused,omitempty"`
	ByCode  map[int]int64 `json:"by_code,omitempty"`
	// InFlight is the mean of the samples.
	InFlight float64 `json:"in_flight"`
	// Sum of the latencies of all requests.
	Sum time.Duration `json:"sum_ns"`
	// Latency holds the distribution; use MeanLatency for the mean, which Sum knows exactly. Nil in Window.Intervals and
	// where nothing was measured.
	Latency *stats.Histogram `json:"latency,omitempty"`

	packed packed // Latency in the form in which it is stored; either or none is set
}

// MeanLatency returns the mean latency, 0 where there was no request.
func (c *CallSums) MeanLatency() time.Duration { return mean(c.Sum, c.Requests) }

// Quantile returns the latency at or below which a share q of the requests lies, 0 where nothing was measured.
func (c *CallSums) Quantile(q float64) time.Duration {
	if c.Latency == nil {
		return 0
	}
	return c.Latency.QuantileDuration(q)
}

// ErrorShare returns the share of requests that failed, 0 to 1.
func (c *CallSums) ErrorShare() float64 { return share(c.Errors, c.Requests) }

// AttributedSums is what requests of one route caused on one edge.
type AttributedSums struct {
	Route string        `json:"route"`
	From  string        `json:"from"`
	To    string        `json:"to"`
	Count int64         `json:"count"`
	Sum   time.Duration `json:"sum_ns"`
}

// MeanLatency returns the mean latency of the calls, 0 where there was none.
func (a *AttributedSums) MeanLatency() time.Duration { return mean(a.Sum, a.Count) }

// BackendSums is what the gateway sent to one replica.
type BackendSums struct {
	Service  string  `json:"service"`
	Replica  string  `json:"replica"`
	Requests int64   `json:"requests"`
	Errors   int64   `json:"errors"`
	InFlight float64 `json:"in_flight"`
	// Latency is kept for the last ten minutes only.
	Latency *stats.Histogram `json:"latency,omitempty"`

	packed packed
}

// BoundMean is where the adaptive bound of a service stood, on average; recordings of before have none.
type BoundMean struct {
	Service string  `json:"service"`
	Limit   float64 `json:"limit"`
}

// ProcessSums is what one replica used, all the processes that bore its name together.
type ProcessSums struct {
	Service   string        `json:"service"`
	Replica   string        `json:"replica"`
	CPU       time.Duration `json:"cpu_ns"`
	Throttled time.Duration `json:"throttled_ns"`
	// Waited is how long its threads were ready to run and did not, all of them together; recordings of before have none.
	Waited time.Duration `json:"waited_ns"`
	// Alive is how long the replica was there; at most the interval, but for one that was missing from samples.
	Alive time.Duration `json:"alive_ns"`
	// Memory is its mean while alive, MemoryMax its peak among the samples, in bytes.
	Memory    int64 `json:"memory_bytes"`
	MemoryMax int64 `json:"memory_max_bytes"`
}

// Cores returns the CPU cores that the replica used while it was alive.
func (p *ProcessSums) Cores() float64 { return ratio(p.CPU, p.Alive) }

// MachineSums is what the host used.
type MachineSums struct {
	Cores       int           `json:"cores"`
	Busy        time.Duration `json:"busy_ns"`
	Stolen      time.Duration `json:"stolen_ns"`
	MemoryUsed  int64         `json:"memory_used_bytes"` // mean
	MemoryTotal int64         `json:"memory_total_bytes"`
	Load1       float64       `json:"load1"` // mean
}

func mean(sum time.Duration, n int64) time.Duration {
	if n <= 0 {
		return 0
	}
	return time.Duration(float64(sum) / float64(n))
}

func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func ratio(part, whole time.Duration) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
