package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/banyanhq/banyan/internal/loopback"
)

// fleet is a cluster on loopback, in one process.
type fleet struct {
	t     *testing.T
	nodes map[uint64]*Server
	stops map[uint64]func()
	cfgs  map[uint64]Config
}

func newFleet(t *testing.T, nodes, replicas int) *fleet {
	t.Helper()
	return newFleetOf(t, nodes, replicas, func(*Config) {})
}

// newFleetOf is a fleet of nodes whose configurations are changed before they start.
func newFleetOf(t *testing.T, nodes, replicas int, change func(*Config)) *fleet {
	t.Helper()
	f := &fleet{t: t, nodes: map[uint64]*Server{}, stops: map[uint64]func(){}, cfgs: map[uint64]Config{}}
	peers, listeners := map[uint64]string{}, map[uint64]net.Listener{}
	for id := uint64(1); id <= uint64(nodes); id++ {
		l, err := net.Listen("tcp", loopback.Any())
		if err != nil {
			t.Fatal(err)
		}
		peers[id], listeners[id] = l.Addr().String(), l
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for id, l := range listeners {
		cfg := Config{Listen: loopback.Any(), Loops: 1, Log: log.With("on", id), Cluster: &Cluster{Node: id, Peers: peers, Secret: []byte("a secret of the tests"),
			Dir: t.TempDir(), Bootstrap: true, Replicas: replicas, Listener: l}}
		change(&cfg)
		f.cfgs[id] = cfg
		f.start(id)
	}
	t.Cleanup(func() {
		for id := range f.cfgs {
			f.stop(id)
		}
	})
	f.waitFor("the cluster is up", func() bool {
		for _, s := range f.nodes {
			s.mu.Lock()
			h := s.sharding
			up := h.active && h.node.Leased() && h.m.Formed && (h.of == 0 || h.whole())
			s.mu.Unlock()
			if !up {
				return false
			}
		}
		return true
	})
	return f
}

func (f *fleet) start(id uint64) {
	f.t.Helper()
	s, err := New(f.cfgs[id])
	if err != nil {
		f.t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.nodes[id] = s
	f.stops[id] = func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("node %d: %v", id, err)
		}
	}
	// One that is started again is where it was.
	cfg := f.cfgs[id]
	cfg.Listen = s.Addr().String()
	again := *cfg.Cluster
	again.Listener, again.Bootstrap = nil, false
	cfg.Cluster = &again
	f.cfgs[id] = cfg
}

func (f *fleet) stop(id uint64) {
	if stop := f.stops[id]; stop != nil {
		stop()
		delete(f.stops, id)
		delete(f.nodes, id)
	}
}

func (f *fleet) waitFor(what string, is func() bool) {
	f.t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	over := time.NewTimer(2 * time.Minute)
	defer over.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-over.C:
			f.t.Fatalf("waited too long until %s", what)
		}
	}
}

// client is go-redis's, as anybody would use it.
func (f *fleet) client() *redis.ClusterClient {
	var addrs []string
	for _, s := range f.nodes {
		addrs = append(addrs, s.Addr().String())
	}
	// Like any client it sits out what ends by itself; a slow answer is waited for, or what was asked would be done twice.
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 16, DialTimeout: time.Minute, ReadTimeout: time.Minute})
	f.t.Cleanup(func() { c.Close() })
	return c
}

func (f *fleet) dial(id uint64) *conn { return dial(f.t, f.nodes[id].Addr().String()) }

