//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// beSink is a server whose capacity is known: it serves one request after the other, in the order in which they came, each
// for an exponentially distributed time. The time is slept, not worked, so that other work on the machine disturbs little:
// when a request will have been served is computed when it comes, and it is answered then.
func beSink(args []string) error {
	fl := flag.NewFlagSet("sink", flag.ExitOnError)
	addr := fl.String("listen", "127.0.0.1:0", "address")
	rate := fl.Float64("rate", sinkRate, "requests a second that it can serve")
	_ = fl.Parse(args)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(1, 2))
	var free time.Time
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(rng.ExpFloat64() / *rate * 1e9))
		served := free
		mu.Unlock()
		time.Sleep(time.Until(served))
		_, _ = w.Write([]byte("hello world\n"))
	})
	return http.ListenAndServe(*addr, h)
}

func startSink() (load.Config, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return load.Config{}, nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return load.Config{}, nil, err
	}
	cmd := exec.Command(self, "sink", "-listen", addr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return load.Config{}, nil, err
	}
	stop := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	url := "http://" + addr + "/"
	if err := answers(url); err != nil {
		stop()
		return load.Config{}, nil, err
	}
	return getting(url, stop)
}

// startShop builds banyan and starts examples/shop with it, changed by an overlay if there is one, on a port of its own.
func startShop(overlay string) (load.Config, func(), error) {
	dir, err := os.MkdirTemp("", "banyan-bench-shop-")
	if err != nil {
		return load.Config{}, nil, err
	}
	clean := func() { os.RemoveAll(dir) }
	binary := filepath.Join(dir, "banyan")
	if out, err := exec.Command("go", "build", "-o", binary, "./cmd/banyan").CombinedOutput(); err != nil {
		clean()
		return load.Config{}, nil, fmt.Errorf("building banyan (run this in the repository): %w: %s", err, out)
	}
	files := []string{filepath.Join("examples", "shop", "banyan.yaml")}
	if overlay != "" {
		over := filepath.Join(dir, "over.yaml")
		if err := os.WriteFile(over, []byte(overlay), 0o644); err != nil {
			clean()
			return load.Config{}, nil, err
		}
		files = append(files, over)
	}
	sys, err := topology.Load(files...)
	if err != nil {
		clean()
		return load.Config{}, nil, err
	}
	given := []string{"--state", filepath.Join(dir, "state")}
	for _, file := range files {
		given = append(given, "-f", file)
	}
	banyan := func(args ...string) ([]byte, error) {
		out, err := exec.Command(binary, append(slices.Clip(given), args...)...).Output()
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("banyan %s: %w: %s", args[0], err, failed.Stderr)
		}
		return out, err
	}
	stop := func() {
		if _, err := banyan("down"); err != nil {
			fmt.Fprintln(os.Stderr, "bench/load:", err)
		}
		clean()
	}
	if _, err := banyan("up", "--detach"); err != nil {
		stop()
		return load.Config{}, nil, err
	}
	out, err := banyan("status", "--json")
	var status struct{ Info struct{ Address string } }
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err == nil {
		err = answers("http://" + status.Info.Address + "/")
	}
	if err != nil {
		stop()
		return load.Config{}, nil, err
	}
	return load.Config{Target: "http://" + status.Info.Address, Workload: sys.Workload, Router: topology.NewRouter(sys.Routes), Dir: sys.Dir}, stop, nil
}
