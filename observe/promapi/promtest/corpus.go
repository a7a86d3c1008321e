// Package promtest holds one implementation of Prometheus's API against another: a set of series made for it, queries that
// vary over the whole language, a Prometheus that is started on the same blocks, and the comparison of answers.
//
// The tests of promapi and the benchmark of observe use it. Samples never lie on a boundary of a range: Prometheus 3 leaves
// the left one out, Prometheus 2 takes it in.
package promtest

import (
	"fmt"
	"strings"
	"time"
)

// Query of the corpus; a Step of 0 asks at the End alone.
type Query struct {
	Expr       string
	Start, End time.Time
	Step       time.Duration
}

// Start of the series, and how long they are. Samples come every 15 s, 7 s after the step.
var (
	Start = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	Span  = 4 * time.Hour
)

const (
	every = 15 * time.Second
	phase = 7 * time.Second
)

// Corpus are the queries, each at an instant and over a range.
func Corpus() []Query {
	var all []Query
	// 11 s after the minute: neither a sample nor a step of a subquery lies on the edge of a range.
	at := Start.Add(2*time.Hour + 11*time.Second)
	for i, e := range expressions() {
		all = append(all, Query{Expr: e, End: at.Add(time.Duration(i%7) * 17 * time.Minute)})
		if i%3 == 0 {
			all = append(all, Query{Expr: e, Start: at.Add(-time.Hour), End: at.Add(time.Hour), Step: []time.Duration{time.Minute, 2 * time.Minute, 7 * time.Minute}[i/3%3]})
		}
	}
	return all
}

// expressions over all parts of the language. Left out is what the two major versions answer differently by design or by
// accident: the deviation of infinities, and what Prometheus 2 does not know.
func expressions() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	selectors := []string{
		`requests_total`, `requests_total{code="200"}`, `requests_total{code!="200"}`, `requests_total{code=~"5.."}`, `requests_total{code!~"5..|4.."}`,
		`requests_total{path="/a",job="web"}`, `temperature`, `temperature{room=~"r[12]"}`, `sparse`, `{__name__=~"temp.*|sparse"}`, `special`,
		`latency_seconds_bucket{path="/a"}`, `nothing`, `requests_total{none=""}`, `{job="web",code="500"}`,
	}
	for _, s := range selectors {
		add("%s", s)
		add("%s offset 5m", s)
		add("%s @ %d", s, Start.Add(90*time.Minute).Unix()+11)
		add("-%s", s)
		add("count(%s)", s)
		add("absent(%s)", s)
		add("timestamp(%s)", s)
	}
	ranges := []string{"1m", "5m", "17m"}
	counters := []string{`requests_total`, `requests_total{code="500"}`, `latency_seconds_count`}
	gauges := []string{`temperature`, `sparse`, `special{kind!="nan"}`}
	for _, r := range ranges {
		for _, m := range counters {
			for _, f := range []string{"rate", "irate", "increase", "resets", "changes"} {
				add("%s(%s[%s])", f, m, r)
			}
		}
		for _, m := range gauges {
			for _, f := range []string{"delta", "idelta", "deriv", "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time",
				"stddev_over_time", "stdvar_over_time", "last_over_time", "present_over_time", "absent_over_time", "changes"} {
				add("%s(%s[%s])", f, m, r)
			}
			add("quantile_over_time(0.3, %s[%s])", m, r)
			add("predict_linear(%s[%s], 600)", m, r)
		}
		add("sum by (path) (rate(requests_total[%s]))", r)
		add("histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[%s])))", r)
		add("histogram_quantile(0.5, rate(latency_seconds_bucket[%s]))", r)
		add("sum(rate(requests_total{code=~\"5..\"}[%[1]s])) / sum(rate(requests_total[%[1]s]))", r)
	}
	aggregations(add)
	ranks(add)
	binaries(add)
	functions(add)
	subqueries(add)
	return out
}

func aggregations(add func(string, ...any)) {
	for _, m := range []string{`requests_total`, `temperature`, `rate(requests_total[5m])`, `special{kind!~"nan|inf|minus"}`} {
		for _, f := range []string{"sum", "avg", "min", "max", "count", "stddev", "stdvar", "group"} {
			add("%s(%s)", f, m)
			add("%s by (job) (%s)", f, m)
			add("%s without (instance, code) (%s)", f, m)
			add("%s by (none) (%s)", f, m)
		}
		add("quantile(0.75, %s)", m)
		add("quantile by (job) (0.1, %s)", m)
		add(`count_values("v", round(%s))`, m)
	}
}

// ranks asks for the largest and smallest of what has no equals: which of two equals comes first is nobody's promise.
func ranks(add func(string, ...any)) {
	for _, m := range []string{`temperature`, `temperature * 2`, `special{kind!="nan"}`, `deriv(temperature[5m])`} {
		for _, k := range []int{1, 3} {
			add("topk(%d, %s)", k, m)
			add("bottomk(%d, %s)", k, m)
			add("topk by (job) (%d, %s)", k, m)
		}
	}
}

