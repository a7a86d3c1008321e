package otlp

import (
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// taken remembers what a receiver handed on.
type taken struct {
	spans   []*tracepb.Span
	bodies  []string
	bad     int
	failing error
}

func (k *taken) receiver() *Receiver {
	return New(Receiver{
		Logs: func(_ context.Context, all []*logspb.ResourceLogs) (int, string, error) {
			for _, rl := range all {
				for _, sl := range rl.ScopeLogs {
					for _, r := range sl.LogRecords {
						k.bodies = append(k.bodies, Text(r.Body)+" "+hex.EncodeToString(r.TraceId))
					}
				}
			}
			return 0, "", k.failing
		},
		Traces: func(_ context.Context, all []*tracepb.ResourceSpans) (int, string, error) {
			for _, rs := range all {
				for _, ss := range rs.ScopeSpans {
					k.spans = append(k.spans, ss.Spans...)
				}
			}
			return 1, "one was bad", k.failing
		},
		BadRequest: func() { k.bad++ },
	})
}

func post(t *testing.T, h http.Handler, path, kind, encoding string, body []byte) *http.Response {
	t.Helper()
	req := httptest.NewRequest("POST", path, bytes.NewReader(body))
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Content-Encoding", encoding)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Result()
}

const exampleTrace = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},"scopeSpans":[{"scope":{"name":"x"},"spans":[
{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173","name":"I'm a server span","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,"unknownField":1}]}]}]}`

func TestHTTP(t *testing.T) {
	k := &taken{}
	mux := http.NewServeMux()
	k.receiver().Mount(mux)
	resp := post(t, mux, "/v1/traces", "application/json", "", []byte(exampleTrace))
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !strings.Contains(string(text), "one was bad") || len(k.spans) != 1 || hex.EncodeToString(k.spans[0].TraceId) != "5b8efff798038103d269b633813fc60c" ||
		hex.EncodeToString(k.spans[0].SpanId) != "eee19b7ec3c1b174" || hex.EncodeToString(k.spans[0].ParentSpanId) != "eee19b7ec3c1b173" {
		t.Fatalf("%d %s %v", resp.StatusCode, text, k.spans)
	}
	in := &collogs.ExportLogsServiceRequest{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{{
		Body: &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: []*commonpb.KeyValue{{Key: "a", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 7}}}}}}}}}}}}}}
	data, _ := proto.Marshal(in)
	var z bytes.Buffer
	w := stdgzip.NewWriter(&z)
	w.Write(data)
	w.Close()
	if resp := post(t, mux, "/v1/logs", "application/x-protobuf", "gzip", z.Bytes()); resp.StatusCode != 200 || len(k.bodies) != 1 || k.bodies[0] != `{"a":7} ` {
		t.Fatalf("%d %q", resp.StatusCode, k.bodies)
	}
	z.Reset()
	w = stdgzip.NewWriter(&z)
	w.Write(make([]byte, MaxBody+1))
	w.Close()
	for _, c := range []struct {
		kind, encoding, body string
		code                 int
	}{
		{"application/x-protobuf", "", "\xff\xff nonsense", 400}, {"application/json", "", "{", 400}, {"text/plain", "", "x", 415}, {"application/json", "br", "{}", 415},
		{"application/x-protobuf", "gzip", "not gzip", 400}, {"application/x-protobuf", "gzip", z.String(), 413},
	} {
		if resp := post(t, mux, "/v1/logs", c.kind, c.encoding, []byte(c.body)); resp.StatusCode != c.code {
			t.Errorf("%s %.20q: %d, want %d", c.kind, c.body, resp.StatusCode, c.code)
		}
	}
	if k.bad != 6 {
		t.Errorf("%d bad requests were counted", k.bad)
	}
	k.failing = errors.New("the disk is full")
	if resp := post(t, mux, "/v1/logs", "application/json", "", []byte("{}")); resp.StatusCode != 503 {
		t.Errorf("a failure is %d", resp.StatusCode)
	}
	k.failing = fmt.Errorf("no: %w", ErrInvalid)
	if resp := post(t, mux, "/v1/logs", "application/json", "", []byte("{}")); resp.StatusCode != 400 {
		t.Errorf("what is invalid is %d", resp.StatusCode)
	}
}

func TestGRPC(t *testing.T) {
	k := &taken{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	k.receiver().Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		<-served
	}()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	out, err := coltrace.NewTraceServiceClient(conn).Export(t.Context(), &coltrace.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: "x"}}}}}}}, grpc.UseCompressor(gzip.Name))
	if err != nil || len(k.spans) != 1 || out.GetPartialSuccess().GetRejectedSpans() != 1 {
		t.Fatalf("%v %v %v", out, err, k.spans)
	}
	k.failing = errors.New("the disk is full")
	if _, err := collogs.NewLogsServiceClient(conn).Export(t.Context(), &collogs.ExportLogsServiceRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a failure is %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(exampleTrace), true)
	f.Fuzz(func(t *testing.T, data []byte, json bool) {
		_ = decode(data, json, &coltrace.ExportTraceServiceRequest{})
		_ = decode(data, json, &collogs.ExportLogsServiceRequest{})
	})
}
