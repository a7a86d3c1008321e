package queueing

import "math"

// A host never idles while a slice waits for it, and never does more than it can. The equations of lqnLayers, which know each
// line by its mean alone, break both rules where a task and what it calls run on one host that is nearly full: while the caller
// holds its thread, callers behind it wait in the task's line though the host has that very work, and is counted as idle for a
// part of the time; or more is let through than the host holds. Both are repaired as a whole, over all that uses the host.

// conservedHost is what is known of a host.
type conservedHost struct {
	// closed says that some tasks on the host need nothing but the host until they are free again: all that they call, they call
	// there, and there are as many threads of each as the host has servers. Whoever waits for one of them waits for the host.
	closed bool
	tops   []int // frames that come into these tasks from elsewhere
	inside []bool

	squeeze float64 // share of their waiting that is left
	stretch float64 // of the waiting for the host, so that it does no more than it can
}

// findConserved finds the closed tasks of each host, callees first.
func (l *lqnLayers) findConserved() {
	p := l.p
	l.hosts, l.bare = make([]conservedHost, len(p.procs)), p.bareEntries()
	for k := range l.hosts {
		h := &l.hosts[k]
		h.squeeze, h.stretch, h.inside = 1, 1, make([]bool, len(p.tasks))
		if p.procs[k].infinite {
			continue
		}
		for t := range p.tasks {
			h.inside[t] = p.tasks[t].proc == k && !p.tasks[t].reference && (p.tasks[t].infinite || p.tasks[t].servers >= p.procs[k].servers)
		}
		for n := len(p.order) - 1; n >= 0; n-- {
			e := p.order[n]
			t := p.entries[e].task
			if len(p.entries[e].forwards) > 0 || p.entries[e].arrival > 0 {
				h.inside[t] = false
			}
			for _, a := range p.actsOf(e) {
				if p.acts[a].think > 0 {
					h.inside[t] = false
				}
				for _, y := range p.acts[a].calls {
					h.inside[t] = h.inside[t] && !y.async && h.inside[p.entries[y.entry].task]
				}
			}
		}
		for t := range p.tasks {
			if !h.inside[t] {
				continue
			}
			for _, f := range l.at[t] {
				switch parent := l.frames[f].parent; {
				case parent >= 0 && l.frames[parent].task < 0: // open arrivals: there is no end to those who may wait
					h.tops, h.inside = nil, make([]bool, len(p.tasks))
				case parent >= 0 && !h.inside[l.frames[parent].task]:
					h.tops = append(h.tops, f)
				}
			}
		}
		h.closed = len(h.tops) > 0
	}
}

// bare is what an entry asks for where nobody is met.
type bare struct {
	first float64 // time of the first phase
	work  float64 // all that a call gives hosts to do before it is answered, later phases of what it calls included
	later float64 // work of its own later phases
}

// bareEntries computes what entries ask for, callees first.
func (p *lqnProgram) bareEntries() []bare {
	out := make([]bare, len(p.entries))
	for n := len(p.order) - 1; n >= 0; n-- {
		e := p.order[n]
		for _, a := range p.actsOf(e) {
			x := &p.acts[a]
			one, all := x.service, x.service
			for _, y := range x.calls {
				one += y.mean * out[y.entry].first
				all += y.mean * (out[y.entry].work + out[y.entry].later)
			}
			if x.phase == 0 {
				out[e].first += one
				out[e].work += all
			} else {
				out[e].later += all
			}
		}
	}
	return out
}

// seen is how long a call of an entry takes that frame f carries, as its caller sees it.
func (l *lqnLayers) seen(f, e int) float64 {
	fr := &l.frames[f]
	time := fr.wait + fr.reply[e]
	h := &l.hosts[l.p.tasks[fr.task].proc]
	if h.squeeze == 1 || !h.inside[fr.task] || h.inside[l.frames[fr.parent].task] {
		return time
	}
	first := l.bare[e].first
	return first + h.squeeze*math.Max(0, time-first)
}

// conserve finds anew how much of the waiting for each host is left and by how much the waiting for it is longer, and returns
// the greatest change.
func (l *lqnLayers) conserve() (change float64) {
	for k := range l.hosts {
		h, x := &l.hosts[k], &l.p.procs[k]
		if x.infinite {
			continue
		}
		to := 1.0
		if h.closed {
			to = l.squeezeOf(k)
		}
		change = math.Max(change, math.Abs(to-h.squeeze))
		h.squeeze += 0.2 * (to - h.squeeze)
		busy := 0.0
		for e := range l.p.entries {
			if l.p.tasks[l.p.entries[e].task].proc == k {
				for _, a := range l.p.actsOf(e) {
					busy += l.total[e] * l.p.acts[a].service
				}
			}
		}
		full := busy/float64(x.servers) - 1
		to = math.Min(math.Max(1, h.stretch*(1+0.3*full)), 1e3)
		change = math.Max(change, math.Abs(to/h.stretch-1))
		h.stretch = to
	}
	return change
}

// squeezeOf compares the time that calls into the closed tasks of a host take with what they would at a station that has all
// their work, and shares itself among all who are there (Schweitzer's equation of processor sharing): the host has no less to do,
// so that calls wait no longer on average.
func (l *lqnLayers) squeezeOf(k int) float64 {
	p, h := l.p, &l.hosts[k]
	// Who is there, by frame: calls from elsewhere with what they leave behind, and slices of other tasks on the host.
	type presence struct {
		frame int
		n     float64
	}
	var there []presence
	for _, f := range h.tops {
		n := 0.0
		for e, r := range l.frames[f].rate {
			n += r * (l.seen(f, e) + l.rest[e])
		}
		there = append(there, presence{f, n})
	}
	for t := range p.tasks {
		if p.tasks[t].proc != k || h.inside[t] {
			continue
		}
		for _, f := range l.at[t] {
			n := 0.0
			for e, r := range l.frames[f].rate {
				for _, a := range p.actsOf(e) {
					if x := &p.acts[a]; x.service > 0 && (x.phase == 0 || p.tasks[t].reference) {
						n += r * (x.service + (1+x.total)*l.frames[f].host)
					}
				}
			}
			there = append(there, presence{f, n})
		}
	}
	var waits, allowed float64
	for _, f := range h.tops {
		met, most := 0.0, 0.0
		for _, o := range there {
			met += l.meets[f][o.frame] * o.n
			most += l.narrow(o.frame)
		}
		slow := slowdown(met, most-1, float64(p.procs[k].servers))
		for e, r := range l.frames[f].rate {
			first, work := l.bare[e].first, l.bare[e].work
			waits += r * math.Max(0, l.frames[f].wait+l.frames[f].reply[e]-first)
			allowed += r * math.Max(0, work*slow-first)
		}
	}
	if waits <= allowed {
		return 1
	}
	return allowed / waits
}

// slowdown is by how much longer a job takes at servers that share themselves among it and others, of whom so many are there
// on average, of most at all: binomially distributed.
func slowdown(met, most, servers float64) float64 {
	if servers == 1 || math.IsInf(most, 1) || most > 10_000 || most <= 0 {
		return math.Max(1, (1+met)/servers)
	}
	n := int(math.Round(most))
	p := math.Min(met/float64(n), 1)
	sum := 0.0
	for i := range n + 1 {
		lg, _ := math.Lgamma(float64(n + 1))
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		chance := math.Exp(lg - a - b)
		sum += chance * math.Pow(p, float64(i)) * math.Pow(1-p, float64(n-i)) * math.Max(1, float64(1+i)/servers)
	}
	return sum
}
