package simulate

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

func (r *Result) block(t testing.TB, name string) *BlockResult {
	t.Helper()
	for i := range r.Blocks {
		if r.Blocks[i].Block == name {
			return &r.Blocks[i]
		}
	}
	t.Fatalf("no block %s in the result: %v", name, r.Blocks)
	return nil
}

// withBlocks is one service of plenty of cores that uses blocks.
func withBlocks(rate float64, uses ...string) *topology.System {
	sys := oneService(64, 0.1, 0, rate)
	sys.Services["web"].Uses = uses
	sys.Workload.Duration = topology.Duration(2 * time.Minute)
	return sys
}

var free = &topology.Cost{}

func TestCacheHitsAsCheSays(t *testing.T) {
	heavy(t)
	for _, c := range []struct {
		keys, capacity int
		skew           float64
	}{{10_000, 500, 0.99}, {10_000, 3000, 0.7}, {1000, 100, 0}} {
		sys := withBlocks(2000, "caches.pages")
		sys.Caches = map[string]*topology.Cache{"pages": {Keys: c.keys, Skew: &c.skew, Entry: 1024, Memory: topology.Bytes(1024 * c.capacity), Lookup: free}}
		z, err := stats.NewZipf(uint64(c.keys), c.skew)
		if err != nil {
			t.Fatal(err)
		}
		_, want, err := queueing.CacheHits(z.Weights(), float64(c.capacity), queueing.LRU)
		if err != nil {
			t.Fatal(err)
		}
		sys.Services["web"].Uses = []string{"caches.pages", "tables.pages"}
		sys.Tables = map[string]*topology.Table{"pages": {Read: free, Write: free, Engine: "embedded"}}
		r := simulate(t, sys, Options{Seed: 1, Warmup: -1, Replications: 2, Duration: 40 * time.Second})
		within(t, "hit ratio", r.block(t, "caches.pages").HitRatio.Value, want, 0.02)
		lookups, reads := r.All.Throughput.Value, r.block(t, "tables.pages").Rate.Value
		within(t, "reads of the table", reads, lookups*(1-want), 0.03)
	}
}

// An embedded cache evicts by the code that runs: it hits more often than an LRU list, and less often than one that knows
// which keys are asked for most.
func TestEmbeddedCacheHitsMoreThanLRU(t *testing.T) {
	heavy(t)
	const keys, capacity, skew = 20_000, 400, 0.99
	sys := withBlocks(2000, "caches.pages")
	sys.Caches = map[string]*topology.Cache{"pages": {Engine: "embedded", Keys: keys, Skew: ptr(skew), Entry: 1024, Memory: 1024 * capacity, Lookup: free}}
	z, err := stats.NewZipf(keys, skew)
	if err != nil {
		t.Fatal(err)
	}
	weights, best := z.Weights(), 0.0
	for _, w := range weights[:capacity] {
		best += w
	}
	_, lru, err := queueing.CacheHits(weights, capacity, queueing.LRU)
	if err != nil {
		t.Fatal(err)
	}
	sys.Services["web"].Uses = []string{"caches.pages", "tables.pages"}
	sys.Tables = map[string]*topology.Table{"pages": {Read: free, Write: free, Engine: "embedded"}}
	r := simulate(t, sys, Options{Seed: 1, Warmup: -1, Replications: 2, Duration: 40 * time.Second})
	if got := r.block(t, "caches.pages").HitRatio.Value; got < lru+0.05 || got > best {
		t.Errorf("hits %.3f, LRU would %.3f, the best %.3f", got, lru, best)
	}
}

func TestCacheEntriesExpire(t *testing.T) {
	heavy(t)
	const rate, keys, ttl = 500.0, 1000, 3.0
	sys := withBlocks(rate, "caches.pages", "tables.pages")
	sys.Caches = map[string]*topology.Cache{"pages": {Keys: keys, Skew: ptr(0.0), TTL: topology.Duration(ttl * 1e9), Lookup: free}}
	sys.Tables = map[string]*topology.Table{"pages": {Read: free, Write: free, Engine: "embedded"}}
	r := simulate(t, sys, Options{Seed: 2, Warmup: 5 * time.Second, Replications: 2})
	// Where all fits and each key is asked for at random at rate l, a share of l T / (1 + l T) is found (D. Fricker's TTL
	// caches: the mean number of hits between two misses is l T).
	x := rate / keys * ttl
	within(t, "hit ratio", r.block(t, "caches.pages").HitRatio.Value, x/(1+x), 0.02)
}