func binaries(add func(string, ...any)) {
	for _, op := range strings.Fields("+ - * / % ^ == != > < >= <=") {
		add("temperature %s 20", op)
		add("20 %s temperature", op)
		add("temperature %s temperature offset 10m", op)
		add("temperature %s on (room) group_left () temperature_limit", op)
		add("temperature_limit %s on (room) group_right () temperature", op)
		add("sum by (job) (requests_total) %s sum by (job) (requests_total offset 1m)", op)
		add("3 %s bool 2", map[bool]string{true: op, false: "=="}[strings.ContainsAny(op, "=!<>")])
	}
	for _, op := range []string{"==", "!=", ">", "<", ">=", "<="} {
		add("temperature %s bool 20", op)
		add("temperature %s bool temperature offset 10m", op)
	}
	for _, op := range []string{"and", "or", "unless"} {
		add("temperature %s sparse", op)
		add(`requests_total{code="200"} %s ignoring (code) requests_total{code="500"}`, op)
		add("temperature %s on (room) temperature_limit", op)
		add("(temperature > 20) %s (temperature < 22)", op)
	}
	for _, e := range []string{"1 + 2 * 3 ^ 2 ^ 0.5", "-2 ^ 2", "10 % 3", "-10 % 3", "1 / 0", "0 / 0", "temperature atan2 temperature_limit or temperature",
		`requests_total{code="500"} / ignoring (code) requests_total{code="200"}`,
		`requests_total / on (path, instance, job) group_left (code) requests_total{code="200"}`,
		"sum(requests_total) by (path) / ignoring (path) group_left () sum(requests_total)", "(temperature)", "1 > bool 0", "vector(1) == 1"} {
		add("%s", e)
	}
}

func functions(add func(string, ...any)) {
	for _, f := range strings.Fields("abs ceil floor exp ln log2 log10 sqrt sgn round sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh deg rad sort_desc sort") {
		add("%s(special)", f)
		add("%s(temperature / 30)", f)
	}
	for _, f := range strings.Fields("minute hour day_of_week day_of_month day_of_year days_in_month month year") {
		add("%s()", f)
		add("%s(timestamp(temperature))", f)
		add("%s(vector(1456790399))", f) // the last second of a 29 February
	}
	for _, e := range []string{"time()", "pi()", "vector(time())", "scalar(temperature_limit{room=\"r1\"})", "scalar(temperature)", "round(temperature, 0.5)",
		"clamp(temperature, 19, 21)", "clamp_min(temperature, 20)", "clamp_max(temperature, 20)", "clamp(temperature, 21, 19)",
		`label_replace(temperature, "floor", "$1", "room", "r(.)")`, `label_replace(temperature, "room", "", "room", ".*")`, `label_replace(temperature, "x", "y", "none", "z")`,
		`label_join(requests_total, "both", "-", "job", "path")`, `label_join(temperature, "room", "")`, "absent(nothing)", `absent(nothing{a="b",c=~"d"})`,
		"absent_over_time(nothing[5m])", `absent_over_time(sparse{gap="yes"}[2m])`, "histogram_quantile(0.99, latency_seconds_bucket)",
		"histogram_quantile(0, latency_seconds_bucket)", "histogram_quantile(1, latency_seconds_bucket)", "histogram_quantile(1.1, latency_seconds_bucket)",
		"histogram_quantile(-1, latency_seconds_bucket)", "histogram_quantile(scalar(vector(0.5)), latency_seconds_bucket)", `"a string"`, "42", "NaN", "-Inf", "0x1F", "1e3"} {
		add("%s", e)
	}
}

func subqueries(add func(string, ...any)) {
	for _, e := range []string{"max_over_time(rate(requests_total[5m])[30m:1m])", "avg_over_time(temperature[20m:30s])", "min_over_time(sum(temperature)[10m:1m])",
		"rate(sum by (path) (requests_total)[10m:1m])", "sum_over_time((temperature > 20)[15m:1m])", "count_over_time(sparse[30m:2m])", "quantile_over_time(0.5, temperature[20m:1m] offset 10m)",
		"max_over_time(deriv(temperature[5m])[15m:1m])", "last_over_time(temperature[5m:1m])", "avg_over_time(avg_over_time(temperature[3m10s:30s])[9m:3m])",
		"changes((temperature > bool 20)[30m:1m])", "stddev_over_time(temperature[25m:5m])", "absent_over_time(nothing[10m:1m])", "present_over_time(sparse[40m:1m])"} {
		add("%s", e)
	}
	for _, d := range []string{"1m", "30m", "-5m", "1h"} {
		add("rate(requests_total[5m] offset %s)", d)
		add("temperature offset %s", d)
		add("avg_over_time(temperature[10m:1m] offset %s)", d)
	}
	add("temperature @ start()")
	add("temperature @ end()")
	add("rate(requests_total[5m] @ %d)", Start.Add(time.Hour).Unix()+11)
	add("rate(requests_total[5m] @ end() offset 3m)")
}
