package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/engine"
	"github.com/banyanhq/banyan/store/raftlog"
	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/upkeep"
	"github.com/banyanhq/banyan/transport"
)

// group that has the descriptions of tables, and the rows of those that are not spread.
const group = 1

// mostNodes of a cluster: each has all the data, so that more only cost.
const mostNodes = 9

// Config of a node.
type Config struct {
	// Node is this node's number, and Peers the addresses at which nodes reach each other, by their numbers. There must be this
	// node's own; of the others those of a new cluster, all of them, and later as many as are needed to find one that is up.
	Node  uint64
	Peers map[uint64]string
	// Zone that this node is in: what fails together. It is shown, and decides nothing yet.
	Zone string
	// Listener for the other nodes. Default: one at this node's address in Peers.
	Listener net.Listener
	// Secret of the cluster, which every node knows; at least 16 bytes, or none with TLS.
	Secret []byte
	// TLS between nodes (transport.Certificates). Default: in the clear.
	TLS *tls.Config
	// Bootstrap has a node without data begin as one of the new cluster that Peers names, unless one of these has met it before: then
	// it has lost its data, and joins. Without it a node without data joins the cluster that it finds at Peers.
	Bootstrap bool
	// Manual keeps this node from splitting and merging groups by itself, where it leads them; it balances who leads all the same.
	Manual bool
	// Dir for the data; made if it is not there.
	Dir string
	// FS that Dir lies in. Default: the machine's.
	FS vfs.FS
	// Cache for blocks of data, in bytes. Default 64 MiB.
	Cache int64
	// Sweep is how often expired items, old changes and old tokens are looked for. Default 5s.
	Sweep time.Duration
	// Scrub is how often all that is on the disk is held against its checksums. Default: a day.
	Scrub time.Duration
	// Tick is the unit of the waits for a leader: another is elected after 12 to 24 without one. Default 50ms.
	Tick time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log of what operators should know. Default: none.
	Log *slog.Logger

	logEntries int // after which the log is cut; for tests
	groups     int // that a new cluster begins with beside the system group; for tests. 0: one for each node; -1: none
}

func (c *Config) validate() error {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Sweep == 0 {
		c.Sweep = 5 * time.Second
	}
	c.Peers = maps.Clone(c.Peers)
	if c.Tick == 0 {
		c.Tick = 50 * time.Millisecond
	}
	if c.Scrub == 0 {
		c.Scrub = scrubEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Peers[c.Node] == "":
		return fmt.Errorf("the address of node %d, which is to be this one, is not among those of the %d nodes", c.Node, len(c.Peers))
	case c.Peers[0] != "" || c.Node > math.MaxUint32:
		return errors.New("nodes are numbered from 1")
	case len(c.Peers) > mostNodes:
		return fmt.Errorf("%d nodes: expected %d at most", len(c.Peers), mostNodes)
	}
	return nil
}

// Node is one node of a cluster. Open it, Listen, Run it, and Close it.
type Node struct {
	cfg          Config
	known        *acquaintance
	ready        atomic.Bool   // it has all data
	whole        chan struct{} // closed then
	db           *pebble.DB
	logs         *engine.Synced
	machine      *machine
	keeper       *upkeep.Keeper
	host         *replica.Host
	transport    *transport.Transport
	listener     net.Listener
	leads        atomic.Bool
	ranges       atomic.Pointer[[]Range]
	done         chan *transaction // that are carried out everywhere
	transactions atomic.Uint64     // that this node has begun
	heat         *heat
	failure      atomic.Pointer[error]
	damage       atomic.Pointer[error] // of what is on the disk
	options      *pebble.Options
	checking     checking
	reading      reading

	spareAsked atomic.Int64  // Unix seconds at which it was last said that the others can't do without this node
	broken     chan struct{} // closed when the database can't be written any more
}

// machine is what the group's commands are for, and learns of rows that came as a snapshot.
type machine struct {
	*shard.Machine
	db *pebble.DB
}

