package app

import (
	"testing"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/gateway/httpcache"
)

// The hit ratio of a run is that of the difference between two readings; one whose counter began anew has none.
func TestHitRatiosBetweenReadings(t *testing.T) {
	read := func(hits, misses, passed int64) control.CacheStatus {
		return control.CacheStatus{Route: "/", Stats: httpcache.Stats{Hits: hits, Misses: misses, Passed: passed}}
	}
	for _, c := range []struct {
		before, after []control.CacheStatus
		want          map[string]float64
	}{
		{nil, []control.CacheStatus{read(3, 1, 0)}, map[string]float64{"/": 0.75}},
		{[]control.CacheStatus{read(100, 5, 0)}, []control.CacheStatus{read(102, 6, 1)}, map[string]float64{"/": 0.5}},
		{[]control.CacheStatus{read(100, 5, 0)}, []control.CacheStatus{read(2, 6, 1)}, nil},
		{[]control.CacheStatus{read(1, 1, 0)}, []control.CacheStatus{read(1, 1, 0)}, nil},
	} {
		got := hitRatios(c.before, c.after)
		if len(got) != len(c.want) || got["/"] != c.want["/"] {
			t.Errorf("%v to %v: %v, want %v", c.before, c.after, got, c.want)
		}
	}
}
