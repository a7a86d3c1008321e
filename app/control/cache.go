package control

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/banyanhq/banyan/gateway/httpcache"
)

// CacheStatus counts what became of requests in the cache of one route, since the system started.
type CacheStatus struct {
	Route string `json:"route"`
	// HitRatio is the share of requests that the service was not asked for, 0 to 1.
	HitRatio float64 `json:"hit_ratio"`
	httpcache.Stats
}

// Purged says how many kept answers a purge dropped.
type Purged struct {
	Answers int `json:"answers"`
}

// cacheHandlers add what concerns the caches of routes.
func cacheHandlers(mux *http.ServeMux, sys System) {
	mux.HandleFunc("GET /v1/caches", func(w http.ResponseWriter, r *http.Request) { answer(w, sys.Caches(), nil) })
	mux.HandleFunc("POST /v1/purge", func(w http.ResponseWriter, r *http.Request) {
		var p httpcache.Purge
		if !decode(w, r, &p) {
			return
		}
		n, err := sys.Purge(p)
		answer(w, Purged{n}, err)
	})
}

// Caches counts what became of requests in the caches of routes.
func (c *Client) Caches(ctx context.Context) (s []CacheStatus, err error) {
	return s, c.get(ctx, "caches", nil, &s)
}

// Purge drops what the caches of routes keep.
func (c *Client) Purge(ctx context.Context, p httpcache.Purge) (done Purged, err error) {
	data, err := json.Marshal(p)
	if err != nil {
		return done, err
	}
	return done, c.call(ctx, http.MethodPost, "purge", data, &done)
}
