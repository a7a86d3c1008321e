package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/banyanhq/banyan/observe/segment"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// running opens logs in memory and runs them until stop is called; by then all is stored.
func running(t testing.TB, cfg Config) (l *Logs, stop func()) {
	t.Helper()
	if cfg.FS == nil {
		cfg.FS = vfs.NewMem()
	}
	cfg.Dir = "logs"
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return noon }
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return l, stop
}

func fieldsOf(line string) map[string]string {
	m := map[string]string{}
	for _, f := range Parse(line) {
		if _, known := m[f.Name]; !known {
			m[f.Name] = f.Value
		}
	}
	return m
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line string
		want map[string]string
	}{
		{`{"level":"WARNING","msg":"a \"b\"","n":5,"ok":true,"none":null,"user":{"id":7,"tags":["x", 1]}}`,
			map[string]string{"level": "warn", "msg": `a "b"`, "n": "5", "ok": "true", "user.id": "7", "user.tags": `["x", 1]`}},
		{`{"severity":"ERROR","trace.id":"4bf92f3577b34da6a3ce929d0e0e4736"}`,
			map[string]string{"severity": "ERROR", "level": "error", "trace.id": "4bf92f3577b34da6a3ce929d0e0e4736", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}},
		{`{"level":30,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`,
			map[string]string{"level": "info", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}},
		{`{"a":1} and more`, map[string]string{}},
		{`{"a":01}`, map[string]string{}},
		{`time=2026-11-29T12:00:00Z level=INFO msg="took 3 ms" dur=3ms path=/x?a=b quoted="a\tb"`,
			map[string]string{"time": "2026-11-29T12:00:00Z", "level": "info", "msg": "took 3 ms", "dur": "3ms", "path": "/x?a=b", "quoted": "a\tb"}},
		{`2026/11/29 12:00:00 request done status=200 x = 3 "k=v" 9=3`, map[string]string{"status": "200"}},
		{`12:00:00 ERROR could not connect`, map[string]string{"level": "error"}},
		{`[warn] careful`, map[string]string{"level": "warn"}},
		{`panic: runtime error`, map[string]string{"level": "fatal"}},
		{`E1129 12:00:00.000000 1 main.go:3] no`, map[string]string{"level": "error"}},
		{`an error is mentioned, and Info is a word`, map[string]string{}},
		{"", map[string]string{}},
	} {
		if got := fieldsOf(c.line); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.line, got, c.want)
		}
	}
}

// One parser for many lines finds in each what Parse does, and leaves what it found before as it was.
func TestAParserOfManyLines(t *testing.T) {
	lines := []string{
		`{"level":"WARNING","msg":"a \"b\" \u00e9\ud83d\ude00 \ud800x \/","user":{"id":7,"name":{"first":"x"}},"list":[1,{"a":"b"}]}`,
		`{"a":1} and more`, `time=2026-11-29T12:00:00Z level=INFO msg="took 3 ms" a=1 b=2 c=3`, `{"user":{"id":8}}`, ``, `{}`, `{"a":"\x"}`, `12:00:00 ERROR could not`, `{"a":"` + "\x01" + `"}`,
		`{"deep":` + strings.Repeat(`{"x":`, 40) + `1` + strings.Repeat("}", 41), `{` + strings.Repeat(`"field":"value",`, 100) + `"last":1}`,
	}
	var p Parser
	var all [][]segment.Field
	for range 50 {
		for _, line := range lines {
			all = append(all, p.Parse(line))
		}
	}
	for i, fields := range all {
		if want := Parse(lines[i%len(lines)]); len(fields)+len(want) > 0 && !reflect.DeepEqual(fields, want) {
			t.Fatalf("line %d, %s:\n got %v\nwant %v", i, lines[i%len(lines)], fields, want)
		}
	}
	before := segment.Field{Name: "_id", Value: "7"}
	if fields, ok := p.Object(`{"a":1}`, before); !ok || !reflect.DeepEqual(fields, []segment.Field{before, {Name: "a", Value: "1", InBody: true}}) {
		t.Errorf("behind an id: %v, %v", fields, ok)
	}
	for _, no := range []string{`a=b`, `{"a":1}x`, `[1]`, ``} {
		if _, ok := p.Object(no); ok {
			t.Errorf("%q is taken for an object", no)
		}
	}
	if got := fieldsOf(lines[0]); got["msg"] != "a \"b\" é😀 \uFFFDx /" || got["user.name.first"] != "x" {
		t.Errorf("escapes: %q", got)
	}
}

