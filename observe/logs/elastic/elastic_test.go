package elastic

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// serving runs the API in front of logs in memory.
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

// ask sends a request and returns the status and the answer.
func ask(t testing.TB, srv *httptest.Server, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("X-Elastic-Product") != "Elasticsearch" {
		t.Error("the answer does not say that it is Elasticsearch's")
	}
	var out map[string]any
	if method != http.MethodHead {
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return resp.StatusCode, out
}

// at walks into an answer: names of objects, numbers of arrays.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			a, _ := v.([]any)
			if p >= len(a) {
				return nil
			}
			v = a[p]
		}
	}
	return v
}

// fill stores 300 documents of two indices.
func fill(t testing.TB, srv *httptest.Server) {
	t.Helper()
	var b strings.Builder
	for i := range 300 {
		index := []string{"app-2026.11.29", "other"}[i%2]
		fmt.Fprintf(&b, `{"create":{"_index":%q,"_id":"doc-%d"}}`+"\n", index, i)
		fmt.Fprintf(&b, `{"@timestamp":%q,"message":"request %d took %d ms: %s","status":%d,"host":{"name":"h%d"},"n":%d}`+"\n",
			noon.Add(time.Duration(i-300)*time.Second).Format(time.RFC3339Nano), i, i, []string{"Connection refused", "all is well"}[i%3/2], 200+100*(i%4), i%5, i)
	}
	code, out := ask(t, srv, "POST", "/_bulk", b.String())
	if code != 200 || out["errors"] != false || at(out, "items", 299, "create", "status") != 201.0 || at(out, "items", 7, "create", "_id") != "doc-7" {
		t.Fatalf("%d %v", code, out)
	}
}

