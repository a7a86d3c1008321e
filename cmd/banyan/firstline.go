package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecretLine bounds the first line of a file that holds a secret, in bytes.
const maxSecretLine = 64 << 10

// firstLine is the first line of a file that holds a secret, a token or a password, without its end. What stands behind it may be a
// note of whoever keeps it.
func firstLine(file, what string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("reading the %s: %w", what, err)
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, maxSecretLine+1)).ReadString('\n')
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("reading the %s: %w", what, err)
	case len(line) > maxSecretLine:
		return "", usagef("%s: the first line, which is to be the %s, has more than %d bytes", file, what, maxSecretLine)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
