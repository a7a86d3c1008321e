package queueing

import (
	"errors"
	"fmt"
	"math"
)

// LQN is a layered queueing network: tasks (software servers, with threads) run
// on processors and call the entries of other tasks. A caller blocks during a
// synchronous call (rendezvous) and keeps its thread; the callee may go on after
// its reply (second phase). Source of the notation: Franks, Al-Omari, Woodside,
// Das and Derisavi, Enhanced modeling and solution of layered queueing networks,
// IEEE TSE 2009.
//
// Service demands of a phase are split by its calls into slices: with Y calls on
// average there are 1+Y slices, the number of calls is geometric and their order
// random, unless the phase is Deterministic.
type LQN struct {
	Processors []LQNProcessor
	Tasks      []LQNTask
	Entries    []LQNEntry
}

// LQNScheduling is how a processor shares itself out.
type LQNScheduling string

const (
	LQNFCFS LQNScheduling = "FCFS" // the zero value
	LQNPS   LQNScheduling = "PS"
	LQNINF  LQNScheduling = "INF" // no contention
	LQNHOL  LQNScheduling = "HOL" // by Task.Priority, not preemptive
	LQNPPR  LQNScheduling = "PPR" // by Task.Priority, preemptive resume
)

// LQNProcessor is what tasks run on.
type LQNProcessor struct {
	Name       string
	Scheduling LQNScheduling
	Servers    int     // 0 means 1
	Speed      float64 // divides the service times; 0 means 1
}

// LQNTask is a software server, or with Reference a set of Servers users each of
// which runs its one entry, thinks, and begins again.
type LQNTask struct {
	Name       string
	Processor  string
	Reference  bool
	Servers    int     // threads, or users; 0 means 1
	Infinite   bool    // a thread for each request
	Think      float64 // mean think time of a user between cycles
	Priority   int     // higher is more urgent, at HOL and PPR processors
	Activities []LQNActivity
	Links      []LQNLink
}

// LQNEntry is a service that a task offers: either a sequence of Phases (the
// reply is sent after the first) or a graph of activities from Start.
type LQNEntry struct {
	Name     string
	Task     string
	Phases   []LQNActivity // names may be empty
	Start    string        // activity of the task; the entry then has no phases
	Arrival  float64       // open arrivals: requests without a caller, Poisson
	Forwards []LQNForward  // instead of replying, pass the caller on
}

// LQNForward passes the caller on to another entry with that probability.
type LQNForward struct {
	Entry       string
	Probability float64
}

// LQNActivity is work on the processor with calls.
type LQNActivity struct {
	Name          string
	Service       float64 // mean time on the processor in all
	SCV           float64 // squared coefficient of variation of a slice: 0 means 1, Deterministic means 0
	Think         float64 // mean pause before the work, off the processor
	Deterministic bool    // make exactly Mean calls of each kind, in order
	Calls         []LQNCall
	ReplyTo       string // activity graphs: reply to the caller of that entry when done
}

// LQNCall is a request that a phase makes Mean times on average.
type LQNCall struct {
	Entry string
	Mean  float64
	Async bool // send without waiting for a reply
}

// LQNLink joins and forks activities: when the activities From are done (one of
// them, or all when And) those of To start: one by probability when Probability
// is given, else all.
type LQNLink struct {
	From        []string
	And         bool // wait for all of From
	To          []string
	Probability []float64 // or-fork; nil with one To is a sequence, with several an and-fork
}

// LQNMethod chooses a solver.
type LQNMethod string

const (
	LQNAuto     LQNMethod = ""         // product form, else Markov, else simulation
	LQNMarkov   LQNMethod = "markov"   // exact: the whole Markov chain
	LQNSimulate LQNMethod = "simulate" // sampled, with confidence intervals
	LQNLayered  LQNMethod = "layered"  // approximate, in milliseconds: the method of layers
)

// LQNOptions of SolveLQN; the zero value is the default.
type LQNOptions struct {
	Method    LQNMethod
	MaxStates int     // of the Markov chain; 0 means 150 000
	Precision float64 // relative half-width at 95 % of the users' throughput at which sampling ends; 0 means 0.005
	MaxEvents int     // of a simulation; 0 means 10 million (a few seconds)
	Seed      uint64  // of a simulation
}

// LQNSolution holds results by name.
type LQNSolution struct {
	Method    string
	Exact     bool
	HalfWidth float64 // relative, at 95 %, of the least certain throughput; 0 when not sampled
	States    int     // of the Markov chain, or events sampled
	Lost      float64 // share of requests without a reply that found the (bounded) queue full

	Entries    map[string]LQNEntryResult
	Tasks      map[string]LQNTaskResult
	Processors map[string]float64 // mean number of busy servers
}

// LQNEntryResult is the steady state of an entry.
type LQNEntryResult struct {
	Throughput  float64
	Phases      []float64 // mean time in each phase, waits and calls included
	Wait        float64   // mean time of a request in the task's queue
	Response    float64   // Wait and first phase: what a caller sees (a user: the whole cycle without think time)
	Utilisation float64   // mean number of threads busy with it
}

// LQNTaskResult is the steady state of a task.
type LQNTaskResult struct {
	Throughput  float64
	Utilisation float64 // mean number of busy threads (users: not thinking)
}

const (
	lqnMaxObjects  = 2_000 // of each of processors, tasks, entries, activities
	lqnMaxThreads  = 10_000
	lqnMaxBranches = 8
	lqnMaxPhases   = 8
)

// SolveLQN solves a layered network. Left to itself it takes the first of:
// the equivalent product-form network when every task has a thread for each
// request, no second phase and processor-sharing hosts; the Markov chain of the
// model when it has at most MaxStates states; a simulation of the same chain.
func SolveLQN(m *LQN, o LQNOptions) (*LQNSolution, error) {
	p, err := compileLQN(m)
	if err != nil {
		return nil, err
	}
	if o.MaxStates < 0 || o.MaxEvents < 0 || math.IsNaN(o.Precision) || o.Precision < 0 {
		return nil, errors.New("lqn: options must not be negative")
	}
	switch o.Method {
	case LQNMarkov:
		return p.markov(o)
	case LQNSimulate:
		return p.simulate(o)
	case LQNLayered:
		return p.layered()
	case LQNAuto:
	default:
		return nil, fmt.Errorf("lqn: unknown method %q (have %s, %s, %s)", o.Method, LQNMarkov, LQNSimulate, LQNLayered)
	}
	if s, ok, err := p.productForm(); ok || err != nil {
		return s, err
	}
	s, err := p.markov(o)
	if errors.Is(err, ErrTooLarge) {
		return p.simulate(o)
	}
	return s, err
}
