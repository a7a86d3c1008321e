package ui

import (
	"context"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/topology"
)

// System is what the page needs of the system that runs. All methods may be called concurrently; what they return is not
// changed by the page.
type System interface {
	// State is starting, serving or stopping.
	State() string
	// Topology that it goes by now, as its file says it.
	Topology() *topology.System
	// Planned is the same with the calibration beside the file, if there is one.
	Planned() (*topology.System, error)
	// Present is the system's state, with rates and latencies over the last window, and no trends.
	Present(window time.Duration) (observe.Status, error)
	// Window is everything that was observed between two instants.
	Window(from, to time.Time) (*observe.Window, error)
	// Replicas is what the orchestrator knows of each service.
	Replicas() []orchestrate.ServiceStatus
	// Events are the latest things that happened, oldest first.
	Events() []orchestrate.Event
	// ScaledServices are those that the autoscaler scales, ScaleDecisions what it decided about one, oldest first.
	ScaledServices() []string
	ScaleDecisions(service string) (all []autoscale.Decision, ok bool)
	// Stores is what caches, queues and topics hold.
	Stores() []Store
}

// Store is what a cache, a queue or a topic holds; what does not apply to its kind is zero.
type Store struct {
	// ID is that of its node in the map: caches.NAME, queues.NAME, topics.NAME.
	ID string `json:"id"`
	// Rate of lookups, messages or events a second, HitRatio of lookups, 0 to 1.
	Lookups  int64   `json:"lookups,omitempty"`
	HitRatio float64 `json:"hit_ratio,omitempty"`
	// Used and Limit in bytes; Limit 0: none.
	Used  int64 `json:"used_bytes,omitempty"`
	Limit int64 `json:"limit_bytes,omitempty"`
	// Waiting messages, those InFlight, and Dead ones; OldestAge of a waiting one.
	Waiting   int64         `json:"waiting,omitempty"`
	InFlight  int64         `json:"in_flight,omitempty"`
	Dead      int64         `json:"dead,omitempty"`
	OldestAge time.Duration `json:"oldest_age_ns,omitempty"`
	// Stored and Handled messages since the start, for rates.
	Stored  int64 `json:"stored,omitempty"`
	Handled int64 `json:"handled,omitempty"`
}

// Loader runs load tests against the system, one at a time.
type Loader interface {
	// Load runs one until it is over or ctx ends, and then says what was found; progress is called about once a second.
	Load(ctx context.Context, req LoadRequest, progress func(load.Progress)) (*LoadOutcome, error)
}

// LoadRequest asks for a load test with the workload of the file. Rate and Users exclude each other; with neither the file
// says how much.
type LoadRequest struct {
	// Rate of scenario starts a second.
	Rate float64 `json:"rate,omitempty"`
	// Users who wait for each answer and think.
	Users int `json:"users,omitempty"`
	// Seconds that it lasts; 0: as the file says.
	Seconds float64 `json:"seconds,omitempty"`
	// FindKnee searches for the highest rate that keeps SLO, such as 'p99<200ms,errors<1%'; Seconds are then of a probe.
	FindKnee bool   `json:"find_knee,omitempty"`
	SLO      string `json:"slo,omitempty"`
}

// LoadOutcome is what a load test found: one of the two.
type LoadOutcome struct {
	Result *load.Result `json:"result,omitempty"`
	Knee   *load.Knee   `json:"knee,omitempty"`
}
