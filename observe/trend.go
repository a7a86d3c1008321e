package observe

import (
	"errors"
	"time"

	"github.com/banyanhq/banyan/stats"
)

type trendKey struct {
	kind string // total, route, edge or service
	callKey
}

// trends holds rate and p99 of each route, edge and service for a row of intervals.
type trends struct {
	length int
	m      map[trendKey]*Trend
}

// trendsOf reads the intervals once, in order. Histograms are reused from one to the next.
func trendsOf(items []stored) (*trends, error) {
	t := &trends{length: len(items), m: map[trendKey]*Trend{}}
	hists := map[trendKey]*stats.Histogram{}
	counts := map[trendKey]int64{}
	for i, s := range items {
		iv, err := s.decode()
		if err != nil {
			return nil, err
		}
		for _, h := range hists {
			h.Reset()
		}
		clear(counts)
		add := func(k trendKey, c *CallSums) error {
			h := hists[k]
			if h == nil {
				h = stats.NewHistogram(Digits)
				hists[k] = h
			}
			counts[k] += c.Requests
			return c.packed.addTo(h)
		}
		for j := range iv.Routes {
			c := &iv.Routes[j]
			if err := errors.Join(add(trendKey{kind: "total"}, c), add(trendKey{"route", callKey{route: c.Route}}, c)); err != nil {
				return nil, err
			}
		}
		for j := range iv.Edges {
			c := &iv.Edges[j]
			if err := errors.Join(add(trendKey{"edge", callKey{from: c.From, to: c.To}}, c),
				add(trendKey{"service", callKey{to: c.To}}, c)); err != nil {
				return nil, err
			}
		}
		for k, n := range counts {
			tr := t.entry(k)
			tr.Rate[i] = perSecond(n, iv.Duration())
			tr.P99[i] = hists[k].QuantileDuration(0.99)
		}
	}
	return t, nil
}

func (t *trends) entry(k trendKey) *Trend {
	tr := t.m[k]
	if tr == nil {
		tr = &Trend{Rate: make([]float64, t.length), P99: make([]time.Duration, t.length)}
		t.m[k] = tr
	}
	return tr
}

func (t *trends) of(kind string, k callKey) Trend { return *t.entry(trendKey{kind, k}) }
