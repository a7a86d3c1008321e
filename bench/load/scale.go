//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

// scale runs many connections and many users on this machine, and says what the generator takes for them.
func scale(args []string) error {
	fl := flag.NewFlagSet("scale", flag.ExitOnError)
	duration := fl.Duration("duration", 10*time.Second, "length of the measured part")
	_ = fl.Parse(args)
	n, err := startNginx(nginxPlain)
	if err != nil {
		return err
	}
	defer n.stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Printf("closed populations against one nginx process, %s after a warm-up; each user has a connection of his own, where ulimit -n lets him\n%8s %8s %10s %12s %10s %10s %12s %10s %10s\n",
		*duration, "users", "think", "requests/s", "CPU/request", "CPU/s", "most RSS", "RSS a user", "p50", "p99")
	for _, c := range []struct {
		users int
		think time.Duration
	}{{10_000, 4 * time.Second}, {20_000, 8 * time.Second}} {
		warm := c.think + 2*time.Second
		g := generator{"banyan", func(j job) []string {
			return []string{self, "child", "-url", j.url, "-users", strconv.Itoa(c.users), "-think", c.think.String(), "-duration", j.duration.String(), "-warmup", warm.String()}
		}, banyanGenerator(self).read}
		f, _, err := run(g, job{url: n.url, duration: *duration}, nil)
		if err != nil {
			return err
		}
		fmt.Printf("%8d %8s %10.0f %12s %9.0f%% %9.1fM %11.1fK %10s %10s\n", c.users, c.think, float64(f.Requests)/duration.Seconds(),
			micro(time.Duration(float64(f.cpu)/float64(f.Requests)*duration.Seconds()/f.took.Seconds())), 100*f.cpu.Seconds()/f.took.Seconds(), float64(f.rss)/1e6, float64(f.rss)/float64(c.users)/1e3,
			micro(f.P50), micro(f.P99))
	}
	return nil
}
