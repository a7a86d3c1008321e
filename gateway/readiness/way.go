package readiness

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/topology"
)

// Way is how the replicas of a service are reached. The zero value is plain HTTP/1.1.
type Way struct {
	// Protocol as topology names it; empty: HTTP/1.1.
	Protocol string
	// TLS that is spoken with them; nil: none.
	TLS *tls.Config
}

// WayTo returns the way to the replicas of a service. Files are read now, those that are not absolute from dir.
func WayTo(dir string, s *topology.Service) (Way, error) {
	w := Way{Protocol: s.Protocol}
	if s.TLS == nil {
		return w, nil
	}
	var err error
	w.TLS, err = clientConfig(dir, *s.TLS)
	return w, err
}

// clientConfig returns the TLS that is spoken with replicas. The certificate that Banyan shows is read again when its
// files change.
func clientConfig(dir string, t topology.BackendTLS) (*tls.Config, error) {
	resolve := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pool, err := certs.Authorities(resolve(t.CA))
		if err != nil {
			return nil, fmt.Errorf("readiness: %w", err)
		}
		c.RootCAs = pool
	}
	if t.Cert != "" {
		get, err := certs.NewClient(certs.Pair{Cert: resolve(t.Cert), Key: resolve(t.Key)})
		if err != nil {
			return nil, fmt.Errorf("readiness: %w", err)
		}
		c.GetClientCertificate = get
	}
	return c, nil
}

// HTTP2 reports whether the replicas speak HTTP/2.
func (w Way) HTTP2() bool { return w.Protocol == topology.H2C || w.Protocol == topology.GRPC }

// Protocols for a transport.
func (w Way) Protocols() *http.Protocols {
	p := new(http.Protocols)
	switch {
	case !w.HTTP2():
		p.SetHTTP1(true)
	case w.TLS == nil:
		p.SetUnencryptedHTTP2(true)
	default:
		p.SetHTTP2(true)
	}
	return p
}
