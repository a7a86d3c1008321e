package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// DiffOptions say what counts as a difference. Zero fields take their defaults.
type DiffOptions struct {
	// Tolerance is the relative change of rate, mean and percentiles that is let pass. Default: 0.05.
	Tolerance float64
	// ErrorTolerance is the change of the share of errors that is let pass. Default: 0.001.
	ErrorTolerance float64
	// Confidence of all intervals together. Default: 0.95.
	Confidence float64

	resamples int // of the bootstrap; 0: diffResamples
}

// Change is the verdict on one figure.
type Change string

const (
	// Worse and Better: beyond the tolerance, and beyond what chance explains.
	Worse  Change = "worse"
	Better Change = "better"
	// Same: the whole interval lies within the tolerance.
	Same Change = "same"
	// Unclear: the interval is too wide to say.
	Unclear Change = "unclear"
)

// Diff holds two runs side by side.
type Diff struct {
	Version   int         `json:"version"`
	Options   DiffOptions `json:"options"`
	Steps     []StepDiff  `json:"steps"` // the total last
	Worse     bool        `json:"worse"` // some figure is
	Warnings  []string    `json:"warnings,omitempty"`
	Method    string      `json:"method"`
	Intervals float64     `json:"interval_confidence"` // of each interval alone
}

// StepDiff is one step, or the total, of two runs.
type StepDiff struct {
	Name    string       `json:"name"`
	Figures []FigureDiff `json:"figures"`
}

