package load

import (
	"sync"
	"time"
)

// pacer spaces out what is late, so that a target that comes back is not met by all that has gathered at once.
type pacer struct {
	rate func(due time.Duration) float64 // of the schedule, per second

	mu   sync.Mutex
	next time.Duration
}

// catchUpFactor is by how much the rate of catching up is above that of the schedule.
const catchUpFactor = 2

// turn returns when what was due at the given instant may be sent: now, or later if others that are late come before.
func (p *pacer) turn(now, due time.Duration) time.Duration {
	rate := p.rate(due)
	if rate <= 0 {
		return now
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := max(now, p.next)
	p.next = at + seconds(1/(catchUpFactor*rate))
	return at
}
