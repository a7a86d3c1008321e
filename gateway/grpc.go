package gateway

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// isGRPC reports whether a request is a call of gRPC (gRPC over HTTP2, Requests). gRPC-Web is none: it is plain HTTP.
func isGRPC(r *http.Request) bool {
	ct := r.Header["Content-Type"]
	if r.ProtoMajor < 2 || len(ct) != 1 {
		return false
	}
	rest, ok := strings.CutPrefix(ct[0], "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// parseGRPCTimeout reads a grpc-timeout: at most eight digits and a unit.
func parseGRPCTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	unit, ok := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !ok || err != nil {
		return 0, false
	}
	if n > uint64(math.MaxInt64/unit) {
		return math.MaxInt64, true
	}
	return time.Duration(n) * unit, true
}

// startGRPC ends a call of gRPC when the client's own deadline is over, however long its streams would go on.
func (c *call) startGRPC() (stop func()) {
	if c.grpc {
		if v := c.r.Header["Grpc-Timeout"]; len(v) == 1 {
			if d, ok := parseGRPCTimeout(v[0]); ok {
				if c.until = c.start + d; c.until < 0 {
					c.until = math.MaxInt64
				}
				timer := time.AfterFunc(d, c.expire)
				return func() { timer.Stop() }
			}
		}
	}
	return func() {}
}

// lateGRPC ends a call whose deadline is over when something goes wrong with it: backends know the same deadline, and may
// reset the stream before this side's timer has run.
func (c *call) lateGRPC() {
	if c.until > 0 && c.g.now() >= c.until {
		c.expire()
	}
}

// outcomeGRPC tells what an answer's head or trailers say about its backend.
func outcomeGRPC(h http.Header) policy.Outcome {
	v := h["Grpc-Status"]
	if len(v) != 1 {
		return policy.Success
	}
	code, err := strconv.Atoi(v[0])
	if err != nil {
		return policy.Failure
	}
	return policy.OutcomeOfGRPC(code)
}

// The codes of gRPC that the gateway answers with.
const (
	grpcCancelled        = 1
	grpcDeadlineExceeded = 4
	grpcExhausted        = 8
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnavailable      = 14
)

func (f fault) grpcCode() int {
	switch f.kind {
	case responseTimeout, requestTimeout:
		return grpcDeadlineExceeded
	case requestDenied, requestTooLarge:
		return grpcExhausted
	case destinationNotFound:
		return grpcUnimplemented
	case clientClosed:
		return grpcCancelled
	case requestError, internalError, protocolError:
		return grpcInternal
	}
	return grpcUnavailable
}

// grpcMessage encodes a message for Grpc-Message: what is not printable ASCII, and %, as %XX.
func grpcMessage(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
		}
	}
	return b.String()
}

// writeGRPC sends the error to a client of gRPC: a head that is all there is (Trailers-Only).
func (f fault) writeGRPC(w http.ResponseWriter, requestID string) {
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(f.grpcCode()))
	h.Set("Grpc-Message", grpcMessage(f.detail))
	h.Set("Proxy-Status", "banyan; error="+f.kind.String())
	h.Set(headerRequestID, requestID)
	w.WriteHeader(http.StatusOK)
}

// endGRPC ends an answer to a client of gRPC that broke off, by trailers that say so.
func (c *call) endGRPC(f fault) bool {
	if !c.grpc {
		return false
	}
	if c.ctx.Err() != nil && f.detail != "" && c.ended().kind == responseTimeout {
		f.kind = responseTimeout
	}
	h := c.w.Header()
	h.Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(f.grpcCode()))
	h.Set(http.TrailerPrefix+"Grpc-Message", grpcMessage(f.detail))
	return true
}
