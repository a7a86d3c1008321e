package httpcache

import (
	"bufio"
	"net"
	"net/http"
)

// Unwrap lets http.ResponseController find what the writer behind can do.
func (s *signer) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Hijack takes the connection over.
func (s *signer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(s.ResponseWriter).Hijack()
}

// Flush passes on what was written.
func (s *signer) Flush() {
	if s.status == 0 {
		s.WriteHeader(http.StatusOK)
	}
	flush(s.ResponseWriter)
}

// Flush passes on what was written.
func (i *invalidator) Flush() {
	if i.status == 0 {
		i.WriteHeader(http.StatusOK)
	}
	flush(i.ResponseWriter)
}

func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush() // an error is the next write's as well
}