// FuzzJSONFields holds the reader of JSON against encoding/json.
func FuzzJSONFields(f *testing.F) {
	for _, s := range []string{`{"a":{"b":[1,{"c":"d"}],"e":"\u00e9\n"},"f":-1.5e+3,"g":null}`, `{"a":1`, `{"":{"x":1}}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := map[string]string{}
		reader := jsonReader{emit: func(name, value string, inText bool) {
			if inText && !strings.Contains(s, value) {
				t.Fatalf("%q is said to stand in %q", value, s)
			}
			if _, known := got[name]; !known {
				got[name] = value
			}
		}}
		ok := reader.read(s)
		var want map[string]json.RawMessage
		valid := json.Unmarshal([]byte(s), &want) == nil && want != nil
		if ok != valid && strings.Count(s, "{")+strings.Count(s, "[") < maxDepth {
			t.Fatalf("read %v, encoding/json %v", ok, valid)
		}
		if !ok || !valid || strings.Count(s, ":") != len(want) || strings.Contains(s, `"":`) {
			return // of names that come twice, the first counts here and the last there
		}
		for name, raw := range want {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil || len(text) > maxValue || string(raw) == "null" {
				continue
			}
			if v, there := got[name]; !there && strings.ToValidUTF8(name, "") == name && !strings.Contains(name, "\uFFFD") || there && strings.ToValidUTF8(v, "\uFFFD") != text && strings.ToValidUTF8(v, "") == v {
				t.Fatalf("%q is %q, want %q", name, v, text)
			}
		}
	})
}

func FuzzPairs(f *testing.F) {
	f.Add(`a=b c="d \" e" f= =g "h=i" j="k`)
	f.Fuzz(func(t *testing.T, s string) {
		pairs(s, func(name, value string, inText bool) {
			if name == "" || inText && !strings.Contains(s, value) || !strings.Contains(s, name+"=") {
				t.Fatalf("%q=%q, %v", name, value, inText)
			}
		})
		Parse(s)
	})
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{`level=error "timeout"`, `a or not (b -c) d:"e f"`, `/x\/y/ status>=500 path~"^/a" z=* w!=1`, `"a`, `((`, `or`, `a and`, `level>=`, `x!~"["`} {
		f.Add(q)
	}
	record := segment.Record{Stream: segment.NewStream(map[string]string{"service": "web"}), Body: "level=error a timeout", Fields: []segment.Field{{Name: "level", Value: "error"}}}
	f.Fuzz(func(t *testing.T, q string) {
		filter, err := Query(q)
		if err != nil {
			var e *QueryError
			if !errors.As(err, &e) || e.At < 0 || e.At > len(q) {
				t.Fatalf("%q: %v", q, err)
			}
			return
		}
		if segment.Match(filter, &record) == segment.Match(segment.Not(filter), &record) {
			t.Fatalf("%q both finds a record and does not", q)
		}
	})
}

func TestQuery(t *testing.T) {
	record := func(labels map[string]string, line string) *segment.Record {
		return &segment.Record{Stream: segment.NewStream(labels), Body: line, Fields: Parse(line)}
	}
	slow := record(map[string]string{"service": "web"}, `level=error msg="Connection refused by 10.0.0.7" status=503 took=1.5s path=/api/v1 user.id=7`)
	fine := record(map[string]string{"service": "api"}, `{"level":"info","msg":"timeouts are fine","status":200,"took":"3ms"}`)
	for q, want := range map[string][2]bool{
		``:                                      {true, true},
		`*`:                                     {true, true},
		`refused`:                               {true, false},
		`REFUSED`:                               {true, false},
		`refuse`:                                {false, false},
		`refuse*`:                               {true, false},
		`timeout`:                               {false, false},
		`timeout*`:                              {false, true},
		`"connection refused"`:                  {true, false},
		`"refused connection"`:                  {false, false},
		`level=error "refused"`:                 {true, false},
		`level=error and timeouts`:              {false, false},
		`level=error or timeouts`:               {true, true},
		`not level=error`:                       {false, true},
		`-level=error`:                          {false, true},
		`!level=error`:                          {false, true},
		`level!=error`:                          {false, true},
		`level>=warn`:                           {true, false},
		`level=ERR`:                             {true, false},
		`status>=500`:                           {true, false},
		`status<500`:                            {false, true},
		`took>1s`:                               {true, false},
		`took<=3ms`:                             {false, true},
		`took=*`:                                {true, true},
		`nothing=*`:                             {false, false},
		`service=web`:                           {true, false},
		`service=w*`:                            {true, false},
		`service!=web`:                          {false, true},
		`path~"^/api"`:                          {true, false},
		`path!~"^/api"`:                         {false, true},
		`msg:refused`:                           {true, false},
		`msg:"refused by"`:                      {true, false},
		`msg:fin*`:                              {false, true},
		`user.id=7`:                             {true, false},
		`/by \d+\.0/`:                           {true, false},
		`(service=web or service=api) -refused`: {false, true},
		`"10.0.0.7"`:                            {true, false},
		`not (refused or fine)`:                 {false, false},
		`"or"`:                                  {false, false},
	} {
		f, err := Query(q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		if got := [2]bool{segment.Match(f, slow), segment.Match(f, fine)}; got != want {
			t.Errorf("%s: %v, want %v", q, got, want)
		}
	}
	for q, at := range map[string]int{`a or`: 4, `or a`: 0, `level=`: 6, `(a`: 2, `a)`: 1, `"a`: 0, `/a`: 0, `x~"["`: 2, `status>fast`: 7, `=a`: 0, `not`: 3, strings.Repeat("(", 200): 100} {
		_, err := Query(q)
		var e *QueryError
		if !errors.As(err, &e) || e.At != at {
			t.Errorf("%.20s: %v, want an error at %d", q, err, at)
		}
	}
}

func search(t *testing.T, l *Logs, query string) []string {
	t.Helper()
	f, err := Query(query)
	if err != nil {
		t.Fatal(err)
	}
	entries, _, err := l.Search(t.Context(), Search{Filter: f, Limit: 1000, Ascending: true})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.Line)
	}
	return lines
}

