package queueing

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// lqnInputs is a layered network: the long form, the short form, or the text of
// an LQN file.
type lqnInputs struct {
	model *LQN
	o     LQNOptions
	notes []string
}

type lqnLong struct {
	Processors []lqnLongProcessor      `json:"processors"`
	Tasks      []lqnLongTask           `json:"tasks"`
	Entries    map[string]lqnLongEntry `json:"entries"`
	Calls      []lqnLongCall           `json:"calls"`
	Open       map[string]float64      `json:"open_arrivals"` // entry: rate
	Method     LQNMethod               `json:"method"`        // markov, simulate, layered
	Seed       uint64                  `json:"seed"`
	Note       string                  `json:"note"`
}

type lqnLongProcessor struct {
	Name    string  `json:"name"`
	Sched   string  `json:"sched"` // FCFS, PS, INF, HOL, PPR
	Servers int     `json:"mult"`
	Speed   float64 `json:"speed"`
	// Quantum is the time slice of PS. Without one a PS processor serves first come
	// first served: the published exact solution of such a model (case
	// lqn_srvn6_B11) fits that reading and not sharing. Any positive quantum is
	// taken as ideal sharing.
	Quantum float64 `json:"quantum"`
}

type lqnLongTask struct {
	Name       string            `json:"name"`
	Ref        bool              `json:"ref"`
	Sched      string            `json:"sched"` // r or ref, n or FCFS, i or INF
	Entries    []string          `json:"entries"`
	Processor  string            `json:"processor"`
	Servers    int               `json:"mult"`
	Think      float64           `json:"think"`
	Priority   int               `json:"priority"`
	Activities []lqnLongActivity `json:"activities"`
	Links      []LQNLink         `json:"links"` // {"from": [..], "and": true, "to": [..], "probability": [..]}
}

type lqnLongActivity struct {
	Name          string             `json:"name"`
	Service       float64            `json:"s"`
	SCV           float64            `json:"scv"`
	Think         float64            `json:"think"`
	Deterministic bool               `json:"deterministic"`
	Calls         map[string]float64 `json:"calls"` // synchronous: entry: mean
	Sends         map[string]float64 `json:"sends"` // asynchronous
	ReplyTo       string             `json:"reply"`
}

type lqnLongEntry struct {
	S             []float64          `json:"s"`     // service time of each phase
	SCV           []float64          `json:"scv"`   // of each phase
	Think         []float64          `json:"think"` // of each phase
	Deterministic []bool             `json:"deterministic"`
	Start         string             `json:"start"` // activity, instead of s
	Forward       map[string]float64 `json:"forward"`
}

type lqnLongCall struct {
	Src  string    `json:"src"`
	Dst  string    `json:"dst"`
	Type string    `json:"type"` // rendezvous (default), send, forward
	Mean []float64 `json:"mean_per_phase"`
}

func (in *lqnInputs) UnmarshalJSON(raw []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return err
	}
	switch {
	case keys["lqn"] != nil:
		return in.text(raw)
	case keys["tasks"] == nil:
		return in.short(keys)
	}
	var long lqnLong
	if err := strict(raw, &long); err != nil {
		return err
	}
	in.o = LQNOptions{Method: long.Method, Seed: long.Seed}
	return in.long(&long)
}

// text takes the model as the text of an LQN file.
func (in *lqnInputs) text(raw []byte) error {
	var doc struct {
		LQN    string    `json:"lqn"`
		Method LQNMethod `json:"method"`
		Seed   uint64    `json:"seed"`
		Note   string    `json:"note"`
	}
	if err := strict(raw, &doc); err != nil {
		return err
	}
	m, notes, err := ParseLQN(strings.NewReader(doc.LQN))
	in.model, in.notes, in.o = m, notes, LQNOptions{Method: doc.Method, Seed: doc.Seed}
	return err
}

