package load

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// The recordings in testdata become the workloads beside them, which are right and can be compiled.
func TestRecordings(t *testing.T) {
	for _, name := range []string{"combined.log", "common.log", "json.log", "haproxy.log", "session.har"} {
		data, err := os.ReadFile(filepath.Join("testdata", "recordings", name))
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		zw := gzip.NewWriter(&packed)
		_, _ = zw.Write(data)
		zw.Close()
		r, err := Import(&packed, ImportOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := r.YAML("recorded", "")
		golden := filepath.Join("testdata", "recordings", strings.TrimSuffix(name, filepath.Ext(name))+".yaml")
		if *update {
			if err := os.WriteFile(golden, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || string(want) != string(text) {
			t.Errorf("%s: %v, write it anew with -update\n%s", golden, err, text)
		}
		mustCompile(t, text)
		mustCompile(t, r.YAML("recorded", "arrivals.csv"))
	}
}

func mustCompile(t *testing.T, text []byte) *topology.Workload {
	t.Helper()
	sys, err := topology.Parse(topology.Source{Name: "recorded.yaml", Data: text})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if _, err := compile(sys.Workload, nil, &targets{cfg: &Config{Target: "http://h"}}); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return sys.Workload
}

// The trace has the recording's arrivals, second by second.
func TestRecordedArrivals(t *testing.T) {
	log := `{"ts":1700000000.9,"method":"GET","path":"/a"}
{"ts":1700000003.1,"method":"GET","path":"/a"}
{"ts":"2023-11-14T22:13:20.2Z","method":"POST","path":"/b"}
`
	r, err := Import(strings.NewReader(log), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteTrace(&b); err != nil {
		t.Fatal(err)
	}
	if want := "time,requests\n2023-11-14T22:13:20Z,2\n2023-11-14T22:13:23Z,1\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	w := mustCompile(t, r.YAML("x", "a.csv"))
	s, err := readTraceFrom(w.Trace, files{held: map[string][]byte{"a.csv": b.Bytes()}})
	if err != nil || len(s.rates) != 4 || s.rates[0] != 2 || s.rates[3] != 1 {
		t.Errorf("%v, %+v", err, s)
	}
	if w = mustCompile(t, r.YAML("x", "")); w.Rate != 0.75 {
		t.Errorf("rate %v, want 0.75/s", w.Rate)
	}
}

func TestWrongRecordings(t *testing.T) {
	for _, tt := range []struct{ format, text, want string }{
		{"", "", "there is no request in it"},
		{"", "hello\n", "line 1: \"hello\": no time"},
		{"", `h - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1` + "\n" + `h - - [10/Oct/2000 "GET / HTTP/1.0" 200 1`, "line 2: "},
		{"", `h - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" abc 1`, `status "abc"`},
		{"", `h - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0`, "no closing quote"},
		{"", `h - - [10/Oct/2000:13:55:36 -0700] "\x16\x03" 400 1`, "none of 1 entries"},
		{"", `{"method":"GET","path":"/"}`, "line 1: a request without a time"},
		{"", `{"method":"GET","path":"/","ts":"soon"}`, "line 1: time \"soon\""},
		{"json", "{\"a\":\n", "line 1: "},
		{"har", "{}", "it has no log"},
		{"har", `{"log":{"entries":{}}}`, "no list"},
		{"har", `{"log":{"entries":[{"startedDateTime":"x"}]}}`, "entry 1: startedDateTime"},
		{"har", `{"log":{"entries":[`, "entries"},
		{"xml", "x", "want har, common, combined or json"},
		{"", `{"method":"GET","path":"/","ts":1700000000}` + "\n" + `{"method":"GET","path":"/","ts":400000000}`, "line 2: its time"},
		{"", "{\"a\":\"" + strings.Repeat("x", maxRecordingLine) + "\"}", "line 1: longer"},
	} {
		_, err := Import(strings.NewReader(tt.text), ImportOptions{Format: tt.format})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// Many shapes and many values stay within their bounds, and what was left out is said.
func TestRecordingIsBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 3 * maxShapes / 2 {
		b.WriteString(`{"ts":1700000000,"method":"GET","path":"/page-` + number(float64(i)) + `x"}` + "\n")
	}
	for i := range 5000 {
		b.WriteString(`{"ts":1700000001,"method":"GET","path":"/","query":"q=w` + number(float64(i)) + `"}` + "\n")
	}
	b.WriteString(`{"ts":1700000001,"method":"GET","path":"/?q=x"}` + "\n")
	r, err := Import(strings.NewReader(b.String()), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.shapes) != maxShapes || r.Dropped != int64(maxShapes/2)+5001 {
		t.Errorf("%d shapes, %d dropped", len(r.shapes), r.Dropped)
	}
	text := r.YAML("x", "")
	if w := mustCompile(t, text); len(w.Scenarios) != maxScenarios || !strings.Contains(string(text), "rarer shapes") {
		t.Errorf("%d scenarios", len(w.Scenarios))
	}
}

// Whatever is taken for a recording becomes a workload that is right.
func FuzzImport(f *testing.F) {
	for _, name := range []string{"combined.log", "common.log", "json.log", "haproxy.log", "session.har"} {
		data, err := os.ReadFile(filepath.Join("testdata", "recordings", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "")
	}
	f.Add(`h - - [10/Oct/2000:13:55:36 -0700] "GET /${a}/$${b}?x=${c}&y=%00 HTTP/1.0" 200 1`, "common")
	f.Fuzz(func(t *testing.T, text, format string) {
		r, err := Import(strings.NewReader(text), ImportOptions{Format: format})
		if err != nil {
			return
		}
		mustCompile(t, r.YAML("recorded", ""))
	})
}
