package simulate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// blockKind is what a block of the system is.
type blockKind uint8

const (
	blockCache blockKind = iota
	blockTable
	blockQueue
	blockTopic
	blockFunction
)

var blockKinds = map[string]blockKind{
	"caches": blockCache, "tables": blockTable, "queues": blockQueue, "topics": blockTopic, "functions": blockFunction,
}

// blockModel is a cache, table, queue, topic or function. Its nodes are replicas of a station of its own.
type blockModel struct {
	kind    blockKind
	name    string // as in 'uses'
	service int32
	node    int32 // its visits

	read, write distribution // CPU of one operation
	delay       distribution // beside it
	keys        uint64       // that are asked for; 0: not known
	zipf        *stats.Zipf  // nil: all alike

	// table
	follow     distribution // CPU of a write at the nodes that did not take it
	writeDelay distribution
	eventual   float64 // share of reads that any node answers

	// cache
	capacity int32 // entries of one node
	ttl      int64
	hitRatio float64
	embedded bool // a cache of ours: it evicts by policy.TinyLFU, and others by LRU

	// table, queue, topic
	fsync     distribution
	roundTrip distribution
	shards    int
	nodes     int // of a table, or the primaries of a cache
	strong    bool
	writes    float64 // share; negative: by the request's method
	failover  int64
	groups    []int32 // of a queue or topic
	queue     *topology.Queue
	dead      int32 // block that a queue's dead messages are moved to; none: they stay

	// function
	places int // invocations that an instance handles at once
	most   int // instances
	idle   int64
	every  int64
	invoke int32 // node of a root that only invokes it
	entry  int32 // node of what an invocation does
}

// blockCount is what has happened at a block since the start of the run.
type blockCount struct {
	Operations, Writes, Hits, Misses        int64
	ReadsDone, WritesDone                   int64 // of a table
	readTook, writeTook                     int64 // nanoseconds, of those
	Syncs, Unavailable                      int64
	Published, Delivered, Redelivered, Dead int64
	Refused, Expired                        int64   // messages that a queue had no room for, and that nobody took in time
	Done                                    int64   // messages and events that were handled
	ColdStarts                              int64   // instances that were started
	sojourn                                 int64   // nanoseconds from being published to being handled, of those
	backlogArea                             float64 // number times seconds
	backlogNow                              int     // messages that wait
	accounted                               int64
	byNode                                  []int64 // operations on each node of a cache that has several
}

// busiest is the share of the operations on a cache that its busiest node has; 0 where it has one.
func (c *blockCount) busiest() float64 {
	most, sum := int64(0), int64(0)
	for _, n := range c.byNode {
		most, sum = max(most, n), sum+n
	}
	return float64(most) / float64(max(sum, 1))
}

func (c blockCount) since(b blockCount) blockCount {
	c.Operations -= b.Operations
	c.Writes -= b.Writes
	c.ReadsDone -= b.ReadsDone
	c.WritesDone -= b.WritesDone
	c.readTook -= b.readTook
	c.writeTook -= b.writeTook
	c.Hits -= b.Hits
	c.Misses -= b.Misses
	c.Syncs -= b.Syncs
	c.Unavailable -= b.Unavailable
	c.Published -= b.Published
	c.Delivered -= b.Delivered
	c.Redelivered -= b.Redelivered
	c.Dead -= b.Dead
	c.Refused -= b.Refused
	c.Expired -= b.Expired
	c.Done -= b.Done
	c.ColdStarts -= b.ColdStarts
	c.sojourn -= b.sojourn
	c.backlogArea -= b.backlogArea
	c.byNode = slices.Clone(c.byNode)
	for i := range b.byNode {
		c.byNode[i] -= b.byNode[i]
	}
	return c
}

// block is a blockModel at work.
type block struct {
	*blockModel
	count  blockCount
	caches []keyCache // of a cache, by node; nil: its keys are not known
	logs   []log      // by node
	line   *backlog   // of a queue
	draws  *stream
}

func (s *sim) newBlock(m *blockModel) block {
	b := block{blockModel: m, draws: s.stream("keys of " + m.name)}
	if m.kind == blockCache && m.keys > 0 {
		b.caches = m.newCaches()
		b.warm()
	}
	if m.kind == blockCache && m.nodes > 1 {
		b.count.byNode = make([]int64, m.nodes)
	}
	if m.kind == blockTable || m.kind == blockQueue || m.kind == blockTopic {
		b.logs = make([]log, max(m.nodes, 1))
	}
	if m.kind == blockQueue {
		b.line = newLine(m.queue, s.stream("jitter of "+m.name))
	}
	return b
}

// accountBlock sums a block's areas up to now, before what they sum changes.
func (s *sim) accountBlock(i int32) *block {
	b := &s.blocks[i]
	if dt := float64(s.now-b.count.accounted) * 1e-9; dt > 0 {
		b.count.backlogArea += dt * float64(b.count.backlogNow)
	}
	b.count.accounted = s.now
	return b
}

