// Command observe measures what observation costs, and holds Banyan's metrics against Debian's Prometheus.
//
//	go run ./bench/observe [-series 200000] [-seconds 60] [-rounds 1] [-services 100] [-rate 150] [scrape] [write] [equal] [page] [overhead]
//
// Each part is there to be run alone:
//
//   - scrape, write: samples stored for each CPU-second of the server, by scrapes and by remote write, and the memory of many series, in
//     turn with Debian's prometheus, which they need. CPU is that of the server's process (user and system), memory its resident set at
//     the end.
//   - equal: the answers to the corpus of queries over the same blocks, beside Prometheus's.
//   - page: how long the page of a system of -services services takes in browsers with a fresh profile (Debian's chromium), until the map
//     is painted with its figures; then what a page that is left open costs, in the server and in the browser.
//   - overhead: the example shop with everything observed and with metrics, logs and traces off, in turn: CPU of a request at -rate scenarios a
//     second, throughput of users who do not think, memory.
//
// Without a part all but the last two are run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/observe/promapi/promtest"
)

// bench is what all parts share.
type bench struct {
	dir     string
	binary  string
	series  int
	length  time.Duration
	targets int

	services, rate int
}

func main() {
	series := flag.Int("series", 200_000, "series in all")
	seconds := flag.Int("seconds", 60, "how long each server is measured")
	rounds := flag.Int("rounds", 1, "how often, in turn")
	services := flag.Int("services", 100, "of the system whose page is opened")
	rate := flag.Int("rate", 150, "scenarios a second that the shop is offered")
	binary := flag.String("binary", "", "banyan, built already")
	flag.Parse()
	if flag.Arg(0) == "serve" {
		fmt.Fprintln(os.Stderr, "bench/observe:", serve())
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go endWithGo(ctx, cancel)
	b := &bench{binary: *binary, series: *series, length: time.Duration(*seconds) * time.Second, targets: 10, services: *services, rate: *rate}
	if err := b.run(ctx, *rounds, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/observe:", err)
		stop()
		os.Exit(1)
	}
}

// endWithGo calls cancel when 'go run', if that started this program, is there no more: it ends at SIGTERM and passes it on to nobody. It
// returns when ctx ends.
func endWithGo(ctx context.Context, cancel func()) {
	parent := os.Getppid()
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent)); err != nil || strings.TrimSpace(string(name)) != "go" {
		return
	}
	for sleep(ctx, time.Second) == nil {
		if os.Getppid() != parent {
			cancel()
			return
		}
	}
}

func (b *bench) run(ctx context.Context, rounds int, what []string) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "bench-observe"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if len(what) == 0 {
		what = []string{"scrape", "write", "equal"}
	}
	if b.binary == "" {
		b.binary = filepath.Join(b.dir, "banyan")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "./cmd/banyan").CombinedOutput(); err != nil {
			return fmt.Errorf("building banyan: %w\n%s", err, out)
		}
	}
	parts := map[string]func() error{
		"equal":    func() error { return b.equal(ctx) },
		"scrape":   func() error { return b.compare(ctx, "scrape", b.scrape, rounds) },
		"write":    func() error { return b.compare(ctx, "remote write", b.write, rounds) },
		"page":     func() error { return b.page(ctx) },
		"overhead": func() error { return b.overhead(ctx, rounds) },
	}
	for _, w := range what {
		part, ok := parts[w]
		if !ok {
			return fmt.Errorf("there is no part %q: there are scrape, write, equal, page and overhead", w)
		}
		if err := part(); err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
	}
	return nil
}

// figures of one server in one run.
type figures struct {
	samples float64
	cpu     time.Duration
	memory  int64 // bytes
}

func (f figures) perSecond() float64 { return f.samples / f.cpu.Seconds() }

// compare measures both servers, one after the other, again and again.
func (b *bench) compare(ctx context.Context, name string, measure func(context.Context, server) (figures, error), rounds int) error {
	for range rounds {
		if err := b.round(ctx, name, measure); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) round(ctx context.Context, name string, measure func(context.Context, server) (figures, error)) error {
	var got [2]figures
	for i, start := range []func(context.Context, []string) (server, error){b.startBanyan, b.startPrometheus} {
		pages := servePages(b.targets, b.series/b.targets)
		var urls []string
		if name == "scrape" {
			urls = pages.urls
		}
		s, err := start(ctx, urls)
		if err == nil {
			got[i], err = measure(ctx, s)
			s.stop()
		}
		pages.close()
		if err != nil {
			return err
		}
		fmt.Printf("%-12s  %-10s  %9.0f samples  %7.2f CPU-s  %9.0f samples/CPU-s  %6.1f MB\n", name, []string{"banyan", "prometheus"}[i],
			got[i].samples, got[i].cpu.Seconds(), got[i].perSecond(), float64(got[i].memory)/1e6)
	}
	fmt.Printf("%-12s  ratio: %.2f x the samples for a CPU-second, %.2f x the memory\n", name, got[0].perSecond()/got[1].perSecond(), float64(got[0].memory)/float64(got[1].memory))
	return nil
}

// equal asks both for the corpus over the same blocks.
func (b *bench) equal(ctx context.Context) error {
	ours, theirs := promtest.Dirs(filepath.Join(b.dir, "equal"))
	// Banyan keeps its blocks in a folder of its data folder.
	if err := promtest.WriteBlocks(ctx, filepath.Join(ours, "metrics"), theirs); err != nil {
		return err
	}
	p, err := promtest.Run(ctx, theirs, "")
	if err != nil {
		return err
	}
	defer p.Stop()
	s, err := b.banyan(ctx, ours, "--retention", "876000h")
	if err != nil {
		return err
	}
	defer s.stop()
	corpus := promtest.Corpus()
	different := 0
	for _, q := range corpus {
		x, err := promtest.Ask(ctx, s.url, q)
		if err != nil {
			return err
		}
		y, err := promtest.Ask(ctx, p.URL, q)
		if err != nil {
			return err
		}
		if d := promtest.Diff(x, y); d != "" {
			different++
			fmt.Printf("equal         %s: %s\n", q.Expr, d)
		}
	}
	fmt.Printf("equal         %d queries over the same blocks, %d answered otherwise than by Prometheus\n", len(corpus), different)
	return nil
}
