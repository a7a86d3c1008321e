package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
)

// manage looks after the replicas of the groups that this node leads, until ctx ends or the node is not part of the cluster any more.
func (n *Node) manage(ctx context.Context) error {
	tick := time.NewTicker(n.known.every / 4)
	defer tick.Stop()
	for round := 0; ; round++ {
		if round%4 != 0 && !n.changing() {
			// Nothing is on its way.
		} else if groups, _, err := n.host.Status(ctx); err == nil {
			if done, err := n.standing(ctx, groups); done {
				return err
			}
			for _, g := range groups {
				if g.Leads && g.Err == nil && !g.Joint && !g.Merging {
					n.lookAfter(ctx, g)
				}
			}
			n.supersede(groups)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// changing says whether something is on its way that should not wait.
func (n *Node) changing() bool {
	self, _ := n.known.directory.get(n.known.id)
	n.known.mu.Lock()
	defer n.known.mu.Unlock()
	for id, at := range n.known.asking {
		if n.cfg.Now().Sub(at) >= askingRounds*n.known.every {
			delete(n.known.asking, id)
		}
	}
	return !n.ready.Load() || self.State != Active || len(n.known.asking) > 0 || n.damage.Load() != nil
}

// standing looks at what has become of this node itself; done: it has no part in the cluster any more.
func (n *Node) standing(ctx context.Context, groups []replica.GroupStatus) (done bool, err error) {
	if !n.ready.Load() && complete(groups) {
		n.cfg.Log.Info("tables: this node has all data", "node", n.cfg.Node)
		n.ready.Store(true)
		close(n.whole)
	}
	if err := n.giveUp(ctx); err != nil {
		return true, err
	}
	self, _ := n.known.directory.get(n.known.id)
	switch {
	case self.State == Gone:
		return true, fmt.Errorf("node %d is %w: it was removed, or another took its place; with an empty %s it joins anew", n.cfg.Node, ErrGone, n.cfg.Dir)
	case self.State == Leaving && len(groups) == 0:
		self.State = Gone
		err := n.known.learn([]Member{self})
		for _, m := range n.known.directory.members() {
			if m.State == Active && err == nil {
				n.greet(ctx, m.Address, false)
			}
		}
		n.cfg.Log.Info("tables: this node has left the cluster", "node", n.cfg.Node)
		return true, err
	}
	return false, nil
}

// complete says whether replicas that vote have all rows, without a gap.
func complete(groups []replica.GroupStatus) bool {
	at, end := shard.Rows()
	for range groups {
		for _, g := range groups {
			if votes(g) && bytes.Compare(g.Start, at) <= 0 && bytes.Compare(g.End, at) > 0 {
				at = g.End
			}
		}
	}
	return bytes.Compare(at, end) >= 0
}

func votes(g replica.GroupStatus) bool {
	for _, r := range g.Replicas {
		if r.ID == g.Replica {
			return g.HasData && g.Err == nil && !r.Learner
		}
	}
	return false
}

// view is what this node knows for deciding about a group.
func (n *Node) view(peers []replica.Progress) *view {
	v := &view{self: n.known.id, peers: peers, members: map[uint64]Member{}, asking: map[uint64]bool{}}
	for _, m := range n.known.directory.members() {
		v.members[m.ID] = m
	}
	n.known.mu.Lock()
	defer n.known.mu.Unlock()
	for id, at := range n.known.asking {
		if n.cfg.Now().Sub(at) < askingRounds*n.known.every {
			v.asking[id] = true
		}
	}
	return v
}

// lookAfter does the next thing that is to be done to a group.
func (n *Node) lookAfter(ctx context.Context, g replica.GroupStatus) {
	v := n.view(g.Peers)
	n.known.mu.Lock()
	for id := range v.asking {
		delete(n.known.refused, id)
		if err := v.mayJoin(id); err != nil && v.peer(id) == nil {
			n.known.refused[id] = err.Error()
		}
	}
	n.known.mu.Unlock()
	next := v.next()
	var err error
	switch {
	case next.transfer != 0:
		err = n.host.TransferLeader(ctx, g.Group, next.transfer)
	case len(next.changes) > 0:
		err = n.host.ChangeReplicas(ctx, g.Group, next.changes...)
	default:
		return
	}
	level := n.cfg.Log.Info
	if errors.Is(err, replica.ErrRefused) || errors.Is(err, replica.ErrUnavailable) {
		level = n.cfg.Log.Debug // another change is on its way
	}
	level("tables: replicas change", "group", g.Group, "because", next.why, "err", err)
}

// supersede notes that nodes are gone whose place others of the same number have taken in all groups that this node leads.
func (n *Node) supersede(groups []replica.GroupStatus) {
	here, votes := map[uint64]bool{}, map[uint64]bool{}
	for _, g := range groups {
		for _, p := range g.Peers {
			here[p.Node] = true
			if !p.Learner && p.Up {
				votes[Number(p.Node)] = true
			}
		}
	}
	var gone []Member
	v, now := n.view(nil), n.cfg.Now()
	n.known.mu.Lock()
	for _, m := range v.members {
		if m.State != Active || here[m.ID] || !votes[Number(m.ID)] || v.asking[m.ID] {
			delete(n.known.idle, m.ID)
		} else if since, ok := n.known.idle[m.ID]; !ok {
			n.known.idle[m.ID] = now
		} else if now.Sub(since) > askingRounds*n.known.every {
			m.State = Gone
			gone = append(gone, m)
		}
	}
	n.known.mu.Unlock()
	if err := n.known.learn(gone); err != nil {
		n.cfg.Log.Error("tables", "err", err)
	}
}
