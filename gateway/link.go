package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/banyanhq/banyan/gateway/readiness"
	"github.com/banyanhq/banyan/topology"
)

// link is how the replicas of a service are reached.
type link struct {
	protocol string // empty: HTTP/1.1
	tls      *topology.BackendTLS
	config   *tls.Config // nil: no TLS
}

// newLinks returns the links to a system's services, by their names. Authorities are read now, with each reload; certificates
// that Banyan shows are read again when their files change.
func newLinks(sys *topology.System) (map[string]link, error) {
	links := make(map[string]link, len(sys.Services))
	for name, s := range sys.Services {
		w, err := readiness.WayTo(sys.Dir, s)
		if err != nil {
			return nil, fmt.Errorf("gateway: service %s: %w", name, err)
		}
		links[name] = link{protocol: s.Protocol, tls: s.TLS, config: w.TLS}
	}
	return links, nil
}

// way is the link as package readiness has it.
func (l link) way() readiness.Way { return readiness.Way{Protocol: l.protocol, TLS: l.config} }

// same reports whether both say the same, the authorities in the files included. A certificate that is shown is read
// again by itself.
func (l link) same(o link) bool {
	return l.protocol == o.protocol && reflect.DeepEqual(l.tls, o.tls) && l.authorities().Equal(o.authorities())
}

// authorities vouch for the replicas; nil: those of the system do, or there is no TLS.
func (l link) authorities() *x509.CertPool {
	if l.config == nil {
		return nil
	}
	return l.config.RootCAs
}

// http2 reports whether the replicas speak HTTP/2.
func (l link) http2() bool { return l.way().HTTP2() }

func (s *service) linked() link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

func (s *service) scheme() string {
	if s.linked().config != nil {
		return "https"
	}
	return "http"
}

// scheme is what the client's own connection was asked by.
func (c *call) scheme() string {
	if c.r.TLS != nil {
		return "https"
	}
	return "http"
}

// via is the gateway's entry in Via: the version of the request that came (RFC 9110, 7.6.3).
func (c *call) via() string {
	switch {
	case c.r.ProtoMajor == 2:
		return "2.0 banyan"
	case c.r.ProtoMajor == 3:
		return "3.0 banyan"
	case c.r.ProtoMinor == 0:
		return "1.0 banyan"
	}
	return "1.1 banyan"
}

// canUpgrade reports whether both connections can go over to another protocol, which is HTTP/1.1's way, and in a tunnel that of
// HTTP/2 for WebSocket.
func (c *call) canUpgrade() bool {
	return (c.r.ProtoMajor == 1 || c.tunnel() != nil) && c.target.lane != nil && !c.target.lane.service.linked().http2()
}

// sameListeners refuses what a reload cannot change.
func sameListeners(old, sys *topology.System) error {
	switch {
	case !slices.Equal(old.AcceptProxyFrom, sys.AcceptProxyFrom):
		return errors.New("gateway: reloading: accept_proxy_from has changed: that takes a restart")
	case !reflect.DeepEqual(old.TLS, sys.TLS):
		return errors.New("gateway: reloading: tls has changed: that takes a restart")
	case !reflect.DeepEqual(old.TCP, sys.TCP):
		return errors.New("gateway: reloading: tcp has changed: that takes a restart")
	}
	return nil
}