// op says what is asked of a block.
type op uint8

const (
	opAuto op = iota // what the request's method says
	opRead
	opWrite
	opFill    // store in a cache what it did not have
	opReadAny // of a table, by whichever node
)

// enterBlock sends a call to the node of a block that answers it.
func (s *sim) enterBlock(i int32, e *edge) {
	b := &s.blocks[e.block]
	c := s.calls.at(i)
	b.count.Operations++
	at := 0
	switch b.kind {
	case blockTable:
		s.enterTable(i, b, e)
		return
	case blockFunction:
		s.invoke(i, b)
		return
	case blockCache:
		at = s.cacheNode(b, c)
	default:
		c.op = opWrite
	}
	node := s.services[b.service].replicas[at]
	if !s.reachable(node) {
		b.count.Unavailable++
		s.endCall(i, 503, Unavailable)
		return
	}
	s.visit(i, node, false)
}

// reachable reports whether a node of a block answers.
func (s *sim) reachable(node int32) bool {
	r := &s.replicas[node]
	return r.state == replicaReady && r.cuts == 0
}

// blockWork draws the CPU time of an operation.
func (s *sim) blockWork(n *node, o op) float64 {
	b := &s.blocks[n.block]
	if b.kind == blockTable && o == opWrite {
		return b.write.sample(s.services[n.service].work)
	}
	return n.cpu.sample(s.services[n.service].work)
}

// blockDelay begins what an operation waits for beside its CPU time: the disk, other nodes.
func (s *sim) blockDelay(v int32) {
	at := s.visits.at(v)
	b := &s.blocks[s.m.nodes[at.node].block]
	r := &s.replicas[at.replica]
	delay := &b.delay
	if b.kind == blockTable && at.op == opWrite {
		delay = &b.writeDelay
	}
	wait := nanoseconds(delay.sample(s.services[at.service].delays) * r.slow)
	switch b.kind {
	case blockTable:
		wait += s.tableDelay(b, at)
	case blockQueue, blockTopic:
		wait += s.logDelay(b, 0)
	}
	s.schedule(s.now+wait, evDelay, v, at.stamp)
}

// blockDone carries out an operation, once it is about to be answered, and reports whether that was possible.
func (s *sim) blockDone(v int32) bool {
	at := s.visits.at(v)
	i := s.m.nodes[at.node].block
	switch s.blocks[i].kind {
	case blockCache:
		s.cacheDone(&s.blocks[i], at)
	case blockTable:
		s.blocks[i].count.took(at.op == opWrite, s.now-at.started)
	case blockQueue, blockTopic:
		return s.publish(i, at)
	}
	return true
}

// took counts an operation on a table and its time.
func (c *blockCount) took(write bool, time int64) {
	if write {
		c.WritesDone++
		c.writeTook += time
		return
	}
	c.ReadsDone++
	c.readTook += time
}

// log is the log of a node on its disk: what is written while it is being forced waits for the next time (group commit).
type log struct {
	ends, next int64 // of what is being forced; of what waits for that, 0 where nothing does
}

// logDelay is the time until what is written now is on the disk.
func (s *sim) logDelay(b *block, node int) int64 {
	if b.fsync.mean == 0 {
		return 0
	}
	l := &b.logs[node]
	if l.next != 0 && s.now >= l.ends {
		l.ends, l.next = l.next, 0
	}
	switch {
	case s.now >= l.ends:
		l.ends = s.now + nanoseconds(b.fsync.sample(b.draws))
		b.count.Syncs++
		return l.ends - s.now
	case l.next == 0:
		l.next = l.ends + nanoseconds(b.fsync.sample(b.draws))
		b.count.Syncs++
	}
	return l.next - s.now
}

