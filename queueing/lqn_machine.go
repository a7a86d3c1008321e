package queueing

import "fmt"

// lqnMaxJoins bounds the and-joins of one task.
const lqnMaxJoins = 8

// A branch is where a thread's control is.
const (
	branchDead = iota
	branchThinking
	branchRunning // queued or served at the processor
	branchBlocked // in a synchronous call
	branchUser    // a user between cycles
)

type lqnBranch struct {
	act           int16
	status, stage uint8
	made          uint8 // deterministic calls made
}

// lqnRef names a branch of a thread: thread*lqnMaxBranches + branch.
type lqnRef = int32

type lqnThread struct {
	task, entry int16 // task -1: a free slot
	caller      lqnRef
	replied     bool
	live        uint8
	arrived     [lqnMaxJoins]uint8
	branch      [lqnMaxBranches]lqnBranch
}

type lqnRequest struct {
	entry  int16
	caller lqnRef
}

// lqnState is the whole state of the model between two events.
type lqnState struct {
	threads []lqnThread
	free    []int32 // slots
	idle    []int   // free threads of each task
	run     [][]lqnRef
	queue   [][]lqnRequest
	timers  []lqnRef // thinking branches and users
}

// lqnMachine executes events on a state. pick draws one of several weights: the
// simulation at random, the Markov solver all of them in turn.
type lqnMachine struct {
	p    *lqnProgram
	s    *lqnState
	pick func(weights []float64) int
	cap  int   // requests that may wait at a task that unanswered requests reach
	done []int // entry invocations begun since cleared
	lost int
	fail error
}

func (p *lqnProgram) initial() *lqnState {
	s := &lqnState{idle: make([]int, len(p.tasks)), run: make([][]lqnRef, len(p.procs)), queue: make([][]lqnRequest, len(p.tasks))}
	for t := range p.tasks {
		if !p.tasks[t].reference {
			s.idle[t] = p.tasks[t].servers
		}
	}
	return s
}

// boot starts the users.
func (m *lqnMachine) boot() {
	for t := range m.p.tasks {
		if x := &m.p.tasks[t]; x.reference {
			for range x.servers {
				i := m.spawn(t, x.entries[0], -1)
				m.restUser(i)
			}
		}
	}
}

func (s *lqnState) clone() *lqnState {
	c := &lqnState{threads: append([]lqnThread(nil), s.threads...), free: append([]int32(nil), s.free...),
		idle: append([]int(nil), s.idle...), run: make([][]lqnRef, len(s.run)), queue: make([][]lqnRequest, len(s.queue)),
		timers: append([]lqnRef(nil), s.timers...)}
	for i := range s.run {
		c.run[i] = append([]lqnRef(nil), s.run[i]...)
	}
	for i := range s.queue {
		c.queue[i] = append([]lqnRequest(nil), s.queue[i]...)
	}
	return c
}

func (s *lqnState) at(r lqnRef) *lqnBranch {
	return &s.threads[r/lqnMaxBranches].branch[r%lqnMaxBranches]
}

// spawn takes a slot for a thread that serves an entry; no branch lives yet.
func (m *lqnMachine) spawn(task, entry int, caller lqnRef) int {
	s := m.s
	var i int
	if n := len(s.free); n > 0 {
		i = int(s.free[n-1])
		s.free = s.free[:n-1]
	} else {
		i = len(s.threads)
		s.threads = append(s.threads, lqnThread{})
	}
	s.threads[i] = lqnThread{task: int16(task), entry: int16(entry), caller: caller}
	return i
}

// restUser lets a user think, or begin at once.
func (m *lqnMachine) restUser(i int) {
	t := &m.s.threads[i]
	if m.p.tasks[t.task].think == 0 {
		m.begin(i)
		return
	}
	t.live, t.replied = 1, false // a user who has been round is as one who has not yet: else the chain counts who has
	t.branch[0] = lqnBranch{status: branchUser}
	m.s.timers = append(m.s.timers, lqnRef(i*lqnMaxBranches))
}

// begin runs the entry of a thread from its start.
func (m *lqnMachine) begin(i int) {
	t := &m.s.threads[i]
	m.done[t.entry]++
	t.replied, t.live = false, 1
	m.enter(lqnRef(i*lqnMaxBranches), m.p.entries[t.entry].start)
}

// enter starts an activity on a branch.
func (m *lqnMachine) enter(r lqnRef, act int) {
	b := m.s.at(r)
	*b = lqnBranch{act: int16(act)}
	if m.p.acts[act].think > 0 {
		b.status = branchThinking
		m.s.timers = append(m.s.timers, r)
		return
	}
	m.slice(r)
}

