// Command twin holds what Banyan predicts against what it measures, on the example shop and on nine synthetic
// topologies that really run: calibrated at 30% of what each holds, predicted and simulated at 50, 70 and 80%.
//
//	go run ./bench/twin                         # all, a minute and a half each; writes docs/twin-accuracy.md
//	go run ./bench/twin -seconds 5 chain shop   # some, shorter
//	go run ./bench/twin -replay                 # runs nothing: predicts the recorded runs again, after a change to the model
//
// Figures of topologies that were not run again are taken from the records of earlier runs. Traffic goes to loopback
// only. Exit code 1: a bar was missed.
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
)

// topologies in the order of the table.
var topologies = []string{"chain", "fan-out", "diamond", "shared-database", "third-party", "cache", "retry-prone", "skewed", "pool-limited", "shop"}

type options struct {
	keep    string
	out     string
	seconds float64
	replay  bool
	repeats int
	only    []string
}

func main() {
	var o options
	flag.StringVar(&o.keep, "keep", filepath.Join(os.TempDir(), "banyan-twin"), "folder for the records of runs")
	flag.StringVar(&o.out, "out", "docs/twin-accuracy.md", "page to write, relative to the module; empty: none")
	flag.Float64Var(&o.seconds, "seconds", 15, "length of a measurement")
	flag.BoolVar(&o.replay, "replay", false, "predict the recorded runs again")
	flag.IntVar(&o.repeats, "repeats", 1, "measurements at each load, of which the one with the median mean latency counts")
	flag.Parse()
	o.only = flag.Args()
	for _, name := range o.only {
		if !slices.Contains(topologies, name) {
			fmt.Fprintf(os.Stderr, "twin: no topology %q: there are %s\n", name, strings.Join(topologies, ", "))
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	held, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "twin:", err)
		os.Exit(2)
	}
	if !held {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (held bool, err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return false, err
	}
	defer b.close()
	var all []*record
	for _, name := range topologies {
		chosen := len(o.only) == 0 || slices.Contains(o.only, name)
		var r *record
		if chosen && !o.replay {
			fmt.Printf("== %s\n", name)
			if r, err = b.measure(ctx, name); err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
			if err = b.save(r); err != nil {
				return false, err
			}
		} else if r, err = b.load(name); errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return false, err
		}
		if chosen {
			if err := b.predict(ctx, r); err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
			if err = b.save(r); err != nil {
				return false, err
			}
		}
		all = append(all, r)
	}
	page := report(all)
	fmt.Println(page)
	if o.out != "" {
		if err := os.WriteFile(filepath.Join(b.root, o.out), []byte(page), 0o644); err != nil {
			return false, err
		}
	}
	return judge(all).held(), nil
}

// bench is a built program and a folder of records.
type bench struct {
	options
	root, dir, bin string
}

func newBench(ctx context.Context, o options) (*bench, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the module: %w", err)
	}
	b := &bench{options: o, root: filepath.Dir(strings.TrimSpace(string(out)))}
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