func TestQueries(t *testing.T) {
	srv := serving(t)
	fill(t, srv)
	for query, want := range map[string]int{
		`{"match_all":{}}`:                         150,
		`{"match_none":{}}`:                        0,
		`{"match":{"message":"refused nonsense"}}`: 100,
		`{"match":{"message":{"query":"refused nonsense","operator":"and"}}}`:                                  0,
		`{"match":{"message":{"query":"CONNECTION refused","operator":"and"}}}`:                                100,
		`{"match_phrase":{"message":"connection refused"}}`:                                                    100,
		`{"match_phrase":{"message":"refused connection"}}`:                                                    0,
		`{"match_phrase_prefix":{"message":"connection ref"}}`:                                                 100,
		`{"multi_match":{"query":"refused","fields":["message^2","other"]}}`:                                   100,
		`{"term":{"status":200}}`:                                                                              75,
		`{"term":{"status":{"value":"200"}}}`:                                                                  75,
		`{"terms":{"host.name":["h0","h1"]}}`:                                                                  60,
		`{"terms":{"host.name.keyword":["h0"]}}`:                                                               30,
		`{"range":{"status":{"gte":300}}}`:                                                                     75,
		`{"range":{"status":{"gt":200,"lt":1000}}}`:                                                            75,
		`{"range":{"@timestamp":{"gte":"now-60s"}}}`:                                                           30,
		`{"range":{"@timestamp":{"gte":"2026-11-29T11:59:00Z","lt":"2026-11-29T11:59:30.000Z"}}}`:              15,
		`{"range":{"@timestamp":{"lte":"now-1m/m"}}}`:                                                          150,
		`{"exists":{"field":"host.name"}}`:                                                                     150,
		`{"exists":{"field":"nothing"}}`:                                                                       0,
		`{"prefix":{"host.name":"h"}}`:                                                                         150,
		`{"wildcard":{"host.name":"?3"}}`:                                                                      30,
		`{"regexp":{"host.name":"h[34]"}}`:                                                                     60,
		`{"ids":{"values":["doc-4","doc-5"]}}`:                                                                 1,
		`{"bool":{"must":[{"term":{"status":200}}],"must_not":{"term":{"host.name":"h0"}}}}`:                   60,
		`{"bool":{"should":[{"term":{"host.name":"h0"}},{"term":{"host.name":"h1"}}]}}`:                        60,
		`{"bool":{"filter":{"match_all":{}},"should":[{"term":{"host.name":"h0"}}]}}`:                          150,
		`{"bool":{"filter":{"match_all":{}},"should":[{"term":{"host.name":"h0"}}],"minimum_should_match":1}}`: 30,
		`{"constant_score":{"filter":{"term":{"status":200}}}}`:                                                75,
		`{"query_string":{"query":"refused"}}`:                                                                 100,
		`{"query_string":{"query":"message:refused AND status:200"}}`:                                          50,
		`{"query_string":{"query":"refused NOT status:200"}}`:                                                  50,
		`{"query_string":{"query":"+refused -status:200"}}`:                                                    50,
		`{"query_string":{"query":"host.name:(h0 OR h1) AND \"connection refused\""}}`:                         40,
		`{"query_string":{"query":"status:[300 TO *]"}}`:                                                       75,
		`{"query_string":{"query":"status:{200 TO 500}"}}`:                                                     75,
		`{"query_string":{"query":"status:>=300"}}`:                                                            75,
		`{"query_string":{"query":"host.name:h* ","default_operator":"AND"}}`:                                  150,
		`{"query_string":{"query":"refu*"}}`:                                                                   100,
		`{"query_string":{"query":"_exists_:status"}}`:                                                         150,
		`{"query_string":{"query":"host.name:/h[01]/"}}`:                                                       60,
		`{"query_string":{"query":"*"}}`:                                                                       150,
		`{"query_string":{"query":"refused","default_operator":"AND"}}`:                                        100,
	} {
		code, out := ask(t, srv, "POST", "/app-*/_count", `{"query":`+query+`}`)
		if code != 200 || at(out, "count") != float64(want) {
			t.Errorf("%s: %d %v, want %d", query, code, out, want)
		}
	}
	for _, query := range []string{`{"more_like_this":{}}`, `{"match":{}}`, `{"a":{},"b":{}}`, `{"query_string":{"query":"(a"}}`, `{"query_string":{"query":"a~2"}}`,
		`{"regexp":{"a":"["}}`, `[]`, `{"range":{"@timestamp":{"gte":"soon"}}}`, `{"bool":{"must":` + strings.Repeat(`{"bool":{"must":`, 40) + `{}` + strings.Repeat(`}}`, 40) + `}}`} {
		if code, out := ask(t, srv, "POST", "/_count", `{"query":`+query+`}`); code != 400 || at(out, "error", "reason") == nil {
			t.Errorf("%.80s: %d %v, want an error", query, code, out)
		}
	}
}

