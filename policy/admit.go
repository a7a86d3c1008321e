package policy

import "time"

// Admission bounds how requests wait for which no backend was picked. It is a value, and safe for concurrent use.
type Admission struct {
	// Wait is how long a request may wait; 0 or less: none does.
	Wait time.Duration
	// MaxWaiting is how many requests may wait for one service.
	MaxWaiting int
}

// Decide says how long a request waits that was refused a backend for the given reason, has so much time left and
// finds so many others waiting. 0 means that it does not: it is answered with the refusal that is returned. A wait
// helps where a place may become free or a backend ready, and not where breakers are open: they stay so for longer.
func (a Admission) Decide(why Refusal, left time.Duration, waiting int) (patience time.Duration, refused Refusal) {
	patience = min(a.Wait, left)
	switch {
	case why == AllBroken || patience <= 0:
		return 0, why
	case waiting >= a.MaxWaiting:
		return 0, AllFull
	}
	return patience, Picked
}
