package topology

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Threshold is what a load test must keep, such as 'p99 < 200ms', 'errors < 0.1%', 'p99{POST /checkout} < 300ms' or
// 'p99[10s] < 300ms'.
type Threshold struct {
	// Metric is p followed by a number from 0 to 100 (a percentile of the latency), mean, min or max (of the latency),
	// errors (the share of requests that failed) or rate (good answers a second).
	Metric string
	// Step whose requests are meant, by the name of a step or of a route; empty: all requests.
	Step string
	// Window is the length of the stretches in each of which it must hold, whole seconds; 0: in the test as a whole. A
	// threshold has a step or a window, not both.
	Window Duration
	// Op is <, <=, > or >=.
	Op string
	// Limit in seconds for latencies, as a fraction for errors, per second for rate.
	Limit float64

	text string // the limit as it was written
}

const wantThreshold = "a threshold such as 'p99 < 200ms', 'errors < 0.1%', 'rate > 100/s' or 'p99{POST /checkout} < 300ms'"

// ParseThreshold reads a threshold.
func ParseThreshold(text string) (Threshold, error) {
	fail := func(reason, hint string) (Threshold, error) {
		return Threshold{}, &unitError{text, reason, wantThreshold, hint}
	}
	if len(text) > 1024 {
		return fail("is too long", "")
	}
	// The name of a step may hold any character: the operator is the last one of the text.
	i := strings.LastIndexAny(text, "<>")
	if i < 0 {
		return fail("has no < or >", "")
	}
	t := Threshold{Op: text[i : i+1]}
	rest := text[i+1:]
	if strings.HasPrefix(rest, "=") {
		t.Op, rest = t.Op+"=", rest[1:]
	}
	t.text = strings.TrimSpace(rest)
	t.Metric = strings.TrimSpace(text[:i])
	if k := strings.IndexAny(t.Metric, "{["); k >= 0 {
		name, label := strings.TrimSpace(t.Metric[:k]), t.Metric[k:]
		reason := ""
		if t.Metric = name; label[0] == '{' {
			t.Step, reason = thresholdStep(label)
		} else {
			t.Window, reason = thresholdWindow(label)
		}
		if reason != "" {
			return fail(reason, "")
		}
	}
	_, isPercentile := parsePercentile(t.Metric)
	var err error
	switch {
	case isPercentile, t.Metric == "mean", t.Metric == "min", t.Metric == "max":
		var d Duration
		d, err = ParseDuration(t.text)
		t.Limit = d.Std().Seconds()
	case t.Metric == "errors":
		var p Percent
		p, err = ParsePercent(t.text)
		if t.Limit = float64(p); t.Limit > 1 {
			return fail("has a limit above 100%", "")
		}
	case t.Metric == "rate":
		var r Rate
		r, err = ParseRate(t.text)
		t.Limit = float64(r)
	default:
		hint := nearest(t.Metric, []string{"p50", "p90", "p95", "p99", "mean", "min", "max", "errors", "rate"})
		return fail("has an unknown metric "+quoteFound(t.Metric), hint)
	}
	if err != nil {
		e := err.(*unitError)
		reason := e.reason
		if reason == "" {
			reason = "is of the wrong kind"
		}
		return Threshold{}, &unitError{text, fmt.Sprintf("its limit %s %s", quoteFound(t.text), reason), e.want, ""}
	}
	return t, nil
}

// thresholdStep reads {STEP}.
func thresholdStep(label string) (step, reason string) {
	step, ok := strings.CutSuffix(label[1:], "}")
	if step = strings.TrimSpace(step); !ok || step == "" {
		return "", "has an open brace"
	}
	return step, ""
}

// thresholdWindow reads [WINDOW].
func thresholdWindow(label string) (window Duration, reason string) {
	inner, ok := strings.CutSuffix(label[1:], "]")
	if !ok {
		if strings.Contains(inner, "{") {
			return 0, "has a window and a step, of which it can have one"
		}
		return 0, "has an open bracket"
	}
	window, err := ParseDuration(strings.TrimSpace(inner))
	if err != nil || window.Std() < time.Second || window.Std()%time.Second != 0 || window.Std() > 168*time.Hour {
		return 0, "has a window " + quoteFound(inner) + " that is not whole seconds, such as [10s]"
	}
	return window, ""
}

// Holds says whether a measured value keeps the threshold. A value that is not a number keeps none.
func (t Threshold) Holds(value float64) bool {
	if math.IsNaN(value) {
		return false
	}
	switch t.Op {
	case "<":
		return value < t.Limit
	case "<=":
		return value <= t.Limit
	case ">":
		return value > t.Limit
	default:
		return value >= t.Limit
	}
}

// String returns the threshold as it is written in the file.
func (t Threshold) String() string {
	label := ""
	if t.Step != "" {
		label = "{" + t.Step + "}"
	} else if t.Window != 0 {
		label = "[" + t.Window.String() + "]"
	}
	return t.Metric + label + " " + t.Op + " " + t.text
}
