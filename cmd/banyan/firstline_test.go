package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFirstLine(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n": "", "secret": "secret", "secret\n": "secret", "secret\r\nnote\n": "secret", " a b \nc": " a b ",
		strings.Repeat("x", maxSecretLine-1) + "\n": strings.Repeat("x", maxSecretLine-1),
	} {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := firstLine(file, "secret"); got != want || err != nil {
			t.Errorf("%.20q: %.20q, %v", text, got, err)
		}
	}
	for _, file := range []string{"/dev/zero", filepath.Join(t.TempDir(), "absent"), t.TempDir()} {
		if got, err := firstLine(file, "secret"); err == nil {
			t.Errorf("%s: %d bytes", file, len(got))
		}
	}
}
