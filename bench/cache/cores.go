package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const (
	coresTime  = 3 * time.Second
	coresConns = 50
)

// cores holds the throughput of two loops against Redis, whose commands run on one thread. redis-benchmark needs more of the two cores
// than the servers do, and would be what is measured. This client sends what it has written in advance and counts the bytes of the
// answers: it never waits for a server that has work, for 49 connections have theirs while it serves the next one.
func cores(dir, binary string, rounds int) error {
	redis, ours, err := both(dir, binary, "2")
	if err != nil {
		return err
	}
	defer redis.stop()
	defer ours.stop()
	fmt.Printf("\n2 loops, a client that costs little; requests per second, cores that the server used, medians of %d rounds of %v\n", rounds, coresTime)
	fmt.Printf("%-12s %21s %21s %7s\n", "", "redis", "banyan", "ratio")
	for _, s := range []*server{redis, ours} {
		c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			return err
		}
		err = fill(c, 1_000_000)
		c.Close()
		if err != nil {
			return fmt.Errorf("filling %s: %w", s.name, err)
		}
	}
	for _, test := range []string{"set", "get"} {
		for _, pipeline := range []int{1, 16, 64} {
			all := map[*server][]figures{}
			for range rounds {
				for _, s := range []*server{redis, ours} {
					f, err := drive(s, test, pipeline)
					if err != nil {
						return fmt.Errorf("%s against %s: %w", test, s.name, err)
					}
					all[s] = append(all[s], f)
				}
			}
			r, o := median(all[redis]), median(all[ours])
			fmt.Printf("%-4s P%-7d %12.0f %8.2f %12.0f %8.2f %7.2f\n", test, pipeline, r.perSecond, r.perSecond/r.perCPU, o.perSecond, o.perSecond/o.perCPU, o.perSecond/r.perSecond)
		}
	}
	return nil
}

// batch is what a connection sends at once, and as many bytes as come back.
type batch struct {
	request []byte
	answer  int
}

func batches(test string, pipeline int) []batch {
	value := bytes.Repeat([]byte{'v'}, 100)
	var out []batch
	key := 0
	for range 4000 / pipeline {
		var b batch
		for range pipeline {
			key = (key*7919 + 104729) % 1_000_000
			if test == "set" {
				b.request = fmt.Appendf(b.request, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$100\r\n%s\r\n", key, value)
				b.answer += len("+OK\r\n")
			} else {
				b.request = fmt.Appendf(b.request, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n", key)
				b.answer += len("$100\r\n") + 100 + len("\r\n")
			}
		}
		out = append(out, b)
	}
	return out
}

// drive sends to a server for a while from one goroutine, and takes the connections in turn.
func drive(s *server, test string, pipeline int) (f figures, err error) {
	prepared := batches(test, pipeline)
	type asked struct {
		net.Conn
		want int
	}
	conns := make([]asked, coresConns)
	next := 0
	send := func(c *asked) error {
		b := prepared[next%len(prepared)]
		next++
		c.want = b.answer
		_, err := c.Write(b.request)
		return err
	}
	for i := range conns {
		if conns[i].Conn, err = net.Dial("tcp", "127.0.0.1:"+s.port); err != nil {
			return f, err
		}
		defer conns[i].Close()
		if err := send(&conns[i]); err != nil {
			return f, err
		}
	}
	answer := make([]byte, 64<<10)
	begun, before, done := time.Now(), s.cpu(), 0
	for time.Since(begun) < coresTime {
		for i := range conns {
			c := &conns[i]
			if _, err := io.ReadFull(c, answer[:c.want]); err != nil {
				return f, err
			}
			if answer[0] == '-' {
				return f, fmt.Errorf("it answers %s", strconv.Quote(string(answer[:min(c.want, 100)])))
			}
			done += pipeline
			if err := send(c); err != nil {
				return f, err
			}
		}
	}
	f.perSecond = float64(done) / time.Since(begun).Seconds()
	f.perCPU = float64(done) / max(s.cpu()-before, 0.01)
	return f, nil
}
