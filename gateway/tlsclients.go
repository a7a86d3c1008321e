package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"

	"github.com/banyanhq/banyan/gateway/certs"
)

// askedClients is what the certificates of clients are held against. The authorities change with a reload.
type askedClients struct {
	file    string                        // of the authorities; empty: no certificates are asked for
	current atomic.Pointer[tls.Config]    // with the authorities as they are now
	pool    atomic.Pointer[x509.CertPool] // the same that current has
}

// askClients has handshakes ask for clients' certificates, where the file says so.
func (e *encrypted) askClients(dir string) error {
	c := e.cfg.Clients
	if c == nil {
		return nil
	}
	e.asked.file = resolve(dir, c.CA)
	pool, err := certs.Authorities(e.asked.file)
	if err != nil {
		return err
	}
	e.config.ClientAuth = tls.VerifyClientCertIfGiven
	if c.Require {
		e.config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	e.config.VerifyConnection = e.verifyResumed
	first := e.config.GetConfigForClient
	e.config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if first != nil {
			if other, err := first(hello); other != nil || err != nil {
				return other, err
			}
		}
		return e.asked.current.Load(), nil
	}
	e.trust(pool)
	return nil
}

// trust has new handshakes go by other authorities. Connections that are there stay.
func (e *encrypted) trust(pool *x509.CertPool) {
	e.asked.pool.Store(pool)
	now := e.config.Clone()
	now.ClientCAs, now.GetConfigForClient = pool, nil
	e.asked.current.Store(now)
}

// verifyResumed holds the certificate of a session that is resumed against the authorities as they are now: it was accepted
// by those of before.
func (e *encrypted) verifyResumed(cs tls.ConnectionState) error {
	if !cs.DidResume || len(cs.PeerCertificates) == 0 {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: e.asked.pool.Load(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("the certificate of a resumed session: %w", err)
	}
	return nil
}

// readAuthorities reads the authorities of clients anew; nil where none are asked for.
func (g *Gateway) readAuthorities() (*x509.CertPool, error) {
	if g.tls == nil || g.tls.asked.file == "" {
		return nil, nil
	}
	pool, err := certs.Authorities(g.tls.asked.file)
	if err != nil {
		return nil, fmt.Errorf("gateway: reloading: %w", err)
	}
	return pool, nil
}
