package simulate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/topology"
)

const maxTableNodes = 9

func (c *compiler) table(b *blockModel, v *topology.Table) error {
	b.nodes, b.shards, b.strong = max(v.Replicas, 1), max(v.Shards, 1), v.Consistency != "eventual"
	if b.nodes > maxTableNodes || b.shards > 100_000 {
		return fmt.Errorf("%d replicas of %d shards: at most %d of 100000 are simulated", b.nodes, b.shards, maxTableNodes)
	}
	if v.Fsync < 0 || v.RoundTrip < 0 || v.Failover < 0 {
		return errors.New("fsync, round_trip and failover may not be negative")
	}
	if err := b.popularity(v.Keys, v.Skew, 1_000_000_000); err != nil {
		return err
	}
	if v.Writes != nil {
		if b.writes = float64(*v.Writes); !(b.writes >= 0 && b.writes <= 1) {
			return fmt.Errorf("a share of %v writes", b.writes)
		}
	}
	if err := c.costOf(&b.read, &b.delay, v.Read, usualRead, b.name+" (read)"); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := c.costOf(&b.write, &b.writeDelay, v.Write, usualWrite, b.name+" (write)"); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if b.follow = b.write; v.Follow != nil {
		if err := c.costOf(&b.follow, nil, v.Follow, 0, ""); err != nil {
			return fmt.Errorf("follow: %w", err)
		}
	}
	if b.eventual = float64(v.EventualReads); !(b.eventual >= 0 && b.eventual <= 1) {
		return fmt.Errorf("a share of %v eventual reads", b.eventual)
	}
	if !(v.CPU >= 0 && v.CPU <= maxCores) {
		return fmt.Errorf("nodes with %v cores", float64(v.CPU))
	}
	fsync, trip, failover := v.Fsync.Std(), v.RoundTrip.Std(), v.Failover.Std()
	if v.Engine == "" && fsync == 0 && trip == 0 && failover == 0 { // a file that was loaded has an engine
		fsync, trip, failover = time.Millisecond, 500*time.Microsecond, time.Second
	}
	b.failover = int64(failover)
	var err error
	if b.fsync, err = newDistribution(c.m.o.Shape, fsync.Seconds(), 1); err != nil {
		return err
	}
	b.roundTrip, err = newDistribution(c.m.o.Shape, trip.Seconds(), 0.25)
	return err
}

// enterTable sends an operation to the node that answers it. Strong ones go to the leader of the item's shard (shards
// are led in turn by all nodes) and need a majority; eventual ones to any node.
func (s *sim) enterTable(i int32, b *block, e *edge) {
	c := s.calls.at(i)
	c.op = opRead
	switch {
	case e.writes >= 0:
		if b.draws.uniform() < e.writes {
			c.op = opWrite
		}
	case b.writes >= 0:
		if b.draws.uniform() < b.writes {
			c.op = opWrite
		}
	case !s.visits.at(c.parent).safe:
		c.op = opWrite
	}
	if c.op == opWrite {
		b.count.Writes++
	}
	if c.op == opRead && b.strong && b.eventual > 0 && b.draws.uniform() < b.eventual {
		c.op = opReadAny
	}
	node := none
	if b.strong && c.op != opReadAny {
		node = s.leader(b)
	} else {
		first := int(b.draws.uniform() * float64(b.nodes))
		for k := range b.nodes {
			if n := s.services[b.service].replicas[(first+k)%b.nodes]; s.reachable(n) {
				node = n
				break
			}
		}
	}
	if node == none {
		b.count.Unavailable++
		s.endCall(i, 503, Unavailable)
		return
	}
	s.visit(i, node, false)
}

// leader is the node that leads the shard of the next operation; none if there is no leader, or no majority.
func (s *sim) leader(b *block) int32 {
	shard := 0
	if b.shards > 1 {
		if b.keys > 0 {
			shard = shardOf(b.key(), b.shards)
		} else {
			shard = int(b.draws.uniform() * float64(b.shards))
		}
	}
	nodes := s.services[b.service].replicas
	ready := 0
	for _, n := range nodes[:b.nodes] {
		if s.reachable(n) {
			ready++
		}
	}
	if ready <= b.nodes/2 {
		return none
	}
	for k := range b.nodes {
		n := nodes[(shard+k)%b.nodes]
		if s.reachable(n) {
			return n
		}
		if k == 0 && s.now-s.replicas[n].lost < b.failover {
			return none // the others have not noticed yet
		}
	}
	return none
}

// tableDelay is what an operation waits for beside its own CPU time. A strong write is answered when a majority has it
// on disk, the leader's own log being written meanwhile (D. Ongaro, Consensus, 2014, 10.2.1); a strong read when a
// majority has confirmed the leader (6.4, ReadIndex); an eventual write when its node has it on disk. The other nodes'
// CPU time is spent in any case, with nobody waiting.
func (s *sim) tableDelay(b *block, at *visit) int64 {
	nodes := s.services[b.service].replicas
	write, majorityOf := at.op == opWrite, b.strong && at.op != opReadAny
	own := 0
	var others [maxTableNodes]int64
	n := 0
	for k, other := range nodes[:b.nodes] {
		if other == at.replica {
			own = k
			continue
		}
		if !s.reachable(other) {
			continue
		}
		if write {
			if work := b.follow.sample(s.services[b.service].work); work > 0 {
				s.startWork(other, work, nobody)
			}
		}
		if majorityOf {
			d := nanoseconds(b.roundTrip.sample(b.draws))
			if write {
				d += s.logDelay(b, k)
			}
			others[n] = d
			n++
		}
	}
	var wait int64
	if write {
		wait = s.logDelay(b, own)
	}
	if majority := b.nodes / 2; majorityOf && majority > 0 && n >= majority {
		slices.Sort(others[:n])
		wait = max(wait, others[majority-1])
	}
	return wait
}

// shardOf is the shard of a key.
func shardOf(key uint64, shards int) int { return int(mix64(key+0x9e3779b97f4a7c15) % uint64(shards)) }

// shownKeys is how many keys, the most asked for, Leaders looks at one by one; the others are spread evenly.
const shownKeys = 200_000

// Leaders says how the operations on a strong table are spread, as a simulation spreads them: the share of them that each node
// leads, and the share of the hottest shard. keys are 0 where it is not known what is asked for.
func Leaders(keys int, skew float64, shards, nodes int) (led []float64, hottest float64) {
	shards, nodes = max(shards, 1), max(nodes, 1)
	by := make([]float64, shards)
	rest := 1.0
	if keys > 0 && shards > 1 {
		looked := min(keys, shownKeys)
		whole := 0.0
		for k := range looked {
			whole += math.Pow(float64(k+1), -skew)
		}
		shown := whole
		if n := float64(keys); keys > looked { // what is left of the sum, as an integral
			whole += (zipfIntegral(n+0.5, skew) - zipfIntegral(float64(looked)+0.5, skew))
		}
		for k := range looked {
			by[shardOf(uint64(k), shards)] += math.Pow(float64(k+1), -skew) / whole
		}
		rest = 1 - shown/whole
	}
	led = make([]float64, nodes)
	for i := range by {
		by[i] += rest / float64(shards)
		hottest = max(hottest, by[i])
		led[i%nodes] += by[i]
	}
	return led, hottest
}

// zipfIntegral is an antiderivative of x^-skew.
func zipfIntegral(x, skew float64) float64 {
	if math.Abs(skew-1) < 1e-9 {
		return math.Log(x)
	}
	return math.Pow(x, 1-skew) / (1 - skew)
}
