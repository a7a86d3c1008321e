package queueing

import (
	"fmt"
	"slices"
)

const lqnMaxStates = 5_000_000

// lqnQueueCap bounds the queue of a task that unanswered requests reach, in the
// Markov chain. The share lost is in LQNSolution.Lost; above a millionth the
// answer is not called exact.
const lqnQueueCap = 60

// replay draws every outcome in turn: a run of the machine under it takes one
// path of the tree of choices, next moves to the following path.
type replay struct {
	path    []int
	weights [][]float64
	at      int
	prob    float64
}

func (r *replay) restart() { r.at, r.prob = 0, 1 }

func (r *replay) pick(w []float64) int {
	total := sum(w)
	if r.at == len(r.path) {
		r.path = append(r.path, 0)
		r.weights = append(r.weights, append([]float64(nil), w...))
		for w[r.path[r.at]] == 0 {
			r.path[r.at]++
		}
	}
	k := r.path[r.at]
	r.at++
	r.prob *= w[k] / total
	return k
}

// next moves to the next path; false when all were taken.
func (r *replay) next() bool {
	r.path, r.weights = r.path[:r.at], r.weights[:r.at]
	for n := len(r.path) - 1; n >= 0; n-- {
		for k := r.path[n] + 1; k < len(r.weights[n]); k++ {
			if r.weights[n][k] > 0 {
				r.path[n] = k
				r.path, r.weights = r.path[:n+1], r.weights[:n+1]
				return true
			}
		}
	}
	return false
}

// lqnExplorer builds the Markov chain breadth first.
type lqnExplorer struct {
	p      *lqnProgram
	limit  int
	index  map[string]int
	todo   []*lqnState // states numbered but not yet expanded, oldest first
	keys   lqnKeys
	chain  chain
	stats  []lqnStats // per state
	begun  []float64  // per state x entry: rate of invocations begun
	lost   []float64  // per state: rate of requests lost
	choice replay
	work   int // threads copied so far
}

// lqnMaxWork bounds the threads copied while a chain is explored: the cost of an event grows with the threads of the model, so
// that the number of states alone would let a model of hundreds of users run for minutes.
const lqnMaxWork = 15_000_000

func (p *lqnProgram) markov(o LQNOptions) (*LQNSolution, error) {
	limit := o.MaxStates
	if limit == 0 {
		limit = 150_000
	}
	x := &lqnExplorer{p: p, limit: min(limit, lqnMaxStates), index: map[string]int{}}
	if err := x.explore(); err != nil {
		return nil, err
	}
	pi, err := x.chain.steady()
	if err != nil {
		return nil, fmt.Errorf("lqn: %w", err)
	}
	acc := newLQNStats(p)
	begun := make([]float64, len(p.entries))
	lost := 0.0
	for s, prob := range pi {
		acc.add(&x.stats[s], prob)
		for e := range begun {
			begun[e] += prob * x.begun[s*len(begun)+e]
		}
		lost += prob * x.lost[s]
	}
	sol := p.result(acc, begun)
	sol.Method, sol.Exact, sol.States = "Markov chain", true, len(pi)
	if lost > 0 {
		sol.Lost = lost / (lost + sum(begun))
		sol.Exact = sol.Lost < 1e-6
		sol.Method = fmt.Sprintf("Markov chain, queues of unanswered requests cut at %d", lqnQueueCap)
		if sol.Lost > 1e-3 {
			return nil, fmt.Errorf("lqn: tasks lose %.2g of unanswered requests with %d in line: near or past saturation: %w", sol.Lost, lqnQueueCap, ErrTooLarge)
		}
	}
	return sol, nil
}

func (x *lqnExplorer) machine(s *lqnState) *lqnMachine {
	return &lqnMachine{p: x.p, s: s, pick: x.choice.pick, cap: lqnQueueCap, done: make([]int, len(x.p.entries))}
}

