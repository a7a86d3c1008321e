package queueing

import "math"

// calls is how often a frame is called, and the mean time that it then holds a thread.
func (l *lqnLayers) calls(f int) (rate, held float64) {
	fr := &l.frames[f]
	for e, r := range fr.rate {
		rate += r
		held += r * (fr.first[e] + l.rest[e])
	}
	if rate > 0 {
		held /= rate
	}
	return rate, held
}

// phaseSCV is the squared coefficient of variation of a phase's time: its own where it calls no one; near 1 for a sum of a random
// number of slices and calls.
func (l *lqnLayers) phaseSCV(e, phase int) float64 {
	p := l.p
	for _, a := range p.actsOf(e) {
		if x := &p.acts[a]; x.phase == phase && x.total == 0 && x.think == 0 {
			return x.scv
		}
	}
	return 1
}

// lineOf is the wait of frame f in the line of its task.
func (l *lqnLayers) lineOf(f int) float64 {
	p := l.p
	t := l.frames[f].task
	m := float64(p.tasks[t].servers)
	var inLine, busy, left float64 // work in line; threads busy; what those still need
	// The token's own calls, in this frame and in others that need a thread which it holds: how often, and what they leave.
	var mine float64
	its := 0.0 // what one token of this frame adds to the waits of others
	if fr := &l.frames[f]; m == 1 {
		for e, r := range fr.rate {
			its += r * (fr.wait*(fr.first[e]+l.rest[e]) + fr.first[e]*(fr.first[e]*(1+l.phaseSCV(e, 0))/2+l.rest[e]))
		}
		its /= l.narrow(fr.parent)
	}
	for _, o := range l.at[t] {
		if o == l.later[t] {
			continue
		}
		share, other := l.queues[f][o], &l.frames[o]
		called, _ := l.calls(o)
		waits, more := without(its*l.queues[o][f], other.wait, called/l.narrow(other.parent))
		for _, e := range p.tasks[t].entries {
			r := other.rate[e]
			if r == 0 {
				continue
			}
			mine += (1 - share) * r
			r *= more
			inLine += share * r * waits * (other.first[e] + l.rest[e])
			busy += share * r * other.first[e]
			left += share * r * other.first[e] * (other.first[e]*(1+l.phaseSCV(e, 0))/2 + l.rest[e])
			if l.rest[e] > 0 {
				after := share * r * l.rest[e]
				busy += after
				left += after * l.rest[e] * (1 + l.phaseSCV(e, 1)) / 2
			}
		}
	}
	if mine > 0 {
		// The second phase that it left behind races against the time until the next call.
		called, _ := l.calls(f)
		time := 0.0
		for e, r := range l.frames[f].rate {
			time += r * l.frames[f].first[e] / called
		}
		between := math.Max(0, 1/mine-l.frames[f].wait-time)
		for _, o := range l.at[t] {
			for e, r := range l.frames[o].rate {
				if l.rest[e] > 0 {
					still := (1 - l.queues[f][o]) * r / mine * l.rest[e] / (l.rest[e] + between)
					busy += still
					left += still * l.rest[e] * (1 + l.phaseSCV(e, 1)) / 2
				}
			}
		}
	}
	switch {
	case m == 1:
		return inLine + left
	case busy <= 0 || l.others(f) < m && l.later[t] < 0: // a thread for everyone
		return 0
	}
	full := erlangC(int(m), math.Min(busy, m*(1-1e-9)))
	return inLine/m + full*left/busy/m
}

// without is a wait, and by how much more often its customer comes, in the absence of one token that adds its part to the wait:
// what a token finds is the system without it (the arrival theorem). rate is how often one customer comes.
func without(part, wait, rate float64) (left, more float64) {
	part = math.Min(part, wait)
	return wait - part, 1 / (1 - math.Min(0.5, rate*part))
}

// others is how many customers beside one in frame f can be at its task.
func (l *lqnLayers) others(f int) float64 {
	n := -1.0
	seen := map[int]bool{}
	for _, o := range l.at[l.frames[f].task] {
		// As many as the narrowest place on the way there lets through.
		narrow, where := math.Inf(1), -1-o
		for a := l.frames[o].parent; a >= 0; a = l.frames[a].parent {
			if t := l.frames[a].task; t >= 0 && (l.p.tasks[t].reference || !l.p.tasks[t].infinite) {
				if c := float64(l.p.tasks[t].servers); c < narrow {
					narrow, where = c, t
				}
			}
		}
		if o != l.later[l.frames[f].task] && !seen[where] {
			seen[where] = true
			n += narrow
		}
	}
	return n
}
