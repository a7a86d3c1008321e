package cluster

import (
	"context"
	"errors"

	"github.com/banyanhq/banyan/store/engine"
	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
)

// Table returns the description of a table as this node knows it, nil if there is none of that name. It is not to be changed.
func (n *Node) Table(name string) *shard.Table { return n.machine.Table(name) }

// Tables returns the descriptions of all tables, in no order.
func (n *Node) Tables() []*shard.Table { return n.machine.Tables() }

// Now is the node's clock, in milliseconds.
func (n *Node) Now() int64 { return n.cfg.Now().UnixMilli() }

// Propose has a command be carried out by all nodes, and returns the result once a majority has it on disk.
func (n *Node) Propose(ctx context.Context, key, command []byte) ([]byte, error) {
	return n.host.ProposeOnce(ctx, token(), orFirst(key), command)
}

// propose is Propose with the result decoded.
func (n *Node) propose(ctx context.Context, h shard.Home, command []byte) (*shard.Result, error) {
	b, err := n.Propose(ctx, h.Key(), command)
	if err != nil {
		return nil, err
	}
	return shard.DecodeResult(b)
}

// orFirst is the key, or the first of all where none says which group is meant.
func orFirst(key []byte) []byte {
	if len(key) == 0 {
		key, _ = shard.Rows()
	}
	return key
}

// Durable returns at once: what a node has applied is on the disks of a majority.
func (n *Node) Durable(context.Context, []byte) error { return nil }

// Define creates or changes a table; see shard.DefineCommand.
func (n *Node) Define(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	if t.ID == 0 {
		t = t.Clone()
		t.Buckets = shard.Buckets
	}
	return n.keeper.Define(ctx, t)
}

// Drop drops a table.
func (n *Node) Drop(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	return n.keeper.Drop(ctx, t)
}

// DiskUsage is about how many bytes the keys of a range take on this node's disk.
func (n *Node) DiskUsage(lower, upper []byte) (uint64, error) {
	return n.db.EstimateDiskUsage(lower, upper)
}

// Overloaded says that an error means that the client is to slow down, Unavailable that the cluster has no leader at present.
func (n *Node) Overloaded(err error) bool { return errors.Is(err, replica.ErrOverloaded) }
func (n *Node) Unavailable(err error) bool {
	return errors.Is(err, replica.ErrUnavailable) || errors.Is(err, replica.ErrNotHere)
}

// Status describes this node's replica, and what it has done.
func (n *Node) Status(ctx context.Context) (replica.GroupStatus, replica.Stats, error) {
	groups, stats, err := n.host.Status(ctx)
	if err != nil || len(groups) == 0 {
		return replica.GroupStatus{}, stats, err
	}
	return groups[0], stats, nil
}

// Stats counts what was done on this node.
func (n *Node) Stats() engine.Stats {
	m := n.db.Metrics()
	st := engine.Stats{Expired: n.keeper.Expired(), DiskBytes: m.DiskSpaceUsage(), MemoryBytes: uint64(m.BlockCache.Size) + m.MemTable.Size}
	st.AddLog(m)
	ctx, cancel := context.WithTimeout(context.Background(), lookEvery)
	defer cancel()
	if _, s, err := n.host.Status(ctx); err == nil {
		st.Commands = int64(s.Applied)
	}
	return st
}
