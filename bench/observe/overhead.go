package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/load"
)

// Bars of what observation costs the shop under load.
const (
	barThroughput = 0.05
	barMemory     = 150e6 // bytes
)

// cost is what a run of the shop took.
type cost struct {
	requests   float64 // answered at the offered rate
	cpu        float64 // seconds of all its processes for each of them
	throughput float64 // requests a second of users who do not think
	memory     float64 // bytes of Banyan's process
}

// overhead runs the example shop with everything observed and with what can be turned off turned off, in turn: at one offered rate,
// for CPU and memory, and with users who do not think, for throughput. What stays on is what planning and the live view need: the
// history and the recording.
func (b *bench) overhead(ctx context.Context, rounds int) error {
	var on, off []cost
	for i := range rounds {
		// The order changes, so that what grows with time does not count for one of them.
		for _, observed := range []bool{i%2 == 0, i%2 == 1} {
			c, err := b.shopRun(ctx, observed)
			if err != nil {
				return fmt.Errorf("round %d: %w", i+1, err)
			}
			fmt.Printf("overhead      round %d, %-12s  %.0f requests, %.3f ms of CPU each, %.0f MB; %.0f requests/s at most\n", i+1,
				map[bool]string{true: "observed", false: "not observed"}[observed], c.requests, 1000*c.cpu, c.memory/1e6, c.throughput)
			if observed {
				on = append(on, c)
			} else {
				off = append(off, c)
			}
		}
	}
	part := func(of func(cost) float64) (with, without float64) { return medianOf(on, of), medianOf(off, of) }
	cpuWith, cpuWithout := part(func(c cost) float64 { return c.cpu })
	fastWith, fastWithout := part(func(c cost) float64 { return c.throughput })
	memoryWith, memoryWithout := part(func(c cost) float64 { return c.memory })
	lost, more := 1-fastWith/fastWithout, memoryWith-memoryWithout
	fmt.Printf("overhead      medians of %d rounds: CPU of a request %.3f ms and %.3f ms without (%+.1f %%); throughput %.0f/s and %.0f/s without (%+.1f %%); memory %.0f MB and %.0f MB without (%+.0f MB)\n",
		rounds, 1000*cpuWith, 1000*cpuWithout, 100*(cpuWith/cpuWithout-1), fastWith, fastWithout, -100*lost, memoryWith/1e6, memoryWithout/1e6, more/1e6)
	holds := map[bool]string{true: "holds", false: "MISSES"}
	fmt.Printf("overhead      %s the bar of %.0f %% of throughput, %s the bar of %.0f MB\n", holds[lost < barThroughput], 100*barThroughput, holds[more < barMemory], barMemory/1e6)
	return nil
}

func medianOf(all []cost, of func(cost) float64) float64 {
	var v []float64
	for _, c := range all {
		v = append(v, of(c))
	}
	slices.Sort(v)
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}

// unobserved is laid over a file.
const unobserved = "monitoring: {off: true}\nlogs: {off: true}\ntraces: {off: true}\n"

func (b *bench) shopRun(ctx context.Context, observed bool) (c cost, err error) {
	dir, err := os.MkdirTemp(b.dir, "shop")
	if err != nil {
		return c, err
	}
	overlay := "listen: 127.0.0.1:0\n"
	if !observed {
		overlay += unobserved
	}
	path := filepath.Join(dir, "overlay.yaml")
	if err := os.WriteFile(path, []byte(overlay), 0o644); err != nil {
		return c, err
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return c, fmt.Errorf("finding the module: %w", err)
	}
	s, err := b.up(ctx, filepath.Join(dir, "state"), filepath.Join(strings.TrimSpace(string(root)), "examples", "shop", "banyan.yaml"), path)
	if err != nil {
		return c, err
	}
	defer s.down()
	return s.cost(ctx, b.rate, b.length)
}

// cost loads a shop that runs.
func (s *shop) cost(ctx context.Context, rate int, length time.Duration) (c cost, err error) {
	// The first load warms up; its figures do not count.
	if _, err := s.load(ctx, "--rate", fmt.Sprint(rate, "/s"), "--duration", "5s"); err != nil {
		return c, err
	}
	before := s.spent()
	offered, err := s.load(ctx, "--rate", fmt.Sprint(rate, "/s"), "--duration", length.String())
	if err != nil {
		return c, err
	}
	c.requests = float64(offered.Total.Requests)
	c.cpu = (s.spent() - before).Seconds() / c.requests
	_, memory, err := used(s.pid)
	if err != nil {
		return c, err
	}
	c.memory = float64(memory)
	most, err := s.load(ctx, "--users", "16", "--think", "0s", "--duration", length.String())
	if err != nil {
		return c, err
	}
	c.throughput = float64(most.Total.Requests) / most.Duration.Seconds()
	return c, nil
}

// spent is the CPU time of Banyan and its replicas.
func (s *shop) spent() time.Duration { return spent(append(below(s.pid, ""), s.pid)) }

func (s *shop) load(ctx context.Context, args ...string) (*load.Result, error) {
	out, err := s.banyan(ctx, append([]string{"load", "--json"}, args...)...)
	if err != nil {
		return nil, err
	}
	var run app.Run
	if err := json.Unmarshal(out, &run); err != nil {
		return nil, fmt.Errorf("reading the result of a load: %w", err)
	}
	if run.Result == nil || run.Result.Total.Requests == 0 {
		return nil, errors.New("the load sent nothing")
	}
	return run.Result, nil
}
