package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Kind names what went wrong with a request.
type Kind string

// The kinds of error. Each request has at most one.
const (
	// Refused: the target does not accept connections there.
	Refused Kind = "refused"
	// Unreachable: there is no way to the target's network or host.
	Unreachable Kind = "unreachable"
	// Reset: the connection was reset while the request was under way.
	Reset Kind = "reset"
	// ClosedEarly: the connection was closed before the answer was whole.
	ClosedEarly Kind = "closed early"
	// Timeout: no whole answer within the time allowed.
	Timeout Kind = "timeout"
	// Malformed: what was answered is not of the target's protocol.
	Malformed Kind = "malformed answer"
	// TooLarge: the body is longer than the run allows.
	TooLarge Kind = "body too large"
	// BadStatus: an answer with a status that the step does not call good.
	BadStatus Kind = "unexpected status"
	// BadContent: an answer without the text that the step expects.
	BadContent Kind = "expectation failed"
	// NotExtracted: an answer without a value that the step extracts.
	NotExtracted Kind = "extract failed"
	// DNS: the target's name could not be resolved.
	DNS Kind = "dns"
	// TLS: the handshake failed.
	TLS Kind = "tls"
	// LocalLimit: the generator's machine is out of files or ports.
	LocalLimit Kind = "generator's limit"
	// OtherError is anything else.
	OtherError Kind = "other"
)

// answered reports whether an answer came all the same.
func (k Kind) answered() bool {
	if k == "" || k == BadStatus || k == BadContent || k == NotExtracted {
		return true
	}
	for _, p := range ownNames {
		if strings.HasPrefix(string(k), p) {
			return true
		}
	}
	return false
}

// ownNames begin the kinds that a protocol has names for: the target has answered, with an error.
var ownNames = []string{"grpc ", "redis ", "nats ", "dynamodb ", "websocket "}

// timed reports whether the time that the request took says something about the target: answers, and requests given up.
func (k Kind) timed() bool { return k.answered() || k == Timeout || k == TooLarge }

var errTooLarge = errors.New("the body is longer than allowed")

// kindOf names a failure of the connection.
func kindOf(err error) Kind {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var cert *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	var netErr net.Error
	var named *failed
	switch {
	case errors.As(err, &named):
		return named.kind
	case errors.Is(err, errMalformed):
		return Malformed
	case errors.Is(err, errTooLarge):
		return TooLarge
	case errors.As(err, &dns):
		return DNS
	case errors.As(err, &record), errors.As(err, &alert), errors.As(err, &cert), errors.As(err, &invalid):
		return TLS
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return Reset
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return Unreachable
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return LocalLimit
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return ClosedEarly
	}
	return OtherError
}

// handshakeError marks what failed during the handshake, so that it is not taken for a failure of the request.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// exchangeKind names err as the failure of one exchange.
func exchangeKind(err error) Kind {
	if err == nil {
		return ""
	}
	k := kindOf(err)
	var h *handshakeError
	if errors.As(err, &h) && k != Timeout {
		return TLS
	}
	return k
}
