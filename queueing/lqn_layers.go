package queueing

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// lqnLayers is the approximate solution of a layered network: every host and every task with a bounded number of threads is a
// queue whose callers are its customers (the method of layers of Rolia and Sevcik 1995 and stochastic rendezvous networks of
// Woodside et al. 1995), all solved at once as one fixed point of Schweitzer's equations.
//
// A customer is a frame: a token (a user, or a thread that goes on after its reply) at a task that it came to by a chain of
// calls, all the threads of which it holds. A token never meets itself, though its calls come back to the same host by other
// tasks; nor does it meet others that would need a thread that it holds; and it meets the second phase that it has itself
// just left behind more often than the time average says.
type lqnLayers struct {
	p      *lqnProgram
	frames []lqnFrame
	at     [][]int // frames of each task
	roots  []int   // frame of a reference task, -1
	later  []int   // frame of what a task does after its replies, -1

	total    []float64   // [entry] invocations
	rest     []float64   // [entry] time of what follows the reply
	perPhase [][]float64 // [entry][phase]
	meets    [][]float64 // [frame][frame] share of the other's presence that one sees on a host
	queues   [][]float64 // the same in the line of the task that both call
}

// lqnFrame is a customer of the stations that a task's threads are and run on.
type lqnFrame struct {
	task, parent int // -1: none; task -1 is where open arrivals come from
	token        int // the root frame
	child        map[int]int
	rate         map[int]float64 // by entry: invocations whose first phase the frame carries (a root: all phases)
	first        map[int]float64 // by entry: time of that
	reply        map[int]float64 // and of what it is forwarded to
	wait, host   float64         // in the task's line; for the host, each slice
}

const (
	layerRounds    = 20_000
	layerTolerance = 1e-9
	maxFrames      = 1_500
)

// layered solves by lqnLayers.
func (p *lqnProgram) layered() (*LQNSolution, error) {
	for e := range p.entries {
		if p.entries[e].graph {
			return nil, fmt.Errorf("lqn: task %s: the layered method knows phases, not activity graphs; use markov or simulate", p.model.Tasks[p.entries[e].task].Name)
		}
	}
	l, err := newLQNLayers(p)
	if err != nil {
		return nil, err
	}
	pairs := 0
	for t := range l.at {
		pairs += len(l.at[t]) * len(l.at[t])
	}
	rounds := max(300, min(layerRounds, 300_000_000/(len(l.frames)*20+pairs*4+1)))
	for n := 0; ; n++ {
		l.times()
		l.flows()
		change, err := l.waits(0.5)
		if err != nil {
			return nil, err
		}
		if change < layerTolerance {
			break
		}
		if n >= rounds {
			if change < 1e-4 {
				break
			}
			return nil, errors.New("lqn: the layered method does not settle on this model; use simulate")
		}
	}
	st := newLQNStats(p)
	for e := range p.entries {
		for ph, x := range l.perPhase[e] {
			st.inPhase[e*p.phases+ph] = l.total[e] * x
		}
		t := p.entries[e].task
		for _, f := range l.at[t] {
			st.queued[e] += l.frames[f].rate[e] * l.frames[f].wait
		}
		for _, a := range p.actsOf(e) {
			st.busy[p.tasks[t].proc] += l.total[e] * p.acts[a].service
		}
	}
	out := p.result(st, l.total)
	out.Method = "method of layers, Schweitzer"
	return out, nil
}

func newLQNLayers(p *lqnProgram) (*lqnLayers, error) {
	l := &lqnLayers{p: p, at: make([][]int, len(p.tasks)), total: make([]float64, len(p.entries)), rest: make([]float64, len(p.entries))}
	for e := range p.entries {
		l.perPhase = append(l.perPhase, make([]float64, p.entries[e].phases))
	}
	open := l.frame(-1, -1)
	for t := range p.tasks {
		l.roots, l.later = append(l.roots, -1), append(l.later, -1)
		x := &p.tasks[t]
		goesOn := false
		for _, e := range x.entries {
			goesOn = goesOn || p.entries[e].phases > 1
		}
		switch {
		case x.reference:
			l.roots[t] = l.frame(t, -1)
		case goesOn:
			l.later[t] = l.frame(t, -1)
		}
	}
	// Which entries each frame runs, callers first; what a frame calls is a frame below it.
	runs := make([]map[int]bool, len(p.entries))
	for e := range runs {
		runs[e] = map[int]bool{}
	}
	below := func(parent, e int) {
		f, ok := l.frames[parent].child[p.entries[e].task]
		if !ok {
			f = l.frame(p.entries[e].task, parent)
			l.frames[parent].child[p.entries[e].task] = f
		}
		runs[e][f] = true
	}
	for _, e := range p.order {
		t := p.entries[e].task
		if l.roots[t] >= 0 {
			runs[e][l.roots[t]] = true
		}
		if p.entries[e].arrival > 0 {
			below(open, e)
		}
		for _, f := range slices.Sorted(maps.Keys(runs[e])) {
			for _, to := range p.entries[e].forwards {
				below(l.frames[f].parent, to.entry)
			}
			for _, a := range p.actsOf(e) {
				carrier := f
				if p.acts[a].phase > 0 && !p.tasks[t].reference {
					carrier = l.later[t]
				}
				for _, y := range p.acts[a].calls {
					if y.async {
						below(open, y.entry)
					} else {
						below(carrier, y.entry)
					}
				}
			}
			if len(l.frames) > maxFrames {
				return nil, fmt.Errorf("lqn: more than %d chains of calls: %w", maxFrames, ErrTooLarge)
			}
		}
	}
	l.meets, l.queues = matrix(len(l.frames), len(l.frames)), matrix(len(l.frames), len(l.frames))
	for i := range l.frames {
		for j := range l.frames {
			l.meets[i][j] = l.share(i, j)
			l.queues[i][j] = 1
			if a, b := l.frames[i].parent, l.frames[j].parent; a >= 0 && b >= 0 {
				l.queues[i][j] = l.share(a, b)
			}
		}
	}
	return l, nil
}

