package env

import (
	"bytes"
	"time"
)

// NetworkFaults say how bad a network is. The zero value is a network that delivers everything at once and in order.
type NetworkFaults struct {
	Delay     time.Duration // the least time on the way
	Jitter    time.Duration // up to this much more, every amount equally likely
	Drop      float64       // probability that a message is lost
	Duplicate float64       // probability that a message arrives twice, the second one later
	Reorder   float64       // probability that a message may overtake those sent before it on the same link
}

// Network carries messages between nodes of a World. Links are one-way; on each, messages arrive in the order sent but
// for those that the faults let overtake. What is on its way to a node that crashes is lost, as with TCP.
type Network struct {
	Faults NetworkFaults

	// What happened, for reports.
	Delivered, Dropped, Duplicated, Cut int

	world *World
	nodes map[uint64]*port
	cut   map[link]bool
	slow  map[link]time.Duration
	lost  map[link]uint64        // how often what was on its way was lost
	last  map[link]time.Duration // when the last message of a link arrives
}

type link struct{ from, to uint64 }

type port struct {
	receive func(from uint64, message []byte)
}

// NewNetwork returns a network without nodes.
func NewNetwork(w *World, faults NetworkFaults) *Network {
	return &Network{Faults: faults, world: w, nodes: map[uint64]*port{}, cut: map[link]bool{}, slow: map[link]time.Duration{}, lost: map[link]uint64{}, last: map[link]time.Duration{}}
}

// Attach makes receive be called with each message for the node. What was on its way to an earlier attachment of the
// same node does not arrive.
func (n *Network) Attach(node uint64, receive func(from uint64, message []byte)) {
	n.nodes[node] = &port{receive}
}

// Detach makes the node unreachable until it is attached again.
func (n *Network) Detach(node uint64) { delete(n.nodes, node) }

// CutLink stops one direction of a link, for what is sent from now on.
func (n *Network) CutLink(from, to uint64) { n.cut[link{from, to}] = true }

// BreakLink is CutLink that also loses what is on its way, as a connection does that breaks.
func (n *Network) BreakLink(from, to uint64) {
	n.CutLink(from, to)
	n.lost[link{from, to}]++
}

// SlowLink makes what is sent in one direction of a link from now on take so much longer.
func (n *Network) SlowLink(from, to uint64, longer time.Duration) { n.slow[link{from, to}] = longer }

// HealLink makes one direction of a link carry messages again, as fast as others.
func (n *Network) HealLink(from, to uint64) {
	delete(n.cut, link{from, to})
	delete(n.slow, link{from, to})
}

// Heal makes every link carry messages again, as fast as others.
func (n *Network) Heal() {
	clear(n.cut)
	clear(n.slow)
}

// Send gives the network a message, which it may deliver.
func (n *Network) Send(from, to uint64, message []byte) {
	// The draws are made in any case, so that faults that are added to a run do not change its other chances.
	w, l := n.world, link{from, to}
	drop, twice, overtake := w.Chance(n.Faults.Drop), w.Chance(n.Faults.Duplicate), w.Chance(n.Faults.Reorder)
	delay, again := n.Faults.Delay+w.Between(0, n.Faults.Jitter), w.Between(0, 4*n.Faults.Jitter)
	target := n.nodes[to]
	switch {
	case n.cut[l]:
		n.Cut++
		return
	case drop || target == nil:
		n.Dropped++
		return
	}
	message = bytes.Clone(message)
	at := w.Now() + delay + n.slow[l]
	if overtake {
		at += again
	} else {
		at = max(at, n.last[l])
		n.last[l] = at
	}
	n.deliver(l, target, message, at)
	if twice {
		n.Duplicated++
		n.deliver(l, target, message, at+again)
	}
}

func (n *Network) deliver(l link, target *port, message []byte, at time.Duration) {
	lost := n.lost[l]
	n.world.After(at-n.world.Now(), func() {
		if n.nodes[l.to] != target || n.lost[l] != lost {
			n.Dropped++
			return
		}
		n.Delivered++
		n.world.Note("deliver", message, l.from, l.to)
		target.receive(l.from, bytes.Clone(message))
	})
}
