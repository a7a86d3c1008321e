package queueing

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

const set2 = `G "fork-join" 1e-06 50 5 0.9 -1
P 0
  p p1 f m 1
  p d1 f
  p d2 f
  p d3 f
  p d4 f
-1
T 0
  t t1 r e1 -1 p1 m 3
  t d1 n d1 -1 d1
  t d2 n d2 -1 d2
  t d3 n d3 -1 d3
  t d4 n d4 -1 d4
-1
E 0
  A e1 a1
  s d1 0.04 -1
  s d2 0.04 -1
  s d3 0.04 -1
  s d4 0.04 -1
-1
A t1
  s a1 0.1
  s b1 0.1
  s b2 0.1
  s c1 0.0
  y a1 d1 5.0
  y a1 d2 5.0
  y b1 d1 5.0
  y b1 d2 5.0
  y b2 d3 5.0
  y b2 d4 5.0
:
  a1 -> b1 & b2;
  b1 & b2 -> c1
-1
`

func TestParseLQN(t *testing.T) {
	m, _, err := ParseLQN(strings.NewReader(set2))
	if err != nil {
		t.Fatal(err)
	}
	s, err := SolveLQN(m, LQNOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if x := s.Entries["e1"].Throughput; math.Abs(x/1.53796-1) > 0.001 {
		t.Errorf("throughput %v by %s, published 1.53796", x, s.Method)
	}
	for _, bad := range []string{"P", "T 1 t", "X", `G "`, "P 1\n p p1 q\n-1", strings.Replace(set2, "b1 & b2 -> c1", "b1 & b2 + a1 -> c1", 1),
		strings.Replace(set2, "a1 -> b1", "a1 -> 5 * b1", 1), strings.Replace(set2, "s d1 0.04", "s d1 $x", 1)} {
		if _, _, err := ParseLQN(strings.NewReader(bad)); err == nil {
			t.Errorf("accepted %.30q", bad)
		}
	}
}

// simulation is an event-driven simulation of a small layered system, written apart
// from the machine that the solvers share: users think, run on a FCFS host, and
// call a server task with threads on a second FCFS host; the server replies after
// its first phase and goes on with a second. It answers for the user throughput.
type simEvent struct {
	at  float64
	act func()
}
type simHeap []simEvent

func (h simHeap) Len() int           { return len(h) }
func (h simHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h simHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)        { *h = append(*h, x.(simEvent)) }
func (h *simHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

type simulation struct {
	now    float64
	events simHeap
	rng    *rand.Rand
}

func (s *simulation) after(mean float64, act func()) {
	heap.Push(&s.events, simEvent{s.now + mean*s.rng.ExpFloat64(), act})
}

// simHost is c servers with one line.
type simHost struct {
	s    *simulation
	free int
	line []func()
}

func (h *simHost) take(act func()) {
	if h.free > 0 {
		h.free--
		act()
		return
	}
	h.line = append(h.line, act)
}

func (h *simHost) give() {
	if len(h.line) > 0 {
		next := h.line[0]
		h.line = h.line[1:]
		next()
		return
	}
	h.free++
}

func (h *simHost) work(mean float64, then func()) {
	h.take(func() { h.s.after(mean, func() { h.give(); then() }) })
}

func simulateTwoLayers(users, threads, hosts int, think, demand, calls, first, second, horizon float64, seed uint64) float64 {
	s := &simulation{rng: rand.New(rand.NewPCG(seed, 1))}
	client := &simHost{s: s, free: 1}
	host := &simHost{s: s, free: hosts}
	pool := &simHost{s: s, free: threads}
	done := 0
	var cycle func()
	var slice func()
	slice = func() {
		client.work(demand/(1+calls), func() {
			if s.rng.Float64() < 1/(1+calls) {
				done++
				cycle()
				return
			}
			pool.take(func() {
				host.work(first, func() {
					slice() // the reply
					host.work(second, pool.give)
				})
			})
		})
	}
	cycle = func() { s.after(think, slice) }
	for range users {
		cycle()
	}
	warm := 0
	for s.now < horizon {
		e := heap.Pop(&s.events).(simEvent)
		if s.now < horizon/10 && e.at >= horizon/10 {
			warm = done
		}
		s.now = e.at
		e.act()
	}
	return float64(done-warm) / (horizon * 0.9)
}

func twoLayers(users, threads, hosts int, think, demand, calls, first, second float64) *LQN {
	return &LQN{
		Processors: []LQNProcessor{{Name: "client"}, {Name: "host", Servers: hosts}},
		Tasks:      []LQNTask{{Name: "users", Processor: "client", Reference: true, Servers: users, Think: think}, {Name: "server", Processor: "host", Servers: threads}},
		Entries: []LQNEntry{{Name: "run", Task: "users", Phases: []LQNActivity{{Service: demand, Calls: []LQNCall{{Entry: "serve", Mean: calls}}}}},
			{Name: "serve", Task: "server", Phases: []LQNActivity{{Service: first}, {Service: second}}}},
	}
}

func TestLQNAgainstIndependentSimulation(t *testing.T) {
	heavy(t)
	for _, c := range []struct {
		users, threads, hosts               int
		think, demand, calls, first, second float64
	}{
		{4, 1, 1, 2, 0.5, 2, 0.3, 0.4}, {5, 2, 1, 1, 0.2, 3, 0.2, 0.1}, {6, 3, 2, 1, 0.1, 1, 0.5, 0.6}, {3, 4, 4, 0.5, 0.3, 1, 0.5, 1},
	} {
		want := simulateTwoLayers(c.users, c.threads, c.hosts, c.think, c.demand, c.calls, c.first, c.second, 60_000, 42)
		m := twoLayers(c.users, c.threads, c.hosts, c.think, c.demand, c.calls, c.first, c.second)
		for _, method := range []LQNMethod{LQNMarkov, LQNSimulate} {
			s, err := SolveLQN(m, LQNOptions{Method: method, Precision: 0.01})
			if err != nil {
				t.Fatal(err)
			}
			got := s.Entries["run"].Throughput
			if math.Abs(got/want-1) > 0.025 {
				t.Errorf("%+v: %s throughput %v, simulated apart %v", c, s.Method, got, want)
			}
		}
	}
}

// A model without layers is a closed network: all three exact ways must agree.
func TestLQNAgainstMVA(t *testing.T) {
	m := &LQN{
		Processors: []LQNProcessor{{Name: "cpu", Scheduling: LQNPS, Servers: 2}, {Name: "db", Scheduling: LQNPS}},
		Tasks:      []LQNTask{{Name: "u", Processor: "cpu", Reference: true, Servers: 5, Think: 1}, {Name: "v", Processor: "cpu", Reference: true, Servers: 3, Think: 2}, {Name: "q", Processor: "db", Infinite: true}},
		Entries: []LQNEntry{{Name: "ue", Task: "u", Phases: []LQNActivity{{Service: 0.6, Calls: []LQNCall{{Entry: "qe", Mean: 2}}}}},
			{Name: "ve", Task: "v", Phases: []LQNActivity{{Service: 0.4, Calls: []LQNCall{{Entry: "qe", Mean: 1}}}}},
			{Name: "qe", Task: "q", Phases: []LQNActivity{{Service: 0.15}}}},
	}
	a, err := SolveLQN(m, LQNOptions{})
	if err != nil || !strings.Contains(a.Method, "product form") {
		t.Fatalf("%+v %v", a, err)
	}
	b, err := SolveLQN(m, LQNOptions{Method: LQNMarkov})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range a.Entries {
		if f := b.Entries[name]; math.Abs(e.Throughput/f.Throughput-1) > 1e-6 || math.Abs(e.Response/f.Response-1) > 0.02 {
			t.Errorf("%s: product form %+v, chain (%d states) %+v", name, e, b.States, f)
		}
	}
}

// An open arrival at a task with one thread on its own processor is M/M/1; with
// an infinite task on c servers M/M/c.
func TestLQNOpenIsMMc(t *testing.T) {
	m := &LQN{Processors: []LQNProcessor{{Name: "p"}}, Tasks: []LQNTask{{Name: "t", Processor: "p"}},
		Entries: []LQNEntry{{Name: "e", Task: "t", Arrival: 0.5, Phases: []LQNActivity{{Service: 1}}}}}
	s, err := SolveLQN(m, LQNOptions{})
	if err != nil || !s.Exact || math.Abs(s.Entries["e"].Response-2) > 1e-4 {
		t.Fatalf("%+v %v", s, err)
	}
	m.Tasks[0].Infinite, m.Processors[0].Servers, m.Entries[0].Arrival = true, 2, 1.2
	s, err = SolveLQN(m, LQNOptions{})
	want, _ := MMc(1.2, 1, 2)
	if err != nil || math.Abs(s.Entries["e"].Response/want.W-1) > 0.02 {
		t.Fatalf("%+v %v, M/M/2 %v", s, err, want.W)
	}
	m.Entries[0].Arrival = 5
	if s, err = SolveLQN(m, LQNOptions{}); err == nil {
		t.Fatalf("unstable, but %+v", s)
	}
}

// Forwarding, sends, constant calls: throughputs follow from flow balance.
func TestLQNFlows(t *testing.T) {
	m := &LQN{
		Processors: []LQNProcessor{{Name: "p", Servers: 2}, {Name: "q"}},
		Tasks:      []LQNTask{{Name: "u", Processor: "p", Reference: true, Servers: 2, Think: 1}, {Name: "a", Processor: "q"}, {Name: "b", Processor: "q"}, {Name: "log", Processor: "p"}},
		Entries: []LQNEntry{
			{Name: "ue", Task: "u", Phases: []LQNActivity{{Service: 0.1, SCV: 0.5, Deterministic: true, Calls: []LQNCall{{Entry: "ae", Mean: 3}}}}},
			{Name: "ae", Task: "a", Forwards: []LQNForward{{"be", 0.4}}, Phases: []LQNActivity{{Service: 0.05, Calls: []LQNCall{{Entry: "le", Mean: 0.5, Async: true}}}}},
			{Name: "be", Task: "b", Phases: []LQNActivity{{Service: 0.1, SCV: 3, Think: 0.2}}},
			{Name: "le", Task: "log", Phases: []LQNActivity{{Service: 0.02}}}},
	}
	for _, method := range []LQNMethod{LQNMarkov, LQNSimulate} {
		s, err := SolveLQN(m, LQNOptions{Method: method, MaxStates: 500_000, Precision: 0.02})
		if err != nil {
			t.Fatal(err)
		}
		x := s.Entries["ue"].Throughput
		tol := 1e-6 + 4*s.HalfWidth
		for name, ratio := range map[string]float64{"ae": 3, "be": 1.2, "le": 1.5} {
			if got := s.Entries[name].Throughput / x; math.Abs(got/ratio-1) > tol {
				t.Errorf("%s: %s runs %v times a cycle, must be %v", s.Method, name, got, ratio)
			}
		}
		t.Logf("%s: X %v, %d states", s.Method, x, s.States)
	}
}

func TestLQNErrorsAreNamed(t *testing.T) {
	good := func() *LQN { return twoLayers(2, 1, 1, 1, 1, 1, 1, 1) }
	for want, change := range map[string]func(m *LQN){
		"runs on processor":   func(m *LQN) { m.Tasks[0].Processor = "x" },
		"calls entry \"x\"":   func(m *LQN) { m.Entries[0].Phases[0].Calls[0].Entry = "x" },
		"calls itself":        func(m *LQN) { m.Entries[1].Phases[0].Calls = []LQNCall{{Entry: "serve", Mean: 1}} },
		"of a reference task": func(m *LQN) { m.Entries[1].Phases[0].Calls = []LQNCall{{Entry: "run", Mean: 1}} },
		"service time is NaN": func(m *LQN) { m.Entries[1].Phases[0].Service = math.NaN() },
		"task users: servers": func(m *LQN) { m.Tasks[0].Servers = -1 },
		"takes no time":       func(m *LQN) { *m = *twoLayers(1, 1, 1, 0, 0, 1, 0, 0) },
		"nothing drives":      func(m *LQN) { m.Tasks[0].Reference, m.Tasks[0].Think = false, 0 },
		"has no entries":      func(m *LQN) { m.Tasks = append(m.Tasks, LQNTask{Name: "t", Processor: "host"}) },
		"users in all": func(m *LQN) {
			m.Tasks = append(m.Tasks, m.Tasks[0])
			m.Tasks[0].Servers = 9000
			m.Tasks[2].Servers, m.Tasks[2].Name = 9000, "z"
		},
		"is defined twice":         func(m *LQN) { m.Tasks = append(m.Tasks, m.Tasks[0]) },
		"whole numbers of calls":   func(m *LQN) { m.Entries[0].Phases[0].Deterministic = true; m.Entries[0].Phases[0].Calls[0].Mean = 0.5 },
		"forwarding probabilities": func(m *LQN) { m.Entries[1].Forwards = []LQNForward{{"serve", 0.7}, {"serve", 0.7}} },
	} {
		m := good()
		change(m)
		if _, err := SolveLQN(m, LQNOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func popEvent(h *simHeap) simEvent { return heap.Pop(h).(simEvent) }

// Users who think are one event however many they are, and who has been round before is not part of the state.
func TestManyUsersAreFewStates(t *testing.T) {
	for _, users := range []int{1, 7, 150} {
		m := &LQN{
			Processors: []LQNProcessor{{Name: "clients", Scheduling: LQNINF}, {Name: "host", Servers: 4}},
			Tasks:      []LQNTask{{Name: "users", Processor: "clients", Reference: true, Servers: users, Think: 10}, {Name: "pool", Processor: "host", Servers: 4}},
			Entries: []LQNEntry{
				{Name: "use", Task: "users", Phases: []LQNActivity{{Deterministic: true, Calls: []LQNCall{{Entry: "serve", Mean: 1}}}}},
				{Name: "serve", Task: "pool", Phases: []LQNActivity{{Service: 0.3}}},
			},
		}
		s, err := SolveLQN(m, LQNOptions{Method: LQNMarkov})
		if err != nil {
			t.Fatal(err)
		}
		if s.States != users+1 {
			t.Errorf("%d users: %d states, want one for each number in the pool", users, s.States)
		}
		want, err := MMcN(0.1, 1/0.3, 4, users)
		if err != nil {
			t.Fatal(err)
		}
		within(t, fmt.Sprintf("throughput of %d users", users), s.Tasks["users"].Throughput, want.Throughput, 1e-7)
	}
}
