package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
)

// rig is a cluster on loopback whose disks are in memory.
type rig struct {
	t     *testing.T
	peers map[uint64]string
	disks map[uint64]vfs.FS
	nodes map[uint64]*Node
	stops map[uint64]func()
	first map[uint64]net.Listener
	ended map[uint64]chan error // what Run returned
}

func newRig(t *testing.T, nodes int, change func(*Config)) *rig {
	if testing.Verbose() {
		before := change
		change = func(c *Config) {
			c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", c.Node)
			if before != nil {
				before(c)
			}
		}
	}
	r := &rig{t: t, peers: map[uint64]string{}, disks: map[uint64]vfs.FS{}, nodes: map[uint64]*Node{}, stops: map[uint64]func(){}, first: map[uint64]net.Listener{}, ended: map[uint64]chan error{}}
	for i := range nodes {
		l, err := net.Listen("tcp", loopback.Any())
		if err != nil {
			t.Fatal(err)
		}
		id := uint64(i + 1)
		r.peers[id], r.first[id], r.disks[id] = l.Addr().String(), l, vfs.NewMem()
	}
	for id := range r.peers {
		r.start(id, change)
	}
	t.Cleanup(func() {
		for id := range r.peers {
			r.stop(id)
		}
	})
	return r
}

func (r *rig) start(id uint64, change func(*Config)) {
	r.t.Helper()
	cfg := Config{Node: id, Peers: r.peers, Secret: []byte("a secret of the tests"), Dir: "data", FS: r.disks[id], Tick: 20 * time.Millisecond, Listener: r.first[id]}
	cfg.Bootstrap = cfg.Listener != nil
	r.first[id] = nil
	if change != nil {
		change(&cfg)
	}
	n, err := Open(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := n.Listen(); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var done sync.WaitGroup
	done.Go(func() {
		err := n.Run(ctx)
		if err != nil && !errors.Is(err, ErrGone) && !errors.Is(err, ErrDamaged) {
			r.t.Errorf("node %d: %v", id, err)
		}
		ended <- err
	})
	r.ended[id] = ended
	r.nodes[id] = n
	r.stops[id] = sync.OnceFunc(func() {
		cancel()
		done.Wait()
		if err := n.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

// add has a node that is not there yet join, or one come back with an empty disk under another address.
func (r *rig) add(id uint64) {
	r.t.Helper()
	l, err := net.Listen("tcp", loopback.Any())
	if err != nil {
		r.t.Fatal(err)
	}
	r.peers[id], r.disks[id], r.first[id] = l.Addr().String(), vfs.NewMem(), l
	r.start(id, func(c *Config) { c.Bootstrap = false })
}

func (r *rig) stop(id uint64) { r.stops[id]() }

// until waits for what other goroutines do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func table(name string) *shard.Table {
	return &shard.Table{Name: name, Key: shard.Key{Hash: shard.Attribute{Name: "id", Kind: attr.String}}}
}

func (r *rig) define(by uint64, name string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		res, err := r.nodes[by].Define(ctx, table(name))
		if r.nodes[by].Unavailable(err) {
			continue // there is no leader yet
		}
		if err != nil || res.Code != shard.OK {
			r.t.Fatalf("defining %s: %v, %v", name, res, err)
		}
		return
	}
}

// A table that one node defines the others have; a node that was away gets what it missed as a snapshot, tables too.
func TestSnapshotBringsTables(t *testing.T) {
	small := func(c *Config) { c.logEntries = 16 }
	r := newRig(t, 3, small)
	r.define(1, "before")
	until(t, "all have the table", func() bool {
		return r.nodes[1].Table("before") != nil && r.nodes[2].Table("before") != nil && r.nodes[3].Table("before") != nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defined := 0
	until(t, "a node that was away gets a snapshot", func() bool { // unless it comes back before the leader has cut its log
		r.stop(3)
		until(t, "a leader has noticed", func() bool { return r.seenDown(3) }) // and keeps no entries for it any more
		for range 80 {
			defined++
			r.define(1, fmt.Sprintf("while-%d", defined))
		}
		r.start(3, small)
		until(t, "it has the last table", func() bool { return r.nodes[3].Table(fmt.Sprintf("while-%d", defined)) != nil })
		_, stats, err := r.nodes[3].Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return stats.SnapshotsApplied > 0
	})
	if r.nodes[3].Table("while-1") == nil || r.nodes[3].Table("before") == nil {
		t.Error("it lacks earlier ones")
	}
}

// What a node must not begin with is refused with the reason.
func TestRefusedStarts(t *testing.T) {
	fs := vfs.NewMem()
	cfg := Config{Node: 1, Peers: map[uint64]string{1: "127.0.0.1:1", 2: "127.0.0.1:2", 3: "127.0.0.1:3"}, Secret: []byte("a secret of the tests"), Dir: "data", FS: fs}
	for name, change := range map[string]func(*Config){
		"an unknown address": func(c *Config) { c.Node = 4; c.Bootstrap = true },
		"no secret":          func(c *Config) { c.Secret = []byte("short"); c.Bootstrap = true; c.FS = vfs.NewMem() },
	} {
		bad := cfg
		change(&bad)
		if n, err := Open(bad); err == nil {
			n.Close()
			t.Errorf("%s: no error", name)
		}
	}
	cfg.Bootstrap = true
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Node = 2
	if n, err := Open(cfg); err == nil {
		n.Close()
		t.Error("the data of another node: no error")
	}
}
