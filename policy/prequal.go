package policy

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The parameters of Prequal, as its authors run it.
const (
	probePool     = 16              // probes kept
	probeAge      = time.Second     // after which one is no longer believed
	ProbesPerCall = 3               // probes asked for with each request
	probeRemove   = 1               // probes given up with each request, so that the pool does not degrade
	probeSpare    = 1               // delta: use a probe this much more often than the flow of new ones would allow
	rifWindow     = 64              // answers over which the distribution of requests in flight is estimated
	hotQuantile   = 0.8408964152537 // 2^(-1/4): a candidate above it is hot
)

// Load is what a backend answers to a probe.
type Load struct {
	// InFlight are the requests that it is handling.
	InFlight int64
	// Latency to expect at that load: the median of recent requests that met a similar one. 0: nothing is known.
	Latency time.Duration
}

// prequal balances by probes of requests in flight and latency that are asked for asynchronously and used more than
// once (B. Wydrowski et al., Load is not what you should balance: Introducing Prequal, NSDI 2024, section 4). Among the
// probes at hand, those with more requests in flight than a quantile of what was seen lately are hot. The cold one of
// the least latency is taken, or the least loaded where all are hot. A probe that was used counts one request more. With
// every request one probe is given up, the oldest and the worst in turn. With fewer than two probes the choice is random.
//
// It is the one policy with a lock, held while sixteen entries are looked through.
type prequal struct {
	mu     sync.Mutex
	probes [probePool]probe
	n      int
	oldest bool // which is given up next: the oldest, or the worst

	seen    [rifWindow]float64 // requests in flight in recent answers
	nSeen   int
	hotFrom float64 // a load above it is hot
}

type probe struct {
	member  *Member
	rif     float64 // requests in flight, for its weight and its share in slow start
	latency float64 // nanoseconds, for its weight
	at      time.Duration
	uses    int // that are left
}

func (p *prequal) Pick(r *Request) int {
	if r.Len() == 0 {
		return -1
	}
	if i := p.fromProbes(r); i >= 0 {
		return i
	}
	return r.anyFrom(r.rand())
}

func (p *prequal) fromProbes(r *Request) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	places := p.expire(r)
	best, usable := -1, 0
	for k, i := range places[:p.n] {
		if !r.Eligible(int(i)) {
			continue
		}
		usable++
		if best < 0 || p.less(&p.probes[k], &p.probes[best]) {
			best = k
		}
	}
	if best < 0 || usable < min(2, r.Len()) {
		return -1
	}
	b, i := &p.probes[best], int(places[best])
	b.rif += 1 / r.weight(i)
	if b.uses--; b.uses <= 0 {
		p.drop(best)
	}
	for range probeRemove {
		p.giveUp()
	}
	return i
}

// less reports whether a is the better choice.
func (p *prequal) less(a, b *probe) bool {
	aHot, bHot := a.rif > p.hotFrom, b.rif > p.hotFrom
	switch {
	case aHot != bHot:
		return bHot
	case aHot || a.latency == b.latency:
		return a.rif < b.rif
	}
	return a.latency < b.latency
}

// expire drops probes that are too old, or of members that are no longer in the set, and returns the places of the rest
// among the candidates.
func (p *prequal) expire(r *Request) (places [probePool]int32) {
	for k := p.n - 1; k >= 0; k-- {
		m := p.probes[k].member
		slot := m.slot.Load() // another set may be on its way in
		if int(slot) >= r.Len() || r.members[slot] != m || r.now-p.probes[k].at > probeAge {
			p.drop(k)
			places[k] = places[p.n]
			continue
		}
		places[k] = slot
	}
	return places
}

// giveUp removes the worst and the oldest probe in turn.
func (p *prequal) giveUp() {
	if p.n <= 2 {
		return
	}
	worst := 0
	for k := 1; k < p.n; k++ {
		if p.oldest && p.probes[k].at < p.probes[worst].at || !p.oldest && p.less(&p.probes[worst], &p.probes[k]) {
			worst = k
		}
	}
	p.oldest = !p.oldest
	p.drop(worst)
}

func (p *prequal) drop(k int) {
	p.n--
	p.probes[k] = p.probes[p.n]
	p.probes[p.n] = probe{}
}

