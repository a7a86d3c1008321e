//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// fleet is a set of replicas behind a gateway.
type fleet struct {
	gate     *gateway.Gateway
	stopGate func()
	replicas []*exec.Cmd
	inputs   []io.Closer
	address  []string
}

// replicaTime is how long a replica may take to say where it is.
const replicaTime = 20 * time.Second

// start starts n replicas, which work on a core, or by a timer where that is -1, and a gateway before them,
// of the full tier alone where full is set.
func start(ctx context.Context, n int, mean time.Duration, core int, full bool, in topology.Inbound) (_ *fleet, err error) {
	sys := &topology.System{
		Listen:   "127.0.0.1:0",
		Services: map[string]*topology.Service{"web": {Inbound: in}},
		Routes:   []*topology.Route{{Name: "web", Path: "/", To: "web", Inbound: in}},
	}
	g, err := gateway.New(gateway.Config{System: sys, FullTierOnly: full})
	if err != nil {
		return nil, err
	}
	f := &fleet{gate: g, stopGate: func() {}}
	defer func() {
		if err != nil {
			f.end()
		}
	}()
	for i := range n {
		address, err := f.addReplica(ctx, mean, core)
		if err != nil {
			return nil, err
		}
		id := fmt.Sprintf("web-%d", i)
		g.Add("web", gateway.Backend{ID: id, Address: address})
		g.SetReady("web", id, true)
	}
	if err := g.Listen(); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- g.Run(running) }()
	f.stopGate = func() {
		cancel()
		<-done
	}
	return f, nil
}

// addReplica starts a replica and returns its address.
func (f *fleet) addReplica(ctx context.Context, mean time.Duration, core int) (address string, err error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "replica", "-mean", mean.String(), "-core", strconv.Itoa(core))
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting a replica: %w", err)
	}
	f.replicas, f.inputs = append(f.replicas, cmd), append(f.inputs, in)
	late := time.AfterFunc(replicaTime, func() { _ = cmd.Process.Kill() }) // reading ends by it
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("a replica has not said its address within %v: %w", replicaTime, err)
	}
	address = strings.TrimSpace(line)
	f.address = append(f.address, address)
	return address, nil
}

// end ends the gateway and kills the replicas.
func (f *fleet) end() {
	for i, cmd := range f.replicas { // first, so that the gateway has nothing to wait for
		_ = f.inputs[i].Close()
		_ = cmd.Process.Kill() // one that is stopped as well
		_ = cmd.Wait()
	}
	f.stopGate()
}

// seen is what clients saw.
type seen struct {
	mu      sync.Mutex
	latency *stats.Histogram
	all     int
	good    int // answered 200 within the time that counts
	refused int // answered 503
	failed  int // anything else than 200
}

// offer sends requests at a rate; what was due before skip is not counted.
func (f *fleet) offer(ctx context.Context, rate float64, duration, skip, within time.Duration) *seen {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}, Timeout: 10 * time.Second}
	url := "http://" + f.gate.Addr().String() + "/"
	s := &seen{latency: stats.NewHistogram(3)}
	begin := time.Now()
	due := begin
	var sent sync.WaitGroup
	for ctx.Err() == nil {
		due = due.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
		if due.Sub(begin) > duration {
			break
		}
		time.Sleep(time.Until(due))
		at, counts := due, due.Sub(begin) > skip
		sent.Go(func() {
			status := 0
			if res, err := client.Get(url); err == nil {
				if _, err := io.Copy(io.Discard, res.Body); err == nil {
					status = res.StatusCode
				}
				_ = res.Body.Close()
			}
			took := time.Since(at)
			if !counts {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all++
			switch {
			case status == http.StatusOK:
				s.latency.RecordDuration(took)
				if took <= within {
					s.good++
				}
			case status == http.StatusServiceUnavailable:
				s.refused++
				s.failed++
			default:
				s.failed++
			}
		})
	}
	sent.Wait()
	client.CloseIdleConnections()
	return s
}

// capacity is how many requests a second the replicas answer, asked past the gateway by 16 at a time.
func (f *fleet) capacity(ctx context.Context, duration time.Duration) (float64, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: duration + 10*time.Second}
	defer client.CloseIdleConnections()
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began := time.Now()
	for i := range 16 {
		all.Go(func() {
			for time.Since(began) < duration && ctx.Err() == nil {
				res, err := client.Get("http://" + f.address[i%len(f.address)] + "/")
				if err != nil {
					failed.Store(&err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				n.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("measuring what the replicas can do: %w", *err)
	}
	return float64(n.Load()) / time.Since(began).Seconds(), nil
}
