package rules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// FiringSpan is a stretch of time for which an alert would have fired.
type FiringSpan struct {
	Labels labels.Labels `json:"labels"`
	// Active is since when its condition held, From when it would have fired, To when it would have ended; zero: it goes on.
	Active time.Time `json:"activeAt"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to,omitzero"`
	// Peak is the largest value of the expression meanwhile.
	Peak float64 `json:"peak"`
}

// Replay is what became of an alerting rule on what is stored.
type Replay struct {
	Rule string `json:"rule"`
	// Labels that the rule adds: they tell rules of one name apart.
	Labels labels.Labels `json:"labels"`
	From   time.Time     `json:"from"`
	To     time.Time     `json:"to"`
	Steps  int           `json:"steps"`
	// Pending counts how often the condition held without lasting for long enough.
	Pending int          `json:"pending"`
	Fired   []FiringSpan `json:"fired"`
}

// Title of the rule, with its labels.
func (r Replay) Title() string { return r.Rule + r.Labels.String() }

// maxReplaySteps bounds a replay, and replayChunk the part of it that is asked for at once, so that neither memory nor the
// limit of samples is exceeded by its length.
const (
	maxReplaySteps = 2_000_000
	replayChunk    = 2_000
)

// ErrNoRule says that there is no alerting rule of a name.
var ErrNoRule = errors.New("there is no such alert")

// Replay says how often an alert would have fired between two instants, had its rule been evaluated at each step of them.
// With a step of 0 it is the interval of its group.
func (m *Manager) Replay(ctx context.Context, name string, from, to time.Time, step time.Duration) ([]Replay, error) {
	m.mu.Lock()
	type job struct {
		r    *rule
		step time.Duration
	}
	var jobs []job
	for _, g := range m.groups {
		for _, r := range g.rules {
			if r.alert && (r.name == name || name == "") {
				j := job{r, step}
				if j.step == 0 {
					j.step = g.interval
				}
				jobs = append(jobs, j)
			}
		}
	}
	m.mu.Unlock()
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%w: %q", ErrNoRule, name)
	}
	var out []Replay
	for _, j := range jobs {
		r, err := m.replay(ctx, j.r, from, to, j.step)
		if err != nil {
			return nil, fmt.Errorf("replaying %s: %w", j.r.name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// replay runs a copy of a rule's alerts over the time.
func (m *Manager) replay(ctx context.Context, r *rule, from, to time.Time, step time.Duration) (Replay, error) {
	out := Replay{Rule: r.name, Labels: r.labels, From: from, To: to, Fired: []FiringSpan{}}
	if step < time.Millisecond || !from.Before(to) || to.Sub(from)/step > maxReplaySteps {
		return out, fmt.Errorf("from %v to %v in steps of %v: want a time that ends after it begins, in at most %d steps",
			from.Format(time.RFC3339), to.Format(time.RFC3339), step, maxReplaySteps)
	}
	// The copy keeps the templates of labels, which tell alerts apart, and leaves out those of annotations, which cost most.
	twin := &rule{alert: true, name: r.name, query: r.query, hold: r.hold, keep: r.keep, labels: r.labels, active: map[uint64]*Alert{}}
	open := map[uint64]*FiringSpan{}
	for at := from; !at.After(to); {
		end := at.Add((replayChunk - 1) * step)
		if end.After(to) {
			end = to
		}
		matrix, err := m.ranged(ctx, r.query, at, end, step)
		if err != nil {
			return out, err
		}
		for cursor := newCursor(matrix); !at.After(end); at = at.Add(step) {
			now, err := twin.found(ctx, &m.x, cursor.at(at.UnixMilli()), at)
			if err != nil {
				return out, err
			}
			out.Steps++
			out.Pending += twin.stepped(now, at, open, &out.Fired)
		}
	}
	for _, s := range open {
		out.Fired = append(out.Fired, *s)
	}
	slices.SortFunc(out.Fired, func(a, b FiringSpan) int { return a.From.Compare(b.From) })
	return out, nil
}

// stepped moves the alerts on and notes which began or ended to fire. It returns how many ended that never fired.
func (r *rule) stepped(now map[uint64]*Alert, at time.Time, open map[uint64]*FiringSpan, done *[]FiringSpan) (pending int) {
	for h, a := range r.active {
		if a.State == Pending && now[h] == nil {
			pending++
		}
	}
	r.step(now, at)
	for h, a := range r.active {
		s := open[h]
		switch {
		case a.State == Firing && s == nil:
			open[h] = &FiringSpan{Labels: a.Labels, Active: a.Active, From: at, Peak: a.Value}
		case a.State == Firing:
			s.Peak = max(s.Peak, a.Value)
		case s != nil:
			s.To = at
			*done = append(*done, *s)
			delete(open, h)
		}
	}
	return pending
}

// ranged evaluates an expression over time, and copies what it gives: the engine takes its points back.
func (m *Manager) ranged(ctx context.Context, query string, from, to time.Time, step time.Duration) (promql.Matrix, error) {
	q, err := m.cfg.Engine.NewRangeQuery(ctx, m.cfg.Store, nil, query, from, to, step)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	matrix, err := res.Matrix()
	if err != nil {
		return nil, err
	}
	out := make(promql.Matrix, len(matrix))
	for i, s := range matrix {
		out[i] = promql.Series{Metric: s.Metric.Copy(), Floats: slices.Clone(s.Floats)}
	}
	return out, nil
}

// cursor goes through a matrix instant by instant.
type cursor struct {
	matrix promql.Matrix
	next   []int
}

func newCursor(m promql.Matrix) *cursor { return &cursor{m, make([]int, len(m))} }

func (c *cursor) at(t int64) (out promql.Vector) {
	for i, s := range c.matrix {
		for c.next[i] < len(s.Floats) && s.Floats[c.next[i]].T < t {
			c.next[i]++
		}
		if c.next[i] < len(s.Floats) && s.Floats[c.next[i]].T == t {
			out = append(out, promql.Sample{Metric: s.Metric, T: t, F: s.Floats[c.next[i]].F})
		}
	}
	return out
}