// slice queues a branch for its processor, for the next slice of its activity.
func (m *lqnMachine) slice(r lqnRef) {
	b := m.s.at(r)
	ph := &m.p.acts[b.act].slice
	if len(ph.rate) == 0 {
		m.afterSlice(r)
		return
	}
	b.status = branchRunning
	b.stage = 0
	if len(ph.start) > 1 {
		b.stage = uint8(m.pick(ph.start))
	}
	task := int(m.s.threads[r/lqnMaxBranches].task)
	proc := m.p.tasks[task].proc
	q := append(m.s.run[proc], r)
	if sched := m.p.procs[proc].sched; sched == LQNHOL || sched == LQNPPR {
		first := 0
		if sched == LQNHOL {
			first = m.p.procs[proc].servers // those in service stay
		}
		for i := len(q) - 1; i > first && m.priority(q[i-1]) < m.p.tasks[task].priority; i-- {
			q[i], q[i-1] = q[i-1], q[i]
		}
	}
	m.s.run[proc] = q
}

func (m *lqnMachine) priority(r lqnRef) int {
	return m.p.tasks[m.s.threads[r/lqnMaxBranches].task].priority
}

// afterSlice decides what follows a slice: a call or the end of the activity.
func (m *lqnMachine) afterSlice(r lqnRef) {
	b := m.s.at(r)
	a := &m.p.acts[b.act]
	call := -1
	switch {
	case len(a.calls) == 0:
	case a.deterministic:
		at := 0.0
		for i := range a.calls {
			if at += a.calls[i].mean; float64(b.made) < at {
				call = i
				break
			}
		}
		b.made++
	default:
		w := make([]float64, len(a.calls)+1)
		w[0] = 1
		for i := range a.calls {
			w[i+1] = a.calls[i].mean
		}
		call = m.pick(w) - 1
	}
	if call < 0 {
		m.finishAct(r)
		return
	}
	y := &a.calls[call]
	if y.async {
		m.send(y.entry, -1)
		m.slice(r)
		return
	}
	b.status = branchBlocked
	m.send(y.entry, r)
}

// send brings a request to a task: to a free thread or its queue.
func (m *lqnMachine) send(entry int, caller lqnRef) {
	task := m.p.entries[entry].task
	x := &m.p.tasks[task]
	if x.infinite || m.s.idle[task] > 0 {
		if caller < 0 && x.infinite && m.cap > 0 && m.threadsOf(task) >= m.cap {
			m.lost++
			return
		}
		if !x.infinite {
			m.s.idle[task]--
		}
		m.begin(m.spawn(task, entry, caller))
		return
	}
	if caller < 0 && m.cap > 0 && len(m.s.queue[task]) >= m.cap {
		m.lost++
		return
	}
	m.s.queue[task] = append(m.s.queue[task], lqnRequest{int16(entry), caller})
}

func (m *lqnMachine) threadsOf(task int) int {
	if len(m.s.threads)-len(m.s.free) < m.cap {
		return 0 // fewer in all
	}
	n := 0
	for i := range m.s.threads {
		if int(m.s.threads[i].task) == task {
			n++
		}
	}
	return n
}

// repliedBy marks thread i as having replied and gives whom the reply is for.
func (m *lqnMachine) repliedBy(i int) (entry int, caller lqnRef) {
	t := &m.s.threads[i]
	entry, caller = int(t.entry), t.caller
	t.replied, t.caller = true, -1
	return entry, caller
}

// answer lets the caller of an entry go on, or passes it on by forwarding.
func (m *lqnMachine) answer(entry int, caller lqnRef) {
	e := &m.p.entries[entry]
	if len(e.forwards) > 0 {
		w := make([]float64, len(e.forwards)+1)
		w[0] = 1
		for k, f := range e.forwards {
			w[k+1] = f.p
			w[0] -= f.p
		}
		w[0] = max(0, w[0])
		if k := m.pick(w); k > 0 {
			m.send(e.forwards[k-1].entry, caller)
			return
		}
	}
	if caller >= 0 {
		m.slice(caller)
	}
}

// finishAct ends an activity: reply, then what its link says.
func (m *lqnMachine) finishAct(r lqnRef) {
	i := int(r / lqnMaxBranches)
	b := m.s.at(r)
	a := &m.p.acts[b.act]
	b.status = branchDead
	if !a.reply || m.s.threads[i].replied {
		m.follow(i, r, a)
		return
	}
	// The caller and the thread go on at the same instant. Where both want one
	// processor either may be first, by lot: with that rule, and neither order alone,
	// the published Petri-net solutions are met to five digits.
	entry, caller := m.repliedBy(i)
	if m.pick([]float64{1, 1}) == 0 {
		m.answer(entry, caller)
		m.follow(i, r, a)
		return
	}
	m.follow(i, r, a)
	m.answer(entry, caller)
}

