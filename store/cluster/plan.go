package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/banyanhq/banyan/store/shard"
)

// Load of a range.
type Load struct {
	Range
	Writes, Reads float64 // a second; reads are those that the node that was asked answered
	Bytes         uint64  // on its disk
	// load and bytes of each home, from First on
	load  []float64
	sizes []uint64
}

// Action that a plan has.
type Action struct {
	Do    string     // split, merge, move
	Group uint64     // to be split, to be merged with the one to its right, or to be led by another node
	At    shard.Home // split: the first home of the new group
	From  uint64     // move: the node that leads it
	To    uint64     // move: the node that shall
	Why   string
}

func (a Action) String() string {
	switch a.Do {
	case "split":
		if a.Group == 0 {
			return fmt.Sprintf("split the range of bucket %d so that it begins a new one", a.At-1)
		}
		return fmt.Sprintf("split group %d at bucket %d: %s", a.Group, a.At-1, a.Why)
	case "merge":
		return fmt.Sprintf("merge group %d with the one to its right: %s", a.Group, a.Why)
	}
	return fmt.Sprintf("move the leadership of group %d from node %d to node %d: %s", a.Group, Number(a.From), Number(a.To), a.Why)
}

// What a plan goes by.
const (
	largeRange = 1 << 30 // bytes
	hotRange   = 200     // requests a second, below which a range is never hot
	coldRange  = 10      // requests a second, at most, of two ranges that are merged
	mostRanges = 4       // for each node, that are made by themselves
)

// planRanges says which ranges are to be split or merged, and why; those that need it most come first.
func planRanges(all []Load, nodes int) (actions []Action) {
	total, spread := 0.0, 0
	for _, r := range all {
		total += r.Writes + r.Reads
		if r.First > 0 {
			spread++
		}
	}
	share := total / float64(max(nodes, 1))
	for _, r := range all {
		load := r.Writes + r.Reads
		switch {
		case r.First == 0 && r.Last > 0:
			actions = append(actions, Action{Do: "split", Group: r.Group, At: 1, Why: "the descriptions of tables are to have a group of their own"})
		case r.First == r.Last || r.merging:
		case r.Bytes > largeRange:
			actions = append(actions, Action{Do: "split", Group: r.Group, At: middle(r.First, r.sizes),
				Why: fmt.Sprintf("it has %d MiB, more than %d", r.Bytes>>20, largeRange>>20)})
		case load > hotRange && load > 1.5*share:
			actions = append(actions, Action{Do: "split", Group: r.Group, At: middle(r.First, r.load),
				Why: fmt.Sprintf("it has %.0f requests a second of %.0f, and a node's share is %.0f", load, total, share)})
		}
	}
	for i := 0; i+1 < len(all) && spread > nodes; i++ {
		a, b := all[i], all[i+1]
		load := a.Writes + a.Reads + b.Writes + b.Reads
		if a.First == 0 || a.merging || b.merging || load > coldRange || a.Bytes+b.Bytes > largeRange/4 {
			continue
		}
		actions = append(actions, Action{Do: "merge", Group: a.Group, Why: fmt.Sprintf("both have %.0f requests a second together, and %d MiB", load, (a.Bytes+b.Bytes)>>20)})
		spread--
		i++
	}
	return actions
}

// pinned are the ranges with those marked that are to be merged, so that nobody hands them over meanwhile.
func pinned(all []Load, actions []Action) []Load {
	all = slices.Clone(all)
	for i := range all {
		if slices.ContainsFunc(actions, func(a Action) bool { return a.Do == "merge" && a.Group == all[i].Group }) {
			all[i].merging = true
			if i+1 < len(all) {
				all[i+1].merging = true
			}
		}
	}
	return all
}

// middle is the home from which on the second half is: of what each has, from the first on.
func middle[N float64 | uint64](first shard.Home, of []N) shard.Home {
	total, before := N(0), N(0)
	for _, n := range of {
		total += n
	}
	best, at := total, len(of)/2
	for i := 1; i < len(of); i++ {
		before += of[i-1]
		if larger := max(before, total-before); larger < best {
			best, at = larger, i
		}
	}
	return first + shard.Home(at)
}

// planLeaders says which node shall hand what it leads over to which other one, so that each has its part of the work. Nodes for which
// fit is false get nothing.
func planLeaders(all []Load, fit func(node uint64) bool) (moves []Action) {
	work := map[uint64]float64{}
	total := 0.0
	for _, r := range all {
		total += r.Writes
		for _, node := range r.nodes {
			if fit(node) {
				work[node] += 0
			}
		}
	}
	weight := func(r Load) float64 { // a group costs something by itself, and the more the more is written
		return 1 + r.Writes*float64(len(all))/max(total, hotRange)
	}
	for _, r := range all {
		work[r.Leader] += weight(r)
	}
	byWeight := slices.SortedFunc(slices.Values(all), func(a, b Load) int { return cmp.Compare(weight(b), weight(a)) })
	for range all {
		var best Action
		gain := 0.5 // less is not worth the interruption
		for _, r := range byWeight {
			for _, node := range r.nodes {
				if _, ok := work[node]; !ok || !fit(node) || node == r.Leader || r.Leader == 0 || r.merging {
					continue
				}
				if g := work[r.Leader] - work[node] - weight(r); g > gain {
					gain = g
					best = Action{Do: "move", Group: r.Group, From: r.Leader, To: node,
						Why: fmt.Sprintf("node %d leads %.1f times what node %d does", Number(r.Leader), work[r.Leader]/max(work[node], 0.1), Number(node))}
				}
			}
		}
		if best.Do == "" {
			return moves
		}
		moves = append(moves, best)
		for i := range byWeight {
			if r := &byWeight[i]; r.Group == best.Group {
				work[best.From] -= weight(*r)
				work[best.To] += weight(*r)
				r.Leader = best.To
			}
		}
	}
	return moves
}
