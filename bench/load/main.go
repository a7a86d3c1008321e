//go:build linux

// Command load compares Banyan's load generator with wrk and hey, in one run, against one nginx process on loopback.
//
//	go run ./bench/load [-duration 5s] [-rounds 3] [-connections 64] [-stall-rate 3000]
//
// The first table is the generator's CPU time (user and system) for each request, closed loop, the generators in turn
// and the rounds interleaved, so that a noisy machine treats all alike; the median round is shown. The second is what
// each reports of a server that is stopped for a second in the middle of a run at a fixed rate: the truth is that about
// rate requests, those due in that second, took up to a second.
//
// wrk, hey and nginx come from Debian's packages (apt-get install wrk hey nginx-light). What is missing is left out.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/load"
)

type options struct {
	duration    time.Duration
	rounds      int
	connections int
	stallRate   float64
	url         string
}

// figures are what one run of one generator gave.
type figures struct {
	Requests int64
	P90, P99 time.Duration
	Max      time.Duration
	cpu      time.Duration
}

// generator is one of those compared: the command that makes it send, at a rate or (0) as fast as it can, and the reader
// of its report.
type generator struct {
	name    string
	command func(o options, rate float64, d time.Duration) []string
	read    func(out []byte) (figures, error)
}

func main() {

	var o options
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "length of each run")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds, of which the median is shown")
	flag.IntVar(&o.connections, "connections", 64, "connections of the closed loop")
	flag.Float64Var(&o.stallRate, "stall-rate", 3000, "requests a second of the run in which the server stalls; 0 leaves it out")
	child := flag.Bool("child", false, "be the generator (used by the command itself)")
	rate := flag.Float64("rate", 0, "with -child: rate")
	flag.StringVar(&o.url, "url", "", "with -child: address")
	flag.Parse()
	var err error
	if !*child {
		runtime.LockOSThread() // children die with the thread that started them
	}
	if *child {
		err = beBanyan(o, *rate)
	} else {
		err = compare(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/load:", err)
		os.Exit(1)
	}
}

// beBanyan is the child that is measured.
func beBanyan(o options, rate float64) error {
	a := load.AdHocOptions{Rate: rate, Arrivals: "constant", Duration: o.duration}
	if rate == 0 {
		a.Connections = o.connections
	}
	w, target, err := load.AdHoc(o.url, a)
	if err != nil {
		return err
	}
	r, err := load.Run(context.Background(), load.Config{Target: target, Workload: w})
	if err != nil {
		return err
	}
	if n := r.Total.Failed(); n > 0 {
		return fmt.Errorf("%d requests failed: %v", n, r.Total.Errors)
	}
	return json.NewEncoder(os.Stdout).Encode(figures{
		Requests: r.Total.Requests, P90: r.Total.Latency.QuantileDuration(0.9), P99: r.Total.Latency.QuantileDuration(0.99), Max: time.Duration(r.Total.Latency.Max()),
	})
}

func generators(self string) []generator {
	seconds := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" }
	whole := func(d time.Duration) string { return strconv.Itoa(int(max(d.Seconds(), 1))) + "s" } // wrk knows no fractions
	all := []generator{
		{"banyan", func(o options, rate float64, d time.Duration) []string {
			return []string{self, "-child", "-url", o.url, "-rate", fmt.Sprint(rate), "-duration", d.String(), "-connections", strconv.Itoa(o.connections)}
		}, func(out []byte) (f figures, err error) { return f, json.Unmarshal(out, &f) }},
		{"wrk", func(o options, rate float64, d time.Duration) []string {
			if rate > 0 {
				return nil // it has no rate
			}
			return []string{"wrk", "-t1", "-c", strconv.Itoa(o.connections), "-d", whole(d), "--latency", o.url}
		}, func(out []byte) (figures, error) {
			n, err := match(out, `(\d+) requests in`)
			return figures{Requests: int64(n)}, err
		}},
		{"hey", func(o options, rate float64, d time.Duration) []string {
			args := []string{"hey", "-c", strconv.Itoa(o.connections), "-z", seconds(d)}
			if rate > 0 {
				args = append(args, "-q", fmt.Sprint(rate/float64(o.connections)))
			}
			return append(args, o.url)
		}, readHey},
	}
	return slices.DeleteFunc(all, func(g generator) bool {
		if g.name == "banyan" {
			return false
		}
		_, err := exec.LookPath(g.name)
		if err != nil {
			fmt.Printf("%s is not installed: left out\n", g.name)
		}
		return err != nil
	})
}

func readHey(out []byte) (f figures, err error) {
	n, err := match(out, `\[200\]\s+(\d+) responses`)
	if err != nil {
		return f, err
	}
	p90, err := match(out, `90%%? in ([\d.]+) secs`)
	if err != nil {
		return f, err
	}
	p99, err := match(out, `99%%? in ([\d.]+) secs`)
	if err != nil {
		return f, err
	}
	slowest, err := match(out, `Slowest:\s+([\d.]+) secs`)
	return figures{Requests: int64(n), P90: time.Duration(p90 * 1e9), P99: time.Duration(p99 * 1e9), Max: time.Duration(slowest * 1e9)}, err
}

