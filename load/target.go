package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// caller sends requests to one target, one after the other, and reads their answers. It makes its connection when it is
// first needed and again where it is lost, keeps within x.timeout, and gives every failure of the target its own kind
// (kindOf, or a failed). It belongs to one session at a time, which may be another for each request.
type caller interface {
	do(ctx context.Context, x *exchange) error
	// close ends the connection; the next do makes a new one.
	close()
}

// call is what a step asks of a target that is not asked by an HTTP request. It is not changed once it is compiled.
type call interface {
	// build appends the request with the values at hand; false where one is missing.
	build(dst []byte, v *values) ([]byte, bool)
}

// target is one place that steps go to.
type target struct {
	address string // as it was given
	scheme  string
	host    string // as requests name it
	path    string // that the address gives, before those of the steps
	user    *url.Userinfo
	to      *endpoint
	pool    *pool
	links   *links // of HTTP/2; nil: each caller has a connection of its own
	rest    any    // what the protocol's callers share
}

// protocol is what a scheme stands for.
type protocol struct {
	port   string
	secure bool // over TLS
	alpn   string
	call   string // of the steps that it takes: topology.Step.Call
	// held: a scenario keeps its connection from step to step. ended: it closes it at its end.
	held, ended bool
	userOK      bool
}

var protocols = map[string]protocol{
	"http":      {port: "80", call: "path"},
	"https":     {port: "443", secure: true, alpn: "http/1.1", call: "path"},
	"h2":        {port: "443", secure: true, alpn: "h2", call: "path"},
	"h2c":       {port: "80", call: "path"},
	"grpc":      {port: "80", call: "grpc"},
	"grpcs":     {port: "443", secure: true, alpn: "h2", call: "grpc"},
	"ws":        {port: "80", call: "websocket", held: true, ended: true},
	"wss":       {port: "443", secure: true, alpn: "http/1.1", call: "websocket", held: true, ended: true},
	"tcp":       {call: "tcp", held: true},
	"tls":       {secure: true, call: "tcp", held: true},
	"redis":     {port: "6379", call: "redis", userOK: true},
	"rediss":    {port: "6379", secure: true, call: "redis", userOK: true},
	"nats":      {port: "4222", call: "nats", userOK: true},
	"dynamodb":  {port: "8000", call: "dynamodb"},
	"dynamodbs": {port: "443", secure: true, call: "dynamodb"},
}

// SchemeOf is the scheme of an address, http where it has none; whether that means TLS; and whether one connection carries many
// requests at once.
func SchemeOf(address string) (scheme string, secure, streams bool) {
	scheme, _, found := strings.Cut(address, "://")
	if !found {
		scheme = "http"
	}
	scheme = strings.ToLower(scheme)
	p := protocols[scheme]
	return scheme, p.secure, p.multiplexed(scheme)
}

// multiplexed reports whether requests share connections, by HTTP/2.
func (p protocol) multiplexed(scheme string) bool {
	return p.call == "grpc" || p.call == "path" && scheme != "http" && scheme != "https"
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// newTarget reads an address and makes what leads there.
func newTarget(c *Config, address string) (*target, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("load: target: %w", err)
	}
	p, ok := protocols[u.Scheme]
	if !ok || u.Hostname() == "" {
		return nil, fmt.Errorf("load: target %.200q: want SCHEME://HOST[:PORT] with one of the schemes %s", u.Redacted(), strings.Join(sortedKeys(protocols), ", "))
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil && !p.userOK {
		return nil, fmt.Errorf("load: target %.200q: want an address without query, fragment and user", u.Redacted())
	}
	switch database := strings.TrimPrefix(u.Path, "/"); {
	case p.call == "path" || p.call == "websocket" || database == "":
	case p.call == "redis" && isDatabase(database):
	default:
		return nil, fmt.Errorf("load: target %.200q: want an address without a path", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = p.port
	}
	if port == "" {
		return nil, fmt.Errorf("load: target %.200q: give a port", u.Redacted())
	}
	if !isPort(port) {
		return nil, fmt.Errorf("load: target %.200q: want a port from 1 to 65535", u.Redacted())
	}
	t := &target{address: address, scheme: u.Scheme, host: u.Host, path: strings.TrimSuffix(u.EscapedPath(), "/"), user: u.User}
	t.to = &endpoint{addr: net.JoinHostPort(u.Hostname(), port), dial: c.Dial, maxBody: c.MaxBody, open: map[net.Conn]struct{}{}}
	if p.secure {
		t.to.tls = &tls.Config{}
		if c.TLS != nil {
			t.to.tls = c.TLS.Clone()
		}
		if t.to.tls.ServerName == "" {
			t.to.tls.ServerName = u.Hostname()
		}
		if t.to.tls.NextProtos = nil; p.alpn != "" {
			t.to.tls.NextProtos = []string{p.alpn}
		}
		if t.to.tls.ClientSessionCache == nil {
			t.to.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		}
	}
	t.pool = &pool{limit: c.Connections, make: t.newCaller}
	switch {
	case p.multiplexed(t.scheme):
		t.links = newLinks(t, c.Streams)
	case p.call == "dynamodb":
		if t.rest, err = newDynamo(t); err != nil {
			return nil, fmt.Errorf("load: target %s: %w", u.Redacted(), err)
		}
	}
	return t, nil
}

// isDatabase reports whether text is the number of a Redis database.
func isDatabase(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// protocol of the target.
func (t *target) protocol() protocol { return protocols[t.scheme] }

// newCaller returns what speaks the target's protocol.
func (t *target) newCaller() caller {
	switch t.protocol().call {
	case "grpc":
		return &grpcCaller{target: t, link: t.links.next()}
	case "websocket":
		return &webSocket{target: t}
	case "tcp":
		return &tcpCaller{target: t}
	case "redis":
		return &redisCaller{target: t}
	case "nats":
		return &natsCaller{target: t}
	case "dynamodb":
		return &dynamoCaller{target: t}
	}
	if t.links != nil {
		return &http2Caller{target: t, link: t.links.next()}
	}
	return &client{to: t.to}
}

// cut closes every connection and lets none be opened any more.
func (t *target) cut() { t.to.cutAll() }

// close closes what callers share. None may be used any more.
func (t *target) close() {
	t.pool.close()
	if t.links != nil {
		t.links.close()
	}
	if d, ok := t.rest.(*dynamo); ok {
		d.close()
	}
}

// targets are those of a run, its own first.
type targets struct {
	cfg *Config
	all []*target
}

// find returns the place of the target with that address, which is made where it is new; "" is the run's own.
func (ts *targets) find(address string) (int, error) {
	if address == "" {
		address = ts.cfg.Target
	}
	if i := slices.IndexFunc(ts.all, func(t *target) bool { return t.address == address }); i >= 0 {
		return i, nil
	}
	t, err := newTarget(ts.cfg, address)
	if err != nil {
		return 0, err
	}
	ts.all = append(ts.all, t)
	return len(ts.all) - 1, nil
}

// cut ends all that is under way.
func (ts *targets) cut() {
	for _, t := range ts.all {
		t.cut()
	}
}

func (ts *targets) close() {
	for _, t := range ts.all {
		t.close()
	}
}

// queue is how many sessions wait for a connection.
func (ts *targets) queue() (n int64) {
	for _, t := range ts.all {
		n += t.pool.queue()
	}
	return n
}

// failed is a failure that the target's protocol has a name for.
type failed struct {
	kind Kind
	text string
}

func (f *failed) Error() string {
	if f.text == "" {
		return string(f.kind)
	}
	return string(f.kind) + ": " + f.text
}
