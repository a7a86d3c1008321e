package certs

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/banyanhq/banyan/atomicfile"
)

// ACMEConfig of certificates that an authority issues by ACME (RFC 8555). All but Email and Roots are required.
type ACMEConfig struct {
	// Directory is the authority's URL.
	Directory string
	// Domains that certificates are for, each one of its own, in lower case.
	Domains []string
	// Email that the authority is told.
	Email string
	// Roots vouch for the directory's server. Nil: those of the machine.
	Roots *x509.CertPool
	// Challenge is "http-01" or "tls-alpn-01".
	Challenge string
	// Storage is the folder in which the account, keys and certificates are kept, readable by the owner only. What is there
	// is used on, so that gateways that share it, one after the other or at once, share certificates, and answer each
	// other's challenges.
	Storage string
	// Log is told what was issued, and what failed.
	Log *slog.Logger
	// Now is the time.
	Now func() time.Time
}

// ACME has certificates issued, and renewed once two thirds of their life are over. Its methods are safe for concurrent use.
type ACME struct {
	cfg    ACMEConfig
	dir    string // of this authority
	client *acme.Client

	mu         sync.Mutex
	certs      map[string]*tls.Certificate // by domain
	challenges map[string]*tls.Certificate // by domain, while tls-alpn-01 goes on
	tokens     map[string]string           // by path, while http-01 does
}

const (
	obtainTime = 5 * time.Minute // for one certificate, the authority's checks included
	// An attempt that failed is followed by another after retryFirst, then twice that, up to retryMost: authorities
	// refuse who asks too often. A tenth is drawn at random.
	retryFirst = time.Minute
	retryMost  = 6 * time.Hour
	// lookAgain is how long the folder is left alone, in which another gateway may have put a certificate.
	lookAgain = time.Hour
)

