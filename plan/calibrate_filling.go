package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// A service is taken to be asked more or less within a run where the calls to it, of each visit to the one that makes them, changed by
// this share of their mean, by more standard errors of the difference than chance makes it, and if what the calls take less or
// more is worth a word: as much of the time of a visit.
const (
	muchShifted  = 0.25
	sureShifted  = 4
	worthShifted = 0.05
)

// shift is how the calls on an edge, of each visit to their caller, changed from the first third of a run to the last.
type shift struct {
	from, to    string
	first, last float64
}

func (s shift) change() float64 { return math.Abs(s.last - s.first) }

// shifts are the edges whose calls changed much within the run while the load stayed as it was, the greatest change first. Calls from outside are
// counted for each request, so that a cache of a route's answers, which stands before its service, is seen as well.
func (m *Measurement) shifts() []shift {
	begin, end := m.thirds()
	if begin == nil {
		return nil
	}
	var all []shift
	for _, e := range m.Edges {
		s := shift{from: e.From, to: e.To}
		var before, after float64 // variances
		s.first, before = m.callsOf(e, begin)
		s.last, after = m.callsOf(e, end)
		if change := s.change(); change > muchShifted*(s.first+s.last)/2 && change > sureShifted*math.Sqrt(before+after) && change*e.Mean.Seconds() > worthShifted*m.visitTime(e.From) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b shift) int {
		return cmp.Or(cmp.Compare(b.change(), a.change()), cmp.Compare(EdgeName(a.from, a.to), EdgeName(b.from, b.to)))
	})
	return all
}

// callsOf is how many calls on an edge a visit to the caller makes in these seconds, and the variance of that, at least that of a
// Poisson count.
func (m *Measurement) callsOf(e EdgeMeasurement, seconds []Second) (calls, variance float64) {
	var made, visits float64
	for _, s := range seconds {
		made, visits = made+s.Calls[EdgeName(e.From, e.To)], visits+m.visitsIn(s, e.From)
	}
	if visits == 0 {
		return 0, 0
	}
	calls = made / visits
	return calls, max(m.callsVariance(e, calls, seconds), max(made, 1)/(visits*visits))
}

// callsVariance is that of so many calls on an edge for each visit to the caller, by how the seconds differ: of a ratio of sums (Cochran,
// 'Sampling Techniques', 1977, chapter 6). 0 where there was no visit, or one second.
func (m *Measurement) callsVariance(e EdgeMeasurement, calls float64, seconds []Second) float64 {
	var square, all float64
	for _, s := range seconds {
		visits := m.visitsIn(s, e.From)
		d := s.Calls[EdgeName(e.From, e.To)] - calls*visits
		square += d * d
		all += visits
	}
	n := float64(len(seconds))
	if n < 2 || all == 0 {
		return 0
	}
	return square * n / (n - 1) / (all * all)
}

// visitTime is how long a visit to a service takes on average, for the outside how long a request does, in seconds.
func (m *Measurement) visitTime(service string) float64 {
	var time, n float64
	if service == "" {
		for _, r := range m.Routes {
			time, n = time+float64(r.Requests)*r.Mean.Seconds(), n+float64(r.Requests)
		}
	}
	for _, e := range m.Edges {
		if e.To == service {
			time, n = time+float64(e.Count)*e.Mean.Seconds(), n+float64(e.Count)
		}
	}
	return time / max(n, 1)
}

// visitsIn is how many visits to a service ended in a second, for the outside how many requests.
func (m *Measurement) visitsIn(s Second, service string) (n float64) {
	if service == "" {
		for _, r := range s.Requests {
			n += r
		}
		return n
	}
	for _, e := range m.Edges {
		if e.To == service {
			n += s.Calls[EdgeName(e.From, e.To)]
		}
	}
	return n
}

// filling says of which service a request asked less and less within the run, or more and more; empty where there was none.
func (m *Measurement) filling() string {
	all := m.shifts()
	if len(all) == 0 {
		return ""
	}
	s := all[0]
	who := fmt.Sprintf("a visit to %s made %.2g calls to %s", s.from, s.first, s.to)
	if s.from == "" {
		who = fmt.Sprintf("%.2g of a request came to %s", s.first, s.to)
	}
	if s.last < s.first {
		return fmt.Sprintf("%s in the first third of the run and %.2g in the last: a cache was still filling, and what is found is more than requests cost once it is full", who, s.last)
	}
	return fmt.Sprintf("%s in the first third of the run and %.2g in the last: what a request asks for was changing, as where a cache loses what it held", who, s.last)
}
