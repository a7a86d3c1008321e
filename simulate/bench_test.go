package simulate

import (
	"syscall"
	"testing"
	"time"
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
