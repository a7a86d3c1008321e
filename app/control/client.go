package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
)

// maxAnswer bounds an answer: a window of six hours is the largest.
const maxAnswer = 256 << 20

// Client talks to the supervisor of one state directory.
type Client struct {
	http http.Client
	dir  string
}

// Dial returns a client for the supervisor of a state directory. It connects with the first call.
func Dial(dir string) *Client {
	c := &Client{dir: dir}
	c.http.Transport = &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableKeepAlives: true,
	}
	return c
}

// Dir is the state directory.
func (c *Client) Dir() string { return c.dir }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	path, f, err := socketPath(c.dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// notRunning turns the error of a connection that was not made into what it means.
func notRunning(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("asking the running system: %w", err)
}

// Info asks what runs, and where. ErrNotRunning if nothing does.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	return i, c.get(ctx, "info", nil, &i)
}

// Status asks for the system's state, with rates and latencies over the last window.
func (c *Client) Status(ctx context.Context, window time.Duration) (s observe.Status, err error) {
	return s, c.get(ctx, "status", url.Values{"window": {window.String()}}, &s)
}

// Replicas asks what the orchestrator knows of each service.
func (c *Client) Replicas(ctx context.Context) (s []orchestrate.ServiceStatus, err error) {
	return s, c.get(ctx, "replicas", nil, &s)
}

// Events asks for the latest events, oldest first.
func (c *Client) Events(ctx context.Context) (e []orchestrate.Event, err error) {
	return e, c.get(ctx, "events", nil, &e)
}

// Window asks for everything that was observed between two instants.
func (c *Client) Window(ctx context.Context, from, to time.Time) (*observe.Window, error) {
	w := new(observe.Window)
	return w, c.get(ctx, "window", span(from, to), w)
}

// Pulses asks for the readings of requests and CPU between two instants.
func (c *Client) Pulses(ctx context.Context, from, to time.Time) (p []observe.Pulse, err error) {
	return p, c.get(ctx, "pulses", span(from, to), &p)
}

func span(from, to time.Time) url.Values {
	return url.Values{"from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}}
}

// Scale changes a service and returns when that has been carried out.
func (c *Client) Scale(ctx context.Context, r ScaleRequest) error {
	return c.post(ctx, "scale", r)
}

// Restart replaces a service's replicas and returns when that has been carried out.
func (c *Client) Restart(ctx context.Context, service string) error {
	return c.post(ctx, "restart", RestartRequest{service})
}

// Reload has the system go by its file as it is now, and returns what that changed.
func (c *Client) Reload(ctx context.Context) (changed []string, err error) {
	return changed, c.call(ctx, http.MethodPost, "reload", []byte("{}"), &changed)
}

// Topology asks for the system that it goes by, as YAML with everything said.
func (c *Client) Topology(ctx context.Context) (text string, err error) {
	return text, c.get(ctx, "topology", nil, &text)
}

// Why asks what was decided for a request. The error says so where it is not remembered.
func (c *Client) Why(ctx context.Context, id string) (d gateway.Decision, err error) {
	return d, c.get(ctx, "why", url.Values{"id": {id}}, &d)
}

// ScaledServices asks which services the autoscaler scales.
func (c *Client) ScaledServices(ctx context.Context) (names []string, err error) {
	return names, c.get(ctx, "autoscale", nil, &names)
}

// ScaleDecisions asks what the autoscaler decided about a service.
func (c *Client) ScaleDecisions(ctx context.Context, service string) (all []autoscale.Decision, err error) {
	return all, c.get(ctx, "autoscale/"+url.PathEscape(service), nil, &all)
}

// Stop asks the system to end; it returns before it has.
func (c *Client) Stop(ctx context.Context) error {
	return c.post(ctx, "stop", struct{}{})
}

func (c *Client) get(ctx context.Context, what string, query url.Values, into any) error {
	return c.call(ctx, http.MethodGet, what+"?"+query.Encode(), nil, into)
}

func (c *Client) post(ctx context.Context, what string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, what, data, nil)
}

func (c *Client) call(ctx context.Context, method, what string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://banyan/v1/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return notRunning(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the running system's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e wireError
		if json.Unmarshal(data, &e) != nil || e.Error == "" {
			e.Error = resp.Status
		}
		return errors.New(e.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading the running system's answer: %w", err)
	}
	return nil
}
