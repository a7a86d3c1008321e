package traces

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	jaeger "github.com/jaegertracing/jaeger/model/json"
)

// asJaeger reads an answer into Jaeger's own types, and takes no field that they do not have.
func asJaeger[T any](t *testing.T, srv *httptest.Server, path string) (data T) {
	t.Helper()
	resp, err := srv.Client().Get(srv.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct { // structuredResponse of Jaeger's cmd/query/app, which it does not export
		Data                 json.RawMessage
		Total, Limit, Offset int
		Errors               []struct {
			Code    int
			Msg     string
			TraceID jaeger.TraceID
		}
	}
	read := json.NewDecoder(resp.Body)
	read.DisallowUnknownFields()
	if err := read.Decode(&out); err != nil || resp.StatusCode != 200 || len(out.Errors) > 0 {
		t.Fatalf("%s: %d %v %v", path, resp.StatusCode, out.Errors, err)
	}
	strict := json.NewDecoder(bytes.NewReader(out.Data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&data); err != nil {
		t.Fatalf("%s: %v in %.500s", path, err, out.Data)
	}
	if string(out.Data) == "null" {
		t.Errorf("%s: Jaeger's data is a list, also where it is empty", path)
	}
	return data
}

// Jaeger's own model of what its query API answers (model/json of v1.62; newer versions keep theirs to themselves) takes all that is answered here, and
// what it reads hangs together as Jaeger's page needs it.
func TestJaegersModelReadsTheAnswers(t *testing.T) {
	begin := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	fs := vfs.NewMem()
	tr, stop := running(t, Config{FS: fs, Wait: time.Hour, Sampling: Sampling{Share: 1}})
	shopTraces(t, tr, begin, 20)
	stop()
	tr, _ = running(t, Config{FS: fs})
	srv := httptest.NewServer(tr.Jaeger())
	defer srv.Close()

	if got := asJaeger[[]string](t, srv, "/api/services"); !slices.Equal(got, []string{"catalog", "db", "web"}) {
		t.Errorf("services: %v", got)
	}
	if got := asJaeger[[]string](t, srv, "/api/services/web/operations"); !slices.Equal(got, []string{"GET /", "call"}) {
		t.Errorf("operations by name: %v", got)
	}
	if got := asJaeger[[]jaeger.Operation](t, srv, "/api/operations?service=web"); !slices.Equal(got, []jaeger.Operation{{Name: "GET /", SpanKind: "server"}, {Name: "call", SpanKind: "client"}}) {
		t.Errorf("operations: %v", got)
	}
	if got := asJaeger[[]jaeger.DependencyLink](t, srv, "/api/dependencies?lookback=3600000&endTs="+fmt.Sprint(time.Now().UnixMilli())); !slices.Equal(got,
		[]jaeger.DependencyLink{{Parent: "catalog", Child: "db", CallCount: 20}, {Parent: "web", Child: "catalog", CallCount: 20}}) {
		t.Errorf("dependencies: %v", got)
	}
	for _, path := range []string{"/api/services/none/operations", "/api/operations?service=none"} {
		if got := asJaeger[[]any](t, srv, path); len(got) != 0 {
			t.Errorf("%s: %v", path, got)
		}
	}
	if got := asJaeger[[]jaeger.DependencyLink](t, srv, "/api/dependencies?service=none"); len(got) != 0 {
		t.Errorf("dependencies of no service: %v", got)
	}

	found := asJaeger[[]jaeger.Trace](t, srv, fmt.Sprintf("/api/traces?service=web&operation=call&limit=100&lookback=1h&start=%d&end=%d&minDuration=1ms&maxDuration=1s",
		begin.Add(-time.Hour).UnixMicro(), time.Now().UnixMicro()))
	if len(found) != 20 {
		t.Fatalf("%d traces", len(found))
	}
	for _, trace := range found {
		hangsTogether(t, trace, begin)
		if alone := asJaeger[[]jaeger.Trace](t, srv, "/api/traces/"+string(trace.TraceID)); len(alone) != 1 || fmt.Sprint(alone[0]) != fmt.Sprint(trace) {
			t.Errorf("alone the trace is %v, among others %v", alone, trace)
		}
	}
}

// hangsTogether checks one of the traces of shopTraces: four spans of three services, each but the first the child of one that there is.
func hangsTogether(t *testing.T, trace jaeger.Trace, begin time.Time) {
	t.Helper()
	known := map[jaeger.SpanID]bool{}
	for _, s := range trace.Spans {
		known[s.SpanID] = true
	}
	if len(known) != 4 || len(trace.Processes) != 3 {
		t.Errorf("%d spans, %d processes", len(known), len(trace.Processes))
	}
	roots := 0
	for _, s := range trace.Spans {
		if len(s.References) == 0 {
			roots++
		}
		for _, r := range s.References {
			if r.RefType != jaeger.ChildOf || r.TraceID != trace.TraceID || !known[r.SpanID] {
				t.Errorf("%s refers to %+v", s.OperationName, r)
			}
		}
		p, ok := trace.Processes[s.ProcessID]
		if !ok || p.ServiceName == "" || !slices.Contains(p.Tags, jaeger.KeyValue{Key: "host.name", Type: jaeger.StringType, Value: "h"}) {
			t.Errorf("%s is of process %q: %+v", s.OperationName, s.ProcessID, p)
		}
		if at := time.UnixMicro(int64(s.StartTime)); s.TraceID != trace.TraceID || at.Before(begin) || s.Duration == 0 || s.Duration > 100_000 {
			t.Errorf("%+v", s)
		}
		for _, tag := range s.Tags {
			_, text := tag.Value.(string)
			_, truth := tag.Value.(bool)
			if tag.Type == jaeger.StringType && !text || tag.Type == jaeger.BoolType && !truth || !text && !truth {
				t.Errorf("%s: a tag is not of the type that it says: %+v", s.OperationName, tag)
			}
		}
		for _, l := range s.Logs {
			if int64(l.Timestamp) < begin.UnixMicro() || len(l.Fields) == 0 || l.Fields[0].Key != "event" {
				t.Errorf("%s: %+v", s.OperationName, l)
			}
		}
	}
	if roots != 1 {
		t.Errorf("%d spans refer to no other", roots)
	}
}
