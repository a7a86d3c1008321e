package load

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Threshold is a limit that a run must keep, in the language of the file: METRIC[{STEP}|[WINDOW]] OP VALUE, such as
// 'p99 < 200ms', 'errors < 0.1%', 'rate > 100/s', 'p99{POST /checkout} < 300ms' or 'p99[10s] < 300ms'. Metrics are p
// followed by a number up to 100, mean, min and max of the latency; errors, the share of requests that failed or were not
// sent; rate, of requests that ended well.
type Threshold struct {
	text   string
	metric string
	q      float64 // of a percentile
	step   string  // "": the total
	window time.Duration
	op     string
	limit  float64 // nanoseconds, share or per second
}

// Verdict on a threshold.
type Verdict struct {
	Threshold string `json:"threshold"`
	OK        bool   `json:"ok"`
	// Value that was found, in words.
	Value string `json:"value"`
}

// ParseThreshold reads a threshold.
func ParseThreshold(text string) (Threshold, error) {
	p, err := topology.ParseThreshold(strings.TrimSpace(text))
	if err != nil {
		return Threshold{}, fmt.Errorf("threshold %.80q: %w", text, err)
	}
	t := Threshold{text: strings.TrimSpace(text), metric: p.Metric, step: p.Step, window: p.Window.Std(), op: p.Op, limit: p.Limit}
	if t.metric != "errors" && t.metric != "rate" {
		t.limit = math.Round(p.Limit * 1e9)
	}
	if t.isQuantile() {
		x, err := strconv.ParseFloat(t.metric[1:], 64)
		if err != nil {
			return Threshold{}, fmt.Errorf("threshold %.80q: %w", text, err)
		}
		t.q = x / 100
	}
	return t, nil
}

// parseThresholds reads all and checks that their steps exist.
func parseThresholds(texts, steps []string) ([]Threshold, error) {
	var out []Threshold
	for _, text := range texts {
		t, err := ParseThreshold(text)
		if err != nil {
			return nil, err
		}
		if t.step != "" && !slices.Contains(steps, t.step) {
			return nil, fmt.Errorf("threshold %q: there is no step %q: want one of %s", t.text, t.step, strings.Join(steps, ", "))
		}
		out = append(out, t)
	}
	return out, nil
}

// String returns the threshold as it was written.
func (t Threshold) String() string { return t.text }

// Judge looks whether r keeps the threshold. Without any request nothing is kept.
func (t Threshold) Judge(r *Result) Verdict {
	v := Verdict{Threshold: t.text}
	s := r.Total
	if t.step != "" {
		if s = r.Step(t.step); s == nil {
			v.Value = "no such step"
			return v
		}
	}
	if s.Requests+s.NotSent == 0 {
		v.Value = "no requests"
		return v
	}
	if t.window > 0 {
		return t.judgeWindows(r, v)
	}
	var x float64
	switch t.metric {
	case "errors":
		x = s.ErrorRate()
		v.Value = percent(x)
	case "rate":
		x = s.Rate
		v.Value = number(x) + "/s"
	case "min", "mean", "max":
		if s.NotSent > 0 && t.metric != "min" {
			return t.unknown(v, s)
		}
		if s.Latency.Count() == 0 {
			v.Value = "no answers"
			return v
		}
		x = map[string]float64{"min": float64(s.Latency.Min()), "mean": s.Latency.Mean(), "max": float64(s.Latency.Max())}[t.metric]
		v.Value = brief(time.Duration(x))
	default:
		d, ok := s.Quantile(t.q)
		if !ok {
			return t.unknown(v, s)
		}
		if s.Latency.Count() == 0 {
			v.Value = "no answers"
			return v
		}
		x = float64(d)
		v.Value = brief(d)
	}
	v.OK = t.keeps(x)
	return v
}

// keeps reports whether x keeps the limit.
func (t Threshold) keeps(x float64) bool {
	return topology.Threshold{Op: t.op, Limit: t.limit}.Holds(x)
}

// unknown is the verdict where requests that were never sent decide: they are slower than any limit.
func (t Threshold) unknown(v Verdict, s *Step) Verdict {
	v.Value = fmt.Sprintf("beyond measure: %s requests were never sent", count(s.NotSent))
	v.OK = strings.HasPrefix(t.op, ">")
	return v
}
