package cluster

import (
	"cmp"
	"slices"

	"github.com/banyanhq/banyan/cache/slot"
)

// Shift is slots that should go from one primary to another.
type Shift struct {
	From, To uint64
	Slots    []Range
}

// Plan says which slots must go where for each primary to own as many as its weight asks for: those without one have 1, and
// a node with 0 gives all away. No plan moves fewer slots: each that moves leaves a node that has too many, for one that has too few.
// It is nil where no primary has a weight.
func (m *Map) Plan(weights map[uint64]int) (plan []Shift) {
	nodes := m.Primaries()
	weight := func(id uint64) int {
		if w, ok := weights[id]; ok {
			return w
		}
		return 1
	}
	total := 0
	for _, id := range nodes {
		total += weight(id)
	}
	if total == 0 {
		return nil
	}
	surplus, rest := map[uint64]int{}, slot.Count
	for _, id := range nodes {
		share := slot.Count * weight(id) / total
		rest -= share
		surplus[id] = m.Owned(id) - share
	}
	// What is left by rounding goes where it needs no move.
	byNeed := slices.Clone(nodes)
	slices.SortStableFunc(byNeed, func(a, b uint64) int { return cmp.Compare(surplus[b], surplus[a]) })
	for rest > 0 {
		for _, id := range byNeed {
			if weight(id) > 0 && rest > 0 {
				surplus[id]--
				rest--
			}
		}
	}
	for _, from := range nodes {
		for _, to := range nodes {
			n := min(surplus[from], -surplus[to])
			if n <= 0 {
				continue
			}
			taken := m.last(from, n+m.planned(plan, from), n)
			if len(taken) > 0 {
				plan = append(plan, Shift{From: from, To: to, Slots: taken})
			}
			surplus[from] -= n
			surplus[to] += n
		}
	}
	return plan
}

// planned is how many slots of a node a plan takes already.
func (m *Map) planned(plan []Shift, from uint64) (n int) {
	for _, s := range plan {
		if s.From == from {
			for _, r := range s.Slots {
				n += int(r.Last-r.First) + 1
			}
		}
	}
	return n
}

// last are the first n of the last so many slots of a node.
func (m *Map) last(node uint64, of, n int) []Range {
	var mine []uint16
	for s := range m.Owners {
		if uint64(m.Owners[s]) == node {
			mine = append(mine, uint16(s))
		}
	}
	mine = mine[max(0, len(mine)-of):]
	mine = mine[:min(n, len(mine))]
	in := make(map[uint16]bool, len(mine))
	for _, s := range mine {
		in[s] = true
	}
	return ranges(func(s uint16) bool { return in[s] })
}
