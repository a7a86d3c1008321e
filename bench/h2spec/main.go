// Command h2spec runs the conformance tests of h2spec, strict ones included, against a gateway of its own on the loopback
// interface: HTTP/2 by prior knowledge, then over TLS. The program h2spec must be in the path:
//
//	go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
//	go run ./bench/h2spec
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/topology"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "h2spec:", err)
		os.Exit(1)
	}
}

func run() error {
	state, err := os.MkdirTemp("", "banyan-h2spec")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	in := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(30 * time.Second)}
	g, err := gateway.New(gateway.Config{StateDir: state, System: &topology.System{
		Listen: "127.0.0.1:0", TLS: &topology.TLS{Listen: "127.0.0.1:0"},
		Services: map[string]*topology.Service{"web": {Inbound: in}},
		Routes:   []*topology.Route{{Name: "all", Path: "/", To: "web", Inbound: in}},
	}})
	if err != nil {
		return err
	}
	if err := g.Listen(); err != nil {
		return err
	}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") }))
	defer backend.Close()
	g.Add("web", gateway.Backend{ID: "1", Address: backend.Listener.Addr().String()})
	g.SetReady("web", "1", true)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	for _, way := range []struct {
		addr net.Addr
		args []string
	}{{g.Addr(), nil}, {g.TLSAddr(), []string{"-t", "-k"}}} {
		_, port, _ := net.SplitHostPort(way.addr.String())
		cmd := exec.Command("h2spec", append([]string{"-h", "127.0.0.1", "-p", port, "--strict", "-o", "2"}, way.args...)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if e := cmd.Run(); e != nil {
			err = fmt.Errorf("%v: %w", cmd.Args, e)
		}
	}
	stop()
	if e := <-done; e != nil {
		return e
	}
	return err
}
