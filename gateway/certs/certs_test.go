package certs

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// write makes the files of a certificate for a name.
func write(t *testing.T, a *Local, dir, name string) Pair {
	t.Helper()
	c, err := a.issue(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, "c.pem"), filepath.Join(dir, "c.key")}
	for file, b := range map[string]*pem.Block{p.Cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, p.Key: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestFilesAreReadAgain(t *testing.T) {
	a, err := OpenLocal(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	dir, now, failures := t.TempDir(), time.Now(), 0
	pair := write(t, a, dir, "one.test")
	f, err := NewFiles([]Pair{pair}, func() time.Time { return now }, func(error) { failures++ })
	if err != nil {
		t.Fatal(err)
	}
	names := func() string {
		c, err := f.Get(&tls.ClientHelloInfo{ServerName: "other.test"})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.DNSNames[0]
	}
	write(t, a, dir, "another.test")
	if got := names(); got != "one.test" {
		t.Errorf("within the second: %s", got)
	}
	if now = now.Add(lookAfter); names() != "another.test" {
		t.Error("the new certificate is not used")
	}
	if err := os.WriteFile(pair.Cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if now = now.Add(lookAfter); names() != "another.test" || failures != 1 {
		t.Errorf("after nonsense: %s, %d failures", names(), failures)
	}
}

func TestLocalAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenLocal(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenLocal(dir, time.Now)
	if err != nil || !a.root.Equal(b.root) {
		t.Errorf("another root, %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "root.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info.Mode(), err)
	}
}
