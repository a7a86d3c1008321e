package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
)

// Range is a group, and the rows that it has: those of the homes from First up to Last. Home 0 is of tables that are not spread.
type Range struct {
	Group       uint64
	First, Last shard.Home
	Leader      uint64 // node, 0 if unknown
	start, end  []byte
	nodes       []uint64
	merging     bool
}

// noteRanges notes which groups there are, in the order of their rows.
func (n *Node) noteRanges(groups []replica.GroupStatus) {
	var all []Range
	for _, g := range groups {
		if !g.HasData {
			continue
		}
		r := Range{Group: g.Group, Leader: g.Leader, start: g.Start, end: g.End, merging: g.Merging, First: shard.HomeOf(g.Start), Last: shard.Buckets}
		if next := shard.HomeOf(g.End); next > 0 { // groups begin and end where homes do
			r.Last = next - 1
		}
		for _, on := range g.Replicas {
			if !on.Learner {
				r.nodes = append(r.nodes, on.Node)
			}
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Range) int { return bytes.Compare(a.start, b.start) })
	n.ranges.Store(&all)
}

// refresh looks which groups there are.
func (n *Node) refresh(ctx context.Context) error {
	groups, _, err := n.host.Status(ctx)
	if err == nil {
		n.noteRanges(groups)
	}
	return err
}

// Ranges are the groups as this node knows them, in the order of their rows.
func (n *Node) Ranges() []Range {
	if all := n.ranges.Load(); all != nil {
		return *all
	}
	return nil
}

// groupOf is the group that a home's rows are probably in; 0: not known.
func (n *Node) groupOf(h shard.Home) uint64 {
	for _, r := range n.Ranges() {
		if h >= r.First && h <= r.Last {
			return r.Group
		}
	}
	return 0
}

// together says whether all homes are probably in one group.
func (n *Node) together(homes []shard.Home) bool {
	for _, h := range homes {
		if n.groupOf(h) != n.groupOf(homes[0]) {
			return false
		}
	}
	return true
}

// eachGroup has do carry something out for homes, in as many parts as there are groups, at once. Where the groups have changed
// meanwhile (the result is Scattered) it does so home by home.
func (n *Node) eachGroup(ctx context.Context, homes []shard.Home, do func(ctx context.Context, homes []shard.Home) (*shard.Result, error)) error {
	parts := map[uint64][]shard.Home{}
	for _, h := range homes {
		parts[n.groupOf(h)] = append(parts[n.groupOf(h)], h)
	}
	var all errgroup.Group
	for _, part := range parts {
		all.Go(func() error {
			res, err := do(ctx, part)
			if err != nil || res.Code != shard.Scattered {
				return err
			}
			if err := n.refresh(ctx); err != nil {
				return err
			}
			for i := range part {
				if res, err := do(ctx, part[i:i+1]); err != nil {
					return err
				} else if res.Code == shard.Scattered {
					return fmt.Errorf("%w: no group has home %d", replica.ErrUnavailable, part[i])
				}
			}
			return nil
		})
	}
	return all.Wait()
}

// spread brings the description of a table to all its homes.
func (n *Node) spread(ctx context.Context, t *shard.Table) error {
	lacking := n.machine.Lacking(t, t.Homes())
	if len(lacking) == 0 {
		return nil
	}
	return n.eachGroup(ctx, lacking, func(ctx context.Context, homes []shard.Home) (*shard.Result, error) {
		command, err := shard.AdoptCommand(homes, t)
		if err != nil {
			return nil, err
		}
		return n.propose(ctx, homes[0], command)
	})
}

// gone drops what the homes of a table have of it.
func (n *Node) gone(ctx context.Context, t *shard.Table) error {
	if t.Buckets == 0 {
		return nil
	}
	return n.abandon(ctx, t.ID, t.Homes())
}

func (n *Node) abandon(ctx context.Context, table uint64, homes []shard.Home) error {
	return n.eachGroup(ctx, homes, func(ctx context.Context, homes []shard.Home) (*shard.Result, error) {
		return n.propose(ctx, homes[0], shard.AbandonCommand(homes, table))
	})
}

// catchUp waits until this node knows all descriptions that were acknowledged before.
func (n *Node) catchUp(ctx context.Context) error {
	v, err := n.host.Read(ctx, orFirst(nil), true)
	if err != nil {
		return err
	}
	return v.Close()
}

// Split gives the rows from a home on to a new group, and returns its number. Any node can.
func (n *Node) Split(ctx context.Context, at shard.Home) (uint64, error) {
	if at == 0 || at > shard.Buckets {
		return 0, fmt.Errorf("splitting at bucket %d: there are %d", int(at)-1, shard.Buckets)
	}
	res, err := n.propose(ctx, 0, shard.GroupCommand())
	if err != nil {
		return 0, fmt.Errorf("splitting at bucket %d: %w", at-1, err)
	}
	if err := n.host.SplitAt(ctx, at.Key(), res.ID); err != nil {
		return 0, fmt.Errorf("splitting at bucket %d: %w", at-1, err)
	}
	return res.ID, n.refresh(ctx)
}

// Merge joins a group with the one to the right of it. Both must be led by this node; where they are not a replica.NotLeaderError
// says where to ask.
func (n *Node) Merge(ctx context.Context, left uint64) error {
	if left == group {
		return errors.New("the system group can't take over others")
	}
	if err := n.host.Merge(ctx, left); err != nil {
		return fmt.Errorf("merging group %d with its neighbour: %w", left, err)
	}
	return n.refresh(ctx)
}

// HomeOfBucket is the home of a bucket, 0 if there is none.
func HomeOfBucket(bucket int) shard.Home {
	if bucket < 0 || bucket >= shard.Buckets {
		return 0
	}
	return shard.Home(bucket + 1)
}

// nodes that there are, which share the work.
func (n *Node) nodes() int {
	if all := n.Ranges(); len(all) > 0 {
		return max(len(all[0].nodes), 1)
	}
	return len(n.cfg.Peers)
}

// ID of the node, of which Number is its number.
func (n *Node) ID() uint64 { return n.known.id }

// leaves says whether a node is about to leave, or has left.
func (n *Node) leaves(id uint64) bool {
	return slices.ContainsFunc(n.known.directory.members(), func(m Member) bool { return m.ID == id && (m.State == Leaving || m.State == Gone) })
}
