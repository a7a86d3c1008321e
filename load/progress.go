package load

import (
	"fmt"
	"runtime"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Progress is a look at a run under way, for a line or a picture on a terminal. Rates and percentiles are those since the
// one before, about a second.
type Progress struct {
	// Target and Schedule in words, as the Result will have them.
	Target, Schedule string `json:"-"`
	// Elapsed since the start, of Length in all; while Warming, what is seen is not part of the result.
	Elapsed, Length time.Duration
	Warming         bool
	// Offered is how many scenarios an open workload was due to start, per second; 0 for users.
	Offered float64
	// Sent, Completed and Failed requests per second.
	Sent, Completed, Failed float64
	// P50, P90, P99 and Max of the latency of the requests that ended; 0 if none did. Recent are these latencies, to 2
	// digits: it may be kept, and is not changed.
	P50, P90, P99, Max time.Duration
	Recent             *stats.Histogram `json:"-"`
	// InFlight requests at this moment; of those that are due and not yet sent, Waiting for a connection, all being busy,
	// and arrivals Behind, which the generator has not come to.
	InFlight, Waiting, Behind int64
	// Full says that as many scenarios are under way as Config.MaxInFlight allows: arrivals are behind for that.
	Full bool
	// Connections that are open at this moment.
	Connections int64
	// TotalSent and TotalFailed requests since the start.
	TotalSent, TotalFailed int64
	// Errors by kind, and the requests that were due and are given up, of the measured part so far.
	Errors  map[Kind]int64 `json:",omitempty"`
	NotSent int64
	// CPU that the generator's process uses, in cores, of Cores that it may use.
	CPU   float64
	Cores int

	due            int64
	totalCompleted int64
	cpu            time.Duration
}

func (r *run) progress(last Progress, schedule Schedule, now time.Duration, recent *stats.Histogram) Progress {
	p := Progress{
		Target: last.Target, Schedule: last.Schedule,
		Elapsed: now, Length: r.end, Warming: now < r.rec.warm, InFlight: r.rec.inFlight.Load(),
		Waiting: r.queue(), Connections: r.connections(),
		TotalSent: r.rec.sent.Load(), TotalFailed: r.rec.failed.Load(), totalCompleted: r.rec.completed.Load(),
		Cores: runtime.GOMAXPROCS(0), cpu: processCPU(), due: last.due,
	}
	p.take(recent)
	p.Errors, p.NotSent = r.rec.errors()
	p.Full = !r.closed && p.InFlight+p.Waiting >= int64(r.cfg.MaxInFlight)
	took := (now - last.Elapsed).Seconds()
	if took <= 0 {
		return p
	}
	if schedule != nil {
		arrived := r.rec.arrived.Load() // before what is due is counted, which takes its time
		p.due += dueBefore(schedule, last.due, now)
		p.Offered = float64(p.due-last.due) / took
		p.Behind = max(p.due-arrived, 0)
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

// take sets what is known from the latencies since the last look.
func (p *Progress) take(recent *stats.Histogram) {
	p.Recent = recent
	p.P50, p.P90, p.P99 = recent.QuantileDuration(0.5), recent.QuantileDuration(0.9), recent.QuantileDuration(0.99)
	p.Max = time.Duration(recent.Max())
}

// Bottleneck says why the generator itself may be what limits the run, empty where nothing points to it: its CPU is used
// up, or arrivals that are due wait for it, as many as come in 10 ms or more, although it is allowed to begin them.
func (p *Progress) Bottleneck() string {
	late := time.Duration(0)
	if p.Offered > 0 && !p.Full {
		late = time.Duration(float64(p.Behind) / p.Offered * float64(time.Second))
	}
	used := p.Cores > 0 && p.CPU > 0.9*float64(p.Cores)
	switch {
	case late >= lateEnough && used:
		return fmt.Sprintf("the generator is the bottleneck: %.1f of %d cores, %s behind the schedule", p.CPU, p.Cores, brief(late))
	case late >= lateEnough:
		return fmt.Sprintf("the generator or its machine is the bottleneck: %s behind the schedule", brief(late))
	case used:
		return fmt.Sprintf("the generator may be the bottleneck: %.1f of %d cores", p.CPU, p.Cores)
	}
	return ""
}

// errors of the measured part so far, by kind, and how many requests were given up.
func (r *recorder) errors() (kinds map[Kind]int64, notSent int64) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		for j := range sh.steps {
			c := &sh.steps[j]
			notSent += c.NotSent
			for k, n := range c.Errors {
				if kinds == nil {
					kinds = map[Kind]int64{}
				}
				kinds[k] += n
			}
		}
		sh.mu.Unlock()
	}
	return kinds, notSent
}

// connections that are open to all targets.
func (ts *targets) connections() (n int64) {
	for _, t := range ts.all {
		t.to.mu.Lock()
		n += int64(len(t.to.open))
		t.to.mu.Unlock()
	}
	return n
}
