package keyspace

import (
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
)

const (
	// hotEvery request on average is looked at for hot keys, of which hotPlaces are counted at once.
	hotEvery  = 64
	hotPlaces = 256
	// hotHalf is after how many milliseconds what was counted counts half.
	hotHalf = 10_000
	// hotKeyBytes bounds the keys that are counted; longer ones are left out.
	hotKeyBytes = 1024
	// leastHot is how often a key must have been seen among those, so that it is not there by chance.
	leastHot = 4
	// leastForCurve is how much memory a store must be allowed for what the curve takes not to matter.
	leastForCurve = 16 << 20
)

// traffic is what is remembered of the requests: which keys are hot, and what a store of another size would answer.
type traffic struct {
	curve  *policy.MissCurve // nil: nothing is evicted
	hot    *stats.TopK
	dice   uint64
	buffer []byte
	since  int64   // when the counting began, or was last halved
	before float64 // milliseconds before that count, halved as the counts were
}

// HotKey is a key that is asked for or stored more often than most.
type HotKey struct {
	DB  int
	Key []byte
	// PerSecond is about how often, Share of all requests.
	PerSecond, Share float64
}

func (s *Store) newTraffic() {
	s.traffic = traffic{hot: stats.NewTopK(hotPlaces), dice: s.Random(1<<63) | 1, since: s.now}
	if s.policy != nil && s.eviction == EvictAll && s.limit >= leastForCurve {
		s.traffic.curve = policy.NewMissCurve()
	}
}

// asked counts that a key was asked for, with the record that it has; nil: it is not there.
func (db *DB) asked(key []byte, hash uint64, r *record) {
	t := &db.s.traffic
	if t.curve != nil {
		until := int64(0)
		if r != nil && r.flags()&hasExpiry != 0 {
			until = *r.expiry()
		}
		t.curve.Asked(hash+uint64(db.index), db.s.now, db.s.policy.Len(), r != nil, until)
	}
	db.Sample(key)
}

// stored counts that a key was stored until an instant; 0: for ever.
func (db *DB) stored(hash uint64, until int64) {
	if t := &db.s.traffic; t.curve != nil {
		t.curve.Stored(hash+uint64(db.index), db.s.now, until, db.s.policy.Len())
	}
}

// dropped counts that a key was deleted.
func (db *DB) dropped(hash uint64) {
	if t := &db.s.traffic; t.curve != nil {
		t.curve.Dropped(hash + uint64(db.index))
	}
}

// Sample looks at some requests, for hot keys.
func (db *DB) Sample(key []byte) {
	t := &db.s.traffic
	t.dice ^= t.dice << 13
	t.dice ^= t.dice >> 7
	t.dice ^= t.dice << 17
	if t.dice%hotEvery != 0 || len(key) > hotKeyBytes {
		return
	}
	t.age(db.s.now)
	t.buffer = append(append(t.buffer[:0], db.index), key...)
	t.hot.Add(t.buffer)
}

// age forgets half of what was counted for each hotHalf that has passed.
func (t *traffic) age(now int64) {
	for range 64 { // after so many nothing is left
		if now-t.since < hotHalf {
			return
		}
		t.hot.Halve()
		t.before = (t.before + hotHalf) / 2
		t.since += hotHalf
	}
	t.since, t.before = now, 0
}

// Hot returns up to n keys, hottest first: those that got more than a few hundred of the latest half minute's requests.
func (s *Store) Hot(n int) []HotKey {
	t := &s.traffic
	t.age(s.now)
	ms := t.before + float64(s.now-t.since)
	if t.hot.Total() == 0 || ms <= 0 {
		return nil
	}
	var keys []HotKey
	for _, c := range t.hot.Top(n) {
		if own := c.Count - c.Over; own >= leastHot {
			keys = append(keys, HotKey{DB: int(c.Key[0]), Key: []byte(c.Key[1:]), PerSecond: own * hotEvery / ms * 1000, Share: own / t.hot.Total()})
		}
	}
	return keys
}

// Curve says what share of the requests the store would answer with other amounts of memory, as multiples of its limit; nil
// where that is not known: the limit is small, nothing is evicted, or too little was asked for.
func (s *Store) Curve() []policy.CurvePoint {
	if s.traffic.curve == nil {
		return nil
	}
	return s.traffic.curve.Points()
}
