package replica_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/store/raftlog"
	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/transport"
)

// counters is a Machine: a command is a key and adds one to it.
type counters struct{}

func (counters) Apply(b *pebble.Batch, _, _ uint64, key []byte) ([]byte, error) {
	n, err := count(b, key)
	if err != nil {
		return nil, err
	}
	value := binary.BigEndian.AppendUint64(nil, n+1)
	return value, b.Set(key, value, nil)
}

func count(from pebble.Reader, key []byte) (uint64, error) {
	v, closer, err := from.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), closer.Close()
}

// node is a whole node: database, host and transport, on loopback.
type node struct {
	id    uint64
	fs    vfs.FS
	db    *pebble.DB
	host  *replica.Host
	trans *transport.Transport
	stop  context.CancelFunc
	ended sync.WaitGroup
	err   error
}

type cluster struct {
	t      *testing.T
	nodes  []*node
	groups []replica.Descriptor
	addrs  map[uint64]net.Listener
}

func span(i, of int) (start, end []byte) {
	at := func(i int) []byte { return []byte{'d', byte(i * 255 / of)} }
	if i == of-1 {
		return at(i), []byte("e")
	}
	return at(i), at(i + 1)
}

func newCluster(t *testing.T, nodes, replicas, groups int) *cluster {
	c := &cluster{t: t, addrs: map[uint64]net.Listener{}}
	for i := range groups {
		d := replica.Descriptor{Group: uint64(i + 1), NextReplica: uint64(replicas + 1)}
		d.Start, d.End = span(i, groups)
		for id := range uint64(replicas) {
			d.Replicas = append(d.Replicas, replica.Replica{ID: id + 1, Node: id + 1})
		}
		c.groups = append(c.groups, d)
	}
	for id := range uint64(nodes) {
		c.nodes = append(c.nodes, &node{id: id + 1, fs: vfs.NewCrashableMem()})
		c.listen(id + 1)
	}
	for _, n := range c.nodes {
		c.start(n)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			c.end(n)
		}
	})
	return c
}

func (c *cluster) listen(id uint64) {
	l, err := net.Listen("tcp", loopback.Any())
	if err != nil {
		c.t.Fatal(err)
	}
	c.addrs[id] = l
}

func (c *cluster) start(n *node) {
	c.t.Helper()
	var err error
	n.db, err = pebble.Open("db", &pebble.Options{FS: n.fs, FormatMajorVersion: pebble.FormatNewest, Logger: mute{}})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := replica.Bootstrap(n.db, n.id, c.groups); err != nil {
		c.t.Fatal(err)
	}
	var host atomic.Pointer[replica.Host]
	n.trans, err = transport.New(transport.Config{Node: n.id, Secret: []byte("a secret of the tests"),
		Receive: func(from uint64, frame []byte) { host.Load().Receive(from, frame) }})
	if err != nil {
		c.t.Fatal(err)
	}
	n.host, err = replica.New(replica.Config{Node: n.id, Tick: 20 * time.Millisecond}, n.db,
		raftlog.Config{FS: n.fs, Dir: "incoming"}, counters{}, n.trans)
	if err != nil {
		c.t.Fatal(err)
	}
	host.Store(n.host)
	for id, l := range c.addrs {
		n.trans.SetPeer(id, l.Addr().String())
		for _, other := range c.nodes {
			if other.trans != nil {
				other.trans.SetPeer(n.id, c.addrs[n.id].Addr().String())
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	listener := c.addrs[n.id]
	n.ended.Go(func() {
		if err := n.trans.Run(ctx, listener); err != nil {
			c.t.Error(err)
		}
	})
	n.ended.Go(func() { n.err = n.host.Run(ctx) })
}

// end stops a node in good order.
func (c *cluster) end(n *node) {
	if n.stop == nil {
		return
	}
	n.stop()
	n.ended.Wait()
	n.stop = nil
	if err := errors.Join(n.err, n.db.Close()); err != nil {
		c.t.Errorf("node %d: %v", n.id, err)
	}
}

// kill ends a node as if its machine lost power while it was at work.
func (c *cluster) kill(n *node) {
	left := n.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	c.end(n)
	n.fs = left
	c.listen(n.id)
}

type mute struct{}

func (mute) Infof(string, ...any)           {}
func (mute) Errorf(string, ...any)          {}
func (mute) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// leader waits until some node leads the group.
func (c *cluster) leader(ctx context.Context, group uint64) *node {
	for {
		for _, n := range c.nodes {
			if n.stop == nil {
				continue
			}
			groups, _, err := n.host.Status(ctx)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, g := range groups {
				if g.Group == group && g.Leads {
					return n
				}
			}
		}
	}
}

// add adds one to the key, trying again with the same token until it is done.
func (c *cluster) add(ctx context.Context, n *node, token string, key []byte) (uint64, error) {
	for {
		v, err := n.host.ProposeOnce(ctx, []byte(token), key, key)
		switch {
		case err == nil:
			return binary.BigEndian.Uint64(v), nil
		case ctx.Err() != nil || errors.Is(err, replica.ErrStopped):
			return 0, err
		}
	}
}

func (c *cluster) value(ctx context.Context, n *node, key []byte) uint64 {
	c.t.Helper()
	view, err := n.host.Read(ctx, key, true)
	if err != nil {
		c.t.Fatal(err)
	}
	defer view.Close()
	v, err := count(view, key)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// TestLeaderKilled kills the node that leads while others write, and counts: each acknowledged command must be there,
// and each must be there once.
func TestLeaderKilled(t *testing.T) {
	c, ctx := newCluster(t, 3, 3, 4), within(t)
	keys := make([][]byte, 8)
	for i := range keys {
		keys[i] = []byte{'d', byte(i * 32), 'k'}
	}
	victim := c.leader(ctx, 1)
	var acked [8]atomic.Uint64
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 16 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n := c.nodes[(w+i)%3]
				if n == victim {
					n = c.nodes[(w+i+1)%3]
				}
				key := (w + i) % 8
				if _, err := c.add(ctx, n, fmt.Sprintf("%d.%d", w, i), keys[key]); err != nil {
					t.Error(err)
					return
				}
				acked[key].Add(1)
			}
		})
	}
	for acked[0].Load() < 20 {
		c.value(ctx, c.nodes[0], keys[0])
	}
	c.kill(victim)
	began := time.Now()
	next := c.leader(ctx, 1)
	t.Logf("a new leader after %v", time.Since(began).Round(time.Millisecond))
	before := acked[0].Load()
	for acked[0].Load() < before+20 {
		c.value(ctx, next, keys[0])
	}
	c.start(victim)
	before = acked[0].Load()
	for acked[0].Load() < before+20 {
		c.value(ctx, next, keys[0])
	}
	close(stop)
	writers.Wait()
	for i, key := range keys {
		for _, n := range c.nodes { // reads at followers ask the leader
			if got := c.value(ctx, n, key); got != acked[i].Load() {
				t.Errorf("key %d at node %d: %d commands were acknowledged, %d are there", i, n.id, acked[i].Load(), got)
			}
		}
	}
}

