package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// resultVersion is that of the result's format.
const resultVersion = 1

// Result is what a run found. It is written as JSON and read again by Read without loss.
type Result struct {
	Version int `json:"version"`
	// Target is the base address that was loaded.
	Target string `json:"target"`
	// Start and End of the run by the wall clock, the warm-up included.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Warmup was run first; none of its requests is counted below.
	Warmup time.Duration `json:"warmup_ns"`
	// Duration is the length of the measured part, Planned what it was to be. Every request below was due in it.
	Duration time.Duration `json:"duration_ns"`
	Planned  time.Duration `json:"planned_ns"`
	// CutShort says that the run was ended before its time.
	CutShort bool   `json:"cut_short"`
	Seed     uint64 `json:"seed"`
	// Schedule says in words how requests were started.
	Schedule string `json:"schedule"`
	// Limits that held.
	Limits Limits `json:"limits"`
	// Workload as it was run, defaults filled in.
	Workload *topology.Workload `json:"workload"`
	// Total of all steps, and each by its name, in the order of the scenarios.
	Total *Step   `json:"total"`
	Steps []*Step `json:"steps"`
	// Tags are the steps of each tag taken together, in order of the tags' first appearance.
	Tags []*Step `json:"tags,omitempty"`
	// Scenarios that were due in the measured part.
	Scenarios ScenarioCounts `json:"scenarios"`
	// Timeline of the requests.
	Timeline Timeline `json:"timeline"`
	// Trace is how the replay of a trace went, nil for other workloads.
	Trace *TraceReplay `json:"trace,omitempty"`
	// Generator is what the load generator itself took.
	Generator Generator `json:"generator"`
	// Workers are the generators of a distributed run, nil where there was one.
	Workers []WorkerReport `json:"workers,omitempty"`
	// Warnings are sentences about what limits the trust in the figures.
	Warnings []string `json:"warnings,omitempty"`
	// Verdicts on the workload's thresholds, in their order.
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// Limits of the generator.
type Limits struct {
	Connections int           `json:"connections"`
	MaxInFlight int           `json:"max_in_flight"`
	MaxLate     time.Duration `json:"max_late_ns"`
	CatchUp     string        `json:"catch_up,omitempty"`
}

// ScenarioCounts say how scenarios ended; those not named were under way at the end.
type ScenarioCounts struct {
	Started    int64 `json:"started"`
	Completed  int64 `json:"completed"`   // every step ended well
	Failed     int64 `json:"failed"`      // a step ended with an error
	NotStarted int64 `json:"not_started"` // due, and never begun
	// Unfed were not begun because a feeder had no row left for them. No request of theirs is counted anywhere.
	Unfed int64 `json:"unfed,omitempty"`
}

// Step is what the requests of one step did: those that were due in the measured part.
type Step struct {
	Name string `json:"name"`
	// Requests that ended, well or with an error.
	Requests int64 `json:"requests"`
	// Rate of requests that ended well inside of the measured part, per second.
	Rate float64 `json:"rate"`
	// Errors by their kind: at most one for each request.
	Errors map[Kind]int64 `json:"errors,omitempty"`
	// Statuses of the answers.
	Statuses map[int]int64 `json:"statuses,omitempty"`
	// NotSent were due and could not be sent by the end; Unfinished were under way when the run was cut short; Skipped
	// were never made, because a value was missing that an earlier step should have extracted. None is in Requests.
	NotSent    int64 `json:"not_sent,omitempty"`
	Unfinished int64 `json:"unfinished,omitempty"`
	Skipped    int64 `json:"skipped,omitempty"`
	// BytesIn is what was read for them.
	BytesIn int64 `json:"bytes_in"`
	// Latency counts from the intended start to the end of the answer, Service from the actual sending (a new connection
	// included), both in nanoseconds to 3 digits, over all requests that were answered, well or not, or timed out.
	// Lateness is from the intended start to the actual sending, over all.
	Latency  *stats.Histogram `json:"latency"`
	Service  *stats.Histogram `json:"service"`
	Lateness *stats.Histogram `json:"lateness"`
}

// TraceReplay is how a trace was replayed, in the trace's own time. Its points count scenarios, and the latencies of
// requests.
type TraceReplay struct {
	File string `json:"file"`
	// Start of the part in the trace, zero where the trace has no dates; Offset from the trace's start.
	Start  time.Time     `json:"start,omitzero"`
	Offset time.Duration `json:"offset_ns"`
	Speed  float64       `json:"speed"`
	// Timeline in wall time: a point is Timeline.Width * Speed of the trace's time.
	Timeline Timeline `json:"timeline"`
}

// Generator is what the load generator took, over the measured part.
type Generator struct {
	// CPU time of the whole process, of Cores that it might use.
	CPU   time.Duration `json:"cpu_ns"`
	Cores int           `json:"cores"`
	// Connections that were opened, and how many of them because the server had closed an idle one.
	Connections int64 `json:"connections"`
	Reconnects  int64 `json:"reconnects"`
	// Queued requests waited for a connection, all being busy.
	Queued int64 `json:"queued"`
}

func newStep(name string) Step {
	return Step{Name: name, Errors: map[Kind]int64{}, Statuses: map[int]int64{},
		Latency: stats.NewHistogram(3), Service: stats.NewHistogram(3), Lateness: stats.NewHistogram(3)}
}

// Failed is how many requests ended with an error.
func (s *Step) Failed() int64 {
	n := int64(0)
	for _, c := range s.Errors {
		n += c
	}
	return n
}

// ErrorRate is the share of requests that did not end well, those that were due and never sent included.
func (s *Step) ErrorRate() float64 {
	all := s.Requests + s.NotSent
	if all == 0 {
		return 0
	}
	return float64(s.Failed()+s.NotSent) / float64(all)
}

// Quantile of the latency over the requests that were sent and those that were not: a request that was never sent has
// taken longer than any that was. It is false where the quantile lies among those.
func (s *Step) Quantile(q float64) (time.Duration, bool) {
	timed := s.Latency.Count()
	if timed == 0 {
		return 0, s.NotSent == 0
	}
	q *= float64(timed+s.NotSent) / float64(timed)
	if q > 1 {
		return 0, false
	}
	return s.Latency.QuantileDuration(q), true
}

// Step returns the step of that name, or else all steps of that tag; nil if there is none.
func (r *Result) Step(name string) *Step {
	for _, steps := range [][]*Step{r.Steps, r.Tags} {
		if i := slices.IndexFunc(steps, func(s *Step) bool { return s.Name == name }); i >= 0 {
			return steps[i]
		}
	}
	return nil
}

// tagged takes the steps of each tag together.
func (p *plan) tagged(steps []*Step) (out []*Step) {
	for _, tag := range p.allTags() {
		all := newStep(tag)
		for i, s := range steps {
			if slices.Contains(p.tags[i], tag) {
				all.merge(s)
			}
		}
		out = append(out, &all)
	}
	return out
}

// OK reports whether all thresholds are kept and no part of the load was lost with a worker.
func (r *Result) OK() bool {
	return !r.Lost() && !slices.ContainsFunc(r.Verdicts, func(v Verdict) bool { return !v.OK })
}

func (s *Step) merge(o *Step) {
	s.Requests += o.Requests
	s.Rate += o.Rate
	for k, n := range o.Errors {
		s.Errors[k] += n
	}
	for k, n := range o.Statuses {
		s.Statuses[k] += n
	}
	s.NotSent += o.NotSent
	s.Unfinished += o.Unfinished
	s.Skipped += o.Skipped
	s.BytesIn += o.BytesIn
	for _, h := range [][2]*stats.Histogram{{s.Latency, o.Latency}, {s.Service, o.Service}, {s.Lateness, o.Lateness}} {
		_ = h[0].Merge(h[1]) // both were made by newStep
	}
}

// bin is the wall time of one point of the trace's timeline: a minute of the trace, or a sample where that is longer.
func (r *replay) bin() time.Duration {
	return max(time.Duration(float64(max(time.Minute, r.period))/r.speed), time.Millisecond)
}

// result puts together what was counted. All sessions have ended.
func (r *run) result(started time.Time, thresholds []Threshold) *Result {
	res := r.frame(started)
	res.Timeline, res.Scenarios, res.CutShort = r.rec.timeline, r.rec.scenarios, r.ctx.Err() != nil
	if res.CutShort {
		res.Duration = max(min(res.End.Sub(res.Start), r.end)-r.rec.warm, 0)
	}
	total := newStep("total")
	res.Total = &total
	gen := Generator{CPU: r.endCPU - r.warmCPU, Cores: runtime.GOMAXPROCS(0)}
	for i, name := range r.plan.names {
		step := newStep(name)
		good := int64(0)
		for j := range r.rec.shards {
			c := &r.rec.shards[j].steps[i]
			step.merge(&c.Step)
			good += c.good
			gen.Connections += c.connects
			gen.Reconnects += c.reconnects
			gen.Queued += c.queued
		}
		if res.Duration > 0 {
			step.Rate = float64(good) / res.Duration.Seconds()
		}
		total.merge(&step)
		res.Steps = append(res.Steps, &step)
	}
	res.Generator = gen
	res.Tags = r.plan.tagged(res.Steps)
	if res.Duration > 0 { // also where nothing happened at the end
		res.Timeline.at(res.Duration - 1)
	}
	if r.replay != nil {
		r.rec.trace.at(max(res.Duration-1, 0))
		res.Trace = r.replayed(*r.rec.trace)
	}
	res.Warnings = r.warnings(res)
	for _, t := range thresholds {
		res.Verdicts = append(res.Verdicts, t.Judge(res))
	}
	return res
}

func (r *run) replayed(l Timeline) *TraceReplay {
	return &TraceReplay{File: r.replay.file, Start: r.replay.start, Offset: r.replay.offset, Speed: r.replay.speed, Timeline: l}
}

// frame is the result of a run without anything that was counted, which ends now.
func (r *run) frame(started time.Time) *Result {
	w := r.cfg.Workload
	res := &Result{
		Version: resultVersion, Target: r.cfg.Target, Start: started.Round(0).UTC(), End: time.Now().Round(0).UTC(),
		Warmup: r.rec.warm, Planned: r.end - r.rec.warm, Duration: r.end - r.rec.warm, Seed: r.cfg.Seed, Workload: w,
		Limits: Limits{Connections: r.cfg.Connections, MaxInFlight: r.cfg.MaxInFlight, MaxLate: r.cfg.MaxLate, CatchUp: r.cfg.CatchUp},
	}
	res.Schedule = r.inWords()
	return res
}

// inWords says how requests are started.
func (r *run) inWords() string {
	if !r.closed {
		return r.schedule().String()
	}
	w := r.cfg.Workload
	text := fmt.Sprintf("%d users", w.Users)
	if w.Think > 0 {
		text += fmt.Sprintf(" who think %s", w.Think.Std())
	}
	return text
}

// lateEnough is the lateness above which the generator is suspected of being the bottleneck.
const lateEnough = 10 * time.Millisecond

func (r *run) warnings(res *Result) []string {
	var out []string
	t, g := res.Total, &res.Generator
	if late := t.Lateness.QuantileDuration(0.99); late > lateEnough && g.Queued == 0 && r.crewFull() == 0 {
		out = append(out, fmt.Sprintf("the generator or its machine was the bottleneck: 1%% of the requests were sent %s or more after their time although a connection was free; the latencies include it", brief(late)))
	}
	if used := g.CPU.Seconds() / res.Duration.Seconds(); res.Duration > 0 && used > 0.9*float64(g.Cores) {
		out = append(out, fmt.Sprintf("the generator's process used %.2f of %d cores: it may have been the bottleneck", used, g.Cores))
	}
	if g.Queued > 0 {
		out = append(out, fmt.Sprintf("%s requests waited for a connection, all %s being busy; the wait is in their latency", count(g.Queued), count(int64(res.Limits.Connections))))
	}
	if r.filesMissing != "" && (r.closed || t.Errors[LocalLimit] > 0) {
		out = append(out, r.filesMissing)
	}
	if r.crewFull() > 0 {
		out = append(out, fmt.Sprintf("%s scenarios were under way at once, which is the limit: arrivals waited; the wait is in their latency", count(int64(res.Limits.MaxInFlight))))
	}
	if n := res.Scenarios.Unfed; n > 0 {
		out = append(out, fmt.Sprintf("%s scenarios were not begun, for a feeder that hands out each row once had none left: less was asked of the target than the workload says", count(n)))
	}
	if t.NotSent > 0 {
		out = append(out, fmt.Sprintf("%s requests were due and not sent: they have no latency, so that the percentiles of the table are too good; thresholds count them as errors and as slower than any", count(t.NotSent)))
	}
	return out
}

// maxResult bounds the file that Read takes.
const maxResult = 1 << 30

// Read reads a result that was written as JSON.
func Read(in io.Reader) (*Result, error) {
	limited := &io.LimitedReader{R: in, N: maxResult}
	var r Result
	if err := json.NewDecoder(limited).Decode(&r); err != nil {
		return nil, fmt.Errorf("reading a load result: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("reading a load result: %w", err)
	}
	return &r, nil
}

func (r *Result) check() error {
	if r.Version != resultVersion {
		return fmt.Errorf("format version %d: want %d", r.Version, resultVersion)
	}
	if r.Total == nil || r.Workload == nil {
		return errors.New("total or workload is missing")
	}
	for _, s := range slices.Concat(r.Steps, r.Tags, []*Step{r.Total}) {
		if s == nil || s.Latency == nil || s.Service == nil || s.Lateness == nil || math.IsNaN(s.Rate) {
			return errors.New("a step is not whole")
		}
	}
	lines := []*Timeline{&r.Timeline}
	if r.Trace != nil {
		lines = append(lines, &r.Trace.Timeline)
		if !(r.Trace.Speed > 0) {
			return errors.New("the trace's speed is not above 0")
		}
	}
	for _, l := range lines {
		if l.Width <= 0 || len(l.Points) > maxPoints {
			return errors.New("a timeline without width, or too long")
		}
		for i := range l.Points {
			if h := l.Points[i].Latency; h != nil && stats.NewHistogram(2).Merge(h) != nil {
				return errors.New("a timeline of another precision")
			}
		}
	}
	return nil
}
