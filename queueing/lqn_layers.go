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