// frame adds a frame.
func (l *lqnLayers) frame(task, parent int) int {
	n := len(l.frames)
	f := lqnFrame{task: task, parent: parent, token: n, child: map[int]int{}, rate: map[int]float64{}, first: map[int]float64{}, reply: map[int]float64{}}
	if parent >= 0 {
		f.token = l.frames[parent].token
	}
	l.frames = append(l.frames, f)
	if task >= 0 {
		l.at[task] = append(l.at[task], n)
	}
	return n
}

// share is the share of frame j's presence that a token in frame i meets: all but what needs the token itself, or a thread
// that it holds.
func (l *lqnLayers) share(i, j int) float64 {
	out := 1.0
	for a := i; a >= 0; a = l.frames[a].parent {
		t := l.frames[a].task
		if t < 0 || l.p.tasks[t].infinite && !l.p.tasks[t].reference {
			continue
		}
		for b := j; b >= 0; b = l.frames[b].parent {
			if l.frames[b].task == t {
				n := float64(l.p.tasks[t].servers)
				out = math.Min(out, (n-1)/n)
			}
		}
	}
	return out
}

// times computes how long phases take, callees first.
func (l *lqnLayers) times() {
	p := l.p
	for n := len(p.order) - 1; n >= 0; n-- {
		e := p.order[n]
		t := p.entries[e].task
		acts := p.actsOf(e)
		phase := func(f, a int) float64 {
			x, fr := &p.acts[a], &l.frames[f]
			time := x.service + x.think
			if x.service > 0 {
				time += (1 + x.total) * fr.host
			}
			for _, y := range x.calls {
				if !y.async {
					c := &l.frames[fr.child[p.entries[y.entry].task]]
					time += y.mean * (c.wait + c.reply[y.entry])
				}
			}
			return time
		}
		l.rest[e] = 0
		if d := l.later[t]; d >= 0 {
			for _, a := range acts {
				if ph := p.acts[a].phase; ph > 0 {
					time := phase(d, a)
					l.perPhase[e][ph] = time
					l.rest[e] += time
				}
			}
		}
		mean := 0.0
		for _, f := range l.at[t] {
			fr := &l.frames[f]
			if f == l.later[t] {
				continue
			}
			time := 0.0
			for _, a := range acts {
				if ph := p.acts[a].phase; ph == 0 || p.tasks[t].reference {
					one := phase(f, a)
					time += one
					if p.tasks[t].reference {
						l.perPhase[e][ph] = one
					}
				}
			}
			fr.first[e], fr.reply[e] = time, time
			if fr.parent >= 0 {
				for _, to := range p.entries[e].forwards {
					c := &l.frames[l.frames[fr.parent].child[p.entries[to.entry].task]]
					fr.reply[e] += to.p * (c.wait + c.reply[to.entry])
				}
			}
			mean += fr.rate[e] * time
		}
		if !p.tasks[t].reference && l.total[e] > 0 {
			l.perPhase[e][0] = mean / l.total[e]
		}
	}
}

// flows computes the rates from the users' cycle times and the open arrivals, callers first.
func (l *lqnLayers) flows() {
	const open = 0
	p := l.p
	for f := range l.frames {
		clear(l.frames[f].rate)
	}
	add := func(parent, e int, rate float64) {
		l.frames[l.frames[parent].child[p.entries[e].task]].rate[e] += rate
	}
	for _, e := range p.order {
		t := p.entries[e].task
		if a := p.entries[e].arrival; a > 0 {
			add(open, e, a)
		}
		if r := l.roots[t]; r >= 0 && e == p.tasks[t].entries[0] {
			l.frames[r].rate[e] = float64(p.tasks[t].servers) / (p.tasks[t].think + l.frames[r].first[e])
		}
		l.total[e] = 0
		for _, f := range l.at[t] {
			rate := l.frames[f].rate[e]
			if rate == 0 {
				continue
			}
			l.total[e] += rate
			for _, to := range p.entries[e].forwards {
				add(l.frames[f].parent, to.entry, rate*to.p)
			}
			for _, a := range p.actsOf(e) {
				x := &p.acts[a]
				carrier := f
				if x.phase > 0 && !p.tasks[t].reference {
					carrier = l.later[t]
				}
				for _, y := range x.calls {
					if y.async {
						add(open, y.entry, rate*y.mean)
					} else {
						add(carrier, y.entry, rate*y.mean)
					}
				}
			}
		}
	}
}

// waits computes new waiting times and moves towards them; change is the greatest relative difference.
func (l *lqnLayers) waits(step float64) (change float64, err error) {
	move := func(at *float64, to, scale float64) {
		if notFinite(to) {
			err = errors.New("lqn: the layered method finds no finite waiting times: the open arrivals may be more than is held")
			return
		}
		change = math.Max(change, math.Abs(to-*at)/math.Max(math.Max(to, scale), 1e-300))
		*at += step * (to - *at)
	}
	p := l.p
	for t := range p.tasks {
		if x := &p.tasks[t]; x.reference || x.infinite {
			continue
		}
		for _, f := range l.at[t] {
			if called, held := l.calls(f); called > 0 {
				move(&l.frames[f].wait, l.lineOf(f), held)
			}
		}
	}
	for k := range p.procs {
		if !p.procs[k].infinite {
			work := l.workAt(k)
			for i := range work {
				move(&l.frames[work[i].frame].host, l.hostWait(k, work, i), work[i].slice)
			}
		}
	}
	return change, err
}

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
