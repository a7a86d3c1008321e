package load

import (
	"runtime"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Progress is a look at a run under way, for a line or a graph on a terminal. Rates and percentiles are those since the
// one before, about a second.
type Progress struct {
	// Elapsed since the start, of Length in all; while Warming, what is seen is not part of the result.
	Elapsed, Length time.Duration
	Warming         bool
	// Offered is how many scenarios an open workload was due to start, per second; 0 for users.
	Offered float64
	// Sent, Completed and Failed requests per second.
	Sent, Completed, Failed float64
	// P50, P99 and Max of the latency of the requests that ended; 0 if none did.
	P50, P99, Max time.Duration
	// InFlight requests at this moment.
	InFlight int64
	// TotalSent and TotalFailed requests since the start.
	TotalSent, TotalFailed int64
	// CPU that the generator's process uses, in cores, of Cores that it may use.
	CPU   float64
	Cores int

	due            int64
	totalCompleted int64
	cpu            time.Duration
	recent         *stats.Histogram
}

func (r *run) progress(last Progress, schedule Schedule, now time.Duration, recent *stats.Histogram) Progress {
	p := Progress{
		Elapsed: now, Length: r.end, Warming: now < r.rec.warm, InFlight: r.rec.inFlight.Load(),
		TotalSent: r.rec.sent.Load(), TotalFailed: r.rec.failed.Load(), totalCompleted: r.rec.completed.Load(),
		P50: recent.QuantileDuration(0.5), P99: recent.QuantileDuration(0.99), Max: time.Duration(recent.Max()),
		Cores: runtime.GOMAXPROCS(0), cpu: processCPU(), due: last.due, recent: recent,
	}
	took := (now - last.Elapsed).Seconds()
	if took <= 0 {
		return p
	}
	if schedule != nil {
		p.due += dueBefore(schedule, last.due, now)
		p.Offered = float64(p.due-last.due) / took
	}
	p.Sent = float64(p.TotalSent-last.TotalSent) / took
	p.Completed = float64(p.totalCompleted-last.totalCompleted) / took
	p.Failed = float64(p.TotalFailed-last.TotalFailed) / took
	before := last.cpu
	if before == 0 {
		before = r.startCPU
	}
	p.CPU = (p.cpu - before).Seconds() / took
	return p
}
