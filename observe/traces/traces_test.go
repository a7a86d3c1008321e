package traces

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// running opens traces in memory and runs them until stop is called; by then all that came is decided.
func running(t testing.TB, cfg Config) (tr *Traces, stop func()) {
	t.Helper()
	cfg.Dir = "traces"
	if cfg.FS == nil {
		cfg.FS = vfs.NewMem()
	}
	tr, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return tr, stop
}

func traceID(n int) string { return fmt.Sprintf("%032x", n+1) }

// span of a trace in milliseconds since begin.
func span(trace int, id, parent, service, name string, begin time.Time, from, to int) *Span {
	return &Span{TraceID: traceID(trace), SpanID: id, Parent: parent, Service: service, Name: name, Kind: "server",
		Start: begin.Add(time.Duration(from) * time.Millisecond).UnixNano(), Duration: int64(time.Duration(to-from) * time.Millisecond)}
}

func TestCriticalPath(t *testing.T) {
	begin := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		spans []*Span
		want  string
	}{
		"one": {[]*Span{span(0, "a", "", "w", "r", begin, 0, 10)}, "a 0-10"},
		"one after the other": {[]*Span{span(0, "a", "", "w", "r", begin, 0, 10), span(0, "b", "a", "x", "r", begin, 1, 4), span(0, "c", "a", "x", "r", begin, 5, 9)},
			"a 0-1, b 1-4, a 4-5, c 5-9, a 9-10"},
		"side by side: the one that ends last": {[]*Span{span(0, "a", "", "w", "r", begin, 0, 10), span(0, "b", "a", "x", "r", begin, 1, 4), span(0, "c", "a", "x", "r", begin, 1, 9)},
			"a 0-1, c 1-9, a 9-10"},
		"deep": {[]*Span{span(0, "a", "", "w", "r", begin, 0, 10), span(0, "b", "a", "x", "r", begin, 2, 8), span(0, "c", "b", "y", "r", begin, 3, 5)},
			"a 0-2, b 2-3, c 3-5, b 5-8, a 8-10"},
		"a child that outlives its parent": {[]*Span{span(0, "a", "", "w", "r", begin, 0, 10), span(0, "b", "a", "x", "r", begin, 4, 20)}, "a 0-4, b 4-10"},
		"a child from before its parent":   {[]*Span{span(0, "a", "", "w", "r", begin, 5, 10), span(0, "b", "a", "x", "r", begin, 6, 8), span(0, "c", "a", "x", "r", begin, 0, 2)}, "a 5-6, b 6-8, a 8-10"},
	} {
		var got []string
		for _, s := range CriticalPath(c.spans) {
			got = append(got, fmt.Sprintf("%s %d-%d", s.Span.SpanID, (s.From-begin.UnixNano())/1e6, (s.To-begin.UnixNano())/1e6))
		}
		if g := strings.Join(got, ", "); g != c.want {
			t.Errorf("%s: %s, want %s", name, g, c.want)
		}
	}
}

// TestCriticalPathCoversTheRoot takes traces at random, with circles and with spans that lie anywhere.
func TestCriticalPathCoversTheRoot(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	begin := time.Unix(1000, 0)
	for range 3000 {
		spans := []*Span{span(0, "s0", "", "w", "r", begin, 0, 1000)}
		for i := 1; i < 1+r.IntN(12); i++ {
			from := r.IntN(1200) - 100
			spans = append(spans, span(0, fmt.Sprint("s", i), fmt.Sprint("s", r.IntN(12)), "w", "r", begin, from, from+r.IntN(500)))
		}
		at := rootOf(spans).Start
		for _, s := range CriticalPath(spans) {
			if s.From != at || s.To <= s.From || s.From < s.Span.Start || s.To > s.Span.End() {
				t.Fatalf("a step from %d to %d of a span from %d to %d, where %d is expected", s.From, s.To, s.Span.Start, s.Span.End(), at)
			}
			at = s.To
		}
		if at != rootOf(spans).End() {
			t.Fatalf("the path ends at %d, the root at %d", at, rootOf(spans).End())
		}
	}
}

