package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Bounds of calls: on the bytes of a request and of an answer, on the time that an answer may take, and on how many are answered
// at a time.
const (
	MaxCall     = 1 << 20
	callTimeout = 30 * time.Second
	maxCalls    = 64
)

// Caller asks nodes of a cluster single questions. It need not be a node itself.
type Caller struct {
	Secret []byte      // of the cluster
	TLS    *tls.Config // nil: in the clear
}

// Call asks whichever node listens at an address, and returns its answer. The connection is for this one question.
func (c Caller) Call(ctx context.Context, address string, request []byte) ([]byte, error) {
	if len(request) > MaxCall {
		return nil, fmt.Errorf("%w: a request of %d bytes, at most %d", ErrFrame, len(request), MaxCall)
	}
	conn, err := dial(ctx, c.TLS, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := dialled(conn, c.secret(), anyNode, anyNode); err != nil {
		return nil, fmt.Errorf("asking %s: %w", address, err)
	}
	_ = conn.SetDeadline(time.Now().Add(callTimeout))
	if _, err := conn.Write(append(header(request), request...)); err != nil {
		return nil, fmt.Errorf("asking %s: %w", address, err)
	}
	answer, err := readFrame(bufio.NewReader(conn), MaxCall)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", address, err)
	}
	return answer, nil
}

func (c Caller) secret() []byte { return secretOr(c.Secret, c.TLS) }

// secretOr is what the handshake proves. Where certificates say who belongs to the cluster there need be no secret.
func secretOr(secret []byte, cfg *tls.Config) []byte {
	if len(secret) == 0 && cfg != nil {
		return []byte("certificates, no secret")
	}
	return secret
}

// answer answers the one question of a caller.
func (t *Transport) answer(ctx context.Context, conn net.Conn) {
	if t.calls.Add(1) > maxCalls || t.cfg.Answer == nil {
		t.calls.Add(-1)
		return
	}
	defer t.calls.Add(-1)
	_ = conn.SetDeadline(time.Now().Add(callTimeout))
	request, err := readFrame(bufio.NewReader(conn), MaxCall)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer := t.cfg.Answer(ctx, request)
	if len(answer) > MaxCall {
		t.cfg.Log.Error("transport: an answer is too large", "bytes", len(answer))
		return
	}
	_, _ = conn.Write(append(header(answer), answer...)) // the caller asks again
}

func dial(ctx context.Context, cfg *tls.Config, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: handshakeTimeout}
	if cfg == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	return (&tls.Dialer{NetDialer: dialer, Config: cfg}).DialContext(ctx, "tcp", address)
}
