// Command simulate measures the simulator: how many events it handles in a second of CPU time, whether anything is
// allocated, how long a million requests through a hundred services take, and how often its confidence intervals hold
// what theory says. Its figures are those of the package's own benchmarks and tests, run here one after the other.
//
//	go run ./bench/simulate            # about a minute
//	go run ./bench/simulate -quick     # fewer events
//
// Exit code 1: a bar was missed.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// bar is a figure that must be reached, found in the output of a benchmark or a test.
type bar struct {
	what    string
	pattern string // whose first group is the figure
	least   float64
	most    float64 // 0: no bound
}

// run is one call of go test, and what must be in its output.
type run struct {
	args []string
	bars []bar
}

func runs(events string) []run {
	bench := func(name, times string, bars ...bar) run {
		return run{[]string{"test", "./simulate", "-run", "xxx", "-bench", name, "-benchtime", times}, bars}
	}
	rate := func(of, line string, least float64) bar {
		return bar{"million events a CPU-second, " + of, line + `.* ([\d.]+) Mevents/CPU-s`, least, 0}
	}
	allocs := func(of, line string) bar {
		return bar{"allocations for each event, " + of, line + `.* (\d+) allocs/op`, 0, 0.5}
	}
	return []run{
		bench("EngineMM1", events, rate("M/M/1 on the bare engine", "EngineMM1", 10), allocs("M/M/1", "EngineMM1")),
		bench("ModelMM1", events, rate("M/M/1 through the whole model", "ModelMM1", 0), allocs("M/M/1 through the whole model", "ModelMM1")),
		bench("ModelTwentyServices", events, rate("20 services, busy", "busy", 3), rate("20 services, overloaded, retrying", "overloaded", 3), allocs("20 services", "busy")),
		bench("ModelBlocks", events, rate("cache, table, queue", "ModelBlocks", 3), allocs("cache, table, queue", "ModelBlocks")),
		bench("MillionRequests", "1x", bar{"CPU-seconds for a million requests through 100 services", `MillionRequests.* ([\d.]+) CPU-s`, 0, 20}),
		{[]string{"test", "./simulate", "-run", "Confidence", "-v"}, []bar{{"% of 95 % intervals that hold the exact answer", `([\d.]+) % of all`, 93, 0}}},
		{[]string{"test", "./simulate", "-run", "SameSeedSameBits", "-v"}, []bar{{"same seed, same bits on any number of workers (1: yes)", `--- PASS: TestSameSeedSameBits \(()`, 0, 0}}},
	}
}

func main() {
	quick := flag.Bool("quick", false, "fewer events")
	flag.Parse()
	events := "10000000x"
	if *quick {
		events = "1000000x"
	}
	failed := false
	for _, r := range runs(events) {
		out, err := exec.Command("go", r.args...).CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "go %v: %v\n%s", r.args, err, out)
			os.Exit(1)
		}
		for _, b := range r.bars {
			failed = b.check(string(out)) || failed
		}
	}
	if failed {
		os.Exit(1)
	}
}

// check prints a figure beside its bar, and reports whether it was missed.
func (b bar) check(output string) (missed bool) {
	m := regexp.MustCompile(b.pattern).FindStringSubmatch(output)
	if m == nil {
		fmt.Printf("%-70s not found\n", b.what)
		return true
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		v = 1
	}
	missed = v < b.least || b.most > 0 && v > b.most
	verdict := "ok"
	if missed {
		verdict = "MISSED"
	}
	want := fmt.Sprintf(">= %g", b.least)
	if b.most > 0 {
		want = fmt.Sprintf("<= %g", b.most)
	}
	fmt.Printf("%-70s %8.4g  %-8s %s\n", b.what, v, want, verdict)
	return missed
}
