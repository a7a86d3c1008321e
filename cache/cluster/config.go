package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/banyanhq/banyan/cache/disk"
)

// Config of a node.
type Config struct {
	// Node is this one's number, from 1.
	Node uint64
	// Peers are the addresses at which the nodes reach each other, of all of them, this one too. They are the same on each.
	Peers map[uint64]string
	// Secret by which the nodes know each other: 16 bytes at least.
	Secret []byte
	// Dir is the folder for what the nodes have agreed on. It must not be lost: a node without it can't come back.
	Dir string
	// Bootstrap begins a new cluster, where Dir is empty.
	Bootstrap bool
	// Replicas of each primary, when a cluster begins.
	Replicas int
	// Kept says that this process has the data of the one before, as they were when that ended. So it may go on as a primary, where nobody
	// has taken its place.
	Kept bool
	// Followed is the life of the process that last began to follow its primary, as far as is known of what was kept.
	Followed uint64
	// Announce is the address that clients are sent to. Default: the one that the cache listens at.
	Announce string
	// Listener for peers. Default: one is opened at the node's address.
	Listener net.Listener
	// Tick is the unit of all waits: 50 ms by default. A primary is replaced when it was silent for FailAfter ticks.
	Tick time.Duration
	Log  *slog.Logger

	// Changed is told of each new map, the first one too, by one goroutine; the lease counts once it has returned. It must not
	// wait for the node.
	Changed func(*Map)
	// Received takes what Send has sent, by a goroutine for each peer.
	Received func(from uint64, frame []byte)
	// Standing says how far a replica is, for the choice of a successor.
	Standing func() Standing

	fs disk.FS // for tests
}

// Standing of a replica.
type Standing struct {
	Whole  bool // it has all that its primary had at some time
	Offset int64
}

// Times, in ticks.
const (
	heartbeatTicks = 2
	electionTicks  = 10
	renewTicks     = 3
	leaseTicks     = 24
	failTicks      = 28 // leaseTicks and what clocks may differ by
	maxNodes       = 64
)

// maxFrame bounds a frame: it holds a key with its value at most, or a piece of a stream.
const maxFrame = 1 << 30

func (c *Config) validate() error {
	if c.Tick == 0 {
		c.Tick = 50 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Peers[c.Node] == "":
		return fmt.Errorf("node %d is not among the peers", c.Node)
	case len(c.Peers) > maxNodes:
		return fmt.Errorf("%d nodes: want %d at most", len(c.Peers), maxNodes)
	case c.Replicas < 0 || len(c.Peers) < 1+c.Replicas:
		return fmt.Errorf("%d replicas need %d nodes at least, and there are %d", c.Replicas, 1+c.Replicas, len(c.Peers))
	case c.Dir == "" && c.fs == nil:
		return errors.New("a node of a cluster needs a folder for what the nodes agree on")
	case c.Changed == nil || c.Received == nil || c.Standing == nil:
		return errors.New("nobody listens to the cluster")
	case c.Tick < 0:
		return errors.New("tick: want no negative one")
	}
	for id := range c.Peers {
		if id == 0 || id > 1<<15 {
			return fmt.Errorf("node %d: want 1 to %d", id, 1<<15)
		}
	}
	return nil
}
