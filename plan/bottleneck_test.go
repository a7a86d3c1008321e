package plan

import (
	"math"
	"strings"
	"testing"
)

// frontAndStore is ten seconds of a healthy system: 100 requests a second to front, each of which calls store. Store's
// tries take own seconds each with the given spread, and its CPU time is in cores.
func frontAndStore(change func(o *Observation, front, store *ObservedService)) *Observation {
	const n, seconds = 1000, 10
	o := &Observation{System: "test", Seconds: seconds, Cores: 4, Busy: 0.4, GatewayCPU: 0.05}
	front := ObservedService{Name: "front", Replicas: []ObservedReplica{{
		Name: "front-0", Tries: n, Time: n * 0.004, StdDev: 0.001, P5: 0.003, P20: 0.0035, P50: 0.004, P99: 0.006, CPU: 0.1}}}
	store := ObservedService{Name: "store", Replicas: []ObservedReplica{{
		Name: "store-0", Tries: n, Time: n * 0.002, StdDev: 0.001, P5: 0.001, P20: 0.0015, P50: 0.002, P99: 0.004, CPU: 0.1}}}
	o.Routes = []ObservedCalls{{Route: "get", To: "front", Calls: n, Time: n * 0.0042}}
	o.Edges = []ObservedCalls{{To: "front", Calls: n, Time: n * 0.0042}, {From: "front", To: "store", Calls: n, Time: n * 0.0022}}
	for range seconds {
		front.Slices = append(front.Slices, ObservedTimeline{Calls: n / seconds, Time: 0.42, Callee: 0.22, InFlight: 0.4})
		store.Slices = append(store.Slices, ObservedTimeline{Calls: n / seconds, Time: 0.22, InFlight: 0.2})
	}
	if change != nil {
		change(o, &front, &store)
	}
	o.Services = []ObservedService{front, store}
	return o
}

// slower adds time to each call of the store, and to all that waits for it. uneven says how much the seconds differ.
func slower(o *Observation, front, store *ObservedService, by, quick, uneven float64) {
	for _, c := range []*ObservedCalls{&o.Routes[0], &o.Edges[0], &o.Edges[1]} {
		c.Time += c.Calls * by
	}
	for _, r := range []*ObservedReplica{&front.Replicas[0], &store.Replicas[0]} {
		r.Time += r.Tries * by
		r.StdDev = by * 0.6
		r.P5 += quick
		r.P20 += quick * 1.1
		r.P50 += max(quick, by*0.8)
	}
	for i := range store.Slices {
		extra := store.Slices[i].Calls * by * (1 + uneven*float64(i%2*2-1))
		store.Slices[i].Time += extra
		front.Slices[i].Time += extra
		front.Slices[i].Callee += extra
	}
}