func TestClusterProtocol(t *testing.T) {
	f := newFleet(t, 3, 0)
	one, two := f.nodes[1].Addr().String(), f.nodes[3].Addr().String()
	c := f.dial(1)
	for _, step := range [][2]string{
		{"cluster keyslot foo", "12182"},
		{"cluster keyslot {foo}bar", "12182"},
		{"get foo", "-MOVED 12182 " + two},
		{"set bar 1", "OK"}, // slot 5061
		{"mget bar foo", "-CROSSSLOT Keys in request don't hash to the same slot"},
		{"mset {bar}1 a {bar}2 b", "OK"},
		{"cluster countkeysinslot 5061", "3"},
		{"cluster getkeysinslot 5061 1", ""},
		{"multi", "OK"}, {"set foo 1", "-MOVED 12182 " + two}, {"exec", "-EXECABORT Transaction discarded because of previous errors."},
		{"multi", "OK"}, {"get bar", `QUEUED`}, {"get {bar}1", "QUEUED"}, {"exec", `["1" "a"]`},
		{"select 1", "-ERR SELECT is not allowed in cluster mode"},
		{"asking", "OK"}, {"get foo", "-MOVED 12182 " + two},
		{"readonly", "OK"}, {"readwrite", "OK"},
		{"cluster countkeysinslot 16384", "-ERR Invalid slot"},
		{"spublish foo x", "-MOVED 12182 " + two},
		{"sort bar by w*", "-ERR BY and GET options of SORT denied in cluster mode when the pattern names keys"},
		{"wait 1 10", "0"},
		{"cluster reset", "-ERR unknown subcommand 'reset'. Try CLUSTER HELP."},
	} {
		if got := c.doLine(step[0]); step[1] != "" && got != step[1] {
			t.Errorf("%s: %s, want %s", step[0], got, step[1])
		}
	}
	if nodes := c.doLine("cluster nodes"); !strings.Contains(nodes, one+"@") || !strings.Contains(nodes, "myself,master - 0 0 0 connected 0-5461") {
		t.Errorf("nodes: %s", nodes)
	}
	if got := f.dial(2).doLine("flushall"); got != "OK" {
		t.Errorf("flushall: %s", got)
	}
	if got := dial(t, startServer(t, Config{}).Addr().String()).doLine("cluster info"); got != "-ERR This instance has cluster support disabled" {
		t.Errorf("alone: %s", got)
	}
}

