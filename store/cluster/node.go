package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/engine"
	"github.com/banyanhq/banyan/store/raftlog"
	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/transport"
	"github.com/banyanhq/banyan/store/upkeep"
)

// group that has all rows.
const group = 1

// mostNodes of a cluster: each has all the data, so that more only cost.
const mostNodes = 9

// Config of a node.
type Config struct {
	// Node is this node's number, and Peers the addresses at which all nodes reach each other, this one included. They are the
	// same on every node.
	Node  uint64
	Peers map[uint64]string
	// Listener for the other nodes. Default: one at this node's address in Peers.
	Listener net.Listener
	// Secret of the cluster, which every node knows; at least 16 bytes.
	Secret []byte
	// Bootstrap has a node without data begin as one of a new cluster. A node that lost its data must never be started with it:
	// it would forget what it has voted for.
	Bootstrap bool
	// Dir for the data; made if it is not there.
	Dir string
	// FS that Dir lies in. Default: the machine's.
	FS vfs.FS
	// Cache for blocks of data, in bytes. Default 64 MiB.
	Cache int64
	// Sweep is how often expired items, old changes and old tokens are looked for. Default 5s.
	Sweep time.Duration
	// Tick is the unit of the waits for a leader: another is elected after 12 to 24 without one. Default 50ms.
	Tick time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log of what operators should know. Default: none.
	Log *slog.Logger

	logEntries int // after which the log is cut; for tests
}

func (c *Config) validate() error {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Sweep == 0 {
		c.Sweep = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Peers[c.Node] == "":
		return fmt.Errorf("node %d is not one of the cluster's %d nodes", c.Node, len(c.Peers))
	case c.Peers[0] != "":
		return errors.New("nodes are numbered from 1")
	case len(c.Peers) > mostNodes:
		return fmt.Errorf("%d nodes: expected %d at most", len(c.Peers), mostNodes)
	}
	return nil
}

// Node is one node of a cluster. Open it, Listen, Run it, and Close it.
type Node struct {
	cfg       Config
	db        *pebble.DB
	machine   *machine
	keeper    *upkeep.Keeper
	host      *replica.Host
	transport *transport.Transport
	listener  net.Listener
	leads     atomic.Bool
	failure   atomic.Pointer[error]
	broken    chan struct{} // closed when the database can't be written any more
}

// machine is what the group's commands are for, and learns of rows that came as a snapshot.
type machine struct {
	*shard.Machine
	db *pebble.DB
}

// Restored implements replica.Restorer.
func (m *machine) Restored(group uint64) error { return m.Reload(m.db, group) }

// Open opens the data, or begins a new cluster.
func Open(cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("a cluster of tables: %w", err)
	}
	n := &Node{cfg: cfg, broken: make(chan struct{})}
	var err error
	options := engine.Options(engine.Config{FS: cfg.FS, Cache: cfg.Cache}, logger{n})
	if n.db, err = pebble.Open(cfg.Dir, options); err != nil {
		return nil, fmt.Errorf("opening the tables in %s: %w", cfg.Dir, err)
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the tables in %s: %w", cfg.Dir, err), n.db.Close())
	}
	return n, nil
}

func (n *Node) open() (err error) {
	cfg := n.cfg
	if err := n.begin(); err != nil {
		return err
	}
	m, err := shard.Open(n.db, group)
	if err != nil {
		return err
	}
	n.machine = &machine{m, n.db}
	n.keeper = upkeep.New(upkeep.Config{Machine: m, Now: n.Now, Every: cfg.Sweep, Log: cfg.Log, Active: n.leads.Load,
		Propose: func(ctx context.Context, command []byte) ([]byte, error) { return n.Propose(ctx, nil, command) }})
	n.transport, err = transport.New(transport.Config{Node: cfg.Node, Secret: cfg.Secret, Log: cfg.Log,
		Receive: func(from uint64, frame []byte) { n.host.Receive(from, frame) }})
	if err != nil {
		return err
	}
	for id, address := range cfg.Peers {
		n.transport.SetPeer(id, address)
	}
	n.host, err = replica.New(replica.Config{Node: cfg.Node, Tick: cfg.Tick, LogEntries: cfg.logEntries}, n.db,
		raftlog.Config{FS: cfg.FS, Dir: cfg.FS.PathJoin(cfg.Dir, "incoming")}, n.machine, n.transport)
	return err
}

