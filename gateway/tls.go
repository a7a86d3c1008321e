package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/topology"
)

// encrypted is what answers requests from outside over TLS: HTTP/1.1 and HTTP/2 over TCP, HTTP/3 over QUIC.
type encrypted struct {
	cfg      topology.TLS
	config   *tls.Config
	root     string // file of the local authority's certificate; empty where there is none
	listener net.Listener
	packets  net.PacketConn // nil: no HTTP/3
	http3    *http3.Server
	altSvc   string
}

// The bounds on what one client may make an HTTP/2 or HTTP/3 connection hold. The server itself ends connections that
// send more than 64 KiB of a head in whatever number of CONTINUATION frames, that have more than four times maxStreams
// requests begun and reset again (CVE-2023-44487), or for which more than 10,000 control frames wait (CVE-2019-9512, 9515).
const (
	maxStreams      = 250
	streamWindow    = 256 << 10
	connWindow      = 1 << 20
	http2Write      = 30 * time.Second // without progress in writing, the connection is closed
	http3Idle       = 2 * time.Minute
	http2PingAfter  = time.Minute
	http2PingAnswer = 15 * time.Second
)

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

// resolve returns a path of the topology file as an absolute one.
func resolve(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// newEncrypted reads what TLS needs: certificates and authorities.
func (g *Gateway) newEncrypted(sys *topology.System) (*encrypted, error) {
	e := &encrypted{cfg: *sys.TLS, config: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}}
	if e.cfg.MinVersion == "tls1.3" {
		e.config.MinVersion = tls.VersionTLS13
	}
	if len(e.cfg.Certificates) > 0 {
		pairs := make([]certs.Pair, len(e.cfg.Certificates))
		for i, c := range e.cfg.Certificates {
			pairs[i] = certs.Pair{Cert: resolve(sys.Dir, c.Cert), Key: resolve(sys.Dir, c.Key)}
		}
		files, err := certs.NewFiles(pairs, time.Now, func(err error) { g.cfg.Log.Error(err.Error()) })
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		e.config.GetCertificate = files.Get
	} else {
		if g.cfg.StateDir == "" {
			return nil, errors.New("gateway: TLS without certificates needs a state directory for its local authority, and Config.StateDir is empty")
		}
		local, err := certs.OpenLocal(filepath.Join(g.cfg.StateDir, "ca"), time.Now)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		e.config.GetCertificate = local.Get
		e.root = local.Root()
	}
	if c := e.cfg.Clients; c != nil {
		pool, err := certs.Authorities(resolve(sys.Dir, c.CA))
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		e.config.ClientCAs, e.config.ClientAuth = pool, tls.VerifyClientCertIfGiven
		if c.Require {
			e.config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return e, nil
}

// listenTLS binds the TLS address, and for HTTP/3 the UDP port of the same number.
func (g *Gateway) listenTLS(sys *topology.System) error {
	if sys.TLS == nil {
		return nil
	}
	e, err := g.newEncrypted(sys)
	if err != nil {
		return err
	}
	if e.listener, err = g.bind(SocketTLS, e.cfg.Listen); err != nil {
		return fmt.Errorf("gateway: listening for requests over TLS: %w", err)
	}
	if e.cfg.HTTP3 {
		if e.packets, err = net.ListenPacket("udp", e.listener.Addr().String()); err != nil {
			_ = e.listener.Close()
			return fmt.Errorf("gateway: listening for HTTP/3: %w", err)
		}
		e.altSvc = `h3=":` + strconv.Itoa(e.port()) + `"; ma=3600`
	}
	g.tls = e
	return nil
}

func (e *encrypted) port() int { return e.listener.Addr().(*net.TCPAddr).Port }

// closeTLS closes what listenTLS has bound and nobody serves.
func (g *Gateway) closeTLS() {
	if g.tls == nil {
		return
	}
	_ = g.tls.listener.Close()
	if g.tls.packets != nil {
		_ = g.tls.packets.Close()
	}
}

// TLSAddr returns the address on which TLS is spoken, nil without TLS or before Listen.
func (g *Gateway) TLSAddr() net.Addr {
	if g.tls == nil {
		return nil
	}
	return g.tls.listener.Addr()
}

// TLSRoot returns the file of the local authority's certificate that clients are to trust; empty where certificates are
// given.
func (g *Gateway) TLSRoot() string {
	if g.tls == nil {
		return ""
	}
	return g.tls.root
}

// serveTLS answers over TLS and QUIC until the outside is stopped.
func (g *Gateway) serveTLS() {
	e := g.tls
	if e == nil {
		return
	}
	handler := http.HandlerFunc(g.serveOutside)
	if e.altSvc != "" {
		handler = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Alt-Svc", e.altSvc)
			g.serveOutside(w, r)
		}
	}
	s := g.newServer(&g.outside, handler)
	s.TLSConfig = e.config.Clone() // the server adds to it
	g.outside.servers = append(g.outside.servers, s)
	g.outside.serving.Go(func() { g.ended(s.ServeTLS(e.listener, "", "")) })
	if e.packets == nil {
		return
	}
	e.http3 = &http3.Server{
		Handler: http.HandlerFunc(g.serveOutside), TLSConfig: http3.ConfigureTLSConfig(e.config.Clone()), MaxHeaderBytes: maxHeader,
		// Early data (0-RTT) can be replayed by others, and is not taken.
		QUICConfig: &quic.Config{
			Allow0RTT: false, MaxIdleTimeout: http3Idle, MaxIncomingStreams: maxStreams, MaxIncomingUniStreams: 16,
			MaxStreamReceiveWindow: streamWindow, MaxConnectionReceiveWindow: connWindow,
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	g.outside.serving.Go(func() { g.ended(e.http3.Serve(e.packets)) })
}

// ended tells Run of a server that failed.
func (g *Gateway) ended(err error) {
	if !errors.Is(err, http.ErrServerClosed) && !(g.parting.Load() && errors.Is(err, net.ErrClosed)) {
		g.fail(err)
	}
}

// stopTLS ends HTTP/3, politely until ctx ends.
func (g *Gateway) stopTLS(ctx context.Context) {
	if g.tls == nil || g.tls.http3 == nil {
		return
	}
	_ = g.tls.http3.Shutdown(ctx) // what is left is cut off
	_ = g.tls.http3.Close()
	_ = g.tls.packets.Close()
}

// redirects answers a plain request from outside with its address over TLS, where the file asks for that.
func (g *Gateway) redirects(w http.ResponseWriter, r *http.Request) bool {
	if g.tls == nil || !g.tls.cfg.Redirect || r.TLS != nil || r.Method == http.MethodConnect {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
		if net.ParseIP(host) != nil && net.ParseIP(host).To4() == nil {
			host = "[" + host + "]"
		}
	}
	if host == "" {
		return false
	}
	if port := g.tls.port(); port != 443 {
		host += ":" + strconv.Itoa(port)
	}
	w.Header().Set("Location", "https://"+host+r.URL.RequestURI())
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
	return true
}