func (in *lqnInputs) long(l *lqnLong) error {
	m := &LQN{}
	for _, p := range l.Processors {
		sched := LQNScheduling(strings.ToUpper(p.Sched))
		if sched == LQNPS && p.Quantum == 0 {
			sched = LQNFCFS
			in.notes = append(in.notes, fmt.Sprintf("processor %s: PS without a quantum is taken as first come first served; give a quantum for sharing", p.Name))
		}
		if err := checkNonNegative("quantum", p.Quantum); err != nil {
			return fmt.Errorf("processor %s: %w", p.Name, err)
		}
		m.Processors = append(m.Processors, LQNProcessor{Name: p.Name, Scheduling: sched, Servers: p.Servers, Speed: p.Speed})
	}
	owned := map[string]bool{}
	for i := range l.Tasks {
		if err := l.task(m, &l.Tasks[i], owned); err != nil {
			return fmt.Errorf("task %s: %w", l.Tasks[i].Name, err)
		}
	}
	for name := range l.Entries {
		if !owned[name] {
			return fmt.Errorf("entry %s belongs to no task", name)
		}
	}
	if err := l.calls(m); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(l.Open)) {
		e := findEntry(m, name)
		if e == nil {
			return fmt.Errorf("open_arrivals: entry %q is not defined", name)
		}
		e.Arrival = l.Open[name]
	}
	in.model = m
	return nil
}

func (l *lqnLong) task(m *LQN, x *lqnLongTask, owned map[string]bool) error {
	t := LQNTask{Name: x.Name, Processor: x.Processor, Reference: x.Ref, Servers: x.Servers, Think: x.Think, Priority: x.Priority, Links: x.Links}
	switch strings.ToLower(x.Sched) {
	case "r", "ref":
		t.Reference = true
	case "i", "inf":
		t.Infinite = true
	case "", "n", "f", "fcfs", "fifo":
	default:
		return fmt.Errorf("sched %q is not supported (have r, n, i)", x.Sched)
	}
	for _, a := range x.Activities {
		t.Activities = append(t.Activities, LQNActivity{Name: a.Name, Service: a.Service, SCV: a.SCV, Think: a.Think,
			Deterministic: a.Deterministic, ReplyTo: a.ReplyTo, Calls: append(callList(a.Calls, false), callList(a.Sends, true)...)})
	}
	m.Tasks = append(m.Tasks, t)
	for _, name := range x.Entries {
		if owned[name] {
			return fmt.Errorf("entry %s is listed twice", name)
		}
		owned[name] = true
		y, ok := l.Entries[name]
		if !ok {
			return fmt.Errorf("entry %s is not defined", name)
		}
		e := LQNEntry{Name: name, Task: x.Name, Start: y.Start}
		if len(y.SCV) > len(y.S) || len(y.Think) > len(y.S) || len(y.Deterministic) > len(y.S) {
			return fmt.Errorf("entry %s: more values than its %d phases", name, len(y.S))
		}
		for ph, s := range y.S {
			a := LQNActivity{Service: s}
			if ph < len(y.SCV) {
				a.SCV = y.SCV[ph]
			}
			if ph < len(y.Think) {
				a.Think = y.Think[ph]
			}
			if ph < len(y.Deterministic) {
				a.Deterministic = y.Deterministic[ph]
			}
			e.Phases = append(e.Phases, a)
		}
		for _, to := range slices.Sorted(maps.Keys(y.Forward)) {
			e.Forwards = append(e.Forwards, LQNForward{to, y.Forward[to]})
		}
		m.Entries = append(m.Entries, e)
	}
	return nil
}

func callList(calls map[string]float64, async bool) []LQNCall {
	var out []LQNCall
	for _, to := range slices.Sorted(maps.Keys(calls)) {
		out = append(out, LQNCall{to, calls[to], async})
	}
	return out
}

func findEntry(m *LQN, name string) *LQNEntry {
	for i := range m.Entries {
		if m.Entries[i].Name == name {
			return &m.Entries[i]
		}
	}
	return nil
}

