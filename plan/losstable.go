package plan

import (
	"math"

	"github.com/banyanhq/banyan/topology"
)

// What a service loses to its limit takes long to compute, and searches ask for it thousands of times, at ever other rates. So it
// is computed on a grid of utilisations when first asked for, and interpolated.

// The grid: each point halves what is left of the limit by an eighth of a power of two.
const (
	lossPerHalf = 8
	lossPoints  = 20 * lossPerHalf
)

// lossKey is all that the loss of a replica follows from, but the rate: CPU time of a visit that does not wake it up, what waking
// up after a long rest adds, the variation of both, and what it uses without any.
type lossKey struct{ full, wake, scv, idle, limit, cores float64 }

// answer is what a service loses to its limit, and how often it spares a visit waking it up.
type answer struct {
	loss
	awake float64
}

// lossTable is the answers for one key.
type lossTable struct {
	key    lossKey
	points [lossPoints]answer
	known  [lossPoints]bool
}

// lossMemory are the tables last used of a service: a search changes one service back and forth.
type lossMemory struct {
	tables [3]*lossTable
	next   int
}

func (m *lossMemory) table(k lossKey) *lossTable {
	for _, t := range m.tables {
		if t != nil && t.key == k {
			return t
		}
	}
	t := &lossTable{key: k}
	m.tables[m.next] = t
	m.next = (m.next + 1) % len(m.tables)
	return t
}

// at is the answer at so many visits a second.
func (t *lossTable) at(rate float64) answer {
	left := 1 - (rate*t.key.full+t.key.idle)/t.key.limit
	if left <= 0 {
		return answer{loss{math.Inf(1), math.Inf(1), 1}, 1}
	}
	position := -math.Log2(min(left, 1)) * lossPerHalf
	if position >= lossPoints-1 {
		return t.key.answer(rate)
	}
	i := int(position)
	f := position - float64(i)
	a, b := t.point(i), t.point(i+1)
	return answer{a.loss.times(1 - f).plus(b.loss.times(f)), a.awake*(1-f) + b.awake*f}
}

func (t *lossTable) point(i int) answer {
	if !t.known[i] {
		used := (1 - math.Exp2(-float64(i)/lossPerHalf)) * t.key.limit
		t.known[i], t.points[i] = true, t.key.answer(max(0, used-t.key.idle)/max(t.key.full, 1e-300))
	}
	return t.points[i]
}

// answer computes what is interpolated.
func (k lossKey) answer(rate float64) answer {
	h := held{rate: rate, cpu: k.full, scv: k.scv, idle: k.idle, limit: k.limit, cores: k.cores}
	wake := k.wake * topology.Rested(rate)
	asleep := h.asleep(wake)
	h.cpu = k.full + wake*asleep
	return answer{h.loss(), 1 - asleep}
}
