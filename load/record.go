package load

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// outcome is what became of one request. Instants count from the start of the run.
type outcome struct {
	step                 int
	intended, sent, done time.Duration
	status               int // 0: no answer
	kind                 Kind
	bytes                int64
	connects, reconnects int
	queued               bool // it waited for a connection
}

// recorder counts. Sessions are spread over shards, so that they seldom wait for each other; the shards are merged
// exactly at the end.
type recorder struct {
	warm, end time.Duration // the measured part: requests that are due from warm on and before end
	shards    []shard

	inFlight, sent, completed, failed atomic.Int64 // of the whole run, for Progress
	arrived                           atomic.Int64 // arrivals that were dealt with: handed to a session, or given up

	mu        sync.Mutex
	timeline  Timeline
	trace     *Timeline        // of arrivals, where a trace is replayed
	recent    *stats.Histogram // latencies since the last Progress
	scenarios ScenarioCounts
}

type shard struct {
	mu    sync.Mutex
	steps []stepCounts
	_     [64]byte // shards on cache lines of their own
}

type stepCounts struct {
	Step
	good                 int64 // ended well inside of the measured part, whenever they were due
	connects, reconnects int64
	queued               int64
}

func newRecorder(p *plan, shards int, warm, end time.Duration) *recorder {
	r := &recorder{warm: warm, end: end, shards: make([]shard, shards), recent: stats.NewHistogram(2)}
	r.timeline.Width = time.Second
	for i := range r.shards {
		r.shards[i].steps = make([]stepCounts, len(p.names))
		for j, name := range p.names {
			r.shards[i].steps[j].Step = newStep(name)
		}
	}
	return r
}

func (r *recorder) measured(t time.Duration) bool { return t >= r.warm && t < r.end }

// record counts a request that has ended.
func (r *recorder) record(shard int, o *outcome) {
	measured, inside := r.measured(o.intended), r.measured(o.done)
	latency := o.done - o.intended
	if o.kind == "" {
		r.completed.Add(1)
	} else {
		r.failed.Add(1)
	}
	if measured || inside {
		sh := &r.shards[shard]
		sh.mu.Lock()
		c := &sh.steps[o.step]
		if inside && o.kind == "" {
			c.good++
		}
		if measured {
			c.count(o, latency)
		}
		sh.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if measured {
		r.timeline.at(o.intended-r.warm).Offered++
	}
	if r.measured(o.sent) {
		r.timeline.at(o.sent-r.warm).Sent++
	}
	if inside {
		p := r.timeline.at(o.done - r.warm)
		if o.kind == "" {
			p.Completed++
		} else {
			p.Errors++
		}
	}
	if o.kind.timed() {
		r.recent.RecordDuration(latency)
		if inside {
			r.timeline.latency(o.done-r.warm, latency)
			if r.trace != nil {
				r.trace.latency(o.done-r.warm, latency)
			}
		}
	}
}

func (c *stepCounts) count(o *outcome, latency time.Duration) {
	c.Requests++
	c.BytesIn += o.bytes
	c.connects += int64(o.connects)
	c.reconnects += int64(o.reconnects)
	if o.queued {
		c.queued++
	}
	if o.status != 0 {
		c.Statuses[o.status]++
	}
	if o.kind != "" {
		c.Errors[o.kind]++
	}
	c.Lateness.RecordDuration(o.sent - o.intended)
	if o.kind.timed() {
		c.Latency.RecordDuration(latency)
		c.Service.RecordDuration(o.done - o.sent)
	}
}

// lost says why a request that was due has no outcome.
type lost int

const (
	notSent    lost = iota // it was due and never sent
	unfinished             // it was under way when the run was cut short
	skipped                // it needed a value that an earlier answer did not give
)

// lose counts as many requests without an outcome.
func (r *recorder) lose(shard, step int, intended time.Duration, why lost, times int64) {
	if !r.measured(intended) {
		return
	}
	sh := &r.shards[shard]
	sh.mu.Lock()
	c := &sh.steps[step]
	switch why {
	case notSent:
		c.NotSent += times
	case unfinished:
		c.Unfinished += times
	case skipped:
		c.Skipped += times
	}
	sh.mu.Unlock()
	if why == skipped {
		return
	}
	r.mu.Lock()
	r.timeline.at(intended - r.warm).Offered += times
	r.mu.Unlock()
}

// unfed counts a scenario that was not begun because a feeder had no row left.
func (r *recorder) unfed(due time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.measured(due) {
		r.scenarios.Unfed++
	}
}

// arrival counts a scenario of an open workload that has been started.
func (r *recorder) arrival(due, sent time.Duration) {
	if r.trace == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.measured(due) {
		r.trace.at(due-r.warm).Offered++
	}
	if r.measured(sent) {
		r.trace.at(sent-r.warm).Sent++
	}
}

// finish counts a scenario that has ended.
func (r *recorder) finish(due, at time.Duration, how scenarioEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.measured(due) {
		r.scenarios.Started++
		switch how {
		case scenarioWhole:
			r.scenarios.Completed++
		case scenarioFailed:
			r.scenarios.Failed++
		}
	}
	if r.trace != nil && r.measured(at) {
		switch p := r.trace.at(at - r.warm); how {
		case scenarioWhole:
			p.Completed++
		case scenarioFailed:
			p.Errors++
		}
	}
}

// tick notes what is in flight and returns the latencies since the last call.
func (r *recorder) tick(now time.Duration) *stats.Histogram {
	fresh := stats.NewHistogram(2)
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := now - 1; r.measured(at) { // what is seen at the end of a second belongs to it
		p := r.timeline.at(at - r.warm)
		p.InFlight = max(p.InFlight, r.inFlight.Load())
	}
	recent := r.recent
	r.recent = fresh
	return recent
}
