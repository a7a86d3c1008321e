package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/topology"
)

// link is how the replicas of a service are reached.
type link struct {
	protocol string // empty: HTTP/1.1
	tls      *topology.BackendTLS
	config   *tls.Config // nil: no TLS
}

// newLinks returns the links to a system's services, by their names.
func newLinks(sys *topology.System) (map[string]link, error) {
	links := make(map[string]link, len(sys.Services))
	for name, s := range sys.Services {
		l := link{protocol: s.Protocol, tls: s.TLS}
		if s.TLS != nil {
			var err error
			if l.config, err = clientConfig(sys.Dir, *s.TLS); err != nil {
				return nil, fmt.Errorf("gateway: service %s: %w", name, err)
			}
		}
		links[name] = l
	}
	return links, nil
}

// clientConfig returns the TLS that is spoken with replicas. The certificate that Banyan shows is read again when its
// files change, the authorities with each reload.
func clientConfig(dir string, t topology.BackendTLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pool, err := certs.Authorities(resolve(dir, t.CA))
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if t.Cert != "" {
		pair := certs.Pair{Cert: resolve(dir, t.Cert), Key: resolve(dir, t.Key)}
		get, err := certs.NewClient(pair)
		if err != nil {
			return nil, err
		}
		c.GetClientCertificate = get
	}
	return c, nil
}

func (l link) same(o link) bool { return l.protocol == o.protocol && reflect.DeepEqual(l.tls, o.tls) }

// http2 reports whether the replicas speak HTTP/2.
func (l link) http2() bool { return l.protocol == topology.H2C || l.protocol == topology.GRPC }

func (l link) protocols() *http.Protocols {
	p := new(http.Protocols)
	switch {
	case !l.http2():
		p.SetHTTP1(true)
	case l.config == nil:
		p.SetUnencryptedHTTP2(true)
	default:
		p.SetHTTP2(true)
	}
	return p
}

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

// canUpgrade reports whether both connections can go over to another protocol, which is HTTP/1.1's way.
func (c *call) canUpgrade() bool {
	return c.r.ProtoMajor == 1 && c.target.lane != nil && !c.target.lane.service.linked().http2()
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
