package httpserve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The headers by which a request is followed through the services: W3C Trace
// Context (https://www.w3.org/TR/trace-context/) and the request id.
var traceHeaders = [...]string{"Traceparent", "Tracestate", "X-Request-Id"}

type traceKey struct{}

// withTrace keeps the trace headers of a request for the calls it makes.
func withTrace(ctx context.Context, h http.Header) context.Context {
	var values [len(traceHeaders)][]string
	found := false
	for i, name := range traceHeaders {
		// The slices of the incoming header are not changed by anybody.
		values[i] = h[name]
		found = found || len(values[i]) > 0
	}
	if !found {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, &values)
}

// Client calls one service.
type Client struct {
	service string
	base    string
	timeout time.Duration
	http    *http.Client
}

// NewClient returns a client of the service at a base URL; a call takes no
// longer than timeout.
func NewClient(service, base string, timeout time.Duration) *Client {
	return &Client{
		service: service,
		base:    base,
		timeout: timeout,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:           (&net.Dialer{Timeout: time.Second, KeepAlive: 30 * time.Second}).DialContext,
				MaxIdleConns:          256,
				MaxIdleConnsPerHost:   256,
				IdleConnTimeout:       60 * time.Second,
				ResponseHeaderTimeout: timeout,
				// The services are near; compressing costs more than it saves.
				DisableCompression: true,
			},
			// An answer that points elsewhere is the caller's to see.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Unavailable means that a service gave no usable answer: whether it did what
// it was asked is unknown.
type Unavailable struct {
	Service string
	Err     error
}

func (e *Unavailable) Error() string { return e.Service + " is unavailable: " + e.Err.Error() }
func (e *Unavailable) Unwrap() error { return e.Err }

// Call is one request.
type Call struct {
	Method string // default GET
	Path   string // with the query
	Key    string // Idempotency-Key, if any
	In     any    // body, if any
	Out    any    // where the answer goes, if any; *[]byte takes it as it is
}

// Do makes a call. A status from 400 to 499 is an *Error that may be shown to
// the client; everything else that is not a success is an *Unavailable.
func (c *Client) Do(ctx context.Context, call Call) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if call.Method == "" {
		call.Method = http.MethodGet
	}
	var body io.Reader
	if call.In != nil {
		data, err := json.Marshal(call.In)
		if err != nil {
			return 0, fmt.Errorf("encoding a request to %s: %w", c.service, err)
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, call.Method, c.base+call.Path, body)
	if err != nil {
		return 0, fmt.Errorf("a request to %s: %w", c.service, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if call.Key != "" {
		r.Header.Set("Idempotency-Key", call.Key)
	}
	if values, ok := ctx.Value(traceKey{}).(*[len(traceHeaders)][]string); ok {
		for i, name := range traceHeaders {
			if len(values[i]) > 0 {
				r.Header[name] = values[i]
			}
		}
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, &Unavailable{c.service, err}
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, MaxReply+1))
	if err != nil {
		return 0, &Unavailable{c.service, err}
	}
	if len(data) > MaxReply {
		return 0, &Unavailable{c.service, fmt.Errorf("an answer of more than %d bytes", MaxReply)}
	}
	return answer.StatusCode, c.decode(answer.StatusCode, data, call.Out)
}

func (c *Client) decode(status int, data []byte, out any) error {
	if status >= 200 && status < 300 {
		switch out := out.(type) {
		case nil:
			return nil
		case *[]byte:
			*out = data
			return nil
		}
		if err := json.Unmarshal(data, out); err != nil {
			return &Unavailable{c.service, fmt.Errorf("an answer that cannot be read: %w", err)}
		}
		return nil
	}
	var answer struct {
		Error *Error `json:"error"`
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer.Error == nil {
		answer.Error = &Error{Code: "unexpected", Message: http.StatusText(status)}
	}
	answer.Error.Status = status
	// 408 and 429 come from what stands between the services, not from them.
	if status < 400 || status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests {
		return &Unavailable{c.service, fmt.Errorf("status %d: %s", status, answer.Error.Message)}
	}
	return answer.Error
}

// IsStatus reports whether err is an Error with a status.
func IsStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}
