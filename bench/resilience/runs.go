//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// variant is one row of a table: how calls are handled, and the figures of each round.
type variant struct {
	name    string
	in      topology.Inbound
	figures [][]float64 // by column
}

// column is how a figure is called and printed.
type column struct{ name, format string }

// runAll runs each variant in each round, within a bound of time, prints the figures as they come, and then their medians.
func runAll(ctx context.Context, out io.Writer, title string, columns []column, all []*variant, rounds int, most time.Duration,
	one func(ctx context.Context, in topology.Inbound) ([]float64, error)) error {
	fmt.Fprintf(out, "%s\n\n", title)
	for round := range rounds {
		for _, v := range all {
			bounded, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("a run took longer than %v", most))
			figures, err := one(bounded, v.in)
			if err == nil && bounded.Err() != nil {
				err = context.Cause(bounded)
			}
			cancel()
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			fmt.Fprintf(out, "round %d, %s:", round+1, v.name)
			for i, c := range columns {
				if round == 0 {
					v.figures = append(v.figures, nil)
				}
				v.figures[i] = append(v.figures[i], figures[i])
				fmt.Fprintf(out, " %s "+c.format+";", c.name, figures[i])
			}
			fmt.Fprintln(out)
		}
	}
	names := []string{""}
	for _, c := range columns {
		names = append(names, c.name)
	}
	fmt.Fprintf(out, "\n| %s |\n%s|\n", strings.Join(names, " | "), strings.Repeat("|---", len(names)))
	for _, v := range all {
		cells := []string{v.name}
		for i, c := range columns {
			slices.Sort(v.figures[i])
			cells = append(cells, fmt.Sprintf(c.format, v.figures[i][rounds/2]))
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
	fmt.Fprintln(out)
	return nil
}

func (s *seen) millis(q float64) float64 {
	if s.latency.Count() == 0 {
		return 0
	}
	return float64(s.latency.QuantileDuration(q)) / 1e6
}

func overload(ctx context.Context, out io.Writer, kinds string, full bool, duration time.Duration, rounds int) error {
	const replicas, within = 2, 500 * time.Millisecond
	columns := []column{{"capacity/s", "%.0f"}, {"good, of capacity", "%.1f %%"}, {"refused at once", "%.1f %%"}, {"p50 of what was answered, ms", "%.0f"}, {"p99, ms", "%.0f"}}
	for kind := range strings.SplitSeq(kinds, ",") {
		mean, core := 40*time.Millisecond, -1
		switch kind {
		case "timer":
		case "processor":
			mean, core = 5*time.Millisecond, runtime.NumCPU()-1
			if core == 0 {
				return fmt.Errorf("work for the processor takes two cores: one for the replicas alone")
			}
			if err := pin(0, core); err != nil {
				return err
			}
		default:
			return fmt.Errorf("-work %q: want timer or processor", kind)
		}
		base := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(5 * time.Second)}
		adaptive := base
		adaptive.Adaptive = &topology.Adaptive{Initial: 20, Min: 20, Max: 200, Tolerance: 1.5}
		all := []*variant{{name: "without", in: base}, {name: "`adaptive: {}`", in: adaptive}}
		title := fmt.Sprintf("two replicas that work by a %s are offered three times what they can do for %v", kind, duration)
		err := runAll(ctx, out, title, columns, all, rounds, duration+time.Minute, func(ctx context.Context, in topology.Inbound) ([]float64, error) {
			f, err := start(ctx, replicas, mean, core, full, in)
			if err != nil {
				return nil, err
			}
			defer f.end()
			capacity := replicas * workers / mean.Seconds()
			if core >= 0 {
				if capacity, err = f.capacity(ctx, 3*time.Second); err != nil {
					return nil, err
				}
			}
			s := f.offer(ctx, 3*capacity, duration, duration/5, within)
			counted := duration.Seconds() * 4 / 5
			return []float64{capacity, 100 * float64(s.good) / (capacity * counted), 100 * float64(s.refused) / float64(max(s.all, 1)), s.millis(0.5), s.millis(0.99)}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func failures(ctx context.Context, out io.Writer, full bool, duration time.Duration, rounds int) error {
	const replicas, rate = 8, 300
	base := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(5 * time.Second)}
	armed := base
	armed.TryTimeout = topology.Duration(250 * time.Millisecond)
	armed.Retry = &topology.Retry{Attempts: 4, Budget: 0.2, MinPerSecond: 10, Backoff: topology.Duration(5 * time.Millisecond), On: []int{500, 502, 503, 504}}
	armed.Breaker = &topology.Breaker{Failures: 5, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(30 * time.Second), MaxEjected: 0.5}
	columns := []column{{"requests", "%.0f"}, {"errors", "%.0f"}, {"of requests", "%.3f %%"}, {"retries", "%.0f"}, {"of requests", "%.2f %%"}, {"p50, ms", "%.1f"}, {"p99, ms", "%.1f"}}
	title := fmt.Sprintf("eight replicas, of which one is killed, one stopped and one answers 500; %d requests a second for %v", rate, duration)
	all := []*variant{{name: "nothing", in: base}, {name: "retries, breakers, `try_timeout: 250ms`", in: armed}}
	return runAll(ctx, out, title, columns, all, rounds, duration+time.Minute, func(ctx context.Context, in topology.Inbound) ([]float64, error) {
		f, err := start(ctx, replicas, 5*time.Millisecond, -1, full, in)
		if err != nil {
			return nil, err
		}
		defer f.end()
		hurt := make(chan error, 1)
		time.AfterFunc(time.Second, func() { hurt <- f.hurt() })
		s := f.offer(ctx, rate, duration+time.Second, 0, time.Hour)
		if err := <-hurt; err != nil {
			return nil, err
		}
		n := float64(max(s.all, 1))
		retries := float64(f.gate.Stats().Routes[0].Retries)
		return []float64{n, float64(s.failed), 100 * float64(s.failed) / n, retries, 100 * retries / n, s.millis(0.5), s.millis(0.99)}, nil
	})
}

// hurt breaks three replicas.
func (f *fleet) hurt() error {
	client := &http.Client{Timeout: 10 * time.Second}
	res, err := client.Get("http://" + f.address[2] + "/break")
	if err != nil {
		return fmt.Errorf("breaking a replica: %w", err)
	}
	_ = res.Body.Close()
	if err := f.replicas[1].Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping a replica: %w", err)
	}
	if err := f.replicas[0].Process.Kill(); err != nil {
		return fmt.Errorf("killing a replica: %w", err)
	}
	return nil
}