func (l *lqnLong) calls(m *LQN) error {
	for i, c := range l.Calls {
		e := findEntry(m, c.Src)
		if e == nil {
			return fmt.Errorf("call %d: entry %q is not defined", i+1, c.Src)
		}
		if c.Type == "forward" {
			if len(c.Mean) != 1 {
				return fmt.Errorf("call %d: a forward has one probability", i+1)
			}
			e.Forwards = append(e.Forwards, LQNForward{c.Dst, c.Mean[0]})
			continue
		}
		if c.Type != "" && c.Type != "rendezvous" && c.Type != "send" {
			return fmt.Errorf("call %d: type %q is not one of rendezvous, send, forward", i+1, c.Type)
		}
		for ph, y := range c.Mean {
			if y == 0 {
				continue
			}
			for len(e.Phases) <= ph && e.Start == "" && len(e.Phases) < lqnMaxPhases {
				e.Phases = append(e.Phases, LQNActivity{}) // a phase of calls alone
			}
			if ph >= len(e.Phases) {
				return fmt.Errorf("call %d: entry %s has no phase %d", i+1, c.Src, ph+1)
			}
			e.Phases[ph].Calls = append(e.Phases[ph].Calls, LQNCall{c.Dst, y, c.Type == "send"})
		}
	}
	return nil
}

// short reads {"T1": {"ref": true, ...}, "T2": {...}}: one object for each task.
// "processor" is a name and a scheduling, "X_demand" the service time of entry X
// and "X_calls" its calls; host_demand and calls are those of the task's one
// entry, which is named as the task with its T as an E.
func (in *lqnInputs) short(keys map[string]json.RawMessage) error {
	m := &LQN{}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		switch name {
		case "note":
			continue
		case "method":
			if err := strict(keys[name], &in.o.Method); err != nil {
				return err
			}
			continue
		}
		if err := shortTask(m, name, keys[name], seen); err != nil {
			return fmt.Errorf("task %s: %w", name, err)
		}
	}
	in.model = m
	return nil
}

func shortTask(m *LQN, name string, raw json.RawMessage, seen map[string]bool) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	t := LQNTask{Name: name}
	own := "E" + strings.TrimPrefix(name, "T")
	entries := map[string]*LQNActivity{}
	phase := func(e string) *LQNActivity {
		if entries[e] == nil {
			entries[e] = &LQNActivity{}
		}
		return entries[e]
	}
	var processor string
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		var err error
		value := fields[f]
		var calls map[string]float64
		switch {
		case f == "ref":
			err = strict(value, &t.Reference)
		case f == "mult":
			err = strict(value, &t.Servers)
		case f == "think":
			err = strict(value, &t.Think)
		case f == "priority":
			err = strict(value, &t.Priority)
		case f == "sched":
			var s string
			err = strict(value, &s)
			t.Infinite = strings.EqualFold(s, "INF")
			if err == nil && !t.Infinite && !slices.Contains([]string{"FCFS", "REF"}, strings.ToUpper(s)) {
				err = fmt.Errorf("sched %q is not supported (have FCFS, INF, REF)", s)
			}
		case f == "processor":
			err = strict(value, &processor)
		case f == "host_demand":
			err = strict(value, &phase(own).Service)
		case f == "calls":
			err = strict(value, &calls)
			phase(own).Calls = callList(calls, false)
		case strings.HasSuffix(f, "_demand"):
			err = strict(value, &phase(strings.TrimSuffix(f, "_demand")).Service)
		case strings.HasSuffix(f, "_calls"):
			err = strict(value, &calls)
			phase(strings.TrimSuffix(f, "_calls")).Calls = callList(calls, false)
		default:
			err = fmt.Errorf("unknown field %q", f)
		}
		if err != nil {
			return err
		}
	}
	words := strings.Fields(processor)
	if len(words) == 0 || len(words) > 2 {
		return errors.New("processor must be a name and a scheduling, as in \"P1 PS\"")
	}
	t.Processor = words[0]
	if !seen[words[0]] {
		seen[words[0]] = true
		p := LQNProcessor{Name: words[0]}
		if len(words) == 2 {
			p.Scheduling = LQNScheduling(words[1])
		}
		m.Processors = append(m.Processors, p)
	}
	m.Tasks = append(m.Tasks, t)
	for _, e := range slices.Sorted(maps.Keys(entries)) {
		m.Entries = append(m.Entries, LQNEntry{Name: e, Task: name, Phases: []LQNActivity{*entries[e]}})
	}
	return nil
}