// paths runs act on copies of s, once for each outcome of its choices.
func (x *lqnExplorer) paths(s *lqnState, act func(m *lqnMachine), then func(m *lqnMachine, prob float64) error) error {
	x.choice.path, x.choice.weights = x.choice.path[:0], x.choice.weights[:0]
	for n := 0; ; n++ {
		if n > 100_000 {
			return fmt.Errorf("lqn: one event has more than 100 000 outcomes: %w", ErrTooLarge)
		}
		if x.work += len(s.threads); x.work > lqnMaxWork {
			return fmt.Errorf("lqn: too many states for %d threads: %w", len(s.threads), ErrTooLarge)
		}
		x.choice.restart()
		m := x.machine(s.clone())
		act(m)
		if m.fail != nil {
			return m.fail
		}
		if err := then(m, x.choice.prob); err != nil {
			return err
		}
		if !x.choice.next() {
			return nil
		}
	}
}

func (x *lqnExplorer) explore() error {
	users := 0
	for i := range x.p.tasks {
		if x.p.tasks[i].reference {
			users += x.p.tasks[i].servers
		}
	}
	if 4*users*users > lqnMaxWork { // a state for each number that thinks, and some events of each
		return fmt.Errorf("lqn: too many states for %d users: %w", users, ErrTooLarge)
	}
	err := x.paths(x.p.initial(), (*lqnMachine).boot, func(m *lqnMachine, _ float64) error {
		_, err := x.number(m.s)
		return err
	})
	if err != nil {
		return err
	}
	for from := 0; from < len(x.index); from++ {
		s := x.todo[from]
		x.todo[from] = nil // expanded states are remembered by key alone
		st := newLQNStats(x.p)
		st.observe(x.p, s)
		x.stats = append(x.stats, st)
		x.begun = append(x.begun, make([]float64, len(x.p.entries))...)
		x.lost = append(x.lost, 0)
		if err := x.expand(from, s); err != nil {
			return err
		}
	}
	if x.chain.states == 0 {
		x.chain.states = 1
	}
	return nil
}

