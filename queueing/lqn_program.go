package queueing

import (
	"errors"
	"fmt"
	"math"
)

// lqnProgram is an LQN compiled to numbers, the form all its solvers run.
type lqnProgram struct {
	model   *LQN
	procs   []lqnProc
	tasks   []lqnTask
	entries []lqnEntry
	acts    []lqnAct
	links   []lqnLink
	phases  int // largest number of phases of an entry
	open    bool
	order   []int // entries, callers first
}

type lqnProc struct {
	servers  int
	sched    LQNScheduling
	infinite bool
	speed    float64
}

type lqnTask struct {
	proc, servers int
	reference     bool
	infinite      bool
	think         float64
	priority      int
	entries       []int
	joins         int
	unbounded     bool // gets requests that nobody waits for
}

type lqnEntry struct {
	task, start int
	phases      int
	arrival     float64
	forwards    []lqnTarget
	graph       bool
}

type lqnTarget struct {
	entry int
	p     float64
}

type lqnAct struct {
	name          string
	phase         int     // of a phase entry
	service       float64 // whole, at the processor's speed
	scv           float64
	slice         phaseType
	think         float64
	calls         []lqnCall
	total         float64 // mean calls
	deterministic bool
	reply         bool
	link          int // -1: ends
	joinBit       int
}

type lqnCall struct {
	entry int
	mean  float64
	async bool
}

type lqnLink struct {
	and   bool
	need  uint8 // bits of all From
	join  int   // index of the and-join in its task
	to    []int
	prob  []float64
	split bool // and-fork
}

// phaseType is a service time made of exponential stages.
type phaseType struct {
	start []float64
	rate  []float64
	next  []int // -1 ends
}

const maxErlang = 20 // stages that stand for constant service

// fitPhaseType matches a mean and an SCV: a mixture of two Erlangs below 1
// (Tijms 1994), exponential, or balanced hyperexponential above 1.
func fitPhaseType(mean, scv float64) phaseType {
	switch {
	case mean <= 0:
		return phaseType{}
	case math.Abs(scv-1) < 1e-9:
		return phaseType{start: []float64{1}, rate: []float64{1 / mean}, next: []int{-1}}
	case scv > 1:
		p := (1 + math.Sqrt((scv-1)/(scv+1))) / 2
		return phaseType{start: []float64{p, 1 - p}, rate: []float64{2 * p / mean, 2 * (1 - p) / mean}, next: []int{-1, -1}}
	}
	scv = math.Max(scv, 1.0/maxErlang)
	k := int(math.Ceil(1/scv - 1e-9))
	n := float64(k)
	p := (n*scv - math.Sqrt(math.Max(0, n*(1+scv)-n*n*scv))) / (1 + scv) // share with k-1 stages
	p = math.Min(1, math.Max(0, p))
	f := phaseType{start: make([]float64, k), rate: make([]float64, k), next: make([]int, k)}
	f.start[0] = 1 - p
	if k > 1 {
		f.start[1] = p
	}
	for i := range f.rate {
		f.rate[i] = (n - p) / mean
		f.next[i] = i + 1
	}
	f.next[k-1] = -1
	return f
}

func compileLQN(m *LQN) (*lqnProgram, error) {
	if len(m.Tasks) == 0 || len(m.Entries) == 0 || len(m.Processors) == 0 {
		return nil, errors.New("lqn: needs at least one processor, task and entry")
	}
	for what, n := range map[string]int{"processors": len(m.Processors), "tasks": len(m.Tasks), "entries": len(m.Entries)} {
		if n > lqnMaxObjects {
			return nil, fmt.Errorf("lqn: %d %s, at most %d", n, what, lqnMaxObjects)
		}
	}
	c := &lqnCompiler{p: &lqnProgram{model: m}, procs: map[string]int{}, tasks: map[string]int{}, entries: map[string]int{}}
	for _, step := range []func() error{c.processors, c.taskList, c.entryList, c.bodies, c.reach} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("lqn: %w", err)
		}
	}
	return c.p, nil
}

type lqnCompiler struct {
	p                     *lqnProgram
	procs, tasks, entries map[string]int
}