func match(out []byte, pattern string) (float64, error) {
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no %q in its report:\n%s", pattern, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func compare(o options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	url, server, stop, err := startNginx()
	if err != nil {
		return err
	}
	defer stop()
	o.url = url
	gens := generators(self)
	runs := make([][]figures, len(gens))
	for range o.rounds {
		for i, g := range gens {
			f, err := run(o, g, 0, o.duration, nil)
			if err != nil {
				return err
			}
			runs[i] = append(runs[i], f)
		}
	}
	fmt.Printf("\nclosed loop, %d connections, %d rounds of %s, median\n%-8s %12s %12s %16s\n", o.connections, o.rounds, o.duration, "", "requests/s", "CPU/request", "of banyan's CPU")
	perRequest := func(f figures) time.Duration { return f.cpu / time.Duration(max(f.Requests, 1)) }
	base := time.Duration(0)
	for i, g := range gens {
		slices.SortFunc(runs[i], func(a, b figures) int { return int(perRequest(a) - perRequest(b)) })
		f := runs[i][len(runs[i])/2]
		if i == 0 {
			base = perRequest(f)
		}
		fmt.Printf("%-8s %12.0f %12s %15.2fx\n", g.name, float64(f.Requests)/o.duration.Seconds(), perRequest(f).Round(10*time.Nanosecond), float64(perRequest(f))/float64(base))
	}
	if o.stallRate <= 0 {
		return nil
	}
	return compareStall(o, gens, server)
}

// compareStall stops the server for a second while each generator that knows a rate sends at it.
func compareStall(o options, gens []generator, server *os.Process) error {
	fmt.Printf("\n%s/s for %s, the server stopped for 1 s in the middle\n%-8s %12s %12s %12s %12s\n", fmt.Sprint(o.stallRate), o.duration, "", "requests", "p90", "p99", "max")
	for _, g := range gens {
		f, err := run(o, g, o.stallRate, o.duration, func() {
			time.Sleep(o.duration / 2)
			_ = server.Signal(syscall.SIGSTOP)
			time.Sleep(time.Second)
			_ = server.Signal(syscall.SIGCONT)
		})
		if errors.Is(err, errNoRate) {
			fmt.Printf("%-8s %12s\n", g.name, "no rate")
			continue
		}
		if err != nil {
			return err
		}
		fmt.Printf("%-8s %12d %12s %12s %12s\n", g.name, f.Requests, f.P90.Round(10*time.Microsecond), f.P99.Round(10*time.Microsecond), f.Max.Round(10*time.Microsecond))
	}
	share := min(1/o.duration.Seconds(), 1)
	fmt.Printf("the truth: %.0f requests are due, %.0f%% of them while it stands, so that p90 is at least %.0f ms and p99 %.0f ms\n",
		o.stallRate*o.duration.Seconds(), 100*share, max(0, 1000*(1-0.10/share)), max(0, 1000*(1-0.01/share)))
	return nil
}

var errNoRate = errors.New("it cannot send at a rate")

func run(o options, g generator, rate float64, d time.Duration, beside func()) (figures, error) {
	args := g.command(o, rate, d)
	if args == nil {
		return figures{}, errNoRate
	}
	ctx, cancel := context.WithTimeout(context.Background(), d+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	done := make(chan struct{})
	if err := cmd.Start(); err != nil {
		return figures{}, fmt.Errorf("starting %s: %w", g.name, err)
	}
	go func() {
		defer close(done)
		if beside != nil {
			beside()
		}
	}()
	err := cmd.Wait()
	<-done
	if err != nil {
		return figures{}, fmt.Errorf("%s: %w:\n%s", g.name, err, &out)
	}
	f, err := g.read(out.Bytes())
	if err != nil {
		return figures{}, fmt.Errorf("%s: %w", g.name, err)
	}
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return f, nil
}

const nginxConfig = `
master_process off; daemon off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 8192; }
http {
	access_log off; keepalive_requests 1000000000;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server { listen %[2]s; location / { default_type text/plain; return 200 "hello world\n"; } }
}
`

// startNginx starts one nginx process that answers 12 bytes.
func startNginx() (url string, p *os.Process, stop func(), err error) {
	dir, err := os.MkdirTemp("", "banyan-bench-load-")
	if err != nil {
		return "", nil, nil, err
	}
	clean := func() { os.RemoveAll(dir) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		clean()
		return "", nil, nil, err
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, addr), 0o600); err != nil {
		clean()
		return "", nil, nil, err
	}
	cmd := exec.Command("nginx", "-p", dir, "-c", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		clean()
		return "", nil, nil, fmt.Errorf("starting nginx: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		clean()
	}
	for range 100 {
		res, err := http.Get("http://" + addr + "/")
		if err == nil {
			res.Body.Close()
			return "http://" + addr + "/", cmd.Process, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, nil, fmt.Errorf("nginx does not answer on %s", addr)
}
