// Command cache compares banyan's cache with Redis, side by side in one run: requests for each CPU-second of the server,
// latencies, the memory of a million keys and of idle clients, what it costs to be kept on disk; its clusters; and its eviction with otter's and with LRU.
//
//	go run ./bench/cache [-rounds 3] [-n 300000] [speed] [cores] [memory] [hits] [idle] [durable] [failover] [rebalance]
//
// It needs Debian's redis-server and redis-tools. With loops 1 the server runs on one core and the client on another; cores is how much more
// two loops do than Redis.
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe"
)

func main() {
	rounds := flag.Int("rounds", 3, "rounds, of which the median is told")
	n := flag.Int("n", 300_000, "requests without pipelining in a round; with it ten times as many")
	loops := flag.String("loops", "1,2", "loops of banyan's cache")
	binary := flag.String("binary", "", "banyan, built already")
	flag.Parse()
	if err := run(*binary, *rounds, *n, *loops, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/cache:", err)
		os.Exit(1)
	}
}

func run(binary string, rounds, n int, loops string, what []string) error {
	dir, err := os.MkdirTemp("", "bench-cache")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if len(what) == 0 {
		what = []string{"speed", "cores", "memory", "hits", "idle", "durable"}
	}
	if slices.Contains(what, "hits") {
		if err := hits(); err != nil {
			return err
		}
	}
	if binary == "" {
		binary = filepath.Join(dir, "banyan")
		if out, err := exec.Command("go", "build", "-o", binary, "./cmd/banyan").CombinedOutput(); err != nil {
			return fmt.Errorf("building banyan: %w\n%s", err, out)
		}
	}
	if slices.Contains(what, "speed") {
		for l := range strings.SplitSeq(loops, ",") {
			if err := speed(dir, binary, l, rounds, n); err != nil {
				return err
			}
		}
	}
	for _, w := range []struct {
		name string
		run  func() error
	}{
		{"cores", func() error { return cores(dir, binary, rounds) }},
		{"memory", func() error { return memory(dir, binary) }}, {"idle", func() error { return idle(dir, binary) }},
		{"durable", func() error { return durable(dir, binary, rounds, n) }},
		{"failover", func() error { return failover(dir, binary, rounds) }}, {"rebalance", func() error { return rebalance(dir, binary, n) }},
	} {
		if slices.Contains(what, w.name) {
			if err := w.run(); err != nil {
				return err
			}
		}
	}
	return nil
}

// server is one that is measured.
type server struct {
	name string
	port string
	cmd  *exec.Cmd
}

