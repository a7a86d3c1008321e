package control

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/gateway/httpcache"
)

// CacheStatus counts what became of requests in the cache of one route, since the system started.
type CacheStatus struct {
	Route string `json:"route"`
	// HitRatio is the share of requests that the service was not asked for, 0 to 1.
	HitRatio float64 `json:"hit_ratio"`
	httpcache.Stats
}

// CacheServerStatus says where a cache of the file is, and what it has counted.
type CacheServerStatus struct {
	Cache   string `json:"cache"`
	Address string `json:"address"`
	// HitRatio is the share of lookups that found their key, 0 to 1.
	HitRatio float64 `json:"hit_ratio"`
	// Nodes of one that is a cluster.
	Nodes []cache.NodeStatus `json:"nodes,omitempty"`
	// Hot are the keys that get most of the requests.
	Hot []cache.HotKey `json:"hot,omitempty"`
	// Curve says what share of the lookups it would answer with other amounts of memory; left out where that is not known.
	Curve []cache.CurvePoint `json:"curve,omitempty"`
	cache.Stats
}

// Purged says how many kept answers a purge dropped.
type Purged struct {
	Answers int `json:"answers"`
}

// cacheHandlers add what concerns the caches of routes.
func cacheHandlers(mux *http.ServeMux, sys System) {
	mux.HandleFunc("GET /v1/caches", func(w http.ResponseWriter, r *http.Request) { answer(w, sys.Caches(), nil) })
	mux.HandleFunc("GET /v1/cache-servers", func(w http.ResponseWriter, r *http.Request) { answer(w, sys.CacheServers(), nil) })
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

// CacheServers says where the caches of the file are, and what they have counted.
func (c *Client) CacheServers(ctx context.Context) (s []CacheServerStatus, err error) {
	return s, c.get(ctx, "cache-servers", nil, &s)
}

// Purge drops what the caches of routes keep.
func (c *Client) Purge(ctx context.Context, p httpcache.Purge) (done Purged, err error) {
	data, err := json.Marshal(p)
	if err != nil {
		return done, err
	}
	return done, c.call(ctx, http.MethodPost, "purge", data, &done)
}