// TestMoveSplitMerge changes a group in all ways while it is written to.
func TestMoveSplitMerge(t *testing.T) {
	c, ctx := newCluster(t, 4, 3, 1), within(t)
	key, other := []byte("d\x10k"), []byte("d\x90k")
	var acked atomic.Uint64
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k := key
				if i%2 == 1 {
					k = other
				}
				if _, err := c.add(ctx, c.nodes[1+w%2], fmt.Sprintf("%d.%d", w, i), k); err != nil {
					t.Error(err)
					return
				}
				acked.Add(1)
			}
		})
	}
	change := func(what string, group uint64, do func(n *node) error) {
		t.Helper()
		for ctx.Err() == nil {
			err := do(c.leader(ctx, group))
			var elsewhere *replica.NotLeaderError
			if err == nil {
				return
			}
			if !errors.As(err, &elsewhere) && !errors.Is(err, replica.ErrRefused) && !errors.Is(err, replica.ErrUnavailable) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		t.Fatalf("%s: not within a minute", what)
	}
	change("add a learner", 1, func(n *node) error {
		return n.host.ChangeReplicas(ctx, 1, replica.Change{Kind: replica.AddLearner, Node: 4})
	})
	change("promote it, remove another", 1, func(n *node) error {
		return n.host.ChangeReplicas(ctx, 1, replica.Change{Kind: replica.Promote, Node: 4}, replica.Change{Kind: replica.Remove, Node: 1})
	})
	change("split", 1, func(n *node) error { return n.host.Split(ctx, 1, []byte("d\x50"), 2) })
	before := acked.Load()
	for acked.Load() < before+50 {
		c.value(ctx, c.nodes[3], other)
	}
	change("merge", 1, func(n *node) error { return n.host.Merge(ctx, 1) })
	before = acked.Load()
	for acked.Load() < before+50 {
		c.value(ctx, c.nodes[3], other)
	}
	close(stop)
	writers.Wait()
	if got := c.value(ctx, c.nodes[3], key) + c.value(ctx, c.nodes[3], other); got != acked.Load() {
		t.Errorf("%d commands were acknowledged, %d are there", acked.Load(), got)
	}
	groups, stats, err := c.nodes[3].host.Status(ctx)
	if err != nil || len(groups) != 1 || groups[0].Err != nil || stats.Splits != 1 || stats.Merges != 1 {
		t.Errorf("groups %+v, stats %+v, error %v", groups, stats, err)
	}
	if _, err := c.nodes[0].host.Read(ctx, key, true); !errors.Is(err, replica.ErrNotHere) && !errors.Is(err, replica.ErrUnavailable) {
		t.Errorf("a node whose replica was removed answers a read with %v", err)
	}
}
