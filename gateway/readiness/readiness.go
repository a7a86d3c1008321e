// Package readiness asks a replica how it is, in the way that its service is called: by HTTP at the path of the service's check,
// by gRPC's own protocol for that, or by connecting where there is neither; over TLS and HTTP/2 where the service speaks these.
// The gateway asks those that run elsewhere, the orchestrator those that it has started. It says what it found and decides
// nothing. It starts no goroutine that outlives a question.
package readiness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/gateway/grpchealth"
	"github.com/banyanhq/banyan/topology"
)

const (
	defaultTimeout = time.Second
	maxHeader      = 64 << 10
	maxLine        = 200 // of an answer that says why
	maxBody        = 16 << 10
	maxBuffer      = 64 << 10 // of HTTP/2
)

// ErrRefused is that nobody listens at the address.
var ErrRefused = errors.New("connection refused")

// Ask asks a replica once, within the check's time-out, on a connection of its own. It returns nil where the check passes:
// by HTTP, where it is answered with a status from 200 to 399.
func Ask(ctx context.Context, w Way, address string, c topology.Check) error {
	timeout := c.Timeout.Std()
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if c.GRPC {
		w.Protocol = topology.GRPC
	} else if c.Path == "" {
		return connect(ctx, address, timeout)
	}
	base := "http://" + address
	if w.TLS != nil {
		base = "https://" + address
	}
	if !c.GRPC {
		return get(ctx, client(w), base, c.Path, timeout)
	}
	err := grpchealth.Check(ctx, client(w), base)
	var called *url.Error
	if errors.As(err, &called) || ctx.Err() != nil {
		return fmt.Errorf("%s: %w", grpchealth.Method, plain(err, timeout))
	}
	return err
}

// client returns one that reaches a replica, with a connection for each check.
func client(w Way) *http.Client {
	t := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader, Protocols: w.Protocols(),
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: maxBuffer, MaxReceiveBufferPerConnection: maxBuffer},
	}
	if w.TLS != nil {
		t.TLSClientConfig = w.TLS.Clone()
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get asks for a path.
func get(ctx context.Context, client *http.Client, base, path string, timeout time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "banyan-health-check")
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, plain(err, timeout))
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode <= 399 {
		_, _ = io.CopyN(io.Discard, res.Body, maxBody) // what it says does not matter
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxLine))
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if line != "" {
		return fmt.Errorf("GET %s answered %d: %s", path, res.StatusCode, line)
	}
	return fmt.Errorf("GET %s answered %d", path, res.StatusCode)
}

// connect makes a connection.
func connect(ctx context.Context, address string, timeout time.Duration) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return plain(err, timeout)
	}
	defer conn.Close()
	if conn.LocalAddr().String() == conn.RemoteAddr().String() {
		return errors.New("nothing listens: the connection met itself")
	}
	return nil
}

// plain shortens the errors of net to what a person needs.
func plain(err error, timeout time.Duration) error {
	var called *url.Error
	if errors.As(err, &called) {
		err = called.Err
	}
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrRefused
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", timeout)
	}
	return err
}
