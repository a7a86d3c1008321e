// Package certs keeps the certificates of a server: from files, which are read again when they change (Files), from an
// authority that issues and renews them by ACME (ACME, whose Run owns all that goes on by itself), or from a local authority
// that it makes itself (Local). Choosing is by the name that the client asks for (SNI, RFC 6066, 3).
package certs

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Pair is a certificate with its key, as PEM files.
type Pair struct{ Cert, Key string }

// lookAfter is how long files are taken to be unchanged after they were looked at.
const lookAfter = time.Second

// Files serves certificates from files. Its methods are safe for concurrent use.
type Files struct {
	now    func() time.Time
	failed func(error)

	mu     sync.Mutex
	looked time.Time
	loaded []*loaded
	byName map[string]*loaded
}

// loaded is a pair as it was when it was last read.
type loaded struct {
	pair  Pair
	stamp [2]stamp
	cert  *tls.Certificate
	names []string
}

// stamp tells versions of a file apart.
type stamp struct {
	size int64
	at   time.Time
}

// NewFiles reads the pairs. Later on, files that changed are read again before a handshake, at most once a second; if
// that fails, failed is told once for each change, and what was there before is used on.
func NewFiles(pairs []Pair, now func() time.Time, failed func(error)) (*Files, error) {
	if len(pairs) == 0 {
		return nil, errors.New("certs: no certificates are named")
	}
	f := &Files{now: now, failed: failed, looked: now()}
	for _, p := range pairs {
		l := &loaded{pair: p}
		if err := l.read(); err != nil {
			return nil, err
		}
		f.loaded = append(f.loaded, l)
	}
	f.index()
	return f, nil
}

func stampOf(name string) stamp {
	info, err := os.Stat(name)
	if err != nil {
		return stamp{size: -1}
	}
	return stamp{info.Size(), info.ModTime()}
}

func (l *loaded) stamps() [2]stamp { return [2]stamp{stampOf(l.pair.Cert), stampOf(l.pair.Key)} }

func (l *loaded) read() error {
	l.stamp = l.stamps() // before the reading: what changes during it is seen the next time
	cert, err := tls.LoadX509KeyPair(l.pair.Cert, l.pair.Key)
	if err != nil {
		return fmt.Errorf("certs: reading %s and %s: %w", l.pair.Cert, l.pair.Key, err)
	}
	l.cert, l.names = &cert, cert.Leaf.DNSNames
	if len(l.names) == 0 && cert.Leaf.Subject.CommonName != "" {
		l.names = []string{cert.Leaf.Subject.CommonName}
	}
	return nil
}

// index maps names to certificates; the first in the list has precedence. The caller holds the mutex, if others know f.
func (f *Files) index() {
	f.byName = map[string]*loaded{}
	for _, l := range f.loaded {
		for _, name := range l.names {
			name = strings.ToLower(name)
			f.byName[name] = cmp.Or(f.byName[name], l)
		}
	}
}

// Get returns the certificate for a handshake, for tls.Config.GetCertificate.
func (f *Files) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	if l := f.byName[name]; l != nil {
		return l.cert, nil
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if l := f.byName["*."+parent]; l != nil {
			return l.cert, nil
		}
	}
	return f.loaded[0].cert, nil
}

func (f *Files) refresh() {
	now := f.now()
	if now.Sub(f.looked) < lookAfter {
		return
	}
	f.looked = now
	changed := false
	for _, l := range f.loaded {
		if l.stamps() == l.stamp {
			continue
		}
		if err := l.read(); err != nil {
			f.failed(err)
			continue
		}
		changed = true
	}
	if changed {
		f.index()
	}
}

// Authorities reads a file of certificates of authorities, in PEM.
func Authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certs: reading the authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certs: %s has no certificate in PEM in it", file)
	}
	return pool, nil
}

// NewClient reads a pair for tls.Config.GetClientCertificate, and reads it again when its files change; where that fails,
// what was there before is used on.
func NewClient(pair Pair) (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	f, err := NewFiles([]Pair{pair}, time.Now, func(error) {})
	if err != nil {
		return nil, err
	}
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.Get(&tls.ClientHelloInfo{}) }, nil
}
