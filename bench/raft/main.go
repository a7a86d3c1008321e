// Command raft measures the replicas of the store by themselves: three nodes over loopback TCP, many groups, each write
// on the disks of a majority before it is acknowledged. With etcd from Debian installed (etcd-server) it takes its turn.
//
//	go run ./bench/raft [-time 5s] [-groups 16] [-size 256] [-dir DIR] [writes] [etcd] [kills]
//
// writes: three nodes in one process, with 1, 64 and 512 writers. etcd: as many against three etcd processes on the
// same disk. kills: three processes of which the leader's is killed with SIGKILL again and again, under load; every
// acknowledged command is looked for afterwards.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type options struct {
	time         time.Duration
	groups, size int
	rounds       int
	dir          string
}

func main() {
	var o options
	flag.DurationVar(&o.time, "time", 5*time.Second, "length of a round")
	flag.IntVar(&o.groups, "groups", 16, "groups")
	flag.IntVar(&o.size, "size", 256, "bytes of a value")
	flag.IntVar(&o.rounds, "kills", 10, "kills")
	flag.StringVar(&o.dir, "dir", "", "folder on the disk that is measured (default: a temporary one)")
	child := flag.Uint64("node", 0, "be this node (for kills)")
	flag.Parse()
	err := error(nil)
	if *child != 0 {
		err = serveNode(*child, o, flag.Args())
	} else {
		err = run(o, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/raft:", err)
		os.Exit(1)
	}
}

func run(o options, what []string) error {
	dir, err := os.MkdirTemp(o.dir, "bench-raft")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir
	for _, mode := range []struct {
		name string
		run  func(options) error
	}{{"writes", writes}, {"etcd", etcd}, {"kills", kills}} {
		if len(what) > 0 && !slices.Contains(what, mode.name) {
			continue
		}
		if err := mode.run(o); err != nil {
			return fmt.Errorf("%s: %w", mode.name, err)
		}
	}
	return nil
}

// load calls do from many writers for a while, each again once it has returned.
func load(writers int, d time.Duration, do func(ctx context.Context, writer, i int) error) (done int, took []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed atomic.Int64
	for w := range writers {
		wg.Go(func() {
			var mine []time.Duration
			for i := 0; ctx.Err() == nil; i++ {
				began := time.Now()
				if e := do(ctx, w, i); e != nil {
					if ctx.Err() == nil {
						failed.Add(1)
						mu.Lock()
						err = e
						mu.Unlock()
					}
					continue
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	if failed.Load() > 0 {
		err = fmt.Errorf("%d of %d writes failed, one with: %w", failed.Load(), len(took), err)
	}
	slices.Sort(took)
	return len(took), took, err
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func report(name string, writers, done int, d time.Duration, took []time.Duration, syncs string) {
	fmt.Printf("%-8s %4d writers  %7.0f writes/s  p50 %8v  p99 %8v  %s\n", name, writers, float64(done)/d.Seconds(),
		quantile(took, 0.5).Round(10*time.Microsecond), quantile(took, 0.99).Round(10*time.Microsecond), cmp.Or(syncs, ""))
}

func writes(o options) error {
	c, err := startCluster(o)
	if err != nil {
		return err
	}
	value := make([]byte, o.size)
	for _, writers := range []int{1, 64, 512} {
		before, err := c.syncs()
		if err != nil {
			return errors.Join(err, c.stop())
		}
		done, took, err := load(writers, o.time, func(ctx context.Context, w, i int) error {
			key := benchKey(uint64(w)<<32 | uint64(i))
			_, err := c.nodes[w%len(c.nodes)].host.Propose(ctx, key, command(key, value))
			return err
		})
		if err != nil {
			return errors.Join(err, c.stop())
		}
		after, err := c.syncs()
		if err != nil {
			return errors.Join(err, c.stop())
		}
		report("banyan", writers, done, o.time, took, fmt.Sprintf("%.0f synced writes/s over three nodes", float64(after-before)/o.time.Seconds()))
	}
	return c.stop()
}
