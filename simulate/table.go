package simulate

import (
	"errors"
	"fmt"
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
	if err := c.costOf(&b.write, nil, v.Write, usualWrite, b.name+" (write)"); err != nil {
		return fmt.Errorf("write: %w", err)
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
func (s *sim) enterTable(i int32, b *block) {
	c := s.calls.at(i)
	c.op = opRead
	switch {
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
	node := none
	if b.strong {
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
			shard = int(mix64(b.key()+0x9e3779b97f4a7c15) % uint64(b.shards))
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
	write := at.op == opWrite
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
			if work := b.write.sample(s.services[b.service].work); work > 0 {
				s.startWork(other, work, nobody)
			}
		}
		if b.strong {
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
	if majority := b.nodes / 2; b.strong && majority > 0 && n >= majority {
		slices.Sort(others[:n])
		wait = max(wait, others[majority-1])
	}
	return wait
}
