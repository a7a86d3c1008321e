package httpcache

import "sync/atomic"

// counts of one zone.
type counts struct {
	hits, stale, misses, coalesced, revalidated, background, unstored, passed, evictions atomic.Int64
	served, objects, stored                                                              atomic.Int64
}

// Stats counts the requests of a zone since the cache was made. Each request is one of Hits, Stale, Misses, Coalesced
// and Passed, but for one that was served stale because the origin failed, which is a miss too.
type Stats struct {
	// Hits were answered from the store with what is fresh; Stale, with what is not, as the answer or the client allows.
	Hits  int64 `json:"hits"`
	Stale int64 `json:"stale"`
	// Misses went to the origin; Coalesced waited for another's and got its answer.
	Misses    int64 `json:"misses"`
	Coalesced int64 `json:"coalesced"`
	// Passed are of methods, or ask for things, that no cache can serve.
	Passed int64 `json:"passed"`
	// Revalidated of the misses and the refreshes found that what is stored is still right; Unstored of the misses
	// brought an answer that is not for storing.
	Revalidated int64 `json:"revalidated"`
	Unstored    int64 `json:"unstored"`
	// Background refreshes, that no client waited for.
	Background int64 `json:"background"`
	// Evictions of answers to make room.
	Evictions int64 `json:"evictions"`
	// Objects that are in memory now, and Bytes that they take, bookkeeping included.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Served is the sum of the bodies' bytes that came from the store.
	Served int64 `json:"served"`
}

// Stats returns a snapshot. It is cheap.
func (z *Zone) Stats() Stats {
	c := z.counts
	return Stats{
		Hits: c.hits.Load(), Stale: c.stale.Load(), Misses: c.misses.Load(), Coalesced: c.coalesced.Load(), Passed: c.passed.Load(),
		Revalidated: c.revalidated.Load(), Unstored: c.unstored.Load(), Background: c.background.Load(), Evictions: c.evictions.Load(),
		Objects: c.objects.Load(), Bytes: c.stored.Load(), Served: c.served.Load(),
	}
}

// HitRatio is the share of requests that the origin was not asked for, of those that a cache can serve; 0 if there were
// none.
func (s Stats) HitRatio() float64 {
	saved := s.Hits + s.Stale + s.Coalesced
	if saved+s.Misses == 0 {
		return 0
	}
	return float64(saved) / float64(saved+s.Misses)
}