func TestSearch(t *testing.T) {
	srv := serving(t)
	fill(t, srv)
	_, out := ask(t, srv, "POST", "/_search", `{"size":3,"sort":[{"@timestamp":{"order":"desc"}}],"query":{"term":{"status":200}}}`)
	if at(out, "hits", "total", "value") != 75.0 || at(out, "hits", "hits", 0, "_id") != "doc-296" || at(out, "hits", "hits", 2, "_source", "n") != 288.0 {
		t.Errorf("%v", out)
	}
	// Page by page, with search_after, each hit once.
	after, seen := "", 0
	for {
		_, out := ask(t, srv, "POST", "/_search", `{"size":40,"sort":[{"@timestamp":"asc"}]`+after+`}`)
		hits := at(out, "hits", "hits").([]any)
		for _, h := range hits {
			if at(h, "_source", "n") != float64(seen) {
				t.Fatalf("hit %d is %v", seen, h)
			}
			seen++
		}
		if len(hits) == 0 {
			break
		}
		last, _ := json.Marshal(at(hits[len(hits)-1], "sort"))
		after = `,"search_after":` + string(last)
	}
	if seen != 300 {
		t.Errorf("%d hits in pages, want 300", seen)
	}
	_, out = ask(t, srv, "POST", "/_search", `{"size":0,"track_total_hits":true,"aggs":{
		"t":{"date_histogram":{"field":"@timestamp","fixed_interval":"1m","min_doc_count":0},"aggs":{"s":{"terms":{"field":"status","size":2}}}},
		"hosts":{"terms":{"field":"host.name.keyword","order":{"_key":"desc"}},"aggs":{"most":{"max":{"field":"n"}}}},
		"bad":{"filter":{"range":{"status":{"gte":500}}},"aggs":{"a":{"avg":{"field":"n"}}}},
		"st":{"stats":{"field":"n"}}}}`)
	if len(at(out, "aggregations", "t", "buckets").([]any)) != 5 || at(out, "aggregations", "t", "buckets", 0, "doc_count") != 60.0 ||
		at(out, "aggregations", "t", "buckets", 0, "s", "buckets", 0, "doc_count") != 15.0 || at(out, "aggregations", "t", "buckets", 0, "s", "sum_other_doc_count") != 30.0 ||
		at(out, "aggregations", "hosts", "buckets", 0, "key") != "h4" || at(out, "aggregations", "hosts", "buckets", 0, "most", "value") != 299.0 ||
		at(out, "aggregations", "bad", "doc_count") != 75.0 || at(out, "aggregations", "bad", "a", "value") != 151.0 || at(out, "aggregations", "st", "sum") != 44850.0 {
		b, _ := json.MarshalIndent(out["aggregations"], "", " ")
		t.Errorf("%s", b)
	}
	code, out := ask(t, srv, "POST", "/_msearch", `{"index":"other"}`+"\n"+`{"size":1}`+"\n"+`{"index":["app-*"]}`+"\n"+`{"query":{"nonsense":{}}}`+"\n")
	if code != 200 || at(out, "responses", 0, "hits", "total", "value") != 150.0 || at(out, "responses", 1, "status") != 400.0 {
		t.Errorf("%d %v", code, out)
	}
	for _, body := range []string{`{"size":20000}`, `{"sort":["price"]}`, `{"aggs":{"a":{"percentiles":{"field":"n"}}}}`, `{"aggs":{"a":{"terms":{}}}}`, `{"size":"x"}`, `nonsense`} {
		if code, out := ask(t, srv, "POST", "/_search", body); code != 400 {
			t.Errorf("%s: %d %v", body, code, out)
		}
	}
	if code, out := ask(t, srv, "GET", "/other/_doc/doc-1", ""); code != 200 || at(out, "_source", "n") != 1.0 {
		t.Errorf("%d %v", code, out)
	}
	if code, _ := ask(t, srv, "GET", "/other/_doc/doc-2", ""); code != 404 {
		t.Errorf("a document of another index: %d", code)
	}
	if _, out := ask(t, srv, "GET", "/other/_search?q=status:500&size=1&sort=@timestamp:desc", ""); at(out, "hits", "hits", 0, "_id") != "doc-299" {
		t.Errorf("%v", out)
	}
	if _, out := ask(t, srv, "GET", "/other/_mapping", ""); at(out, "other", "mappings", "properties", "host.name", "type") != "keyword" {
		t.Errorf("%v", out)
	}
}

// TestProbes asks what Filebeat and Logstash ask before they send.
func TestProbes(t *testing.T) {
	srv := serving(t)
	for _, p := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/", "", 200}, {"HEAD", "/", "", 200}, {"GET", "/_license", "", 200}, {"GET", "/_xpack", "", 200}, {"GET", "/_cluster/health", "", 200},
		{"GET", "/_ilm/policy/filebeat", "", 404}, {"PUT", "/_ilm/policy/filebeat", `{"policy":{}}`, 200}, {"GET", "/_ilm/policy/filebeat", "", 200},
		{"HEAD", "/_index_template/filebeat-8", "", 404}, {"PUT", "/_index_template/filebeat-8", `{}`, 200}, {"HEAD", "/_index_template/filebeat-8", "", 200},
		{"PUT", "/_component_template/x", `{}`, 200}, {"PUT", "/_template/x", `{}`, 200}, {"GET", "/_alias/x", "", 404}, {"HEAD", "/nothing", "", 404},
		{"PUT", "/new-index", `{}`, 200}, {"GET", "/_ingest/pipeline/x", "", 404}, {"POST", "/x/_refresh", "", 200}, {"DELETE", "/x", "", 400}, {"POST", "/x/_update/1", "{}", 400},
		{"POST", "/x/_doc", `{"a":1}`, 201}, {"PUT", "/x/_doc/7", `{"a":1}`, 201}, {"HEAD", "/x", "", 200}, {"POST", "/x/_doc", `[1]`, 400}, {"GET", "/_nonsense", "", 400},
	} {
		if code, out := ask(t, srv, p.method, p.path, p.body); code != p.code {
			t.Errorf("%s %s: %d %v, want %d", p.method, p.path, code, out, p.code)
		}
	}
	_, out := ask(t, srv, "GET", "/", "")
	if at(out, "version", "number") != Version || at(out, "tagline") != "You Know, for Search" {
		t.Errorf("%v", out)
	}
}

