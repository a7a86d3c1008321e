package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/banyanhq/banyan/plan"
)

// rate of requests, a second.
const rate = 60

// fault is a system with one thing wrong.
type fault struct {
	Name    string     `json:"name"`
	Shape   string     `json:"shape"`
	Class   plan.Class `json:"class"` // empty: nothing is wrong
	Service string     `json:"service"`
	What    string     `json:"what"`
	// Fields and steps of the service, beside its usual ones, and what the replica with the name's end -0 does besides.
	Fields []string `json:"fields"`
	Steps  string   `json:"steps"`
	First  string   `json:"first,omitempty"`
	// Path of the requests; empty: a thousand different ones, each as often.
	Path string `json:"path,omitempty"`
	// Calls of each service, in the order of the system: the shape's.
	Services []service `json:"services"`
	// Mended are the steps of the service where what the remedy names has been done: half the CPU time, no limit, lock or delay, no
	// failures, all replicas alike. The fields that make the fault are left out then.
	Mended string `json:"mended,omitempty"`
}

// service is one of a shape: its name, and what it does after its own CPU time.
type service struct{ Name, Calls string }

// shapes are those of examples/synthetic, with nothing in them that is slow or scarce.
var shapes = map[string][]service{
	"chain":           {{"a", "call b"}, {"b", "call c"}, {"c", "call d"}, {"d", ""}},
	"fan-out":         {{"front", "call x|y|z"}, {"x", ""}, {"y", ""}, {"z", ""}},
	"diamond":         {{"front", "call left|right"}, {"left", "call base"}, {"right", "call base"}, {"base", ""}},
	"shared-database": {{"front", "call report 0.3; call shop"}, {"report", "call database; call database"}, {"shop", "call database"}, {"database", ""}},
	"third-party":     {{"front", "call pay 0.7"}, {"pay", "call bank"}, {"bank", "wait 3ms erlang"}},
	"cache":           {{"front", "call store"}, {"store", "cache 300; call disk"}, {"disk", ""}},
	"retry-prone":     {{"front", "call flaky"}, {"flaky", ""}},
	"skewed":          {{"front", "shard s0 s1 s2"}, {"s0", ""}, {"s1", ""}, {"s2", ""}},
	"pool-limited":    {{"front", "call store"}, {"store", "wait 2ms erlang"}},
}

var shapeNames = []string{"chain", "fan-out", "diamond", "shared-database", "third-party", "cache", "retry-prone", "skewed", "pool-limited"}

var classes = []plan.Class{plan.ClassCPU, plan.ClassQuota, plan.ClassPool, plan.ClassLock, plan.ClassDownstream, plan.ClassRetry, plan.ClassSkew}

// visits is how often a service of a shape is asked for each request, on average.
func visits(shape, name string) float64 {
	switch shape + "/" + name {
	case "shared-database/report":
		return 0.3
	case "shared-database/database":
		return 1.6
	case "diamond/base":
		return 2
	case "third-party/pay", "third-party/bank", "cache/disk":
		return 0.7
	case "skewed/s0", "skewed/s1", "skewed/s2":
		return 1.0 / 3
	}
	return 1
}

func (f fault) String() string {
	if f.Class == "" {
		return f.Name + ": nothing, " + f.Shape
	}
	return fmt.Sprintf("%s: %s at %s of %s: %s", f.Name, f.Class, f.Service, f.Shape, f.What)
}

func (f fault) file() string { return f.Name + ".json" }

func makeHealthy(seed uint64, i int) fault {
	shape := shapeNames[i%len(shapeNames)]
	return fault{Name: fmt.Sprintf("healthy-%d-%d", seed, i), Shape: shape, Services: shapes[shape]}
}

// makeFault draws a fault: the classes take turns, the rest is by chance.
func makeFault(seed uint64, i int) fault {
	rnd := rand.New(rand.NewPCG(seed, uint64(i)))
	shape := shapeNames[rnd.IntN(len(shapeNames))]
	f := fault{Name: fmt.Sprintf("fault-%d-%d", seed, i), Shape: shape, Class: classes[i%len(classes)], Services: shapes[shape]}
	f.Service = f.Services[rnd.IntN(len(f.Services))].Name
	arrivals := rate * visits(shape, f.Service)
	between := func(low, high float64) float64 { return low + (high-low)*rnd.Float64() }
	ms := func(v float64) string { return fmt.Sprintf("%.2fms", v) }
	law := []string{"", " erlang"}[rnd.IntN(2)]
	switch f.Class {
	case plan.ClassCPU: // of 0.45 to 0.8 cores
		took := 1000 * between(0.45, 0.8) / arrivals
		f.Steps, f.Mended = "cpu "+ms(took)+law, "cpu "+ms(took/2)+law
	case plan.ClassQuota:
		limit := between(0.15, 0.35)
		f.Steps = "cpu " + ms(1000*limit*between(0.7, 0.85)/arrivals) + law
		f.Mended = f.Steps
		f.Fields = []string{fmt.Sprintf("limits: {cpu: %.2f}", limit)}
	case plan.ClassPool:
		k := 2 + rnd.IntN(4)
		wait := "wait " + ms(1000*float64(k)*between(0.82, 0.93)/arrivals) + law
		f.Mended = wait
		if rnd.IntN(2) == 0 {
			f.Fields, f.Steps = []string{fmt.Sprintf("concurrency: %d", k)}, wait
		} else {
			f.Steps = fmt.Sprintf("acquire %d; %s; release", k, wait)
		}
	case plan.ClassLock:
		held := 1000 * between(0.75, 0.9) / arrivals
		f.Mended = "wait " + ms(held) + law
		if rnd.IntN(2) == 0 {
			f.Mended = "cpu 1ms; wait " + ms(held-1) + law
		}
		f.Steps = "lock; " + f.Mended + "; unlock"
	case plan.ClassDownstream:
		f.Steps = "wait " + ms(between(30, 150)) + []string{"", " erlang", " exp"}[rnd.IntN(3)]
	case plan.ClassRetry:
		f.Steps = fmt.Sprintf("fail %.0f%%", 100*between(0.25, 0.5))
		f.Fields = []string{fmt.Sprintf("inbound: {retry: {attempts: %d, budget: 100%%}}", 3+rnd.IntN(2))}
	case plan.ClassSkew:
		n := 2 + rnd.IntN(3)
		f.Fields = []string{fmt.Sprintf("replicas: %d", n)}
		f.First = []string{"wait " + ms(between(15, 60)) + law, "cpu " + ms(between(8, 12))}[rnd.IntN(2)]
		if rnd.IntN(2) == 0 {
			f.Fields = append(f.Fields, "inbound: {balance: round-robin}")
		}
	}
	f.What = strings.Join(append(append([]string{}, f.Fields...), f.Steps+f.First), ", ")
	return f
}