func (c *lqnCompiler) processors() error {
	for i, x := range c.p.model.Processors {
		if x.Name == "" {
			return fmt.Errorf("processor %d has no name", i+1)
		}
		if _, twice := c.procs[x.Name]; twice {
			return fmt.Errorf("processor %s is defined twice", x.Name)
		}
		if x.Servers < 0 || x.Servers > maxServers {
			return fmt.Errorf("processor %s: servers is %d, must be 1 to %d (0 means 1)", x.Name, x.Servers, maxServers)
		}
		if x.Scheduling == "" {
			x.Scheduling = LQNFCFS
		}
		switch x.Scheduling {
		case LQNFCFS, LQNPS, LQNINF, LQNHOL, LQNPPR:
		default:
			return fmt.Errorf("processor %s: scheduling %q is not supported (have FCFS, PS, INF, HOL, PPR)", x.Name, x.Scheduling)
		}
		if x.Speed == 0 {
			x.Speed = 1
		}
		if err := checkPositive("speed", x.Speed); err != nil {
			return fmt.Errorf("processor %s: %w", x.Name, err)
		}
		c.procs[x.Name] = i
		c.p.procs = append(c.p.procs, lqnProc{servers: max(1, x.Servers), sched: x.Scheduling, infinite: x.Scheduling == LQNINF, speed: x.Speed})
	}
	return nil
}

func (c *lqnCompiler) taskList() error {
	threads := 0
	for i, x := range c.p.model.Tasks {
		if x.Name == "" {
			return fmt.Errorf("task %d has no name", i+1)
		}
		if _, twice := c.tasks[x.Name]; twice {
			return fmt.Errorf("task %s is defined twice", x.Name)
		}
		proc, ok := c.procs[x.Processor]
		if !ok {
			return fmt.Errorf("task %s runs on processor %q, which is not defined", x.Name, x.Processor)
		}
		if x.Servers < 0 || x.Servers > lqnMaxThreads {
			return fmt.Errorf("task %s: servers is %d, must be 1 to %d (0 means 1)", x.Name, x.Servers, lqnMaxThreads)
		}
		if x.Reference && x.Infinite {
			return fmt.Errorf("task %s: a reference task cannot be infinite", x.Name)
		}
		if err := checkNonNegative("think time", x.Think); err != nil {
			return fmt.Errorf("task %s: %w", x.Name, err)
		}
		if x.Think > 0 && !x.Reference {
			return fmt.Errorf("task %s: only a reference task thinks between cycles", x.Name)
		}
		if x.Reference {
			threads += max(1, x.Servers)
		}
		c.tasks[x.Name] = i
		c.p.tasks = append(c.p.tasks, lqnTask{proc: proc, servers: max(1, x.Servers), reference: x.Reference, infinite: x.Infinite,
			think: x.Think, priority: x.Priority})
	}
	if threads > lqnMaxThreads {
		return fmt.Errorf("%d users in all, at most %d", threads, lqnMaxThreads)
	}
	return nil
}

func (c *lqnCompiler) entryList() error {
	for i, x := range c.p.model.Entries {
		if x.Name == "" {
			return fmt.Errorf("entry %d has no name", i+1)
		}
		if _, twice := c.entries[x.Name]; twice {
			return fmt.Errorf("entry %s is defined twice", x.Name)
		}
		task, ok := c.tasks[x.Task]
		if !ok {
			return fmt.Errorf("entry %s belongs to task %q, which is not defined", x.Name, x.Task)
		}
		if err := checkNonNegative("arrival rate", x.Arrival); err != nil {
			return fmt.Errorf("entry %s: %w", x.Name, err)
		}
		if x.Arrival > 0 && c.p.tasks[task].reference {
			return fmt.Errorf("entry %s: a reference task takes no arrivals", x.Name)
		}
		if x.Arrival > 0 {
			c.p.open = true
			c.p.tasks[task].unbounded = true
		}
		c.entries[x.Name] = i
		c.p.tasks[task].entries = append(c.p.tasks[task].entries, i)
		c.p.entries = append(c.p.entries, lqnEntry{task: task, arrival: x.Arrival, start: -1})
	}
	for i, t := range c.p.tasks {
		if len(t.entries) == 0 {
			return fmt.Errorf("task %s has no entries", c.p.model.Tasks[i].Name)
		}
		if t.reference && len(t.entries) != 1 {
			return fmt.Errorf("reference task %s has %d entries, must have one", c.p.model.Tasks[i].Name, len(t.entries))
		}
	}
	return nil
}