var (
	unfit     = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)       // for the name of a file
	tokenForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,200}$`) // RFC 8555, 8.3
)

// OpenACME reads what is in the storage, and makes the account's key if there is none. It asks the authority for nothing.
func OpenACME(cfg ACMEConfig) (*ACME, error) {
	u, err := url.Parse(cfg.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("certs: the ACME directory %q is no address with https", cfg.Directory)
	}
	a := &ACME{
		cfg: cfg, dir: filepath.Join(cfg.Storage, unfit.ReplaceAllString(u.Host+u.Path, "_")),
		certs: map[string]*tls.Certificate{}, challenges: map[string]*tls.Certificate{}, tokens: map[string]string{},
	}
	if err := os.MkdirAll(filepath.Join(a.dir, "challenges"), 0o700); err != nil {
		return nil, fmt.Errorf("certs: making the folder for ACME: %w", err)
	}
	key, err := a.accountKey()
	if err != nil {
		return nil, fmt.Errorf("certs: the key of the ACME account: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12}
	a.client = &acme.Client{Key: key, DirectoryURL: cfg.Directory, UserAgent: "banyan", HTTPClient: &http.Client{Transport: transport, Timeout: time.Minute}}
	for _, domain := range cfg.Domains {
		if err := a.load(domain); err != nil && !errors.Is(err, fs.ErrNotExist) {
			cfg.Log.Warn("a stored certificate cannot be used, another one is asked for", "domain", domain, "error", err)
		}
	}
	return a, nil
}

func (a *ACME) accountKey() (crypto.Signer, error) {
	file := filepath.Join(a.dir, "account.key")
	text, err := os.ReadFile(file)
	if err == nil {
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("%s has no key in PEM in it", file)
		}
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return key, atomicfile.Replace(file, pem.EncodeToMemory(block), 0o600)
}

func keyPEM(key *ecdsa.PrivateKey) (*pem.Block, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, err
}

func (a *ACME) file(domain string) string { return filepath.Join(a.dir, domain+".pem") }

// load takes a domain's certificate from the storage, where there is one that is valid.
func (a *ACME) load(domain string) error {
	text, err := os.ReadFile(a.file(domain))
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return err
	}
	if err := cert.Leaf.VerifyHostname(domain); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.certs[domain]; old == nil || !cert.Leaf.NotAfter.Before(old.Leaf.NotAfter) {
		a.certs[domain] = &cert
	}
	return nil
}

// renewal returns when a domain's certificate is to be renewed, or obtained: long ago where there is none.
func (a *ACME) renewal(domain string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	cert := a.certs[domain]
	if cert == nil {
		return time.Time{}
	}
	return cert.Leaf.NotAfter.Add(-cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore) / 3)
}

// Run obtains and renews certificates until ctx ends. Each attempt that fails is logged and repeated later, whatever was
// wrong; certificates that are there are used until they end.
func (a *ACME) Run(ctx context.Context) {
	failures := make(map[string]int)
	again := make(map[string]time.Time)
	for {
		next := a.cfg.Now().Add(lookAgain)
		for _, domain := range a.cfg.Domains {
			due, err := a.keep(ctx, domain, again[domain])
			if ctx.Err() != nil {
				return
			}
			failures[domain]++
			if err == nil {
				failures[domain] = 0
			} else {
				wait := retryAfter(failures[domain], mathrand.Float64())
				due = a.cfg.Now().Add(wait)
				a.cfg.Log.Error("obtaining a certificate", "domain", domain, "error", err, "again_in", wait.Round(time.Second))
			}
			if again[domain] = due; due.Before(next) {
				next = due
			}
		}
		timer := time.NewTimer(max(next.Sub(a.cfg.Now()), time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// retryAfter is the pause after the n-th failure in a row.
func retryAfter(n int, random float64) time.Duration {
	d := retryMost
	if n < 10 {
		d = min(d, retryFirst<<(n-1))
	}
	return d - time.Duration(random*float64(d)/10)
}

// keep renews a domain's certificate if that is due, and not before a time. It returns when to look again.
func (a *ACME) keep(ctx context.Context, domain string, notBefore time.Time) (time.Time, error) {
	now := a.cfg.Now()
	if due := a.renewal(domain); now.Before(due) {
		return due, nil
	}
	_ = a.load(domain) // another gateway may have been here; what it left wrong is replaced
	if due := a.renewal(domain); now.Before(due) {
		return due, nil
	}
	if now.Before(notBefore) {
		return notBefore, nil
	}
	ctx, cancel := context.WithTimeout(ctx, obtainTime)
	defer cancel()
	if err := a.obtain(ctx, domain); err != nil {
		return time.Time{}, err
	}
	if err := a.load(domain); err != nil {
		return time.Time{}, fmt.Errorf("reading what was issued: %w", err)
	}
	due := a.renewal(domain)
	a.cfg.Log.Info("a certificate was issued", "domain", domain, "renewed_at", due)
	return due, nil
}

// obtain has a certificate issued and stores it with its key in one file, so that they always belong together.
func (a *ACME) obtain(ctx context.Context, domain string) error {
	account := &acme.Account{}
	if a.cfg.Email != "" {
		account.Contact = []string{"mailto:" + a.cfg.Email}
	}
	if _, err := a.client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return fmt.Errorf("registering the account: %w", err)
	}
	order, err := a.client.AuthorizeOrder(ctx, acme.DomainIDs(domain))
	if err != nil {
		return fmt.Errorf("ordering: %w", err)
	}
	for _, u := range order.AuthzURLs {
		if err := a.authorize(ctx, domain, u); err != nil {
			return fmt.Errorf("showing that the name is ours: %w", err)
		}
	}
	at := order.URI
	if order, err = a.client.WaitOrder(ctx, at); err != nil {
		return fmt.Errorf("waiting for the order: %w", err)
	}
	order.URI = at // which authorities do not repeat
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{domain}}, key)
	if err != nil {
		return err
	}
	chain, _, err := a.client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return fmt.Errorf("fetching the certificate: %w", err)
	}
	block, err := keyPEM(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(block)
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return atomicfile.Replace(a.file(domain), text, 0o600)
}

// authorize shows the authority that a domain is ours, unless it knows.
func (a *ACME) authorize(ctx context.Context, domain, authorization string) error {
	z, err := a.client.GetAuthorization(ctx, authorization)
	if err != nil {
		return err
	}
	if z.Status == acme.StatusValid {
		return nil
	}
	for _, challenge := range z.Challenges {
		if challenge.Type != a.cfg.Challenge {
			continue
		}
		withdraw, err := a.present(domain, challenge)
		if err != nil {
			return err
		}
		defer withdraw()
		if _, err := a.client.Accept(ctx, challenge); err != nil {
			return err
		}
		_, err = a.client.WaitAuthorization(ctx, z.URI)
		return err
	}
	return fmt.Errorf("the authority does not offer %s for %s", a.cfg.Challenge, domain)
}

// fileOfChallenge is where gateways that share the storage find the answer to a challenge.
func (a *ACME) fileOfChallenge(name string) string {
	return filepath.Join(a.dir, "challenges", unfit.ReplaceAllString(name, "_"))
}

// present makes the answer to a challenge known.
func (a *ACME) present(domain string, c *acme.Challenge) (withdraw func(), err error) {
	if c.Type == "http-01" {
		text, err := a.client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return nil, err
		}
		path := a.client.HTTP01ChallengePath(c.Token)
		a.mu.Lock()
		a.tokens[path] = text
		a.mu.Unlock()
		file := a.fileOfChallenge(c.Token)
		return func() {
			a.mu.Lock()
			delete(a.tokens, path)
			a.mu.Unlock()
			_ = os.Remove(file)
		}, atomicfile.Replace(file, []byte(text), 0o600)
	}
	cert, err := a.client.TLSALPN01ChallengeCert(c.Token, domain)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.challenges[domain] = &cert
	a.mu.Unlock()
	block, err := keyPEM(cert.PrivateKey.(*ecdsa.PrivateKey)) // so does the client make it
	if err != nil {
		return nil, err
	}
	file := a.fileOfChallenge(domain + ".pem")
	text := append(pem.EncodeToMemory(block), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})...)
	return func() {
		a.mu.Lock()
		delete(a.challenges, domain)
		a.mu.Unlock()
		_ = os.Remove(file)
	}, atomicfile.Replace(file, text, 0o600)
}

// Get returns the certificate for a handshake: that of the name that the client asks for, or the first domain's.
func (a *ACME) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	a.mu.Lock()
	defer a.mu.Unlock()
	cert := cmp.Or(a.certs[name], a.certs[a.cfg.Domains[0]])
	if cert == nil {
		return nil, fmt.Errorf("certs: no certificate has been issued yet for %q", name)
	}
	return cert, nil
}

// ForHandshake returns what a handshake of the challenge tls-alpn-01 (RFC 8737) is answered by, nil for any other one: it
// is for the authority, of which no certificate is asked. It is for tls.Config.GetConfigForClient.
func (a *ACME) ForHandshake(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if a.cfg.Challenge != "tls-alpn-01" || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != acme.ALPNProto {
		return nil, nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, GetCertificate: a.challenge}, nil
}

// challenge returns the certificate that answers a challenge for a name.
func (a *ACME) challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	a.mu.Lock()
	cert := a.challenges[name]
	a.mu.Unlock()
	if cert != nil {
		return cert, nil
	}
	stored, err := tls.LoadX509KeyPair(a.fileOfChallenge(name+".pem"), a.fileOfChallenge(name+".pem"))
	if err != nil {
		return nil, fmt.Errorf("certs: no challenge goes on for %q", name)
	}
	return &stored, nil
}

// ChallengePath begins the paths at which an authority asks by http-01.
const ChallengePath = "/.well-known/acme-challenge/"

// ServeChallenge answers a request of the challenge http-01, if it is one and the answer is known.
func (a *ACME) ServeChallenge(w http.ResponseWriter, r *http.Request) bool {
	token, ok := strings.CutPrefix(r.URL.Path, ChallengePath)
	if !ok || a.cfg.Challenge != "http-01" || !tokenForm.MatchString(token) {
		return false
	}
	a.mu.Lock()
	text := a.tokens[r.URL.Path]
	a.mu.Unlock()
	if text == "" {
		stored, err := os.ReadFile(a.fileOfChallenge(token))
		if err != nil {
			return false
		}
		text = string(stored)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(text)) // an authority that is gone asks again
	return true
}