func TestClusterClient(t *testing.T) {
	f := newFleet(t, 3, 0)
	c := f.client()
	ctx := t.Context()
	for i := range 1000 {
		if err := c.Set(ctx, fmt.Sprint("key", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var got atomic.Int64 // the nodes are asked side by side
	for i := range 1000 {
		if v, err := c.Get(ctx, fmt.Sprint("key", i)).Int(); err != nil || v != i {
			t.Fatalf("key%d: %d, %v", i, v, err)
		}
	}
	if err := c.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
		n, err := m.DBSize(ctx).Result()
		got.Add(n)
		if n < 200 {
			t.Errorf("a node has %d keys of 1000", n)
		}
		return err
	}); err != nil || got.Load() != 1000 {
		t.Errorf("%d keys on all nodes, %v", got.Load(), err)
	}
	sub := c.Subscribe(ctx, "news")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	for id := range f.nodes { // whoever publishes is heard
		f.dial(id).doLine("publish news fresh")
		if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "fresh" {
			t.Fatal(m, err)
		}
	}
}

// TestMajorityLost: nodes without a majority answer for nothing.
func TestMajorityLost(t *testing.T) {
	f := newFleet(t, 3, 0)
	c := f.dial(1)
	if got := c.doLine("set bar 1"); got != "OK" {
		t.Fatal(got)
	}
	f.stop(2)
	f.stop(3)
	f.waitFor("the lease ends", func() bool { return !f.nodes[1].sharding.node.Leased() })
	if got := c.doLine("get bar"); got != "-CLUSTERDOWN The cluster is down" {
		t.Errorf("without a majority: %s", got)
	}
	f.start(2)
	f.waitFor("the lease is back", func() bool { return f.nodes[1].sharding.node.Leased() })
	if got := c.doLine("get bar"); got != `"1"` {
		t.Errorf("with a majority: %s", got)
	}
}

// checker writes and reads counters by way of a cluster client, and knows what each must be.
type checker struct {
	f        *fleet
	ops      atomic.Int64
	failures sync.Map
	stop     context.CancelFunc
	done     sync.WaitGroup
}

func (f *fleet) check(workers int, values func(i int) string) *checker {
	ctx, cancel := context.WithCancel(context.Background())
	k := &checker{f: f, stop: cancel}
	for w := range workers {
		c := f.client()
		k.done.Go(func() {
			count := map[int]int64{}
			for i := 0; ctx.Err() == nil; i++ {
				n := i % 97
				key := fmt.Sprintf("count%d-%d", w, n)
				count[n]++
				got, err := c.Incr(context.Background(), key).Result()
				if err != nil || got != count[n] {
					k.failures.Store(fmt.Sprintf("%s: %d, want %d, %v", key, got, count[n], err), true)
					count[n] = got
				}
				name := values(i % 1000)
				if v, err := c.Get(context.Background(), name).Result(); err != nil || v != name {
					k.failures.Store(fmt.Sprintf("%s: %q, %v", name, v, err), true)
				}
				k.ops.Add(2)
			}
		})
	}
	return k
}

func (k *checker) end() (failures []string) {
	k.stop()
	k.done.Wait()
	k.failures.Range(func(what, _ any) bool { failures = append(failures, what.(string)); return true })
	return failures
}

// TestMoveUnderLoad: slots go to and fro, and clients notice nothing.
func TestMoveUnderLoad(t *testing.T) {
	f := newFleet(t, 3, 0)
	c := f.client()
	ctx := t.Context()
	value := func(i int) string { return fmt.Sprint("value", i) }
	for i := range 1000 {
		if err := c.Set(ctx, value(i), value(i), time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.RPush(ctx, "list", "a", "b", "c")
	c.HSet(ctx, "hash", "f", "v", "g", "w")
	c.SAdd(ctx, "set", "m", "n")
	c.ZAdd(ctx, "zset", redis.Z{Score: 1.5, Member: "m"}, redis.Z{Score: -2, Member: "n"})
	c.SetRange(ctx, "large", 1<<20, "end")
	for i := range 300 {
		c.XAdd(ctx, &redis.XAddArgs{Stream: "stream", Values: []any{"n", i}})
	}
	c.XGroupCreate(ctx, "stream", "group", "0")
	c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "group", Consumer: "one", Count: 250, Streams: []string{"stream", ">"}})
	check := f.check(4, value)
	for _, weights := range []string{"1 0", "1 1 2 0", "3 0", "1 1", "2 5"} {
		before := check.ops.Load()
		f.waitFor("the load goes on", func() bool { return check.ops.Load() > before+500 })
		rebalanced := f.dial(1).doLine("cache.rebalance " + weights)
		if strings.HasPrefix(rebalanced, "-") || rebalanced == "[]" {
			t.Fatalf("rebalance %s: %s", weights, rebalanced)
		}
		f.waitFor("the slots have moved", func() bool {
			for _, s := range f.nodes {
				if len(s.sharding.node.Map().Moving) > 0 {
					return false
				}
			}
			return true
		})
	}
	ops := check.ops.Load()
	if failures := check.end(); len(failures) > 0 {
		t.Errorf("%d of %d requests went wrong: %s", len(failures), ops, failures[:min(5, len(failures))])
	}
	if v := c.LRange(ctx, "list", 0, -1).Val(); fmt.Sprint(v) != "[a b c]" {
		t.Error("list", v)
	}
	if v := c.HGetAll(ctx, "hash").Val(); fmt.Sprint(v) != "map[f:v g:w]" {
		t.Error("hash", v)
	}
	if v := c.SMIsMember(ctx, "set", "m", "n", "o").Val(); fmt.Sprint(v) != "[true true false]" {
		t.Error("set", v)
	}
	if v := c.ZRangeWithScores(ctx, "zset", 0, -1).Val(); fmt.Sprint(v) != "[{-2 n} {1.5 m}]" {
		t.Error("zset", v)
	}
	if n := c.StrLen(ctx, "large").Val(); n != 1<<20+3 {
		t.Error("large", n)
	}
	if n, p := c.XLen(ctx, "stream").Val(), c.XPending(ctx, "stream", "group").Val(); n != 300 || p == nil || p.Count != 250 || p.Consumers["one"] != 250 {
		t.Error("stream", n, p)
	}
	if ttl := c.TTL(ctx, value(7)).Val(); ttl < 59*time.Minute || ttl > time.Hour {
		t.Error("ttl", ttl)
	}
	t.Logf("%d requests while slots moved", ops)
}

// TestFailover: a primary dies under load, and its replica takes over with all that was acknowledged by WAIT.
func TestFailover(t *testing.T) {
	f := newFleet(t, 6, 1)
	c := f.client()
	ctx := t.Context()
	const n = 2000
	for i := range n {
		if err := c.Set(ctx, fmt.Sprint("key", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
		if have, err := m.Do(ctx, "WAIT", 1, 60000).Int(); err != nil || have != 1 {
			return errors.Join(fmt.Errorf("%d replicas have it", have), err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 100 { // "{bar}" is of node 1
		ids = append(ids, c.XAdd(ctx, &redis.XAddArgs{Stream: "{bar}stream", Values: []string{"f", "v"}}).Val())
	}
	c.XGroupCreate(ctx, "{bar}stream", "group", "0")
	c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "group", Consumer: "one", Streams: []string{"{bar}stream", ">"}})
	c.XAck(ctx, "{bar}stream", "group", ids[:30]...)
	c.XDel(ctx, "{bar}stream", ids[:10]...)
	if have := f.dial(1).doLine("wait 1 60000"); have != "1" {
		t.Fatalf("WAIT: %s", have)
	}
	replica := f.dial(4)
	replica.doLine("readonly")
	if got := replica.doLine("flushall"); got != "-"+errReadOnly {
		t.Errorf("a replica that is written to: %s", got)
	}
	if got := replica.doLine("get bar"); got != "nil" {
		t.Errorf("a replica that is read: %s", got)
	}
	if got := replica.doLine("set bar 1"); !strings.HasPrefix(got, "-MOVED 5061 ") {
		t.Errorf("a replica that is written to: %s", got)
	}
	f.stop(1)
	began := time.Now()
	streak, failed := 0, 0
	f.waitFor("all keys are there again", func() bool {
		for i := range n {
			key := (i * 7919) % n // to and fro between the nodes
			v, err := c.Get(ctx, fmt.Sprint("key", key)).Int()
			switch {
			case errors.Is(err, redis.Nil) || err == nil && v != key:
				t.Fatalf("key%d was lost: %d", key, v)
			case err != nil:
				failed++
				streak = 0
				return false
			}
			if streak++; streak == 2*n {
				return true
			}
		}
		return false
	})
	t.Logf("all %d keys again after %s, %d requests failed", n, time.Since(began), failed)
	if n, p := c.XLen(ctx, "{bar}stream").Val(), c.XPending(ctx, "{bar}stream", "group").Val(); n != 90 || p == nil || p.Count != 70 || p.Lower != ids[30] {
		t.Error("stream", n, p)
	}
	if err := c.Set(ctx, "bar", "new", 0).Err(); err != nil {
		t.Error(err)
	}
	f.start(1)
	f.waitFor("the dead one follows", func() bool {
		s := f.nodes[1]
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.sharding.of == 4 && s.sharding.whole()
	})
	if have := f.dial(4).doLine("wait 1 60000"); have != "1" {
		t.Errorf("WAIT: %s", have)
	}
	back := f.dial(1)
	back.doLine("readonly")
	f.waitFor("the one that came back answers", func() bool { return back.doLine("get bar") == `"new"` }) // not before it has renewed its lease
}

// TestWaitHearsOfAReplicaThatIsBack: who waits for a replica that was not there hears of it when it follows again, also where it
// has nothing to catch up on.
func TestWaitHearsOfAReplicaThatIsBack(t *testing.T) {
	f := newFleet(t, 4, 1)
	c, s := f.dial(1), f.nodes[1]
	if got := c.doLine("set bar 1"); got != "OK" {
		t.Fatal(got)
	}
	f.following()
	s.mu.Lock()
	for id := range s.sharding.links {
		s.sharding.forgetLink(id)
	}
	c.send("wait", "1", "0")
	s.mu.Unlock()
	if got := c.read(); got != "1" {
		t.Errorf("WAIT: %s", got)
	}
}

// TestAllStartAnew: where nobody has the data any more, the cluster goes on without them.
func TestAllStartAnew(t *testing.T) {
	f := newFleet(t, 4, 1)
	for id := range f.cfgs {
		f.stop(id)
	}
	for id := range f.cfgs {
		f.start(id)
	}
	c := f.client()
	for _, key := range []string{"foo", "bar"} {
		f.waitFor("the primary of "+key+" is let in", func() bool { return c.Set(t.Context(), key, "v", 0).Err() == nil })
	}
}