// mended is the system of f after what is wrong with it was mended.
func (f fault) mended() fault {
	m := f
	m.Name, m.Class, m.What = f.Name+"-mended", "", "mended"
	m.Steps, m.Fields, m.First, m.Mended = f.Mended, nil, "", ""
	if f.Class == plan.ClassSkew { // as many replicas, balanced as before
		m.Fields = f.Fields
	}
	return m
}

// makeExtra draws a fault of the kinds that makeFault does not: hot keys, and more than is held. They are apart so that the
// others stay what they were.
func makeExtra(seed uint64, i int) fault {
	rnd := rand.New(rand.NewPCG(seed, 1<<32+uint64(i)))
	shape := shapeNames[rnd.IntN(len(shapeNames))]
	f := fault{Name: fmt.Sprintf("extra-%d-%d", seed, i), Shape: shape, Services: shapes[shape]}
	f.Service = f.Services[rnd.IntN(len(f.Services))].Name
	between := func(low, high float64) float64 { return low + (high-low)*rnd.Float64() }
	if i%2 == 0 {
		// Only the requests from outside have paths that differ, so that the first service has the keys.
		f.Class, f.Service = plan.ClassSkew, f.Services[0].Name
		f.Path = []string{"/${zipf:1:20}", "/${pick:a,a,a,a,b,c,d}"}[rnd.IntN(2)]
		f.Fields = []string{fmt.Sprintf("replicas: %d", 3+rnd.IntN(2)), "inbound: {balance: ring-hash, hash: {path: true}}"}
		f.Steps = fmt.Sprintf("cpu %.2fms", between(2, 4))
	} else {
		f.Class = plan.ClassQueue
		f.Steps = fmt.Sprintf("lock; wait %.2fms; unlock", 1000*between(1.3, 2)/(rate*visits(shape, f.Service)))
	}
	f.What = strings.Join(append(append([]string{f.Path}, f.Fields...), f.Steps), ", ")
	return f
}

// topology is the file of the system.
func (f fault) topology(worker string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nsystem: %s\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\nservices:\n", f.Name)
	for _, s := range f.Services {
		var uses []string
		for _, word := range strings.FieldsFunc(s.Calls, func(r rune) bool { return r == ' ' || r == '|' || r == ';' }) {
			for _, other := range f.Services {
				if word == other.Name && !strings.Contains(strings.Join(uses, " ")+" ", word+" ") {
					uses = append(uses, word)
				}
			}
		}
		steps := []string{"cpu 300us erlang"}
		run := fmt.Sprintf("[%q]", worker)
		fmt.Fprintf(&b, "  %s:\n", s.Name)
		if s.Name == f.Service {
			if f.Steps != "" {
				steps = append(steps, f.Steps)
			}
			if f.First != "" {
				run = fmt.Sprintf("[sh, -c, 'case $BANYAN_REPLICA in *-0|*-0.*) export WORK=\"%s; $WORK\";; esac; exec %s']", f.First, worker)
			}
			for _, field := range f.Fields {
				fmt.Fprintf(&b, "    %s\n", field)
			}
		}
		if s.Calls != "" {
			steps = append(steps, s.Calls)
		}
		fmt.Fprintf(&b, "    run: %s\n    uses: [%s]\n    env: {WORK: %q}\n", run, strings.Join(uses, ", "), strings.Join(steps, "; "))
	}
	fmt.Fprintf(&b, "routes:\n  - {name: get, path: /, to: %s}\n", f.Services[0].Name)
	fmt.Fprintf(&b, "workload:\n  rate: %d/s\n  scenarios: {get: {steps: [{path: %q}]}}\n", rate, cmp.Or(f.Path, "/${random:1:1000}"))
	return b.String()
}
