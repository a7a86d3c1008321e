package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/load/remotewrite"
)

// exportFlags say where a load test's metrics go while it is under way.
type exportFlags struct {
	listen, write string
	headers       []string
}

func (f *exportFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "prometheus-listen", "", "show the run's metrics to Prometheus at this `address` while it lasts, under /metrics; ':9464' is one of this machine alone")
	fl.StringVar(&f.write, "remote-write", "", "send the run's metrics every 5s to this `URL`, such as http://127.0.0.1:9090/api/v1/write (Prometheus remote write, version 1)")
	fl.StringArrayVar(&f.headers, "remote-write-header", nil, "a header of these messages, such as 'Authorization: Bearer TOKEN'")
}

// parseHeaders reads 'Name: value'.
func parseHeaders(flag string, texts []string) (map[string]string, error) {
	out := map[string]string{}
	for _, h := range texts {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, usagef("--%s %q: want 'Name: value'", flag, h)
		}
		out[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return out, nil
}

// export gives cfg the metrics that were asked for. The function that it returns ends all of it, and says what could not be
// delivered; it must be called.
func (f *exportFlags) export(c *cli, cfg *load.Config) (end func(), err error) {
	end = func() {}
	if f.listen == "" && f.write == "" {
		if len(f.headers) > 0 {
			return end, usagef("--remote-write-header is for --remote-write")
		}
		return end, nil
	}
	cfg.Metrics = &load.Metrics{}
	registry := prometheus.NewRegistry()
	if err := registry.Register(cfg.Metrics); err != nil {
		return end, fmt.Errorf("the run's metrics: %w", err)
	}
	var writer *remotewrite.Writer
	if f.write != "" {
		header, err := parseHeaders("remote-write-header", f.headers)
		if err != nil {
			return end, err
		}
		fields := http.Header{}
		for name, value := range header {
			fields.Set(name, value)
		}
		host, _ := os.Hostname() // without a name the label is left out
		writer, err = remotewrite.New(remotewrite.Config{URL: f.write, Header: fields, Labels: map[string]string{"job": "banyan-load", "instance": host}}, registry)
		if err != nil {
			return end, wrongUse{err}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if f.listen != "" {
		server, l, err := scraped(f.listen, registry)
		if err != nil {
			cancel()
			return end, err
		}
		fmt.Fprintf(c.err, "metrics at http://%s/metrics\n", l.Addr())
		wg.Go(func() { _ = server.Serve(l) })
		wg.Go(func() {
			<-ctx.Done()
			_ = server.Close()
		})
	}
	if writer != nil {
		wg.Go(func() { writer.Run(ctx) })
	}
	return func() {
		cancel()
		wg.Wait()
		if writer == nil {
			return
		}
		if r := writer.Report(); r.Lost > 0 {
			fmt.Fprintf(c.err, "banyan: %d of %d samples could not be delivered: %v\n", r.Lost, r.Lost+r.Delivered, r.Trouble)
		}
	}, nil
}

// scraped listens for Prometheus.
func scraped(address string, from prometheus.Gatherer) (*http.Server, net.Listener, error) {
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("--prometheus-listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{}))
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute}, l, nil
}
