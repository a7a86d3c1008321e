package loki

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

const (
	maxSteps  = 11000
	maxSeries = 2000 // of an answer, as limits of Loki
)

// series is a line of numbers; NaN where there is none.
type series struct {
	labels map[string]string
	values []float64
}

// steps are the instants of an answer.
type steps struct {
	start time.Time
	step  time.Duration
	n     int
}

// evaluate computes an expression of numbers at each step.
func (s *Server) evaluate(ctx context.Context, e *expr, at steps) ([]series, error) {
	switch {
	case e.number != nil:
		values := make([]float64, at.n)
		for i := range values {
			values[i] = *e.number
		}
		return []series{{map[string]string{}, values}}, nil
	case e.count != nil:
		return s.counted(ctx, e.count, nil, at)
	case e.over != nil:
		return s.grouped(ctx, e.over, at)
	case e.binary != nil:
		a, err := s.evaluate(ctx, e.binary.a, at)
		if err != nil {
			return nil, err
		}
		b, err := s.evaluate(ctx, e.binary.b, at)
		if err != nil {
			return nil, err
		}
		return combine(e.binary, a, b), nil
	}
	return nil, fmt.Errorf("parse error: numbers are expected, not log lines")
}

// counted counts lines: one series for each set of labels, or of those of group if that is not nil, which keeps what need not be told apart
// from being told apart.
func (s *Server) counted(ctx context.Context, c *counting, group *grouping, at steps) ([]series, error) {
	q := segment.Query{
		Filter: c.of.filter,
		From:   at.start.Add(-c.span).UnixNano() + 1,
		To:     at.start.Add(time.Duration(at.n-1)*at.step).UnixNano() + 1,
	}
	var workers []map[string]*series
	many := fmt.Errorf("more than %d series: group by fewer labels", maxSeries)
	var failed error
	_, err := s.logs.Store().Scan(ctx, q, func() func(segment.Row) bool {
		found := map[string]*series{}
		workers = append(workers, found)
		return func(r segment.Row) bool {
			return c.add(found, group, r, at)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("counting lines: %w", err)
	}
	total := map[string]*series{}
	for _, found := range workers {
		for key, f := range found {
			if t := total[key]; t == nil {
				total[key] = f
			} else {
				for i, v := range f.values {
					t.values[i] += v
				}
			}
		}
		if len(found) > maxSeries || len(total) > maxSeries {
			failed = many
		}
	}
	return c.finish(total, at), failed
}

// add counts a row in the steps whose span it is in. Its first step gets it and the one after its last gives it back: the sums are built
// at the end.
func (c *counting) add(found map[string]*series, group *grouping, r segment.Row, at steps) bool {
	since := r.Time() - at.start.UnixNano()
	first := max(ceilDiv(since, int64(at.step)), 0)
	last := min(ceilDiv(since+int64(c.span), int64(at.step))-1, int64(at.n)-1)
	if first > last {
		return true
	}
	var labels map[string]string
	if group != nil && !group.without {
		labels = make(map[string]string, len(group.labels))
		for _, n := range group.labels {
			if v, ok := valueOf(r, n); ok && v != "" {
				labels[n] = v
			}
		}
	} else {
		labels = c.of.labels(r)
		if group != nil {
			for _, n := range group.labels {
				delete(labels, n)
			}
		}
	}
	key := keyOf(labels)
	f := found[key]
	if f == nil {
		if len(found) > maxSeries {
			return false
		}
		copied := make(map[string]string, len(labels))
		for k, v := range labels {
			copied[strings.Clone(k)] = strings.Clone(v)
		}
		f = &series{copied, make([]float64, at.n+1)}
		found[key] = f
	}
	amount := 1.0
	if strings.HasPrefix(c.op, "bytes") {
		amount = float64(len(r.Body()))
	}
	f.values[first] += amount
	f.values[last+1] -= amount
	return true
}

func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}

func keyOf(labels map[string]string) string {
	names := make([]string, 0, len(labels))
	for n := range labels {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "%d:%s%d:%s", len(n), n, len(labels[n]), labels[n])
	}
	return b.String()
}

