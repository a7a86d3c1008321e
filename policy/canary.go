package policy

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// Sample is what is known of one of two that are compared.
type Sample struct {
	Failures stats.Proportion
	Latency  *stats.Histogram // of those that succeeded
}

// Comparison says what makes a newcomer no worse than what is there.
type Comparison struct {
	// Errors is by how much the share of failures may be higher.
	Errors float64
	// Slower is how many times the latency may be, at the median and at p95.
	Slower float64
	// Alpha is the chance of a wrong verdict that is allowed.
	Alpha float64
}

// TwoSampleVerdict is the outcome of a comparison.
type TwoSampleVerdict uint8

// The verdicts.
const (
	Undecided TwoSampleVerdict = iota // the samples are too small to tell
	Passed                            // with the confidence asked for, it is no worse than allowed
	Failed                            // with the confidence asked for, it is worse
)

// String returns the verdict in words.
func (v TwoSampleVerdict) String() string {
	switch v {
	case Undecided:
		return "undecided"
	case Passed:
		return "passed"
	case Failed:
		return "failed"
	}
	return fmt.Sprintf("TwoSampleVerdict(%d)", uint8(v))
}

// Judge compares a newcomer with what is there. It fails where an interval of confidence for the difference in errors, or
// for the ratio of a latency, lies wholly above what is allowed; it passes where all of them lie wholly below; otherwise
// the samples do not tell. Each of the three intervals gets a third of alpha (Bonferroni).
func (c Comparison) Judge(baseline, newcomer Sample) (v TwoSampleVerdict, reason string) {
	confidence := 1 - c.Alpha/3
	low, high := stats.DifferenceInterval(baseline.Failures, newcomer.Failures, confidence)
	if low > c.Errors {
		return Failed, fmt.Sprintf("%.2f %% of its requests fail, against %.2f %%", 100*newcomer.Failures.Share(), 100*baseline.Failures.Share())
	}
	v = Passed
	if high > c.Errors {
		v, reason = Undecided, "too few requests to tell the shares of failures apart"
	}
	for _, q := range []float64{0.5, 0.95} {
		low, high, ok := stats.RatioInterval(baseline.Latency, newcomer.Latency, q, confidence)
		switch {
		case ok && low > c.Slower:
			return Failed, fmt.Sprintf("its p%.0f is %v, against %v", 100*q, newcomer.Latency.QuantileDuration(q), baseline.Latency.QuantileDuration(q))
		case !ok || high > c.Slower:
			v, reason = Undecided, fmt.Sprintf("too few requests to tell p%.0f apart", 100*q)
		}
	}
	return v, reason
}

// Canary raises the share of a service under test step by step, and takes all of it away when it is worse than the
// service that it is compared with. It is safe for concurrent use.
type Canary struct {
	cfg   topology.Canary
	share atomic.Uint64 // float64 bits
	next  atomic.Int64  // when the next look is due
	arms  [2]arm

	mu    sync.Mutex
	step  int
	looks int           // at this step
	began time.Duration // of this step
	state CanaryState
	// Of the last look.
	verdict TwoSampleVerdict
	reason  string
}

// arm is one of the two, since the step began.
type arm struct {
	requests, failures atomic.Int64
	latency            atomic.Pointer[stats.Recorder]
}

// CanaryState is where a canary stands.
type CanaryState uint8

// The states.
const (
	CanaryRunning    CanaryState = iota // a step is being watched
	CanaryPromoted                      // the last step has passed, and the share stays
	CanaryRolledBack                    // a step has failed, and the share is 0 for good
)

// String returns the state in words.
func (s CanaryState) String() string {
	switch s {
	case CanaryRunning:
		return "running"
	case CanaryPromoted:
		return "promoted"
	case CanaryRolledBack:
		return "rolled back"
	}
	return fmt.Sprintf("CanaryState(%d)", uint8(s))
}

// CanaryEvent says what a look has changed.
type CanaryEvent struct {
	State  CanaryState
	Share  float64 // from now on
	Reason string
}

// canaryPatience is how many intervals an undecided step may take.
const canaryPatience = 10

// canaryLooks is how often an interval is looked into.
const canaryLooks = 4

// NewCanary returns a canary that begins with the first step.
func NewCanary(cfg topology.Canary, now time.Duration) *Canary {
	if len(cfg.Steps) == 0 {
		cfg.Steps = []topology.Percent{0.05, 0.25, 0.5}
	}
	cfg.Interval = max(cfg.Interval, topology.Duration(canaryLooks))
	c := &Canary{cfg: cfg}
	c.start(0, now)
	return c
}

func (c *Canary) setShare(s float64) { c.share.Store(math.Float64bits(s)) }

// Share returns the share of the requests that the service under test is to be given now.
func (c *Canary) Share() float64 { return math.Float64frombits(c.share.Load()) }

// State returns where it stands.
func (c *Canary) State() CanaryState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// CanaryReport is where a canary stands, and why.
type CanaryReport struct {
	State CanaryState
	Share float64 // of the requests that the service under test is given
	Step  int     // from 1 to Steps
	Steps int
	// Verdict of the last look at this step, and what speaks for it.
	Verdict TwoSampleVerdict
	Reason  string
	// Baseline and Newcomer are what was seen of the two since the step began.
	Baseline, Newcomer CanaryArm
}

