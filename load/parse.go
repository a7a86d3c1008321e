package load

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
)

// Bounds of an answer's head: it comes from outside.
const (
	maxHead        = 64 << 10
	maxChunkLine   = 4 << 10
	maxTrailers    = 16 << 10
	maxInformation = 16 // 1xx answers before the final one
)

// errMalformed is wrapped by every complaint about an answer that is not HTTP/1.1 (RFC 9112).
var errMalformed = errors.New("malformed answer")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// head is what the head of an answer says about its framing.
type head struct {
	status    int
	length    int64 // of the body; -1 where no Content-Length is given
	chunked   bool
	keepAlive bool
	closed    bool // the server said close
}

// headEnd returns the length of the head at the start of buf with its empty line, 0 if it is not whole yet. from is
// where the last search ended.
func headEnd(buf []byte, from int) int {
	from = max(from-3, 0)
	if i := bytes.Index(buf[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 4
	}
	return 0
}

// parseHead reads a whole head: the status line, the header lines, the empty line. It takes only what RFC 9112 lets a
// server send: lines end in CRLF, no line is folded, there is no space around a name. Two different lengths, or a
// length beside a transfer coding, are refused: that is how answers get smuggled. each, if not nil, gets every header
// line; the bytes are buf's.
func parseHead(buf []byte, h *head, each func(name, value []byte)) error {
	*h = head{length: -1}
	line, rest, _ := bytes.Cut(buf, []byte("\r\n"))
	minor, err := parseStatusLine(line, h)
	if err != nil {
		return err
	}
	h.keepAlive = minor == 1
	for {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) {
			return malformed("header line %.60q", line)
		}
		value := trim(line[colon+1:])
		if !isFieldValue(value) {
			return malformed("control character in header %.40q", line[:colon])
		}
		if err := h.field(line[:colon], value, minor); err != nil {
			return err
		}
		if each != nil {
			each(line[:colon], value)
		}
	}
	if h.chunked && h.length >= 0 {
		return malformed("both Content-Length and Transfer-Encoding")
	}
	return nil
}

func parseStatusLine(line []byte, h *head) (minor int, err error) {
	// HTTP/1.1 200 OK; the reason may be empty, and RFC 9112 wants the space before it all the same. Servers that leave
	// out both are many, and nothing is lost by understanding them.
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' || !isFieldValue(line) {
		return 0, malformed("status line %.60q", line)
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, malformed("status line %.60q", line)
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || h.status > 599 {
		return 0, malformed("status %d", h.status)
	}
	return int(line[7] - '0'), nil
}

// field takes note of the headers that frame the message.
func (h *head) field(name, value []byte, minor int) error {
	switch len(name) {
	case len("Connection"):
		if !equalFold(name, "connection") {
			return nil
		}
		for part := range bytes.SplitSeq(value, []byte(",")) {
			if part = trim(part); equalFold(part, "close") {
				h.closed, h.keepAlive = true, false // whatever else is said
			} else if minor == 0 && !h.closed && equalFold(part, "keep-alive") {
				h.keepAlive = true
			}
		}
	case len("Content-Length"):
		if !equalFold(name, "content-length") {
			return nil
		}
		n, ok := parseLength(value)
		if !ok || h.length >= 0 && h.length != n {
			return malformed("Content-Length %.40q", value)
		}
		h.length = n
	case len("Transfer-Encoding"):
		if !equalFold(name, "transfer-encoding") {
			return nil
		}
		if h.chunked || minor == 0 || !equalFold(value, "chunked") {
			return malformed("Transfer-Encoding %.40q", value)
		}
		h.chunked = true
	}
	return nil
}

// parseLength reads decimal digits, at most 18 of them.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// parseChunkSize reads the line before a chunk, its CRLF not included: hexadecimal digits, then extensions, which are
// passed over.
func parseChunkSize(line []byte) (int64, error) {
	n, i := int64(0), 0
	for ; i < len(line) && isHex(line[i]); i++ {
		if i == 15 {
			return 0, malformed("chunk size %.40q", line)
		}
		d := line[i]
		switch {
		case d <= '9':
			d -= '0'
		case d <= 'F':
			d -= 'A' - 10
		default:
			d -= 'a' - 10
		}
		n = n<<4 | int64(d)
	}
	rest := trim(line[i:])
	if i == 0 || len(rest) > 0 && rest[0] != ';' || !isFieldValue(rest) {
		return 0, malformed("chunk size %.40q", line)
	}
	return n, nil
}

// bodyless reports that an answer has no body, whatever its headers say (RFC 9112, 6.3).
func bodyless(method string, status int) bool {
	return method == "HEAD" || status == 204 || status == 304 || status < 200
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares b with a lower-case word.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isToken reports whether s is a token of RFC 9110, 5.6.2.
func isToken[T string | []byte](s T) bool {
	if len(s) == 0 {
		return false
	}
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return true
}

var tokenBytes = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// isFieldValue reports whether s holds no control character but the tab.
func isFieldValue(s []byte) bool {
	for _, c := range s {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }
