// Command httpcache measures what a hit in the gateway's HTTP cache costs.
//
//	go run ./bench/httpcache [-rounds 5] [-seconds 3] [-conns 64] [-peers hit,hit-full,proxied,proxied-full,nginx-hit,nginx-proxied]
//
// All peers stand in front of the same backend, an nginx that answers with a file of 1 KB and 'Cache-Control: max-age=3600',
// and are driven by wrk over keep-alive connections, one after the other in each round, each round in another order. They
// share the cores with the backend and with wrk, so that what counts is requests per second of processor time that the
// peer's own processes used (user and system, from /proc). Medians over the rounds are printed, and their ratios.
//
// hit and hit-full are Banyan with http_cache, with both tiers and with the full tier alone; proxied and proxied-full are
// Banyan without it; nginx-hit is nginx with proxy_cache on disk, as Debian has it;
// nginx-proxied is nginx without. nginx and wrk must be in the PATH.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/topology"
)

// childEnv makes this program one of the peers.
const childEnv = "BENCH_HTTPCACHE_CHILD"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := run
	if kind := os.Getenv(childEnv); kind != "" {
		run = func(ctx context.Context, args []string, _ io.Writer) error { return child(ctx, kind, args) }
	}
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "httpcache bench:", err)
		os.Exit(1)
	}
}

// child serves on the first address, in front of the second.
func child(ctx context.Context, kind string, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want two addresses, got %d", len(args))
	}
	if address := os.Getenv("BENCH_HTTPCACHE_PPROF"); address != "" {
		go func() { _ = http.ListenAndServe(address, nil) }() // ends with the process
	}
	route := &topology.Route{Name: "all", Path: "/", To: "backend", Inbound: topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(30 * time.Second)}}
	if strings.HasPrefix(kind, "hit") {
		route.HTTPCache = &topology.HTTPCache{MaxObject: 1 << 20}
	}
	g, err := gateway.New(gateway.Config{FullTierOnly: strings.HasSuffix(kind, "-full"), System: &topology.System{
		Listen: args[0], Services: map[string]*topology.Service{"backend": {Inbound: route.Inbound}}, Routes: []*topology.Route{route},
	}})
	if err != nil {
		return err
	}
	g.Add("backend", gateway.Backend{ID: "backend-1", Address: args[1]})
	g.SetReady("backend", "backend-1", true)
	if err := g.Listen(); err != nil {
		return err
	}
	return g.Run(ctx)
}

// peer is what is measured.
type peer struct {
	name, address string
	cmd           *exec.Cmd
	figures       []float64 // requests per CPU-second, by round
	rates         []float64
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("httpcache", flag.ContinueOnError)
	rounds := f.Int("rounds", 5, "rounds")
	seconds := f.Int("seconds", 3, "seconds of each run")
	conns := f.Int("conns", 64, "client connections")
	names := f.String("peers", "hit,hit-full,proxied,proxied-full,nginx-hit,nginx-proxied", "what to compare")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *seconds < 1 || *conns < 1 {
		return errors.New("rounds, seconds and conns must be above 0")
	}
	dir, err := os.MkdirTemp("", "bench-httpcache-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// nginx's workers give their privileges up, and must reach the files.
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "1k"), []byte(strings.Repeat("x", 1024)), 0o644)); err != nil {
		return err
	}
	backend, err := start(ctx, dir, "backend", "")
	if err != nil {
		return err
	}
	defer backend.stop()
	var peers []*peer
	for _, name := range strings.Split(*names, ",") {
		p, err := start(ctx, dir, name, backend.address)
		if err != nil {
			return err
		}
		defer p.stop()
		peers = append(peers, p)
	}
	for round := range *rounds {
		for _, i := range rand.New(rand.NewPCG(1, uint64(round))).Perm(len(peers)) {
			if err := peers[i].drive(ctx, *seconds, *conns); err != nil {
				return fmt.Errorf("%s: %w", peers[i].name, err)
			}
		}
	}
	report(out, peers)
	return nil
}