// FigureDiff is one figure of two runs: rate, mean, p50, p99 or errors.
type FigureDiff struct {
	Name string  `json:"name"`
	Old  float64 `json:"old"` // nanoseconds, per second, or a share
	New  float64 `json:"new"`
	// Change is new/old-1, for errors new-old; Low and High are the ends of its interval.
	Change  float64 `json:"change"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Verdict Change  `json:"verdict"`
}

const diffMethod = "Each interval is that of the logarithm of the ratio (errors: of the difference), by its standard error. For the total " +
	"the error is that of a moving-block bootstrap over the seconds of the timeline, so that latencies that hang together count " +
	"as what they are; for a step it is that of independent requests, widened by as much as the bootstrap widens the total's. " +
	"The confidence is shared among all figures (Bonferroni)."

// figures that are compared, in order.
var figureNames = []string{"rate", "mean", "p50", "p99", "errors"}

// diffResamples of the bootstrap, and the most blocks that it draws from.
const (
	diffResamples = 400
	diffPoints    = 120
	fewestPoints  = 8
)

// Compare holds two results side by side and says which figures are worse, better or the same beyond chance. Steps that
// only one of them has are named in a warning.
//
// The bootstrap is that of blocks of neighbouring seconds (H. Künsch, The jackknife and the bootstrap for general
// stationary observations, 1989): requests of one busy period share its wait, so that treating them as independent would
// call chance a regression. It draws from a fixed seed: the same two records give the same verdict.
func Compare(old, fresh *Result, o DiffOptions) (*Diff, error) {
	for _, r := range []*Result{old, fresh} {
		if r == nil {
			return nil, fmt.Errorf("comparing load tests: a record without a result")
		}
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("comparing load tests: %w", err)
		}
	}
	if o.Tolerance == 0 {
		o.Tolerance = 0.05
	}
	if o.ErrorTolerance == 0 {
		o.ErrorTolerance = 0.001
	}
	if o.Confidence == 0 {
		o.Confidence = 0.95
	}
	if o.resamples == 0 {
		o.resamples = diffResamples
	}
	if !(o.Tolerance > 0 && o.Tolerance < 10) || !(o.ErrorTolerance > 0 && o.ErrorTolerance < 1) || !(o.Confidence > 0.5 && o.Confidence < 1) {
		return nil, fmt.Errorf("comparing load tests: tolerances %v and %v, confidence %v: want above 0 and below 10, 1 and 1", o.Tolerance, o.ErrorTolerance, o.Confidence)
	}
	d := &Diff{Version: 1, Options: o, Method: diffMethod}
	pairs := [][2]*Step{}
	for _, s := range old.Steps {
		if f := fresh.Step(s.Name); f != nil {
			pairs = append(pairs, [2]*Step{s, f})
		} else {
			d.Warnings = append(d.Warnings, fmt.Sprintf("step %s is in the old run alone", s.Name))
		}
	}
	for _, s := range fresh.Steps {
		if old.Step(s.Name) == nil {
			d.Warnings = append(d.Warnings, fmt.Sprintf("step %s is in the new run alone", s.Name))
		}
	}
	pairs = append(pairs, [2]*Step{old.Total, fresh.Total})
	if len(pairs) == 2 {
		pairs = pairs[1:] // the only step is the total
	}
	d.Intervals = 1 - (1-o.Confidence)/float64(len(pairs)*len(figureNames))
	z := math.Sqrt2 * math.Erfinv(d.Intervals)
	wide := [2]map[string]float64{d.spread(old, "old"), d.spread(fresh, "new")}
	for _, p := range pairs {
		s := StepDiff{Name: p[0].Name}
		for _, name := range figureNames {
			f := figureDiff(name, p, wide, [2]time.Duration{old.Duration, fresh.Duration}, z, o)
			d.Worse = d.Worse || f.Verdict == Worse
			s.Figures = append(s.Figures, f)
		}
		d.Steps = append(d.Steps, s)
	}
	d.warn(old, fresh)
	return d, nil
}

func (d *Diff) warn(old, fresh *Result) {
	if old.Schedule != fresh.Schedule {
		d.Warnings = append(d.Warnings, fmt.Sprintf("the runs differ in what was sent: %s, then %s", old.Schedule, fresh.Schedule))
	}
	for i, r := range []*Result{old, fresh} {
		name := []string{"old", "new"}[i]
		if r.CutShort {
			d.Warnings = append(d.Warnings, fmt.Sprintf("the %s run was cut short after %s", name, brief(r.Duration)))
		}
		for _, w := range r.Warnings {
			d.Warnings = append(d.Warnings, fmt.Sprintf("%s run: %s", name, w))
		}
	}
}

// figure returns a figure of s and its standard error if its requests were independent: of its logarithm, for errors of
// itself. known is false where there is nothing to tell.
func figure(name string, s *Step, length time.Duration) (value, spread float64, known bool) {
	n := float64(s.Latency.Count())
	switch name {
	case "rate":
		good := s.Rate * length.Seconds()
		return s.Rate, 1 / math.Sqrt(max(good, 1)), good > 0
	case "errors":
		all := float64(s.Requests + s.NotSent)
		if all == 0 {
			return 0, 0, false
		}
		p := s.ErrorRate()
		// Agresti and Coull (1998): two of each are added, so that no error at all is not taken for certainty.
		soft := (p*all + 2) / (all + 4)
		return p, math.Sqrt(soft * (1 - soft) / (all + 4)), true
	case "mean":
		if n == 0 || s.NotSent > 0 {
			return 0, 0, false
		}
		m := s.Latency.Mean()
		return m, s.Latency.StdDev() / math.Sqrt(n) / max(m, 1), m > 0
	}
	q := map[string]float64{"p50": 0.5, "p99": 0.99}[name]
	d, ok := s.Quantile(q)
	if !ok || n == 0 || d <= 0 {
		return 0, 0, false
	}
	// The ranks one standard error away, by the binomial distribution of the rank.
	off := math.Sqrt(q * (1 - q) / n)
	low, high := s.Latency.Quantile(q-off), s.Latency.Quantile(min(q+off, 1))
	return float64(d), math.Log(float64(max(high, 1))/float64(max(low, 1))) / 2, true
}

// spread returns, for each figure, by what factor the standard error of a run is larger than if its requests were
// independent: at least 1.
func (d *Diff) spread(r *Result, name string) map[string]float64 {
	points := r.Timeline.Points
	if whole := int(r.Duration / r.Timeline.Width); whole < len(points) {
		points = points[:whole] // the last may be a fraction of a second
	}
	points = coarse(points, (len(points)+diffPoints-1)/diffPoints)
	out := map[string]float64{}
	for _, f := range figureNames {
		out[f] = 1
	}
	if len(points) < fewestPoints {
		d.Warnings = append(d.Warnings, fmt.Sprintf("the %s run is too short to tell how its requests hang together: its intervals may be too narrow", name))
		return out
	}
	width := r.Duration / time.Duration(len(points))
	buckets := make([][]stats.Bucket, len(points))
	for i := range points {
		if h := points[i].Latency; h != nil {
			buckets[i] = h.Buckets()
		}
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(points))))
	block := int(math.Ceil(math.Cbrt(float64(len(points)))))
	samples := map[string][]float64{}
	for range d.Options.resamples {
		s := resample(points, buckets, block, rng)
		s.Rate = float64(s.Requests-s.Failed()) / (width.Seconds() * float64(len(points)))
		for _, f := range figureNames {
			if v, _, ok := figure(f, s, r.Duration); ok {
				if f != "errors" {
					v = math.Log(v)
				}
				samples[f] = append(samples[f], v)
			}
		}
	}
	whole := resample(points, buckets, 0, nil)
	whole.Rate = float64(whole.Requests-whole.Failed()) / r.Duration.Seconds()
	for _, f := range figureNames {
		if _, alone, ok := figure(f, whole, r.Duration); ok && alone > 0 && len(samples[f]) > d.Options.resamples/2 {
			out[f] = max(1, deviationOf(samples[f])/alone)
		}
	}
	return out
}

// resample puts as many points together as there are, in blocks drawn with replacement; with block 0, just all of them.
// buckets are those of the points' latencies that are not empty: a second has few of them, and a histogram thousands.
func resample(points []Point, buckets [][]stats.Bucket, block int, rng *rand.Rand) *Step {
	s := newStep("")
	s.Latency = stats.NewHistogram(2)
	at, left := 0, 0
	for i := range points {
		if block > 0 {
			if left == 0 {
				at, left = rng.IntN(len(points)), block
			}
			i = at % len(points)
			at, left = at+1, left-1
		}
		p := &points[i]
		s.Requests += p.Completed + p.Errors
		s.Errors[OtherError] += p.Errors
		for _, b := range buckets[i] {
			s.Latency.RecordN(b.Low+(b.High-b.Low)/2, b.Count)
		}
	}
	return &s
}

func deviationOf(x []float64) float64 {
	mean, sum := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(len(x)-1))
}

// figureDiff compares one figure.
func figureDiff(name string, p [2]*Step, wide [2]map[string]float64, lengths [2]time.Duration, z float64, o DiffOptions) FigureDiff {
	f := FigureDiff{Name: name, Verdict: Unclear}
	a, sa, oka := figure(name, p[0], lengths[0])
	b, sb, okb := figure(name, p[1], lengths[1])
	f.Old, f.New = a, b
	if !oka || !okb {
		// A percentile among requests that were never sent is worse than any that can be named.
		beyond := func(s *Step) bool { _, ok := s.Quantile(0.5); return s.NotSent > 0 && !ok }
		switch latency := slices.Contains([]string{"mean", "p50", "p99"}, name); {
		case latency && oka && p[1].NotSent > 0 && (name != "p50" || beyond(p[1])):
			f.Verdict = Worse
		case latency && okb && p[0].NotSent > 0 && (name != "p50" || beyond(p[0])):
			f.Verdict = Better
		case name == "rate" && oka && p[1].Requests+p[1].NotSent > 0:
			f.Verdict, f.Change, f.Low, f.High = Worse, -1, -1, -1
		case name == "rate" && !oka && !okb:
			f.Verdict = Same
		}
		return f
	}
	half := z * math.Hypot(sa*wide[0][name], sb*wide[1][name])
	low, high, tolerance := 0.0, 0.0, o.Tolerance
	if name == "errors" {
		tolerance = o.ErrorTolerance
		f.Change = b - a
		f.Low, f.High = f.Change-half, f.Change+half
	} else {
		d := math.Log(b / a)
		f.Change, f.Low, f.High = math.Expm1(d), math.Expm1(d-half), math.Expm1(d+half)
	}
	low, high = f.Low, f.High
	if name == "rate" { // more is better
		low, high = -f.High, -f.Low
	}
	switch {
	case low > tolerance:
		f.Verdict = Worse
	case high < -tolerance:
		f.Verdict = Better
	case low >= -tolerance && high <= tolerance:
		f.Verdict = Same
	}
	return f
}
