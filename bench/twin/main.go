// Command twin holds what Banyan predicts against what it measures, on the example shop and on ten synthetic
// topologies that really run: calibrated at 30% of what each holds, predicted and simulated at 50, 70 and 80%.
//
//	go run ./bench/twin -md docs/twin-accuracy.md   # all, two minutes each; writes the page
//	go run ./bench/twin -seconds 5 chain shop       # some, shorter
//	go run ./bench/twin -replay                     # runs nothing: predicts the recorded runs again, after a change to the model
//
// A measurement beside which other programs, or the hypervisor, used too much of the machine does not count. What is missing then, or was cut
// off by -budget, the next call measures; topologies whose records are whole are measured anew with -fresh only. Figures of
// topologies that are not named are those of their records. Traffic goes to loopback only. Exit code 1: a bar was missed,
// 3: something is still to be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// topologies in the order of the table.
var topologies = []string{"chain", "fan-out", "diamond", "shared-database", "third-party", "cache", "retry-prone", "skewed", "pool-limited", "table", "shop"}

type options struct {
	keep      string
	page      string
	seconds   float64
	replay    bool
	fresh     bool
	repeats   int
	strangers float64
	stolen    float64
	unsteady  float64
	pace      float64
	budget    time.Duration
	only      []string
}

func main() {
	var o options
	flag.StringVar(&o.keep, "keep", filepath.Join(os.TempDir(), "banyan-twin"), "folder for the records of runs")
	flag.StringVar(&o.page, "md", "", "page to write, such as docs/twin-accuracy.md, relative to the module")
	flag.Float64Var(&o.seconds, "seconds", 20, "length of a measurement")
	flag.BoolVar(&o.replay, "replay", false, "predict the recorded runs again")
	flag.BoolVar(&o.fresh, "fresh", false, "measure anew what is recorded already")
	flag.IntVar(&o.repeats, "repeats", 1, "measurements at each load; of those at 30% calibrate takes the one in the middle, of the others that with the median mean latency counts")
	flag.Float64Var(&o.strangers, "strangers", 0.15, "cores that other programs may use during a measurement that counts")
	flag.Float64Var(&o.unsteady, "unsteady", 0.1, "change of the CPU time of a request within a measurement that counts, as a share")
	flag.Float64Var(&o.pace, "pace", 0.15, "by how much the machine may be slower than it can be before and after a measurement that counts, as a share")
	flag.Float64Var(&o.stolen, "stolen", 0.01, "cores that the hypervisor may give to others during a measurement that counts")
	flag.DurationVar(&o.budget, "budget", 24*time.Hour, "no measurement begins after so long")
	flag.Parse()
	o.repeats = max(1, o.repeats)
	o.only = flag.Args()
	for _, name := range o.only {
		if !slices.Contains(topologies, name) {
			fmt.Fprintf(os.Stderr, "twin: no topology %q: there are %s\n", name, strings.Join(topologies, ", "))
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "twin:", err)
	}
	os.Exit(code)
}

// The exit codes.
const (
	missedBar  = 1
	failed     = 2
	unfinished = 3
)

func run(ctx context.Context, o options) (code int, err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return failed, err
	}
	defer b.close()
	var all []*record
	whole := true
	for _, name := range topologies {
		r, done, err := b.one(ctx, name)
		if err != nil {
			return failed, fmt.Errorf("%s: %w", name, err)
		}
		whole = whole && done
		if r != nil && r.whole(b.repeats) {
			all = append(all, r)
		}
	}
	page := report(all)
	fmt.Println(page)
	if o.page != "" {
		if !filepath.IsAbs(o.page) {
			o.page = filepath.Join(b.root, o.page)
		}
		if err := os.WriteFile(o.page, []byte(page), 0o644); err != nil {
			return failed, err
		}
	}
	switch {
	case !whole:
		return unfinished, nil
	case !judge(all).held():
		return missedBar, nil
	}
	return 0, nil
}

// one measures a topology as far as that is asked for, and predicts what was measured. It returns its record, nil where
// there is none, and whether all that was asked for is done.
func (b *bench) one(ctx context.Context, name string) (*record, bool, error) {
	chosen := len(b.only) == 0 || slices.Contains(b.only, name)
	r, err := b.load(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		r = nil
	case err != nil:
		return nil, false, err
	}
	if !chosen || b.replay && r == nil {
		return r, !chosen, nil
	}
	if b.fresh && !b.replay || r == nil {
		if err := os.RemoveAll(b.state(name)); err != nil {
			return nil, false, err
		}
		r = &record{Topology: name}
	}
	if !b.replay && !r.whole(b.repeats) {
		fmt.Printf("== %s\n", name)
		_, err := b.measure(ctx, r)
		if err := errors.Join(err, b.save(r)); err != nil {
			return nil, false, err
		}
	}
	if !r.whole(1) {
		return r, false, nil
	}
	if err := b.predict(ctx, r); err != nil {
		return nil, false, err
	}
	return r, true, b.save(r)
}

// bench is a built program and a folder of records.
type bench struct {
	options
	until          time.Time
	root, dir, bin string
	best           time.Duration // that a piece of work took; see pace
}

func newBench(ctx context.Context, o options) (*bench, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the module: %w", err)
	}
	b := &bench{options: o, until: time.Now().Add(o.budget), root: filepath.Dir(strings.TrimSpace(string(out)))}
	if err := os.MkdirAll(o.keep, 0o755); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "twin-"); err != nil {
		return nil, err
	}
	b.bin = filepath.Join(b.dir, "banyan")
	if err := os.WriteFile(b.overlay(), []byte("listen: 127.0.0.1:0\n"), 0o644); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", b.bin, "./cmd/banyan")
	build.Dir = b.root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building banyan: %w\n%s", err, out)
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.dir) }

// overlay puts a system on a free port, whatever else runs here.
func (b *bench) overlay() string { return filepath.Join(b.dir, "port.yaml") }

func (b *bench) file(name string) string {
	if name == "shop" {
		return filepath.Join(b.root, "examples", "shop", "banyan.yaml")
	}
	return filepath.Join(b.root, "examples", "synthetic", name+".yaml")
}