func (in *lqnInputs) solve(r *Report) error {
	if in.model == nil {
		return errors.New("inputs: empty")
	}
	s, err := SolveLQN(in.model, in.o)
	if err != nil {
		return err
	}
	r.Notes = append(r.Notes, in.notes...)
	reportLQN(r, s)
	return nil
}

func reportLQN(r *Report, s *LQNSolution) {
	r.Method, r.Exact = s.Method, s.Exact
	if s.HalfWidth > 0 {
		r.note("sampled: throughputs within %.2g %% at 95 %% confidence, %d events", 100*s.HalfWidth, s.States)
	}
	throughput, util, phases, wait, response, busy := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	for name, e := range s.Entries {
		throughput[name], util[name], phases[name], wait[name], response[name] = e.Throughput, e.Utilisation, e.Phases, e.Wait, e.Response
	}
	taskUtil := map[string]any{}
	for name, t := range s.Tasks {
		if _, entry := s.Entries[name]; !entry {
			throughput[name] = t.Throughput
		}
		taskUtil[name] = t.Utilisation
	}
	for name, b := range s.Processors {
		busy[name] = b
	}
	r.set("throughput", throughput)
	r.set("response", response)
	r.set("phase_service", phases)
	r.set("wait", wait)
	r.set("entry_util", util)
	r.set("task_util", taskUtil)
	r.set("util", busy)
}

type forkJoinInputs struct {
	Customers int                `json:"customers"`
	CPUs      int                `json:"cpus"`
	Think     float64            `json:"think"`
	Devices   map[string]float64 `json:"devices"`
	// Demand is the CPU time of the steps that give none themselves.
	Demand  float64          `json:"cpu_demand_per_activity"`
	Program forkJoinStepJSON `json:"program"`
	// File names a published program instead of devices and program: see publishedPrograms.
	File   string    `json:"lqn_in"`
	Method LQNMethod `json:"method"`
	Seed   uint64    `json:"seed"`
	Note   string    `json:"note"`
}

type forkJoinStepJSON struct {
	CPU      *float64           `json:"cpu"`
	Visits   map[string]float64 `json:"visits"`
	Sequence []forkJoinStepJSON `json:"seq"`
	Parallel []forkJoinStepJSON `json:"par"`
}

func (s *forkJoinStepJSON) step(demand float64) ForkJoinStep {
	out := ForkJoinStep{Visits: s.Visits}
	switch {
	case s.CPU != nil:
		out.CPU = *s.CPU
	case s.Visits != nil:
		out.CPU = demand
	}
	for i := range s.Sequence {
		out.Sequence = append(out.Sequence, s.Sequence[i].step(demand))
	}
	for i := range s.Parallel {
		out.Parallel = append(out.Parallel, s.Parallel[i].step(demand))
	}
	return out
}

func (in *forkJoinInputs) solve(r *Report) error {
	if in.File != "" {
		if in.Devices != nil {
			return errors.New("inputs: give lqn_in or devices and program")
		}
		p, ok := publishedPrograms()[publishedName(in.File)]
		if !ok {
			return fmt.Errorf("inputs: lqn_in %q is none of the published programs (%s); state its devices and program",
				in.File, strings.Join(slices.Sorted(maps.Keys(publishedPrograms())), ", "))
		}
		in.Devices, in.Program = map[string]float64{"d1": 0.04, "d2": 0.04, "d3": 0.04, "d4": 0.04}, p
	}
	f := &ForkJoin{Customers: in.Customers, Think: in.Think, CPUs: in.CPUs, Devices: in.Devices, Program: in.Program.step(in.Demand)}
	x, resp, s, err := SolveForkJoin(f, LQNOptions{Method: in.Method, Seed: in.Seed})
	if err != nil {
		return err
	}
	r.Method, r.Exact = s.Method, s.Exact
	if s.HalfWidth > 0 {
		r.note("sampled: throughput within %.2g %% at 95 %% confidence, %d events", 100*s.HalfWidth, s.States)
	}
	r.set("throughput", x)
	r.set("response", resp)
	util := map[string]any{}
	for name, u := range s.Processors {
		util[name] = u
	}
	r.set("busy", util)
	return nil
}