func TestSourceKeepsLines(t *testing.T) {
	fs := vfs.NewMem()
	l, stop := running(t, Config{FS: fs, MaxLine: 1000})
	s := l.Source("web", "web-0")
	garbage := string([]byte{0, 1, 0xff, 0xfe, '\r', 0x1b, '[', '3', '1', 'm'})
	s.Line(noon, "out", `level=info msg=hello`, false)
	s.Line(noon, "err", garbage, false)
	piece := strings.Repeat("x", 700)
	for range 15000 { // 10 MB
		s.Line(noon, "out", piece, true)
	}
	s.Line(noon, "out", "end", false)
	s.Line(noon, "out", "whole ", true)
	s.Line(noon, "err", "between", false)
	s.Line(noon, "out", "again", false)
	s.Line(noon, "out", "never ended", true)
	s.Close(noon)
	stop()
	l, _ = running(t, Config{FS: fs})
	lines := search(t, l, "")
	if !slices.Contains(lines, garbage) || !slices.Contains(lines, "whole again") || !slices.Contains(lines, "between") || !slices.Contains(lines, "never ended") {
		t.Errorf("lines are missing: %q", lines)
	}
	long := search(t, l, `cut_bytes>10000000`)
	if len(long) != 1 || len(long[0]) > 1000 || len(long[0]) < 990 {
		t.Errorf("the long line is kept as %d lines", len(long))
	}
	if n := len(search(t, l, `service=web replica=web-0 stream=out level=info`)); n != 1 {
		t.Errorf("%d lines with their labels and level", n)
	}
}

func TestRateLimit(t *testing.T) {
	fs := vfs.NewMem()
	l, stop := running(t, Config{FS: fs, Rate: 10})
	loud, quiet := l.Source("loud", "loud-0"), l.Source("quiet", "quiet-0")
	for i := range 1000 {
		loud.Line(noon.Add(time.Duration(i)*time.Millisecond), "out", fmt.Sprint("line ", i), false)
	}
	loud.Line(noon.Add(-time.Hour), "out", "the clock went back", false)
	quiet.Line(noon, "out", "here", false)
	loud.Line(noon.Add(time.Minute), "out", "later", false)
	stop()
	l, _ = running(t, Config{FS: fs})
	n := len(search(t, l, `service=loud "line"`))
	if n < 100 || n > 112 { // ten seconds' worth, and one second's
		t.Errorf("%d lines of 1000 were kept", n)
	}
	if len(search(t, l, "service=quiet")) != 1 || len(search(t, l, "later")) != 1 {
		t.Error("lines within the rate are lost")
	}
	told := search(t, l, `stream=sys "were dropped"`)
	if len(told) == 0 {
		t.Error("nothing tells of what was dropped")
	}
}

