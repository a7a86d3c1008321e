package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// maxIssued bounds how many names a local authority keeps certificates for; clients choose the names.
	maxIssued = 256
)

// Local is an authority of this machine's own, for development and for inside: it issues certificates for any name that a
// client asks for. Clients must be told to trust its root.
type Local struct {
	root *x509.Certificate
	key  crypto.Signer
	file string
	leaf *ecdsa.PrivateKey
	now  func() time.Time

	mu     sync.Mutex
	issued map[string]*tls.Certificate
}

// OpenLocal returns the authority that is kept in a folder, and makes it if there is none. Its key is readable by the
// owner only.
func OpenLocal(dir string, now func() time.Time) (*Local, error) {
	a := &Local{file: filepath.Join(dir, "root.pem"), now: now, issued: map[string]*tls.Certificate{}}
	keyFile := filepath.Join(dir, "root.key")
	pair, err := tls.LoadX509KeyPair(a.file, keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeRoot(dir, a.file, keyFile, now()); err == nil {
			pair, err = tls.LoadX509KeyPair(a.file, keyFile)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("certs: the local authority in %s: %w", dir, err)
	}
	a.root = pair.Leaf
	if now().After(a.root.NotAfter) {
		return nil, fmt.Errorf("certs: the local authority's root %s ended on %s; delete it and its key for a new one", a.file, a.root.NotAfter.Format(time.DateOnly))
	}
	var ok bool
	if a.key, ok = pair.PrivateKey.(crypto.Signer); !ok {
		return nil, fmt.Errorf("certs: the key %s cannot sign", keyFile)
	}
	if a.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("certs: making a key: %w", err)
	}
	return a, nil
}

// Root returns the file of the authority's certificate, which clients are to trust.
func (a *Local) Root() string { return a.file }

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126)) // never fails
	return n.Add(n, big.NewInt(1))
}

func makeRoot(dir, certFile, keyFile string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Banyan local authority", Organization: []string{"Banyan"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(rootLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The certificate last: as long as it is missing, the authority is made anew.
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// Get returns a certificate for the name of a handshake, or for the address that it came to.
func (a *Local) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	if name == "" && hello.Conn != nil {
		if host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String()); err == nil {
			name = host
		}
	}
	if name == "" || len(name) > 253 {
		name = "localhost"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if c := a.issued[name]; c != nil && now.Before(c.Leaf.NotAfter.Add(-leafLife/3)) {
		return c, nil
	}
	c, err := a.issue(name, now)
	if err != nil {
		return nil, fmt.Errorf("certs: issuing a certificate for %q: %w", name, err)
	}
	if len(a.issued) >= maxIssued {
		clear(a.issued)
	}
	a.issued[name] = c
	return c, nil
}

func (a *Local) issue(name string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"Banyan"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, a.leaf.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.root.Raw}, PrivateKey: a.leaf, Leaf: leaf}, nil
}
