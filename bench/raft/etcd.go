package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/banyanhq/banyan/bench/etcd"
)

func etcdWrites(o options) error {
	c, err := etcd.Start(context.Background(), o.dir)
	if errors.Is(err, etcd.ErrNotInstalled) {
		fmt.Println("etcd    ", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Stop()
	value := make([]byte, o.size)
	cpu := func() used {
		servers, err := c.CPU()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench/raft:", err) // the figure is too low
		}
		return used{client: self(), servers: servers}
	}
	for _, writers := range o.writers {
		before := cpu()
		out, err := load(writers, o.time, func(ctx context.Context, w, i int) error {
			return c.Put(ctx, w, benchKey(uint64(w)<<32|uint64(i)), value)
		})
		if err != nil {
			return err
		}
		report("etcd", writers, o.time, out, cpu().since(before), "")
	}
	return nil
}