// block returns the block of a name as in 'uses', compiled at its first use.
func (c *compiler) block(use string) (int32, error) {
	if i, ok := c.byBlock[use]; ok {
		return i, nil
	}
	kind, name := topology.ServiceOf(use)
	b := blockModel{kind: blockKinds[kind], name: use, nodes: 1, writes: -1, dead: none}
	var err error
	station := serviceModel{name: use, replicas: 1, min: 1, max: 1, start: c.m.o.Start, drain: 10 * time.Second}
	station.restart = topology.Restart{Min: topology.Duration(100 * time.Millisecond), Max: topology.Duration(30 * time.Second), Reset: topology.Duration(30 * time.Second)}
	switch b.kind {
	case blockCache:
		v := c.sys.Caches[name]
		err = c.cache(&b, name, v)
		if station.replicas = b.nodes; v.Nodes > 1 {
			station.threads = 1 // a node of a cluster carries out one command after the other
		}
	case blockTable:
		err = c.table(&b, c.sys.Tables[name])
		station.replicas = b.nodes
		station.limit = float64(c.sys.Tables[name].CPU)
	case blockQueue:
		q := c.sys.Queues[name]
		b.queue = q
		err = c.store(&b, q.Publish, q.Fsync)
	case blockTopic:
		t := c.sys.Topics[name]
		err = c.store(&b, t.Publish, t.Fsync)
	case blockFunction:
		err = c.function(&b, &station, c.sys.Functions[name])
	}
	if err != nil {
		return none, fmt.Errorf("%s: %w", use, err)
	}
	station.min, station.max = station.replicas, station.replicas
	if len(c.m.services) >= maxServices {
		return none, fmt.Errorf("more than %d services and blocks", maxServices)
	}
	b.service = int32(len(c.m.services))
	c.index[use] = b.service
	i := int32(len(c.m.blocks))
	if station.block = none; b.kind == blockFunction {
		station.block = i
	}
	c.m.services = append(c.m.services, station)
	c.byBlock[use] = i
	if b.node, err = c.addNode(node{service: b.service, block: i, cpu: b.read, delay: b.delay}); err != nil {
		return none, err
	}
	c.m.blocks = append(c.m.blocks, b)
	switch b.kind {
	case blockQueue, blockTopic:
		c.unfed = append(c.unfed, i)
	case blockFunction:
		if err = c.functionBody(i, name); err != nil {
			return none, fmt.Errorf("%s: %w", use, err)
		}
	}
	return i, nil
}

// blockCall is a call of a service to a block.
func (c *compiler) blockCall(from int32, use string, mean float64) (nodeCall, error) {
	return c.blockCallOf(from, use, mean, -1)
}

// blockCallOf is one of which a share writes; negative: as the block says.
func (c *compiler) blockCallOf(from int32, use string, mean, writes float64) (nodeCall, error) {
	i, err := c.block(use)
	if err != nil {
		return nodeCall{}, err
	}
	b := &c.m.blocks[i]
	e := edgeModel{from: from, to: b.service, lane: none, timeout: none, tryTimeout: none, aim: none, block: i, link: none, writes: writes}
	if b.kind == blockFunction {
		if e.timeout, err = c.timeout(c.sys.Functions[use[len("functions."):]].Timeout.Std()); err != nil {
			return nodeCall{}, err
		}
	}
	way, ok := c.byEdge[e]
	if !ok {
		way = int32(len(c.m.edges))
		c.byEdge[e] = way
		c.m.edges = append(c.m.edges, e)
	}
	to := b.node
	if b.kind == blockFunction {
		to = b.entry
	}
	return nodeCall{node: to, edge: way, mean: mean}, nil
}

// costOf is the cost of one operation, or the default.
func (c *compiler) costOf(to *distribution, delay *distribution, cost *topology.Cost, usual time.Duration, what string) (err error) {
	if cost == nil {
		c.assume("%s: %v of CPU for one operation, as nothing is said of it", what, usual)
		*to, err = newDistribution(c.m.o.Shape, usual.Seconds(), 1)
		return err
	}
	if *to, err = newDistribution(c.m.o.Shape, cost.CPU.Std().Seconds(), scvOf(cost.SCV)); err != nil {
		return fmt.Errorf("CPU time: %w", err)
	}
	if delay != nil {
		if *delay, err = newDistribution(c.m.o.Shape, cost.Delay.Std().Seconds(), 1); err != nil {
			return fmt.Errorf("delay: %w", err)
		}
	}
	return nil
}

// Costs of an operation where the file says nothing. Package topology has the sources.
const (
	usualLookup  = 10 * time.Microsecond
	usualRead    = 60 * time.Microsecond
	usualWrite   = 180 * time.Microsecond
	usualPublish = 20 * time.Microsecond
)

// popularity reads how keys are asked for.
func (b *blockModel) popularity(keys int, skew *float64, most int) error {
	if keys < 0 || keys > most {
		return fmt.Errorf("%d keys: want 0 to %d", keys, most)
	}
	b.keys = uint64(keys)
	s := feederSkew
	if skew != nil {
		s = *skew
	}
	if math.IsNaN(s) || s < 0 || s > 10 {
		return fmt.Errorf("skew of %v: want a number from 0 to 10", s)
	}
	if keys == 0 || s == 0 {
		return nil
	}
	var err error
	b.zipf, err = stats.NewZipf(b.keys, s)
	return err
}

// key draws the key of an operation.
func (b *block) key() uint64 {
	if b.zipf != nil {
		return b.zipf.Draw(b.draws.uniform)
	}
	return uint64(b.draws.uniform() * float64(b.keys))
}

// store compiles what queues and topics have in common: a log that messages are appended to.
func (c *compiler) store(b *blockModel, publish *topology.Cost, fsync topology.Duration) (err error) {
	if err := c.costOf(&b.read, &b.delay, publish, usualPublish, b.name); err != nil {
		return err
	}
	b.fsync, err = newDistribution(c.m.o.Shape, fsync.Std().Seconds(), 1)
	return err
}
