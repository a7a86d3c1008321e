// Package otlp receives OpenTelemetry's protocol: logs and traces, over HTTP (protobuf and JSON) and gRPC.
//
// What comes in is decoded, bounded and handed on; who takes it answers when it is stored, and only then the sender is answered. An error of
// whoever takes it is answered with 503 or UNAVAILABLE, so that senders try again; what cannot be read with 400 or INVALID_ARGUMENT, so that they
// do not.
//
// It owns no goroutines: those are the HTTP and gRPC servers'.
package otlp

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // that senders may use
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// MaxBody is how many bytes a request may have, unpacked.
const MaxBody = 16 << 20

const maxAtOnce = 32 // requests that are decoded and stored

// Receiver takes what comes in.
type Receiver struct {
	// Logs stores log records. It returns how many of them it did not take for good, and why.
	Logs func(context.Context, []*logspb.ResourceLogs) (rejected int, reason string, err error)
	// Traces stores spans, likewise.
	Traces func(context.Context, []*tracepb.ResourceSpans) (rejected int, reason string, err error)
	// BadRequest is told of each request that could not be read. Left out: nobody.
	BadRequest func()

	gate chan struct{}
}

// New returns a receiver that is ready to be served; one of the two may be nil, and is then not served.
func New(r Receiver) *Receiver {
	r.gate = make(chan struct{}, maxAtOnce)
	if r.BadRequest == nil {
		r.BadRequest = func() {}
	}
	return &r
}

func (r *Receiver) enter(ctx context.Context) error {
	select {
	case r.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Receiver) leave() { <-r.gate }

// Mount serves POST /v1/logs and /v1/traces on a mux.
func (r *Receiver) Mount(mux *http.ServeMux) {
	if r.Logs != nil {
		mux.HandleFunc("POST /v1/logs", func(w http.ResponseWriter, req *http.Request) {
			in := &collogs.ExportLogsServiceRequest{}
			r.serve(w, req, in, func(ctx context.Context) (proto.Message, error) { return r.logs(ctx, in) })
		})
	}
	if r.Traces != nil {
		mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, req *http.Request) {
			in := &coltrace.ExportTraceServiceRequest{}
			r.serve(w, req, in, func(ctx context.Context) (proto.Message, error) { return r.traces(ctx, in) })
		})
	}
}

// Register serves the same on a gRPC server.
func (r *Receiver) Register(s grpc.ServiceRegistrar) {
	if r.Logs != nil {
		collogs.RegisterLogsServiceServer(s, logsServer{r: r})
	}
	if r.Traces != nil {
		coltrace.RegisterTraceServiceServer(s, tracesServer{r: r})
	}
}

type logsServer struct {
	collogs.UnimplementedLogsServiceServer
	r *Receiver
}

func (s logsServer) Export(ctx context.Context, in *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	if err := s.r.enter(ctx); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	defer s.r.leave()
	out, err := s.r.logs(ctx, in)
	return out, grpcError(err)
}

type tracesServer struct {
	coltrace.UnimplementedTraceServiceServer
	r *Receiver
}

func (s tracesServer) Export(ctx context.Context, in *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	if err := s.r.enter(ctx); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	defer s.r.leave()
	out, err := s.r.traces(ctx, in)
	return out, grpcError(err)
}

func grpcError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}

// ErrInvalid marks what sending again would not help.
var ErrInvalid = errors.New("invalid data")

func (r *Receiver) logs(ctx context.Context, in *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	rejected, reason, err := r.Logs(ctx, in.ResourceLogs)
	if err != nil {
		return nil, err
	}
	out := &collogs.ExportLogsServiceResponse{}
	if rejected > 0 {
		out.PartialSuccess = &collogs.ExportLogsPartialSuccess{RejectedLogRecords: int64(rejected), ErrorMessage: reason}
	}
	return out, nil
}

