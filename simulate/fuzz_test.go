package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// randomSystem draws a small system: mostly a sensible one, and with a wildness above 0 one with odd numbers in it.
func randomSystem(rng *rand.Rand, wild float64) (*topology.System, Options) {
	number := func(most float64) float64 {
		if rng.Float64() < wild {
			return []float64{0, -1, math.NaN(), math.Inf(1), 1e300, 1e-300, 1e9}[rng.IntN(7)]
		}
		return most * rng.Float64()
	}
	span := func(most time.Duration) topology.Duration {
		if rng.Float64() < wild {
			return topology.Duration([]int64{0, -1, math.MaxInt64, math.MinInt64, 1}[rng.IntN(5)])
		}
		return topology.Duration(rng.Int64N(int64(most)))
	}
	name := func(i int) string { return fmt.Sprintf("s%d", i) }
	n := 1 + rng.IntN(6)
	sys := &topology.System{Name: "random", Machine: &topology.Machine{Cores: topology.CPU(0.1 + number(8))}, Services: map[string]*topology.Service{}}
	inbound := func() topology.Inbound {
		in := topology.Inbound{Balance: append(topology.Balances(), "")[rng.IntN(len(topology.Balances())+1)], Timeout: span(time.Second)}
		switch rng.IntN(12) {
		case 0:
			in.Sticky = &topology.Sticky{TTL: span(time.Second)}
		case 1:
			in.SlowStart = span(time.Second)
		case 2:
			in.Outliers = &topology.Outliers{Interval: span(time.Second), Eject: span(time.Second), MaxEject: span(time.Second), MaxEjected: topology.Percent(number(1)),
				MinReplicas: rng.IntN(3), MinRequests: rng.IntN(5), Deviations: number(2), Slower: number(4), Panic: topology.Percent(number(1))}
		case 3:
			in.Limit = &topology.Limit{Rate: topology.Rate(number(50)), Burst: rng.IntN(5), By: []string{"route", "client", "header"}[rng.IntN(3)], Header: "X-Key"}
		case 4:
			in.Adaptive = &topology.Adaptive{Initial: rng.IntN(10), Min: rng.IntN(5), Max: rng.IntN(30), Tolerance: number(3)}
		case 5:
			in.Hash = []*topology.Hash{{Path: true}, {Header: "X-Key"}, {Query: "q"}, {Cookie: "c"}, {Client: true}}[rng.IntN(5)]
		}
		if rng.IntN(2) == 0 {
			in.Retry = &topology.Retry{Attempts: rng.IntN(5), Budget: topology.Percent(number(1)), MinPerSecond: topology.Rate(number(20)), Backoff: span(50 * time.Millisecond), On: []int{502, 503, 504, 500}}
		}
		if rng.IntN(2) == 0 {
			in.Breaker = &topology.Breaker{Failures: rng.IntN(6), Open: span(time.Second), MaxOpen: span(5 * time.Second), MaxEjected: topology.Percent(number(1))}
		}
		return in
	}
	for i := range n {
		svc := &topology.Service{
			Inbound: inbound(), Replicas: topology.Replicas{Min: 1 + rng.IntN(3), Max: rng.IntN(6)}, Concurrency: rng.IntN(2) * rng.IntN(5),
			Drain: span(time.Second),
		}
		if rng.IntN(5) > 0 {
			svc.Work = &topology.Work{CPU: span(20 * time.Millisecond), Delay: span(20 * time.Millisecond), SCV: ptr(number(4)), Calls: map[string]float64{}}
		}
		if rng.IntN(3) == 0 {
			svc.Limits.CPU = topology.CPU(0.05 + number(1))
		}
		for j := i + 1; j < n; j++ {
			if rng.IntN(2) == 0 {
				svc.Uses = append(svc.Uses, name(j))
				if svc.Work != nil && rng.IntN(2) == 0 {
					svc.Work.Calls[name(j)] = number(3)
				}
			}
		}
		if rng.Float64() < wild {
			svc.Uses = append(svc.Uses, name(rng.IntN(n+1)))
		}
		sys.Services[name(i)] = svc
	}
	randomBlocks(rng, sys, number, span)
	w := &topology.Workload{Timeout: span(2 * time.Second), Think: span(100 * time.Millisecond), Duration: topology.Duration(time.Second) + span(2*time.Second), Scenarios: map[string]*topology.Scenario{}, Mix: map[string]topology.Percent{}}
	sys.Workload = w
	for i := range 1 + rng.IntN(3) {
		path := "/" + name(i)
		sys.Routes = append(sys.Routes, &topology.Route{Name: path, Path: path, To: name(rng.IntN(n)), Inbound: inbound()})
		method := []string{"GET", "POST"}[rng.IntN(2)]
		w.Scenarios[name(i)] = &topology.Scenario{Steps: []*topology.Step{{Method: method, Path: path, Weight: topology.Percent(rng.Float64())},
			{Path: path + "?q=${zipf:1:50}", Headers: map[string]string{"X-Key": "${user}-${random:1:9}", "Cookie": "a=b; c=${uuid}"}}}}
		w.Mix[name(i)] = topology.Percent(number(1))
		if rng.IntN(3) == 0 {
			sys.Demands = map[string]map[string]*topology.Demand{path: {}}
			for j := range n {
				if rng.IntN(2) == 0 {
					sys.Demands[path][name(j)] = &topology.Demand{Visits: number(3), CPU: span(10 * time.Millisecond), Async: span(time.Millisecond), Delay: span(10 * time.Millisecond), DelaySCV: ptr(number(3))}
				}
			}
		}
	}
	switch rng.IntN(3) {
	case 0:
		w.Rate = topology.Rate(number(300))
	case 1:
		w.Users = 1 + rng.IntN(50)
	default:
		for range 1 + rng.IntN(3) {
			w.Stages = append(w.Stages, topology.Stage{Rate: topology.Rate(number(300)), Duration: span(time.Second)})
		}
	}
	o := Options{
		Seed: rng.Uint64(), Replications: 1 + rng.IntN(3), MaxEvents: 20_000, MaxInProgress: 2000, Trace: rng.IntN(10),
		Wait: span(time.Second).Std(), MaxWaiting: 1 + rng.IntN(20), Start: span(time.Second).Std(),
		Orphans: []Orphans{OrphansBurn, OrphansFinish, OrphansStop}[rng.IntN(3)], Shape: []Shape{ShapeAuto, ShapeGamma, ShapeLognormal}[rng.IntN(3)],
	}
	if rng.IntN(2) == 0 {
		o.Pauses = map[string]Pause{name(0): {Every: span(time.Second).Std(), For: span(50 * time.Millisecond).Std()}}
	}
	if rng.IntN(2) == 0 {
		o.Autoscale, o.AutoscaleEvery = func() Autoscaler { return &seesaw{} }, 100*time.Millisecond
	}
	for range rng.IntN(4) {
		o.Faults = append(o.Faults, Fault{
			Kind: []FaultKind{FaultKill, FaultSlow, FaultErrors}[rng.IntN(3)], At: span(2 * time.Second).Std(), For: span(time.Second).Std(),
			Service: name(rng.IntN(n)), Replicas: rng.IntN(3), Factor: number(1),
		})
	}
	return sys, o
}

