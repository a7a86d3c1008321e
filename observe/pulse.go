package observe

import (
	"context"
	"sort"
	"sync"
	"time"
)

// Pulse is a reading of the two counters that say what a call costs, taken more often than samples are: how CPU varies
// with calls from one fifth of a second to the next tells what the next call would cost, which is less than the mean
// where a busy machine spares itself falling asleep and waking up.
type Pulse struct {
	At time.Time `json:"at"`
	// Calls that have ended since the start, from outside and between services.
	Calls int64 `json:"calls"`
	// CPU time that the system has used since the start, all replicas and Banyan itself, in nanoseconds in JSON.
	CPU time.Duration `json:"cpu_ns"`
}

// PulseInterval is the time between two pulses.
const PulseInterval = 200 * time.Millisecond

// keepPulses is how many are kept: an hour's, 720 KB.
const keepPulses = int(time.Hour / PulseInterval)

// Pulses keeps the latest pulses of a system. Between may be called while Run runs.
type Pulses struct {
	read func() Pulse

	mu   sync.Mutex
	ring []Pulse // grows to keepPulses, then wraps around
	next int
}

// NewPulses returns an empty history; read takes a pulse, from Run alone.
func NewPulses(read func() Pulse) *Pulses { return &Pulses{read: read} }

// Run takes a pulse at every interval until ctx ends.
func (p *Pulses) Run(ctx context.Context) error {
	tick := time.NewTicker(PulseInterval)
	defer tick.Stop()
	for {
		p.add(p.read())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *Pulses) add(pulse Pulse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ring) < keepPulses {
		p.ring = append(p.ring, pulse)
		return
	}
	p.ring[p.next] = pulse
	p.next = (p.next + 1) % keepPulses
}

// Between returns the pulses from one instant to another, both included, oldest first.
func (p *Pulses) Between(from, to time.Time) []Pulse {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := func(i int) *Pulse { return &p.ring[(p.next+i)%len(p.ring)] }
	first := sort.Search(len(p.ring), func(i int) bool { return !at(i).At.Before(from) })
	var pulses []Pulse
	for i := first; i < len(p.ring) && !at(i).At.After(to); i++ {
		pulses = append(pulses, *at(i))
	}
	return pulses
}
