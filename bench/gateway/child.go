package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	_ "net/http/pprof"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/topology"
)

// childEnv makes this program one of the proxies.
const childEnv = "BENCH_GATEWAY_CHILD"

// child serves on the first address, in front of the second.
func child(kind string, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want two addresses, got %d", len(args))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if address := os.Getenv("BENCH_GATEWAY_PPROF"); address != "" {
		go func() { _ = http.ListenAndServe(address, nil) }() // ends with the process
	}
	if kind == "reverseproxy" {
		return reverseProxy(ctx, args[0], args[1])
	}
	inbound := topology.Inbound{
		Balance: topology.LeastRequest,
		Timeout: topology.Duration(30 * time.Second),
		Retry:   &topology.Retry{Attempts: 2, Budget: 0.2, MinPerSecond: 10, Backoff: topology.Duration(25 * time.Millisecond), On: []int{502, 503, 504}},
		Breaker: &topology.Breaker{Failures: 5, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(30 * time.Second), MaxEjected: 0.5},
	}
	g, err := gateway.New(gateway.Config{
		FullTierOnly: kind == "banyan-full",
		System: &topology.System{
			Listen:   args[0],
			Services: map[string]*topology.Service{"backend": {Inbound: inbound}},
			Routes:   []*topology.Route{{Name: "all", Path: "/", To: "backend", Inbound: inbound}},
		},
	})
	if err != nil {
		return err
	}
	g.Add("backend", gateway.Backend{ID: "backend-1", Address: args[1]})
	g.SetReady("backend", "backend-1", true)
	if err := g.Listen(); err != nil {
		return err
	}
	return g.Run(ctx)
}

// reverseProxy is the proxy of Go's standard library.
func reverseProxy(ctx context.Context, listen, backend string) error {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: backend})
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
	s := &http.Server{Addr: listen, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}
