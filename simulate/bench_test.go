package simulate

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// cpuTime is the CPU time that this process has used: what the machine does besides does not blur the figures.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportEvents(b *testing.B, events int64, since time.Duration) {
	b.ReportMetric(float64(events)/(cpuTime(b)-since).Seconds()/1e6, "Mevents/CPU-s")
}

// BenchmarkEngineMM1 is the bare engine: an arrival and a departure for each customer, with the draws they need.
func BenchmarkEngineMM1(b *testing.B) {
	b.ReportAllocs()
	start := cpuTime(b)
	response := mm1(b.N, 0.8, 1)
	reportEvents(b, int64(b.N), start)
	b.ReportMetric(response, "response")
}

// BenchmarkEngineHold keeps a number of events pending: each one that happens schedules another.
func BenchmarkEngineHold(b *testing.B) {
	for _, pending := range []struct {
		name string
		n    int
	}{{"100", 100}, {"1k", 1000}, {"10k", 10000}, {"100k", 100000}} {
		b.Run(pending.name, func(b *testing.B) {
			var l eventList
			s := newStream(1, 0, "hold")
			for i := range pending.n {
				l.schedule(int64(1e6*s.ExpFloat64()), 0, int32(i), 0)
			}
			b.ReportAllocs()
			b.ResetTimer()
			start := cpuTime(b)
			for range b.N {
				e := l.next()
				l.schedule(e.at+int64(1e6*s.ExpFloat64()), 0, e.subject, 0)
			}
			reportEvents(b, int64(b.N), start)
		})
	}
}

// runOnce runs one replication of a model for b.N events or more, and reports what they took.
func runOnce(b *testing.B, m *Model) *sim {
	b.Helper()
	b.ReportAllocs()
	s, err := newSim(m, m.load, 0)
	if err != nil {
		b.Fatal(err)
	}
	// The arenas grow to their working size first.
	if err := s.runUntil(context.Background(), 200_000); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	start, from := cpuTime(b), s.events
	if err := s.runUntil(context.Background(), s.events+int64(b.N)); err != nil {
		b.Fatal(err)
	}
	reportEvents(b, s.events-from, start)
	return s
}

// BenchmarkModelMM1 is the same queue as a topology, through the whole model: gateway, policies and all.
func BenchmarkModelMM1(b *testing.B) {
	sys := oneService(1, 10, 1, 80)
	sys.Workload.Duration = topology.Duration(maxHorizon)
	sys.Workload.Rate = 80
	m, err := New(sys, Options{Seed: 1, MaxEvents: 1 << 60})
	if err != nil {
		b.Fatal(err)
	}
	s := runOnce(b, m)
	b.ReportMetric(s.tally.routes[0].latency.Mean()/1e7, "response")
}

// BenchmarkModelTwentyServices is a system of 20 services, 60 replicas, with time-outs, retries, budgets and breakers,
// at 75 % of its machine and at a little more than it holds, where calls time out and are tried again.
func BenchmarkModelTwentyServices(b *testing.B) {
	for _, load := range []struct {
		name string
		rate float64
	}{{"busy", 1000}, {"overloaded", 1500}} {
		b.Run(load.name, func(b *testing.B) {
			sys := twentyServices(load.rate)
			sys.Workload.Duration = topology.Duration(maxHorizon / 1000)
			m, err := New(sys, Options{Seed: 1, MaxEvents: 1 << 60})
			if err != nil {
				b.Fatal(err)
			}
			s := runOnce(b, m)
			var retries int64
			for i := range s.services {
				retries += s.services[i].count.Retries
			}
			b.ReportMetric(s.cpu.busy/float64(s.now)*1e9/16, "utilisation")
			b.ReportMetric(float64(retries)/float64(s.now)*1e9, "retries/s")
		})
	}
}

// BenchmarkMillionRequests simulates a million requests of 20 routes through 100 services, on one goroutine.
func BenchmarkMillionRequests(b *testing.B) {
	sys := hundredServices()
	for range b.N {
		m, err := New(sys, Options{Seed: 1, Replications: 1, Workers: 1, Warmup: -1})
		if err != nil {
			b.Fatal(err)
		}
		start := cpuTime(b)
		r, err := m.Run(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		reportEvents(b, r.Events, start)
		b.ReportMetric((cpuTime(b) - start).Seconds(), "CPU-s")
		b.ReportMetric(float64(r.Started), "requests")
	}
}

// BenchmarkModelBlocks is a system with a cache, a table of three nodes, a queue and its consumers.
func BenchmarkModelBlocks(b *testing.B) {
	sys := blockySystem()
	sys.Workload.Duration = topology.Duration(maxHorizon / 1000)
	m, err := New(sys, Options{Seed: 1, MaxEvents: 1 << 60})
	if err != nil {
		b.Fatal(err)
	}
	runOnce(b, m)
}

func blockySystem() *topology.System {
	sys := withBlocks(2000, "caches.items", "tables.items", "queues.jobs")
	sys.Caches = map[string]*topology.Cache{"items": {Keys: 100_000, Memory: 10 << 20, TTL: topology.Duration(time.Minute)}}
	sys.Tables = map[string]*topology.Table{"items": {Replicas: 3, Shards: 16}}
	sys.Queues = map[string]*topology.Queue{"jobs": {Consumers: map[string]int{"worker": 4}, Fsync: ms(1)}}
	sys.Services["worker"] = &topology.Service{Work: &topology.Work{CPU: ms(1), Delay: ms(2)}, Replicas: topology.Replicas{Min: 4, Max: 4}}
	return sys
}
