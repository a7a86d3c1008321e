//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// figures are what one run of one generator gave; what it does not report is 0.
type figures struct {
	Requests int64
	P50      time.Duration
	P90      time.Duration
	P99      time.Duration
	Max      time.Duration
	// Late is the 50th and the 99th percentile of the time from the intended to the actual sending, of Banyan alone.
	Late [2]time.Duration

	cpu  time.Duration
	took time.Duration
	rss  int64 // most, bytes
}

// perRequest is the CPU time of one request.
func (f figures) perRequest() time.Duration { return f.cpu / time.Duration(max(f.Requests, 1)) }

// job is what a generator is to send: at a rate, or (0) as fast as it can.
type job struct {
	url         string
	rate        float64
	connections int
	duration    time.Duration
}

// generator is one of those compared: the command that makes it send, and the reader of its report. A command that is nil
// says that it cannot.
type generator struct {
	name    string
	command func(job) []string
	read    func(out []byte) (figures, error)
}

// Versions of the modules that peers are built from.
var modules = map[string]string{"vegeta": "github.com/tsenart/vegeta/v12@v12.13.0", "fortio": "fortio.org/fortio@v1.63.0"}

// generators returns Banyan's and those peers that can be had.
func generators(peers string) (all []generator, clean func()) {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	all = []generator{banyanGenerator(self)}
	dir, err := os.MkdirTemp("", "banyan-bench-peers-")
	if err != nil {
		fmt.Println("peers are left out:", err)
		return all, func() {}
	}
	for _, g := range []func(string) generator{wrkGenerator, heyGenerator, vegetaGenerator, fortioGenerator} {
		name := g("").name
		if !has(peers, name) {
			continue
		}
		path, err := exec.LookPath(name)
		if module, ok := modules[name]; ok {
			path, err = build(dir, name, module)
		}
		if err != nil {
			fmt.Printf("%s is left out: %v\n", name, err)
			continue
		}
		all = append(all, g(path))
	}
	return all, func() { os.RemoveAll(dir) }
}

// build builds a command from its module. Where BANYAN_PEERS names a directory, what is there already is taken.
func build(dir, name, module string) (string, error) {
	if kept := os.Getenv("BANYAN_PEERS"); kept != "" {
		if path := filepath.Join(kept, name); exists(path) {
			return path, nil
		}
		dir = kept
	}
	fmt.Printf("building %s ...\n", module)
	cmd := exec.Command("go", "install", module)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("building %s: %w: %.200s", module, err, lines[len(lines)-1])
	}
	return filepath.Join(dir, name), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func banyanGenerator(self string) generator {
	return generator{"banyan", func(j job) []string {
		return []string{self, "child", "-url", j.url, "-rate", fmt.Sprint(j.rate), "-duration", j.duration.String(), "-connections", strconv.Itoa(j.connections)}
	}, func(out []byte) (f figures, err error) { return f, json.Unmarshal(out, &f) }}
}

func wrkGenerator(path string) generator {
	return generator{"wrk", func(j job) []string {
		if j.rate > 0 {
			return nil // it has no rate
		}
		return []string{path, "-t1", "-c", strconv.Itoa(j.connections), "-d", strconv.Itoa(int(max(j.duration.Seconds(), 1))) + "s", "--latency", j.url}
	}, func(out []byte) (f figures, err error) {
		n, err := match(out, `(\d+) requests in`)
		if err != nil {
			return f, err
		}
		f.Requests = int64(n)
		for share, to := range map[string]*time.Duration{"50%": &f.P50, "90%": &f.P90, "99%": &f.P99} {
			if *to, err = matchDuration(out, share+`\s+([\d.]+[a-z]+)`); err != nil {
				return f, err
			}
		}
		f.Max, err = matchDuration(out, `Latency\s+\S+\s+\S+\s+([\d.]+[a-z]+)`)
		return f, err
	}}
}

func heyGenerator(path string) generator {
	return generator{"hey", func(j job) []string {
		args := []string{path, "-c", strconv.Itoa(j.connections), "-z", j.duration.String()}
		if j.rate > 0 {
			args = append(args, "-q", fmt.Sprint(j.rate/float64(j.connections)))
		}
		return append(args, j.url)
	}, func(out []byte) (f figures, err error) {
		n, err := match(out, `\[200\]\s+(\d+) responses`)
		if err != nil {
			return f, err
		}
		f.Requests = int64(n)
		for pattern, to := range map[string]*time.Duration{`50%%? in ([\d.]+) secs`: &f.P50, `90%%? in ([\d.]+) secs`: &f.P90, `99%%? in ([\d.]+) secs`: &f.P99, `Slowest:\s+([\d.]+) secs`: &f.Max} {
			s, err := match(out, pattern)
			if err != nil {
				return f, err
			}
			*to = time.Duration(s * 1e9)
		}
		return f, nil
	}}
}

