package rules

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	// outage is how long ago an alert may have been active for its pending time to be taken up again.
	outage = time.Hour
	// grace is how long after a restart an alert is pending at least, unless it was firing before.
	grace = 10 * time.Minute
)

// restore has alerts that are active now, at the first evaluation after a start, take up the time for which they were
// pending before, as their ALERTS_FOR_STATE says. What cannot be read begins anew.
func restore(ctx context.Context, store Store, r *rule, now map[uint64]*Alert, at time.Time) {
	if len(now) == 0 || r.hold == 0 {
		return
	}
	q, err := store.Querier(at.Add(-outage).UnixMilli(), at.UnixMilli())
	if err != nil {
		return
	}
	defer q.Close()
	set := q.Select(ctx, false, nil,
		labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "ALERTS_FOR_STATE"),
		labels.MustNewMatcher(labels.MatchEqual, labels.AlertName, r.name))
	b := labels.NewBuilder(labels.EmptyLabels())
	for set.Next() {
		b.Reset(set.At().Labels())
		b.Del(labels.MetricName)
		a := now[b.Labels().Hash()]
		if a == nil {
			continue
		}
		var t int64
		var v float64
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			t, v = it.At()
		}
		if it.Err() == nil && t > 0 && !value.IsStaleNaN(v) {
			a.Active = resumed(time.Unix(int64(v), 0), time.UnixMilli(t), at, r.hold)
		}
	}
}

// resumed says since when an alert counts as active that was so since before, was last seen at seen, and is again at now.
func resumed(before, seen, now time.Time, hold time.Duration) time.Time {
	left := hold - seen.Sub(before)
	switch {
	case left <= 0: // it was firing
		return before
	case hold < grace:
		return now
	case left < grace:
		return now.Add(grace - hold)
	}
	return before.Add(now.Sub(seen)) // the outage does not count
}