func (c *lqnCompiler) bodies() error {
	starts, err := c.activities()
	if err != nil {
		return err
	}
	for i := range c.p.model.Entries {
		x := &c.p.model.Entries[i]
		e := &c.p.entries[i]
		if err := c.forwards(x, e); err != nil {
			return fmt.Errorf("entry %s: %w", x.Name, err)
		}
		switch {
		case x.Start != "" && len(x.Phases) > 0:
			return fmt.Errorf("entry %s has both phases and an activity graph", x.Name)
		case x.Start != "":
			a, ok := starts[x.Task][x.Start]
			if !ok {
				return fmt.Errorf("entry %s starts with activity %q, which task %s does not have", x.Name, x.Start, x.Task)
			}
			e.start, e.graph, e.phases = a, true, 2
		case len(x.Phases) == 0 || len(x.Phases) > lqnMaxPhases:
			return fmt.Errorf("entry %s has %d phases, must have 1 to %d", x.Name, len(x.Phases), lqnMaxPhases)
		default:
			if err := c.phases(x, e); err != nil {
				return fmt.Errorf("entry %s: %w", x.Name, err)
			}
		}
		c.p.phases = max(c.p.phases, e.phases)
	}
	if len(c.p.acts) > lqnMaxObjects {
		return fmt.Errorf("%d phases and activities, at most %d", len(c.p.acts), lqnMaxObjects)
	}
	return nil
}

func (c *lqnCompiler) forwards(x *LQNEntry, e *lqnEntry) error {
	total := 0.0
	for _, f := range x.Forwards {
		to, ok := c.entries[f.Entry]
		if !ok {
			return fmt.Errorf("forwards to %q, which is not defined", f.Entry)
		}
		if c.p.tasks[c.p.entries[to].task].reference {
			return fmt.Errorf("forwards to %s of a reference task", f.Entry)
		}
		if err := checkNonNegative("forwarding probability", f.Probability); err != nil {
			return err
		}
		total += f.Probability
		e.forwards = append(e.forwards, lqnTarget{to, f.Probability})
	}
	if total > 1+1e-9 {
		return fmt.Errorf("forwarding probabilities sum to %v", total)
	}
	if total > 0 && c.p.tasks[e.task].reference {
		return errors.New("a reference task has no caller to forward")
	}
	return nil
}

func (c *lqnCompiler) phases(x *LQNEntry, e *lqnEntry) error {
	e.start, e.phases = len(c.p.acts), len(x.Phases)
	for i := range x.Phases {
		a, err := c.activity(&x.Phases[i], e.task)
		if err != nil {
			return fmt.Errorf("phase %d: %w", i+1, err)
		}
		if x.Phases[i].ReplyTo != "" {
			return fmt.Errorf("phase %d: phases reply by themselves", i+1)
		}
		a.phase = i
		a.reply = i == 0
		if i+1 < len(x.Phases) {
			a.link = len(c.p.links)
			c.p.links = append(c.p.links, lqnLink{to: []int{len(c.p.acts) + 1}})
		}
		c.p.acts = append(c.p.acts, a)
	}
	return nil
}

// activity compiles one activity or phase of that task.
func (c *lqnCompiler) activity(x *LQNActivity, task int) (lqnAct, error) {
	a := lqnAct{name: x.Name, link: -1, think: x.Think, deterministic: x.Deterministic, scv: 1}
	if err := checkNonNegative("service time", x.Service); err != nil {
		return a, err
	}
	if err := checkNonNegative("think time", x.Think); err != nil {
		return a, err
	}
	switch {
	case x.SCV == Deterministic:
		a.scv = 0
	case x.SCV != 0:
		if err := checkNonNegative("SCV", x.SCV); err != nil {
			return a, err
		}
		a.scv = x.SCV
	}
	for _, y := range x.Calls {
		to, ok := c.entries[y.Entry]
		if !ok {
			return a, fmt.Errorf("calls entry %q, which is not defined", y.Entry)
		}
		callee := &c.p.tasks[c.p.entries[to].task]
		if callee.reference {
			return a, fmt.Errorf("calls entry %s of a reference task", y.Entry)
		}
		if err := checkNonNegative("calls to "+y.Entry, y.Mean); err != nil {
			return a, err
		}
		if x.Deterministic && y.Mean != math.Trunc(y.Mean) || y.Mean > 1e6 {
			return a, fmt.Errorf("%v calls to %s: a deterministic phase makes whole numbers of calls, at most a million", y.Mean, y.Entry)
		}
		if y.Mean > 0 {
			if y.Async {
				callee.unbounded = true
				c.p.open = true
			}
			a.calls = append(a.calls, lqnCall{to, y.Mean, y.Async})
			a.total += y.Mean
		}
	}
	if x.Deterministic && a.total > 250 {
		return a, fmt.Errorf("%v deterministic calls in one phase, at most 250", a.total)
	}
	a.service = x.Service / c.p.procs[c.p.tasks[task].proc].speed
	a.slice = fitPhaseType(a.service/(1+a.total), a.scv)
	return a, nil
}

