package cache

import (
	"cmp"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// HotKey is a key that gets more requests than most.
type HotKey struct {
	DB  int    `json:"db"`
	Key string `json:"key"`
	// PerSecond is about how many requests it gets, Share of all.
	PerSecond float64 `json:"per_second"`
	Share     float64 `json:"share"`
	// Copies is how many other nodes of a cluster may answer reads of it.
	Copies int `json:"copies,omitempty"`
}

// JoinHot joins what the nodes of a cache have seen, hottest first. A share is of what all of those get that have a hot key: of others
// nothing is known.
func JoinHot(nodes ...[]HotKey) []HotKey {
	if len(nodes) == 1 {
		return nodes[0]
	}
	type place struct {
		db  int
		key string
	}
	var all []HotKey
	at, total := map[place]int{}, 0.0
	for _, keys := range nodes {
		for i, k := range keys {
			if i == 0 && k.Share > 0 {
				total += k.PerSecond / k.Share
			}
			name := place{k.DB, k.Key}
			if n, seen := at[name]; seen { // a replica, or a copy, answers for it as well
				all[n].PerSecond += k.PerSecond
				all[n].Copies = max(all[n].Copies, k.Copies)
				continue
			}
			at[name] = len(all)
			all = append(all, k)
		}
	}
	for i := range all {
		all[i].Share = all[i].PerSecond / total
	}
	slices.SortStableFunc(all, func(a, b HotKey) int { return cmp.Compare(b.PerSecond, a.PerSecond) })
	return all
}

// hotKeys are up to n keys that get most of a server's requests.
func (s *Server) hotKeys(n int) (keys []HotKey) {
	for _, k := range s.store.Hot(n) {
		keys = append(keys, HotKey{DB: k.DB, Key: string(k.Key), PerSecond: k.PerSecond, Share: k.Share, Copies: s.sharding.holders(k.Key)})
	}
	return keys
}

// Hot are up to n keys that get most of the requests.
func (all Nodes) Hot(n int) []HotKey {
	var seen [][]HotKey
	for _, s := range all {
		s.mu.Lock()
		if !s.closed {
			s.store.SetNow(time.Now().UnixMilli())
			seen = append(seen, s.hotKeys(n))
		}
		s.mu.Unlock()
	}
	keys := JoinHot(seen...)
	return keys[:min(n, len(keys))]
}

// CurvePoint is what share of its lookups a cache would answer with so much memory.
type CurvePoint struct {
	Memory   int64   `json:"memory_bytes"`
	HitRatio float64 `json:"hit_ratio"`
}

// Curve says what share of the lookups would be answered with more memory, or less; empty where that is not known. That of a cluster is
// the mean of those of its primaries, by the lookups that each has: the memory is what they have together.
func (all Nodes) Curve() (curve []CurvePoint) {
	var weights float64
	sizes := policy.CurveSizes
	ratios := make([]float64, len(sizes))
	var limit int64
	for _, s := range all {
		s.mu.Lock()
		if !s.closed && (s.sharding == nil || s.sharding.self.Of == 0) {
			limit += s.store.Limit()
			if points, weight := s.store.Curve(), float64(s.store.Hits+s.store.Misses); len(points) == len(sizes) && weight > 0 {
				weights += weight
				for i, p := range points {
					ratios[i] += weight * p.HitRatio
				}
			}
		}
		s.mu.Unlock()
	}
	if weights == 0 {
		return nil
	}
	for i, size := range sizes {
		curve = append(curve, CurvePoint{Memory: int64(size * float64(limit)), HitRatio: ratios[i] / weights})
	}
	return curve
}
