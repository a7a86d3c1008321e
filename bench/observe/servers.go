package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/observe/promapi/promtest"
)

// server is one that is measured.
type server struct {
	url  string
	pid  int
	stop func()
}

// interval at which pages are read.
const interval = 5 * time.Second

func (b *bench) startBanyan(ctx context.Context, targets []string) (server, error) {
	dir, err := os.MkdirTemp(b.dir, "banyan")
	if err != nil {
		return server{}, err
	}
	args := []string{"--series-per-target", "10000000", "--series-per-metric", "10000000", "--series", "10000000", "--interval", interval.String()}
	for _, t := range targets {
		args = append(args, "--target", "bench="+t)
	}
	return b.banyan(ctx, dir, args...)
}

// banyan starts 'banyan observe' on a folder and waits until it says where it answers.
func (b *bench) banyan(ctx context.Context, dir string, args ...string) (server, error) {
	cmd := exec.Command(b.binary, append([]string{"observe", "--json", "--listen", "127.0.0.1:0", "--data", dir}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return server{}, err
	}
	if err := cmd.Start(); err != nil {
		return server{}, err
	}
	s := server{pid: cmd.Process.Pid, stop: func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait() // how it ended does not matter
	}}
	var said struct{ Address string }
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&said); err != nil {
		s.stop()
		return s, fmt.Errorf("starting banyan: %w", err)
	}
	s.url = said.Address
	return s, nil
}

func (b *bench) startPrometheus(ctx context.Context, targets []string) (server, error) {
	dir, err := os.MkdirTemp(b.dir, "prometheus")
	if err != nil {
		return server{}, err
	}
	var config strings.Builder
	fmt.Fprintf(&config, "global: {scrape_interval: %s}\nscrape_configs:\n", interval)
	for i, t := range targets {
		fmt.Fprintf(&config, "- {job_name: bench%d, metrics_path: /metrics, static_configs: [{targets: [%q]}]}\n", i, strings.TrimSuffix(strings.TrimPrefix(t, "http://"), "/metrics"))
	}
	if len(targets) == 0 {
		config.Reset()
	}
	p, err := promtest.Run(ctx, filepath.Join(dir, "data"), config.String(), "--web.enable-remote-write-receiver")
	if err != nil {
		return server{}, err
	}
	return server{p.URL, p.PID, p.Stop}, nil
}

// pages are the targets: each shows as many series, whose values change at every reading.
type pages struct {
	urls    []string
	servers []*httptest.Server
	served  atomic.Int64 // samples
}

// servePages gives each target a listener of its own: to Prometheus the address is the target.
func servePages(targets, each int) *pages {
	p := &pages{}
	for t := range targets {
		bodies := [2][]byte{page(t, each, 0), page(t, each, 1)}
		var n atomic.Int64
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			w.Write(bodies[n.Add(1)%2])
			p.served.Add(int64(each))
		}))
		s.Listener.Close()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err) // a machine without a free port measures nothing
		}
		s.Listener = l
		s.Start()
		p.servers = append(p.servers, s)
		p.urls = append(p.urls, s.URL+"/metrics")
	}
	return p
}

func (p *pages) close() {
	for _, s := range p.servers {
		s.Close()
	}
}

// page is like that of a real service: a hundred names, with a few labels.
func page(target, n, round int) []byte {
	var b strings.Builder
	for i := range n {
		if i%(n/100) == 0 {
			fmt.Fprintf(&b, "# HELP app_metric_%d_total What it counts.\n# TYPE app_metric_%d_total counter\n", i/(n/100), i/(n/100))
		}
		fmt.Fprintf(&b, "app_metric_%d_total{handler=\"/api/v1/resource/%d\",method=\"GET\",code=\"200\",pod=\"app-%d\"} %d\n", i/(n/100), i%(n/100), target, i*7+round*13)
	}
	return []byte(b.String())
}

// used is what a process has used so far.
func used(pid int) (cpu time.Duration, memory int64, err error) {
	c, err := observe.ReadProcess(pid)
	return c.CPU, c.Memory, err
}

// stored asks a server how many samples it has appended to its head.
func (s server) stored(ctx context.Context) (float64, error) {
	path := "/metrics"
	for _, path = range []string{"/monitor/metrics", "/metrics"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		n, found := 0.0, false
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if rest, ok := strings.CutPrefix(lines.Text(), `prometheus_tsdb_head_samples_appended_total`); ok {
				// Newer versions tell floats from histograms.
				fields := strings.Fields(rest)
				v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
				if err == nil {
					n, found = n+v, true
				}
			}
		}
		resp.Body.Close()
		if found {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s%s does not say how many samples there are", s.url, path)
}
