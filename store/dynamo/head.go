package dynamo

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unsafe"
)

// head is the beginning of a request, parsed strictly; what it holds lies in the connection's buffer.
type head struct {
	method, path, query []byte
	fields              [maxHeaders]field
	count               int
	length              int
	close, expects      bool
	body                []byte
	scratch             []byte // for what is signed
}

type field struct{ name, value []byte }

// parse reads a request line and fields, each with its line's end. status is 0, or that of the refusal.
func (h *head) parse(b []byte) (status int, reason string) {
	const bad = "Bad Request"
	h.count, h.length, h.close, h.expects, h.body = 0, -1, false, false, nil
	line, rest, _ := bytes.Cut(b, []byte("\r\n"))
	method, line, ok := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(line, []byte(" "))
	if !ok || !ok2 || !token(method) || len(target) == 0 || target[0] != '/' || bytes.IndexByte(target, ' ') >= 0 || !printable(target) {
		return 400, bad
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.close = true
	default:
		return 505, "HTTP Version Not Supported"
	}
	h.method = method
	h.path, h.query, _ = bytes.Cut(target, []byte("?"))
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !token(line[:colon]) || h.count == maxHeaders {
			return 400, bad
		}
		f := field{line[:colon], bytes.Trim(line[colon+1:], " \t")}
		if !printable(f.value) {
			return 400, bad
		}
		h.fields[h.count] = f
		h.count++
		if status, reason := h.special(f); status != 0 {
			return status, reason
		}
	}
	if h.length < 0 {
		if string(h.method) == "POST" || string(h.method) == "PUT" {
			return 411, "Length Required"
		}
		h.length = 0
	}
	return 0, ""
}

// special sees to the fields that say how the connection goes on.
func (h *head) special(f field) (status int, reason string) {
	switch len(f.name) {
	case len("Content-Length"):
		if !same(f.name, "Content-Length") {
			break
		}
		if h.length >= 0 || len(f.value) == 0 || len(f.value) > 9 {
			return 400, "Bad Request"
		}
		n := 0
		for _, c := range f.value {
			if !('0' <= c && c <= '9') {
				return 400, "Bad Request"
			}
			n = n*10 + int(c-'0')
		}
		h.length = n
	case len("Transfer-Encoding"):
		if same(f.name, "Transfer-Encoding") {
			return 411, "Length Required"
		}
	case len("Connection"):
		if same(f.name, "Connection") && strings.Contains(strings.ToLower(string(f.value)), "close") {
			h.close = true
		}
	case len("Expect"):
		h.expects = h.expects || (same(f.name, "Expect") && same(f.value, "100-continue"))
	}
	return 0, ""
}

// get is the value of the first field of that name, empty if there is none.
func (h *head) get(name string) string {
	for i := range h.count {
		if f := &h.fields[i]; len(f.name) == len(name) && same(f.name, name) {
			return unsafe.String(unsafe.SliceData(f.value), len(f.value))
		}
	}
	return ""
}

// same compares without case.
func same(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		x, y := b[i], s[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

var tokenChars = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return t
}()

func token(b []byte) bool {
	for _, c := range b {
		if !tokenChars[c] {
			return false
		}
	}
	return len(b) > 0
}

// printable says that there is no control character but a tab. It looks at eight bytes at once.
func printable(b []byte) bool {
	const lows, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) > 0 {
		if len(b) >= 8 {
			x := binary.LittleEndian.Uint64(b)
			del := x ^ lows*0x7f
			if ((x-lows*' ')&^x|(del-lows)&^del)&highs == 0 { // none is below a space, nor 0x7f
				b = b[8:]
				continue
			}
		}
		if c := b[0]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
		b = b[1:]
	}
	return true
}
