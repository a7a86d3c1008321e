package plan

import (
	"fmt"
	"math"
	"time"
)

// The names that stand, beside the services, for what also uses the machine's CPU.
const (
	// Gateway is Banyan's own process: gateway, checks, metrics.
	Gateway = "gateway"
	// Client is the load generator, where it runs on the same machine.
	Client = "client"
)

// Measurement is what was observed of a running system over an interval of steady load.
type Measurement struct {
	// System that was measured.
	System string `json:"system"`
	// Source names the run.
	Source string `json:"source"`
	// Start and End of the interval; warm-up excluded.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Cores of the machine.
	Cores float64 `json:"cores"`
	// MachineCPU is the mean number of cores busy, by whatever process.
	MachineCPU float64 `json:"machine_cpu"`
	// Slice is how long the scheduler lets a thread run at most while others are ready; 0: not known.
	Slice time.Duration `json:"slice_ns,omitempty"`
	// Load that was offered, in the planner's terms.
	Load Load `json:"load"`
	// Routes by name.
	Routes map[string]RouteMeasurement `json:"routes"`
	// Calls between services (and from outside, From empty) for each route.
	Calls []CallMeasurement `json:"calls"`
	// Services by name, Gateway and Client too.
	Services map[string]ServiceMeasurement `json:"services"`
	// Pulses say how the system's CPU varied with the requests it handled, in steps of a fraction of a second.
	Pulses []Pulse `json:"pulses,omitempty"`
	// Edges, Replicas and PerSecond say more of the same interval; older records have none.
	Edges     []EdgeMeasurement    `json:"edges,omitempty"`
	Replicas  []ReplicaMeasurement `json:"replicas,omitempty"`
	PerSecond []Second             `json:"per_second,omitempty"`
	// HitRatios of routes with an http_cache: the share of all their requests, those of the warm-up included, that no
	// service was asked for.
	HitRatios map[string]float64 `json:"hit_ratios,omitempty"`
	// CacheHits are the shares of lookups that found their key, by cache of the file.
	CacheHits map[string]float64 `json:"cache_hits,omitempty"`
	// CacheCommands are the commands that the caches of the file which run inside of Banyan were sent, by cache. Their CPU is
	// part of the gateway's in Services.
	CacheCommands map[string]float64 `json:"cache_commands,omitempty"`
	// Tables of the file that run inside of Banyan, by name. Their CPU is part of the gateway's in Services.
	Tables map[string]TableMeasurement `json:"tables,omitempty"`
	// NotSent is the number of requests that were due and never sent.
	NotSent int64 `json:"not_sent,omitempty"`
	// Notes of the measurer, such as that the load generator was the bottleneck.
	Notes []string `json:"notes,omitempty"`
}

// Seconds is the length of the interval.
func (m *Measurement) Seconds() float64 { return m.End.Sub(m.Start).Seconds() }

// Stolen is the mean number of cores that the hypervisor gave to others while this machine wanted to run.
func (m *Measurement) Stolen() float64 {
	var stolen, seconds float64
	for _, s := range m.PerSecond {
		stolen += s.Stolen
		seconds += s.Seconds
	}
	if seconds == 0 {
		return 0
	}
	return stolen / seconds
}

// muchStolen is the share of the machine's busy time from which on what the hypervisor took is seen in latencies: it takes a
// core for milliseconds at a time, and all who were on it wait.
const muchStolen = 0.015

// muchUnsteady is the change of what a request costs from which on a run is not one measurement but two.
const muchUnsteady = 0.15

// Unsteady is by how much of its mean the CPU time of a request changed from the first third of the interval to the last; 0 where
// the load changed as well, by more than a tenth, or too little was observed. Hosts that run others on the other half of a core
// slow a machine down without a word, and so does what an earlier load has left behind.
func (m *Measurement) Unsteady() float64 {
	begin, end := m.thirds()
	if begin == nil {
		return 0
	}
	first, firstRate := costOfSeconds(begin)
	last, lastRate := costOfSeconds(end)
	all, _ := costOfSeconds(m.PerSecond)
	if !(first > 0 && last > 0) || math.Abs(lastRate/firstRate-1) > 0.1 {
		return 0
	}
	return (last - first) / all
}

// thirds are the first and the last third of the seconds, nil where they are too few to tell one from the other.
func (m *Measurement) thirds() (first, last []Second) {
	n := len(m.PerSecond) / 3
	if n < 3 {
		return nil, nil
	}
	return m.PerSecond[:n], m.PerSecond[len(m.PerSecond)-n:]
}

// costOfSeconds is the CPU time for each request, and how many there were in a second.
func costOfSeconds(seconds []Second) (cost, rate float64) {
	var cpu, requests, length float64
	for _, s := range seconds {
		for _, v := range s.CPU {
			cpu += v
		}
		for _, n := range s.Requests {
			requests += n
		}
		length += s.Seconds
	}
	if requests <= 0 || length <= 0 {
		return 0, 0
	}
	return cpu / requests, requests / length
}

// disturbed says what from outside has changed what was measured, where that is much.
func (m *Measurement) disturbed() string {
	if share := m.Stolen() / max(m.MachineCPU, 1e-9); share >= muchStolen {
		return fmt.Sprintf("the host of this virtual machine took %.1f%% of the time for which its processors were to run: latencies include it, and the model does not know it", 100*share)
	}
	if change := m.Unsteady(); math.Abs(change) >= muchUnsteady {
		way := "grew"
		if change < 0 {
			way = "fell"
		}
		return fmt.Sprintf("the CPU time of a request %s by %.0f%% within the run, at the same load: the machine's own speed has changed, or something else went on", way, 100*math.Abs(change))
	}
	return ""
}

// RouteMeasurement is what clients saw of a route.
type RouteMeasurement struct {
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"`
	// Refused are those errors for which the service had no room: turned away at once, at its adaptive bound or concurrency.
	Refused int64         `json:"refused,omitempty"`
	Mean    time.Duration `json:"mean_ns"`
	StdDev  time.Duration `json:"stddev_ns"`
	P50     time.Duration `json:"p50_ns"`
	P95     time.Duration `json:"p95_ns"`
	P99     time.Duration `json:"p99_ns"`
}

// CallMeasurement is the calls from one service to another that one route caused.
type CallMeasurement struct {
	// Route that the calls belong to; empty where they could not be attributed.
	Route string `json:"route"`
	// From is the calling service; empty for the requests from outside.
	From string `json:"from"`
	To   string `json:"to"`
	// Count of the calls.
	Count int64 `json:"count"`
	// Time that they took, all together, as the gateway saw it.
	Time time.Duration `json:"time_ns"`
}

// ServiceMeasurement is what a service used.
type ServiceMeasurement struct {
	// CPU is the mean number of cores used, all replicas together.
	CPU float64 `json:"cpu"`
	// Idle is the number of cores used just before the load began, 0 where that was not observed.
	Idle float64 `json:"idle"`
	// Replicas that ran, on average.
	Replicas float64 `json:"replicas"`
	// Limit of one replica in cores, 0 for none.
	Limit float64 `json:"limit"`
	// Throttled is the share of the interval that replicas were held back by their limit.
	Throttled float64 `json:"throttled"`
	// Waited is the mean number of threads that were ready to run and did not; 0 where that was not observed.
	Waited float64 `json:"waited,omitempty"`
}

// Pulse is one step of a measurement.
type Pulse struct {
	Seconds float64 `json:"seconds"`
	// Requests that ended, by route; those without any are left out.
	Requests map[string]float64 `json:"requests"`
	// CPU seconds used, by all services and the gateway.
	CPU float64 `json:"cpu"`
}