func TestRedaction(t *testing.T) {
	l, _ := running(t, Config{Redact: []Redaction{{Name: "email"}, {Name: "card"}, {Name: "secret"}, {Name: "order", Pattern: `order (\d+)`, With: "#"}}})
	line := `{"user":"ann@example.org","card":"4111 1111 1111 1111","no_card":"4111 1111 1111 1112","password":"hunter2","text":"order 77 of 77"}`
	err := l.Append(t.Context(), []segment.Record{{Time: noon.UnixNano(), Stream: segment.NewStream(nil), Body: line, Fields: Parse(line)}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"user":"[email]","card":"[card]","no_card":"4111 1111 1111 1112","password":"[secret]","text":"order # of 77"}`
	if got := search(t, l, ""); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %s", got, want)
	}
	if len(search(t, l, `user="ann@example.org"`)) != 0 || len(search(t, l, `hunter2`)) != 0 || len(search(t, l, `user="[email]"`)) != 1 {
		t.Error("a field still has what was redacted, or is not found any more")
	}
	if _, err := Open(Config{Dir: "x", FS: vfs.NewMem(), Redact: []Redaction{{Name: "nonsense"}}}); err == nil {
		t.Error("a rule that is not there was taken")
	}
}

var errEnough = errors.New("enough")

// TestFollowMissesNothing follows while several append, and sees each line once.
func TestFollowMissesNothing(t *testing.T) {
	l, _ := running(t, Config{HeadBytes: 100 << 10})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const writers, each = 4, 600
	seen := map[string]int{}
	done := make(chan error, 1)
	follows := make(chan struct{}, 1)
	go func() {
		f, _ := Query("wanted")
		done <- l.Follow(ctx, f, func(e Entry) error {
			if e.Line == "wanted first" {
				select {
				case follows <- struct{}{}:
				default:
				}
				return nil
			}
			seen[e.Line]++
			if len(seen) == writers*each {
				return errEnough
			}
			return nil
		})
	}()
	stream := segment.NewStream(map[string]string{"service": "w"})
	for begun := false; !begun; {
		if err := l.Append(ctx, []segment.Record{{Time: noon.UnixNano(), Stream: stream, Body: "wanted first"}}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-follows:
			begun = true
		default:
		}
	}
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			var err error
			for i := range each {
				r := rand.IntN(1000)
				err = errors.Join(err, l.Append(ctx, []segment.Record{{Time: noon.Add(time.Duration(r) * time.Second).UnixNano(), Stream: stream, Body: fmt.Sprintf("wanted %d-%d", w, i)}, {Time: noon.UnixNano(), Stream: stream, Body: "other"}}))
			}
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; !errors.Is(err, errEnough) {
		t.Errorf("following ended with %v after %d of %d lines", err, len(seen), writers*each)
	}
	for line, n := range seen {
		if n != 1 {
			t.Fatalf("%s was seen %d times", line, n)
		}
	}
}

func TestHistogramAndHTTP(t *testing.T) {
	l, _ := running(t, Config{})
	var records []segment.Record
	for i := range 600 {
		line := fmt.Sprintf("level=%s n=%d", []string{"info", "error", "info"}[i%3], i)
		records = append(records, segment.Record{Time: noon.Add(time.Duration(i-600) * time.Second).UnixNano(), Stream: segment.NewStream(map[string]string{"service": "web"}), Body: line, Fields: Parse(line)})
	}
	if err := l.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	bars, err := l.Histogram(t.Context(), Search{From: noon.Add(-10 * time.Minute), To: noon, Filter: segment.All()}, time.Minute, "level")
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range bars[:10] {
		if b.Count != 60 || b.Groups["error"] != 20 || b.Groups["info"] != 40 {
			t.Errorf("bar %d: %+v", i, b)
		}
	}
	h := l.Handler("/logs")
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	code, body := get("/logs/search?query=level%3Derror&limit=7")
	var a Answer
	if err := json.Unmarshal([]byte(body), &a); err != nil || code != 200 || len(a.Entries) != 7 || a.Entries[0].Fields["n"] != "598" {
		t.Errorf("%d %s, %v", code, body, err)
	}
	code, body = get("/logs/search?query=level%3Derror&limit=7&after=" + a.Entries[6].Position)
	if err := json.Unmarshal([]byte(body), &a); err != nil || a.Entries[0].Fields["n"] != "577" {
		t.Errorf("the next page: %d %s", code, body)
	}
	for _, path := range []string{"/logs/search?query=(", "/logs/search?limit=x", "/logs/search?from=x", "/logs/histogram?step=1s", "/logs/histogram?step=1ns&from=2026-11-29T12:00:00Z&to=2026-11-29T13:00:00Z"} {
		if code, body := get(path); code != 400 || !strings.Contains(body, "error") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if n := testutil.CollectAndCount(l.Collector()); n < 15 {
		t.Errorf("%d metrics", n)
	}
}

func TestPrintable(t *testing.T) {
	if got := Printable("a\x1b[31mb\xffc\té\n"); got != `a\x1b[31mb\xffc`+"\té"+`\n` {
		t.Errorf("got %q", got)
	}
}