// start starts a server; cores is what taskset takes, "": all.
func start(dir, name, cores string, args ...string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "PORT", port)
	}
	if cores != "" {
		args = append([]string{"taskset", "-c", cores}, args...)
	}
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	s := &server{name, port, cmd}
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			return s, nil
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("%s does not come up: %w", name, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// cpu is the CPU time that the server has used, in seconds; 0 once it has ended.
func (s *server) cpu() float64 {
	c, err := observe.ReadProcess(s.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	return c.CPU.Seconds()
}

// resident is the server's resident memory in bytes; 0 once it has ended.
func (s *server) resident() int64 {
	c, err := observe.ReadProcess(s.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	return c.Memory
}

func both(dir, binary, loops string) (redis, ours *server, err error) {
	cores := ""
	if loops == "1" {
		cores = "0"
	}
	redis, err = start(dir, "redis", cores, "redis-server", "--port", "PORT", "--save", "", "--appendonly", "no", "--loglevel", "warning")
	if err != nil {
		return nil, nil, err
	}
	ours, err = start(dir, "banyan", cores, binary, "cache", "--listen", "127.0.0.1:PORT", "--loops", loops)
	if err != nil {
		redis.stop()
	}
	return redis, ours, err
}

// figures of one run.
type figures struct{ perCPU, perSecond, p50, p99 float64 }

// benchmark runs redis-benchmark against a server.
func benchmark(s *server, test string, pipeline, n int, alone bool) (f figures, err error) {
	args := []string{"redis-benchmark", "-p", s.port, "-t", test, "-n", strconv.Itoa(n), "-P", strconv.Itoa(pipeline), "-c", "50", "-d", "100", "-r", "1000000", "--csv"}
	if alone {
		args = append([]string{"taskset", "-c", "1"}, args...)
	} else {
		args = append(args, "--threads", "2")
	}
	before := s.cpu()
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		return f, fmt.Errorf("redis-benchmark against %s: %w", s.name, err)
	}
	used := s.cpu() - before
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) < 2 || len(rows[1]) < 7 {
		return f, errors.New("redis-benchmark printed something else than expected: " + string(out))
	}
	f.perSecond, _ = strconv.ParseFloat(rows[1][1], 64)
	f.p50, _ = strconv.ParseFloat(rows[1][4], 64)
	f.p99, _ = strconv.ParseFloat(rows[1][6], 64)
	f.perCPU = float64(n) / max(used, 0.01)
	return f, nil
}

func speed(dir, binary, loops string, rounds, n int) error {
	redis, ours, err := both(dir, binary, loops)
	if err != nil {
		return err
	}
	defer redis.stop()
	defer ours.stop()
	fmt.Printf("\n%s loop(s); requests per CPU-second of the server, per second, p99 in ms; medians of %d rounds\n", loops, rounds)
	fmt.Printf("%-12s %31s %31s %7s\n", "", "redis", "banyan", "ratio")
	for _, w := range []struct {
		test     string
		pipeline int
	}{{"set", 1}, {"get", 1}, {"set", 16}, {"get", 16}} {
		all := map[*server][]figures{}
		for range rounds {
			for _, s := range []*server{redis, ours} {
				count := n
				if w.pipeline > 1 {
					count *= 10
				}
				f, err := benchmark(s, w.test, w.pipeline, count, loops == "1")
				if err != nil {
					return err
				}
				all[s] = append(all[s], f)
			}
		}
		r, o := median(all[redis]), median(all[ours])
		fmt.Printf("%-4s P%-7d %12.0f %10.0f %7.2f %12.0f %10.0f %7.2f %7.2f\n", w.test, w.pipeline, r.perCPU, r.perSecond, r.p99, o.perCPU, o.perSecond, o.p99, o.perCPU/r.perCPU)
	}
	return nil
}

func median(all []figures) (m figures) {
	pick := func(of func(figures) float64) float64 {
		var v []float64
		for _, f := range all {
			v = append(v, of(f))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	m.perCPU = pick(func(f figures) float64 { return f.perCPU })
	m.perSecond = pick(func(f figures) float64 { return f.perSecond })
	m.p50 = pick(func(f figures) float64 { return f.p50 })
	m.p99 = pick(func(f figures) float64 { return f.p99 })
	return m
}

// memory stores a million keys of 16 bytes with values of 100, and reads what that took.
func memory(dir, binary string) error {
	redis, ours, err := both(dir, binary, "2")
	if err != nil {
		return err
	}
	defer redis.stop()
	defer ours.stop()
	const keys = 1_000_000
	grew := map[*server]int64{}
	fmt.Printf("\n%d keys of 16 B with values of 100 B\n", keys)
	for _, s := range []*server{redis, ours} {
		before, used := s.resident(), usedMemory(s)
		c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			return err
		}
		if err := fill(c, keys); err != nil {
			return fmt.Errorf("filling %s: %w", s.name, err)
		}
		c.Close()
		grew[s] = s.resident() - before
		counted := usedMemory(s) - used
		fmt.Printf("%-7s resident memory grew by %.1f MiB, %.0f B a key; it counts %.1f MiB itself: %.1f %% off\n", s.name, float64(grew[s])/(1<<20),
			float64(grew[s])/keys, float64(counted)/(1<<20), 100*(float64(counted)/float64(grew[s])-1))
	}
	fmt.Printf("ratio %.2f\n", float64(grew[ours])/float64(grew[redis]))
	return nil
}

func usedMemory(s *server) int64 {
	out, err := exec.Command("redis-cli", "-p", s.port, "info", "memory").Output()
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(out)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// fill sets keys 1,000 at a time and waits for the answers.
func fill(c net.Conn, keys int) error {
	value := strings.Repeat("v", 100)
	answer := make([]byte, 5*1000)
	for from := 0; from < keys; from += 1000 {
		var b []byte
		for i := range 1000 {
			b = fmt.Appendf(b, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$100\r\n%s\r\n", from+i, value)
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
		for got := 0; got < len(answer); {
			n, err := c.Read(answer[got:])
			if err != nil {
				return err
			}
			got += n
		}
	}
	return nil
}