func TestSampling(t *testing.T) {
	now := time.Unix(1000, 0)
	r := rand.New(rand.NewPCG(1, 1))
	s := newSampler(Sampling{Share: 0.1, Few: -1, Rare: 5})
	kept := map[string]int{}
	weight := 0.0
	const n = 20000
	for i := range n {
		took := 10*time.Millisecond + time.Duration(r.IntN(1000))*time.Microsecond
		if i%200 == 199 {
			took = time.Second
		}
		reason, w := s.decide(now.Add(time.Duration(i)*time.Millisecond), traceID(i), "web GET /", took, i%1000 == 999)
		kept[reason]++
		weight += w
		if i%1000 == 999 && reason != KeptError || i%1000 != 999 && i > 1000 && took == time.Second && reason != KeptSlow {
			t.Fatalf("trace %d, %v: kept for %q", i, took, reason)
		}
	}
	if kept[KeptRare] != 5 || kept[KeptError] != 20 || kept[KeptSlow] < 75 || kept[KeptSlow] > 500 || kept[KeptRandom] < 1700 || kept[KeptRandom] > 2300 {
		t.Errorf("kept %v", kept)
	}
	if weight < 0.9*n || weight > 1.1*n {
		t.Errorf("the weights of what is kept add up to %.0f of %d", weight, n)
	}
	if reason, _ := s.decide(now.Add(time.Minute), traceID(1), "web GET /rare", 1, false); reason != KeptRare {
		t.Errorf("a rare route: %q", reason)
	}
	s.cfg.KeepAll = func() string { return "fault: kill" }
	if reason, _ := s.decide(now.Add(time.Minute), traceID(2), "web GET /", 1, false); reason != "fault: kill" {
		t.Errorf("during a fault: %q", reason)
	}
	few := newSampler(Sampling{Share: -1, Few: 10, Rare: -1})
	n2 := 0
	for i := range 1000 {
		if reason, _ := few.decide(now.Add(time.Duration(i)*10*time.Millisecond), traceID(i), "r", 1, false); reason == KeptFew {
			n2++
		}
	}
	if n2 < 95 || n2 > 115 {
		t.Errorf("%d traces of ten seconds were kept, with 10 in a second to be kept", n2)
	}
}

// TestDecidedTogether has spans of a trace come apart in time: those within the wait, and late ones, go the same way.
func TestDecidedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, stop := running(t, Config{Sampling: Sampling{Share: -1, Few: -1, Rare: -1}})
		begin := time.Now()
		for i := range 200 {
			s := span(i, "a", "b", "x", "child", begin, 1, 2)
			s.Error = i%10 == 0
			tr.Add(s)
		}
		time.Sleep(5 * time.Second)
		for i := range 200 {
			tr.Add(span(i, "b", "", "web", "GET /", begin, 0, 3))
		}
		time.Sleep(8 * time.Second)
		for i := range 200 {
			tr.Add(span(i, "c", "b", "y", "late", begin, 0, 1))
		}
		stop()
		found, err := tr.FindSpans(t.Context(), Search{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 20 {
			t.Errorf("%d traces are kept, want the 20 that failed", len(found))
		}
		for _, spans := range found {
			if len(spans) != 3 {
				t.Errorf("a trace has %d spans, want 3", len(spans))
			}
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	tr, stop := running(t, Config{Wait: time.Hour, MaxPending: 1 << 20, Sampling: Sampling{Few: 1e9}})
	begin := time.Now()
	for i := range 20000 {
		tr.Add(span(i, "a", "", "web", "GET /", begin, 0, 3))
		tr.mu.Lock()
		bytes := tr.bytes
		tr.mu.Unlock()
		if bytes > 1<<20 {
			t.Fatalf("%d bytes wait", bytes)
		}
	}
	for range maxTraceSpans + 100 {
		tr.Add(span(99999, fmt.Sprint(rand.Uint64()), "", "web", "GET /", begin, 0, 3))
	}
	stop()
	if tr.counters.early == 0 {
		t.Error("nothing was decided early")
	}
}

func attr(k, v string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
}

// shopTraces exports traces of three services: web calls catalog, and catalog calls db; every tenth fails in db.
func shopTraces(t *testing.T, tr *Traces, begin time.Time, n int) {
	t.Helper()
	for i := range n {
		id := make([]byte, 16)
		id[0], id[14], id[15] = 7, byte(i>>8), byte(i)
		mk := func(span, parent byte, kind tracepb.Span_SpanKind, name string, from, to int) *tracepb.Span {
			s := &tracepb.Span{TraceId: id, SpanId: []byte{0, 0, 0, 0, 0, 0, 0, span}, Kind: kind, Name: name, Attributes: []*commonpb.KeyValue{attr("http.route", "/x"), attr("n", fmt.Sprint(i))},
				StartTimeUnixNano: uint64(begin.Add(time.Duration(from) * time.Millisecond).UnixNano()), EndTimeUnixNano: uint64(begin.Add(time.Duration(to) * time.Millisecond).UnixNano()),
				Events: []*tracepb.Span_Event{{Name: "event", TimeUnixNano: uint64(begin.UnixNano())}}}
			if parent > 0 {
				s.ParentSpanId = []byte{0, 0, 0, 0, 0, 0, 0, parent}
			}
			return s
		}
		db := mk(4, 3, tracepb.Span_SPAN_KIND_SERVER, "SELECT", 20, 80)
		if i%10 == 0 {
			db.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "deadlock"}
		}
		resource := func(service string, spans ...*tracepb.Span) *tracepb.ResourceSpans {
			return &tracepb.ResourceSpans{Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{attr("service.name", service), attr("host.name", "h")}}, ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}}}
		}
		rejected, _, err := tr.Export(t.Context(), []*tracepb.ResourceSpans{
			resource("web", mk(1, 0, tracepb.Span_SPAN_KIND_SERVER, "GET /", 0, 100), mk(2, 1, tracepb.Span_SPAN_KIND_CLIENT, "call", 5, 95)),
			resource("catalog", mk(3, 2, tracepb.Span_SPAN_KIND_SERVER, "list", 10, 90)), resource("db", db, &tracepb.Span{Name: "no ids"}),
		})
		if err != nil || rejected != 1 {
			t.Fatalf("%d rejected, %v", rejected, err)
		}
	}
}