func (r *Receiver) traces(ctx context.Context, in *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	rejected, reason, err := r.Traces(ctx, in.ResourceSpans)
	if err != nil {
		return nil, err
	}
	out := &coltrace.ExportTraceServiceResponse{}
	if rejected > 0 {
		out.PartialSuccess = &coltrace.ExportTracePartialSuccess{RejectedSpans: int64(rejected), ErrorMessage: reason}
	}
	return out, nil
}

// serve answers a request over HTTP, in the encoding that it came in.
func (r *Receiver) serve(w http.ResponseWriter, req *http.Request, in proto.Message, handle func(context.Context) (proto.Message, error)) {
	if err := r.enter(req.Context()); err != nil {
		return
	}
	defer r.leave()
	kind, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	json := kind == "application/json"
	if !json && kind != "application/x-protobuf" {
		r.BadRequest()
		http.Error(w, "Content-Type: application/x-protobuf or application/json is expected", http.StatusUnsupportedMediaType)
		return
	}
	data, code, err := readBody(req)
	if err == nil {
		err = decode(data, json, in)
	}
	if err != nil {
		r.BadRequest()
		answer(w, json, code, status.New(codes.InvalidArgument, err.Error()).Proto())
		return
	}
	out, err := handle(req.Context())
	switch {
	case errors.Is(err, ErrInvalid):
		r.BadRequest()
		answer(w, json, http.StatusBadRequest, status.New(codes.InvalidArgument, err.Error()).Proto())
	case err != nil:
		answer(w, json, http.StatusServiceUnavailable, status.New(codes.Unavailable, err.Error()).Proto())
	default:
		answer(w, json, http.StatusOK, out)
	}
}

func readBody(req *http.Request) (data []byte, code int, err error) {
	var from io.Reader = req.Body
	switch req.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(req.Body)
		if err != nil {
			return nil, http.StatusBadRequest, fmt.Errorf("unpacking the request: %w", err)
		}
		from = z
	default:
		return nil, http.StatusUnsupportedMediaType, errors.New("Content-Encoding: only gzip is known")
	}
	if data, err = io.ReadAll(io.LimitReader(from, MaxBody+1)); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the request: %w", err)
	}
	if len(data) > MaxBody {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the request has more than %d bytes", MaxBody)
	}
	return data, http.StatusBadRequest, nil
}

// decode reads a message. In OTLP's JSON the ids of traces and spans are hexadecimal, where protobuf's JSON has base64: what was read as
// base64 is read again.
func decode(data []byte, json bool, in proto.Message) error {
	if !json {
		return proto.Unmarshal(data, in)
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, in); err != nil {
		return err
	}
	switch in := in.(type) {
	case *collogs.ExportLogsServiceRequest:
		for _, rl := range in.ResourceLogs {
			for _, sl := range rl.ScopeLogs {
				for _, l := range sl.LogRecords {
					l.TraceId, l.SpanId = unhex(l.TraceId), unhex(l.SpanId)
				}
			}
		}
	case *coltrace.ExportTraceServiceRequest:
		for _, rs := range in.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					s.TraceId, s.SpanId, s.ParentSpanId = unhex(s.TraceId), unhex(s.SpanId), unhex(s.ParentSpanId)
					for _, l := range s.Links {
						l.TraceId, l.SpanId = unhex(l.TraceId), unhex(l.SpanId)
					}
				}
			}
		}
	}
	return nil
}

func unhex(id []byte) []byte {
	text := base64.StdEncoding.EncodeToString(id)
	if out, err := hex.DecodeString(text); err == nil {
		return out
	}
	return id
}

func answer(w http.ResponseWriter, json bool, code int, m proto.Message) {
	var data []byte
	kind := "application/x-protobuf"
	if json {
		kind = "application/json"
		data, _ = protojson.Marshal(m) // of our own making
	} else {
		data, _ = proto.Marshal(m)
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	_, _ = w.Write(data) // the client may have gone
}