// randomBlocks gives a system caches, tables, queues, topics and functions that its services use here and there.
func randomBlocks(rng *rand.Rand, sys *topology.System, number func(float64) float64, span func(time.Duration) topology.Duration) {
	if rng.IntN(2) == 0 {
		return
	}
	cost := func() *topology.Cost {
		if rng.IntN(3) == 0 {
			return nil
		}
		return &topology.Cost{CPU: span(time.Millisecond), Delay: span(time.Millisecond), SCV: ptr(number(2))}
	}
	consumers := func() map[string]int { return map[string]int{"s0": rng.IntN(4) - 1} }
	sys.Caches = map[string]*topology.Cache{"a": {Keys: rng.IntN(1000), Skew: ptr(number(2)), Nodes: rng.IntN(7), Replicas: rng.IntN(3), TTL: span(time.Second), Memory: topology.Bytes(rng.IntN(100_000)), Lookup: cost(), HitRatio: topology.Percent(number(1))}}
	sys.Tables = map[string]*topology.Table{"a": {Consistency: []string{"strong", "eventual"}[rng.IntN(2)], Shards: rng.IntN(20), Replicas: rng.IntN(6), Keys: rng.IntN(1000), Skew: ptr(number(2)),
		Read: cost(), Write: cost(), Fsync: span(10 * time.Millisecond), RoundTrip: span(time.Millisecond), Failover: span(time.Second), Writes: ptr(topology.Percent(number(1)))}}
	sys.Queues = map[string]*topology.Queue{"a": {AckWait: span(time.Second), MaxDeliver: rng.IntN(5), DeadLetter: "b", Consumers: consumers(), Publish: cost(), Fsync: span(time.Millisecond)}, "b": {DeadLetter: []string{"", "a"}[rng.IntN(2)]}}
	sys.Topics = map[string]*topology.Topic{"a": {Partitions: rng.IntN(4), Consumers: consumers(), Publish: cost()}}
	on := []topology.Trigger{{}, {Queue: "a"}, {Topic: "a"}, {HTTP: "/f"}, {Every: span(time.Second)}}[rng.IntN(5)]
	sys.Functions = map[string]*topology.Function{"a": {On: on, Timeout: span(time.Second), Concurrency: rng.IntN(4), ColdStart: span(time.Second), Idle: span(time.Second), Instances: rng.IntN(5),
		Work: &topology.Work{CPU: span(10 * time.Millisecond), Delay: span(10 * time.Millisecond)}, Uses: []string{"tables.a", "queues.b"}}}
	for _, name := range sortedKeys(sys.Services) {
		for _, use := range []string{"caches.a", "tables.a", "queues.a", "topics.a", "functions.a"} {
			if rng.IntN(2) == 0 {
				sys.Services[name].Uses = append(sys.Services[name].Uses, use)
			}
		}
	}
}

