package load

import (
	"fmt"
	"slices"
	"time"
)

// WorkerReport is what one generator of a distributed run did.
type WorkerReport struct {
	Address string `json:"address"`
	// Due is how many scenarios of an open workload were its share of the measured part, Users how many users of a closed
	// one.
	Due   int64 `json:"due,omitempty"`
	Users int64 `json:"users,omitempty"`
	// Lost says why the worker was given up, empty where it was not. Nothing of a lost worker is in the figures of the
	// run, for nobody knows what it did: its share of the load is missing from them. LostAt is how far into the run it was
	// heard from last, LastSent how many requests it had then sent.
	Lost     string        `json:"lost,omitempty"`
	LostAt   time.Duration `json:"lost_at_ns,omitempty"`
	LastSent int64         `json:"last_sent,omitempty"`
	// Offset of its clock against the coordinator's, right to plus or minus OffsetError: half of the shortest round trip
	// (RFC 5905, 8).
	Offset      time.Duration `json:"offset_ns"`
	OffsetError time.Duration `json:"offset_error_ns"`
	// Total of its steps, and what it took; nil where it was lost.
	Total     *Step      `json:"total,omitempty"`
	Generator *Generator `json:"generator,omitempty"`
}

// Lost reports whether a worker was lost, so that a part of the load is missing from the figures.
func (r *Result) Lost() bool {
	return slices.ContainsFunc(r.Workers, func(w WorkerReport) bool { return w.Lost != "" })
}

// maxDuration is longer than any run: points of a timeline are shorter.
const maxDuration = 10 * 365 * 24 * time.Hour

// merge adds the counts of a part. Histograms are merged exactly.
func (r *Result) merge(o *Result) error {
	if len(o.Steps) != len(r.Steps) || (o.Trace == nil) != (r.Trace == nil) {
		return fmt.Errorf("it reports on another run: %d steps, want %d", len(o.Steps), len(r.Steps))
	}
	lines := []*Timeline{&o.Timeline}
	if o.Trace != nil {
		lines = append(lines, &o.Trace.Timeline)
	}
	for _, l := range lines {
		if l.Width > maxDuration {
			return fmt.Errorf("a timeline of points of %s", l.Width)
		}
	}
	for i, s := range o.Steps {
		if s.Name != r.Steps[i].Name {
			return fmt.Errorf("it reports on a step %.80q, want %q", s.Name, r.Steps[i].Name)
		}
		if err := s.samePrecision(r.Steps[i]); err != nil {
			return err
		}
	}
	for i, s := range o.Steps {
		r.Steps[i].merge(s)
	}
	r.Timeline.merge(&o.Timeline)
	if r.Trace != nil {
		r.Trace.Timeline.merge(&o.Trace.Timeline)
	}
	r.Scenarios.Started += o.Scenarios.Started
	r.Scenarios.Completed += o.Scenarios.Completed
	r.Scenarios.Failed += o.Scenarios.Failed
	r.Scenarios.NotStarted += o.Scenarios.NotStarted
	r.Scenarios.Unfed += o.Scenarios.Unfed
	r.Generator.CPU += o.Generator.CPU
	r.Generator.Cores += o.Generator.Cores
	r.Generator.Connections += o.Generator.Connections
	r.Generator.Reconnects += o.Generator.Reconnects
	r.Generator.Queued += o.Generator.Queued
	return nil
}

// samePrecision makes sure that the histograms of both can be merged.
func (s *Step) samePrecision(o *Step) error {
	probe := newStep("")
	for _, h := range []*Step{s, o} {
		for _, err := range []error{probe.Latency.Merge(h.Latency), probe.Service.Merge(h.Service), probe.Lateness.Merge(h.Lateness)} {
			if err != nil {
				return fmt.Errorf("step %.80q: %w", s.Name, err)
			}
		}
	}
	return nil
}

// merge adds the points of o, both made as coarse as the coarser. What was in flight at two generators is added up,
// though each saw its most at an instant of its own.
func (l *Timeline) merge(o *Timeline) {
	if l.Width == 0 {
		l.Width = o.Width
	}
	other := Timeline{Width: o.Width, Points: slices.Clone(o.Points)}
	for l.Width < other.Width {
		l.halve()
	}
	for other.Width < l.Width {
		other.halve()
	}
	for i := range other.Points {
		p := &other.Points[i]
		if i == len(l.Points) {
			l.Points = append(l.Points, *p)
			continue
		}
		inFlight := l.Points[i].InFlight + p.InFlight
		l.Points[i].merge(p)
		l.Points[i].InFlight = inFlight
	}
}
