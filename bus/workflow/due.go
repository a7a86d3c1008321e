package workflow

import "time"

// due moves on all runs whose time has come, and returns how long the next one takes.
func (e *Engine) due() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		next, ok := e.timers.first()
		now := e.now()
		switch {
		case !ok:
			return time.Hour
		case next.at > now:
			return min(next.at-now, time.Hour)
		}
		e.timers.pop()
		if r := e.runs[next.id]; r != nil {
			if r.armed == next.at {
				r.armed = 0
			}
			e.happen(r)
		}
	}
}

// arm notes when a run is due, and what it waits for. e.mu is held.
func (e *Engine) arm(r *run) {
	if e.runs[r.ID] != r {
		return
	}
	// A timer that comes too early does no harm, so a later one need not be replaced.
	if at, ok := r.Next(); ok && (r.armed == 0 || at < r.armed) {
		r.armed = at
		if first, any := e.timers.first(); !any || at < first.at {
			select {
			case e.wake <- struct{}{}:
			default:
			}
		}
		e.timers.push(timer{at, r.ID})
	}
	topic, key, _, waits := r.Awaits()
	if r.waits != nil && (!waits || *r.waits != waitKey{topic, key}) {
		e.unwait(r)
	}
	if waits && r.waits == nil {
		k := waitKey{topic, key}
		r.waits = &k
		if e.byWait[k] == nil {
			e.byWait[k] = map[string]bool{}
		}
		e.byWait[k][r.ID] = true
		if e.cfg.Waits != nil {
			e.cfg.Waits(r.ID, topic, key)
		}
	}
}

func (e *Engine) unwait(r *run) {
	if r.waits == nil {
		return
	}
	delete(e.byWait[*r.waits], r.ID)
	if len(e.byWait[*r.waits]) == 0 {
		delete(e.byWait, *r.waits)
	}
	r.waits = nil
}
