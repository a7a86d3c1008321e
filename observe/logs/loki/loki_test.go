package loki

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golang/snappy"
	"golang.org/x/net/websocket"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func serving(t testing.TB) *httptest.Server {
	t.Helper()
	l, err := logs.Open(logs.Config{Dir: "logs", FS: vfs.NewMem(), Now: func() time.Time { return noon }, Retain: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	srv := httptest.NewServer(New(l))
	t.Cleanup(func() {
		srv.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return srv
}

func push(t testing.TB, srv *httptest.Server, kind, encoding string, body []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequest("POST", srv.URL+"/loki/api/v1/push", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Content-Encoding", encoding)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// fill pushes a line a second for ten minutes up to noon.
func fill(t testing.TB, srv *httptest.Server) {
	t.Helper()
	values := map[string][]string{}
	for i := range 600 {
		job := []string{"web", "api"}[i%2]
		line, _ := json.Marshal(fmt.Sprintf(`{"level":"%s","status":%d,"took":"%dms","http.path":"/p%d"}`, []string{"info", "error", "info", "info"}[i/2%4], 200+100*(i%4), i, i%3))
		values[job] = append(values[job], fmt.Sprintf(`["%d",%s,{"pod":"pod-%d"}]`, noon.Add(time.Duration(i-600)*time.Second).UnixNano(), line, i%5))
	}
	var streams []string
	for job, v := range values {
		streams = append(streams, fmt.Sprintf(`{"stream":{"job":%q,"env":"test"},"values":[%s]}`, job, strings.Join(v, ",")))
	}
	code, text := push(t, srv, "application/json", "", []byte(`{"streams":[`+strings.Join(streams, ",")+`]}`))
	if code != 204 {
		t.Fatalf("%d %s", code, text)
	}
}

func get(t testing.TB, srv *httptest.Server, path string, params ...string) (int, map[string]any) {
	t.Helper()
	v := url.Values{}
	for i := 0; i < len(params); i += 2 {
		v.Add(params[i], params[i+1])
	}
	resp, err := http.Get(srv.URL + "/loki/api/v1" + path + "?" + v.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	var out map[string]any
	if resp.StatusCode == 200 {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	} else {
		out = map[string]any{"error": string(text)}
	}
	return resp.StatusCode, out
}

// lines counts the lines of an answer.
func lines(out map[string]any) (n int) {
	data, _ := out["data"].(map[string]any)
	result, _ := data["result"].([]any)
	for _, s := range result {
		n += len(s.(map[string]any)["values"].([]any))
	}
	return n
}

func TestLogQueries(t *testing.T) {
	srv := serving(t)
	fill(t, srv)
	for query, want := range map[string]int{
		`{job="web"}`:                           300,
		`{job=~"w.b|api"}`:                      600,
		`{job!="web"}`:                          300,
		`{job!~"w.*", env="test"}`:              300,
		`{missing=""}`:                          600,
		`{job="web", missing="x"}`:              0,
		`{job="web"} |= "error"`:                75,
		`{job="web"} != "error"`:                225,
		`{job="web"} |~ "err.r"`:                75,
		`{job="web"} !~ "err.r" |= "p1"`:        75,
		`{env="test"} |= "p0" or "p1"`:          400,
		`{env="test"} | json | level="error"`:   150,
		`{env="test"} | json | level!="error"`:  450,
		`{env="test"} | level=~"err.*"`:         150,
		`{env="test"} | json | status >= 400`:   300,
		`{env="test"} | json | status = 500`:    150,
		`{env="test"} | json | took > 500ms`:    99,
		`{env="test"} | json | http_path="/p2"`: 200,
		`{env="test"} | pod="pod-1"`:            120,
		`{env="test"} | json | (level="error" or status=200) and http_path="/p0"`: 100,
		`{env="test"} | json | level="error", status=400 | line = ""`:             75,
		`{env="test"} | logfmt | level="info" | drop level, status`:               450,
		"{env=`test`} # a comment":                                                600,
	} {
		code, out := get(t, srv, "/query_range", "query", query, "limit", "1000", "start", "1795000000", "end", fmt.Sprint(noon.Unix()))
		if code != 200 || lines(out) != want {
			t.Errorf("%s: %d with %d lines, want %d: %v", query, code, lines(out), want, out["error"])
		}
	}
	for _, query := range []string{"", "{", `{job="web"`, `{job="web"} |=`, `{job="web"} | unwrap x`, `{job=~"["}`, `rate({job="web"})`, `sum(rate({job="web"}[x]))`, `{job="web"} | json | a >`,
		`{job="web"} |> "<_>"`, `quantile_over_time(0.9, {a="b"}[1m])`, strings.Repeat("(", 300), `{job="web"} + 1`, `sum by (a ({}[1m])`} {
		if code, out := get(t, srv, "/query_range", "query", query); code != 400 {
			t.Errorf("%.60s: %d %v, want an error", query, code, out)
		}
	}
	_, out := get(t, srv, "/query_range", "query", `{job="web"} | json`, "limit", "1", "direction", "forward", "start", "1795000000", "end", fmt.Sprint(noon.Unix()))
	s := out["data"].(map[string]any)["result"].([]any)[0].(map[string]any)
	labels := s["stream"].(map[string]any)
	if labels["http_path"] != "/p0" || labels["job"] != "web" || labels["pod"] != "pod-0" || s["values"].([]any)[0].([]any)[0] != fmt.Sprint(noon.Add(-10*time.Minute).UnixNano()) {
		t.Errorf("%v", s)
	}
}

func TestMetricQueries(t *testing.T) {
	srv := serving(t)
	fill(t, srv)
	at := fmt.Sprint(noon.Add(-time.Second).UnixNano()) // when the last line came
	for query, want := range map[string]string{
		`vector(1)+vector(1)`:                                                                               `{}=2`,
		`count_over_time({job="web"}[1m])`:                                                                  `{"env":"test","job":"web"}=30`,
		`rate({job="web"}[2m])`:                                                                             `{"env":"test","job":"web"}=0.5`,
		`sum(rate({env="test"}[1m]))`:                                                                       `{}=1`,
		`sum by (job) (count_over_time({env="test"}[1m]))`:                                                  `{"job":"api"}=30 {"job":"web"}=30`,
		`sum(count_over_time({env="test"} | json [1m])) by (level)`:                                         `{"level":"error"}=14 {"level":"info"}=46`,
		`sum without (job, pod) (count_over_time({env="test"}[1m]))`:                                        `{"env":"test"}=60`,
		`sum by (job) (rate({env="test"}[1m])) * 60`:                                                        `{"job":"api"}=30 {"job":"web"}=30`,
		`max(count_over_time({env="test"}[1m]))`:                                                            `{}=30`,
		`count(count_over_time({env="test"}[1m]))`:                                                          `{}=2`,
		`topk(1, sum by (level) (count_over_time({env="test"}[1m])))`:                                       `{"level":"info"}=46`,
		`sum(count_over_time({env="test"} |= "error" [1m])) / sum(count_over_time({env="test"}[1m])) * 100`: `{}=23.333333333333332`,
		`count_over_time({job="none"}[1m])`:                                                                 ``,
		`sum(bytes_over_time({job="web"}[2s]))`:                                                             `{}=62`,
	} {
		code, out := get(t, srv, "/query", "query", query, "time", at)
		var got []string
		if data, ok := out["data"].(map[string]any); ok {
			for _, r := range data["result"].([]any) {
				m, _ := json.Marshal(r.(map[string]any)["metric"])
				got = append(got, fmt.Sprintf("%s=%s", m, r.(map[string]any)["value"].([]any)[1]))
			}
		}
		if code != 200 || strings.Join(got, " ") != want {
			t.Errorf("%s: %d %s, want %s: %v", query, code, got, want, out["error"])
		}
	}
	// Every step counts what came in the minute before it, as counting line by line does.
	_, out := get(t, srv, "/query_range", "query", `count_over_time({job="web"} | json | level="error" [90s])`, "step", "7", "start", fmt.Sprint(noon.Add(-12*time.Minute).Unix()), "end", fmt.Sprint(noon.Add(time.Minute).Unix()))
	series := map[float64]string{}
	for _, r := range out["data"].(map[string]any)["result"].([]any) {
		for _, v := range r.(map[string]any)["values"].([]any) {
			p := v.([]any)
			n := 0
			fmt.Sscan(p[1].(string), &n)
			before := 0
			fmt.Sscan(series[p[0].(float64)], &before)
			series[p[0].(float64)] = fmt.Sprint(n + before)
		}
	}
	for s := noon.Add(-12 * time.Minute); !s.After(noon.Add(time.Minute)); s = s.Add(7 * time.Second) {
		want := 0
		for i := range 600 {
			came := noon.Add(time.Duration(i-600) * time.Second)
			if i%2 == 0 && i/2%4 == 1 && came.After(s.Add(-90*time.Second)) && !came.After(s) {
				want++
			}
		}
		got := series[float64(s.UnixMilli())/1000]
		if got == "" {
			got = "0"
		}
		if got != fmt.Sprint(want) {
			t.Errorf("at %v: %s, want %d", s, got, want)
		}
	}
	if code, _ := get(t, srv, "/query_range", "query", `rate({job="web"}[1m])`, "step", "0.001", "start", "1795000000", "end", "1795900000"); code != 400 {
		t.Error("a million steps were taken")
	}
}

func TestLabels(t *testing.T) {
	srv := serving(t)
	fill(t, srv)
	if _, out := get(t, srv, "/labels"); fmt.Sprint(out["data"]) != "[env job]" {
		t.Errorf("%v", out)
	}
	if _, out := get(t, srv, "/label/job/values", "query", `{env="test"}`); fmt.Sprint(out["data"]) != "[api web]" {
		t.Errorf("%v", out)
	}
	if _, out := get(t, srv, "/series", "match[]", `{job="web"}`); fmt.Sprint(out["data"]) != "[map[env:test job:web]]" {
		t.Errorf("%v", out)
	}
	if _, out := get(t, srv, "/index/stats", "query", `{job="web"}`); out["entries"] != 300.0 {
		t.Errorf("%v", out)
	}
	if _, out := get(t, srv, "/labels", "start", "1", "end", "2"); fmt.Sprint(out["data"]) != "[]" {
		t.Errorf("%v", out)
	}
}

// summary of an answer's series: metric=value of a vector, metric=time:value,... of a matrix, times in seconds before noon.
func summary(out map[string]any) string {
	var all []string
	data, _ := out["data"].(map[string]any)
	result, _ := data["result"].([]any)
	for _, r := range result {
		one := r.(map[string]any)
		metric, _ := json.Marshal(one["metric"])
		points, _ := one["values"].([]any)
		if v, ok := one["value"].([]any); ok {
			points = []any{v}
		}
		var values []string
		for _, p := range points {
			p := p.([]any)
			values = append(values, fmt.Sprintf("%v:%v", float64(noon.Unix())-p[0].(float64), p[1]))
		}
		all = append(all, string(metric)+"="+strings.Join(values, ","))
	}
	return strings.Join(all, " ")
}

func TestVolume(t *testing.T) {
	srv := serving(t)
	var streams []string
	for _, one := range []struct{ job, env, team string }{{"foo", "prod", "alpha"}, {"bar", "prod", "beta"}, {"foo", "dev", "alpha"}, {"bar", "dev", "beta"}, {"none", "prod", ""}} {
		var values []string
		for i := range 10 { // the lines of the last hundred seconds: 1 to 10 bytes, as many times as the name of the job has letters
			for range len(one.job) {
				values = append(values, fmt.Sprintf(`["%d",%q]`, noon.Add(time.Duration(10*i-100)*time.Second).UnixNano(), strings.Repeat("x", i+1)))
			}
		}
		streams = append(streams, fmt.Sprintf(`{"stream":{"job":%q,"env":%q,"team":%q},"values":[%s]}`, one.job, one.env, one.team, strings.Join(values, ",")))
	}
	if code, text := push(t, srv, "application/json", "", []byte(`{"streams":[`+strings.Join(streams, ",")+`]}`)); code != 204 {
		t.Fatalf("%d %s", code, text)
	}
	start, end := fmt.Sprint(noon.Add(-100*time.Second).UnixNano()), fmt.Sprint(noon.UnixNano())
	for _, c := range []struct {
		path, query string
		params      []string
		want        string
	}{
		{"/index/volume", `{job="foo", env=~".+"}`, nil, `{"env":"dev","job":"foo"}=0:165 {"env":"prod","job":"foo"}=0:165`},
		{"/index/volume", `{job=~".+"}`, nil, `{"job":"bar"}=0:330 {"job":"foo"}=0:330 {"job":"none"}=0:220`},
		{"/index/volume", `{team="alpha", env!="dev"}`, []string{"targetLabels", "team,job"}, `{"job":"foo","team":"alpha"}=0:165`},
		{"/index/volume", `{env="prod"}`, []string{"targetLabels", "team"}, `{"team":"alpha"}=0:165 {"team":"beta"}=0:165`},
		{"/index/volume", `{env="prod"}`, []string{"targetLabels", "env,team", "aggregateBy", "labels"}, `{"env":""}=0:330 {"team":""}=0:330`},
		{"/index/volume", `{}`, []string{"aggregateBy", "labels"}, `{"env":""}=0:880 {"job":""}=0:880 {"team":""}=0:660`},
		{"/index/volume", `{job=~".+"}`, []string{"limit", "1"}, `{"job":"bar"}=0:330`},
		{"/index/volume_range", `{job="none"}`, []string{"step", "40"}, `{"job":"none"}=60:40,20:104,0:76`},
		{"/index/volume_range", `{job="none"}`, []string{"step", "1h"}, `{"job":"none"}=0:220`},
		{"/index/volume_range", `{job="absent"}`, []string{"step", "40"}, ``},
	} {
		code, out := get(t, srv, c.path, append([]string{"query", c.query, "start", start, "end", end}, c.params...)...)
		if got := summary(out); code != 200 || got != c.want {
			t.Errorf("%s of %s %v: %d %s, want %s: %v", c.path, c.query, c.params, code, got, c.want, out["error"])
		}
	}
	for _, params := range [][]string{{"query", `{job="a"} |= "b"`}, {"query", `{job`}, {"aggregateBy", "x"}, {"limit", "-1"}, {"step", "x"}, {"step", "0.001", "start", "1795000000"}} {
		if code, out := get(t, srv, "/index/volume_range", params...); code != 400 {
			t.Errorf("%v: %d %v", params, code, out)
		}
	}
}

func TestDetected(t *testing.T) {
	srv := serving(t)
	fill(t, srv)
	if _, out := get(t, srv, "/detected_labels"); fmt.Sprint(out["detectedLabels"]) != "[map[cardinality:1 label:env] map[cardinality:2 label:job]]" {
		t.Errorf("%v", out)
	}
	if _, out := get(t, srv, "/detected_labels", "query", `{job="web"}`); fmt.Sprint(out["detectedLabels"]) != "[map[cardinality:1 label:env] map[cardinality:1 label:job]]" {
		t.Errorf("%v", out)
	}
	push(t, srv, "application/json", "", fmt.Appendf(nil, `{"streams":[{"stream":{"job":"plain"},"values":[["%d","took=5 big=10KiB share=0.5 ok=true"],["%d","took=1.5 big=1MB ok=1 ERROR"]]}]}`, noon.UnixNano()-2, noon.UnixNano()-1))
	for _, c := range []struct {
		params []string
		want   string
	}{
		{[]string{"query", `{job="web"} | json | level="info"`}, "detected_level string 1 [], http_path string 3 [json], level string 1 [json], pod string 5 [], status int 2 [json], took duration 100 [json]"},
		{[]string{"query", `{job="web"}`, "line_limit", "1"}, "detected_level string 1 [], http_path string 1 [json], level string 1 [json], pod string 1 [], status int 1 [json], took duration 1 [json]"},
		{[]string{"query", `{job="web"}`, "limit", "2", "line_limit", "1"}, "detected_level string 1 [], http_path string 1 [json]"},
		{[]string{"query", `{job="plain"}`}, "big bytes 2 [logfmt], detected_level string 1 [], level string 1 [], ok string 2 [logfmt], share float 1 [logfmt], took float 2 [logfmt]"},
		{[]string{"query", `{job="absent"}`}, ""},
	} {
		code, out := get(t, srv, "/detected_fields", c.params...)
		var got []string
		all, _ := out["fields"].([]any)
		for _, f := range all {
			f := f.(map[string]any)
			parsers, _ := f["parsers"].([]any)
			got = append(got, fmt.Sprintf("%v %v %v %v", f["label"], f["type"], f["cardinality"], parsers))
		}
		if s := strings.Join(got, ", "); code != 200 || s != c.want {
			t.Errorf("%v: %d %s, want %s", c.params, code, s, c.want)
		}
	}
	for name, want := range map[string]string{"http_path": "[/p0 /p1 /p2]", "detected_level": "[error info]", "job": "[web]", "absent": "[]"} {
		if code, out := get(t, srv, "/detected_field/"+name+"/values", "query", `{job="web"}`); code != 200 || fmt.Sprint(out["values"]) != want {
			t.Errorf("%s: %d %v, want %s", name, code, out, want)
		}
	}
	for _, params := range [][]string{{}, {"query", `rate({job="web"}[1m])`}, {"query", `{job="web"}`, "line_limit", "100000"}, {"query", `{job="web"}`, "limit", "x"}} {
		if code, out := get(t, srv, "/detected_fields", params...); code != 400 {
			t.Errorf("%v: %d %v", params, code, out)
		}
	}
	for _, path := range []string{"/patterns", "/format_query", "/rules"} {
		if code, out := get(t, srv, path, "query", `{job="web"}`); code != 404 || !strings.Contains(fmt.Sprint(out["error"]), path+": not supported") {
			t.Errorf("%s: %d %v", path, code, out)
		}
	}
}

// message of logproto.PushRequest with one stream.
func message(labels string, lines ...string) []byte {
	var stream []byte
	stream = protowire.AppendTag(stream, 1, protowire.BytesType)
	stream = protowire.AppendString(stream, labels)
	for i, line := range lines {
		var at, e, field []byte
		at = protowire.AppendTag(at, 1, protowire.VarintType)
		at = protowire.AppendVarint(at, uint64(noon.Unix()-int64(len(lines)-i)))
		e = protowire.AppendTag(e, 1, protowire.BytesType)
		e = protowire.AppendBytes(e, at)
		e = protowire.AppendTag(e, 2, protowire.BytesType)
		e = protowire.AppendString(e, line)
		field = protowire.AppendTag(field, 1, protowire.BytesType)
		field = protowire.AppendString(field, "pod")
		field = protowire.AppendTag(field, 2, protowire.BytesType)
		field = protowire.AppendString(field, "p1")
		e = protowire.AppendTag(e, 3, protowire.BytesType)
		e = protowire.AppendBytes(e, field)
		stream = protowire.AppendTag(stream, 2, protowire.BytesType)
		stream = protowire.AppendBytes(stream, e)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), stream)
}

func TestPush(t *testing.T) {
	srv := serving(t)
	body := snappy.Encode(nil, message(`{job="proto", env="te\"st"}`, "one level=warn", "two"))
	if code, text := push(t, srv, "application/x-protobuf", "", body); code != 204 {
		t.Fatalf("%d %s", code, text)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	fmt.Fprintf(w, `{"streams":[{"stream":{"job":"zip"},"values":[["%d","z"]]}]}`, noon.UnixNano()-1)
	w.Close()
	if code, text := push(t, srv, "application/json", "gzip", z.Bytes()); code != 204 {
		t.Fatalf("%d %s", code, text)
	}
	if _, out := get(t, srv, "/query_range", "query", `{job=~"proto|zip"} | pod="p1" or job="zip"`); lines(out) != 3 {
		t.Errorf("%v", out)
	}
	if _, out := get(t, srv, "/query_range", "query", `{env="te\"st"} | level="warn"`); lines(out) != 1 {
		t.Errorf("%v", out)
	}
	for _, c := range []struct{ kind, body string }{
		{"application/json", `{"streams":[{"stream":{},"values":[["1","x"]]}]}`},
		{"application/json", `{"streams":[{"stream":{"a-b":"c"},"values":[["1","x"]]}]}`},
		{"application/json", `{"streams":[{"stream":{"a":"c"},"values":[[1,"x"]]}]}`},
		{"application/json", `{"streams":[{"stream":{"a":"c"},"values":[["1"]]}]}`},
		{"application/json", `nonsense`},
		{"application/x-protobuf", "not snappy"},
		{"application/x-protobuf", string(snappy.Encode(nil, []byte("not a message")))},
		{"application/x-protobuf", string(snappy.Encode(nil, message(`{a`, "x")))},
		{"application/x-protobuf", "\xff\xff\xff\xff\x0f bomb"},
	} {
		if code, _ := push(t, srv, c.kind, "", []byte(c.body)); code != 400 {
			t.Errorf("%.40q: %d", c.body, code)
		}
	}
}

func TestTail(t *testing.T) {
	srv := serving(t)
	address := "ws" + strings.TrimPrefix(srv.URL, "http") + "/loki/api/v1/tail?query=" + url.QueryEscape(`{job="t"} |= "yes"`)
	ws, err := websocket.Dial(address, "", srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	// It may begin to follow a moment after the connection is made, so lines are pushed until one is seen.
	seen := make(chan string, 1)
	go func() {
		var m struct{ Streams []stream }
		if err := websocket.JSON.Receive(ws, &m); err != nil {
			seen <- err.Error()
			return
		}
		seen <- m.Streams[0].Values[0][1]
	}()
	for {
		push(t, srv, "application/json", "", fmt.Appendf(nil, `{"streams":[{"stream":{"job":"t"},"values":[["%d","no"],["%d","yes"]]}]}`, noon.UnixNano(), noon.UnixNano()))
		select {
		case line := <-seen:
			if line != "yes" {
				t.Errorf("got %q", line)
			}
			if _, err := websocket.Dial(address, "", "http://evil.example"); err == nil {
				t.Error("another site's page may tail")
			}
			return
		default:
		}
	}
}

func FuzzLogQL(f *testing.F) {
	for _, q := range []string{`sum by (a) (rate({b="c"} |= "d" | json | e > 5 [1m])) / 2`, `{a=~"b"} !~ "c" or "d" | f="g", h!=1 and (i="j" or k<2ms)`, `topk(3, count_over_time({a="b"}[5m]))`, `vector(1)+vector(1)`} {
		f.Add(q)
	}
	record := segment.Record{Stream: segment.NewStream(map[string]string{"a": "b"}), Body: "d"}
	f.Fuzz(func(t *testing.T, q string) {
		e, err := parseQuery(q)
		if err == nil && e.logs != nil {
			segment.Match(e.logs.filter, &record)
		}
		if labels, err := parseLabels(q); err == nil && labels == nil {
			t.Fatal("no labels and no error")
		}
	})
}

func FuzzPush(f *testing.F) {
	f.Add(message(`{a="b"}`, "c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		streams, err := parseProto(data)
		if err != nil {
			return
		}
		for _, p := range streams {
			if len(p.labels) == 0 {
				t.Fatal("a stream without labels was taken")
			}
		}
	})
}
