package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func echo(_ context.Context, request []byte) []byte { return append([]byte("you said "), request...) }

func TestCall(t *testing.T) {
	a := launch(t, 1, func(c *Config) { c.Answer = echo })
	got, err := Caller{Secret: secret}.Call(t.Context(), a.address, []byte("hello"))
	if err != nil || string(got) != "you said hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := (Caller{Secret: []byte("another secret, as long")}).Call(t.Context(), a.address, []byte("hello")); !errors.Is(err, ErrHandshake) {
		t.Errorf("with another secret: %v", err)
	}
	if _, err := (Caller{Secret: secret}).Call(t.Context(), a.address, make([]byte, MaxCall+1)); !errors.Is(err, ErrFrame) {
		t.Errorf("a request that is too large: %v", err)
	}
	silent := launch(t, 2, nil)
	if got, err := (Caller{Secret: secret}).Call(t.Context(), silent.address, []byte("hello")); err == nil {
		t.Errorf("a node that answers nobody says %q", got)
	}
}

func TestRemovedPeer(t *testing.T) {
	a, b := launch(t, 1, nil), launch(t, 2, nil)
	a.SetPeer(2, b.address)
	sendUntil(t, a, b, 2)
	a.RemovePeer(2)
	before := a.Dropped()
	a.Send(2, []byte("nobody"))
	if a.Dropped() != before+1 {
		t.Error("a frame to a removed node is not counted as dropped")
	}
	a.SetPeer(2, b.address)
	sendUntil(t, a, b, 2)
}

// identities makes an authority and certificates of it for names, and returns the configuration of each.
func identities(t *testing.T, names ...string) map[string]*tls.Config {
	t.Helper()
	dir := t.TempDir()
	authority, authorityKey, err := Authority(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"ca.pem": authority}
	for _, name := range names {
		if files[name+".pem"], files[name+".key"], err = Issue(authority, authorityKey, name, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configs := map[string]*tls.Config{}
	for _, name := range names {
		if configs[name], err = Certificates(filepath.Join(dir, "ca.pem"), filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")); err != nil {
			t.Fatal(err)
		}
	}
	return configs
}

// Streams and calls over TLS work without a secret, between those who have a certificate of the authority, and nobody else.
func TestCertificates(t *testing.T) {
	ours, theirs := identities(t, "one", "two"), identities(t, "one")
	a := launch(t, 1, func(c *Config) { c.Secret, c.TLS, c.Answer = nil, ours["one"], echo })
	b := launch(t, 2, func(c *Config) { c.Secret, c.TLS = nil, ours["two"] })
	a.SetPeer(2, b.address)
	sendUntil(t, a, b, 2)
	large := bytes.Repeat([]byte("x"), 3<<20)
	a.Send(2, large)
	for got := range b.got {
		if len(got) == len(large)+2 {
			break
		}
	}
	if got, err := (Caller{TLS: ours["two"]}).Call(t.Context(), a.address, []byte("hello")); err != nil || string(got) != "you said hello" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := (Caller{TLS: theirs["one"]}).Call(t.Context(), a.address, []byte("hello")); err == nil {
		t.Errorf("one of another authority is answered: %q", got)
	}
	bare := &tls.Config{InsecureSkipVerify: true}
	if got, err := (Caller{TLS: bare}).Call(t.Context(), a.address, []byte("hello")); err == nil {
		t.Errorf("one without a certificate is answered: %q", got)
	}
	if got, err := (Caller{Secret: secret}).Call(t.Context(), a.address, []byte("hello")); err == nil {
		t.Errorf("one in the clear is answered: %q", got)
	}
	impostor := launch(t, 3, func(c *Config) { c.Secret, c.TLS, c.Answer = nil, theirs["one"], echo })
	if got, err := (Caller{TLS: ours["one"]}).Call(t.Context(), impostor.address, []byte("hello")); err == nil {
		t.Errorf("an impostor's answer is believed: %q", got)
	}
}
