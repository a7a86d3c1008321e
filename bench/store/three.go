package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/banyanhq/banyan/bench/etcd"
)

// threeNodes is a cluster of ours, whose nodes share the clients.
type threeNodes struct{ *cluster }

// rangesOfThree is in how many ranges the table is, which the nodes lead evenly.
const rangesOfThree = 16

func startNodes(ctx context.Context, o options) (peer, error) {
	dir := filepath.Join(o.dir, "nodes")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	c, err := startCluster(ctx, dir, o.binary, 3, rangesOfThree, false)
	if err != nil {
		return nil, err
	}
	return threeNodes{c}, nil
}

func (t threeNodes) name() string { return "banyan, three nodes" }

func (t threeNodes) phases() []string { return allPhases() }

func (t threeNodes) run(ctx context.Context, phase string, o options) (outcome, error) {
	var addresses []string
	for _, n := range t.nodes {
		addresses = append(addresses, n.address)
	}
	return loadItems(ctx, addresses, t.cpu, phase, o)
}

// threeEtcd is as many of etcd.
type threeEtcd struct{ *etcd.Cluster }

func startEtcd(ctx context.Context, o options) (peer, error) {
	c, err := etcd.Start(ctx, o.dir)
	if err != nil {
		return nil, err
	}
	return threeEtcd{c}, nil
}

func (t threeEtcd) name() string { return "etcd, three nodes" }

func (t threeEtcd) phases() []string { return []string{"write"} }

func (t threeEtcd) stop() { t.Stop() }

func (t threeEtcd) run(ctx context.Context, _ string, o options) (outcome, error) {
	cpu := func() time.Duration {
		used, err := t.CPU()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench/store:", err) // the figure is too low
		}
		return used
	}
	return loadBy(ctx, o, cpu, func(i int) (sender, error) {
		return etcdClient{t.Cluster, i, o.keys, make([]byte, itemBytes)}, nil
	})
}

// etcdClient puts values at random keys.
type etcdClient struct {
	cluster  *etcd.Cluster
	at, keys int
	value    []byte
}

func (c etcdClient) send(ctx context.Context) error {
	return c.cluster.Put(ctx, c.at, fmt.Appendf(nil, "%0*d", keyDigits, rand.IntN(c.keys)), c.value)
}

func (etcdClient) close() error { return nil }