func TestBottlenecks(t *testing.T) {
	for _, c := range []struct {
		name    string
		class   Class // empty: nothing is found
		service string
		change  func(o *Observation, front, store *ObservedService)
	}{
		{"healthy", "", "", nil},
		{"cpu", ClassCPU, "store", func(o *Observation, front, store *ObservedService) {
			slower(o, front, store, 0.012, 0.006, 0.3)
			store.Replicas[0].CPU, store.Replicas[0].StdDev = 0.9, 0.004
		}},
		{"cpu of a full machine", ClassCPU, "store", func(o *Observation, front, store *ObservedService) {
			slower(o, front, store, 0.08, 0.01, 0.5)
			store.Replicas[0].CPU, o.Busy = 0.5, 4
		}},
		{"machine taken by others", ClassCPU, Machine, func(o *Observation, _, _ *ObservedService) { o.Busy = 3.9 }},
		{"quota", ClassQuota, "store", func(o *Observation, front, store *ObservedService) {
			slower(o, front, store, 0.02, 0.003, 0.5)
			store.Limit, store.Replicas[0].CPU, store.Replicas[0].Throttled = 0.3, 0.28, 0.4
		}},
		{"concurrency limit", ClassPool, "store", func(o *Observation, front, store *ObservedService) {
			store.Concurrency = 2
			o.Edges[1].Time += 0.03 * o.Edges[1].Calls
			o.Edges[0].Time += 0.03 * o.Edges[0].Calls
			o.Routes[0].Time += 0.03 * o.Routes[0].Calls
			front.Replicas[0].Time += 0.03 * front.Replicas[0].Tries
		}},
		{"pool within", ClassPool, "store", func(o *Observation, front, store *ObservedService) { slower(o, front, store, 0.06, 0.025, 0.4) }},
		{"lock", ClassLock, "store", func(o *Observation, front, store *ObservedService) { slower(o, front, store, 0.03, 0.007, 0.4) }},
		{"slow dependency", ClassDownstream, "store", func(o *Observation, front, store *ObservedService) { slower(o, front, store, 0.08, 0.07, 0) }},
		{"slow and irregular dependency", ClassDownstream, "store", func(o *Observation, front, store *ObservedService) { slower(o, front, store, 0.08, 0.004, 0.05) }},
		{"retries", ClassRetry, "store", func(o *Observation, front, store *ObservedService) {
			r := &store.Replicas[0]
			r.Time, r.Tries, r.Failed = r.Time*1.6, r.Tries*1.6, 0.6*r.Tries
		}},
		{"slow replica", ClassSkew, "store", func(o *Observation, front, store *ObservedService) {
			slower(o, front, store, 0.02, 0, 0.05)
			fast := ObservedReplica{Name: "store-1", Tries: 500, Time: 1, StdDev: 0.001, P5: 0.001, P20: 0.0015, CPU: 0.05}
			slow := ObservedReplica{Name: "store-0", Tries: 500, Time: 21, StdDev: 0.001, P5: 0.04, P20: 0.041, CPU: 0.05}
			store.Replicas = []ObservedReplica{slow, fast}
		}},
		{"hot key", ClassSkew, "store", func(o *Observation, front, store *ObservedService) {
			r := store.Replicas[0]
			hot, cold := r, r
			hot.Tries, hot.Time, cold.Name, cold.Tries, cold.Time = 800, 800*0.0022, "store-1", 200, 200*0.0018
			store.Replicas = []ObservedReplica{hot, cold}
		}},
		{"queue", ClassQueue, "front", func(o *Observation, front, _ *ObservedService) {
			for i := range front.Slices {
				front.Slices[i].InFlight = float64(100 * i)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := Bottlenecks(frontAndStore(c.change))
			if err != nil {
				t.Fatal(err)
			}
			if c.class == "" {
				if len(found) > 0 {
					t.Errorf("found %+v, want nothing", found)
				}
				return
			}
			if len(found) == 0 {
				t.Fatalf("found nothing, want %s at %s", c.class, c.service)
			}
			f := found[0]
			if f.Class != c.class || f.Service != c.service {
				t.Errorf("found %s at %s, want %s at %s: %q", f.Class, f.Service, c.class, c.service, f.Evidence)
			}
			if f.Gain < 0 || f.Gain > f.Mean || f.Score < leastScore || f.Score > 1 || len(f.Evidence) == 0 {
				t.Errorf("gain %v of %v, score %v, %d pieces of evidence", f.Gain, f.Mean, f.Score, len(f.Evidence))
			}
		})
	}
}

func TestBottlenecksOfNonsense(t *testing.T) {
	for name, spoil := range map[string]func(o *Observation){
		"no window":        func(o *Observation) { o.Seconds = 0 },
		"no load":          func(o *Observation) { o.Routes[0].Calls = 3 },
		"time runs back":   func(o *Observation) { o.Edges[0].Time = -1 },
		"NaN CPU":          func(o *Observation) { o.Services[0].Replicas[0].CPU = math.NaN() },
		"endless limit":    func(o *Observation) { o.Services[0].Limit = math.Inf(1) },
		"a million routes": func(o *Observation) { o.Routes = make([]ObservedCalls, 1_000_000) },
	} {
		o := frontAndStore(nil)
		spoil(o)
		if found, err := Bottlenecks(o); err == nil {
			t.Errorf("%s: no error, but %d findings", name, len(found))
		}
	}
}

// TestBottlenecksReach wants the edges and routes by which a finding is felt, those of callers' callers too.
func TestBottlenecksReach(t *testing.T) {
	o := frontAndStore(func(o *Observation, front, store *ObservedService) { slower(o, front, store, 0.08, 0.07, 0) })
	o.Routes = append(o.Routes, ObservedCalls{Route: "other", To: "elsewhere", Calls: 10, Time: 0.01})
	found, err := Bottlenecks(o)
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	if f := found[0]; len(f.Edges) != 1 || f.Edges[0] != "front -> store" || len(f.Routes) != 1 || f.Routes[0] != "get" {
		t.Errorf("edges %q, routes %q", f.Edges, f.Routes)
	}
}

// On a machine that others keep busy, time that is not CPU may be waiting for it: such a finding says so, others do not.
func TestFindingsOnAFullMachineSayThatTheyAreUncertain(t *testing.T) {
	for _, uneven := range []float64{0, 0.4} { // a slow dependency, a pool
		for _, full := range []bool{false, true} {
			found, err := Bottlenecks(frontAndStore(func(o *Observation, front, store *ObservedService) {
				slower(o, front, store, 0.06, 0.025, uneven)
				if full {
					o.Busy = 3.9
				}
			}))
			if err != nil || len(found) == 0 {
				t.Fatalf("found %v, %v", found, err)
			}
			said := strings.Contains(strings.Join(found[0].Evidence, "\n"), "uncertain: 3.90 of the machine's 4 cores are busy, 3.65 of them with other programs")
			if said != full {
				t.Errorf("full: %v, uneven: %v: %s says %q", full, uneven, found[0].Class, found[0].Evidence)
			}
		}
	}
}