// vegeta's attack is reported on by a second command; the CPU time counted is that of the attack.
func vegetaGenerator(path string) generator {
	return generator{"vegeta", func(j job) []string {
		rate, workers := fmt.Sprintf("%v", j.rate), "10"
		if j.rate == 0 {
			rate, workers = "0", strconv.Itoa(j.connections)
		}
		args := fmt.Sprintf("echo GET %s | exec %s attack -keepalive -rate %s -workers %s -max-workers %d -connections %d -duration %s", j.url, path, rate, workers, max(j.connections, 1), j.connections, j.duration)
		if j.rate > 0 {
			args = fmt.Sprintf("echo GET %s | exec %s attack -keepalive -rate %s -connections %d -duration %s", j.url, path, rate, max(j.connections, 10000), j.duration)
		}
		return []string{"sh", "-c", args}
	}, func(out []byte) (f figures, err error) {
		cmd := exec.Command(path, "report", "-type=json")
		cmd.Stdin = bytes.NewReader(out)
		report, err := cmd.Output()
		if err != nil {
			return f, fmt.Errorf("vegeta report: %w", err)
		}
		var r struct {
			Requests  int64 `json:"requests"`
			Latencies map[string]int64
		}
		if err := json.Unmarshal(report, &r); err != nil {
			return f, err
		}
		d := func(name string) time.Duration { return time.Duration(r.Latencies[name]) }
		return figures{Requests: r.Requests, P50: d("50th"), P90: d("90th"), P99: d("99th"), Max: d("max")}, nil
	}}
}

func fortioGenerator(path string) generator {
	return generator{"fortio", func(j job) []string {
		return []string{path, "load", "-quiet", "-c", strconv.Itoa(j.connections), "-qps", fmt.Sprint(j.rate), "-t", j.duration.String(), "-p", "50,90,99", "-json", "-", j.url}
	}, func(out []byte) (f figures, err error) {
		var r struct {
			RetCodes          map[string]int64
			DurationHistogram struct {
				Max         float64
				Percentiles []struct{ Percentile, Value float64 }
			}
		}
		at := bytes.IndexByte(out, '{')
		if at < 0 {
			return f, fmt.Errorf("no JSON in its report:\n%.500s", out)
		}
		if err := json.NewDecoder(bytes.NewReader(out[at:])).Decode(&r); err != nil {
			return f, err
		}
		f.Requests, f.Max = r.RetCodes["200"], time.Duration(r.DurationHistogram.Max*1e9)
		for _, p := range r.DurationHistogram.Percentiles {
			switch d := time.Duration(p.Value * 1e9); p.Percentile {
			case 50:
				f.P50 = d
			case 90:
				f.P90 = d
			case 99:
				f.P99 = d
			}
		}
		return f, nil
	}}
}

func match(out []byte, pattern string) (float64, error) {
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no %q in its report:\n%s", pattern, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func matchDuration(out []byte, pattern string) (time.Duration, error) {
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no %q in its report:\n%s", pattern, out)
	}
	return time.ParseDuration(string(m[1]))
}

// run sends a job by a generator, with beside (if not nil) going on at the same time. ok is false where it cannot.
func run(g generator, j job, beside func()) (f figures, ok bool, err error) {
	args := g.command(j)
	if args == nil {
		return f, false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), j.duration+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return f, false, fmt.Errorf("starting %s: %w", g.name, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if beside != nil {
			beside()
		}
	}()
	err = cmd.Wait()
	<-done
	if err != nil {
		return f, false, fmt.Errorf("%s: %w:\n%.2000s%.2000s", g.name, err, &out, &complaints)
	}
	if f, err = g.read(out.Bytes()); err != nil {
		return f, false, fmt.Errorf("%s: %w", g.name, err)
	}
	f.cpu, f.took = cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), time.Since(began)
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.rss = u.Maxrss << 10
	}
	return f, true, nil
}
