package policy

import "time"

// coldShare is the share that a backend without any age may take (Envoy's slow start: 10 %).
const coldShare = 0.1

// warmth returns the share of its full load that a backend of the given age may take.
func warmth(age, window time.Duration) float64 {
	if age >= window {
		return 1
	}
	return max(coldShare, float64(max(age, 0))/float64(window))
}

// startSlowly makes new candidates take less than others. A new one is a candidate for a share of the requests that
// grows with its age, and policies that look at load see its requests in flight magnified by the inverse. Shares are in relation to
// the oldest, for where all are new they must take everything. Under a policy that maps by hash it is a part of the keys
// that grows, so that none moves to and fro.
func (r *Request) startSlowly(window time.Duration, hashed bool) {
	r.window, r.coin = window, r.Random
	if hashed {
		r.coin = r.Hash
	}
	r.warmest = warmth(r.now-r.view.oldest, window)
}

// share returns how much of its load a candidate may take while slow start goes on.
func (r *Request) share(m *Member) float64 { return warmth(r.now-m.Since, r.window) / r.warmest }

// mayWarm reports whether the request is among those that a candidate of its age may take.
func (r *Request) mayWarm(m *Member) bool {
	s := r.share(m)
	return s >= 1 || fraction(mix(r.coin^mix(m.Key+golden))) < s
}

// weight returns what candidate i may take in relation to others.
func (r *Request) weight(i int) float64 {
	m := r.members[i]
	if r.window == 0 {
		return float64(m.weight())
	}
	return float64(m.weight()) * r.share(m)
}