func TestJaeger(t *testing.T) {
	begin := time.Now().Add(-time.Minute)
	fs := vfs.NewMem()
	tr, stop := running(t, Config{FS: fs, Wait: time.Hour, Sampling: Sampling{Share: 1}})
	shopTraces(t, tr, begin, 50)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(tr.Collector())
	stop()
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP traces_span_metrics_calls_total Spans.
# TYPE traces_span_metrics_calls_total counter
traces_span_metrics_calls_total{service_name="catalog",span_kind="server",span_name="list",status_code="STATUS_CODE_UNSET"} 50
traces_span_metrics_calls_total{service_name="db",span_kind="server",span_name="SELECT",status_code="STATUS_CODE_ERROR"} 5
traces_span_metrics_calls_total{service_name="db",span_kind="server",span_name="SELECT",status_code="STATUS_CODE_UNSET"} 45
traces_span_metrics_calls_total{service_name="web",span_kind="client",span_name="call",status_code="STATUS_CODE_UNSET"} 50
traces_span_metrics_calls_total{service_name="web",span_kind="server",span_name="GET /",status_code="STATUS_CODE_UNSET"} 50
# HELP traces_service_graph_request_failed_total Calls from service to service that failed.
# TYPE traces_service_graph_request_failed_total counter
traces_service_graph_request_failed_total{client="catalog",server="db"} 5
traces_service_graph_request_failed_total{client="web",server="catalog"} 0
`), "traces_span_metrics_calls_total", "traces_service_graph_request_failed_total"); err != nil {
		t.Error(err)
	}
	tr, _ = running(t, Config{FS: fs}) // as it was left
	srv := httptest.NewServer(tr.Jaeger())
	defer srv.Close()
	get := func(path string) (int, map[string]any) {
		t.Helper()
		resp, err := srv.Client().Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out map[string]any
		text, _ := io.ReadAll(resp.Body)
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%s: %s", path, text)
		}
		return resp.StatusCode, out
	}
	list := func(v any) []any { l, _ := v.([]any); return l }
	for path, want := range map[string]string{
		"/api/services":                               "[catalog db web]",
		"/api/services/web/operations":                "[GET / call]",
		"/api/operations?service=web&spanKind=client": "[map[name:call spanKind:client]]",
		"/api/dependencies?endTs=" + fmt.Sprint(time.Now().UnixMilli()) + "&lookback=3600000": "[map[callCount:50 child:db parent:catalog] map[callCount:50 child:catalog parent:web]]",
	} {
		if _, out := get(path); fmt.Sprint(out["data"]) != want {
			t.Errorf("%s: %v, want %s", path, out["data"], want)
		}
	}
	for path, want := range map[string]int{
		"/api/traces?service=web&limit=100":                                    50,
		"/api/traces?service=web&limit=7":                                      7,
		"/api/traces?service=db&limit=100&tags=%7B%22error%22%3A%22true%22%7D": 5,
		"/api/traces?service=db&limit=100&tag=n:17":                            1,
		"/api/traces?service=web&operation=call&limit=100":                     50,
		"/api/traces?service=web&minDuration=99ms&limit=100":                   50,
		"/api/traces?service=web&minDuration=101ms&limit=100":                  0,
		"/api/traces?service=none":                                             0,
		fmt.Sprintf("/api/traces?service=web&start=%d&end=%d&limit=100", begin.Add(time.Second).UnixMicro(), time.Now().UnixMicro()): 0,
	} {
		if code, out := get(path); len(list(out["data"])) != want || code != 200 {
			t.Errorf("%s: %d, %d traces, want %d", path, code, len(list(out["data"])), want)
		}
	}
	_, out := get("/api/traces/7000000000000000000000000000014")
	trace := list(out["data"])[0].(map[string]any)
	spans := list(trace["spans"])
	if len(spans) != 4 || len(trace["processes"].(map[string]any)) != 3 {
		t.Fatalf("%v", trace)
	}
	db := spans[3].(map[string]any)
	if db["operationName"] != "SELECT" || db["duration"] != 60000.0 || list(db["references"])[0].(map[string]any)["spanID"] != "0000000000000003" || len(list(db["logs"])) != 1 ||
		!strings.Contains(fmt.Sprint(db["tags"]), "map[key:error type:bool value:true]") || !strings.Contains(fmt.Sprint(db["tags"]), "deadlock") {
		t.Errorf("%v", db)
	}
	for path, code := range map[string]int{"/api/traces/123": 404, "/api/traces": 400, "/api/traces?service=a&start=x": 400, "/api/traces?service=a&tags=x": 400, "/api/dependencies?endTs=x": 400} {
		if got, out := get(path); got != code || out["errors"] == nil {
			t.Errorf("%s: %d %v, want %d", path, got, out, code)
		}
	}
	sum, err := tr.Paths(t.Context(), "web", "GET /", begin.Add(-time.Minute), time.Now())
	if err != nil || sum.Traces != 50 || sum.Mean != 100*time.Millisecond || sum.Shares[0].Name != "SELECT" || sum.Shares[0].Mean != 60*time.Millisecond || sum.Shares[0].P99 != 60*time.Millisecond {
		t.Errorf("%+v, %v", sum, err)
	}
}

// TestOuterCallsAreJoined has a gateway tell of calls, whose ids no span of a service knows.
func TestOuterCallsAreJoined(t *testing.T) {
	fs := vfs.NewMem()
	tr, stop := running(t, Config{FS: fs, Wait: time.Hour, Sampling: Sampling{Share: 1}})
	begin := time.Now().Add(-time.Minute)
	outer := func(id, from, to string, a, b int) Outer {
		return Outer{span(1, id, "", Gateway, from+" -> "+to, begin, a, b), from, to}
	}
	tr.AddOuter(outer("g2", "web", "api", 10, 50), outer("g1", "", "web", 0, 100))
	tr.Add(span(1, "w", "unknown1", "web", "GET /", begin, 1, 99), span(1, "c", "w", "web", "call", begin, 9, 51), span(1, "a", "unknown2", "api", "list", begin, 11, 49))
	stop()
	tr, _ = running(t, Config{FS: fs})
	spans, err := tr.Trace(t.Context(), traceID(1))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range spans {
		got = append(got, fmt.Sprintf("%s<%s %s", s.SpanID, s.Parent, s.Caller))
	}
	slices.Sort(got)
	if want := "a<g2 web, c<w , g1< , g2<c , w<g1 gateway"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
}

func TestSummaryWeighs(t *testing.T) {
	begin := time.Unix(1000, 0)
	var all []traced
	for i := range 10 { // one in twenty of fast ones, and every slow one
		s := span(i, "a", "", "web", "GET /", begin, 0, 10)
		all = append(all, traced{[]*Span{s}, s, 20})
	}
	slow := span(99, "a", "", "web", "GET /", begin, 0, 1000)
	all = append(all, traced{[]*Span{slow, span(99, "b", "a", "db", "wait", begin, 100, 900)}, slow, 1})
	sum := summarize("web", all)
	if mean := (200*10 + 1000) * time.Millisecond / 201; sum.Mean < mean-time.Millisecond || sum.Mean > mean+time.Millisecond || int(sum.Of) != 201 {
		t.Errorf("%+v, want a mean of %v", sum, mean)
	}
	if sum.P99 != time.Second || sum.Shares[1].Name != "wait" || sum.Shares[1].P99 != 800*time.Millisecond {
		t.Errorf("%+v", sum)
	}
}
