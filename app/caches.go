package app

import (
	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/gateway/httpcache"
)

// Caches counts what became of requests in the caches of the routes that have one, in the file's order, since the system
// started.
func (a *App) Caches() []control.CacheStatus {
	all := []control.CacheStatus{}
	for _, r := range a.gateway.Stats().Routes {
		if r.Cache != nil {
			all = append(all, control.CacheStatus{Route: r.Route, HitRatio: r.Cache.HitRatio(), Stats: *r.Cache})
		}
	}
	return all
}

// Purge drops what the caches of routes keep, and returns how many answers that were.
func (a *App) Purge(p httpcache.Purge) (int, error) { return a.gateway.Purge(p) }

// hitRatios is the share of requests, by route, that services were not asked for between two readings.
func hitRatios(before, after []control.CacheStatus) map[string]float64 {
	was := map[string]httpcache.Stats{}
	for _, c := range before {
		was[c.Route] = c.Stats
	}
	var ratios map[string]float64
	for _, c := range after {
		b := was[c.Route]
		saved := c.Hits + c.Stale + c.Coalesced - b.Hits - b.Stale - b.Coalesced
		all := saved + c.Misses + c.Passed - b.Misses - b.Passed
		if saved < 0 || all <= 0 { // a counter began anew, or there was nothing to count
			continue
		}
		if ratios == nil {
			ratios = map[string]float64{}
		}
		ratios[c.Route] = float64(saved) / float64(all)
	}
	return ratios
}
