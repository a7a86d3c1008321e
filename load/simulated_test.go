package load

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// pipes is a network inside of the process, for a simulated clock: what is dialled arrives at the listener.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// simulated runs w against h on a simulated clock, in the bubble of the caller.
func simulated(t *testing.T, ctx context.Context, h http.HandlerFunc, w *topology.Workload, change func(*Config)) *Result {
	t.Helper()
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(network) }()
	cfg := Config{Target: "http://shop", Workload: w, Seed: 1, Dial: network.dial, newAlarm: func() (alarm, error) { return newTimerAlarm(), nil }}
	if change != nil {
		change(&cfg)
	}
	res, err := Run(ctx, cfg)
	server.Close()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func getWorkload() *topology.Workload {
	return &topology.Workload{
		Arrivals: "constant", Duration: topology.Duration(10 * time.Second), Timeout: topology.Duration(30 * time.Second),
		Scenarios: map[string]*topology.Scenario{"s": {Steps: []*topology.Step{{Path: "/"}}}},
	}
}
