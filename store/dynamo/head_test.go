package dynamo

import (
	"bytes"
	"testing"
)

// FuzzHead wants what is taken for a request to be one by RFC 9112's grammar, as far as that is easily told, and nothing to panic.
func FuzzHead(f *testing.F) {
	f.Add([]byte("POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nX-Amz-Target: t\r\n"))
	f.Add([]byte("GET / HTTP/1.0\r\nConnection: close\r\nExpect: 100-continue\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte("\r\n\r\n")) {
			return // which ends the head before it is parsed
		}
		var h head
		if status, _ := h.parse(b); status != 0 {
			return
		}
		if h.length < 0 || len(h.path) == 0 || h.path[0] != '/' || bytes.ContainsAny(b, "\x00\x7f") {
			t.Errorf("%q is taken for a request", b)
		}
		for _, line := range bytes.Split(b, []byte("\r\n"))[1:] {
			if len(line) > 0 && (line[0] == ' ' || line[0] == '\t' || line[0] == ':') {
				t.Errorf("%q has a field without a name", b)
			}
		}
	})
}

func TestPrintable(t *testing.T) {
	for c := range 256 { // each byte at each place of a word, and behind it
		for at := range 10 {
			b := []byte("a\tbcdefghij")
			b[at] = byte(c)
			if got, want := printable(b), c == '\t' || c >= ' ' && c != 0x7f; got != want {
				t.Errorf("%q is printable: %v", b, got)
			}
		}
	}
}