func runRandom(t *testing.T, seed uint64, wild float64) (ran bool) {
	t.Helper()
	var first []byte
	for range 2 {
		sys, o := randomSystem(rand.New(rand.NewPCG(seed, 1)), wild)
		m, err := New(sys, o)
		if err != nil {
			if wild == 0 && !errors.Is(err, ErrNoDemands) && !errors.Is(err, ErrNoWorkload) {
				t.Errorf("seed %d: %v", seed, err)
			}
			return false
		}
		r, err := m.Run(context.Background())
		if err != nil {
			if !errors.Is(err, ErrTooManyEvents) && !errors.Is(err, ErrTooManyInProgress) {
				t.Errorf("seed %d: %v", seed, err)
			}
			return false
		}
		if r.Started != r.Ended+r.InProgress {
			t.Errorf("seed %d: %d requests started, %d ended, %d are in progress", seed, r.Started, r.Ended, r.InProgress)
		}
		for _, s := range r.Services {
			if u := s.CPU.Value / r.Machine.Cores; !(u >= 0 && u <= 1+1e-9) || !(s.Present.Value >= 0) {
				t.Errorf("seed %d: service %s: CPU of %v cores of %v, %v present", seed, s.Service, s.CPU.Value, r.Machine.Cores, s.Present.Value)
			}
		}
		data := encode(t, r)
		if first != nil && !bytes.Equal(first, data) {
			t.Errorf("seed %d: two runs differ", seed)
		}
		first = data
	}
	return true
}

func TestRandomSystems(t *testing.T) {
	heavy(t)
	ran := 0
	for seed := range uint64(400) {
		if runRandom(t, seed, 0) {
			ran++
		}
		runRandom(t, seed, 0.05)
	}
	if ran < 200 {
		t.Errorf("only %d of 400 random systems ran to their end", ran)
	}
}

func FuzzSystems(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed, seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, wild bool) {
		share := 0.0
		if wild {
			share = 0.03
		}
		runRandom(t, seed, share)
	})
}