func report(out io.Writer, peers []*peer) {
	base := median(peers[0].figures)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "peer\trequests/CPU-s\tlowest\thighest\trequests/s\t%s / peer\t\n", peers[0].name)
	for _, p := range peers {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t\n", p.name, median(p.figures), slices.Min(p.figures), slices.Max(p.figures), median(p.rates), base/median(p.figures))
	}
	_ = t.Flush()
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// start runs a peer, and waits until it answers.
func start(ctx context.Context, dir, name, backend string) (*peer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, address: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, err
	}
	switch name {
	case "backend", "nginx-hit", "nginx-proxied":
		conf := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(conf, []byte(nginxConf(dir, name, p.address, backend)), 0o600); err != nil {
			return nil, err
		}
		p.cmd = exec.Command("nginx", "-c", conf, "-e", filepath.Join(dir, name+".log"))
	case "hit", "hit-full", "proxied", "proxied-full":
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p.cmd = exec.Command(self, p.address, backend)
		p.cmd.Env = append(os.Environ(), childEnv+"="+name)
	default:
		return nil, fmt.Errorf("no peer %q", name)
	}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	for range 200 {
		if res, err := http.Get("http://" + p.address + "/1k"); err == nil {
			n, _ := io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode == 200 && n == 1024 {
				return p, nil
			}
		}
		select {
		case <-ctx.Done():
			p.stop()
			return nil, ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	p.stop()
	return nil, fmt.Errorf("%s does not answer", name)
}

func (p *peer) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = p.cmd.Wait()
}

func nginxConf(dir, name, address, backend string) string {
	c := fmt.Sprintf("daemon off;\nworker_processes 2;\npid %s/%s.pid;\nevents { worker_connections 4096; }\nhttp {\naccess_log off;\nkeepalive_requests 10000000;\n"+
		"client_body_temp_path %[1]s/%[2]s-body;\nproxy_temp_path %[1]s/%[2]s-proxy;\nfastcgi_temp_path %[1]s/%[2]s-f;\nuwsgi_temp_path %[1]s/%[2]s-u;\nscgi_temp_path %[1]s/%[2]s-s;\n", dir, name)
	location := "proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
	switch name {
	case "backend":
		location = fmt.Sprintf("root %s; add_header Cache-Control max-age=3600;", dir)
		c += "open_file_cache max=100;\n"
	case "nginx-hit":
		c += fmt.Sprintf("proxy_cache_path %s/cache keys_zone=c:10m use_temp_path=off;\nopen_file_cache max=100;\n", dir)
		location += " proxy_cache c; add_header X-Cache $upstream_cache_status;"
	}
	if name != "backend" {
		c += fmt.Sprintf("upstream backend { server %s; keepalive 256; keepalive_requests 10000000; }\n", backend)
	}
	return c + fmt.Sprintf("server { listen %s; location / { %s } }\n}\n", address, location)
}

var wrkRate = regexp.MustCompile(`(\d+) requests in`)

// drive measures one run.
func (p *peer) drive(ctx context.Context, seconds, conns int) error {
	before, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	text, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(conns), fmt.Sprintf("-d%ds", seconds), "http://"+p.address+"/1k").CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, text)
	}
	if strings.Contains(string(text), "Non-2xx") || strings.Contains(string(text), "Socket errors") {
		return fmt.Errorf("wrk had errors: %s", text)
	}
	after, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	m := wrkRate.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("wrk said %s", text)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil || after <= before {
		return fmt.Errorf("%s requests in %v of processor time", m[1], after-before)
	}
	p.figures = append(p.figures, n/(after-before).Seconds())
	p.rates = append(p.rates, n/float64(seconds))
	return nil
}

// cpu is the processor time that a process and its children have used (proc(5): ticks of 10 ms).
func cpu(pid int) (time.Duration, error) {
	var sum time.Duration
	pids := []string{strconv.Itoa(pid)}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		pids = append(pids, strings.Fields(string(text))...)
	}
	for _, id := range pids {
		text, err := os.ReadFile("/proc/" + id + "/stat")
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 13 {
			return 0, fmt.Errorf("/proc/%s/stat is short", id)
		}
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum, nil
}