// activities compiles the graphs of all tasks; the result finds an activity by
// task and name.
func (c *lqnCompiler) activities() (map[string]map[string]int, error) {
	found := map[string]map[string]int{}
	for t := range c.p.model.Tasks {
		x := &c.p.model.Tasks[t]
		names := map[string]int{}
		found[x.Name] = names
		for i := range x.Activities {
			y := &x.Activities[i]
			if _, twice := names[y.Name]; twice || y.Name == "" {
				return nil, fmt.Errorf("task %s: activity %q is defined twice or has no name", x.Name, y.Name)
			}
			a, err := c.activity(y, t)
			if err != nil {
				return nil, fmt.Errorf("task %s: activity %s: %w", x.Name, y.Name, err)
			}
			if y.ReplyTo != "" {
				e, ok := c.entries[y.ReplyTo]
				if !ok || c.p.entries[e].task != t || x.Reference {
					return nil, fmt.Errorf("task %s: activity %s replies to %q, which is not an entry that the task can reply to", x.Name, y.Name, y.ReplyTo)
				}
				a.reply = true
			}
			names[y.Name] = len(c.p.acts)
			c.p.acts = append(c.p.acts, a)
		}
		for i := range x.Links {
			if err := c.link(t, &x.Links[i], names); err != nil {
				return nil, fmt.Errorf("task %s: link %d: %w", x.Name, i+1, err)
			}
		}
	}
	return found, nil
}

func (c *lqnCompiler) link(task int, x *LQNLink, names map[string]int) error {
	l := lqnLink{and: x.And && len(x.From) > 1}
	if len(x.From) == 0 || len(x.To) == 0 {
		return errors.New("needs activities on both sides")
	}
	if len(x.From) > lqnMaxBranches || len(x.To) > lqnMaxBranches && x.Probability == nil {
		return fmt.Errorf("more than %d parallel branches are not supported", lqnMaxBranches)
	}
	if l.and {
		l.join = c.p.tasks[task].joins
		c.p.tasks[task].joins++
		if l.join >= lqnMaxJoins {
			return fmt.Errorf("more than %d and-joins in a task are not supported", lqnMaxJoins)
		}
		l.need = uint8(1<<len(x.From) - 1)
	}
	for i, name := range x.From {
		a, ok := names[name]
		if !ok {
			return fmt.Errorf("activity %q is not defined", name)
		}
		if c.p.acts[a].link >= 0 {
			return fmt.Errorf("activity %s has two successors; fork with one link", name)
		}
		c.p.acts[a].link, c.p.acts[a].joinBit = len(c.p.links), i
	}
	for _, name := range x.To {
		a, ok := names[name]
		if !ok {
			return fmt.Errorf("activity %q is not defined", name)
		}
		l.to = append(l.to, a)
	}
	if x.Probability != nil {
		if len(x.Probability) != len(x.To) {
			return fmt.Errorf("%d probabilities for %d branches", len(x.Probability), len(x.To))
		}
		total := 0.0
		for _, p := range x.Probability {
			if err := checkNonNegative("probability", p); err != nil {
				return err
			}
			total += p
		}
		if math.Abs(total-1) > 1e-6 {
			return fmt.Errorf("branch probabilities sum to %v", total)
		}
		l.prob = x.Probability
	}
	l.split = x.Probability == nil && len(x.To) > 1
	c.p.links = append(c.p.links, l)
	return nil
}