// expand adds all events of one state.
func (x *lqnExplorer) expand(from int, s *lqnState) error {
	fire := func(rate float64, act func(m *lqnMachine)) error {
		return x.paths(s, act, func(m *lqnMachine, prob float64) error {
			to, err := x.number(m.s)
			if err != nil {
				return err
			}
			x.chain.add(from, to, rate*prob)
			for e, n := range m.done {
				x.begun[from*len(m.done)+e] += rate * prob * float64(n)
			}
			x.lost[from] += rate * prob * float64(m.lost)
			return nil
		})
	}
	look := x.machine(s)
	for n, times := range x.alike(s, s.timers) {
		if times == 0 {
			continue
		}
		if err := fire(float64(times)*look.timerRate(s.timers[n]), func(m *lqnMachine) { m.timeout(n) }); err != nil {
			return err
		}
	}
	for proc := range s.run {
		running, speed := look.share(proc)
		run := s.run[proc][:running]
		var times []int
		if running == len(s.run[proc]) { // all progress: their order decides nothing that ends first
			if pr := &x.p.procs[proc]; pr.infinite || pr.sched == LQNPS {
				times = x.alike(s, run)
			}
		}
		for n := range run {
			rate := speed * look.stageRate(run[n])
			if times != nil {
				if times[n] == 0 {
					continue
				}
				rate *= float64(times[n])
			}
			if err := fire(rate, func(m *lqnMachine) { m.served(proc, n) }); err != nil {
				return err
			}
		}
	}
	for e := range x.p.entries {
		if a := x.p.entries[e].arrival; a > 0 {
			if err := fire(a, func(m *lqnMachine) { m.send(e, -1) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// alike counts branches that nothing tells apart, in a list whose order means nothing: the first of each kind has their number
// and the others zero, so that a thousand users who think are one event. Only branches that are all that lives of their thread
// and of its callers count as alike: what else there is of those could tell them apart.
func (x *lqnExplorer) alike(s *lqnState, refs []lqnRef) []int {
	times := make([]int, len(refs))
	first := map[string]int{}
	alone := lqnKeys{label: make([]int16, 0, len(s.threads))}
	for n, r := range refs {
		times[n] = 1
		single := true
		for at := r; at >= 0 && single; at = s.threads[at/lqnMaxBranches].caller {
			single = s.threads[at/lqnMaxBranches].live == 1
		}
		if !single {
			continue
		}
		alone.buf = alone.buf[:0]
		alone.alone(s, r)
		if k, ok := first[string(alone.buf)]; ok {
			times[k]++
			times[n] = 0
			continue
		}
		first[string(alone.buf)] = n
	}
	return times
}

// number finds or gives the number of a state.
func (x *lqnExplorer) number(s *lqnState) (int, error) {
	key := x.keys.of(x.p, s)
	if n, ok := x.index[string(key)]; ok {
		return n, nil
	}
	n := len(x.index)
	if n >= x.limit {
		return 0, fmt.Errorf("lqn: more than %d states: %w", x.limit, ErrTooLarge)
	}
	x.index[string(key)] = n
	x.todo = append(x.todo, s)
	return n, nil
}

// lqnKeys writes a state as bytes such that states which differ only in which
// thread of a task plays which role have the same bytes: threads are described
// where they are found, by content, never by number.
type lqnKeys struct {
	buf   []byte
	label []int16
	used  int16
}

func (k *lqnKeys) of(p *lqnProgram, s *lqnState) []byte {
	k.buf = k.buf[:0]
	k.reset(len(s.threads))
	for proc := range s.run {
		k.buf = append(k.buf, 0xf0)
		k.list(s, s.run[proc], p.procs[proc].infinite || p.procs[proc].sched == LQNPS)
	}
	for _, q := range s.queue {
		k.buf = append(k.buf, 0xf1)
		for _, r := range q {
			k.buf = append(k.buf, byte(r.entry), byte(r.entry>>8))
			k.ref(s, r.caller)
		}
	}
	k.buf = append(k.buf, 0xf2)
	k.list(s, s.timers, true)
	return k.buf
}

func (k *lqnKeys) reset(threads int) {
	k.used = 0
	k.label = k.label[:0]
	for range threads {
		k.label = append(k.label, -1)
	}
}

// list writes refs in order, or, when their order means nothing, sorted by what
// each looks like on its own.
func (k *lqnKeys) list(s *lqnState, refs []lqnRef, unordered bool) {
	if unordered && len(refs) > 1 {
		alone := lqnKeys{}
		type item struct {
			key string
			ref lqnRef
		}
		items := make([]item, len(refs))
		for i, r := range refs {
			alone.buf = alone.buf[:0]
			alone.alone(s, r)
			items[i] = item{string(alone.buf), r}
		}
		slices.SortStableFunc(items, func(a, b item) int {
			switch {
			case a.key < b.key:
				return -1
			case a.key > b.key:
				return 1
			}
			return 0
		})
		for _, it := range items {
			k.ref(s, it.ref)
		}
		return
	}
	for _, r := range refs {
		k.ref(s, r)
	}
}

// alone writes what a branch looks like without the rest of the state. Labels are taken back afterwards one by one, which is
// what makes a list of a thousand users cheap.
func (k *lqnKeys) alone(s *lqnState, r lqnRef) {
	if len(k.label) != len(s.threads) {
		k.reset(len(s.threads))
	}
	k.ref(s, r)
	for at := r; at >= 0; at = s.threads[at/lqnMaxBranches].caller {
		k.label[at/lqnMaxBranches] = -1
	}
	k.used = 0
}

func (k *lqnKeys) ref(s *lqnState, r lqnRef) {
	if r < 0 {
		k.buf = append(k.buf, 0xfe)
		return
	}
	k.buf = append(k.buf, byte(r%lqnMaxBranches))
	i := r / lqnMaxBranches
	if l := k.label[i]; l >= 0 {
		k.buf = append(k.buf, 0xff, byte(l), byte(l>>8))
		return
	}
	k.label[i] = k.used
	k.used++
	t := &s.threads[i]
	flags := byte(0)
	if t.replied {
		flags = 1
	}
	k.buf = append(k.buf, byte(t.task), byte(t.task>>8), byte(t.entry), byte(t.entry>>8), flags)
	k.buf = append(k.buf, t.arrived[:]...)
	for n := range t.branch {
		if b := &t.branch[n]; b.status != branchDead {
			k.buf = append(k.buf, byte(n), byte(b.act), byte(b.act>>8), b.status, b.stage, b.made)
		}
	}
	k.buf = append(k.buf, 0xfd)
	k.ref(s, t.caller)
}
