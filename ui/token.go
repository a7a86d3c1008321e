package ui

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tokenFile holds the token in the state directory, readable for its owner alone.
const tokenFile = "ui.token"

// tokenBytes is how many random bytes a token has.
const tokenBytes = 24

// ReadToken returns the token of a state directory, and an error that wraps fs.ErrNotExist if there is none yet.
func ReadToken(dir string) (string, error) {
	path := filepath.Join(dir, tokenFile)
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("reading the page's token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others (%v): 'chmod 600' it, or remove it to have a new one made", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the page's token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if b, err := hex.DecodeString(token); err != nil || len(b) < tokenBytes {
		return "", fmt.Errorf("%s holds no token: remove it to have a new one made", path)
	}
	return token, nil
}

// Token returns the token of a state directory, and makes one where there is none. It stays the same from run to run, so
// that a page that was left open can go on.
func Token(dir string) (string, error) {
	token, err := ReadToken(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	secret := make([]byte, tokenBytes)
	rand.Read(secret) // never fails
	token = hex.EncodeToString(secret)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, tokenFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ReadToken(dir)
	}
	if err != nil {
		return "", fmt.Errorf("writing the page's token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing the page's token: %w", err)
	}
	return token, nil
}
