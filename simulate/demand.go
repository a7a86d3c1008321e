package simulate

import (
	"math"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// demands are what one request of each route asks of the CPU, in seconds by service, and how long it takes where nothing
// waits, where each replica uses so large a share of its limit, or of a core; 0: where none ever rests. Both are expectations: of the visits that are made and not tried again, caches hitting as they are expected to.
func (m *Model) demands(used float64) (cpu [][]float64, alone []float64) {
	visits := make([]float64, len(m.nodes))
	for _, r := range m.routes {
		clear(visits)
		visits[r.root] = 1
		use := make([]float64, len(m.services))
		var time float64
		// Callees were compiled before their callers.
		for i := int(r.root); i >= 0; i-- {
			n, v := &m.nodes[i], visits[i]
			if v == 0 {
				continue
			}
			if n.service != none {
				use[n.service] += v * (n.cpu.mean + n.async.mean + n.wake*m.rested(n, used))
				time += v * (n.cpu.mean + n.delay.mean)
			}
			for k := range n.calls {
				call := &n.calls[k]
				visits[call.node] += v * call.mean
				if l := m.edges[call.edge].link; l != none {
					time += v * call.mean * m.links[l].mean
				}
				if o := call.origin; o != nil {
					misses := v * call.mean * (1 - m.expectedHits(m.edges[call.edge].block))
					visits[call.node] += misses // stored once more
					visits[o.node] += misses
				}
			}
		}
		cpu, alone = append(cpu, use), append(alone, time)
	}
	return cpu, alone
}

// rested is how much of what waking up costs a visit costs, where visits come by chance and keep its replica so busy: the rarer they
// are, the longer the rests, and the more each costs. With the visits' rate used/(own + wake r), topology.Rested is a quadratic equation in r.
func (m *Model) rested(n *node, used float64) float64 {
	if used <= 0 || n.wake <= 0 {
		return 0
	}
	if limit := m.services[n.service].limit; limit > 0 {
		used *= limit
	}
	own := n.cpu.mean + n.async.mean
	p := used*topology.Cooling.Seconds() + own - n.wake
	root := math.Sqrt(p*p + 4*n.wake*own)
	if p > 0 { // without the difference of two large numbers
		return 2 * own / (p + root)
	}
	return (root - p) / (2 * n.wake)
}

// maxExpectedKeys bounds the time that it takes to expect a hit ratio.
const maxExpectedKeys = 200_000

// expectedHits is the hit ratio that a cache is expected to have: its own by Che's approximation, or the stated one.
func (m *Model) expectedHits(block int32) float64 {
	b := &m.blocks[block]
	if b.keys == 0 {
		return b.hitRatio
	}
	capacity := uint64(b.capacity) * uint64(b.nodes)
	if capacity >= b.keys {
		return 1
	}
	n := min(b.keys, maxExpectedKeys)
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = 1
		if b.zipf != nil {
			weights[i] = math.Pow(float64(i+1), -b.zipf.Skew())
		}
	}
	_, hits, err := queueing.CacheHits(weights, float64(capacity)*float64(n)/float64(b.keys), queueing.LRU)
	if err != nil {
		return 0
	}
	return hits
}

// perScenario is what one run of a scenario asks of the CPU in all, and how many requests it makes.
func (m *Model) perScenario() (seconds, requests float64) {
	cpu, _ := m.demands(0)
	before := 0.0
	for _, sc := range m.load.scenarios {
		share := sc.share - before
		before = sc.share
		for _, st := range sc.steps {
			requests += share * st.weight
			for _, c := range cpu[st.route] {
				seconds += share * st.weight * c
			}
		}
	}
	return seconds, requests
}
