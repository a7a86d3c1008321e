package httpcache

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// The writers here that pass an answer on let through what their own writer can do besides.

var errNoHijack = http.ErrNotSupported

// Flush passes on what was written.
func (s *signer) Flush() {
	if s.status == 0 {
		s.WriteHeader(http.StatusOK)
	}
	if f, ok := s.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Hijack takes the connection over.
func (s *signer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if h, ok := s.ResponseWriter.(http.Hijacker); ok {
		return h.Hijack()
	}
	return nil, nil, errNoHijack
}

// SetReadDeadline bounds how long the client may take to send its body.
func (s *signer) SetReadDeadline(t time.Time) error {
	if d, ok := s.ResponseWriter.(interface{ SetReadDeadline(time.Time) error }); ok {
		return d.SetReadDeadline(t)
	}
	return http.ErrNotSupported
}

// SetWriteDeadline bounds how long the client may take to receive.
func (s *signer) SetWriteDeadline(t time.Time) error {
	if d, ok := s.ResponseWriter.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return d.SetWriteDeadline(t)
	}
	return http.ErrNotSupported
}

// EnableFullDuplex lets the body be read while the answer is written.
func (s *signer) EnableFullDuplex() error {
	if d, ok := s.ResponseWriter.(interface{ EnableFullDuplex() error }); ok {
		return d.EnableFullDuplex()
	}
	return http.ErrNotSupported
}
