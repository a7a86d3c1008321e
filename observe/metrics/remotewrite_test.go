package metrics

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
)

func series(value float64, t int64, pairs ...string) prompb.TimeSeries {
	ts := prompb.TimeSeries{Samples: []prompb.Sample{{Value: value, Timestamp: t}}}
	for i := 0; i < len(pairs); i += 2 {
		ts.Labels = append(ts.Labels, prompb.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return ts
}

func packed(t testing.TB, all ...prompb.TimeSeries) []byte {
	t.Helper()
	data, err := (&prompb.WriteRequest{Timeseries: all}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, data)
}

func post(h http.Handler, body []byte, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRemoteWrite(t *testing.T) {
	s := openStore(t, Config{})
	h := s.RemoteWrite()
	hist := &histogram.Histogram{Schema: 1, Count: 3, Sum: 4, ZeroThreshold: 0.001, PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{1, 1}}
	native := series(0, 0, "__name__", "h", "job", "x")
	native.Samples, native.Histograms = nil, []prompb.Histogram{prompb.FromIntHistogram(1000, hist)}
	for range 2 { // the second time from the cache, whose duplicates are the same samples: they are taken
		// Labels that are not in order, and an empty one, are put right.
		w := post(h, packed(t, series(1, 1000, "job", "x", "__name__", "a", "empty", ""), series(2, 1000, "__name__", "b"), native), "Content-Encoding", "snappy")
		if w.Code != http.StatusNoContent {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
	w := post(h, packed(t, series(3, 2000, "job", "x", "__name__", "a", "empty", "")))
	if w.Code != http.StatusNoContent {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	want := `{__name__="a", job="x"} 1@1000 3@2000
{__name__="b"} 2@1000
{__name__="h", job="x"} ` + hist.ToFloat(nil).String() + "@1000\n"
	if got := dump(t, s, matcher(t, "__name__", ".+")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestRemoteWriteRefuses(t *testing.T) {
	s := openStore(t, Config{Limits: Limits{Body: 1 << 20, SeriesPerMetric: 100}})
	h := s.RemoteWrite()
	good := series(1, 1000, "__name__", "a")
	var many []prompb.TimeSeries
	for i := range 150 {
		many = append(many, series(1, 1000, "__name__", "bomb", "id", fmt.Sprint(i)))
	}
	cut := snappy.Encode(nil, []byte{0x0a, 0x7f, 1, 2})
	lateLabels, err := (&prompb.TimeSeries{Samples: good.Samples}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	label, err := (&prompb.TimeSeries{Labels: good.Labels}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	late := append(append([]byte{0x0a, byte(len(lateLabels) + len(label))}, lateLabels...), label...)
	for _, test := range []struct {
		name    string
		body    []byte
		headers []string
		status  int
		says    string
	}{
		{"not snappy", []byte("hello"), nil, 400, "unpacking"},
		{"cut off", cut, nil, 400, "cut off"},
		{"labels after samples", snappy.Encode(nil, late), nil, 400, "labels after samples"},
		{"a bomb of zeros", snappy.Encode(nil, make([]byte, 2<<20)), nil, 413, "unpacked"},
		{"a long body", bytes.Repeat([]byte{1}, 2<<20), nil, 413, "too large"},
		{"a length that lies", []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, nil, 413, "unpacked"},
		{"version 2", packed(t, good), []string{"Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, 415, "not supported"},
		{"another encoding", packed(t, good), []string{"Content-Encoding", "gzip"}, 415, "snappy"},
		{"no name", packed(t, series(1, 1000, "job", "x")), nil, 400, "without a name"},
		{"a label twice", packed(t, series(1, 1000, "__name__", "x", "a", "1", "a", "2")), nil, 400, "twice"},
		{"no UTF-8", packed(t, series(1, 1000, "__name__", "x", "a", "\xff")), nil, 400, "UTF-8"},
		{"a label bomb", packed(t, many...), nil, 400, "100 samples stored, 50 not"},
		{"far in the past", packed(t, series(1, 1_000_000_000, "__name__", "old")), nil, 204, ""},
		{"and further", packed(t, series(1, -1_000_000_000, "__name__", "old")), nil, 400, "too old"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(h, test.body, test.headers...)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("status %d, %q: want %d, %q", w.Code, w.Body, test.status, test.says)
			}
		})
	}
	if o := s.Offenders(); len(o) != 1 || o[0].Metric != "bomb" || o[0].Label != "id" {
		t.Errorf("offenders %+v: want bomb by id", o)
	}
	if got := post(h, packed(t, series(1, 1_000_001_000, "__name__", "a"))).Code; got != http.StatusNoContent {
		t.Errorf("after all that a good write has status %d", got)
	}
}

// What is wrong with one series keeps nothing of the others back.
func TestRemoteWriteStoresTheRest(t *testing.T) {
	s := openStore(t, Config{})
	w := post(s.RemoteWrite(), packed(t, series(1, 1000, "__name__", "a"), series(1, 1000, "job", "x"), series(math.NaN(), 1000, "__name__", "b")))
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "2 samples stored, 1 not") {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
	if got := strings.Count(dump(t, s, matcher(t, "__name__", ".+")), "\n"); got != 2 {
		t.Errorf("%d series: want 2", got)
	}
}

func FuzzWriteRequest(f *testing.F) {
	data, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series(1, 1000, "__name__", "a", "b", "c")},
		Metadata: []prompb.MetricMetadata{{MetricFamilyName: "a", Help: "h", Type: prompb.MetricMetadata_COUNTER}}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	s := openStore(f, Config{Limits: Limits{SeriesPerTarget: 100}})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := s.Begin(t.Context(), "fuzz")
		if err := b.writeRequest(data); err != nil {
			b.Rollback()
			return
		}
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	})
}
