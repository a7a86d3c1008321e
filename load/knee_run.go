package load

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// KneeConfig says how the highest rate that holds an SLO is searched for. Zero fields take their defaults.
type KneeConfig struct {
	// Config is what each probe sends where. The rate, stages, trace or users of its workload are replaced, its duration
	// and warm-up too; its thresholds count for nothing, and neither does its Progress.
	Config
	// SLO is what must hold: thresholds of latency and errors, such as those of ParseSLO. At least one.
	SLO []Threshold
	// Search says where it begins and when it ends.
	Search SearchOptions
	// Probe is the length of the measured part of a probe near the knee. Default: as long as 4,000 requests for a p99 and
	// as many as tell as much for other limits, at least 10 s, at most 30 s. A fifth of it is run before, and not measured.
	Probe time.Duration
	// CoolDown is how long the target may take to recover after a probe that broke the SLO. Default: a minute.
	CoolDown time.Duration
	// OnProbe, if not nil, is called after each probe.
	OnProbe func(KneeProbe)
}

// Knee is what a search found.
type Knee struct {
	Version int       `json:"version"`
	Target  string    `json:"target"`
	SLO     []string  `json:"slo"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Seed    uint64    `json:"seed"`
	// Knee is the highest rate that holds the SLO, scenarios per second: at it, half of the probes would. Low and High are
	// the ends of its 95 % credible interval. Where the knee is 0, Low alone is a rate that held and High alone one that
	// broke.
	Knee float64 `json:"knee"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Found: the interval is as narrow as was asked for; Why says what is known where it is not.
	Found bool   `json:"found"`
	Why   string `json:"why,omitempty"`
	// Base is the median latency of the target at rest.
	Base time.Duration `json:"base_p50_ns"`
	// Probes in the order in which they were made.
	Probes []KneeProbe `json:"probes"`
	// Workload that was sent; its rate is that of the probe.
	Workload *topology.Workload `json:"workload"`
	Warnings []string           `json:"warnings,omitempty"`
}

