package simulate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// workload is the load of a run.
type workload struct {
	users     int      // closed; 0: open
	constant  bool     // open: evenly spaced, not Poisson
	pieces    []piece  // open: the rate over time
	warmup    int64    // nanoseconds at the start that are left out
	end       int64    // of the run
	steady    bool     // its rate does not change, nor does anything else that is known beforehand
	auto      bool     // the warm-up is to be found
	timeout   int64    // of one request, as the client sees it
	routes    []string // those that scenarios take, sorted
	scenarios []scenario

	thinkTimes string // distribution of the pauses
}

// piece of a rate that changes linearly. Times in seconds.
type piece struct {
	start, length float64
	from, to      float64
	before        float64 // arrivals expected before it
}

type scenario struct {
	share float64 // of this one and those before it
	steps []step
}

type step struct {
	route      int32
	weight     float64
	think      float64 // mean pause after it, seconds
	idempotent bool
	safe       bool
	sent       *topology.Step // what is sent, where the file says so
	hash       keySource      // what leads it to a replica, where its route hashes
	limit      keySource      // what its route's limit goes by
}

// compileLoad reads the workload of the file, or the one that replaces it.
func compileLoad(sys *topology.System, o Options) (*workload, error) {
	l := &workload{steady: len(o.Faults) == 0 && o.Autoscale == nil, timeout: int64(30 * time.Second)}
	w := sys.Workload
	if w == nil {
		w = &topology.Workload{}
	}
	if w.Timeout < 0 || w.Duration < 0 || w.Warmup < 0 {
		return nil, errors.New("workload: time-out, duration and warm-up may not be negative")
	}
	if w.Timeout > 0 {
		l.timeout = int64(w.Timeout)
	}
	l.thinkTimes = w.ThinkTimes
	var rate float64
	var err error
	if o.Load != nil {
		rate, err = l.fromLoad(sys, o.Load)
		w = &topology.Workload{Warmup: w.Warmup, Duration: w.Duration, Users: o.Load.Users, Arrivals: w.Arrivals}
	} else {
		err = l.fromFile(sys, w)
		rate, l.users = float64(w.Rate), w.Users
	}
	if err != nil {
		return nil, err
	}
	return l, l.arrange(w, o, rate)
}

// arrange lays out the rate over time.
func (l *workload) arrange(w *topology.Workload, o Options, rate float64) error {
	l.constant = w.Arrivals == "constant"
	warmup, duration := w.Warmup.Std(), w.Duration.Std()
	setDefault(&duration, 30*time.Second)
	if o.Warmup != 0 {
		warmup = max(o.Warmup, 0)
	}
	if o.Duration > 0 {
		duration = o.Duration
	}
	if warmup > maxHorizon || duration > maxHorizon {
		return fmt.Errorf("a run of %v after a warm-up of %v: at most %v are simulated", duration, warmup, maxHorizon)
	}
	length := (warmup + duration).Seconds()
	switch {
	case l.users < 0 || l.users > 10_000_000:
		return fmt.Errorf("%d users: want 1 to 10 million", l.users)
	case l.users > 0:
	case len(w.Stages) > 0:
		l.steady = false
		for i, s := range w.Stages {
			if err := checkRate(float64(s.Rate) + float64(s.Amplitude)); err != nil || s.Duration <= 0 || s.Duration.Std() > maxHorizon {
				return fmt.Errorf("stage %d of the workload: rate %v over %v", i+1, float64(s.Rate), s.Duration.Std())
			}
		}
		slopes, err := topology.Slopes(w.Stages)
		if err != nil {
			return fmt.Errorf("the workload: %w", err)
		}
		at := 0.0
		for _, s := range slopes {
			l.add(at, s.Duration.Seconds(), s.From, s.To)
			at += s.Duration.Seconds()
		}
		length = at
	case w.Trace != nil:
		l.steady = false
		a := o.Arrivals
		if a == nil || len(a.Counts) == 0 {
			return errors.New("the workload replays a trace: give what it holds as Arrivals")
		}
		if a.Period <= 0 || len(a.Counts) > 10_000_000 || a.Period.Seconds()*float64(len(a.Counts)) > maxHorizon.Seconds() {
			return fmt.Errorf("%d periods of %v of arrivals", len(a.Counts), a.Period)
		}
		period := a.Period.Seconds()
		for i, n := range a.Counts {
			if err := checkRate(n / period); err != nil {
				return fmt.Errorf("period %d of the arrivals: %w", i+1, err)
			}
			l.add(float64(i)*period, period, n/period, n/period)
		}
		length = float64(len(a.Counts)) * period
	default:
		if err := checkRate(rate); err != nil {
			return fmt.Errorf("workload: %w", err)
		}
		if rate == 0 {
			return ErrNoWorkload
		}
		l.add(0, length, rate, rate)
	}
	l.end, l.warmup = nanoseconds(length), int64(warmup)
	if l.warmup >= l.end {
		return fmt.Errorf("a warm-up of %v leaves nothing of %v to measure", warmup, time.Duration(l.end))
	}
	l.auto = l.steady && o.Warmup == 0 && w.Warmup == 0
	return nil
}

