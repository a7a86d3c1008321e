package topology

import (
	"fmt"
	"math"
	"strings"
)

// Threshold is what a load test must keep, such as 'p99 < 200ms', 'errors < 0.1%' or 'p99{POST /checkout} < 300ms'.
type Threshold struct {
	// Metric is p followed by a number from 0 to 100 (a percentile of the latency), mean, min or max (of the latency),
	// errors (the share of requests that failed) or rate (good answers a second).
	Metric string
	// Step whose requests are meant, by the name of a step or of a route; empty: all requests.
	Step string
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
	if name, label, ok := strings.Cut(t.Metric, "{"); ok {
		if label, ok = strings.CutSuffix(label, "}"); !ok || label == "" {
			return fail("has an open brace", "")
		}
		t.Metric, t.Step = strings.TrimSpace(name), label
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
		t.Limit = float64(p)
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
	}
	return t.Metric + label + " " + t.Op + " " + t.text
}