func TestWritesPassTheCacheBy(t *testing.T) {
	heavy(t)
	sys := withBlocks(500, "caches.pages", "tables.pages")
	sys.Caches = map[string]*topology.Cache{"pages": {HitRatio: 0.75, Lookup: free}}
	sys.Tables = map[string]*topology.Table{"pages": {Read: free, Write: free, Engine: "embedded"}}
	sys.Routes[0].Method = ""
	home := sys.Workload.Scenarios["home"]
	home.Steps = append(home.Steps, &topology.Step{Method: "POST", Path: "/"})
	r := simulate(t, sys, Options{Seed: 3, Warmup: -1, Replications: 2})
	within(t, "operations of the table", r.block(t, "tables.pages").Rate.Value, 500*(1+0.25), 0.02)
	within(t, "share of writes", r.block(t, "tables.pages").Writes.Value, 1/1.25, 0.02)
}

func TestQueueIsAMultiServerStation(t *testing.T) {
	heavy(t)
	// Consumers that take time and no CPU: a queue with exponential servers.
	for _, c := range []struct{ replicas, each int }{{1, 1}, {2, 3}} {
		servers := c.replicas * c.each
		rate := 0.8 * float64(servers) * 100
		sys := withBlocks(rate, "queues.jobs")
		sys.Services["worker"] = &topology.Service{Work: &topology.Work{Delay: ms(10)}, Replicas: topology.Replicas{Min: c.replicas, Max: c.replicas}, Uses: []string{"queues.jobs"}}
		sys.Queues = map[string]*topology.Queue{"jobs": {Consumers: map[string]int{"worker": c.each}, Publish: free, MaxDeliver: 3}}
		want, err := queueing.MMc(rate, 100, servers)
		if err != nil {
			t.Fatal(err)
		}
		r := simulate(t, sys, Options{Seed: 4, Replications: 4})
		b := r.block(t, "queues.jobs")
		within(t, "time until a message is handled", b.Handled.Value.Seconds(), want.W, 0.05)
		within(t, "messages that wait", b.Backlog.Value, want.Lq, 0.12)
		within(t, "latency of the publisher", r.All.Mean.Value.Seconds(), 0.0001, 0.01)
		if b.Redelivered != 0 || b.Dead != 0 {
			t.Errorf("%d redelivered, %d dead", b.Redelivered, b.Dead)
		}
	}
}

func TestMessagesAreDeliveredAgainAndDie(t *testing.T) {
	sys := withBlocks(100, "queues.jobs")
	sys.Services["worker"] = &topology.Service{Work: &topology.Work{Delay: ms(5)}}
	sys.Queues = map[string]*topology.Queue{
		"jobs": {Consumers: map[string]int{"worker": 8}, MaxDeliver: 3, DeadLetter: "dead", Publish: free}, "dead": {Publish: free},
	}
	r := simulate(t, sys, Options{Seed: 5, Warmup: -1, Replications: 2, Faults: []Fault{{Kind: FaultErrors, Service: "worker", Factor: 0.5}}})
	b := r.block(t, "queues.jobs")
	within(t, "deliveries of a message", float64(b.Delivered)/float64(b.Published), 1+0.5+0.25, 0.02)
	within(t, "share that dies", float64(b.Dead)/float64(b.Published), 0.125, 0.05)
	if dead := r.block(t, "queues.dead").Published; dead != b.Dead {
		t.Errorf("%d messages came to the dead-letter queue of %d", dead, b.Dead)
	}
	// Those that are not acknowledged in time are handled twice.
	sys.Queues["jobs"].AckWait = ms(5)
	r = simulate(t, sys, Options{Seed: 5, Warmup: -1, Replications: 2})
	b = r.block(t, "queues.jobs")
	within(t, "deliveries of a message", float64(b.Delivered)/float64(b.Published), 1+math.Exp(-1)+math.Exp(-2), 0.03)
}

func TestTopicsFanOut(t *testing.T) {
	heavy(t)
	sys := withBlocks(200, "topics.events")
	for _, name := range []string{"mail", "stock"} {
		sys.Services[name] = &topology.Service{Work: &topology.Work{Delay: ms(10)}}
	}
	sys.Functions = map[string]*topology.Function{"audit": {On: topology.Trigger{Topic: "events"}, Work: &topology.Work{Delay: ms(1)}, ColdStart: ms(50)}}
	sys.Topics = map[string]*topology.Topic{"events": {Consumers: map[string]int{"mail": 100, "stock": 100}, Partitions: 4, Publish: free}}
	r := simulate(t, sys, Options{Seed: 6, Warmup: 10 * time.Second, Replications: 2})
	within(t, "visits of mail", r.service(t, "mail").Rate.Value, 200, 0.02)
	within(t, "invocations of audit", r.block(t, "functions.audit").Rate.Value, 200, 0.02)
	within(t, "events handled for each one published", float64(r.block(t, "topics.events").Done)/float64(r.block(t, "topics.events").Published), 3, 0.01)
	within(t, "events in progress at stock", r.service(t, "stock").Present.Value, 2, 0.03)
}