// CanaryArm is what was seen of one of the two.
type CanaryArm struct {
	Requests int64         `json:"requests"`
	Failures int64         `json:"failures"`
	P50      time.Duration `json:"p50"` // of those that succeeded
	P95      time.Duration `json:"p95"`
}

// Report returns where it stands.
func (c *Canary) Report() CanaryReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CanaryReport{
		State: c.state, Share: c.Share(), Step: c.step + 1, Steps: len(c.cfg.Steps), Verdict: c.verdict, Reason: c.reason,
		Baseline: c.arms[0].report(), Newcomer: c.arms[1].report(),
	}
}

func (a *arm) report() CanaryArm {
	h := a.latency.Load().Snapshot()
	return CanaryArm{a.requests.Load(), a.failures.Load(), h.QuantileDuration(0.5), h.QuantileDuration(0.95)}
}

// Takes reports whether a request goes to the service under test; draw is from 0 to 1.
func (c *Canary) Takes(draw float64) bool { return draw < c.Share() }

// start begins a step. Where others are looking, the caller holds the mutex.
func (c *Canary) start(step int, now time.Duration) {
	c.step, c.looks, c.began = step, 0, now
	c.verdict, c.reason = Undecided, "not looked at yet"
	for i := range c.arms {
		c.arms[i].requests.Store(0)
		c.arms[i].failures.Store(0)
		c.arms[i].latency.Store(stats.NewRecorder(3))
	}
	c.setShare(float64(c.cfg.Steps[step]))
	c.next.Store(int64(now) + int64(c.cfg.Interval)/canaryLooks)
}

// Observe takes how a request has ended; tested says that the service under test answered it.
func (c *Canary) Observe(tested bool, latency time.Duration, o Outcome) {
	a := &c.arms[0]
	if tested {
		a = &c.arms[1]
	}
	switch o {
	case Success:
		a.latency.Load().Record(latency)
	case Failure:
		a.failures.Add(1)
	default:
		return
	}
	a.requests.Add(1)
}

// Tick looks at the two where a look is due, and returns what that has changed. It costs one load where none is due; call
// it after each request. The chance of a wrong verdict is spent on the looks of a step as the terms of the series of
// inverse squares, so that their number need not be known (after K. Lan and D. DeMets, Biometrika 70, 1983).
func (c *Canary) Tick(now time.Duration) (e CanaryEvent, changed bool) {
	if int64(now) < c.next.Load() {
		return CanaryEvent{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if due := c.next.Load(); int64(now) < due || c.state != CanaryRunning {
		return CanaryEvent{}, false
	}
	c.looks++
	interval := c.cfg.Interval.Std()
	age := now - c.began
	wait := interval / canaryLooks
	if age >= interval {
		wait = interval
	}
	c.next.Store(int64(now + wait))
	verdict, reason := c.look()
	c.verdict, c.reason = verdict, reason
	switch {
	case verdict == Failed:
		return c.rollBack(reason), true
	case verdict == Passed && age >= interval:
		return c.advance(now), true
	case age >= canaryPatience*interval:
		return c.rollBack(fmt.Sprintf("undecided after %v: %s", canaryPatience*interval, reason)), true
	}
	return CanaryEvent{}, false
}

// look judges the step so far.
func (c *Canary) look() (TwoSampleVerdict, string) {
	var samples [2]Sample
	for i := range c.arms {
		a := &c.arms[i]
		failures := a.failures.Load()
		samples[i] = Sample{stats.Proportion{Count: failures, Of: max(a.requests.Load(), failures)}, a.latency.Load().Snapshot()}
		if n := samples[i].Failures.Of; n < int64(c.cfg.MinRequests) {
			return Undecided, fmt.Sprintf("%d of %d requests", n, c.cfg.MinRequests)
		}
	}
	// The sum of 1/i² is π²/6.
	alpha := (1 - float64(c.cfg.Confidence)) * 6 / (math.Pi * math.Pi * float64(c.looks) * float64(c.looks))
	return Comparison{Errors: float64(c.cfg.Errors), Slower: c.cfg.Slower, Alpha: alpha}.Judge(samples[0], samples[1])
}

func (c *Canary) rollBack(reason string) CanaryEvent {
	c.state, c.verdict, c.reason = CanaryRolledBack, Failed, reason
	c.setShare(0)
	c.next.Store(math.MaxInt64)
	return CanaryEvent{c.state, 0, reason}
}

func (c *Canary) advance(now time.Duration) CanaryEvent {
	if c.step+1 == len(c.cfg.Steps) {
		c.state, c.reason = CanaryPromoted, "the last step has passed"
		c.next.Store(math.MaxInt64)
		return CanaryEvent{c.state, c.Share(), c.reason}
	}
	c.start(c.step+1, now)
	return CanaryEvent{c.state, c.Share(), fmt.Sprintf("step %d has passed", c.step)}
}
