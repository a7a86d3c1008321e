package observe

import (
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Outside is the From of a call that came from outside of the system, through a route.
const Outside = ""

// Digits is the precision of the latency histograms in a sample: significant decimal digits.
const Digits = 2

// Sample is the state of every counter at one instant. Unless said otherwise a field counts since the start of what it
// describes and never decreases but when that starts anew. The Observer keeps the sample: nothing in it may be changed
// after it was handed over.
type Sample struct {
	// At is the instant of the sample. A sample that is not later than the one before is a new beginning: nothing is
	// derived from the pair.
	At time.Time `json:"at"`
	// Since is when Routes, Edges, Attributed and Backends began to count: the start of the gateway. When it changes
	// they have all started anew. Zero: unknown; then a counter that decreased has started anew.
	Since time.Time `json:"since,omitzero"`
	// Routes holds one entry for each route: requests from outside, as the client saw them.
	Routes []CallCounters `json:"routes"`
	// Edges holds one entry for each caller and callee. Calls from outside belong here too, with From Outside, for a
	// service's figures are the sum of the edges that lead to it.
	Edges []CallCounters `json:"edges"`
	// Attributed says which route caused the calls of each edge.
	Attributed []AttributedCounters `json:"attributed"`
	// Backends holds one entry for each replica that the gateway may send calls to.
	Backends []BackendState `json:"backends"`
	// Processes holds one entry for each process of a replica, and pseudo-services such as Gateway.
	Processes []ProcessCounters `json:"processes"`
	// Services holds what is wanted of each service, and the state of its replicas.
	Services []ServiceState `json:"services"`
	// Bounds holds one entry for each service whose requests in flight 'adaptive' bounds.
	Bounds []BoundState `json:"bounds,omitempty"`
	// Machine is the host, everything on it together.
	Machine MachineCounters `json:"machine"`
}

// Gateway is the pseudo-service under which Banyan's own process is counted.
const Gateway = "gateway"

// CallCounters counts the calls of one route or one edge.
type CallCounters struct {
	// Route is the route's name; empty for an edge.
	Route string `json:"route,omitempty"`
	// From and To are the calling and the called service of an edge; empty for a route.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Requests that were answered, whatever the answer.
	Requests int64 `json:"requests"`
	// Errors among them: answers of 500 and above, those that the gateway made itself included.
	Errors int64 `json:"errors"`
	// Refused are the errors that the gateway answered at once, since the service has as many requests as it may have.
	Refused int64 `json:"refused,omitempty"`
	// ByCode counts the answers by HTTP status.
	ByCode map[int]int64 `json:"by_code,omitempty"`
	// InFlight is the number of calls that have begun and not ended, now.
	InFlight int64 `json:"in_flight"`
	// Latency of the answered requests in nanoseconds, retries included. Nil: not measured.
	Latency *stats.Histogram `json:"latency,omitempty"`
}

// AttributedCounters counts the calls that requests of one route caused on one edge.
type AttributedCounters struct {
	Route string `json:"route"`
	From  string `json:"from"`
	To    string `json:"to"`
	// Count of calls.
	Count int64 `json:"count"`
	// Sum of their latencies, in nanoseconds in JSON.
	Sum time.Duration `json:"sum_ns"`
}

// Breaker is the state of a circuit breaker.
type Breaker string

// The states of a circuit breaker.
const (
	BreakerClosed   Breaker = "closed"    // calls pass
	BreakerOpen     Breaker = "open"      // none pass
	BreakerHalfOpen Breaker = "half-open" // a probe passes
)

// BackendState is one replica as the gateway sees it.
type BackendState struct {
	Service string `json:"service"`
	Replica string `json:"replica"`
	// Address to which calls are sent, host:port.
	Address string `json:"address,omitempty"`
	// Breaker of the replica; empty where there is none.
	Breaker Breaker `json:"breaker,omitempty"`
	// Healthy is false while active checks fail.
	Healthy bool `json:"healthy"`
	// Draining is true once no new calls are sent.
	Draining bool `json:"draining,omitempty"`
	// InFlight is the number of calls that the replica is working on, now.
	InFlight int64 `json:"in_flight"`
	// Requests and Errors count tries, so a retried call counts on each replica that it reached.
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"`
	// Latency of the tries in nanoseconds. Nil: not measured.
	Latency *stats.Histogram `json:"latency,omitempty"`
}

// BoundState is where the adaptive bound of a service stands now.
type BoundState struct {
	Service string `json:"service"`
	// Limit is how many requests it lets in at once.
	Limit int64 `json:"limit"`
}

// ProcessCounters is what one process, or one control group, has used.
type ProcessCounters struct {
	Service string `json:"service"`
	Replica string `json:"replica"`
	// Started is when the process started. It tells a restarted replica from the one before it that had the same name.
	// Zero: unknown; then CPU that decreased means that the process started anew.
	Started time.Time `json:"started,omitzero"`
	// CPU time used, user and system together, in nanoseconds in JSON.
	CPU time.Duration `json:"cpu_ns"`
	// Throttled is how long the CPU limit held the process back, in nanoseconds in JSON.
	Throttled time.Duration `json:"throttled_ns"`
	// Waited is how long its threads were ready to run and did not, all of them together, in nanoseconds in JSON.
	Waited time.Duration `json:"waited_ns"`
	// Memory resident now, in bytes. Not a counter.
	Memory int64 `json:"memory_bytes"`
	// Exited marks the last word on a process that has ended (from its rusage), so that the CPU of its last moments is
	// counted. It may stand beside its successor of the same name.
	Exited bool `json:"exited,omitempty"`
}

// ServiceState is what the orchestrator says of one service.
type ServiceState struct {
	Service string `json:"service"`
	// Wanted and Ready count replicas.
	Wanted int `json:"wanted"`
	Ready  int `json:"ready"`
	// Message is one line for people where something is wrong, for example "crash-looping: exit status 1".
	Message  string         `json:"message,omitempty"`
	Replicas []ReplicaState `json:"replicas,omitempty"`
}

// StateReady is the state of a replica that calls may be sent to.
const StateReady = "ready"

// ReplicaState is what the orchestrator says of one replica.
type ReplicaState struct {
	Replica string `json:"replica"`
	// State in the orchestrator's words: starting, StateReady, draining, back-off, crash-loop, ...
	State string `json:"state"`
	// Restarts since the system came up.
	Restarts int64 `json:"restarts"`
	// CPULimit in cores and MemoryLimit in bytes; 0: no limit.
	CPULimit    float64 `json:"cpu_limit_cores,omitempty"`
	MemoryLimit int64   `json:"memory_limit_bytes,omitempty"`
	// LimitsAdvisory is true where the machine does not let limits be enforced.
	LimitsAdvisory bool `json:"limits_advisory,omitempty"`
}

// MachineCounters is the host. Its zero value means that it is not known.
type MachineCounters struct {
	// Cores that are online.
	Cores int `json:"cores"`
	// Busy is the CPU time used by everything on the machine, all cores together, in nanoseconds in JSON.
	Busy time.Duration `json:"busy_ns"`
	// Stolen is the CPU time that the hypervisor gave to others while this machine wanted to run.
	Stolen time.Duration `json:"stolen_ns"`
	// MemoryUsed and MemoryTotal in bytes. Used is what is not available to new programs, so caches do not count.
	MemoryUsed  int64 `json:"memory_used_bytes"`
	MemoryTotal int64 `json:"memory_total_bytes"`
	// Load1, Load5 and Load15 are the load averages over 1, 5 and 15 minutes.
	Load1  float64 `json:"load1"`
	Load5  float64 `json:"load5"`
	Load15 float64 `json:"load15"`
}
