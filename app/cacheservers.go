package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/topology"
)

// cacheLoops bounds the event loops of one cache: there may be several, and services beside them.
const cacheLoops = 4

// newCacheServers prepares the caches of the file that are embedded.
func newCacheServers(sys *topology.System, stateDir string, log *slog.Logger) (map[string]cache.Nodes, error) {
	servers := map[string]cache.Nodes{}
	for name, v := range sys.Caches {
		if v.Engine != "embedded" {
			continue
		}
		origins, err := CacheOrigins(sys, name)
		if err != nil {
			return nil, err
		}
		loops := min(cacheLoops, runtime.GOMAXPROCS(0))
		if v.Nodes > 1 {
			loops = 1
		}
		s, err := cache.NewNodes(cache.Config{
			Listen: "127.0.0.1:0", Memory: int64(v.NodeMemory()), TTL: v.TTL.Std(), Loops: loops, Log: log.With("cache", name),
			Persist: CachePersist(sys, name, stateDir), Origins: origins,
		}, cache.Shape{Nodes: v.Nodes, Replicas: v.Replicas, HotReads: v.HotReads.Std(), Dir: filepath.Join(stateDir, "data", "caches", name)})
		if err != nil {
			return nil, fmt.Errorf("caches.%s: %w", name, err)
		}
		servers[name] = s
	}
	return servers, nil
}

// CachePersist says what is kept on disk of a cache of the file, and where.
func CachePersist(sys *topology.System, name, stateDir string) cache.Persist {
	v := sys.Caches[name].Persist
	if v == nil {
		return cache.Persist{}
	}
	p := cache.Persist{Dir: filepath.Join(stateDir, "data", "caches", name), Append: v.Append, Snapshot: v.Snapshot.Std(), Rewrite: int64(v.Rewrite)}
	if v.Dir != "" {
		if p.Dir = v.Dir; !filepath.IsAbs(p.Dir) {
			p.Dir = filepath.Join(sys.Dir, v.Dir)
		}
	}
	return p
}

// CacheOrigins are what the keys of a cache of the file come from.
func CacheOrigins(sys *topology.System, name string) (all []cache.Origin, err error) {
	for _, o := range sys.Caches[name].Origins {
		if o.Table != "" {
			return nil, fmt.Errorf("caches.%s.origins: loading from tables.%s is not supported yet: give the url of an HTTP service", name, o.Table)
		}
		header := http.Header{}
		for k, v := range o.Headers {
			header.Set(k, v)
		}
		all = append(all, cache.Origin{
			Keys: o.Keys, URL: o.URL, Header: header, TTL: o.TTL.Std(), Stale: o.Stale.Std(), Missing: o.Missing.Std(), Early: o.Early,
			Timeout: o.Timeout.Std(), Concurrency: o.Concurrency, Waiting: o.Waiting, MaxValue: int64(o.MaxValue), Write: o.Write,
			Delay: o.Delay.Std(), Behind: o.Behind, Breaker: o.Breaker,
		})
	}
	return all, nil
}

// keptText says that a cache is kept on disk, and how surely.
func keptText(p cache.Persist) string {
	switch {
	case p.Dir == "":
		return ""
	case p.Append == "off":
		return ", snapshots are kept"
	}
	return ", kept on disk (fsync: " + p.Append + ")"
}

// warnOfCaches says that a gateway alone does not start the caches of the file: they are for services that are started beside
// them, which those behind it are not.
func warnOfCaches(sys *topology.System, log *slog.Logger) {
	for _, name := range slices.Sorted(maps.Keys(sys.Caches)) {
		if sys.Caches[name].Engine == "embedded" {
			log.Warn("the gateway alone does not start the file's caches: 'banyan cache' runs one, for services that run elsewhere", "cache", name)
		}
	}
}

// cacheURL is where a cache is reached; empty where it is not there.
func (a *App) cacheURL(name string) string {
	if v := a.system.Load().Caches[name]; v != nil && v.Engine == "redis" {
		return v.URL
	}
	if s := a.caches[name]; s != nil {
		return "redis://" + s.Addresses()[0]
	}
	return ""
}

// cacheAddresses are those of all nodes of a cache; nil where it is no cluster.
func (a *App) cacheAddresses(name string) []string {
	if s := a.caches[name]; len(s) > 1 {
		return s.Addresses()
	}
	return nil
}

// clusterText says that a cache runs on several nodes.
func clusterText(v *topology.Cache) string {
	switch {
	case v.Nodes <= 1:
		return ""
	case v.Replicas == 0:
		return fmt.Sprintf(", a cluster of %d nodes", v.Nodes)
	}
	return fmt.Sprintf(", a cluster of %d nodes with %d of them as replicas", v.Nodes, v.Nodes-v.Primaries())
}

// awaitCaches waits until the caches serve, so that services find them do.
func (a *App) awaitCaches(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cachesReady)
	defer cancel()
	for _, name := range a.cacheNames() {
		if err := a.caches[name].Ready(ctx); err != nil {
			return fmt.Errorf("caches.%s: %w", name, err)
		}
	}
	return nil
}

// cachesReady bounds how long the nodes of caches may take to come together; they need about a second.
const cachesReady = time.Minute

// cacheNames are the embedded caches in order.
func (a *App) cacheNames() (names []string) {
	for name := range a.caches {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// CacheServers says where the embedded caches are and what they have counted.
func (a *App) CacheServers() []control.CacheServerStatus {
	all := []control.CacheServerStatus{}
	for _, name := range a.cacheNames() {
		s := a.caches[name]
		st := s.Stats()
		all = append(all, control.CacheServerStatus{Cache: name, Address: s.Addresses()[0], HitRatio: st.HitRatio(), Stats: st, Nodes: s.Status(),
			Hot: s.Hot(hotShown), Curve: s.Curve()})
	}
	return all
}

// hotShown is how many hot keys of each cache a status has.
const hotShown = 3

// cacheCounts are, by cache, the share of lookups that found their key between two readings, and the commands of a share of the time
// between them.
func cacheCounts(before, after []control.CacheServerStatus, share float64) (ratios, commands map[string]float64) {
	was := map[string]cache.Stats{}
	for _, c := range before {
		was[c.Cache] = c.Stats
	}
	ratios, commands = map[string]float64{}, map[string]float64{}
	for _, c := range after {
		hits, misses := c.Hits-was[c.Cache].Hits, c.Misses-was[c.Cache].Misses
		if hits < 0 || misses < 0 || c.Commands < was[c.Cache].Commands { // the counters began anew
			continue
		}
		if hits+misses > 0 {
			ratios[c.Cache] = float64(hits) / float64(hits+misses)
		}
		if n := c.Commands - was[c.Cache].Commands; n > 0 {
			commands[c.Cache] = float64(n) * share
		}
	}
	return ratios, commands
}
