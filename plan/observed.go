package plan

import (
	"time"

	"github.com/banyanhq/banyan/stats"
)

// EdgeMeasurement is the calls from one service to another, of all routes, as the gateway saw them: waiting for a
// replica and tries that failed included.
type EdgeMeasurement struct {
	// From is the calling service; empty for the requests from outside.
	From string `json:"from"`
	To   string `json:"to"`
	// Count of the calls, Errors among them, and Refused among these: turned away, since the service had no room.
	Count   int64 `json:"count"`
	Errors  int64 `json:"errors,omitempty"`
	Refused int64 `json:"refused,omitempty"`
	// Latency of the calls.
	Mean   time.Duration `json:"mean_ns"`
	StdDev time.Duration `json:"stddev_ns"`
	P50    time.Duration `json:"p50_ns"`
	P99    time.Duration `json:"p99_ns"`
	// Histogram of the latencies; nil in older records.
	Histogram *stats.Histogram `json:"histogram,omitempty"`
}

// ReplicaMeasurement is what one replica did.
type ReplicaMeasurement struct {
	Service string `json:"service"`
	Replica string `json:"replica"`
	// Requests that it was sent, tries that failed included, and Errors among them.
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors,omitempty"`
	// Latency of the tries, without the wait for the replica.
	Mean   time.Duration `json:"mean_ns"`
	StdDev time.Duration `json:"stddev_ns"`
	// InFlight is the mean number of requests that it was working on.
	InFlight float64 `json:"in_flight"`
	// CPU that it used, in cores, and the share of the time that its limit held it back.
	CPU       float64 `json:"cpu"`
	Throttled float64 `json:"throttled,omitempty"`
}

// Second is one interval of a measurement, about a second.
type Second struct {
	Seconds float64 `json:"seconds"`
	// Requests that ended and were not refused, by route, and CPU seconds used, by service; what is zero is left out.
	Requests map[string]float64 `json:"requests"`
	CPU      map[string]float64 `json:"cpu"`
	// Calls that ended and were not refused, by edge: 'web -> catalog', those from outside '-> web'.
	Calls map[string]float64 `json:"calls,omitempty"`
	// Stolen is the CPU time that the hypervisor gave to others, in seconds.
	Stolen float64 `json:"stolen,omitempty"`
}

// EdgeName is what an edge is called in Second.Calls.
func EdgeName(from, to string) string {
	if from == "" {
		return "-> " + to
	}
	return from + " -> " + to
}
