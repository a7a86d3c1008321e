package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
)

// How often who leads is balanced, at most one group each time, and how often groups are split and merged, likewise.
const (
	balanceEvery = time.Second
	planEvery    = 5 * time.Second
	unfitFor     = 10 * time.Second // after a node could not take over
)

// partition names the partition key of a data key, for people.
func (n *Node) partition(key []byte) (string, bool) {
	t, value, ok := n.machine.PartitionOf(key)
	if !ok {
		return "", false
	}
	text := value.Text
	if len(text) > 64 {
		text = text[:64] + "..."
	}
	return fmt.Sprintf("%s %s=%q", t.Name, t.Key.Hash.Name, text), true
}

// Loads are the ranges and what they have to do, as this node sees it.
func (n *Node) Loads(ctx context.Context) ([]Load, error) {
	if err := n.refresh(ctx); err != nil {
		return nil, err
	}
	n.heat.cool(n.cfg.Now())
	writes, reads := n.heat.perSecond()
	var all []Load
	for _, r := range n.Ranges() {
		l := Load{Range: r}
		for h := r.First; h <= r.Last; h++ {
			next := (h + 1).Key()
			if h == 0 {
				next = shard.Home(1).Key()
			}
			size, err := n.db.EstimateDiskUsage(h.Key(), next)
			if err != nil {
				return nil, fmt.Errorf("estimating what is stored: %w", err)
			}
			l.Writes, l.Reads, l.Bytes = l.Writes+writes[h], l.Reads+reads[h], l.Bytes+size
			l.load, l.sizes = append(l.load, writes[h]+reads[h]), append(l.sizes, size)
		}
		all = append(all, l)
	}
	return all, nil
}

// HotKeys are up to so many partition keys that are asked for most, as this node sees it.
func (n *Node) HotKeys(most int) []HotKey { return n.heat.hottest(most) }

// Plan says what would make the work more even, and why.
func (n *Node) Plan(ctx context.Context) ([]Action, error) {
	all, err := n.Loads(ctx)
	if err != nil {
		return nil, err
	}
	actions := planRanges(all, n.nodes())
	return append(actions, planLeaders(pinned(all, actions), func(node uint64) bool { return !n.leaves(node) })...), nil
}

// Apply does what a plan says. Merges and moves are for the node that leads; from another a replica.NotLeaderError says which that is.
func (n *Node) Apply(ctx context.Context, a Action) error {
	switch a.Do {
	case "split":
		_, err := n.Split(ctx, a.At)
		return err
	case "merge":
		return n.Merge(ctx, a.Group)
	case "move":
		return n.host.HandOver(ctx, a.Group, a.To)
	}
	return fmt.Errorf("%w: to %s a group", replica.ErrUnsupported, a.Do)
}

// tend balances who leads, and splits and merges what this node leads, until ctx ends.
func (n *Node) tend(ctx context.Context) error {
	tick := time.NewTicker(balanceEvery)
	defer tick.Stop()
	unfit := map[uint64]time.Time{}
	planned := n.cfg.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		all, err := n.Loads(ctx)
		if err != nil {
			continue // the node is busy, or stops
		}
		now := n.cfg.Now()
		n.balance(ctx, all, now, unfit)
		if now.Sub(planned) < planEvery || n.cfg.Manual {
			continue
		}
		planned = now
		if err := n.divide(ctx, all); err != nil && ctx.Err() == nil {
			n.cfg.Log.Info("tables: what was planned will be tried again", "error", err)
		}
	}
}

// balance hands one group over, if another node had better lead it.
func (n *Node) balance(ctx context.Context, all []Load, now time.Time, unfit map[uint64]time.Time) {
	if !n.cfg.Manual {
		all = pinned(all, planRanges(all, n.nodes()))
	}
	moves := planLeaders(all, func(node uint64) bool { return now.After(unfit[node]) && !n.leaves(node) })
	at := slices.IndexFunc(moves, func(a Action) bool { return a.From == n.ID() })
	if at < 0 {
		return
	}
	switch err := n.Apply(ctx, moves[at]); {
	case errors.Is(err, replica.ErrRefused):
		unfit[moves[at].To] = now.Add(unfitFor)
	case err == nil:
		n.cfg.Log.Info("tables: " + moves[at].String())
	}
}

// divide splits or merges one group that this node leads, if one needs it.
func (n *Node) divide(ctx context.Context, all []Load) error {
	for _, a := range planRanges(all, n.nodes()) {
		at := slices.IndexFunc(all, func(l Load) bool { return l.Group == a.Group })
		if all[at].Leader != n.ID() || a.Do == "split" && len(all) > mostRanges*n.nodes() {
			continue
		}
		n.cfg.Log.Info("tables: " + a.String())
		if a.Do == "merge" && all[at+1].Leader != n.ID() { // one node must lead both
			return n.host.HandOver(ctx, a.Group, all[at+1].Leader)
		}
		return n.Apply(ctx, a)
	}
	return nil
}
