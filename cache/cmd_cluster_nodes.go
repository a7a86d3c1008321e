package cache

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/cache/cluster"
	"github.com/banyanhq/banyan/cache/slot"
)

func (k *call) clusterSlots() {
	h := k.s.sharding
	hot, primaries := h.hotSlots(), h.primaries()
	ranges := make([][]served, len(primaries))
	n := 0
	for i, p := range primaries {
		ranges[i] = h.served(p.ID, hot)
		n += len(ranges[i])
	}
	k.array(n)
	for i, p := range primaries {
		for _, r := range ranges[i] {
			k.array(3 + len(r.replicas))
			k.int(int(r.First))
			k.int(int(r.Last))
			k.slotNode(p)
			for _, id := range r.replicas {
				k.slotNode(h.m.Members[id])
			}
		}
	}
}

// available are the replicas of a primary that clients may be sent to: as far as this node knows they are there and have its keys.
// A primary is shown whatever has become of it, for nobody else has its slots.
func (h *sharding) available(primary uint64) (ids []uint64) {
	for _, id := range h.m.Replicas(primary) {
		if h.health(h.m.Members[id]) == "online" {
			ids = append(ids, id)
		}
	}
	return ids
}

// health of a node, in the words of CLUSTER SHARDS.
func (h *sharding) health(m cluster.Member) string {
	l := h.links[m.ID]
	switch {
	case m.Failed:
		return "fail"
	case m.Of != 0 && m.ID == h.id && !h.whole(), l != nil && !l.whole:
		return "loading"
	}
	return "online"
}

func (k *call) slotNode(m cluster.Member) {
	host, port := place(m)
	k.array(4)
	k.text(host)
	k.int(port)
	k.text(nodeName(m.ID))
	k.array(0)
}

func (k *call) clusterShards() {
	h := k.s.sharding
	primaries := h.primaries()
	k.array(len(primaries))
	for _, p := range primaries {
		k.mapOf(2)
		k.text("slots")
		ranges := h.m.Ranges(p.ID)
		k.array(2 * len(ranges))
		for _, r := range ranges {
			k.int(int(r.First))
			k.int(int(r.Last))
		}
		k.text("nodes")
		replicas := h.m.Replicas(p.ID)
		k.array(1 + len(replicas))
		k.shardNode(p, "master")
		for _, id := range replicas {
			k.shardNode(h.m.Members[id], "replica")
		}
	}
}

func (k *call) shardNode(m cluster.Member, role string) {
	host, port := place(m)
	k.mapOf(7)
	for _, pair := range [][2]string{{"id", nodeName(m.ID)}, {"ip", host}, {"endpoint", host}, {"role", role}, {"health", k.s.sharding.health(m)}} {
		k.text(pair[0])
		k.text(pair[1])
	}
	k.text("port")
	k.int(port)
	k.text("replication-offset")
	k.int64(k.s.sharding.offsetOf(m.ID))
}

// offsetOf is how far a node is in the stream of its primary, as far as this one knows.
func (h *sharding) offsetOf(id uint64) int64 {
	switch l := h.links[id]; {
	case l != nil:
		return l.acked
	case id == h.id && h.of != 0:
		return h.applied
	case id == h.id:
		return h.end()
	}
	return 0
}

// nodeLine describes a node as CLUSTER NODES does.
func (h *sharding) nodeLine(m cluster.Member) string {
	host, port := place(m)
	_, peer, _ := net.SplitHostPort(h.node.Peers()[m.ID])
	flags, primary := "master", "-"
	if m.Of != 0 {
		flags, primary = "slave", nodeName(m.Of)
	}
	state := "connected"
	if m.ID == h.id {
		flags = "myself," + flags
	} else if m.Failed {
		flags, state = flags+",fail", "disconnected"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s@%s %s %s 0 0 %d %s", nodeName(m.ID), net.JoinHostPort(host, strconv.Itoa(port)), peer, flags, primary, h.m.Epoch, state)
	for _, r := range h.m.Ranges(m.ID) {
		if r.First == r.Last {
			fmt.Fprintf(&b, " %d", r.First)
		} else {
			fmt.Fprintf(&b, " %d-%d", r.First, r.Last)
		}
	}
	if m.ID == h.id {
		for s := range uint16(slot.Count) {
			switch to := h.m.Moving[s]; {
			case to == 0:
			case to == m.ID:
				fmt.Fprintf(&b, " [%d-<-%s]", s, nodeName(uint64(h.m.Owners[s])))
			case uint64(h.m.Owners[s]) == m.ID:
				fmt.Fprintf(&b, " [%d->-%s]", s, nodeName(to))
			}
		}
	}
	return b.String()
}

func (k *call) clusterNodes() {
	h := k.s.sharding
	var b strings.Builder
	for _, p := range h.primaries() {
		b.WriteString(h.nodeLine(p) + "\n")
		for _, id := range h.m.Replicas(p.ID) {
			b.WriteString(h.nodeLine(h.m.Members[id]) + "\n")
		}
	}
	k.verbatim(b.String())
}

func (k *call) clusterReplicas() {
	h := k.s.sharding
	for id := range h.m.Members {
		if nodeName(id) == k.arg(2) {
			var lines []string
			for _, r := range h.m.Replicas(id) {
				lines = append(lines, h.nodeLine(h.m.Members[r]))
			}
			k.texts(lines)
			return
		}
	}
	k.fail("ERR Unknown node " + k.arg(2))
}

// clusterInfo tells how the cluster is. Its state is ok when every slot is served: where it is not, those that are still are.
func (k *call) clusterInfo() {
	h := k.s.sharding
	assigned, failed, primaries := 0, 0, 0
	for _, p := range h.primaries() {
		n := h.m.Owned(p.ID)
		if n > 0 {
			primaries++
		}
		if assigned += n; p.Failed {
			failed += n
		}
	}
	state := "fail"
	if h.active && h.node.Leased() && assigned == slot.Count && failed == 0 {
		state = "ok"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:%d\r\n", state, assigned,
		assigned-failed, failed)
	fmt.Fprintf(&b, "cluster_known_nodes:%d\r\ncluster_size:%d\r\ncluster_current_epoch:%d\r\ncluster_my_epoch:%d\r\n", len(h.m.Members), primaries, h.m.Epoch, h.m.Epoch)
	fmt.Fprintf(&b, "cluster_slots_moving:%d\r\ncluster_leader:%d\r\ncluster_map_version:%d\r\n", len(h.m.Moving), h.node.Leader(), h.m.Version)
	k.verbatim(b.String())
}

// clusterLinks tells of the streams to the other nodes; there is one to each that is heard of, and one from each.
func (k *call) clusterLinks() {
	h := k.s.sharding
	var others []uint64
	for id := range h.node.Peers() {
		if id != h.id && !h.m.Members[id].Failed {
			others = append(others, id)
		}
	}
	slices.Sort(others)
	k.array(2 * len(others))
	for _, id := range others {
		for _, direction := range []string{"to", "from"} {
			k.mapOf(3)
			for _, text := range []string{"direction", direction, "node", nodeName(id), "events", map[string]string{"to": "w", "from": "r"}[direction]} {
				k.text(text)
			}
		}
	}
}