// begin makes this node's replica of a new cluster, or makes sure that it has one.
func (n *Node) begin() error {
	stored, known, err := replica.Stored(n.db, group)
	if err != nil {
		return err
	}
	nodes := slices.Sorted(maps.Keys(n.cfg.Peers))
	if known {
		var of []uint64
		for _, r := range stored.Replicas {
			of = append(of, r.Node)
		}
		if slices.Sort(of); !slices.Equal(of, nodes) {
			return fmt.Errorf("the data are of a cluster of the nodes %d, not %d: changing them is not supported yet", of, nodes)
		}
		return nil
	}
	if !n.cfg.Bootstrap {
		return fmt.Errorf("node %d has no data: a new cluster is begun with --bootstrap on each of its nodes; that a node comes back with an empty disk is not supported yet", n.cfg.Node)
	}
	start, end := shard.Rows()
	d := replica.Descriptor{Group: group, Start: start, End: end}
	for _, id := range nodes {
		d.NextReplica++
		d.Replicas = append(d.Replicas, replica.Replica{ID: d.NextReplica, Node: id})
	}
	d.NextReplica++
	return replica.Bootstrap(n.db, n.cfg.Node, []replica.Descriptor{d})
}

// Listen binds the address at which other nodes reach this one.
func (n *Node) Listen() (err error) {
	if n.listener = n.cfg.Listener; n.listener != nil {
		return nil
	}
	if n.listener, err = net.Listen("tcp", n.cfg.Peers[n.cfg.Node]); err != nil {
		return fmt.Errorf("opening the address for other nodes: %w", err)
	}
	return nil
}

// Run takes part in the cluster until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	var all errgroup.Group
	running, stop := context.WithCancel(ctx)
	defer stop()
	for _, part := range []func(context.Context) error{
		func(ctx context.Context) error { return n.transport.Run(ctx, n.listener) },
		n.host.Run, n.keeper.Run, n.watch,
	} {
		all.Go(func() error {
			defer stop() // none goes on alone
			return part(running)
		})
	}
	err := all.Wait()
	if failure := n.failure.Load(); failure != nil {
		return *failure
	}
	if ctx.Err() != nil && errors.Is(err, replica.ErrStopped) {
		return nil
	}
	return err
}

// watch follows who leads, and ends when the database can't be written any more.
func (n *Node) watch(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	leader := uint64(0)
	for {
		groups, _, err := n.host.Status(ctx)
		if err == nil && len(groups) > 0 {
			g := groups[0]
			n.leads.Store(g.Leads)
			if g.Err != nil {
				return fmt.Errorf("the replica of node %d: %w", n.cfg.Node, g.Err)
			}
			if g.Leader != leader {
				leader = g.Leader
				n.cfg.Log.Info("tables", "node", n.cfg.Node, "leader", leader, "term", g.Term)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.broken:
			return *n.failure.Load()
		case <-tick.C:
		}
	}
}

// lookEvery is how often a node looks whether it leads.
const lookEvery = 200 * time.Millisecond

// Close closes the data. Run must have ended, or never have been called.
func (n *Node) Close() error {
	var err error
	if n.listener != nil {
		_ = n.listener.Close() // Run has closed it already
	}
	if err = n.db.Close(); err != nil {
		return fmt.Errorf("closing the tables in %s: %w", n.cfg.Dir, err)
	}
	return nil
}

// logger passes on what pebble calls an error, and notes when it can't go on.
type logger struct{ n *Node }

func (logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, a ...any) {
	l.n.cfg.Log.Error(fmt.Sprintf("tables: "+format, a...))
}

func (l logger) Fatalf(format string, a ...any) {
	err := fmt.Errorf("writing the tables in %s: "+format, append([]any{l.n.cfg.Dir}, a...)...)
	if l.n.failure.CompareAndSwap(nil, &err) {
		close(l.n.broken)
	}
}

// token tells a proposal from all others, so that it is carried out once though it is proposed again where a leader died.
func token() []byte {
	t := make([]byte, 16)
	_, _ = rand.Read(t) // it never fails (crypto/rand)
	return t
}
