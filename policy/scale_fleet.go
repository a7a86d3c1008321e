package policy

import "time"

// ImaginedFleet is the replicas that a service would have if it did as some policy says: those that serve, and those that
// serve when their start-up is over. Its zero value has none.
type ImaginedFleet struct {
	ready    int
	starting []startingReplicas // in the order in which they were asked for
}

type startingReplicas struct {
	serve time.Duration // when they do
	n     int
}

// NewImaginedFleet returns one whose replicas all serve.
func NewImaginedFleet(ready int) ImaginedFleet { return ImaginedFleet{ready: max(ready, 0)} }

// Arrive takes in the replicas that serve by now.
func (f *ImaginedFleet) Arrive(now time.Duration) {
	k := 0
	for k < len(f.starting) && f.starting[k].serve <= now {
		f.ready += f.starting[k].n
		k++
	}
	f.starting = f.starting[:copy(f.starting, f.starting[k:])]
}

// Ready is how many serve.
func (f *ImaginedFleet) Ready() int { return f.ready }

// Total is how many serve or start.
func (f *ImaginedFleet) Total() int {
	n := f.ready
	for _, s := range f.starting {
		n += s.n
	}
	return n
}

// Resize asks for so many in all: further ones serve at an instant, and of too many the youngest go first.
func (f *ImaginedFleet) Resize(want int, serve time.Duration) {
	total := f.Total()
	if want > total {
		f.starting = append(f.starting, startingReplicas{serve, want - total})
		return
	}
	for drop := total - max(want, 0); drop > 0; {
		n := len(f.starting)
		if n == 0 {
			f.ready -= drop
			return
		}
		take := min(drop, f.starting[n-1].n)
		drop -= take
		if f.starting[n-1].n -= take; f.starting[n-1].n == 0 {
			f.starting = f.starting[:n-1]
		}
	}
}
