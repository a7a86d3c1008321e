package queueing

import (
	"fmt"
	"testing"
)

type jsonLQN struct {
	Processors []struct{ Name, Sched string }
	Tasks      []struct {
		Name, Sched, Processor string
		Ref                    bool
		Entries                []string
	}
	Entries map[string]struct{ S []float64 }
	Calls   []struct {
		Src, Dst, Type string
		M              []float64 `json:"mean_per_phase"`
	}
}

func TestLQNScratch(t *testing.T) {
	for _, c := range goldenCases(t) {
		if c.Kind != "LQN" || c.Name == "lqn_line_twotasks" {
			continue
		}
		in := decode[jsonLQN](t, c.Inputs)
		m := &LQN{}
		for _, p := range in.Processors {
			m.Processors = append(m.Processors, LQNProcessor{Name: p.Name, Scheduling: LQNFCFS})
		}
		for _, x := range in.Tasks {
			m.Tasks = append(m.Tasks, LQNTask{Name: x.Name, Processor: x.Processor, Reference: x.Ref})
			for _, e := range x.Entries {
				en := LQNEntry{Name: e, Task: x.Name}
				for ph, s := range in.Entries[e].S {
					a := LQNActivity{Service: s}
					for _, y := range in.Calls {
						if y.Src == e && ph < len(y.M) {
							a.Calls = append(a.Calls, LQNCall{Entry: y.Dst, Mean: y.M[ph]})
						}
					}
					en.Phases = append(en.Phases, a)
				}
				m.Entries = append(m.Entries, en)
			}
		}
		for _, me := range []LQNMethod{LQNMarkov} {
			s, err := SolveLQN(m, LQNOptions{Method: me})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println(c.Name, s.Method, s.States, s.HalfWidth)
			exp := decode[map[string]map[string]map[string]any](t, c.Expected)
			for _, e := range []string{"e1", "e2", "e3", "e5", "e6"} {
				fmt.Printf("  %s X %.6f %v  sim %v  ph %.4f %v\n", e, s.Entries[e].Throughput, exp["petri"]["throughput"][e], exp["sim"]["throughput"][e], s.Entries[e].Phases, exp["petri"]["phase_service"][e])
			}
		}
	}
}
