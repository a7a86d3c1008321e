package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/transport"
)

// metWithin is how long a node that is to begin a new cluster waits for others to say that they have met it before.
const metWithin = time.Second

// begin makes a database that is empty that of a node, and returns the id of the node that a database is of.
func (n *Node) begin(caller transport.Caller) (id uint64, err error) {
	id, known, err := replica.Owner(n.db)
	switch {
	case err != nil:
		return 0, err
	case known && Number(id) != n.cfg.Node:
		return 0, fmt.Errorf("the data are of node %d, not of node %d", Number(id), n.cfg.Node)
	case known:
		return id, nil
	case n.cfg.Bootstrap && !n.metBefore(caller):
		return n.cfg.Node, n.bootstrap()
	}
	id = newID(n.cfg.Node)
	n.cfg.Log.Info("tables: this node has no data and asks the cluster for them", "node", n.cfg.Node)
	return id, replica.Bootstrap(n.db, id, nil)
}

// bootstrap makes this node's replica of a new cluster.
func (n *Node) bootstrap() error {
	nodes := slices.Sorted(maps.Keys(n.cfg.Peers))
	return replica.Bootstrap(n.db, n.cfg.Node, firstGroups(nodes, n.cfg.groups))
}

// firstGroups of a new cluster: the system group, and as many for what is spread as there are nodes to lead them.
func firstGroups(nodes []uint64, spread int) (all []replica.Descriptor) {
	if spread == 0 {
		spread = len(nodes)
	}
	start, end := shard.Rows()
	for i := range max(spread, 0) + 1 {
		d := replica.Descriptor{Group: uint64(group + i), Start: start, End: end}
		for _, id := range nodes {
			d.NextReplica++
			d.Replicas = append(d.Replicas, replica.Replica{ID: d.NextReplica, Node: id})
		}
		d.NextReplica++
		if i > 0 {
			d.Start = shard.Home(1 + (i-1)*shard.Buckets/spread).Key()
			all[i-1].End = d.Start
		}
		all = append(all, d)
	}
	return all
}

// metBefore asks all others whether a node of this number has been there. Those that can't be reached may have met it, too: a node
// that lost its data while a majority was down must not be started with Bootstrap.
func (n *Node) metBefore(caller transport.Caller) bool {
	ctx, cancel := context.WithTimeout(context.Background(), metWithin)
	defer cancel()
	var all sync.WaitGroup
	var met atomic.Bool
	for number, address := range n.cfg.Peers {
		if number == n.cfg.Node {
			continue
		}
		all.Go(func() {
			r, err := ask(ctx, caller, address, question{Op: "hello"})
			if err != nil {
				return // it has not begun either
			}
			for _, m := range r.Members {
				if Number(m.ID) == n.cfg.Node && m.Start > 0 {
					met.Store(true)
				}
			}
		})
	}
	all.Wait()
	return met.Load()
}

// remember opens what this node knows of the others, and adds itself and those with which it began.
func (n *Node) remember() (err error) {
	k := n.known
	k.directory, err = openDirectory(n.db, func(m Member) {
		switch {
		case m.ID == k.id:
		case m.State == Gone:
			n.transport.RemovePeer(m.ID)
		default:
			n.transport.SetPeer(m.ID, m.Address)
		}
	})
	if err != nil {
		return err
	}
	self, _ := k.directory.get(k.id)
	if self.State == Gone {
		return fmt.Errorf("node %d is %w: with an empty %s it joins anew", n.cfg.Node, ErrGone, n.cfg.Dir)
	}
	self.ID, self.Address, self.Zone, self.Start = k.id, n.cfg.Peers[n.cfg.Node], n.cfg.Zone, self.Start+1
	k.start = self.Start
	members := []Member{self}
	stored, known, err := replica.Stored(n.db, group)
	if err != nil && known {
		return err
	}
	for _, r := range stored.Replicas {
		if address := n.cfg.Peers[r.Node]; address != "" && r.Node != k.id {
			members = append(members, Member{ID: r.Node, Address: address})
		}
	}
	_, err = k.directory.merge(members...)
	return err
}

// Ready returns once this node has all data, and votes.
func (n *Node) Ready(ctx context.Context) error {
	select {
	case <-n.whole:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("this node has not got the data yet"), ctx.Err())
	}
}