// Restored implements replica.Restorer.
func (m *machine) Restored(uint64) error { return m.Reload(m.db, group) }

// Open opens the data, or begins a new cluster.
func Open(cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("a cluster of tables: %w", err)
	}
	n := &Node{cfg: cfg, broken: make(chan struct{}), whole: make(chan struct{}), done: make(chan *transaction, 1024)}
	n.checking.begin, n.reading.begin = make(chan struct{}, 1), make(chan struct{}, 1)
	var err error
	if n.logs, err = engine.OpenSynced(cfg.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("opening the tables in %s: %w", cfg.Dir, n.unreadable(err))
	}
	n.options = engine.Options(engine.Config{FS: n.logs, Cache: cfg.Cache}, logger{n})
	n.options.EventListener = &pebble.EventListener{DataCorruption: n.corruption, BackgroundError: func(err error) {
		cfg.Log.Error("tables: work in the background", "err", err)
	}}
	if n.db, err = pebble.Open(cfg.Dir, n.options); err != nil {
		if !ofMachine(err) {
			err = fmt.Errorf("%w: %w", pebble.ErrCorruption, err) // pebble does not say so of all that it finds
		}
		return nil, errors.Join(fmt.Errorf("opening the tables in %s: %w", cfg.Dir, n.unreadable(err)), n.logs.Close())
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the tables in %s: %w", cfg.Dir, n.unreadable(err)), n.db.Close(), n.logs.Close())
	}
	return n, nil
}

func (n *Node) open() (err error) {
	cfg := n.cfg
	caller := transport.Caller{Secret: cfg.Secret, TLS: cfg.TLS}
	id, err := n.begin(caller)
	if err != nil {
		return err
	}
	m, err := shard.Open(n.db, group)
	if err != nil {
		return err
	}
	n.machine = &machine{m, n.db}
	n.heat = newHeat(cfg.Now(), n.partition)
	m.Wrote = n.heat.wrote
	n.keeper = upkeep.New(upkeep.Config{Machine: m, Now: n.Now, Every: cfg.Sweep, Log: cfg.Log, Active: n.leads.Load,
		Rows: n.db, Spread: n.spread, Gone: n.gone, Tidy: n.tidy,
		Propose: func(ctx context.Context, h shard.Home, command []byte) ([]byte, error) {
			return n.Propose(ctx, h.Key(), command)
		}})
	n.transport, err = transport.New(transport.Config{Node: id, Secret: cfg.Secret, TLS: cfg.TLS, Log: cfg.Log,
		Receive: func(from uint64, frame []byte) { n.host.Receive(from, frame) }, Answer: n.answer})
	if err != nil {
		return err
	}
	n.known = newAcquaintance(id, caller, 20*cfg.Tick)
	if err := n.remember(); err != nil {
		return err
	}
	n.host, err = replica.New(replica.Config{Node: id, Tick: cfg.Tick, LogEntries: cfg.logEntries}, n.db,
		raftlog.Config{FS: cfg.FS, Dir: cfg.FS.PathJoin(cfg.Dir, "incoming"), Failure: n.failed}, n.machine, n.transport)
	return err
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
		n.host.Run, n.keeper.Run, n.watch, n.meet, n.manage, n.scrub, n.runChecks, n.runReads, n.forget, n.tend,
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
			for _, g := range groups {
				if err := cmp.Or(g.Err, g.Hurt); err != nil {
					n.damaged(err)
				}
			}
			n.noteRanges(groups)
			if g.Leader != leader {
				leader = g.Leader
				n.cfg.Log.Info("tables", "node", n.cfg.Node, "leader", Number(leader), "term", g.Term)
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
	if err = errors.Join(n.db.Close(), n.logs.Close()); err != nil {
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

// failed is why the database can't be written any more, which it says to its logger only: what it was to write it returns no error for.
func (n *Node) failed() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// token tells a proposal from all others, so that it is carried out once though it is proposed again where a leader died.
func token() []byte {
	t := make([]byte, 16)
	_, _ = rand.Read(t) // it never fails (crypto/rand)
	return t
}
