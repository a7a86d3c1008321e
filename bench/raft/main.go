// Command raft measures the replicas of the store by themselves: three nodes over loopback TCP, many groups, each write
// on the disks of a majority before it is acknowledged. With etcd from Debian installed (etcd-server) it takes its turn.
//
//	go run ./bench/raft [-time 5s] [-groups 16] [-size 256] [-writers 1,64,512] [-dir DIR] [writes] [etcd] [kills]
//
// writes: three nodes in one process, which the writers call; they talk to each other by TCP. etcd: three processes on the same
// disk, which the writers call by gRPC, having no other way. CPU time is printed for each write: of etcd's servers and its client,
// and of the one process that has all of ours. kills: three processes of which the leader's is killed with SIGKILL again and again, under load; every
// acknowledged command is looked for afterwards.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/reactor"
)

type options struct {
	time         time.Duration
	groups, size int
	rounds       int
	writers      []int
	dir          string
	profile      string
}

func main() {
	reactor.CalmMonitor() // as the program does
	var o options
	flag.DurationVar(&o.time, "time", 5*time.Second, "length of a round")
	flag.IntVar(&o.groups, "groups", 16, "groups")
	flag.IntVar(&o.size, "size", 256, "bytes of a value")
	flag.IntVar(&o.rounds, "kills", 10, "kills")
	flag.StringVar(&o.dir, "dir", "", "folder on the disk that is measured (default: a temporary one)")
	writers := flag.String("writers", "1,64,512", "writers at once, for each round")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of this process")
	child := flag.Uint64("node", 0, "be this node (for kills)")
	flag.Parse()
	err := error(nil)
	for text := range strings.SplitSeq(*writers, ",") {
		n, e := strconv.Atoi(text)
		o.writers, err = append(o.writers, n), errors.Join(err, e)
	}
	switch {
	case err != nil:
	case *child != 0:
		err = serveNode(*child, o, flag.Args())
	default:
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
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for _, mode := range []struct {
		name string
		run  func(options) error
	}{{"writes", writes}, {"etcd", etcdWrites}, {"kills", kills}} {
		if len(what) > 0 && !slices.Contains(what, mode.name) {
			continue
		}
		if err := mode.run(o); err != nil {
			return fmt.Errorf("%s: %w", mode.name, err)
		}
	}
	return nil
}

// outcome is what a round of load brought.
type outcome struct {
	done int             // writes acknowledged within the round
	took []time.Duration // by these, sorted
}

// load calls do from many writers for a while, each again once it has returned. What was begun is waited for, but a write that is
// acknowledged after the end of the round does not count.
func load(writers int, d time.Duration, do func(ctx context.Context, writer, i int) error) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d+patience)
	defer cancel()
	var all errgroup.Group
	took := make([][]time.Duration, writers)
	end := time.Now().Add(d)
	for w := range writers {
		all.Go(func() error {
			for i := 0; ; i++ {
				began := time.Now()
				if !began.Before(end) {
					return nil
				}
				if err := do(ctx, w, i); err != nil {
					return fmt.Errorf("write %d of writer %d: %w", i, w, err)
				}
				if now := time.Now(); now.Before(end) {
					took[w] = append(took[w], now.Sub(began))
				}
			}
		})
	}
	err := all.Wait()
	joined := slices.Concat(took...)
	slices.Sort(joined)
	return outcome{len(joined), joined}, err
}

// patience is for how long a write is waited for that was begun before the end of a round.
const patience = 10 * time.Second

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// used is CPU time, of the servers and of the client; 0 servers if they are in the client's process.
type used struct{ servers, client time.Duration }

func (u used) since(before used) used {
	return used{u.servers - before.servers, u.client - before.client}
}

// self is the CPU time of this process, user and system.
func self() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(name string, writers int, d time.Duration, o outcome, u used, more string) {
	per := func(t time.Duration) float64 { return float64(t.Microseconds()) / float64(max(o.done, 1)) }
	cpu := fmt.Sprintf("%.0f us CPU/write (client within)", per(u.client))
	if u.servers > 0 {
		cpu = fmt.Sprintf("%.0f us CPU/write (servers %.0f, client %.0f)", per(u.servers+u.client), per(u.servers), per(u.client))
	}
	fmt.Printf("%-8s %4d writers  %7.0f writes/s  p50 %8v  p99 %8v  %s  %s\n", name, writers, float64(o.done)/d.Seconds(),
		quantile(o.took, 0.5).Round(10*time.Microsecond), quantile(o.took, 0.99).Round(10*time.Microsecond), cpu, more)
}

func writes(o options) error {
	c, err := startCluster(o)
	if err != nil {
		return err
	}
	value := make([]byte, o.size)
	for _, writers := range o.writers {
		before, err := c.syncs()
		if err != nil {
			return errors.Join(err, c.stop())
		}
		cpu := used{client: self()}
		out, err := load(writers, o.time, func(ctx context.Context, w, i int) error {
			key := benchKey(uint64(w)<<32 | uint64(i))
			_, err := c.nodes[w%len(c.nodes)].host.Propose(ctx, key, command(key, value))
			return err
		})
		if err != nil {
			return errors.Join(err, c.stop())
		}
		cpu = used{client: self()}.since(cpu)
		after, err := c.syncs()
		if err != nil {
			return errors.Join(err, c.stop())
		}
		report("banyan", writers, o.time, out, cpu, fmt.Sprintf("%.0f synced writes/s over three nodes", float64(after-before)/o.time.Seconds()))
	}
	return c.stop()
}
