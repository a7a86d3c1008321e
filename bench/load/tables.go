//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// closedTable compares the CPU time of a request where each connection sends the next as soon as it has an answer.
func closedTable(o options, gens []generator, n *nginx) error {
	fmt.Printf("\nclosed loop, one nginx process, keep-alive, %d rounds of %s, median\n%-12s", o.rounds, o.duration, "connections")
	fmt.Printf("%-8s %12s %12s %10s\n", "", "requests/s", "CPU/request", "of banyan")
	for _, connections := range o.connections {
		all, err := rounds(o, gens, job{url: n.url, connections: connections, duration: o.duration})
		if err != nil {
			return err
		}
		for i, g := range gens {
			if all[i] == nil {
				continue
			}
			f := median(all[i])
			fmt.Printf("%-12d%-8s %12.0f %12s %9.2fx\n", connections, g.name, float64(f.Requests)/o.duration.Seconds(), micro(f.perRequest()), ratio(f, median(all[0])))
		}
	}
	return nil
}

// openTable compares the CPU time of a request at a fixed rate.
func openTable(o options, gens []generator, n *nginx) error {
	fmt.Printf("\nfixed rate, %d rounds of %s, median; late: from the intended to the actual sending (banyan alone reports it)\n%-12s%-8s %12s %12s %10s %10s %10s %10s %10s\n",
		o.rounds, o.duration, "rate", "", "requests/s", "CPU/request", "of banyan", "p50", "p99", "late p50", "late p99")
	for _, rate := range o.rates {
		all, err := rounds(o, gens, job{url: n.url, connections: 64, rate: rate, duration: o.duration})
		if err != nil {
			return err
		}
		for i, g := range gens {
			if all[i] == nil {
				continue
			}
			f := median(all[i])
			late := [2]string{"", ""}
			if i == 0 {
				late = [2]string{micro(f.Late[0]), micro(f.Late[1])}
			}
			fmt.Printf("%-12v%-8s %12.0f %12s %9.2fx %10s %10s %10s %10s\n", rate, g.name, float64(f.Requests)/o.duration.Seconds(), micro(f.perRequest()),
				ratio(f, median(all[0])), micro(f.P50), micro(f.P99), late[0], late[1])
		}
	}
	return nil
}

// stallTable stops the server for a second in the middle of a run.
func stallTable(o options, gens []generator, n *nginx) error {
	d := max(o.duration, 4*time.Second)
	fmt.Printf("\n%v/s for %s, the server stopped for 1 s in the middle; wrk knows no rate: 64 connections, as fast as they go\n%-8s %12s %12s %12s %12s %12s\n", o.stallRate, d, "", "requests", "p50", "p90", "p99", "max")
	for _, g := range gens {
		beside := func() {
			time.Sleep(d / 2)
			_ = n.process.Signal(syscall.SIGSTOP)
			time.Sleep(time.Second)
			_ = n.process.Signal(syscall.SIGCONT)
		}
		j := job{url: n.url, rate: o.stallRate, connections: 64, duration: d}
		f, ok, err := run(g, j, beside)
		if err == nil && !ok {
			j.rate = 0
			f, _, err = run(g, j, beside)
		}
		if err != nil {
			return err
		}
		fmt.Printf("%-8s %12d %12s %12s %12s %12s\n", g.name, f.Requests, micro(f.P50), micro(f.P90), micro(f.P99), micro(f.Max))
	}
	share := min(1/d.Seconds(), 1)
	fmt.Printf("%-8s %12.0f %12s %12s %12s %12s\n", "truth", o.stallRate*d.Seconds(), "", fmt.Sprintf(">= %.0fms", max(0, 1000*(1-0.10/share))), fmt.Sprintf(">= %.0fms", max(0, 1000*(1-0.01/share))), ">= 1000ms")
	return nil
}

// rounds runs a job by each generator in turn, several times. Those that cannot have nil.
func rounds(o options, gens []generator, j job) ([][]figures, error) {
	all := make([][]figures, len(gens))
	for range o.rounds {
		for i, g := range gens {
			f, ok, err := run(g, j, nil)
			if err != nil {
				return nil, err
			}
			if ok {
				all[i] = append(all[i], f)
			}
		}
	}
	return all, nil
}

// median is the round whose CPU time of a request is in the middle.
func median(all []figures) figures {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b figures) int { return int(a.perRequest() - b.perRequest()) })
	return sorted[len(sorted)/2]
}

func ratio(f, base figures) float64 { return float64(f.perRequest()) / float64(base.perRequest()) }

// micro writes a time short.
func micro(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.1fµs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3fs", d.Seconds())
}

// has reports whether a word is in a list with commas.
func has(list, word string) bool { return slices.Contains(strings.Split(list, ","), word) }

func replaceDir(text, dir string) string { return strings.ReplaceAll(text, "DIR", dir) }
