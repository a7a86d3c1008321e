package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Nodes are the servers of one cache in this process: one that stands alone, or all nodes of a cluster, in the order of their
// numbers, which reach each other on loopback. NewNodes makes them, Listen binds them, Run serves; Ready says when they do.
type Nodes []*Server

// Shape of a cache: how many nodes it has, and what they are to each other.
type Shape struct {
	Nodes    int // 0 and 1: it stands alone
	Replicas int // of each primary
	HotReads time.Duration
	Dir      string // for what the nodes of a cluster agree on, and keep
}

// NewNodes prepares the servers of a cache. cfg is that of each. A cluster of which nothing is kept begins anew, and empties its folder.
func NewNodes(cfg Config, shape Shape) (Nodes, error) {
	if shape.Nodes <= 1 {
		s, err := New(cfg)
		if err != nil {
			return nil, err
		}
		return Nodes{s}, nil
	}
	dir, name := shape.Dir, "node-"
	if cfg.Persist.Dir != "" { // another folder, which nobody empties
		dir, name = cfg.Persist.Dir, "kept-"
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	all, peers := make(Nodes, shape.Nodes), map[uint64]string{}
	for i := range all {
		own := cfg
		if own.Log != nil {
			own.Log = own.Log.With("node", i+1)
		}
		at := filepath.Join(dir, fmt.Sprint(name, i+1))
		if own.Persist.Dir != "" {
			own.Persist.Dir = filepath.Join(at, "data")
		}
		own.Cluster = &Cluster{
			Node: uint64(i + 1), Peers: peers, Secret: secret, Dir: at, Bootstrap: true,
			Replicas: shape.Replicas, HotReads: shape.HotReads,
		}
		s, err := New(own)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", i+1, err)
		}
		all[i] = s
	}
	return all, nil
}

// Listen binds the addresses of all.
func (n Nodes) Listen() error {
	if len(n) == 1 {
		return n[0].Listen()
	}
	for _, s := range n {
		c := s.cfg.Cluster
		if !s.cfg.Persist.on() {
			if err := os.RemoveAll(c.Dir); err != nil {
				return fmt.Errorf("beginning the cluster anew: %w", err)
			}
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("opening an address for the nodes: %w", err)
		}
		c.Listener, c.Peers[c.Node] = l, l.Addr().String()
	}
	for i, s := range n {
		if err := s.Listen(); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	return nil
}

// Run serves until ctx ends, or one of them fails, which ends the others.
func (n Nodes) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range n {
		group.Go(func() error { return s.Run(ctx) })
	}
	return group.Wait()
}

// Ready waits until all serve: those of a cluster have shared the slots, and the replicas have what they copy.
func (n Nodes) Ready(ctx context.Context) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for i := 0; i < len(n); {
		if n[i].serves() {
			i++
			continue
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("node %d does not serve yet", i+1), ctx.Err())
		}
	}
	return nil
}

// serves reports whether the server answers for what is its own; one of a cluster as long as its lease runs.
func (s *Server) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.sharding
	return h == nil || h.state() == "ok" && h.m.Formed && (h.of != 0 || h.self.Of == 0)
}

// state is that of NodeStatus.
func (h *sharding) state() string {
	switch {
	case !h.active || !h.node.Leased():
		return "down"
	case h.of != 0 && !h.whole():
		return "loading"
	}
	return "ok"
}

// Addresses at which clients reach them.
func (n Nodes) Addresses() (all []string) {
	for _, s := range n {
		all = append(all, s.Addr().String())
	}
	return all
}

// Persists says what is kept on disk.
func (n Nodes) Persists() Persist { return n[0].Persists() }

// Stats adds up what the nodes have counted. What is held, and may be, is that of the primaries: copies do not count.
func (n Nodes) Stats() (sum Stats) {
	for _, s := range n {
		st := s.Stats()
		sum.Hits, sum.Misses, sum.Evicted, sum.Expired = sum.Hits+st.Hits, sum.Misses+st.Misses, sum.Evicted+st.Evicted, sum.Expired+st.Expired
		sum.Commands, sum.Errors, sum.Clients = sum.Commands+st.Commands, sum.Errors+st.Errors, sum.Clients+st.Clients
		sum.Loads, sum.LoadFailures, sum.Behind = sum.Loads+st.Loads, sum.LoadFailures+st.LoadFailures, sum.Behind+st.Behind
		sum.Resident += st.Resident
		sum.Fsync = st.Fsync
		if s.primary() {
			sum.Keys, sum.Used, sum.Limit = sum.Keys+st.Keys, sum.Used+st.Used, sum.Limit+st.Limit
		}
	}
	return sum
}

// primary reports whether the server copies none other.
func (s *Server) primary() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sharding == nil || s.sharding.self.Of == 0
}

// NodeStatus says how it stands with a node of a cluster.
type NodeStatus struct {
	Node    uint64 `json:"node"`
	Address string `json:"address"`
	// Of is the primary whose replica it is; 0: it is a primary.
	Of uint64 `json:"of,omitempty"`
	// State is ok, loading (a replica that has not all keys yet) or down (it answers for nothing: it has no lease, or is not let in).
	State string `json:"state"`
	Slots int    `json:"slots"`
	Keys  int64  `json:"keys"`
	Used  int64  `json:"used_bytes"`
	Limit int64  `json:"limit_bytes"`
}

// Status of the nodes of a cluster; none for a server that stands alone.
func (n Nodes) Status() (all []NodeStatus) {
	if len(n) == 1 {
		return nil
	}
	for _, s := range n {
		st := s.Stats()
		one := NodeStatus{Node: s.cfg.Cluster.Node, Address: s.Addr().String(), State: "down", Keys: st.Keys, Used: st.Used, Limit: st.Limit}
		s.mu.Lock()
		if h := s.sharding; h != nil {
			one.Of, one.Slots, one.State = h.self.Of, h.m.Owned(h.id), h.state()
		}
		s.mu.Unlock()
		all = append(all, one)
	}
	return all
}
