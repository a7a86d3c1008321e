package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/banyanhq/banyan/topology"
)

// grpcCall is a method and its message: JSON that is turned into protobuf by the method's descriptor, or bytes as they are.
// What it builds is the message as bytes, without its prefix.
type grpcCall struct {
	path     string
	message  template
	messages int
	input    protoreflect.MessageDescriptor // nil: the message is bytes
	output   protoreflect.MessageDescriptor // nil: answers are looked at as bytes
	fixed    []byte                         // the message, where nothing in it changes; not nil
	headers  []grpcHeader
}

type grpcHeader struct{ name, value string }

var _ call = (*grpcCall)(nil)

func (c *compiler) compileGRPC(s *topology.Step, sc *scope, to *target) (*grpcCall, error) {
	g := s.GRPC
	name := strings.TrimPrefix(g.Method, "/")
	service, method, ok := strings.Cut(name, "/")
	if !ok || service == "" || method == "" || strings.ContainsAny(name, " \r\n?#") {
		return nil, fmt.Errorf("grpc: method %q: want SERVICE/METHOD, such as shop.Catalog/Get", g.Method)
	}
	out := &grpcCall{path: "/" + name, messages: max(g.Messages, 1)}
	for _, k := range sortedKeys(s.Headers) {
		key := strings.ToLower(k)
		if !isToken(key) || slices.Contains([]string{"te", "content-type", "host", "connection"}, key) || strings.HasPrefix(key, "grpc-") || strings.Contains(s.Headers[k], "${") {
			return nil, fmt.Errorf("header %q: not one that a gRPC step may set, or one with a variable", k)
		}
		out.headers = append(out.headers, grpcHeader{canonical(key), s.Headers[k]})
	}
	switch {
	case g.Hex != "":
		raw, err := unhex(g.Hex)
		if err != nil {
			return nil, fmt.Errorf("grpc: %w", err)
		}
		out.message = template{{literal: string(raw)}}
	case s.Body != "":
		var err error
		if out.message, err = c.payload(s, sc); err != nil {
			return nil, err
		}
	default:
		descriptor, err := c.method(to, g, service, method)
		if err != nil {
			return nil, fmt.Errorf("grpc: %s: %w", name, err)
		}
		out.input, out.output = descriptor.Input(), descriptor.Output()
		if s.JSON == nil {
			out.message = template{{literal: "{}"}}
		} else if out.message, err = c.payload(s, sc); err != nil {
			return nil, err
		}
	}
	if out.message.fixed() {
		text, _ := out.message.append(nil, nil)
		raw, err := out.encode(text)
		if err != nil {
			return nil, fmt.Errorf("grpc: the message of %s: %w", name, err)
		}
		out.fixed = append([]byte{}, raw...)
	}
	return out, nil
}

func (c *grpcCall) encode(text []byte) ([]byte, error) {
	if c.input == nil {
		return text, nil
	}
	m := dynamicpb.NewMessage(c.input)
	if err := protojson.Unmarshal(text, m); err != nil {
		return nil, err
	}
	return proto.Marshal(m)
}

func (c *grpcCall) build(dst []byte, v *values) ([]byte, bool) {
	if c.fixed != nil {
		return append(dst, c.fixed...), true
	}
	text, ok := c.message.append(dst, v)
	if !ok || c.input == nil {
		return text, ok
	}
	raw, err := c.encode(text)
	if err != nil { // a value that does not fit the field
		return dst, false
	}
	return append(dst[:0], raw...), true
}

// grpcCaller speaks gRPC over HTTP/2 (the protocol's own document, PROTOCOL-HTTP2).
type grpcCaller struct {
	target *target
	link   *link
}

func (c *grpcCaller) close() {} // the connection is not its own

