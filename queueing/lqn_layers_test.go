package queueing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// generatedLQN is a random layered model of two or three layers. Features by the trial's number, so that each is seen often.
func generatedLQN(trial int) *LQN {
	rng := rand.New(rand.NewPCG(uint64(trial), 99))
	pick := func(xs ...float64) float64 { return xs[rng.IntN(len(xs))] }
	m := &LQN{}
	second, multi, forward, async := trial%3 == 1, trial%4 == 2, trial%7 == 3, trial%11 == 5
	hosts := 2 + rng.IntN(2)
	sched := []LQNScheduling{LQNFCFS, LQNFCFS, LQNPS, LQNPPR, LQNHOL}[trial%5]
	for k := range hosts {
		p := LQNProcessor{Name: fmt.Sprintf("p%d", k), Scheduling: sched}
		if multi && k == 1 {
			p.Servers = 2
		}
		m.Processors = append(m.Processors, p)
	}
	users := 1 + rng.IntN(2)
	m.Processors = append(m.Processors, LQNProcessor{Name: "users", Scheduling: LQNINF})
	middle, bottom := 1+rng.IntN(2), 1
	for u := range users {
		host := "users"
		if rng.IntN(3) == 0 {
			host = "p0"
		}
		m.Tasks = append(m.Tasks, LQNTask{Name: fmt.Sprintf("u%d", u), Processor: host, Reference: true, Servers: 1 + rng.IntN(3), Think: pick(0, 1, 5)})
		e := LQNEntry{Name: fmt.Sprintf("use%d", u), Task: fmt.Sprintf("u%d", u), Phases: []LQNActivity{{Service: 0.1 + rng.Float64()}}}
		for k := range middle {
			if k == 0 || rng.IntN(2) == 0 {
				e.Phases[0].Calls = append(e.Phases[0].Calls, LQNCall{Entry: fmt.Sprintf("mid%d", k), Mean: pick(0.5, 1, 2)})
			}
		}
		m.Entries = append(m.Entries, e)
	}
	for k := range middle {
		name := fmt.Sprintf("m%d", k)
		t := LQNTask{Name: name, Processor: fmt.Sprintf("p%d", rng.IntN(hosts)), Priority: rng.IntN(3), Servers: 1}
		if multi {
			t.Servers = 1 + rng.IntN(3)
		}
		m.Tasks = append(m.Tasks, t)
		e := LQNEntry{Name: fmt.Sprintf("mid%d", k), Task: name, Phases: []LQNActivity{{Service: 0.1 + rng.Float64()}}}
		if forward && k == 0 {
			e.Forwards = []LQNForward{{Entry: "low", Probability: 0.5}}
		} else {
			e.Phases[0].Calls = []LQNCall{{Entry: "low", Mean: pick(0.5, 1, 2)}}
		}
		if second {
			x := LQNActivity{Service: 0.1 + rng.Float64()}
			if rng.IntN(2) == 0 {
				x.Calls = []LQNCall{{Entry: "low", Mean: pick(0.5, 1)}}
			}
			e.Phases = append(e.Phases, x)
		}
		m.Entries = append(m.Entries, e)
	}
	for range bottom {
		m.Tasks = append(m.Tasks, LQNTask{Name: "b", Processor: fmt.Sprintf("p%d", hosts-1), Priority: rng.IntN(3), Servers: 1 + rng.IntN(2)})
		e := LQNEntry{Name: "low", Task: "b", Phases: []LQNActivity{{Service: 0.1 + rng.Float64()}}}
		if second && rng.IntN(2) == 0 {
			e.Phases = append(e.Phases, LQNActivity{Service: 0.1 + 0.5*rng.Float64()})
		}
		m.Entries = append(m.Entries, e)
	}
	if async { // a light sink, so that what is sent stays bounded
		m.Processors = append(m.Processors, LQNProcessor{Name: "sink"})
		m.Tasks = append(m.Tasks, LQNTask{Name: "log", Processor: "sink"})
		m.Entries = append(m.Entries, LQNEntry{Name: "write", Task: "log", Phases: []LQNActivity{{Service: 0.02}}})
		m.Entries[users].Phases[0].Calls = append(m.Entries[users].Phases[0].Calls, LQNCall{Entry: "write", Mean: 1, Async: true})
	}
	return m
}