func checkRate(rate float64) error {
	if !(rate >= 0 && rate <= 1e9) {
		return fmt.Errorf("rate of %v/s: want a number from 0 to 1e9", rate)
	}
	return nil
}

func (l *workload) add(start, length, from, to float64) {
	p := piece{start: start, length: length, from: from, to: to}
	if n := len(l.pieces); n > 0 {
		last := l.pieces[n-1]
		p.before = last.before + last.area()
	}
	l.pieces = append(l.pieces, p)
}

func (p piece) area() float64 { return (p.from + p.to) / 2 * p.length }

// expected is the number of scenarios that an open load starts.
func (l *workload) expected() float64 {
	if len(l.pieces) == 0 {
		return 0
	}
	last := l.pieces[len(l.pieces)-1]
	return last.before + last.area()
}

// when is the instant in seconds by which n arrivals are expected, which must be within piece i.
func (p piece) when(n float64) float64 {
	need := n - p.before
	if need <= 0 {
		return p.start
	}
	if p.from == p.to {
		return p.start + min(need/p.from, p.length)
	}
	// from x + slope x^2/2 = need, in the form that does not cancel.
	slope := (p.to - p.from) / p.length
	root := math.Sqrt(max(p.from*p.from+2*slope*need, 0))
	if p.from+root == 0 {
		return p.start + p.length
	}
	return p.start + min(2*need/(p.from+root), p.length)
}

// fromLoad gives each route of a load a scenario of one step, and returns the rate of an open one.
func (l *workload) fromLoad(sys *topology.System, load *Load) (rate float64, err error) {
	weights := load.Rates
	if l.users = load.Users; load.Users != 0 {
		weights = load.Mix
	}
	if load.Think < 0 {
		return 0, fmt.Errorf("think time of %v", load.Think)
	}
	for _, name := range sortedKeys(weights) {
		v := weights[name]
		if err := checkRate(v); err != nil {
			return 0, fmt.Errorf("load of route %s: %w", name, err)
		}
		if v == 0 {
			continue
		}
		i := slices.IndexFunc(sys.Routes, func(r *topology.Route) bool { return r.Name == name })
		if i < 0 {
			return 0, fmt.Errorf("the load names route %q, which does not exist", name)
		}
		rate += v
		method := sys.Routes[i].Method
		l.scenarios = append(l.scenarios, scenario{share: rate, steps: []step{{
			route: int32(len(l.routes)), weight: 1, think: load.Think.Seconds(),
			idempotent: method == "" || policy.Idempotent(method), safe: method == "" || policy.Safe(method),
		}}})
		l.routes = append(l.routes, name)
	}
	if rate == 0 {
		return 0, ErrNoWorkload
	}
	for i := range l.scenarios {
		l.scenarios[i].share /= rate
	}
	return rate, nil
}

