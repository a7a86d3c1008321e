package load

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Threshold is a limit that a run must keep: METRIC[{STEP}] OP VALUE, such as 'p99 < 200ms', 'errors < 0.1%',
// 'rate > 100/s' or 'p99{POST /checkout} < 300ms'. Metrics are p followed by a number up to 100, mean, min and max of the
// latency; errors, the share of requests that failed or were not sent; rate, of requests that ended well.
type Threshold struct {
	text   string
	metric string
	q      float64 // of a percentile
	step   string  // "": the total
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

var thresholdForm = regexp.MustCompile(`^\s*([a-z]+[0-9.]*)\s*(?:\{(.*)\})?\s*(<=|>=|<|>)\s*([^\s<>={}]+)\s*$`)

// ParseThreshold reads a threshold.
func ParseThreshold(text string) (Threshold, error) {
	bad := func(why string) (Threshold, error) {
		return Threshold{}, fmt.Errorf("threshold %.80q: %s", text, why)
	}
	m := thresholdForm.FindStringSubmatch(text)
	if m == nil {
		return bad("want METRIC[{STEP}] (<|<=|>|>=) VALUE, such as 'p99 < 200ms' or 'p99{POST /checkout} < 300ms'")
	}
	t := Threshold{text: strings.TrimSpace(text), metric: m[1], step: strings.TrimSpace(m[2]), op: m[3]}
	value := m[4]
	switch t.metric {
	case "errors":
		share, err := parsePercent(value)
		if err != nil {
			return bad("want a share of errors, such as 0.1% or 0.001")
		}
		t.limit = share
	case "rate":
		rate, err := parseRate(value)
		if err != nil {
			return bad("want a rate, such as 100/s")
		}
		t.limit = rate
	default:
		if p, ok := strings.CutPrefix(t.metric, "p"); ok {
			x, err := strconv.ParseFloat(p, 64)
			if err != nil || x < 0 || x > 100 {
				return bad("a percentile is p followed by a number from 0 to 100")
			}
			t.q = x / 100
		} else if !slices.Contains([]string{"mean", "min", "max"}, t.metric) {
			return bad("the metrics are p50, p99 and so on, mean, min, max, errors and rate")
		}
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return bad("want a duration, such as 200ms")
		}
		t.limit = float64(d)
	}
	return t, nil
}

func parsePercent(s string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	x, err := strconv.ParseFloat(digits, 64)
	if percent {
		x /= 100
	}
	if err == nil && !(x >= 0 && x <= 1) {
		err = fmt.Errorf("%q is not between 0%% and 100%%", s)
	}
	return x, err
}

// parseRate reads 100/s, 6000/min or 50/h; per second without a unit.
func parseRate(s string) (float64, error) {
	digits, unit, _ := strings.Cut(s, "/")
	x, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil || !(x >= 0 && x < 1e12) {
		return 0, fmt.Errorf("rate %.40q: want a number, such as 100/s, 6000/min or 50/h", s)
	}
	switch strings.TrimSpace(unit) {
	case "", "s", "sec", "second":
		return x, nil
	case "m", "min", "minute":
		return x / 60, nil
	case "h", "hour":
		return x / 3600, nil
	}
	return 0, fmt.Errorf("rate %.40q: want /s, /min or /h", s)
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
	switch t.op {
	case "<":
		v.OK = x < t.limit
	case "<=":
		v.OK = x <= t.limit
	case ">":
		v.OK = x > t.limit
	case ">=":
		v.OK = x >= t.limit
	}
	return v
}

// unknown is the verdict where requests that were never sent decide: they are slower than any limit.
func (t Threshold) unknown(v Verdict, s *Step) Verdict {
	v.Value = fmt.Sprintf("beyond measure: %s requests were never sent", count(s.NotSent))
	v.OK = strings.HasPrefix(t.op, ">")
	return v
}
