package promapi_test

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/metrics"
)

// filled serves a store with three series, the newest samples at second 1000.
func filled(t *testing.T) string {
	t.Helper()
	s, server := serve(t, t.TempDir())
	for second := int64(900); second <= 1000; second += 10 {
		b := s.Begin(t.Context(), "test")
		b.Append(labels.FromStrings("__name__", "a", "x", "1", "odd", "\"\\\n\x01é"), metrics.Sample{T: second * 1000, V: float64(second)})
		b.Append(labels.FromStrings("__name__", "a", "x", "2"), metrics.Sample{T: second * 1000, V: math.Inf(1),
			Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "t"), Value: 3, Ts: second * 1000, HasTs: true}}})
		b.Append(labels.FromStrings("__name__", "b"), metrics.Sample{T: second * 1000, V: 0.5})
		if r, err := b.Commit(); err != nil || r.Problems != nil {
			t.Fatal(err, r.Problems)
		}
	}
	return server.URL
}

// TestAPI holds answers against what Prometheus's documentation says of them. An entry of want is a part of the answer.
func TestAPI(t *testing.T) {
	base := filled(t)
	for _, test := range []struct {
		path   string
		form   string // posted, where it is not empty
		status int
		want   string
	}{
		{"query?query=b&time=1000", "", 200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"b"},"value":[1000,"0.5"]}]}}`},
		{"query", "query=b&time=1000.25", 200, `"value":[1000.250,"0.5"]`},
		{"query?query=a&time=1000", "", 200, `"odd":"\"\\\n\u0001é"`},
		{"query?query=nothing&time=1000", "", 200, `{"resultType":"vector","result":[]}`},
		{"query?query=b%5B1m%5D&time=1000", "", 200, `"resultType":"matrix","result":[{"metric":{"__name__":"b"},"values":[[950,"0.5"],`},
		{"query?query=1&time=1000", "", 200, `{"resultType":"scalar","result":[1000,"1"]}`},
		{"query?query=%22s%22&time=1000", "", 200, `{"resultType":"string","result":[1000,"s"]}`},
		{"query?query=a&time=1000&limit=1", "", 200, `"warnings":["results truncated due to limit"]`},
		{"query?query=b&time=1000&stats=true", "", 200, `"stats":{"timings"`},
		{"query?query=sum(", "", 400, `"errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error`},
		{"query?query=b&time=never", "", 400, `bad_data`},
		{"query?query=b&time=NaN", "", 400, `bad_data`},
		{"query?query=b&timeout=x", "", 400, `bad_data`},
		{"query?query=b&limit=-1", "", 400, `bad_data`},
		{"query?query=count_over_time(b%5B1m%5D)&time=1000", "", 200, `"6"`},
		{"query?query=b%20%2B%20on()%20a&time=1000", "", 422, `"errorType":"execution"`},
		{"query_range?query=b&start=900&end=1000&step=50", "", 200, `{"resultType":"matrix","result":[{"metric":{"__name__":"b"},"values":[[900,"0.5"],[950,"0.5"],[1000,"0.5"]]}]}`},
		{"query_range", "query=nothing&start=900&end=1000&step=50s", 200, `{"resultType":"matrix","result":[]}`},
		{"query_range?query=b&start=1000&end=900&step=50", "", 400, `end timestamp must not be before start time`},
		{"query_range?query=b&start=900&end=1000&step=0", "", 400, `zero or negative`},
		{"query_range?query=b&start=0&end=1000000&step=1", "", 400, `11,000 points`},
		{"query_range?query=b&end=1000&step=1", "", 400, `start`},
		{"labels", "", 200, `"data":["__name__","odd","x"]`},
		{"labels", "match[]=b", 200, `"data":["__name__"]`},
		{"labels?match[]=nothing", "", 200, `"data":[]`},
		{"labels?match[]={}", "", 400, `match[] must contain at least one non-empty matcher`},
		{"label/x/values", "", 200, `"data":["1","2"]`},
		{"label/x/values?limit=1", "", 200, `"data":["1"],"warnings"`},
		{"label/none/values", "", 200, `"data":[]`},
		{"label/x/values?start=5000", "", 200, `"data":[`}, // the head does not tell times apart as finely
		{"label/%20/values", "", 200, `"data":[]`},
		{"series?match[]=b", "", 200, `"data":[{"__name__":"b"}]`},
		{"series", "match[]=b&match[]=a&limit=2", 200, `truncated`},
		{"series", "", 400, `no match[] parameter provided`},
		{"series?match[]=nothing", "", 200, `"data":[]`},
		{"series?match[]=b{", "", 400, `bad_data`},
		{"query_exemplars?query=a&start=0&end=2000", "", 200, `{"seriesLabels":{"__name__":"a","x":"2"},"exemplars":[{"labels":{"trace_id":"t"},"value":"3","timestamp":900}`},
		{"query_exemplars?query=1&start=0&end=2000", "", 200, `"data":[]`},
		{"metadata", "", 200, `"data":{}`},
		{"rules", "", 200, `"data":{"groups":[]}`},
		{"alerts", "", 200, `"data":{"alerts":[]}`},
		{"targets", "", 200, `"activeTargets":[]`},
		{"targets/metadata", "", 200, `"data":[]`},
		{"alertmanagers", "", 200, `"activeAlertmanagers":[]`},
		{"status/buildinfo", "", 200, `"version":"3.`},
		{"status/runtimeinfo", "", 200, `"storageRetention"`},
		{"status/tsdb", "", 200, `"numSeries":3`},
		{"status/tsdb?limit=0", "", 400, `limit`},
		{"status/cardinality", "", 200, `"data":[]`},
		{"status/flags", "", 200, `query.timeout`},
		{"status/config", "", 200, `yaml`},
		{"format_query?query=sum(a)by(x)", "", 200, `"data":"sum by (x) (a)"`},
	} {
		t.Run(test.path+" "+test.form, func(t *testing.T) {
			target := base + "/api/v1/" + test.path
			resp, err := http.Get(target)
			if test.form != "" || test.path == "series" {
				values, e := url.ParseQuery(test.form)
				if e != nil {
					t.Fatal(e)
				}
				resp, err = http.PostForm(target, values)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || !strings.Contains(string(body), test.want) {
				t.Errorf("status %d: %s\nwant %d with %s", resp.StatusCode, body, test.status, test.want)
			}
			var v map[string]any
			if err := json.Unmarshal(body, &v); err != nil || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("not JSON: %v", err)
			}
		})
	}
}

// A query that would take too long, or too much, ends with an error and harms nothing.
func TestQueriesAreBounded(t *testing.T) {
	base := filled(t)
	resp, err := http.Get(base + "/api/v1/query_range?" + url.Values{"start": {"0"}, "end": {"11000"}, "step": {"1"}, "timeout": {"1ms"},
		"query": {"sum(sum_over_time(a[1000s:1s]))"}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"errorType":"timeout"`) {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
	// A form without end.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/query", io.LimitReader(endless{}, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if resp, err := http.DefaultClient.Do(req); err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// The lookback of the engine holds, and a request can ask for another.
func TestLookback(t *testing.T) {
	base := filled(t)
	for query, want := range map[string]bool{"time=1290": true, "time=1310": false, "time=1290&lookback_delta=1m": false} {
		resp, err := http.Get(base + "/api/v1/query?query=b&" + query)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(body), `"0.5"`); got != want {
			t.Errorf("%s: %s", query, body)
		}
	}
}
