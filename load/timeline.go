package load

import (
	"time"

	"github.com/banyanhq/banyan/stats"
)

// maxPoints bounds a timeline: a longer one is made coarser by merging neighbours.
const maxPoints = 3600

// Timeline is how a run went, in points of equal width, the first of which begins with the measured part.
type Timeline struct {
	Width  time.Duration `json:"width_ns"`
	Points []Point       `json:"points"`
}

// Point is one stretch of a timeline. Each event counts where it happened: a request that was due in one second may be
// sent in the next and completed in a third.
type Point struct {
	// Offered is how many were due: their intended start lies here, sent or not.
	Offered int64 `json:"offered"`
	// Sent is how many were sent.
	Sent int64 `json:"sent"`
	// Completed is how many ended well.
	Completed int64 `json:"completed"`
	// Errors is how many ended with an error.
	Errors int64 `json:"errors"`
	// InFlight is the most that was under way when it was looked at, once a second.
	InFlight int64 `json:"in_flight"`
	// Latency of the requests that ended here, in nanoseconds from the intended start, to 2 digits; nil if there is none.
	Latency *stats.Histogram `json:"latency,omitempty"`
}

func (p *Point) merge(o *Point) {
	p.Offered += o.Offered
	p.Sent += o.Sent
	p.Completed += o.Completed
	p.Errors += o.Errors
	p.InFlight = max(p.InFlight, o.InFlight)
	switch {
	case o.Latency == nil:
	case p.Latency == nil:
		p.Latency = o.Latency
	default:
		_ = p.Latency.Merge(o.Latency) // all have 2 digits, and so has every file that Read accepts
	}
}

// Quantile of the latencies of the point, 0 if there are none.
func (p *Point) Quantile(q float64) time.Duration {
	if p.Latency == nil {
		return 0
	}
	return p.Latency.QuantileDuration(q)
}

// at returns the point of instant t, nil before the first.
func (l *Timeline) at(t time.Duration) *Point {
	if t < 0 {
		return nil
	}
	for t/l.Width >= maxPoints {
		l.halve()
	}
	i := int(t / l.Width)
	for len(l.Points) <= i {
		l.Points = append(l.Points, Point{})
	}
	return &l.Points[i]
}

func (l *Timeline) latency(t, latency time.Duration) {
	if p := l.at(t); p != nil {
		if p.Latency == nil {
			p.Latency = stats.NewHistogram(2)
		}
		p.Latency.RecordDuration(latency)
	}
}

// halve merges neighbours.
func (l *Timeline) halve() {
	l.Points = merged(l.Points, 2)
	l.Width *= 2
}

// merged returns the points with each k neighbours made one. It may reuse the slice.
func merged(points []Point, k int) []Point {
	out := points[:0]
	for i := 0; i < len(points); i += k {
		p := points[i]
		for j := i + 1; j < min(i+k, len(points)); j++ {
			p.merge(&points[j])
		}
		out = append(out, p)
	}
	clear(points[len(out):])
	return out
}
