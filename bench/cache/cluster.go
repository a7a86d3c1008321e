package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// nodes are the processes of a cluster.
type nodes struct {
	addrs []string
	cmds  []*exec.Cmd
}

// startNodes starts a cluster with a number of nodes and waits until it serves.
func startNodes(dir, binary string, count, replicas int) (*nodes, error) {
	ports, held := make([]string, 2*count), make([]net.Listener, 2*count)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		ports[i], held[i] = l.Addr().String(), l
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("a secret of the benchmark\n"), 0o600); err != nil {
		return nil, err
	}
	var n nodes
	var args [][]string
	for i := range count {
		a := []string{"cache", "--listen", ports[i], "--node", strconv.Itoa(i + 1), "--secret-file", secret, "--bootstrap",
			"--dir", filepath.Join(dir, fmt.Sprintf("node%d-%d", count, i+1)), "--replicas", strconv.Itoa(replicas), "--loops", "1"}
		for p := range count {
			a = append(a, "--peer", fmt.Sprintf("%d=%s", p+1, ports[count+p]))
		}
		n.addrs, args = append(n.addrs, ports[i]), append(args, a)
	}
	for _, l := range held {
		l.Close()
	}
	return &n, n.start(binary, args)
}

func (n *nodes) start(binary string, args [][]string) error {
	for _, a := range args {
		cmd := exec.Command(binary, a...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			n.stop()
			return err
		}
		n.cmds = append(n.cmds, cmd)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		up := 0
		for _, addr := range n.addrs {
			c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
			info, _ := c.Do(context.Background(), "CLUSTER", "INFO").Text()
			repl, _ := c.Info(context.Background(), "replication").Result()
			c.Close()
			if strings.Contains(info, "cluster_state:ok") && !strings.Contains(repl, "sync_in_progress:1") {
				up++
			}
		}
		if up == len(n.addrs) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	n.stop()
	return errors.New("the cluster does not come up")
}

func (n *nodes) stop() {
	for _, cmd := range n.cmds {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// pressure is clients that write and read counters, and check what they read.
type pressure struct {
	ops, failed, lost, twice atomic.Int64
	lastError                atomic.Int64 // nanoseconds since 1970
	stop                     context.CancelFunc
	all                      sync.WaitGroup
}

// press begins: clients share one ClusterClient, which is go-redis's with its defaults.
func (n *nodes) press(clients int) *pressure {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pressure{stop: cancel}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: n.addrs})
	for w := range clients {
		p.all.Go(func() {
			count := map[int]int64{}
			for i := 0; ctx.Err() == nil; i++ {
				slot := i * 31 % 500
				got, err := c.Incr(context.Background(), fmt.Sprintf("count%d-%d", w, slot)).Result()
				p.ops.Add(1)
				if err != nil { // nobody knows whether it was counted
					p.failed.Add(1)
					p.lastError.Store(time.Now().UnixNano())
					delete(count, slot)
					continue
				}
				if last, known := count[slot]; known && got <= last {
					p.lost.Add(last + 1 - got)
				} else if known {
					p.twice.Add(got - last - 1)
				}
				count[slot] = got
			}
		})
	}
	return p
}

func (p *pressure) end() { p.stop(); p.all.Wait() }

// failover kills a primary under load, by SIGKILL, and says when the last request failed.
func failover(dir, binary string, rounds int) error {
	fmt.Printf("\n6 nodes, 3 of them replicas; 16 clients of one ClusterClient; node 1 is killed\n")
	for round := range rounds {
		folder := filepath.Join(dir, fmt.Sprint("failover", round))
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		n, err := startNodes(folder, binary, 6, 1)
		if err != nil {
			return err
		}
		p := n.press(16)
		time.Sleep(2 * time.Second)
		before := p.ops.Load()
		killed := time.Now()
		_ = n.cmds[0].Process.Kill()
		time.Sleep(8 * time.Second)
		p.end()
		n.stop()
		last := time.Duration(0)
		if at := p.lastError.Load(); at > 0 {
			last = time.Unix(0, at).Sub(killed)
		}
		fmt.Printf("last request that failed %s after the kill; %d of %d failed; of those acknowledged %d were lost, %d were counted twice\n",
			last.Round(10*time.Millisecond), p.failed.Load(), p.ops.Load()-before, p.lost.Load(), p.twice.Load())
	}
	return nil
}

// rebalance moves slots under load and counts what clients see of it.
func rebalance(dir, binary string, keys int) error {
	folder := filepath.Join(dir, "rebalance")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	n, err := startNodes(folder, binary, 3, 0)
	if err != nil {
		return err
	}
	defer n.stop()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: n.addrs})
	defer c.Close()
	for i := 0; i < keys; i += 1000 {
		pipe := c.Pipeline()
		for j := i; j < i+1000; j++ {
			pipe.Set(context.Background(), fmt.Sprint("key", j), "a value of some thirty characters", time.Hour)
		}
		if _, err := pipe.Exec(context.Background()); err != nil {
			return err
		}
	}
	fmt.Printf("\n3 nodes, %d keys, 16 clients of one ClusterClient\n", keys)
	p := n.press(16)
	for _, weights := range [][]string{{"--weight", "3=0"}, {"--weight", "1=0"}, {}} {
		before := p.ops.Load()
		out, err := exec.Command(binary, append([]string{"cache", "rebalance", n.addrs[0]}, weights...)...).CombinedOutput()
		fmt.Printf("rebalance %s: %s; %d requests meanwhile\n", strings.Join(weights, " "), strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", ", "), p.ops.Load()-before)
		if err != nil {
			return err
		}
	}
	p.end()
	fmt.Printf("%d requests failed, %d were lost and %d counted twice, of %d\n", p.failed.Load(), p.lost.Load(), p.twice.Load(), p.ops.Load())
	return nil
}
