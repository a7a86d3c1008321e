package bus

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Signatures have the form of Standard Webhooks (standardwebhooks.com): the id, the instant and the body, joined by dots and
// signed by HMAC-SHA256, so that a service can tell that a delivery is ours, unchanged, and not one that somebody recorded.

// secretPrefix begins a secret in text.
const secretPrefix = "whsec_"

// SecretText writes a secret as the libraries of Standard Webhooks take it.
func SecretText(secret []byte) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}

// ParseSecret reads a secret from its text.
func ParseSecret(text string) ([]byte, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), secretPrefix)
	if !ok {
		return nil, errors.New("a secret begins with " + secretPrefix)
	}
	secret, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("reading the secret: %w", err)
	}
	if len(secret) < 24 || len(secret) > 64 {
		return nil, fmt.Errorf("a secret of %d bytes: expected 24 to 64", len(secret))
	}
	return secret, nil
}

// sign returns the headers webhook-timestamp and webhook-signature.
func sign(secret []byte, id string, at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return timestamp, "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