// feed takes a probe's answer, in the place of an earlier one of the same member or of the oldest.
func (p *prequal) feed(v *view, m *Member, l Load, share float64, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.n
	for i := range p.n {
		if p.probes[i].member == m {
			k = i
			break
		}
	}
	switch {
	case k < probePool:
		p.n = max(p.n, k+1)
	default:
		k = 0
		for i := range p.n {
			if p.probes[i].at < p.probes[k].at {
				k = i
			}
		}
	}
	rif := float64(l.InFlight) / (float64(m.weight()) * share)
	p.probes[k] = probe{member: m, rif: rif, latency: float64(l.Latency) / float64(m.weight()), at: now, uses: reuse(len(v.members))}
	p.seen[p.nSeen%rifWindow] = rif
	if p.nSeen++; p.nSeen%8 == 0 || p.nSeen < 8 {
		sorted := p.seen
		n := min(p.nSeen, rifWindow)
		slices.Sort(sorted[:n])
		p.hotFrom = sorted[int(hotQuantile*float64(n-1))]
	}
}

// reuse returns how often a probe may be used among n members: (1+delta) / ((1-m/n) r - r'), at least once (section
// 4.2, with m probes kept, r asked for and r' given up per request). A set so small that the pool can hold all of it
// sees its probes replaced before that matters.
func reuse(n int) int {
	rate := (1-float64(probePool)/float64(n))*ProbesPerCall - probeRemove
	if rate <= 0 {
		return math.MaxInt
	}
	return max(1, int(math.Round((1+probeSpare)/rate)))
}

func (p *prequal) Done(g Grant, latency time.Duration, o Outcome) {
	switch o {
	case Success:
		g.recent.add(g.inFlight, latency)
	case Failure:
		g.recent.add(g.inFlight, failureCost(g.recent.expect(g.inFlight), latency))
	}
}

// ProbeTargets chooses the backends to be probed on the occasion of a request that was just placed: up to ProbesPerCall
// of them, drawn without replacement. It returns how many it wrote to into; 0 where the policy needs no probes. Each
// one's answer comes back through Feed, then or later.
func (p *Pool) ProbeTargets(r *Request, into *[ProbesPerCall]*Member) int {
	if _, ok := p.picker.(*prequal); !ok {
		return 0
	}
	members := p.Members()
	n := len(members)
	if n <= ProbesPerCall {
		return copy(into[:], members)
	}
	count := 0
	for count < ProbesPerCall {
		m := members[r.rand()%uint64(n)]
		if !slices.Contains(into[:count], m) {
			into[count] = m
			count++
		}
	}
	return count
}

// Feed takes a backend's answer to a probe.
func (p *Pool) Feed(m *Member, l Load, now time.Duration) {
	q, ok := p.picker.(*prequal)
	if !ok {
		return
	}
	v := p.view.Load()
	share := 1.0
	if p.slowStart > 0 {
		share = warmth(now-m.Since, p.slowStart) / warmth(now-v.oldest, p.slowStart)
	}
	q.feed(v, m, l, share, now)
}

// Load returns what the backend's own callers know of it, which answers a probe where all its requests come from them.
func (b *Backend) Load() Load {
	n := b.InFlight()
	return Load{InFlight: n, Latency: b.recent.expect(n + 1)}
}

// latencies remembers the latest answers of a backend, each with the number of requests that it met. It is safe for
// concurrent use. A word holds 16 bits of that number and 48 bits of nanoseconds; 0: nothing.
type latencies struct {
	next  atomic.Uint32
	words [32]atomic.Uint64
}

func (l *latencies) add(inFlight int64, latency time.Duration) {
	w := uint64(min(max(inFlight, 1), 1<<16-1))<<48 | uint64(min(max(latency, 1), maxCost))
	l.words[(l.next.Add(1)-1)%uint32(len(l.words))].Store(w)
}

// expect returns the median latency of the answers that met about as many requests as given, of all where those are
// few; 0 if there are none.
func (l *latencies) expect(inFlight int64) time.Duration {
	var all, near [32]uint64
	nAll, nNear := 0, 0
	for i := range l.words {
		w := l.words[i].Load()
		if w == 0 {
			continue
		}
		all[nAll] = w & (1<<48 - 1)
		nAll++
		if d := int64(w>>48) - inFlight; max(d, -d) <= 1+inFlight/4 {
			near[nNear] = w & (1<<48 - 1)
			nNear++
		}
	}
	if nNear >= 4 {
		slices.Sort(near[:nNear])
		return time.Duration(near[nNear/2])
	}
	if nAll == 0 {
		return 0
	}
	slices.Sort(all[:nAll])
	return time.Duration(all[nAll/2])
}
