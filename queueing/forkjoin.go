package queueing

import (
	"errors"
	"fmt"
	"slices"
)

// ForkJoinStep is a piece of a program with internal concurrency: work on the CPU
// with visits to devices, or a sequence of steps, or parallel steps that all must
// end before what follows. Exactly one of the three forms is used.
type ForkJoinStep struct {
	CPU      float64            // mean CPU time of this step in all
	Visits   map[string]float64 // mean visits to each device, between slices of CPU time
	Sequence []ForkJoinStep
	Parallel []ForkJoinStep
}

// ForkJoin is a closed network of such programs: Customers of them run, each
// beginning again after Think, on CPUs and devices which serve first come first
// served. Source of the model: Heidelberger and Trivedi, Analytic queueing models
// for programs with internal concurrency, IEEE ToC 1983.
type ForkJoin struct {
	Customers int
	Think     float64
	CPUs      int                // 0 means 1
	Devices   map[string]float64 // mean service time of a visit
	Program   ForkJoinStep
}

// LQN states the network as a layered model; the entry "program" of the task
// "customers" completes once for each program run.
func (f *ForkJoin) LQN() (*LQN, error) {
	if f.Customers < 1 || f.Customers > lqnMaxThreads {
		return nil, fmt.Errorf("fork-join: %d customers, must be 1 to %d", f.Customers, lqnMaxThreads)
	}
	m := &LQN{Processors: []LQNProcessor{{Name: "cpu", Servers: f.CPUs}},
		Entries: []LQNEntry{{Name: "program", Task: "customers", Start: "a0"}}}
	names := make([]string, 0, len(f.Devices))
	for name := range f.Devices {
		if name == "cpu" || name == "customers" || name == "program" || name == "" {
			return nil, fmt.Errorf("fork-join: a device cannot be named %q", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	g := &forkGraph{devices: f.Devices}
	g.act(0, nil) // a0: the start
	last, err := g.add(&f.Program, "a0", 0)
	if err != nil {
		return nil, fmt.Errorf("fork-join: %w", err)
	}
	_ = last
	m.Tasks = []LQNTask{{Name: "customers", Processor: "cpu", Reference: true, Servers: f.Customers, Think: f.Think,
		Activities: g.acts, Links: g.links}}
	for _, name := range names {
		m.Processors = append(m.Processors, LQNProcessor{Name: name})
		m.Tasks = append(m.Tasks, LQNTask{Name: name, Processor: name})
		m.Entries = append(m.Entries, LQNEntry{Name: name, Task: name, Phases: []LQNActivity{{Service: f.Devices[name]}}})
	}
	return m, nil
}

// SolveForkJoin gives the throughput of programs and their mean response; exact
// by the Markov chain while it has at most o.MaxStates states.
func SolveForkJoin(f *ForkJoin, o LQNOptions) (throughput, response float64, s *LQNSolution, err error) {
	m, err := f.LQN()
	if err != nil {
		return 0, 0, nil, err
	}
	if s, err = SolveLQN(m, o); err != nil {
		return 0, 0, nil, err
	}
	e := s.Entries["program"]
	return e.Throughput, e.Response, s, nil
}

// forkGraph turns steps into activities and links.
type forkGraph struct {
	devices map[string]float64
	acts    []LQNActivity
	links   []LQNLink
}

func (g *forkGraph) act(cpu float64, calls []LQNCall) string {
	name := fmt.Sprintf("a%d", len(g.acts))
	g.acts = append(g.acts, LQNActivity{Name: name, Service: cpu, Calls: calls})
	return name
}

// add appends a step after the activity of that name and returns the activity
// that ends it.
func (g *forkGraph) add(s *ForkJoinStep, after string, depth int) (string, error) {
	forms := 0
	if s.CPU != 0 || len(s.Visits) > 0 {
		forms++
	}
	if s.Sequence != nil {
		forms++
	}
	if s.Parallel != nil {
		forms++
	}
	switch {
	case forms != 1:
		return "", errors.New("a step must be one of work, a sequence or parallel steps, and not empty")
	case depth > 20 || len(g.acts) > lqnMaxObjects:
		return "", errors.New("the program is too large")
	case s.Sequence != nil:
		for i := range s.Sequence {
			var err error
			if after, err = g.add(&s.Sequence[i], after, depth+1); err != nil {
				return "", err
			}
		}
		return after, nil
	case s.Parallel != nil:
		return g.fork(s.Parallel, after, depth)
	}
	var calls []LQNCall
	names := make([]string, 0, len(s.Visits))
	for name := range s.Visits {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, ok := g.devices[name]; !ok {
			return "", fmt.Errorf("a step visits device %q, which is not defined", name)
		}
		calls = append(calls, LQNCall{Entry: name, Mean: s.Visits[name]})
	}
	name := g.act(s.CPU, calls)
	g.links = append(g.links, LQNLink{From: []string{after}, To: []string{name}})
	return name, nil
}

func (g *forkGraph) fork(branches []ForkJoinStep, after string, depth int) (string, error) {
	if len(branches) < 2 {
		return "", errors.New("parallel steps need at least two branches")
	}
	var first, last []string
	for i := range branches {
		begin := g.act(0, nil)
		end, err := g.add(&branches[i], begin, depth+1)
		if err != nil {
			return "", err
		}
		first, last = append(first, begin), append(last, end)
	}
	join := g.act(0, nil)
	g.links = append(g.links, LQNLink{From: []string{after}, To: first}, LQNLink{From: last, And: true, To: []string{join}})
	return join, nil
}
