package orchestrate

import (
	"sync"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// ServiceStatus is how a service is, and how it should be.
type ServiceStatus struct {
	Service string `json:"service"`
	// Desired number of replicas, and how many are ready.
	Desired int `json:"desired"`
	Ready   int `json:"ready"`
	// CPU and Memory are the limits of each replica; 0: none.
	CPU    topology.CPU   `json:"cpu"`
	Memory topology.Bytes `json:"memory"`
	// LimitsAdvisory says why the limits are not kept by the kernel; "" if they are.
	LimitsAdvisory string `json:"limits_advisory,omitempty"`
	// Revision counts the starts and replacements of the service in this run.
	Revision int `json:"revision"`
	// Replacing says that a rolling replacement is under way; ReplaceError why the last one failed.
	Replacing    bool   `json:"replacing,omitempty"`
	ReplaceError string `json:"replace_error,omitempty"`
	// Settled says that the service is as it should be: all replicas ready, nothing being replaced or stopped.
	Settled  bool            `json:"settled"`
	Replicas []ReplicaStatus `json:"replicas"`
}

// ReplicaStatus is how one replica is.
type ReplicaStatus struct {
	ID string `json:"id"` // orders-0
	// State is starting, ready, unready, ending, waiting (to be started again) or stopping.
	State    string `json:"state"`
	PID      int    `json:"pid,omitempty"`
	Address  string `json:"address,omitempty"`
	Revision int    `json:"revision"`
	// Started is when its process was started, zero if none runs.
	Started time.Time `json:"started,omitzero"`
	// ReadySince is when its process became ready the last time, zero if it is not.
	ReadySince time.Time `json:"ready_since,omitzero"`
	// Restarts counts how often its process was started again.
	Restarts int `json:"restarts"`
	// CrashLooping says that it exits again and again.
	CrashLooping bool `json:"crash_looping,omitempty"`
	// LastExit says how its process ended the last time; OOMKilled that this was for want of memory.
	LastExit  string `json:"last_exit,omitempty"`
	OOMKilled bool   `json:"oom_killed,omitempty"`
	// Why it is not ready, as far as it is known.
	Why string `json:"why,omitempty"`
}

// board is where the controllers publish how their services are, for everyone else to read.
type board struct {
	mu       sync.Mutex
	services map[string]posting
	changed  chan struct{} // closed and replaced at each change
	ended    bool
	err      error // why Run ended
}

type posting struct {
	status  ServiceStatus
	meters  []*meter
	failure string // why a replica cannot come up, with its last lines; "" if none is known to fail
}

func newBoard() *board {
	return &board{services: make(map[string]posting), changed: make(chan struct{})}
}

func (b *board) post(name string, p posting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.services[name] = p
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.err = true, err
	close(b.changed)
	b.changed = make(chan struct{})
}

// view is a consistent reading of the board; changed is closed when it is out of date.
type view struct {
	services map[string]posting
	changed  <-chan struct{}
	ended    bool
	err      error
}

func (b *board) view() view {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := view{services: make(map[string]posting, len(b.services)), changed: b.changed, ended: b.ended, err: b.err}
	for name, p := range b.services {
		v.services[name] = p
	}
	return v
}
