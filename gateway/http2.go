package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/banyanhq/banyan/gateway/h2guard"
)

// The bounds on what one client may make an HTTP/2 or HTTP/3 connection hold. The server itself refuses heads of more
// than maxHeader bytes as they are once decompressed, with 431. What else a client of HTTP/2 may cost is bounded by guards.
const (
	maxStreams      = 250
	streamWindow    = 256 << 10
	connWindow      = 1 << 20
	http2Write      = 30 * time.Second // without progress in writing, the connection is closed
	http3Idle       = 2 * time.Minute
	http2PingAfter  = time.Minute
	http2PingAnswer = 15 * time.Second
)

// http2Limits are those of the guards. A stream that is reset before its answer costs a call to a backend that was begun and
// is given up: twice as many as may be there at once, and then 100 a second, are what a client may waste.
var http2Limits = h2guard.Limits{
	Resets:        h2guard.Rate{Burst: 2 * maxStreams, PerSecond: 100},
	Control:       h2guard.Rate{Burst: 1000, PerSecond: 100},
	Continuations: 32,
	HeaderBlock:   2 * maxHeader,
}

// http2Config returns the bounds on an HTTP/2 connection.
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: connWindow,
		SendPingTimeout: http2PingAfter, PingTimeout: http2PingAnswer, WriteByteTimeout: http2Write,
	}
}

// clientProtocols are those that the gateway's listeners speak: HTTP/1.1, and HTTP/2 by ALPN or prior knowledge.
func clientProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// unencryptedHTTP2 is under what net/http looks for whom to give a connection to whose preface it has read.
const unencryptedHTTP2 = "unencrypted_http2"

//lint:file-ignore SA1019 net/http, which is named in its place, cannot serve a connection that it did not accept itself.

// serveHTTP2 has the server's HTTP/2 connections served with a guard before each. net/http's own copy of the server takes
// connections of its own only, so it is golang.org/x/net's that serves them.
func (g *Gateway) serveHTTP2(s *http.Server) {
	h2 := &http2.Server{}
	if err := http2.ConfigureServer(s, h2); err != nil { // only of cipher suites that are chosen, which they are not
		panic(fmt.Sprintf("gateway: configuring HTTP/2: %v", err))
	}
	limits := http2Limits
	limits.FrameTime = g.headTime
	serve := func(hs *http.Server, c net.Conn, h http.Handler, encrypted bool) {
		opts := &http2.ServeConnOpts{Handler: h, BaseConfig: hs, SawClientPreface: !encrypted}
		if b, ok := h.(interface{ BaseContext() context.Context }); ok { // so does net/http say what belongs to the connection
			opts.Context = b.BaseContext()
		}
		if !g.unguarded {
			c = h2guard.Guard(c, h2guard.Config{Limits: limits, Preface: encrypted, Now: g.realNow, Calmed: g.calmed.count})
		}
		h2.ServeConn(c, opts)
	}
	s.TLSNextProto[http2.NextProtoTLS] = func(hs *http.Server, c *tls.Conn, h http.Handler) { serve(hs, c, h, true) }
	s.TLSNextProto[unencryptedHTTP2] = func(hs *http.Server, c *tls.Conn, h http.Handler) {
		plain, ok := c.NetConn().(interface{ UnencryptedNetConn() net.Conn })
		if !ok {
			_ = c.Close()
			return
		}
		serve(hs, plain.UnencryptedNetConn(), h, false)
	}
}

// calmed counts the connections that guards have ended, by their reasons.
type calmed [len(h2guard.Reasons) + 1]atomic.Int64

func (c *calmed) count(why h2guard.Reason) { c[why].Add(1) }