// do calls the method: all messages, then the end of the client's half, then the answers until the trailers. The body is
// the answers, as JSON where the descriptor is known, each on a line of its own.
func (c *grpcCaller) do(ctx context.Context, x *exchange) error {
	g := x.call.(*grpcCall)
	x.connected, x.reconnects, x.bytesIn, x.body, x.head = 0, 0, 0, x.body[:0], head{}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	one := appendMessage(make([]byte, 0, len(x.request)+5), x.request)
	body := bytes.Repeat(one, g.messages)
	resp, err := c.link.roundTrip(ctx, x, func() (*http.Request, error) {
		return c.request(ctx, g.path, g.headers, body, x.timeout), nil
	})
	if err != nil {
		return http2Error(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc") {
		return malformed("status %d, content type %.60q: not gRPC", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	for {
		raw, err := readMessage(x, resp.Body, c.target.to.maxBody)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return http2Error(ctx, err)
		}
		if x.capture && len(x.body) < maxCapture {
			if x.body, err = g.decode(x.body, raw); err != nil {
				return malformed("the answer: %v", err)
			}
		}
	}
	return grpcStatus(resp)
}

func (c *grpcCaller) request(ctx context.Context, path string, headers []grpcHeader, body []byte, timeout time.Duration) *http.Request {
	scheme := "http"
	if c.target.to.tls != nil {
		scheme = "https"
	}
	h := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"banyan-load"},
		"Grpc-Timeout": {strconv.FormatInt(max(timeout.Milliseconds(), 1), 10) + "m"}}
	for _, x := range headers {
		h[x.name] = append(h[x.name], x.value)
	}
	req := &http.Request{Method: http.MethodPost, URL: &url.URL{Scheme: scheme, Host: c.target.host, Path: path}, Header: h,
		Host: c.target.host, ProtoMajor: 2, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body))}
	return req.WithContext(ctx)
}

// appendMessage writes a message with its prefix: not compressed, its length.
func appendMessage(dst, message []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(len(message)))
	return append(dst, message...)
}

// readMessage reads one message of an answer; io.EOF at its end.
func readMessage(x *exchange, from io.Reader, limit int64) ([]byte, error) {
	var prefix [5]byte
	if _, err := io.ReadFull(from, prefix[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(prefix[1:]))
	if prefix[0] != 0 {
		return nil, malformed("a compressed message, which was not asked for")
	}
	if x.bytesIn += n + 5; x.bytesIn > limit {
		return nil, errTooLarge
	}
	raw, err := io.ReadAll(io.LimitReader(from, n)) // grows with what comes, not with what is announced
	if err == nil && int64(len(raw)) < n {
		err = io.ErrUnexpectedEOF
	}
	return raw, err
}

// decode appends an answer to what is looked at.
func (c *grpcCall) decode(dst, raw []byte) ([]byte, error) {
	if len(dst) > 0 {
		dst = append(dst, '\n')
	}
	if c.output == nil {
		return append(dst, raw...), nil
	}
	m := dynamicpb.NewMessage(c.output)
	if err := proto.Unmarshal(raw, m); err != nil {
		return dst, err
	}
	return protojson.MarshalOptions{UseProtoNames: true}.MarshalAppend(dst, m)
}

// grpcCodes are the names of the status codes.
var grpcCodes = []string{"ok", "cancelled", "unknown", "invalid argument", "deadline exceeded", "not found", "already exists",
	"permission denied", "resource exhausted", "failed precondition", "aborted", "out of range", "unimplemented", "internal",
	"unavailable", "data loss", "unauthenticated"}

// grpcStatus is the status in the trailers, or in the headers of an answer without messages.
func grpcStatus(resp *http.Response) error {
	text, message := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if text == "" {
		text, message = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	code, err := strconv.Atoi(text)
	if err != nil || code < 0 || code >= len(grpcCodes) {
		return malformed("grpc-status %.20q", text)
	}
	if code == 0 {
		return nil
	}
	return &failed{Kind("grpc " + grpcCodes[code]), message}
}
