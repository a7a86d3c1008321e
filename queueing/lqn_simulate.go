package queueing

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// simulate samples the same chain that markov solves: a race of exponential
// clocks in each state. Results come from batch means; batches double in length
// until the throughput of every user and open entry is known to the precision.
func (p *lqnProgram) simulate(o LQNOptions) (*LQNSolution, error) {
	precision, events := o.Precision, o.MaxEvents
	if precision == 0 {
		precision = 0.005
	}
	if events == 0 {
		events = 10_000_000
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0x1b873593cc9e2d51))
	r := &lqnRun{p: p, rng: rng, m: &lqnMachine{p: p, s: p.initial(), done: make([]int, len(p.entries)), cap: 1_000_000}}
	r.m.pick = r.pick
	r.m.boot()
	const batches = 32
	length := 2_000
	threads := len(r.m.s.threads)
	warm := max(4*length, 8*threads) // all begin to think at once: each must have been round before what is seen is the rule
	if o.MaxEvents == 0 {            // an event takes time in proportion to the threads
		events = max(warm+batches*length, min(events, 2_000_000_000/max(1, threads)))
	}
	if _, err := r.batch(warm); err != nil {
		return nil, err
	}
	var done []lqnBatch
	spent := warm
	for {
		for len(done) < batches {
			b, err := r.batch(length)
			if err != nil {
				return nil, err
			}
			done = append(done, b)
			spent += length
		}
		if err := p.growing(done); err != nil {
			return nil, err
		}
		half := p.halfWidth(done)
		if half < precision || spent+length*batches > events {
			sol := p.pool(done)
			sol.Method = fmt.Sprintf("simulation, seed %d", o.Seed)
			sol.HalfWidth, sol.States = half, spent
			return sol, nil
		}
		// Merge pairs: half the batches, twice as long.
		for i := range batches / 2 {
			done[i] = done[2*i]
			done[i].merge(&done[2*i+1])
			if i == 0 {
				done[0] = done[0].copyOf()
			}
		}
		done = done[:batches/2]
		length *= 2
	}
}

type lqnBatch struct {
	time  float64
	begun []float64
	stats lqnStats
	lost  float64
}

func (b *lqnBatch) copyOf() lqnBatch { return *b }

func (b *lqnBatch) merge(o *lqnBatch) {
	b.time += o.time
	b.lost += o.lost
	for e := range b.begun {
		b.begun[e] += o.begun[e]
	}
	b.stats.add(&o.stats, 1)
}

type lqnRun struct {
	p   *lqnProgram
	rng *rand.Rand
	m   *lqnMachine
}

func (r *lqnRun) pick(w []float64) int {
	u := r.rng.Float64() * sum(w)
	for k, x := range w {
		if u -= x; u < 0 && x > 0 {
			return k
		}
	}
	for k := len(w) - 1; k > 0; k-- { // rounding: the last that can happen
		if w[k] > 0 {
			return k
		}
	}
	return 0
}

// batch runs that many events.
func (r *lqnRun) batch(events int) (lqnBatch, error) {
	m, p := r.m, r.p
	clear(m.done)
	m.lost = 0
	b := lqnBatch{stats: newLQNStats(p)}
	now := newLQNStats(p)
	for range events {
		total := 0.0
		for _, t := range m.s.timers {
			total += m.timerRate(t)
		}
		for proc := range m.s.run {
			n, speed := m.share(proc)
			for i := range n {
				total += speed * m.stageRate(m.s.run[proc][i])
			}
		}
		for e := range p.entries {
			total += p.entries[e].arrival
		}
		if total <= 0 {
			return b, fmt.Errorf("lqn: the model deadlocks")
		}
		clear(now.inPhase)
		clear(now.queued)
		clear(now.busy)
		now.observe(p, m.s)
		// The mean holding time has less variance than a drawn one.
		b.stats.add(&now, 1/total)
		b.time += 1 / total
		r.fire(r.rng.Float64() * total)
		if m.fail != nil {
			return b, m.fail
		}
		if len(m.s.threads) > 50*lqnMaxThreads || m.lost > 0 {
			return b, fmt.Errorf("lqn: requests pile up without bound: the model is unstable")
		}
	}
	b.begun = make([]float64, len(m.done))
	for e, n := range m.done {
		b.begun[e] = float64(n)
	}
	return b, nil
}

// fire runs the event at place u on the line of all rates.
func (r *lqnRun) fire(u float64) {
	m := r.m
	for n, t := range m.s.timers {
		if u -= m.timerRate(t); u < 0 {
			m.timeout(n)
			return
		}
	}
	lastProc, lastPlace := -1, 0
	for proc := range m.s.run {
		n, speed := m.share(proc)
		for i := range n {
			lastProc, lastPlace = proc, i
			if u -= speed * m.stageRate(m.s.run[proc][i]); u < 0 {
				m.served(proc, i)
				return
			}
		}
	}
	for e := range r.p.entries {
		if a := r.p.entries[e].arrival; a > 0 {
			if u -= a; u < 0 {
				m.send(e, -1)
				return
			}
		}
	}
	if lastProc >= 0 { // rounding
		m.served(lastProc, lastPlace)
	}
}

// growing reports a model whose waiting requests pile up: many, and many more in
// the last quarter of the run than in the first.
func (p *lqnProgram) growing(done []lqnBatch) error {
	if !p.open {
		return nil
	}
	present := func(b []lqnBatch) float64 {
		n, time := 0.0, 0.0
		for i := range b {
			n += sum(b[i].stats.inPhase) + sum(b[i].stats.queued)
			time += b[i].time
		}
		return n / time
	}
	quarter := len(done) / 4
	if last := present(done[len(done)-quarter:]); last > 1000 && last > 2*present(done[:quarter]) {
		return errors.New("lqn: requests pile up: open arrivals or asynchronous sends exceed what a task or processor can serve")
	}
	return nil
}

// halfWidth is the largest relative half-width at 95 % over the throughputs that
// matter: users and open arrivals.
func (p *lqnProgram) halfWidth(done []lqnBatch) float64 {
	worst := 0.0
	for e := range p.entries {
		if !p.tasks[p.entries[e].task].reference && p.entries[e].arrival == 0 {
			continue
		}
		// Ratio estimator: begun / time.
		var x, t float64
		for i := range done {
			x += done[i].begun[e]
			t += done[i].time
		}
		if x == 0 {
			return math.Inf(1)
		}
		ratio, ss := x/t, 0.0
		for i := range done {
			d := done[i].begun[e] - ratio*done[i].time
			ss += d * d
		}
		n := float64(len(done))
		half := 2.04 * math.Sqrt(ss/(n-1)*n) / x // t quantile, 31 degrees of freedom
		worst = math.Max(worst, half)
	}
	return worst
}

func (p *lqnProgram) pool(done []lqnBatch) *LQNSolution {
	all := lqnBatch{begun: make([]float64, len(p.entries)), stats: newLQNStats(p)}
	for i := range done {
		all.merge(&done[i])
	}
	total := newLQNStats(p)
	total.add(&all.stats, 1/all.time)
	for e := range all.begun {
		all.begun[e] /= all.time
	}
	return p.result(total, all.begun)
}
