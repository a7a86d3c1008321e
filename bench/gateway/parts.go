package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// table prints aligned columns.
func (l *lab) table(head string, rows func(w *tabwriter.Writer)) {
	w := tabwriter.NewWriter(l.out, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, head+"\t")
	rows(w)
	_ = w.Flush() // a writer of ours
}

// throughput drives each proxy as fast as wrk can.
func (l *lab) throughput(ctx context.Context) error {
	for _, kb := range l.bodies {
		for _, conns := range l.conns {
			samples := make([][]sample, len(l.proxies))
			for round := range l.rounds {
				for k := range l.proxies {
					i := (k + round) % len(l.proxies)
					s, err := l.drive(ctx, l.proxies[i].address, l.proxies[i].pid, kb, conns, "")
					if err != nil {
						return fmt.Errorf("%s: %w", l.proxies[i].name, err)
					}
					samples[i] = append(samples[i], s)
				}
			}
			fmt.Fprintf(l.out, "\n%d KB, %d connections: medians of %d runs of %d s\n", kb, conns, l.rounds, l.seconds)
			perCPU := func(s sample) float64 { return s.perCPU }
			first := median(of(samples[0], perCPU))
			l.table("\trequests/s\trequests/CPU-s\t"+l.proxies[0].name+" has\tp50\tp99\tfailed", func(w *tabwriter.Writer) {
				for i, p := range l.proxies {
					rate := median(of(samples[i], func(s sample) float64 { return s.rate }))
					if l.carried == nil {
						l.carried = map[string]float64{}
					}
					if _, known := l.carried[p.name]; !known {
						l.carried[p.name] = rate
					}
					failed := 0
					for _, s := range samples[i] {
						failed += s.failed
					}
					fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f x\t%v\t%v\t%d\t\n", p.name, rate, median(of(samples[i], perCPU)),
						first/median(of(samples[i], perCPU)), median(of(samples[i], func(s sample) time.Duration { return s.p50 })),
						median(of(samples[i], func(s sample) time.Duration { return s.p99 })), failed)
				}
			})
		}
	}
	return nil
}

// latency drives each proxy, and the backend alone, at the same rate.
func (l *lab) latency(ctx context.Context) error {
	const conns = 64
	rate := float64(l.rate)
	if rate == 0 {
		for _, p := range l.proxies {
			if p.name != "banyan" && p.name != "haproxy" && p.name != "nginx" {
				continue
			}
			carried, ok := l.carried[p.name]
			if !ok {
				s, err := l.drive(ctx, p.address, p.pid, l.bodies[0], conns, "")
				if err != nil {
					return err
				}
				carried = s.rate
			}
			if rate == 0 || carried/2 < rate {
				rate = carried / 2
			}
		}
	}
	// wrk has no rate of its own: each connection pauses between an answer and the next request.
	pause := max(1, int(conns/rate*1000))
	script := filepath.Join(l.dir, "pace.lua")
	text := fmt.Sprintf("function delay() return math.random(0, %d) end\n", 2*pause)
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		return err
	}
	targets := append([]*peer{{name: "none", address: l.backend}}, l.proxies...)
	samples := make([][]sample, len(targets))
	for round := range l.rounds {
		for k := range targets {
			i := (k + round) % len(targets)
			s, err := l.drive(ctx, targets[i].address, targets[i].pid, l.bodies[0], conns, script)
			if err != nil {
				return fmt.Errorf("%s: %w", targets[i].name, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	fmt.Fprintf(l.out, "\n%d KB, %d connections with pauses of %d ms on average: medians of %d runs of %d s\n", l.bodies[0], conns, pause, l.rounds, l.seconds)
	l.table("proxy\trequests/s\trequests/CPU-s\tp50\tp99\tp99 added", func(w *tabwriter.Writer) {
		p99 := func(s sample) time.Duration { return s.p99 }
		base := median(of(samples[0], p99))
		for i, p := range targets {
			fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%v\t%v\t%v\t\n", p.name, median(of(samples[i], func(s sample) float64 { return s.rate })),
				median(of(samples[i], func(s sample) float64 { return s.perCPU })),
				median(of(samples[i], func(s sample) time.Duration { return s.p50 })), median(of(samples[i], p99)), median(of(samples[i], p99))-base)
		}
	})
	return nil
}

// idleMemory has each proxy hold idle connections.
func (l *lab) idleMemory(ctx context.Context) error {
	fmt.Fprintf(l.out, "\n%d idle connections, each after one answer of %d KB\n", l.idle, l.bodies[0])
	var rows []string
	for _, p := range l.proxies {
		before, err := memory(p.pid)
		if err != nil {
			return err
		}
		kernel, err := kernelMemory()
		if err != nil {
			return err
		}
		conns, err := l.openIdle(ctx, p.address)
		if err == nil {
			time.Sleep(6 * time.Second) // for connections to the backend to close, and memory to be given back
			var after, kernelAfter int64
			if after, err = memory(p.pid); err == nil {
				kernelAfter, err = kernelMemory()
			}
			rows = append(rows, fmt.Sprintf("%s\t%.1f MB\t%.1f MB\t%d B\t%.1f MB", p.name, float64(before)/1e6, float64(after)/1e6, (after-before)/int64(l.idle), float64(kernelAfter-kernel)/1e6))
		}
		for _, c := range conns {
			_ = c.Close() // nothing was lost with it
		}
		if err != nil {
			fmt.Fprintf(l.out, "%s: %v\n", p.name, err) // the others' figures are worth having
		}
	}
	l.table("\tbefore\twith them\tfor each\tkernel, both ends", func(w *tabwriter.Writer) { fmt.Fprintln(w, strings.Join(rows, "\t\n")+"\t") })
	return nil
}

func (l *lab) openIdle(ctx context.Context, address string) ([]net.Conn, error) {
	var mu sync.Mutex
	var conns []net.Conn
	var failed error
	var wg sync.WaitGroup
	const workers = 16
	for w := range workers {
		wg.Go(func() {
			for i := w; i < l.idle && ctx.Err() == nil; i += workers {
				c, err := net.Dial("tcp", address)
				if err == nil {
					mu.Lock()
					conns = append(conns, c)
					mu.Unlock()
					err = ask(c, l.path(l.bodies[0]), l.bodies[0]<<10)
				}
				if err != nil {
					mu.Lock()
					failed = fmt.Errorf("connection %d: %w", i, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return conns, failed
}
