package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/ahead"
	"github.com/banyanhq/banyan/store/raftlog"
	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/transport"
)

// rows is a Machine: a command is a key and the value that it gets.
type rows struct{}

func (rows) Apply(b *pebble.Batch, _, _ uint64, command []byte) ([]byte, error) {
	n, size := binary.Uvarint(command)
	if size <= 0 || n > uint64(len(command)-size) {
		return nil, errors.New("malformed command")
	}
	key, value := command[size:size+int(n)], command[size+int(n):]
	return nil, b.Set(key, value, nil)
}

func command(key, value []byte) []byte {
	b := binary.AppendUvarint(make([]byte, 0, len(key)+len(value)+2), uint64(len(key)))
	return append(append(b, key...), value...)
}

// benchKey spreads numbers over the groups.
func benchKey(n uint64) []byte {
	key := append(make([]byte, 0, 17), 'd')
	key = binary.BigEndian.AppendUint64(key, n)
	hash := xxhash.Sum64(key[1:])
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(key[:1], hash), n)
}

func descriptors(groups int) (all []replica.Descriptor) {
	edge := func(i int) []byte {
		switch i {
		case 0:
			return []byte("d")
		case groups:
			return []byte("e")
		}
		return binary.BigEndian.AppendUint64([]byte{'d'}, uint64(i)*(^uint64(0)/uint64(groups)))
	}
	for i := range groups {
		d := replica.Descriptor{Group: uint64(i + 1), Start: edge(i), End: edge(i + 1), NextReplica: 4}
		for id := uint64(1); id <= 3; id++ {
			d.Replicas = append(d.Replicas, replica.Replica{ID: id, Node: id})
		}
		all = append(all, d)
	}
	return all
}

type node struct {
	db    *pebble.DB
	host  *replica.Host
	trans *transport.Transport
	stop  context.CancelFunc
	ended sync.WaitGroup
	mu    sync.Mutex
	err   error
}

func openNode(id uint64, dir string, groups int, listener net.Listener, peers map[uint64]string) (*node, error) {
	db, err := pebble.Open(dir, &pebble.Options{FS: ahead.FS(vfs.Default), FormatMajorVersion: pebble.FormatNewest, MemTableSize: 64 << 20, Logger: silent{},
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}})
	if err != nil {
		return nil, err
	}
	if err := replica.Bootstrap(db, id, descriptors(groups)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	n := &node{db: db}
	var host atomic.Pointer[replica.Host]
	n.trans, err = transport.New(transport.Config{Node: id, Secret: []byte("the secret of a benchmark"),
		Receive: func(from uint64, frame []byte) { host.Load().Receive(from, frame) }})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for peer, address := range peers {
		n.trans.SetPeer(peer, address)
	}
	n.host, err = replica.New(replica.Config{Node: id}, db, raftlog.Config{FS: vfs.Default, Dir: filepath.Join(dir, "incoming")}, rows{}, n.trans)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	host.Store(n.host)
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	for _, run := range []func() error{func() error { return n.trans.Run(ctx, listener) }, func() error { return n.host.Run(ctx) }} {
		n.ended.Go(func() {
			err := run()
			n.mu.Lock()
			n.err = errors.Join(n.err, err)
			n.mu.Unlock()
		})
	}
	return n, nil
}

func (n *node) close() error {
	n.stop()
	n.ended.Wait()
	return errors.Join(n.err, n.db.Close())
}

type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

type cluster struct{ nodes []*node }

func startCluster(o options) (*cluster, error) {
	c := &cluster{}
	var listeners []net.Listener
	peers := map[uint64]string{}
	for id := uint64(1); id <= 3; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners, peers[id] = append(listeners, l), l.Addr().String()
	}
	for id := uint64(1); id <= 3; id++ {
		n, err := openNode(id, filepath.Join(o.dir, fmt.Sprintf("node%d", id)), o.groups, listeners[id-1], peers)
		if err != nil {
			return nil, errors.Join(err, c.stop())
		}
		c.nodes = append(c.nodes, n)
	}
	return c, c.ready(o.groups)
}

// ready waits until every group has a leader, and spreads the leaders over the nodes.
func (c *cluster) ready(groups int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		placed := 0
		for i, n := range c.nodes {
			status, _, err := n.host.Status(ctx)
			if err != nil {
				return err
			}
			for _, g := range status {
				want := int(g.Group) % len(c.nodes)
				switch {
				case g.Leads && want == i:
					placed++
				case g.Leads:
					_ = n.host.TransferLeader(ctx, g.Group, uint64(want+1)) // asked again if it did not work
				}
			}
		}
		if placed == groups {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *cluster) syncs() (total int, err error) {
	for _, n := range c.nodes {
		_, stats, e := n.host.Status(context.Background())
		total, err = total+stats.Syncs, errors.Join(err, e)
	}
	return total, err
}

func (c *cluster) stop() (err error) {
	for _, n := range c.nodes {
		err = errors.Join(err, n.close())
	}
	return err
}
