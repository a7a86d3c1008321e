package http1

import "strconv"

// Known is a field that proxies treat in a way of its own.
type Known uint8

// The known fields.
const (
	Other Known = iota
	Connection
	ContentLength
	ContentType
	Cookie
	Date
	Expect
	Forwarded // Forwarded, X-Real-Ip, X-Forwarded-Port, -Prefix and -Server: of where a request came from
	ForwardedFor
	ForwardedHost
	ForwardedProto
	Host
	HTTP2Settings
	KeepAlive // Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization: of one connection only
	RequestID
	TE
	Traceparent
	Tracestate
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Via
)

// Field of a head or a trailer.
type Field struct {
	Name, Value []byte // Value without the white space around it
	Known       Known
}

// Error is why a message was rejected.
type Error struct {
	// Status that a server answers such a request with.
	Status int
	// Reason for people.
	Reason string
}

func (e *Error) Error() string { return "http1: " + strconv.Itoa(e.Status) + ": " + e.Reason }

// The errors of this package.
var (
	ErrRequestLine = &Error{400, "malformed request line"}
	ErrStatusLine  = &Error{502, "malformed status line"}
	ErrVersion     = &Error{505, "unsupported version of HTTP"}
	ErrField       = &Error{400, "malformed header field"}
	ErrFold        = &Error{400, "header field folded over lines"}
	ErrLine        = &Error{400, "line that does not end with CR and LF"}
	ErrHost        = &Error{400, "missing, double or malformed Host"}
	ErrLength      = &Error{400, "malformed or repeated Content-Length"}
	ErrFraming     = &Error{400, "both Content-Length and Transfer-Encoding"}
	ErrCoding      = &Error{501, "unsupported transfer coding"}
	ErrFields      = &Error{431, "too many header fields"}
	ErrTooLarge    = &Error{431, "header too large"}
	ErrChunk       = &Error{400, "malformed chunk"}
)

// MaxFields is how many fields a head or a trailer may have.
const MaxFields = 256

// Classes of bytes: of a field's name or a method (RFC 9110, 5.6.2), of a field's value (5.5), of a target.
const (
	isToken = 1 << iota
	isValue
	isTarget
	isHost
)

var classes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			t[c] |= isToken | isHost
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= isValue
		}
		if c > ' ' && c != 0x7f && c != '#' { // a fragment is the client's own (RFC 9110, 7.1)
			t[c] |= isTarget
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= isToken
	}
	for _, c := range "-._~%!$&'()*+,;=:[]" {
		t[c] |= isHost
	}
	return t
}()

func all(b []byte, class uint8) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// known tells which of the known fields a name is.
func known(name []byte) Known {
	switch len(name) {
	case 2:
		if EqualFold(name, "te") {
			return TE
		}
	case 3:
		if EqualFold(name, "via") {
			return Via
		}
	case 4:
		switch {
		case EqualFold(name, "host"):
			return Host
		case EqualFold(name, "date"):
			return Date
		}
	case 6:
		switch {
		case EqualFold(name, "cookie"):
			return Cookie
		case EqualFold(name, "expect"):
			return Expect
		}
	case 7:
		switch {
		case EqualFold(name, "upgrade"):
			return Upgrade
		case EqualFold(name, "trailer"):
			return Trailer
		}
	case 9:
		switch {
		case EqualFold(name, "forwarded"), EqualFold(name, "x-real-ip"):
			return Forwarded
		}
	case 10:
		switch {
		case EqualFold(name, "connection"):
			return Connection
		case EqualFold(name, "user-agent"):
			return UserAgent
		case EqualFold(name, "keep-alive"):
			return KeepAlive
		case EqualFold(name, "tracestate"):
			return Tracestate
		}
	case 11:
		if EqualFold(name, "traceparent") {
			return Traceparent
		}
	case 12:
		switch {
		case EqualFold(name, "content-type"):
			return ContentType
		case EqualFold(name, "x-request-id"):
			return RequestID
		}
	case 14:
		switch {
		case EqualFold(name, "content-length"):
			return ContentLength
		case EqualFold(name, "http2-settings"):
			return HTTP2Settings
		}
	case 15:
		if EqualFold(name, "x-forwarded-for") {
			return ForwardedFor
		}
	case 16:
		switch {
		case EqualFold(name, "x-forwarded-host"):
			return ForwardedHost
		case EqualFold(name, "x-forwarded-port"):
			return Forwarded
		case EqualFold(name, "proxy-connection"):
			return KeepAlive
		}
	case 17:
		switch {
		case EqualFold(name, "transfer-encoding"):
			return TransferEncoding
		case EqualFold(name, "x-forwarded-proto"):
			return ForwardedProto
		}
	case 18:
		switch {
		case EqualFold(name, "x-forwarded-prefix"), EqualFold(name, "x-forwarded-server"):
			return Forwarded
		case EqualFold(name, "proxy-authenticate"):
			return KeepAlive
		}
	case 19:
		if EqualFold(name, "proxy-authorization") {
			return KeepAlive
		}
	}
	return Other
}

// EqualFold reports whether b is s, which is in lower case, but for the case of letters.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// Tokens calls f with each element of a comma-separated value, until it returns false.
func Tokens(value []byte, f func(token []byte) bool) {
	for len(value) > 0 {
		end := 0
		for end < len(value) && value[end] != ',' {
			end++
		}
		if token := trim(value[:end]); len(token) > 0 && !f(token) {
			return
		}
		value = value[min(end+1, len(value)):]
	}
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

// number reads a decimal number of at most 18 digits and nothing else.
func number(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