func TestFunctionsScaleToZeroAndBack(t *testing.T) {
	sys := withBlocks(0.05, "functions.thumb")
	sys.Functions = map[string]*topology.Function{"thumb": {Work: &topology.Work{CPU: ms(10), SCV: ptr(0.0)}, ColdStart: ms(200), Idle: ms(5000), Instances: 10}}
	r := simulate(t, sys, Options{Seed: 7, Warmup: -1, Replications: 4, Duration: 2 * time.Hour})
	b := r.block(t, "functions.thumb")
	// An instance lives for 5 s after each invocation: the next one finds it with probability 1 - exp(-0.25).
	within(t, "cold starts for each invocation", float64(b.ColdStarts)/float64(b.Operations), math.Exp(-0.05*5), 0.06)
	within(t, "mean latency", r.All.Mean.Value.Seconds(), 0.0101+0.2*math.Exp(-0.25), 0.06)
	if n := b.Instances.Value; n > 0.4 {
		t.Errorf("%v instances on average", n)
	}
	// At a steady load enough instances run, and no more.
	sys.Workload.Rate = 200
	r = simulate(t, sys, Options{Seed: 7, Warmup: 10 * time.Second, Replications: 2, Duration: 30 * time.Second})
	b = r.block(t, "functions.thumb")
	if b.Instances.Value < 2 || b.Instances.Value > 10 || r.All.ErrorShare.Value > 0 {
		t.Errorf("%v instances at a load of 2, %v errors", b.Instances.Value, r.All.ErrorShare.Value)
	}
}

func TestTableWritesShareTheDisk(t *testing.T) {
	heavy(t)
	table := func(rate float64, v *topology.Table) (*Result, *BlockResult) {
		sys := withBlocks(rate, "tables.orders")
		v.Writes, v.Read, v.Write, v.Engine = ptr(topology.Percent(1)), free, free, "embedded"
		sys.Tables = map[string]*topology.Table{"orders": v}
		r := simulate(t, sys, Options{Seed: 8, Warmup: -1, Replications: 2, Duration: 30 * time.Second})
		return r, r.block(t, "tables.orders")
	}
	// One node, hardly any load: a write takes the CPU of its service and one fsync.
	r, _ := table(5, &topology.Table{Fsync: ms(4)})
	within(t, "latency", r.All.Mean.Value.Seconds(), 0.0001+0.004*1.02, 0.12)
	// At ten times what fsyncs alone could do, they are shared.
	r, b := table(2500, &topology.Table{Fsync: ms(4)})
	within(t, "fsyncs a second", b.Syncs.Value, 250, 0.05)
	if r.All.Mean.Value > 20*time.Millisecond {
		t.Errorf("latency of %v", r.All.Mean.Value)
	}
	// Three nodes: the majority is the faster of the two followers, and the leader itself.
	r, _ = table(5, &topology.Table{Fsync: ms(4), RoundTrip: ms(1), Replicas: 3, Consistency: "strong"})
	if mean := r.All.Mean.Value.Seconds(); mean < 0.0045 || mean > 0.0065 {
		t.Errorf("a write to three nodes takes %v s", mean)
	}
}

func TestTablesSurviveAsTheirConsistencySays(t *testing.T) {
	run := func(consistency string, down int) *Result {
		sys := withBlocks(200, "tables.orders")
		sys.Tables = map[string]*topology.Table{"orders": {Consistency: consistency, Replicas: 3, Shards: 6, Failover: topology.Duration(2 * time.Second), Read: free, Write: free, Engine: "embedded"}}
		return simulate(t, sys, Options{Seed: 9, Warmup: -1, Replications: 2, Duration: 60 * time.Second,
			Faults: []Fault{{Kind: FaultKill, Service: "tables.orders", Replicas: down, At: 20 * time.Second, For: -1}}})
	}
	// A third of the shards have no leader for two seconds of sixty.
	within(t, "strong, one of three nodes dead: errors", run("strong", 1).All.ErrorShare.Value, 2.0/60/3, 0.15)
	within(t, "strong, two of three nodes dead: errors", run("strong", 2).All.ErrorShare.Value, 40.0/60, 0.02)
	if e := run("eventual", 2).All.ErrorShare.Value; e > 0 {
		t.Errorf("eventual, two of three nodes dead: errors of %v", e)
	}
}

func TestHotShardsShow(t *testing.T) {
	share := func(keys int) float64 {
		sys := withBlocks(1000, "tables.orders")
		sys.Tables = map[string]*topology.Table{"orders": {Replicas: 4, Shards: 4, Keys: keys, Skew: ptr(1.2), Writes: ptr(topology.Percent(0)), Read: &topology.Cost{CPU: ms(0.1)}, Engine: "embedded"}}
		sys.Workload.Duration = topology.Duration(20 * time.Second)
		m, err := New(sys, Options{Seed: 10, Warmup: -1})
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSim(m, m.load, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		most, sum := 0.0, 0.0
		for _, r := range s.services[m.blocks[0].service].replicas {
			most, sum = max(most, s.cpu.procs[r].used), sum+s.cpu.procs[r].used
		}
		return most / sum
	}
	if even, hot := share(0), share(10_000); even > 0.28 || hot < 0.35 {
		t.Errorf("the busiest of four nodes has %.3f of the work where keys are alike, %.3f where they are skewed", even, hot)
	}
}

// Leaders says what a simulation plays: how reads fall to the nodes, with hot keys and without.
func TestLeadersAreAsPlayed(t *testing.T) {
	for _, c := range []struct {
		keys, shards, nodes int
		skew                float64
	}{{0, 4, 3, 0}, {5000, 4, 4, 1.2}, {500, 7, 3, 0.8}, {100, 1, 3, 1}} {
		sys := withBlocks(1000, "tables.orders")
		sys.Tables = map[string]*topology.Table{"orders": {Replicas: c.nodes, Shards: c.shards, Keys: c.keys, Skew: &c.skew, Writes: ptr(topology.Percent(0)),
			Read: &topology.Cost{CPU: ms(0.1), SCV: ptr(0.0)}, Engine: "embedded"}}
		sys.Workload.Duration = topology.Duration(20 * time.Second)
		m, err := New(sys, Options{Seed: 10, Warmup: -1})
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSim(m, m.load, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var used []float64
		sum := 0.0
		for _, r := range s.services[m.blocks[0].service].replicas {
			used = append(used, s.cpu.procs[r].used)
			sum += s.cpu.procs[r].used
		}
		led, hottest := Leaders(c.keys, c.skew, c.shards, c.nodes)
		for i := range led {
			if math.Abs(led[i]-used[i]/sum) > 0.02 {
				t.Errorf("%+v: node %d leads %.3f of the reads, and had %.3f", c, i, led[i], used[i]/sum)
			}
		}
		if hottest < 1/float64(c.shards)-1e-9 || hottest > 1+1e-9 {
			t.Errorf("%+v: the hottest shard has %v", c, hottest)
		}
	}
	// Keys beyond those that are looked at one by one are spread evenly.
	led, _ := Leaders(1_000_000_000, 0.5, 4, 4)
	sum := 0.0
	for _, v := range led {
		if sum += v; math.Abs(v-0.25) > 0.01 {
			t.Errorf("of many keys asked for nearly alike a node leads %v", v)
		}
	}
	within(t, "all together", sum, 1, 1e-9)
}

// Demands that name a table ask it, as often and with as many writes as they say.
func TestDemandsAskTables(t *testing.T) {
	sys := withBlocks(200, "tables.orders")
	sys.Tables = map[string]*topology.Table{"orders": {Read: free, Write: free, Engine: "embedded"}}
	sys.Demands = map[string]map[string]*topology.Demand{sys.Routes[0].Name: {
		"web": {Visits: 1, CPU: ms(0.1)}, "tables.orders": {Visits: 2.5, Writes: ptr(topology.Percent(0.2))},
	}}
	r := simulate(t, sys, Options{Seed: 11, Warmup: -1, Replications: 2, Duration: 30 * time.Second})
	b := r.block(t, "tables.orders")
	within(t, "operations", b.Rate.Value, 500, 0.03)
	within(t, "share of writes", b.Writes.Value, 0.2, 0.05)
	for _, n := range r.Notes {
		if strings.Contains(n, "where demands are given") {
			t.Errorf("it is said that the table is part of the demands: %s", n)
		}
	}
	sys.Demands[sys.Routes[0].Name]["tables.nothing"] = &topology.Demand{Visits: 1}
	if _, err := New(sys, Options{}); err == nil || !strings.Contains(err.Error(), `table "nothing"`) {
		t.Errorf("a table that does not exist: %v", err)
	}
}

// Reads that any node answers wait for no majority; the others, and writes, do.
func TestEventualReadsWaitForNobody(t *testing.T) {
	read := func(eventual topology.Percent) time.Duration {
		sys := withBlocks(100, "tables.orders")
		sys.Tables = map[string]*topology.Table{"orders": {Replicas: 3, RoundTrip: ms(10), EventualReads: eventual, Read: free, Write: free, Engine: "embedded"}}
		sys.Routes[0].Method = "GET"
		return simulate(t, sys, Options{Seed: 12, Warmup: -1, Replications: 2, Duration: 20 * time.Second}).block(t, "tables.orders").Read.Value
	}
	strong, half, all := read(0), read(0.5), read(1)
	if all != 0 || strong < 5*time.Millisecond {
		t.Errorf("a read takes %v by any node and %v by the leader", all, strong)
	}
	within(t, "half of them", half.Seconds(), strong.Seconds()/2, 0.05)
}
