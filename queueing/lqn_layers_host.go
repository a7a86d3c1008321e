package queueing

import "math"

// hostWork is what one class's slices of one task put on a host.
type hostWork struct {
	frame, task int
	rate        float64 // slices
	slice       float64 // mean
	residual    float64 // mean rest of a slice in progress
	after       float64 // share of the slices that follow the reply of a task on this host which goes on
	rest        float64 // mean slice of that
	begins      float64 // share of the slices (of a second phase) that begin as the caller goes on here too
	caller      float64 // and the caller's mean slice
}

// workAt lists the work on host k.
func (l *lqnLayers) workAt(k int) []hostWork {
	p := l.p
	var out []hostWork
	for t := range p.tasks {
		if p.tasks[t].proc != k {
			continue
		}
		for _, f := range l.at[t] {
			w := hostWork{frame: f, task: t}
			square, time := 0.0, 0.0
			for _, e := range p.tasks[t].entries {
				for _, a := range p.actsOf(e) {
					x := &p.acts[a]
					r := l.frames[f].rate[e]
					if x.phase > 0 && !p.tasks[t].reference {
						if r = 0; f == l.later[t] {
							r = l.total[e]
						}
					}
					if x.service <= 0 || r <= 0 {
						continue
					}
					n := r * (1 + x.total)
					s := x.service / (1 + x.total)
					w.rate += n
					time += n * s
					square += n * s * s * (1 + x.scv)
					for _, y := range x.calls {
						if first := l.firstLater(y.entry, k); !y.async && first > 0 {
							w.after += r * y.mean
							w.rest += r * y.mean * first
						}
					}
					if x.phase == 1 && f == l.later[t] {
						met, slice := l.callersHere(e, k)
						w.begins += r * met
						w.caller += r * met * slice
					}
				}
			}
			if w.rate == 0 {
				continue
			}
			if w.after > 0 {
				w.rest /= w.after
			}
			if w.begins > 0 {
				w.caller /= w.begins
			}
			w.after /= w.rate
			w.begins /= w.rate
			w.slice, w.residual = time/w.rate, square/time/2
			out = append(out, w)
		}
	}
	return out
}

// firstLater is the mean slice of the second phase of an entry on host k, 0 for none.
func (l *lqnLayers) firstLater(e, k int) float64 {
	p := l.p
	t := p.entries[e].task
	if p.tasks[t].proc != k || l.later[t] < 0 {
		return 0
	}
	for _, a := range p.actsOf(e) {
		if x := &p.acts[a]; x.phase == 1 {
			return x.service / (1 + x.total)
		}
	}
	return 0
}

// callersHere is the share of an entry's calls whose caller has its next slice on host k, and that slice.
func (l *lqnLayers) callersHere(e, k int) (share, slice float64) {
	p := l.p
	for f := range p.entries {
		if p.tasks[p.entries[f].task].proc != k {
			continue
		}
		for _, a := range p.actsOf(f) {
			x := &p.acts[a]
			for _, y := range x.calls {
				if y.entry == e && !y.async && x.service > 0 {
					n := l.total[f] * y.mean / math.Max(l.total[e], 1e-300)
					share += n
					slice += n * x.service / (1 + x.total)
				}
			}
		}
	}
	if share > 0 {
		slice /= share
	}
	return math.Min(1, share), slice
}

// apart is the share of frame o's presence that is not of the pair that a reply has just set going: what follows the reply, and
// the caller. These two race for the host once, which hostWait counts apart.
func (l *lqnLayers) apart(me, o int) float64 {
	pair := func(caller, after int) (share float64, ok bool) {
		t := l.frames[after].task
		c, calls := l.frames[caller].child[t]
		if t < 0 || l.later[t] != after || !calls {
			return 1, false
		}
		all, its := 0.0, 0.0
		for _, e := range l.p.tasks[t].entries {
			all += l.total[e] * l.rest[e]
			its += l.frames[c].rate[e] * l.rest[e]
		}
		if all == 0 {
			return 1, false
		}
		return its / all, true
	}
	if its, ok := pair(me, o); ok {
		return 1 - its/l.narrow(me)
	}
	if _, ok := pair(o, me); ok {
		return 1 - 1/l.narrow(o)
	}
	return 1
}

// narrow is how many can be in a frame at once: the fewest threads or users on the way there.
func (l *lqnLayers) narrow(f int) float64 {
	n := math.Inf(1)
	for ; f >= 0; f = l.frames[f].parent {
		if t := l.frames[f].task; t >= 0 && (l.p.tasks[t].reference || !l.p.tasks[t].infinite) {
			n = math.Min(n, float64(l.p.tasks[t].servers))
		}
	}
	return n
}

// hostWait is the wait of one slice of work[i] for host k.
func (l *lqnLayers) hostWait(k int, work []hostWork, i int) float64 {
	x, me := &l.p.procs[k], &work[i]
	m := float64(x.servers)
	var line, busy, left, ahead, crowd float64
	// The more urgent go first, though they come later. A task's threads cannot come while they are there: it is left out for as
	// long as it is itself what one waits for.
	urgent, itself := map[int]float64{}, map[int]float64{}
	mine := l.p.tasks[me.task].priority
	counted := map[int]bool{}
	for j := range work {
		o := &work[j]
		share := l.meets[me.frame][o.frame] * l.apart(me.frame, o.frame)
		if !counted[o.task] {
			counted[o.task] = true
			if l.p.tasks[o.task].infinite {
				crowd = math.Inf(1)
			}
			crowd += float64(l.p.tasks[o.task].servers)
		}
		part := me.rate / l.narrow(me.frame) * (l.frames[me.frame].host*me.slice + me.slice*me.residual) * l.meets[o.frame][me.frame]
		waits, more := without(part, l.frames[o.frame].host, o.rate/l.narrow(o.frame))
		waiting := share * more * o.rate * waits
		serving := share * more * o.rate * o.slice
		their := l.p.tasks[o.task].priority
		if x.sched == LQNHOL || x.sched == LQNPPR {
			if their > mine {
				urgent[o.task] += share * o.rate * o.slice / m
				itself[o.task] += waiting*o.slice + serving*o.residual
			}
			if their < mine {
				waiting = 0
				if x.sched == LQNPPR {
					serving = 0
				}
			}
		}
		line += waiting * o.slice
		busy += serving
		left += serving * o.residual
		ahead += waiting + serving
	}
	// Just after a reply both it and what follows the reply come here, in either order.
	left += (me.after*me.rest + me.begins*me.caller) / 2
	ahead += (me.after + me.begins) / 2
	if crowd-1 < m && me.after+me.begins == 0 {
		return 0
	}
	if m > 1 {
		if busy <= 0 {
			return 0
		}
		full := erlangC(x.servers, math.Min(busy, m*(1-1e-9)))
		line, left = line/m, full*left/busy/m
		ahead = math.Max(0, ahead-busy)/m + full/m
	}
	free, later := 1.0, 1.0
	for t, u := range urgent {
		later -= u
		if n := float64(l.p.tasks[t].servers); !l.p.tasks[t].infinite && itself[t] > 0 {
			u *= math.Max(0, 1-itself[t]/math.Max(itself[t], line+left)/n)
		}
		free -= u
	}
	free, later = math.Max(free, 1e-6), math.Max(later, 1e-6)
	switch x.sched {
	case LQNPS:
		return me.slice * ahead
	case LQNHOL:
		return (line + left) / free
	case LQNPPR:
		return (line+left)/free + me.slice*(1/later-1)
	}
	return line + left
}
