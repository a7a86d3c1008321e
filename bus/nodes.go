package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/workflow"
	"github.com/banyanhq/banyan/internal/loopback"
)

// Nodes are the buses of one system in this process: one that stands alone, or all nodes of a cluster, in the order of their
// numbers, which reach each other on loopback. NewNodes makes them, Listen binds them, Run serves; Ready says when they do.
type Nodes []*Bus

// NewNodes prepares the buses of a system: one, or so many nodes, each with a folder of its own within that of cfg.
func NewNodes(cfg Config, nodes int) (all Nodes, err error) {
	defer func() {
		if err != nil {
			all.Close()
		}
	}()
	alone := []string{"queues", "topics"}
	if nodes <= 1 {
		if exists(cfg.Dir, "node-1") {
			return nil, fmt.Errorf("bus: %s has queues and topics of several nodes: 'durability: replicated' finds them, a bus that stands alone does not", cfg.Dir)
		}
		b, err := New(cfg)
		if err != nil {
			return nil, err
		}
		return Nodes{b}, nil
	}
	for _, part := range alone {
		if exists(cfg.Dir, part) {
			return nil, fmt.Errorf("bus: %s has queues and topics that are not replicated, which several nodes do not take over: empty them first ('banyan bus backup' keeps a copy), then remove %s", cfg.Dir, filepath.Join(cfg.Dir, part))
		}
	}
	peers, err := freePeers(nodes)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	for i := range nodes {
		own := cfg
		own.Dir = filepath.Join(cfg.Dir, nodeName(uint64(i+1)))
		if own.Log != nil {
			own.Log = own.Log.With("node", i+1)
		}
		own.Cluster = &Cluster{Node: uint64(i + 1), Peers: peers, Secret: secret}
		b, err := New(own)
		if err != nil {
			return all, fmt.Errorf("node %d: %w", i+1, err)
		}
		all = append(all, b)
	}
	return all, nil
}

// freePeers are addresses on loopback that nobody has, also not when the NATS server opens them, which does it itself.
func freePeers(nodes int) (map[uint64]string, error) {
	peers := map[uint64]string{}
	for i := range nodes {
		l, err := net.Listen("tcp", loopback.Any())
		if err != nil {
			return nil, fmt.Errorf("looking for a free address: %w", err)
		}
		defer l.Close()
		peers[uint64(i+1)] = l.Addr().String()
	}
	return peers, nil
}

// Listen opens the addresses of all. On failure all are closed, and of no more use.
func (n Nodes) Listen() error {
	for i, b := range n {
		if err := b.Listen(); err != nil {
			for k, other := range n {
				if k != i { // which has closed itself
					other.Close()
				}
			}
			return err
		}
	}
	return nil
}

// Run serves until ctx ends, or one of them fails.
func (n Nodes) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, b := range n {
		group.Go(func() error { return b.Run(ctx) })
	}
	return group.Wait()
}

// Close lets go of everything, for Nodes that do not Run.
func (n Nodes) Close() {
	for _, b := range n {
		b.Close()
	}
}

// Ready returns when the queues are served.
func (n Nodes) Ready(ctx context.Context) error { return n[0].Ready(ctx) }

// NATSURL is where clients reach all of them: URLs with commas between, as NATS clients take them.
func (n Nodes) NATSURL() string {
	var all []string
	for _, b := range n {
		all = append(all, b.NATSURL())
	}
	return strings.Join(all, ",")
}

// HTTPURL is where HTTP clients reach one of them, which passes on what another has to answer.
func (n Nodes) HTTPURL() string { return n[0].HTTPURL() }

// Secret that signs what is pushed.
func (n Nodes) Secret() []byte { return n[0].Secret() }

// Sagas is what runs the sagas, on the node that leads; nil: there are none, or no node leads.
func (n Nodes) Sagas() *workflow.Engine {
	for _, b := range n {
		if e := b.Sagas(); e != nil {
			return e
		}
	}
	return nil
}

// Topics says what each topic holds, by name.
func (n Nodes) Topics(ctx context.Context) ([]TopicStatus, error) { return n[0].Topics(ctx) }

// Broker is what holds the queues: that of the node that leads.
func (n Nodes) Broker() *broker.Broker {
	for _, b := range n {
		if b.leading() {
			return b.Broker()
		}
	}
	return n[0].Broker()
}
