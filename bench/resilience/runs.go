package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// column is one figure of a table: how it is printed, and its values by round.
type column struct {
	name, format string
	values       []float64
}

// variant is one row.
type variant struct {
	name    string
	in      topology.Inbound
	columns []*column
}

// add notes a round's figures, in the order of the columns.
func (v *variant) add(out io.Writer, round int, figures ...float64) {
	fmt.Fprintf(out, "round %d, %s:", round+1, v.name)
	for i, c := range v.columns {
		c.values = append(c.values, figures[i])
		fmt.Fprintf(out, " %s "+c.format, c.name, figures[i])
	}
	fmt.Fprintln(out)
}

// table prints the medians.
func table(out io.Writer, all []*variant) {
	names, line := []string{""}, []string{"---"}
	for _, c := range all[0].columns {
		names, line = append(names, c.name), append(line, "---")
	}
	fmt.Fprintf(out, "\n| %s |\n|%s|\n", strings.Join(names, " | "), strings.Join(line, "|"))
	for _, v := range all {
		cells := []string{v.name}
		for _, c := range v.columns {
			slices.Sort(c.values)
			cells = append(cells, fmt.Sprintf(c.format, c.values[len(c.values)/2]))
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
}

func columns(namesAndFormats ...string) (all []*column) {
	for i := 0; i < len(namesAndFormats); i += 2 {
		all = append(all, &column{name: namesAndFormats[i], format: namesAndFormats[i+1]})
	}
	return all
}

func overload(ctx context.Context, out io.Writer, duration time.Duration, rounds int) error {
	const replicas, within, mean = 2, 500 * time.Millisecond, 5 * time.Millisecond
	if runtime.NumCPU() < 2 && os.Getenv(pinned) == "" {
		return fmt.Errorf("this takes two cores: one for the replicas alone")
	}
	if err := pin(0, runtime.NumCPU()-1); err != nil {
		return err
	}
	shape := func() []*column {
		return columns("capacity/s", "%.0f", "good, of capacity", "%.1f %%", "refused at once", "%.1f %%", "p50 of answers", "%.0f ms", "p99", "%.0f ms")
	}
	base := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(5 * time.Second)}
	adaptive := base
	adaptive.Adaptive = &topology.Adaptive{Initial: 20, Min: 20, Max: 200, Tolerance: 1.5}
	all := []*variant{{"without", base, shape()}, {"`adaptive: {}`", adaptive, shape()}}
	for round := range rounds {
		for _, v := range all {
			f, err := start(ctx, replicas, mean, true, v.in)
			if err != nil {
				return err
			}
			capacity := f.capacity(3 * time.Second)
			skip := duration / 4
			s := f.offer(ctx, 3*capacity, duration+skip, skip, within)
			f.end()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			millis := func(q float64) float64 {
				if s.latency.Count() == 0 {
					return 0
				}
				return float64(s.latency.Quantile(q)) / 1e6
			}
			v.add(out, round, capacity, 100*float64(s.good)/(capacity*duration.Seconds()), 100*float64(s.refused)/float64(max(s.all, 1)), millis(0.5), millis(0.99))
		}
	}
	table(out, all)
	return nil
}

// capacity is how many requests a second the replicas answer, asked past the gateway by 16 at a time.
func (f *fleet) capacity(duration time.Duration) float64 {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	var n atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for i := range 16 {
		all.Go(func() {
			for time.Since(began) < duration {
				res, err := client.Get("http://" + f.address[i%len(f.address)] + "/")
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				n.Add(1)
			}
		})
	}
	all.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

func failures(ctx context.Context, out io.Writer, duration time.Duration, rounds int) error {
	const replicas, rate = 8, 300
	shape := func() []*column {
		return columns("requests", "%.0f", "errors", "%.0f", "of requests", "%.3f %%", "retries, of requests", "%.2f %%", "p50", "%.1f ms", "p99", "%.1f ms")
	}
	base := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(5 * time.Second)}
	armed := base
	armed.TryTimeout = topology.Duration(250 * time.Millisecond)
	armed.Retry = &topology.Retry{Attempts: 4, Budget: 0.2, MinPerSecond: 10, Backoff: topology.Duration(5 * time.Millisecond), On: []int{500, 502, 503, 504}}
	armed.Breaker = &topology.Breaker{Failures: 5, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(30 * time.Second), MaxEjected: 0.5}
	all := []*variant{{"nothing", base, shape()}, {"retries, breakers, `try_timeout: 250ms`", armed, shape()}}
	for round := range rounds {
		for _, v := range all {
			f, err := start(ctx, replicas, 5*time.Millisecond, false, v.in)
			if err != nil {
				return err
			}
			hurt := make(chan error, 1)
			time.AfterFunc(time.Second, func() { hurt <- f.hurt() })
			s := f.offer(ctx, rate, duration+time.Second, 0, time.Hour)
			err = <-hurt
			retries := f.gate.Stats().Routes[0].Retries
			f.end()
			if err != nil || ctx.Err() != nil {
				return cmp.Or(err, ctx.Err())
			}
			n := float64(max(s.all, 1))
			v.add(out, round, n, float64(s.failed), 100*float64(s.failed)/n, 100*float64(retries)/n, float64(s.latency.Quantile(0.5))/1e6, float64(s.latency.Quantile(0.99))/1e6)
		}
	}
	table(out, all)
	return nil
}

// hurt breaks three replicas.
func (f *fleet) hurt() error {
	res, err := http.Get("http://" + f.address[2] + "/break")
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