// KneeProbe is what one probe showed.
type KneeProbe struct {
	Rate float64 `json:"rate"`
	// Achieved requests that ended well, per second.
	Achieved float64       `json:"achieved"`
	Duration time.Duration `json:"duration_ns"`
	Short    bool          `json:"short"`
	Verdict  ProbeVerdict  `json:"verdict"`
	// Why the probe was stopped or is not counted, or which threshold was broken.
	Why      string        `json:"why,omitempty"`
	Requests int64         `json:"requests"`
	NotSent  int64         `json:"not_sent,omitempty"`
	Errors   float64       `json:"errors"` // share
	Mean     time.Duration `json:"mean_ns"`
	P50      time.Duration `json:"p50_ns"`
	P90      time.Duration `json:"p90_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
	// CoolDown that the target took after it.
	CoolDown time.Duration `json:"cool_down_ns,omitempty"`
}

const (
	kneeVersion  = 1
	trickleRate  = 10 // requests per second that are sent to see whether the target has recovered
	trickleTime  = time.Second
	shortestTime = 2 * time.Second
	longestShort = 5 * time.Second
)

// ParseSLO reads thresholds with commas between them, such as 'p99<200ms,errors<0.1%'. They must be upper limits.
func ParseSLO(text string) ([]Threshold, error) {
	var out []Threshold
	depth, from := 0, 0
	for i, c := range text + "," {
		switch {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == ',' && depth <= 0:
			t, err := ParseThreshold(text[from:i])
			if err != nil {
				return nil, err
			}
			if !strings.HasPrefix(t.op, "<") || t.metric == "rate" || t.metric == "min" || t.window > 0 {
				return nil, fmt.Errorf("threshold %q: an SLO is made of upper limits of percentiles, mean, max or errors over a whole probe", t.text)
			}
			out = append(out, t)
			from = i + 1
		}
	}
	if len(out) == 0 || depth > 0 {
		return nil, fmt.Errorf("SLO %.200q: want thresholds such as 'p99<200ms,errors<0.1%%'", text)
	}
	return out, nil
}

// kneeSearch is a search under way.
type kneeSearch struct {
	cfg      KneeConfig
	workload topology.Workload
	out      *Knee
	runs     uint64 // probes and trickles so far, so that each draws anew
}

// FindKnee searches for the highest rate that holds the SLO. Between probes it waits until the target is back near its
// latency at rest; a probe is stopped as soon as it cannot hold the SLO any more. When ctx is done it ends at once, with
// what is known. An error is returned only where nothing could be probed.
func FindKnee(ctx context.Context, cfg KneeConfig) (*Knee, error) {
	s := &kneeSearch{cfg: cfg}
	search, err := s.prepare()
	if err != nil {
		return nil, err
	}
	s.out.Start = time.Now().Round(0).UTC()
	base, err := s.rest(ctx)
	if err != nil {
		return nil, err
	}
	s.out.Base = base
	why := ""
	for ctx.Err() == nil && why == "" {
		p, ok := search.Next()
		if !ok {
			break
		}
		kp, err := s.probe(ctx, p)
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			break // it was cut short and says nothing
		}
		if err := search.Observe(p, kp.Verdict); err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
		if kp.Verdict == Broken || kp.Verdict == Hopeless {
			var recovered bool
			if kp.CoolDown, recovered, err = s.coolDown(ctx); err != nil {
				return nil, err
			}
			if !recovered && ctx.Err() == nil {
				why = fmt.Sprintf("the target had not recovered %s after the probe at %s/s: the search was given up", brief(kp.CoolDown), number3(kp.Rate))
			}
		}
		s.out.Probes = append(s.out.Probes, kp)
		if cfg.OnProbe != nil {
			cfg.OnProbe(kp)
		}
	}
	if ctx.Err() != nil {
		why = "the search was interrupted"
	}
	s.conclude(search.Estimate(), why)
	return s.out, nil
}

// prepare checks and fills in.
func (s *kneeSearch) prepare() (*Search, error) {
	if s.cfg.Workload == nil {
		return nil, errors.New("load: no workload")
	}
	if len(s.cfg.SLO) == 0 {
		return nil, errors.New("load: a search for the knee needs an SLO, such as 'p99<200ms,errors<0.1%'")
	}
	if s.cfg.Probe < 0 || s.cfg.CoolDown < 0 {
		return nil, errors.New("load: a duration is negative")
	}
	if s.cfg.CoolDown == 0 {
		s.cfg.CoolDown = time.Minute
	}
	s.workload = *s.cfg.Workload
	w := &s.workload
	w.Stages, w.Trace, w.Users, w.Thresholds = nil, nil, 0, nil
	for _, t := range s.cfg.SLO {
		w.Thresholds = append(w.Thresholds, t.text)
	}
	search, err := NewSearch(s.cfg.Search)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	s.cfg.Search = search.o
	w.Rate, w.Duration, w.Warmup = topology.Rate(search.o.Start), topology.Duration(shortestTime), 0
	s.out = &Knee{Version: kneeVersion, Target: s.cfg.Target, SLO: w.Thresholds, Seed: s.cfg.Seed, Workload: w}
	probe := s.cfg.Config
	probe.Workload = w
	if _, _, err := prepare(probe); err != nil {
		return nil, err
	}
	return search, nil
}

// send runs the workload at a rate.
func (s *kneeSearch) send(ctx context.Context, rate float64, length, warm time.Duration, change func(*Config)) (*Result, error) {
	w := s.workload
	w.Rate, w.Duration, w.Warmup = topology.Rate(rate), topology.Duration(length), topology.Duration(warm)
	cfg := s.cfg.Config
	cfg.Workload, cfg.Progress = &w, nil
	cfg.Seed, _ = streamOf(s.cfg.Seed, int64(s.runs))
	s.runs++
	change(&cfg)
	return Run(ctx, cfg)
}

// length of the measured part of a probe.
func (s *kneeSearch) length(p Probe) time.Duration {
	few := 0.01 // the least share that a limit looks at
	for _, t := range s.cfg.SLO {
		if t.isQuantile() && t.q < 1 {
			few = min(few, 1-t.q)
		}
	}
	needed := 40 / few // requests
	full := s.cfg.Probe
	if full == 0 {
		full = min(max(seconds(needed/p.Rate), 10*time.Second), 30*time.Second)
	}
	if p.Short {
		return min(full, max(min(seconds(needed/8/p.Rate), longestShort), shortestTime))
	}
	return full
}

// probe sends one probe.
func (s *kneeSearch) probe(ctx context.Context, p Probe) (KneeProbe, error) {
	length := s.length(p)
	inner, stop := context.WithCancel(ctx)
	defer stop()
	hopeless := ""
	r, err := s.send(inner, p.Rate, length, length/5, func(c *Config) {
		c.watch = func(r *run) {
			if hopeless == "" {
				if hopeless = r.look(s.cfg.SLO).hopeless(s.cfg.SLO); hopeless != "" {
					stop()
				}
			}
		}
	})
	if err != nil {
		return KneeProbe{}, err
	}
	k := KneeProbe{
		Rate: p.Rate, Achieved: r.Total.Rate, Duration: r.Duration, Short: p.Short, Requests: r.Total.Requests, NotSent: r.Total.NotSent,
		Errors: r.Total.ErrorRate(), Mean: time.Duration(r.Total.Latency.Mean()), P50: r.Total.Latency.QuantileDuration(0.5),
		P90: r.Total.Latency.QuantileDuration(0.9), P99: r.Total.Latency.QuantileDuration(0.99), Max: time.Duration(r.Total.Latency.Max()),
	}
	if r.CutShort && r.Total.Requests > 0 { // what was not sent was not sent because the probe was stopped
		k.NotSent, k.Errors = 0, float64(r.Total.Failed())/float64(r.Total.Requests)
	}
	k.Verdict, k.Why = s.judge(r, hopeless)
	return k, nil
}

// judge says what a probe showed.
func (s *kneeSearch) judge(r *Result, hopeless string) (ProbeVerdict, string) {
	if fault := generatorsFault(r, s.cfg.SLO); fault != "" {
		return Unmeasured, fault
	}
	if hopeless != "" {
		return Hopeless, hopeless
	}
	if r.Total.Requests+r.Total.NotSent == 0 {
		return Unmeasured, "no request was due"
	}
	if r.Total.Errors[LocalLimit] > 0 && !r.OK() {
		return Unmeasured, "the generator's machine ran out of files or ports"
	}
	for _, v := range r.Verdicts {
		if !v.OK {
			return Broken, fmt.Sprintf("%s: %s", v.Threshold, v.Value)
		}
	}
	return Held, ""
}

// generatorsFault says why the generator, and not the target, is to blame for a broken SLO: the same limits hold for the
// service times, and requests were sent late although connections were free.
func generatorsFault(r *Result, slo []Threshold) string {
	if r.Generator.Queued > 0 || r.Total.Lateness.Count() == 0 {
		return ""
	}
	late := r.Total.Lateness.QuantileDuration(0.99)
	if late <= lateEnough {
		return ""
	}
	for i := range r.Timeline.Points {
		if r.Timeline.Points[i].InFlight >= int64(r.Limits.MaxInFlight) {
			return ""
		}
	}
	service := func(s *Step) *Step {
		c := *s
		c.Latency, c.NotSent = s.Service, 0
		return &c
	}
	alone := *r
	alone.Total, alone.Steps = service(r.Total), nil
	for _, s := range r.Steps {
		alone.Steps = append(alone.Steps, service(s))
	}
	broken := false
	for _, t := range slo {
		broken = broken || !t.Judge(r).OK
		if !t.Judge(&alone).OK {
			return ""
		}
	}
	if !broken {
		return ""
	}
	return fmt.Sprintf("the generator sent 1%% of the requests %s or more late although connections were free; the service times alone hold the SLO", brief(late))
}

// trickle sends a few requests, evenly, and says whether they kept the SLO's errors.
func (s *kneeSearch) trickle(ctx context.Context, length time.Duration) (r *Result, healthy bool, err error) {
	r, err = s.send(ctx, min(trickleRate, s.cfg.Search.Start), length, 0, func(c *Config) {
		w := *c.Workload
		w.Arrivals, w.Thresholds = "constant", nil
		c.Workload = &w
	})
	if err != nil {
		return nil, false, err
	}
	healthy = r.Total.Latency.Count() > 0
	for _, t := range s.cfg.SLO {
		if t.metric == "errors" && t.step == "" {
			healthy = healthy && r.Total.ErrorRate() <= max(t.limit, 0)
		}
	}
	return r, healthy, nil
}

// rest measures the target at rest. Where it does not answer even then, there is nothing to search for.
func (s *kneeSearch) rest(ctx context.Context) (time.Duration, error) {
	length := max(2*trickleTime, seconds(5/s.cfg.Search.Start))
	r, healthy, err := s.trickle(ctx, min(length, 30*time.Second))
	if err != nil {
		return 0, err
	}
	if !healthy && ctx.Err() == nil {
		if t := r.Total; t.Requests > 0 && t.Failed() == t.Requests {
			var kinds []string
			for _, k := range sortedByCount(t.Errors) {
				kinds = append(kinds, fmt.Sprintf("%s: %s", k, count(t.Errors[k])))
			}
			return 0, fmt.Errorf("load: all of the %s requests to %s before the search failed (%s)", count(t.Requests), r.Target, strings.Join(kinds, ", "))
		}
		s.out.Warnings = append(s.out.Warnings, "even at rest the target does not answer well")
	}
	return r.Total.Latency.QuantileDuration(0.5), nil
}

// coolDown waits until the target answers a trickle of requests about as it does at rest.
func (s *kneeSearch) coolDown(ctx context.Context) (took time.Duration, recovered bool, err error) {
	begin := time.Now()
	length := max(trickleTime, min(seconds(3/s.cfg.Search.Start), 10*time.Second))
	near := max(3*s.out.Base, s.out.Base+2*time.Millisecond)
	for ctx.Err() == nil {
		r, healthy, err := s.trickle(ctx, length)
		if err != nil {
			return 0, false, err
		}
		took = time.Since(begin)
		if healthy && r.Total.Latency.QuantileDuration(0.5) <= near {
			return took, true, nil
		}
		if took >= s.cfg.CoolDown {
			break
		}
	}
	return time.Since(begin), false, nil
}

// conclude puts the result together.
func (s *kneeSearch) conclude(e Estimate, why string) {
	k := s.out
	k.End = time.Now().Round(0).UTC()
	k.Knee, k.Low, k.High, k.Found, k.Why = e.Knee, e.Low, e.High, e.Found, e.Why
	if why != "" && !e.Found {
		k.Why = why
	}
	unmeasured := 0
	for _, p := range k.Probes {
		if p.Verdict == Unmeasured {
			unmeasured++
		}
	}
	if unmeasured > 0 {
		k.Warnings = append(k.Warnings, fmt.Sprintf("%d of %d probes could not be measured and count for nothing", unmeasured, len(k.Probes)))
	}
	for _, t := range s.cfg.SLO {
		if !t.isQuantile() || t.q >= 1 || k.Knee == 0 {
			continue
		}
		if beyond := (1 - t.q) * k.Knee * s.length(Probe{Rate: k.Knee}).Seconds(); beyond < 10 {
			k.Warnings = append(k.Warnings, fmt.Sprintf("a probe at the knee has %.0f requests beyond the limit of '%s': a longer --duration makes the verdicts steadier", beyond, t.text))
		}
	}
}
