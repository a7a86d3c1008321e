package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// cookieSecretSize is that of the secret that signs the cookies by which clients are bound to replicas.
const cookieSecretSize = 32

// cookieSecret returns what signs the cookies of sticky sessions: what the configuration says; or else what follows from the
// secret of the gateways of the system, so that each honours the cookies of the others; or else what lies in the state
// directory, so that sessions outlive a restart. Without any of these it is drawn anew. It is called when a table is built,
// which nothing else does at that time.
func (g *Gateway) cookieSecret() ([]byte, error) {
	if len(g.cfg.Secret) > 0 {
		return g.cfg.Secret, nil
	}
	var secret []byte
	switch {
	case len(g.secret) > 0:
		mac := hmac.New(sha256.New, g.secret)
		mac.Write([]byte("banyan: cookies of sticky sessions"))
		secret = mac.Sum(nil)
	case g.cfg.StateDir != "":
		var err error
		if secret, err = storedSecret(filepath.Join(g.cfg.StateDir, "sticky.key")); err != nil {
			return nil, fmt.Errorf("gateway: the secret of sticky sessions: %w", err)
		}
	default:
		secret = newSecret()
	}
	g.cfg.Secret = secret
	return secret, nil
}

func newSecret() []byte {
	secret := make([]byte, cookieSecretSize)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// storedSecret reads a secret from a file, which only its owner can read and which it makes if there is none. Where several do
// that at once, all get the same.
func storedSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = writeOnce(path, newSecret()); err == nil {
			secret, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(secret) != cookieSecretSize {
		return nil, fmt.Errorf("%s has %d bytes: want %d; without the file another is made", path, len(secret), cookieSecretSize)
	}
	return secret, nil
}

// writeOnce writes a file whole, or leaves the one that is there.
func writeOnce(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // for its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