func TestBulkErrors(t *testing.T) {
	srv := serving(t)
	body := `{"index":{"_index":"a"}}` + "\n" + `{"ok":1}` + "\n" +
		`{"index":{"_index":"a"}}` + "\n" + `{"broken` + "\n" +
		`{"delete":{"_index":"a","_id":"1"}}` + "\n" +
		`{"create":{"_index":"a"}}` + "\n" + `{"@timestamp":"tomorrow"}` + "\n" +
		`{"create":{"_index":"BAD NAME"}}` + "\n" + `{}` + "\n" +
		`{"create":{}}` + "\n" + fmt.Sprintf(`{"big":%q}`, strings.Repeat("x", 1<<20)) + "\n"
	code, out := ask(t, srv, "POST", "/a/_bulk", body)
	if code != 200 || out["errors"] != true {
		t.Fatalf("%d %v", code, out)
	}
	want := []float64{201, 400, 400, 400, 400, 413}
	for i, w := range want {
		for _, item := range at(out, "items", i).(map[string]any) {
			if at(item, "status") != w {
				t.Errorf("item %d: %v, want %v", i, item, w)
			}
		}
	}
	for _, body := range []string{"", "nonsense\n{}\n", `{"create":{"_index":"a"}}` + "\n", `{"steal":{"_index":"a"}}` + "\n{}\n", `{"create":{}}` + "\n{}\n"} {
		if code, _ := ask(t, srv, "POST", "/_bulk", body); code != 400 {
			t.Errorf("%q: %d", body, code)
		}
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	fmt.Fprint(w, `{"create":{}}`+"\n"+`{"zipped":1}`+"\n")
	w.Close()
	req, _ := http.NewRequest("POST", srv.URL+"/z/_bulk", &z)
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("gzip: %v %v", resp, err)
	}
	resp.Body.Close()
	// A bomb of 64 MiB of zeros.
	z.Reset()
	w = gzip.NewWriter(&z)
	zeros := make([]byte, 1<<20)
	for range 64 {
		w.Write(zeros)
	}
	w.Close()
	req, _ = http.NewRequest("POST", srv.URL+"/z/_bulk", &z)
	req.Header.Set("Content-Encoding", "gzip")
	if resp, err = http.DefaultClient.Do(req); err != nil || resp.StatusCode != 413 {
		t.Fatalf("a bomb: %v %v", resp, err)
	}
	resp.Body.Close()
}

