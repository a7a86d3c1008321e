package metrics

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Process is one whose control group is looked at.
type Process struct {
	Service, Replica string
	PID              int
}

// Pressure returns the stall information of the kernel (PSI, docs.kernel.org/accounting/psi.html) of the machine and of the
// control groups of processes: for how long some, or all, of their tasks waited for CPU, memory or disks. Where the kernel
// keeps none (before 4.20, or control groups of version 1) there are no such metrics.
func Pressure(processes func() []Process) prometheus.Collector {
	return &pressure{processes, "/proc", "/sys/fs/cgroup"}
}

type pressure struct {
	processes    func() []Process
	proc, cgroup string
}

var (
	machinePressure = prometheus.NewDesc("banyan_machine_pressure_seconds_total",
		"Time for which tasks of the machine waited for a resource: some of them, or all at once (full).", []string{"resource", "share"}, nil)
	replicaPressure = prometheus.NewDesc("banyan_replica_pressure_seconds_total",
		"Time for which tasks of the replica waited for a resource: some of them, or all at once (full).", []string{"service", "replica", "resource", "share"}, nil)
	resources = [...]string{"cpu", "memory", "io"}
)

// Describe implements prometheus.Collector.
func (p *pressure) Describe(ch chan<- *prometheus.Desc) {
	ch <- machinePressure
	ch <- replicaPressure
}

// Collect implements prometheus.Collector.
func (p *pressure) Collect(ch chan<- prometheus.Metric) {
	show := func(desc *prometheus.Desc, file, resource string, labels ...string) {
		stalls, err := readStalls(file)
		if err != nil {
			return // no such file: the kernel does not keep it
		}
		for share, seconds := range stalls {
			if m, err := prometheus.NewConstMetric(desc, prometheus.CounterValue, seconds, append(labels, resource, share)...); err == nil {
				ch <- m
			}
		}
	}
	for _, r := range resources {
		show(machinePressure, filepath.Join(p.proc, "pressure", r), r)
	}
	shown := map[string]bool{}
	for _, proc := range p.processes() {
		group, ok := p.group(proc.PID)
		if k := proc.Service + "\x00" + proc.Replica; !ok || shown[k] {
			continue
		} else {
			shown[k] = true
		}
		for _, r := range resources {
			show(replicaPressure, filepath.Join(group, r+".pressure"), r, proc.Service, proc.Replica)
		}
	}
}

// group finds the control group (version 2) of a process. That of the root belongs to the whole machine, not to it.
func (p *pressure) group(pid int) (dir string, ok bool) {
	data, err := readSmall(filepath.Join(p.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(data) {
		if path, is := strings.CutPrefix(strings.TrimSpace(line), "0::"); is {
			return filepath.Join(p.cgroup, path), path != "/" && path != ""
		}
	}
	return "", false
}

func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(data), err
}

// readStalls reads a file of pressure: seconds by share (some, full).
func readStalls(path string) (map[string]float64, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	return parseStalls(text)
}

// parseStalls reads lines such as 'some avg10=0.00 avg60=0.00 avg300=0.00 total=1234', total in microseconds.
func parseStalls(text string) (map[string]float64, error) {
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "some" && words[0] != "full" {
			continue
		}
		for _, w := range words[1:] {
			total, is := strings.CutPrefix(w, "total=")
			if !is {
				continue
			}
			n, err := strconv.ParseUint(total, 10, 63)
			if err != nil {
				return nil, fmt.Errorf("pressure %q: want microseconds", w)
			}
			out[words[0]] = float64(n) / 1e6
		}
	}
	return out, nil
}
