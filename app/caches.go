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