// fromFile compiles the scenarios of the file.
func (l *workload) fromFile(sys *topology.System, w *topology.Workload) error {
	if len(w.Scenarios) == 0 {
		return ErrNoWorkload
	}
	set := 0
	for _, s := range []bool{w.Rate != 0, len(w.Stages) > 0, w.Trace != nil, w.Users != 0} {
		if s {
			set++
		}
	}
	if set == 0 {
		return ErrNoWorkload
	}
	if set > 1 {
		return errors.New("the workload must have exactly one of rate, stages, trace and users")
	}
	mix := w.Mix
	if len(mix) == 0 {
		mix = map[string]topology.Percent{}
		for name := range w.Scenarios {
			mix[name] = 1
		}
	}
	router := topology.NewRouter(sys.Routes)
	index := map[string]int32{}
	var total float64
	for _, name := range sortedKeys(mix) {
		weight := float64(mix[name])
		if !(weight >= 0 && weight < 1e9) {
			return fmt.Errorf("scenario %s has a share of %v", name, weight)
		}
		if weight == 0 {
			continue
		}
		s := w.Scenarios[name]
		if s == nil {
			return fmt.Errorf("the workload's mix names scenario %q, which does not exist", name)
		}
		total += weight
		compiled := scenario{share: total}
		for _, st := range s.Steps {
			if !st.IsRouted() {
				continue
			}
			compiledStep, route, err := compileStep(router, sys.Functions, w, s, st)
			if err != nil {
				return fmt.Errorf("scenario %s: %w", name, err)
			}
			if _, ok := index[route]; !ok {
				index[route] = int32(len(index))
				l.routes = append(l.routes, route)
			}
			compiledStep.route = index[route]
			compiled.steps = append(compiled.steps, compiledStep)
		}
		l.scenarios = append(l.scenarios, compiled)
	}
	if total == 0 || len(l.routes) == 0 {
		return ErrNoWorkload
	}
	for i := range l.scenarios {
		l.scenarios[i].share /= total
	}
	l.sortRoutes()
	return nil
}

// sortRoutes numbers the routes by name.
func (l *workload) sortRoutes() {
	before := slices.Clone(l.routes)
	sort.Strings(l.routes)
	for i := range l.scenarios {
		for k := range l.scenarios[i].steps {
			st := &l.scenarios[i].steps[k]
			st.route = int32(slices.Index(l.routes, before[st.route]))
		}
	}
}

func compileStep(router *topology.Router, functions map[string]*topology.Function, w *topology.Workload, s *topology.Scenario, st *topology.Step) (step, string, error) {
	method := st.Method
	if method == "" {
		method = "GET"
	}
	name := ""
	if route := router.OfStep(st); route != nil {
		name = route.Name
	} else if name = functionAt(functions, st.BarePath()); name == "" {
		return step{}, "", fmt.Errorf("no route answers %s %s", method, st.Path)
	}
	think := w.ThinkAfter(s, st)
	weight := float64(st.Weight)
	if weight == 0 {
		weight = 1
	}
	if think < 0 || !(weight > 0 && weight <= 1) {
		return step{}, "", fmt.Errorf("step %s %s: think time of %v, weight of %v", method, st.Path, think.Std(), weight)
	}
	return step{weight: weight, think: think.Std().Seconds(), idempotent: policy.Idempotent(method), safe: policy.Safe(method), sent: st}, name, nil
}

// functionAt is the function that a path starts, as in 'uses'; empty if there is none.
func functionAt(functions map[string]*topology.Function, path string) string {
	for _, name := range sortedKeys(functions) {
		if functions[name].On.HTTP == path && path != "" {
			return "functions." + name
		}
	}
	return ""
}
