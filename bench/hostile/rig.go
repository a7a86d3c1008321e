//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/topology"
)

// where a gateway listens.
type where struct {
	Plain, TLS, Root string
}

// serve runs a gateway before two services, well (good.example and all others) and ill (/ill/), whose backends are at the given
// addresses, until the standard input ends; before these stands how many connections it takes.
func serve(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want a number of connections and the addresses of two backends")
	}
	var bounds *topology.Connections
	backends := args[1:]
	if n, err := strconv.Atoi(args[0]); err != nil {
		return err
	} else if n > 0 {
		bounds = &topology.Connections{Max: n, PerClient: (n + 1) / 2}
	}
	state, err := os.MkdirTemp("", "banyan-hostile")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	in := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(5 * time.Second), Breaker: &topology.Breaker{Off: true}}
	g, err := gateway.New(gateway.Config{StateDir: state, DrainTimeout: time.Second, System: &topology.System{
		Listen: "127.0.0.1:0", Connections: bounds, TLS: &topology.TLS{Listen: "127.0.0.1:0"},
		Services: map[string]*topology.Service{"well": {Inbound: in}, "ill": {Inbound: in}},
		Routes:   []*topology.Route{{Name: "well", Path: "/", To: "well", Inbound: in}, {Name: "ill", Path: "/ill/", To: "ill", Inbound: in}},
	}})
	if err != nil {
		return err
	}
	for i, service := range []string{"well", "ill"} {
		g.Add(service, gateway.Backend{ID: "1", Address: backends[i]})
		g.SetReady(service, "1", true)
	}
	if err := g.Listen(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends with the parent
		stop()
	}()
	if err := json.NewEncoder(os.Stdout).Encode(where{g.Addr().String(), g.TLSAddr().String(), g.TLSRoot()}); err != nil {
		return err
	}
	return g.Run(ctx)
}

// victim is a gateway under attack.
type victim struct {
	where
	trust  *tls.Config
	secure bool                           // attacks come over TLS
	ill    atomic.Pointer[func(net.Conn)] // what the ill backend does with a connection
	cmd    *exec.Cmd
	undo   []func()
}

func newVictim(ctx context.Context, most int) (v *victim, err error) {
	v = &victim{}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	large := make([]byte, 64<<10)
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/large" {
			for range 1024 {
				if _, err := w.Write(large); err != nil {
					return
				}
			}
		}
		fmt.Fprintln(w, "hello")
	}))
	v.undo = append(v.undo, well.Close)
	ill, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return v, err
	}
	v.undo = append(v.undo, func() { _ = ill.Close() })
	go func() {
		for {
			c, err := ill.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				if f := v.ill.Load(); f != nil {
					if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
						(*f)(c)
					}
				}
			}()
		}
	}()
	v.cmd = exec.CommandContext(ctx, os.Args[0], "gateway", strconv.Itoa(most), well.Listener.Addr().String(), ill.Addr().String())
	v.cmd.Stderr = os.Stderr
	in, err := v.cmd.StdinPipe()
	if err != nil {
		return v, err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return v, err
	}
	if err := v.cmd.Start(); err != nil {
		return v, err
	}
	v.undo = append(v.undo, func() { _ = in.Close(); _ = v.cmd.Wait() })
	if err := json.NewDecoder(out).Decode(&v.where); err != nil {
		return v, fmt.Errorf("the gateway's addresses: %w", err)
	}
	pool, err := certs.Authorities(v.Root)
	if err != nil {
		return v, err
	}
	v.trust = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	return v, nil
}

func (v *victim) close() {
	for i := len(v.undo) - 1; i >= 0; i-- {
		v.undo[i]()
	}
}

// memory returns the resident memory of the gateway's process, and used the processor time that it has had; 0 once it has ended.
func (v *victim) memory() int64 {
	c, err := observe.ReadProcess(v.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	return c.Memory
}

func (v *victim) used() time.Duration {
	c, err := observe.ReadProcess(v.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	return c.CPU
}

// result is what an attack did, and what became of it.
type result struct {
	did        int64
	grown      int64 // in bytes
	cpu, took  time.Duration
	good       int
	failed     int
	p50, worst time.Duration
}

// measure has a gateway attacked for a time.
func measure(ctx context.Context, a attack, each time.Duration, conns, most int) (r result, err error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < uint64(2*conns+100) {
		return r, fmt.Errorf("%d open files are allowed, %d connections take more", limit.Cur, conns)
	}
	v, err := newVictim(ctx, most)
	if err != nil {
		return r, err
	}
	defer v.close()
	if took, err := v.ask(); err != nil {
		return r, fmt.Errorf("before the attack, after %v: %w", took, err)
	}
	before, used, began := v.memory(), v.used(), time.Now()
	ctx, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	var did atomic.Int64
	over := make(chan struct{})
	go func() {
		defer close(over)
		a.do(ctx, v, conns, &did)
	}()
	var times []time.Duration
	peak := before
	for ctx.Err() == nil {
		took, err := v.ask()
		if err != nil {
			r.failed++
		} else {
			times = append(times, took)
		}
		peak = max(peak, v.memory())
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	r.took, r.cpu, r.grown = time.Since(began), v.used()-used, peak-before
	<-over
	r.did, r.good = did.Load(), len(times)
	if slices.Sort(times); len(times) > 0 {
		r.p50, r.worst = times[len(times)/2], times[len(times)-1]
	}
	return r, nil
}

// ask is what a client that means well does.
func (v *victim) ask() (time.Duration, error) {
	began := time.Now()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // attackers come from 127.0.0.1
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: from.DialContext}}
	res, err := client.Get("http://" + v.Plain + "/")
	if err != nil {
		return time.Since(began), err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(body) != "hello\n") {
		err = fmt.Errorf("answered %d", res.StatusCode)
	}
	return time.Since(began), err
}