// A body that is too large by what is promised is refused before any of it has come.
func TestPromisedBody(t *testing.T) {
	l, err := logs.Open(logs.Config{Dir: "logs", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := httptest.NewRequest(http.MethodPost, "/x/_bulk", iotest.ErrReader(errors.New("it was read")))
	r.ContentLength = 1 << 30
	w := httptest.NewRecorder()
	New(l).ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || strings.Contains(w.Body.String(), "it was read") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzBulk(f *testing.F) {
	f.Add([]byte(`{"create":{"_index":"a"}}`+"\n"+`{"@timestamp":"2026-11-29T12:00:00Z","a":{"b":1}}`+"\n"), "x")
	f.Add([]byte("{\"delete\":{}}\n\n"), "")
	f.Fuzz(func(t *testing.T, data []byte, index string) {
		b := newBulkReader(string(data), index, noon, 1<<16)
		if err := b.read(); err != nil {
			return
		}
		stored := 0
		for _, it := range b.items {
			if it.err == nil {
				if it.record != stored {
					t.Fatalf("item for record %d, want %d", it.record, stored)
				}
				stored++
			}
		}
		if stored != len(b.records) {
			t.Fatalf("%d records of %d items", len(b.records), stored)
		}
	})
}

// FuzzAction holds the short way of reading an action against encoding/json.
func FuzzAction(f *testing.F) {
	for _, s := range []string{
		`{"create":{"_index":"a","_id":"b"}}`, ` { "index" : { "_id" : null , "_index":"logstash-2026","routing":null } } `, `{"create":{}}`, `{"create":null}`,
		`{"create":{"_index":"\u00e9"}}`, `{"create":{"_id":1}}`, `{"a":{},"b":{}}`, `{"create":{"_index":"a"}}x`, `{"create":{"_index":"a",}}`, `{"create":{"_Index":"a"}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		it, ok := plainAction(line)
		if !ok {
			return
		}
		var want map[string]item
		if err := json.Unmarshal([]byte(line), &want); err != nil || len(want) != 1 {
			t.Fatalf("%q is taken for an action: %v, %v", line, want, err)
		}
		if w, ok := want[it.op]; !ok || w.Index != it.Index || w.ID != it.ID {
			t.Fatalf("%q is %+v, want %+v", line, it, want)
		}
	})
}

func FuzzLucene(f *testing.F) {
	for _, q := range []string{`a AND (b OR c:d) -e +f`, `x:[1 TO 5}`, `"a b"`, `/r[e]/`, `a:>=5 _exists_:b NOT c`, `\:a*b?`, `((`, `a:`} {
		f.Add(q)
	}
	record := segment.Record{Stream: segment.NewStream(nil), Body: "a b", Fields: []segment.Field{{Name: "c", Value: "d"}}}
	f.Fuzz(func(t *testing.T, q string) {
		c := &compiler{now: noon}
		if filter, err := c.lucene(q, "", false); err == nil {
			segment.Match(filter, &record)
		}
	})
}

func FuzzDSL(f *testing.F) {
	f.Add([]byte(`{"bool":{"must":[{"match":{"a":"b"}},{"range":{"@timestamp":{"gte":"now-1d/d"}}}]}}`))
	record := segment.Record{Stream: segment.NewStream(nil), Body: "a b"}
	f.Fuzz(func(t *testing.T, q []byte) {
		c := &compiler{now: noon}
		if filter, err := c.query(q, true, 0); err == nil {
			segment.Match(filter, &record)
		}
	})
}

// TestPythonClient has the official client for Python, which Debian has as python3-elasticsearch, store and search.
func TestPythonClient(t *testing.T) {
	python := "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import elasticsearch").Run(); err != nil {
		t.Skip("python3-elasticsearch is not installed")
	}
	srv := serving(t)
	script := `
import sys
from elasticsearch import Elasticsearch, helpers
es = Elasticsearch([sys.argv[1]], timeout=120)
n, errors = helpers.bulk(es, ({"_index": "py", "@timestamp": "2026-11-29T11:%02d:00Z" % (i % 60), "message": "line %d is %s" % (i, "odd" if i % 2 else "even"), "n": i} for i in range(500)))
assert n == 500 and not errors, (n, errors)
r = es.search(index="py", body={"query": {"match": {"message": "odd"}}, "size": 5, "sort": [{"@timestamp": "desc"}],
    "aggs": {"t": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h"}}}})
assert r["hits"]["total"]["value"] == 250 and len(r["hits"]["hits"]) == 5, r
assert r["aggregations"]["t"]["buckets"][0]["doc_count"] == 250, r
assert es.count(index="py")["count"] == 500
assert es.indices.exists(index="py") and not es.indices.exists(index="none")
assert es.cluster.health()["status"] == "green"
print("fine")
`
	out, err := exec.Command(python, "-W", "ignore", "-c", script, srv.URL).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "fine" {
		t.Errorf("%v\n%s", err, out)
	}
}