func (c *counting) finish(total map[string]*series, at steps) []series {
	keys := make([]string, 0, len(total))
	for k := range total {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make([]series, 0, len(keys))
	for _, k := range keys {
		f := total[k]
		sum := 0.0
		values := f.values[:at.n]
		for i := range values {
			if sum += values[i]; sum < 0.5 {
				values[i] = math.NaN()
				continue
			}
			values[i] = sum
			if strings.HasSuffix(c.op, "rate") {
				values[i] /= c.span.Seconds()
			}
		}
		out = append(out, series{f.labels, values})
	}
	return out
}

func (s *Server) grouped(ctx context.Context, g *grouping, at steps) ([]series, error) {
	if g.of.count != nil && g.op == "sum" {
		// What is summed need not be told apart first.
		group := g
		if g.all {
			group = &grouping{}
		}
		return s.counted(ctx, g.of.count, group, at)
	}
	inner, err := s.evaluate(ctx, g.of, at)
	if err != nil {
		return nil, err
	}
	if g.k > 0 {
		return g.top(inner, at), nil
	}
	groups := map[string][]series{}
	labels := map[string]map[string]string{}
	for _, f := range inner {
		l := g.labelsOf(f.labels)
		key := keyOf(l)
		groups[key], labels[key] = append(groups[key], f), l
	}
	keys := make([]string, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []series
	for _, k := range keys {
		values := make([]float64, at.n)
		for i := range values {
			values[i] = reduce(g.op, groups[k], i)
		}
		out = append(out, series{labels[k], values})
	}
	return out, nil
}

func (g *grouping) labelsOf(labels map[string]string) map[string]string {
	out := map[string]string{}
	for n, v := range labels {
		if !g.all && slices.Contains(g.labels, n) != g.without {
			out[n] = v
		}
	}
	return out
}

func reduce(op string, group []series, i int) float64 {
	n, sum, low, high := 0, 0.0, math.Inf(1), math.Inf(-1)
	for _, f := range group {
		if v := f.values[i]; v == v {
			n++
			sum += v
			low, high = min(low, v), max(high, v)
		}
	}
	switch {
	case n == 0:
		return math.NaN()
	case op == "avg":
		return sum / float64(n)
	case op == "min":
		return low
	case op == "max":
		return high
	case op == "count":
		return float64(n)
	}
	return sum
}

// top keeps, at each step, the k largest or smallest of each group.
func (g *grouping) top(inner []series, at steps) []series {
	groups := map[string][]int{}
	for i, f := range inner {
		key := keyOf(g.labelsOf(f.labels))
		groups[key] = append(groups[key], i)
	}
	kept := make([]series, len(inner))
	for i, f := range inner {
		kept[i] = series{f.labels, make([]float64, at.n)}
		for j := range kept[i].values {
			kept[i].values[j] = math.NaN()
		}
	}
	for step := range at.n {
		for _, members := range groups {
			var there []int
			for _, i := range members {
				if v := inner[i].values[step]; v == v {
					there = append(there, i)
				}
			}
			sort.SliceStable(there, func(a, b int) bool {
				if g.op == "topk" {
					return inner[there[a]].values[step] > inner[there[b]].values[step]
				}
				return inner[there[a]].values[step] < inner[there[b]].values[step]
			})
			for _, i := range there[:min(len(there), g.k)] {
				kept[i].values[step] = inner[i].values[step]
			}
		}
	}
	return slices.DeleteFunc(kept, func(f series) bool {
		return !slices.ContainsFunc(f.values, func(v float64) bool { return v == v })
	})
}

// combine computes a op b for series with the same labels, or with a number.
func combine(e *binary, a, b []series) []series {
	apply := func(x, y float64) float64 {
		switch e.op {
		case "+":
			return x + y
		case "-":
			return x - y
		case "*":
			return x * y
		}
		return x / y
	}
	scalar := func(e *expr) bool { return e.number != nil && !e.vector }
	byKey := map[string]series{}
	for _, f := range b {
		byKey[keyOf(f.labels)] = f
	}
	var out []series
	switch {
	case scalar(e.b):
		for _, f := range a {
			out = append(out, zip(f.labels, f, b[0], apply))
		}
	case scalar(e.a):
		for _, f := range b {
			out = append(out, zip(f.labels, a[0], f, apply))
		}
	default:
		for _, f := range a {
			if g, ok := byKey[keyOf(f.labels)]; ok {
				out = append(out, zip(f.labels, f, g, apply))
			}
		}
	}
	return out
}

func zip(labels map[string]string, a, b series, apply func(x, y float64) float64) series {
	values := make([]float64, len(a.values))
	for i := range values {
		values[i] = apply(a.values[i], b.values[i])
	}
	return series{labels, values}
}
