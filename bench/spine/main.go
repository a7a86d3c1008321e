// Command spine measures what the spine of Banyan promises, on the example shop and with real processes: how fast it
// is up, what a kill costs, whether scaling and replacing lose requests, whether anything outlives a killed supervisor,
// and how far predictions are from measurements.
//
//	go run ./bench/spine            # all
//	go run ./bench/spine kill scale # some
//
// It builds the program, works on a state directory of its own, sends traffic to loopback only, and stops what it
// started. Exit code 1: a bar was missed.
package main

import (
	"context"
	"encoding/json"
	"errors"
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

// bar is one promise.
type bar struct {
	name string
	run  func(ctx context.Context, b *bench) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	bars := []bar{{"start", start}, {"kill", kill}, {"scale", scale}, {"orphans", orphans}, {"predict", predict}, {"trace", trace}}
	want := os.Args[1:]
	for _, w := range want {
		if !slices.ContainsFunc(bars, func(b bar) bool { return b.name == w }) {
			fmt.Fprintf(os.Stderr, "spine: no bar %q\n", w)
			os.Exit(2)
		}
	}
	b, err := newBench(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "spine:", err)
		os.Exit(2)
	}
	for _, bar := range bars {
		if len(want) > 0 && !slices.Contains(want, bar.name) {
			continue
		}
		fmt.Printf("== %s\n", bar.name)
		if err := bar.run(ctx, b); err != nil {
			b.check(bar.name+" ran", false, err.Error())
		}
		b.down()
	}
	b.close()
	if b.missed > 0 {
		fmt.Printf("\n%d missed\n", b.missed)
		os.Exit(1)
	}
	fmt.Println("\nall held")
}

// bench is a built program and a state directory.
type bench struct {
	root, bin, state, file string
	missed                 int
}

func newBench(ctx context.Context) (*bench, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the module: %w", err)
	}
	b := &bench{root: filepath.Dir(strings.TrimSpace(string(out)))}
	dir, err := os.MkdirTemp("", "spine-")
	if err != nil {
		return nil, err
	}
	b.bin, b.state = filepath.Join(dir, "banyan"), filepath.Join(dir, "state")
	b.file = filepath.Join(b.root, "examples", "shop", "banyan.yaml")
	// The shop on a free port, whatever else runs here.
	overlay := filepath.Join(dir, "port.yaml")
	if err := os.WriteFile(overlay, []byte("listen: 127.0.0.1:0\n"), 0o644); err != nil {
		return nil, err
	}
	b.file += "," + overlay
	build := exec.CommandContext(ctx, "go", "build", "-o", b.bin, "./cmd/banyan")
	build.Dir = b.root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building banyan: %w\n%s", err, out)
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(filepath.Dir(b.bin)) }

// args puts the files and the state directory before a subcommand's arguments.
func (b *bench) args(args ...string) []string {
	all := []string{"--state", b.state}
	for _, f := range strings.Split(b.file, ",") {
		all = append(all, "-f", f)
	}
	return append(all, args...)
}

func (b *bench) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, b.bin, b.args(args...)...)
}

// banyan runs a subcommand and returns its standard output. Exit code 1 is an answer, not an error.
func (b *bench) banyan(ctx context.Context, args ...string) ([]byte, error) {
	cmd := b.command(ctx, args...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && len(exit.Stderr) == 0 {
		return out, nil
	}
	if errors.As(err, &exit) {
		return out, fmt.Errorf("banyan %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

// ask runs a subcommand with --json and reads its answer.
func (b *bench) ask(ctx context.Context, into any, args ...string) error {
	out, err := b.banyan(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("banyan %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// up starts the shop detached and returns its address.
func (b *bench) up(ctx context.Context) (string, error) {
	if _, err := b.banyan(ctx, "up", "--detach"); err != nil {
		return "", err
	}
	return b.address(ctx)
}

func (b *bench) address(ctx context.Context) (string, error) {
	s, err := b.status(ctx)
	return s.Info.Address, err
}

func (b *bench) down() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := b.banyan(ctx, "down"); err != nil {
		fmt.Fprintln(os.Stderr, "spine: stopping the shop:", err)
	}
}

// check prints whether a promise was kept.
func (b *bench) check(what string, ok bool, figure string) {
	mark := "ok  "
	if !ok {
		mark = "MISS"
		b.missed++
	}
	fmt.Printf("%s %-50s %s\n", mark, what, figure)
}

// status is the part of 'banyan status --json' that is needed here.
type status struct {
	Info struct {
		PID     int
		Address string
	}
	Replicas []struct {
		Service  string
		Desired  int
		Ready    int
		Replicas []struct {
			ID    string
			PID   int
			State string
		}
	}
}

func (b *bench) status(ctx context.Context) (s status, err error) {
	return s, b.ask(ctx, &s, "status")
}

// until polls a condition: what it waits for happens in other processes.
func until(ctx context.Context, limit time.Duration, what string, condition func() bool) (time.Duration, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return time.Since(begin), fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return time.Since(begin), nil
}
