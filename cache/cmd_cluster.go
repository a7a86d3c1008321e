package cache

import (
	"fmt"
	"net"
	"strconv"

	"github.com/banyanhq/banyan/cache/cluster"
	"github.com/banyanhq/banyan/cache/slot"
)

var clusterCommands = []command{
	{name: "asking", arity: 1, flags: "fast", groups: "connection", run: inCluster(func(k *call) { k.c.asking = true; k.ok() })},
	{name: "readonly", arity: 1, flags: "fast", groups: "connection", run: inCluster(func(k *call) { k.c.readonly = true; k.ok() })},
	{name: "readwrite", arity: 1, flags: "fast", groups: "connection", run: inCluster(func(k *call) { k.c.readonly = false; k.ok() })},
	{name: "wait", arity: 3, flags: "blocking", groups: "connection", run: (*call).waitReplicas},
	{name: "cluster", arity: -2, subs: []command{
		{name: "slots", arity: 2, run: inCluster((*call).clusterSlots)},
		{name: "shards", arity: 2, run: inCluster((*call).clusterShards)},
		{name: "nodes", arity: 2, run: inCluster((*call).clusterNodes)},
		{name: "replicas", arity: 3, flags: "admin", run: inCluster((*call).clusterReplicas)},
		{name: "info", arity: 2, run: inCluster((*call).clusterInfo)},
		{name: "myid", arity: 2, run: inCluster(func(k *call) { k.text(nodeName(k.s.sharding.id)) })},
		{name: "myshardid", arity: 2, run: inCluster(func(k *call) { k.text(nodeName(k.s.sharding.shardOf(k.s.sharding.id))) })},
		{name: "keyslot", arity: 3, run: inCluster(func(k *call) { k.int(int(slot.Of(k.args[2]))) })},
		{name: "countkeysinslot", arity: 3, run: inCluster((*call).countKeysInSlot)},
		{name: "getkeysinslot", arity: 4, run: inCluster((*call).getKeysInSlot)},
		{name: "links", arity: 2, run: inCluster((*call).clusterLinks)},
	}},
	{name: "cache.rebalance", arity: -1, flags: "admin", run: inCluster((*call).rebalance)},
	{name: "cache.moving", arity: 1, flags: "admin", run: inCluster((*call).moving)},
}

// inCluster carries a command out on nodes of a cluster only.
func inCluster(run func(*call)) func(*call) {
	return func(k *call) {
		if k.s.sharding == nil {
			k.fail("ERR This instance has cluster support disabled")
			return
		}
		run(k)
	}
}

// nodeName is a node's number as Redis writes ids: 40 hexadecimal digits.
func nodeName(id uint64) string { return fmt.Sprintf("%040x", id) }

// shardOf is the primary of a node's shard.
func (h *sharding) shardOf(id uint64) uint64 {
	if of := h.m.Members[id].Of; of != 0 {
		return of
	}
	return id
}

// place is a member's address, in two.
func place(m cluster.Member) (host string, port int) {
	host, text, _ := net.SplitHostPort(m.Addr)
	port, _ = strconv.Atoi(text)
	return host, port
}