// layerErrors are the relative errors of the users' throughputs by the method of layers against the whole Markov chain, over
// generated models that are small enough for it, with a table of them.
func layerErrors(t testing.TB, from, to int) []float64 {
	var errs []float64
	byFeature := map[string][]float64{}
	for trial := from; trial < to; trial++ {
		m := generatedLQN(trial)
		want, err := SolveLQN(m, LQNOptions{Method: LQNMarkov, MaxStates: 20_000})
		if err != nil {
			continue // too large to be exact here
		}
		got, err := SolveLQN(m, LQNOptions{Method: LQNLayered})
		if err != nil {
			t.Errorf("model %d: %v", trial, err)
			continue
		}
		for _, task := range m.Tasks {
			if !task.Reference {
				continue
			}
			e := math.Abs(got.Tasks[task.Name].Throughput/want.Tasks[task.Name].Throughput - 1)
			errs = append(errs, e)
			feature := string(m.Processors[0].Scheduling)
			if trial%3 == 1 {
				feature += ", second phases"
			}
			byFeature[feature] = append(byFeature[feature], e)
		}
	}
	for _, f := range sortedNames(byFeature) {
		t.Logf("%-22s %3d throughputs: mean error %4.1f %%, worst %4.1f %%", f, len(byFeature[f]), 100*meanOf(byFeature[f]), 100*slices.Max(byFeature[f]))
	}
	t.Logf("%-22s %3d throughputs: mean error %4.1f %%, worst %4.1f %%", "all", len(errs), 100*meanOf(errs), 100*slices.Max(errs))
	return errs
}

// The bounds are what a respected solver publishes on its own set: 8.1 % on average and 19 % at worst.
func TestLayersAgainstMarkov(t *testing.T) {
	heavy(t)
	errs := layerErrors(t, 0, 30)
	if len(errs) < 35 {
		t.Errorf("only %d throughputs could be solved exactly", len(errs))
	}
	if meanOf(errs) > 0.081 || slices.Max(errs) > 0.19 {
		t.Errorf("mean error %.2f %%, worst %.1f %%", 100*meanOf(errs), 100*slices.Max(errs))
	}
}

// BenchmarkLayersAccuracy prints the same table over 400 other models; they were not looked at while the method was made.
func BenchmarkLayersAccuracy(b *testing.B) {
	for b.Loop() {
		errs := layerErrors(b, 1000, 1400)
		over := 0.0
		for _, e := range errs {
			if e > 0.19 {
				over++
			}
		}
		b.ReportMetric(100*meanOf(errs), "mean-%")
		b.ReportMetric(100*slices.Max(errs), "worst-%")
		b.ReportMetric(over, "over-19%")
	}
}

// BenchmarkLayers solves one model of three layers with many threads, far beyond any exact solver.
func BenchmarkLayers(b *testing.B) {
	m := generatedLQN(2)
	for i := range m.Tasks {
		m.Tasks[i].Servers = 50
	}
	for b.Loop() {
		if _, err := SolveLQN(m, LQNOptions{Method: LQNLayered}); err != nil {
			b.Fatal(err)
		}
	}
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// Published models, by the layered method: the errors it makes there.
func TestLayersOnPublished(t *testing.T) {
	for _, c := range goldenCases(t) {
		if c.Kind != "LQN" {
			continue
		}
		var in lqnInputs
		if err := in.UnmarshalJSON(c.Inputs); err != nil {
			t.Fatal(err)
		}
		want, err := SolveLQN(in.model, LQNOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := SolveLQN(in.model, LQNOptions{Method: LQNLayered})
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range in.model.Tasks {
			if task.Reference {
				e := got.Tasks[task.Name].Throughput/want.Tasks[task.Name].Throughput - 1
				t.Logf("%s %s: %.1f %%", c.Name, task.Name, 100*e)
				if math.Abs(e) > 0.19 {
					t.Errorf("%s: task %s is off by %.1f %%", c.Name, task.Name, 100*e)
				}
			}
		}
	}
}
