package traces

import (
	"cmp"
	"slices"
	"time"
)

// Step is a stretch of time on a trace's critical path: the span that the end of the trace waited for then.
type Step struct {
	Span     *Span
	From, To int64 // nanoseconds since 1970
}

// maxPathDepth of spans in each other that are followed.
const maxPathDepth = 500

// CriticalPath returns what a trace's time went by: going back from the end of its root, at each moment the innermost span that had to end for
// those around it to go on. The steps are in order of time, do not overlap and cover the root from its start to its end. Children are
// taken for as long as they are within their parent: what runs on after it nobody waits for.
func CriticalPath(spans []*Span) []Step {
	if len(spans) == 0 {
		return nil
	}
	children := map[string][]*Span{}
	seen := map[string]bool{}
	for _, s := range spans {
		if !seen[s.SpanID] {
			seen[s.SpanID] = true
			children[s.Parent] = append(children[s.Parent], s)
		}
	}
	for _, list := range children {
		slices.SortFunc(list, func(a, b *Span) int { return cmp.Or(cmp.Compare(b.End(), a.End()), cmp.Compare(b.Start, a.Start)) })
	}
	p := &pathFinder{children: children, open: map[string]bool{}}
	root := rootOf(spans)
	p.walk(root, root.Start, root.End(), 0)
	slices.Reverse(p.steps)
	return p.steps
}

type pathFinder struct {
	children map[string][]*Span
	open     map[string]bool // spans that are being walked, against circles
	steps    []Step          // from the end back
}

// walk goes back through a span from one instant to another.
func (p *pathFinder) walk(s *Span, from, to int64, depth int) {
	if p.open[s.SpanID] || depth > maxPathDepth {
		p.step(s, from, to)
		return
	}
	p.open[s.SpanID] = true
	defer delete(p.open, s.SpanID)
	at := to
	for _, c := range p.children[s.SpanID] {
		begin, end := max(c.Start, from), c.End()
		if end > at { // it ran beside what was taken, or outlived it
			if end > to && begin < at && to == at {
				end = at // cut at the parent's end
			} else {
				continue
			}
		}
		if begin >= end {
			continue
		}
		p.step(s, end, at)
		p.walk(c, begin, end, depth+1)
		at = begin
	}
	p.step(s, from, at)
}

func (p *pathFinder) step(s *Span, from, to int64) {
	if from >= to {
		return
	}
	p.steps = append(p.steps, Step{s, from, to})
}

// Share of the critical paths of a route's traces that one operation of one service has to itself.
type Share struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	// Mean is its exclusive time on the critical path of a trace, over all traces; P99 over those that are as slow as the slowest
	// hundredth.
	Mean time.Duration `json:"mean"`
	P99  time.Duration `json:"p99"`
}

// PathSummary is where the time of a route's traces goes.
type PathSummary struct {
	Route  string        `json:"route"`
	Traces int           `json:"traces"` // that were looked at
	Of     float64       `json:"of"`     // about how many there were
	Mean   time.Duration `json:"mean"`   // of a whole trace
	P99    time.Duration `json:"p99"`    // which a hundredth of the traces exceed
	// Shares add up to Mean, and in the slowest to their mean. The largest first.
	Shares []Share `json:"shares"`
}

// traced is one trace of a summary.
type traced struct {
	spans  []*Span
	root   *Span
	weight float64
}

// summarize computes the shares over traces, each of which stands for weight of them.
func summarize(route string, all []traced) PathSummary {
	sum := PathSummary{Route: route, Traces: len(all)}
	if len(all) == 0 {
		return sum
	}
	slices.SortFunc(all, func(a, b traced) int { return cmp.Compare(a.root.Duration, b.root.Duration) })
	total := 0.0
	for _, t := range all {
		total += t.weight
	}
	sum.Of = total
	// The slowest hundredth, and one at least.
	first, above := len(all)-1, all[len(all)-1].weight
	for first > 0 && above+all[first-1].weight <= total/100 {
		first--
		above += all[first].weight
	}
	sum.P99 = all[first].root.Took()
	type key struct{ service, name string }
	mean, slow := map[key]float64{}, map[key]float64{}
	whole := 0.0
	for i, t := range all {
		whole += t.weight * float64(t.root.Duration)
		for _, s := range CriticalPath(t.spans) {
			k := key{s.Span.Service, s.Span.Name}
			mean[k] += t.weight * float64(s.To-s.From)
			if i >= first {
				slow[k] += t.weight * float64(s.To-s.From)
			}
		}
	}
	sum.Mean = time.Duration(whole / total)
	for k, v := range mean {
		sum.Shares = append(sum.Shares, Share{k.service, k.name, time.Duration(v / total), time.Duration(slow[k] / above)})
	}
	slices.SortFunc(sum.Shares, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Mean, a.Mean), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
	})
	return sum
}
