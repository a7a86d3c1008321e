package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// idle opens connections that say nothing after their first command, and reads what each takes.
func idle(dir, binary string) error {
	const clients = 10_000
	limit := syscall.Rlimit{Cur: clients + 200, Max: clients + 200}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err == nil && was.Cur < limit.Cur {
		limit.Max = max(was.Max, limit.Cur)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return fmt.Errorf("%d connections need as many open files: %w", clients, err)
		}
	}
	redis, ours, err := both(dir, binary, "2")
	if err != nil {
		return err
	}
	defer redis.stop()
	defer ours.stop()
	fmt.Printf("\n%d idle clients\n", clients)
	for _, s := range []*server{redis, ours} {
		before := s.resident()
		all := make([]net.Conn, 0, clients)
		for range clients - 50 {
			c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
			if err != nil {
				return fmt.Errorf("connection %d to %s: %w", len(all), s.name, err)
			}
			all = append(all, c)
			answer := make([]byte, 7)
			if _, err := fmt.Fprint(c, "PING\r\n"); err != nil {
				return err
			}
			if _, err := c.Read(answer); err != nil {
				return err
			}
		}
		grew := s.resident() - before
		fmt.Printf("%-7s resident memory grew by %.1f MiB, %.0f B a client\n", s.name, float64(grew)/(1<<20), float64(grew)/float64(len(all)))
		for _, c := range all {
			c.Close()
		}
	}
	return nil
}

// durable sets keys, with each policy of syncing, beside Redis with the same.
func durable(dir, binary string, rounds, n int) error {
	fmt.Printf("\nSET by 50 clients, kept on disk; per second, p99 in ms, requests per CPU-second; medians of %d rounds\n", rounds)
	fmt.Printf("%-9s %31s %31s %7s\n", "", "redis", "banyan", "ratio")
	for _, policy := range []string{"off", "no", "everysec", "always"} {
		count := n
		if policy == "always" {
			count = n / 10
		}
		redisDir, ourDir := filepath.Join(dir, "redis-"+policy), filepath.Join(dir, "banyan-"+policy)
		if err := os.MkdirAll(redisDir, 0o700); err != nil {
			return err
		}
		redisArgs := []string{"redis-server", "--port", "PORT", "--save", "", "--loglevel", "warning", "--dir", redisDir, "--appendonly", "no"}
		ourArgs := []string{binary, "cache", "--listen", "127.0.0.1:PORT", "--loops", "2"}
		if policy != "off" {
			redisArgs = append(redisArgs[:len(redisArgs)-1], "yes", "--appendfsync", policy)
			ourArgs = append(ourArgs, "--dir", ourDir, "--append", policy)
		}
		redis, err := start(dir, "redis", "", redisArgs...)
		if err != nil {
			return err
		}
		ours, err := start(dir, "banyan", "", ourArgs...)
		if err != nil {
			redis.stop()
			return err
		}
		all := map[*server][]figures{}
		for range rounds {
			for _, s := range []*server{redis, ours} {
				f, err := benchmark(s, "set", 1, count, false)
				if err != nil {
					return err
				}
				all[s] = append(all[s], f)
			}
		}
		r, o := median(all[redis]), median(all[ours])
		fmt.Printf("%-9s %12.0f %7.2f %10.0f %12.0f %7.2f %10.0f %7.2f\n", policy, r.perSecond, r.p99, r.perCPU, o.perSecond, o.p99, o.perCPU, o.perSecond/r.perSecond)
		redis.stop()
		ours.stop()
	}
	return nil
}