// follow does what the link of a finished activity says.
func (m *lqnMachine) follow(i int, r lqnRef, a *lqnAct) {
	if a.link < 0 {
		m.endBranch(i)
		return
	}
	l := &m.p.links[a.link]
	t := &m.s.threads[i]
	if l.and {
		t.arrived[l.join] |= 1 << a.joinBit
		if t.arrived[l.join] != l.need {
			m.endBranch(i)
			return
		}
		t.arrived[l.join] = 0
	}
	switch {
	case l.prob != nil:
		m.enter(r, l.to[m.pick(l.prob)])
	case !l.split:
		m.enter(r, l.to[0])
	default:
		t.live += uint8(len(l.to) - 1)
		var at [lqnMaxBranches]lqnRef
		for n := range l.to { // take all slots before any branch runs
			at[n] = r
			if n > 0 {
				at[n] = m.freeBranch(i, r)
			}
			m.s.at(at[n]).status = branchBlocked
		}
		for n, act := range l.to {
			m.enter(at[n], act)
		}
	}
}

// freeBranch finds a dead branch slot of thread i other than r.
func (m *lqnMachine) freeBranch(i int, r lqnRef) lqnRef {
	t := &m.s.threads[i]
	for k := range t.branch {
		at := lqnRef(i*lqnMaxBranches + k)
		if t.branch[k].status == branchDead && at != r {
			return at
		}
	}
	m.fail = fmt.Errorf("lqn: task %s runs more than %d branches at once, which is not supported", m.p.model.Tasks[t.task].Name, lqnMaxBranches)
	return r
}

// endBranch ends one branch; the last one ends the invocation.
func (m *lqnMachine) endBranch(i int) {
	t := &m.s.threads[i]
	if t.live--; t.live > 0 {
		return
	}
	task := int(t.task)
	if m.p.tasks[task].reference {
		m.restUser(i)
		return
	}
	if !t.replied { // a graph that never replies: its end is the reply
		m.answer(m.repliedBy(i))
	}
	m.s.threads[i] = lqnThread{task: -1}
	m.s.free = append(m.s.free, int32(i))
	if m.p.tasks[task].infinite {
		return
	}
	if q := m.s.queue[task]; len(q) > 0 {
		next := q[0]
		m.s.queue[task] = append(q[:0], q[1:]...)
		m.begin(m.spawn(task, int(next.entry), next.caller))
		return
	}
	m.s.idle[task]++
}

// timeout ends a think time: timer number n of the state.
func (m *lqnMachine) timeout(n int) {
	r := m.s.timers[n]
	last := len(m.s.timers) - 1
	m.s.timers[n] = m.s.timers[last]
	m.s.timers = m.s.timers[:last]
	if m.s.at(r).status == branchUser {
		m.begin(int(r / lqnMaxBranches))
		return
	}
	m.slice(r)
}

// served ends a stage of the branch at place n of processor proc.
func (m *lqnMachine) served(proc, n int) {
	q := m.s.run[proc]
	r := q[n]
	b := m.s.at(r)
	if next := m.p.acts[b.act].slice.next[b.stage]; next >= 0 {
		b.stage = uint8(next)
		return
	}
	m.s.run[proc] = append(q[:n], q[n+1:]...)
	m.afterSlice(r)
}

// stageRate is the rate of the stage that the branch is in, at full speed.
func (m *lqnMachine) stageRate(r lqnRef) float64 {
	b := m.s.at(r)
	return m.p.acts[b.act].slice.rate[b.stage]
}

// timerRate is the rate at which a think time ends.
func (m *lqnMachine) timerRate(r lqnRef) float64 {
	if b := m.s.at(r); b.status == branchThinking {
		return 1 / m.p.acts[b.act].think
	}
	return 1 / m.p.tasks[m.s.threads[r/lqnMaxBranches].task].think
}

// share gives how many branches of processor proc progress and how fast.
func (m *lqnMachine) share(proc int) (running int, speed float64) {
	n, x := len(m.s.run[proc]), &m.p.procs[proc]
	switch {
	case x.infinite || n <= x.servers:
		return n, 1
	case x.sched == LQNPS:
		return n, float64(x.servers) / float64(n)
	}
	return x.servers, 1
}
