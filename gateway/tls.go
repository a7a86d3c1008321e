package gateway

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/topology"
)

// encrypted is what answers requests from outside over TLS: HTTP/1.1 and HTTP/2 over TCP, HTTP/3 over QUIC.
type encrypted struct {
	cfg      topology.TLS
	config   *tls.Config
	acme     *certs.ACME // nil: certificates are not issued by ACME
	root     string      // file of the local authority's certificate; empty where there is none
	asked    askedClients
	listener net.Listener
	clients  net.Listener             // what comes in at listener, as the clients' own
	quic     atomic.Pointer[overQUIC] // nil: HTTP/3 is not spoken, or not yet
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
	if err := g.findCertificates(e, sys.Dir); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if err := e.askClients(sys.Dir); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return e, nil
}

// findCertificates has handshakes answered by the certificates that the file names, that an authority issues, or that a
// local authority does.
func (g *Gateway) findCertificates(e *encrypted, dir string) (err error) {
	switch {
	case e.cfg.ACME != nil:
		if e.acme, err = g.openACME(*e.cfg.ACME, dir); err != nil {
			return err
		}
		e.config.GetCertificate, e.config.GetConfigForClient = e.acme.Get, e.acme.ForHandshake
	case len(e.cfg.Certificates) > 0:
		pairs := make([]certs.Pair, len(e.cfg.Certificates))
		for i, c := range e.cfg.Certificates {
			pairs[i] = certs.Pair{Cert: resolve(dir, c.Cert), Key: resolve(dir, c.Key)}
		}
		files, err := certs.NewFiles(pairs, time.Now, func(err error) { g.cfg.Log.Error(err.Error()) })
		if err != nil {
			return err
		}
		e.config.GetCertificate = files.Get
	case g.cfg.StateDir == "":
		return errors.New("TLS without certificates needs a state directory for its local authority, and Config.StateDir is empty")
	default:
		local, err := certs.OpenLocal(filepath.Join(g.cfg.StateDir, "ca"), time.Now)
		if err != nil {
			return err
		}
		e.config.GetCertificate = local.Get
		e.root = local.Root()
	}
	return nil
}

// openACME returns the certificates that an authority issues.
func (g *Gateway) openACME(cfg topology.ACME, dir string) (*certs.ACME, error) {
	storage := resolve(dir, cfg.Storage)
	if storage == "" {
		if g.cfg.StateDir == "" {
			return nil, errors.New("tls: acme without storage needs a state directory, and Config.StateDir is empty")
		}
		storage = filepath.Join(g.cfg.StateDir, "acme")
	}
	c := certs.ACMEConfig{
		Directory: cfg.Directory, Domains: cfg.Domains, Email: cfg.Email, Challenge: cmp.Or(cfg.Challenge, topology.TLSALPN),
		Storage: storage, Log: g.cfg.Log, Now: time.Now,
	}
	if cfg.CA != "" {
		roots, err := certs.Authorities(resolve(dir, cfg.CA))
		if err != nil {
			return nil, err
		}
		c.Roots = roots
	}
	return certs.OpenACME(c)
}

// answersChallenge answers a plain request of an authority that wants to see that a name is ours.
func (g *Gateway) answersChallenge(w http.ResponseWriter, r *http.Request) bool {
	return g.tls != nil && g.tls.acme != nil && r.TLS == nil && g.tls.acme.ServeChallenge(w, r)
}

// takesPlain reports whether plain requests to a path from outside may have to do with TLS, and are for the full tier.
func (g *Gateway) takesPlain(target string) bool {
	return g.tls != nil && (g.tls.cfg.Redirect || g.tls.acme != nil && strings.HasPrefix(target, certs.ChallengePath))
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
	if err := g.bindEncrypted(e); err != nil {
		return err
	}
	proxies, err := parseNetworks(e.cfg.AcceptProxyFrom)
	if err != nil {
		_ = e.listener.Close()
		return fmt.Errorf("gateway: tls: accept_proxy_from: %w", err)
	}
	if e.clients = e.listener; len(proxies) > 0 {
		e.clients = proxiedListener{e.listener, proxies, g.proxyTime}
	}
	e.clients = limitedListener{e.clients, g.tlsConns}
	g.tls = e
	return nil
}

// portTries is how often another port is tried where the kernel chooses one for TCP that is taken for UDP.
const portTries = 20

// bindEncrypted binds what listenTLS says.
func (g *Gateway) bindEncrypted(e *encrypted) (err error) {
	_, port, _ := net.SplitHostPort(e.cfg.Listen) // what is no address cannot be bound
	for try := 1; ; try++ {
		if e.listener, err = g.bind(SocketTLS, e.cfg.Listen); err != nil {
			return fmt.Errorf("gateway: listening for requests over TLS: %w", err)
		}
		if err = g.listenQUIC(e); err == nil {
			return nil
		}
		_ = e.listener.Close()
		if port != "0" || try == portTries || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		g.sockets.forget(SocketTLS)
	}
}

func (e *encrypted) port() int { return e.listener.Addr().(*net.TCPAddr).Port }

// closeTLS closes what listenTLS has bound and nobody serves.
func (g *Gateway) closeTLS() {
	if g.tls == nil {
		return
	}
	_ = g.tls.listener.Close()
	if q := g.tls.quic.Load(); q != nil {
		_ = q.packets.Close()
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
	if e.cfg.HTTP3 {
		handler = func(w http.ResponseWriter, r *http.Request) {
			if q := e.quic.Load(); q != nil {
				w.Header().Set("Alt-Svc", q.altSvc)
			}
			g.serveOutside(w, r)
		}
	}
	s := g.newServer(&g.outside, handler)
	g.outside.servers = append(g.outside.servers, s)
	shaken := g.newHandshakes(e.clients, e.config)
	g.outside.serving.Go(shaken.run)
	g.outside.serving.Go(func() { g.ended(s.Serve(shaken)) })
	if q := e.quic.Load(); q != nil {
		g.serveQUIC(q)
	}
}

// ended tells Run of a server that failed.
func (g *Gateway) ended(err error) {
	if !errors.Is(err, http.ErrServerClosed) && !(g.parting.Load() && errors.Is(err, net.ErrClosed)) {
		g.fail(err)
	}
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
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		readWithin(w, bodyGrace) // the server reads what is left of the body before it answers
		defer drainBody(w, r)
	}
	w.Header().Set("Location", "https://"+host+r.URL.RequestURI())
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
	return true
}
