// Command bottleneck scores 'banyan bottleneck' on seeded faults: a small system with one fault of a known class at a known
// service is run for real, given load for some seconds, and asked for what limits it. The first answer counts.
//
//	go run ./bench/bottleneck                # 60 faults, a quarter of an hour; prints the table
//	go run ./bench/bottleneck -replay        # judges the recorded runs again, after a change to the rules
//	go run ./bench/bottleneck -seed 7 -n 10  # others
//	go run ./bench/bottleneck -gains         # runs each system again with its fault mended: is the gain what was predicted?
//	go run ./bench/bottleneck -healthy 10    # systems without a fault, of which nothing should be said
//
// Traffic goes to loopback only. Exit code 1: fewer than 95 % were right.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/plan"
)

// bar is the share of first answers that must be right.
const bar = 0.95

type options struct {
	n, from, healthy int
	seed             uint64
	keep             string
	seconds          int
	replay, verbose  bool
	extra, gains     bool
}

// record is one run.
type record struct {
	Fault       fault             `json:"fault"`
	Observation *plan.Observation `json:"observation"`
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 60, "faults")
	flag.IntVar(&o.from, "from", 0, "index of the first of them")
	flag.IntVar(&o.healthy, "healthy", 0, "systems without a fault, instead of those with one")
	flag.BoolVar(&o.extra, "extra", false, "hot keys and growing queues instead of the usual faults")
	flag.BoolVar(&o.gains, "gains", false, "hold predicted gains against those of the mended systems")
	flag.Uint64Var(&o.seed, "seed", 1, "of the faults")
	flag.StringVar(&o.keep, "keep", filepath.Join(os.TempDir(), "banyan-bottleneck"), "folder for the records of runs")
	flag.IntVar(&o.seconds, "seconds", 10, "length of each run")
	flag.BoolVar(&o.replay, "replay", false, "judge the records again and run only what has none")
	flag.BoolVar(&o.verbose, "v", false, "print the evidence of wrong answers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	good, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bottleneck:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (good bool, err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return false, err
	}
	defer b.close()
	if o.gains && o.extra {
		return false, errors.New("-gains is for the usual faults")
	}
	s := newScore(o.verbose)
	var mended gains
	first, last := o.from, o.from+o.n
	if o.healthy > 0 {
		first, last = 0, o.healthy
	}
	for i := first; i < last; i++ {
		f := makeFault(o.seed, i)
		switch {
		case o.healthy > 0:
			f = makeHealthy(o.seed, i)
		case o.extra:
			f = makeExtra(o.seed, i)
		}
		r, err := b.recorded(ctx, f)
		if err != nil {
			return false, fmt.Errorf("%s: %w", f, err)
		}
		found, err := s.judge(r)
		if err != nil {
			return false, fmt.Errorf("%s: %w", f, err)
		}
		if o.gains && found != nil { // of what was not found there is no gain to judge
			if err := mended.measure(ctx, b, f, r.Observation, found); err != nil {
				return false, fmt.Errorf("%s, mended: %w", f, err)
			}
		}
	}
	s.print()
	mended.print()
	return s.share() >= bar, nil
}

// bench is the built programs and a folder.
type bench struct {
	options
	dir, banyan, worker string
}

func newBench(ctx context.Context, o options) (*bench, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the module: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if err := os.MkdirAll(o.keep, 0o755); err != nil {
		return nil, err
	}
	b := &bench{options: o}
	if b.dir, err = os.MkdirTemp("", "bottleneck-"); err != nil {
		return nil, err
	}
	b.banyan, b.worker = filepath.Join(b.dir, "banyan"), filepath.Join(b.dir, "worker")
	for bin, pkg := range map[string]string{b.banyan: "./cmd/banyan", b.worker: "./examples/synthetic/worker"} {
		build := exec.CommandContext(ctx, "go", "build", "-o", bin, pkg)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			b.close()
			return nil, fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.dir) }

// recorded returns the record of a fault: with -replay the one that there is, else that of a new run.
func (b *bench) recorded(ctx context.Context, f fault) (*record, error) {
	path := filepath.Join(b.keep, f.file())
	if b.replay {
		data, err := os.ReadFile(path)
		if err == nil {
			r := new(record)
			return r, json.Unmarshal(data, r)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	r := &record{Fault: f}
	var err error
	if r.Observation, err = b.observe(ctx, f); err != nil {
		return nil, err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return r, os.WriteFile(path, data, 0o644)
}

// observe runs a system under load and asks it what it saw.
func (b *bench) observe(ctx context.Context, f fault) (o *plan.Observation, err error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "banyan.yaml")
	if err := os.WriteFile(file, []byte(f.topology(b.worker)), 0o644); err != nil {
		return nil, err
	}
	banyan := func(ctx context.Context, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, b.banyan, append([]string{"-f", file}, args...)...)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out, fmt.Errorf("banyan %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
		}
		return out, err
	}
	if _, err := banyan(ctx, "up", "--detach"); err != nil {
		return nil, err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, e := banyan(late, "down")
		err = errors.Join(err, e)
	}()
	length := fmt.Sprintf("%ds", b.seconds)
	if _, err := banyan(ctx, "load", "--warmup", "2s", "--duration", length, "--json"); err != nil {
		return nil, err
	}
	out, err := banyan(ctx, "bottleneck", "--window", length, "--json")
	if err != nil {
		return nil, err
	}
	var answer struct{ Observation *plan.Observation }
	return answer.Observation, json.Unmarshal(out, &answer)
}
