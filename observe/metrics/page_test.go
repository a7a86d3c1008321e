package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// dump returns the samples of the series that match, a line each: name{labels} value@time, stale for the mark.
func dump(t testing.TB, s storage.Queryable, matchers ...*labels.Matcher) string {
	t.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var b strings.Builder
	set := q.Select(context.Background(), true, nil, matchers...)
	for set.Next() {
		fmt.Fprint(&b, set.At().Labels())
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			switch kind {
			case chunkenc.ValFloat:
				ts, v := it.At()
				if value.IsStaleNaN(v) {
					fmt.Fprintf(&b, " stale@%d", ts)
				} else {
					fmt.Fprintf(&b, " %v@%d", v, ts)
				}
			default:
				ts, h := it.AtFloatHistogram(nil)
				fmt.Fprintf(&b, " %v@%d", h, ts)
			}
		}
		b.WriteByte('\n')
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func matcher(t testing.TB, name, re string) *labels.Matcher {
	t.Helper()
	m, err := labels.NewMatcher(labels.MatchRegexp, name, re)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const plain = "text/plain; version=0.0.4"

// testPages reads pages one after the other, a second apart, beginning at second 1.
func testPages(t *testing.T, s *Store, honor bool, kind string, pages ...string) []pageResult {
	t.Helper()
	p := newPageReader(s.origin("test"), labels.FromStrings("job", "j", "instance", "i"), honor)
	var out []pageResult
	for i, page := range pages {
		r, err := p.read(t.Context(), []byte(page), kind, int64(i+1)*1000, func(pageResult, error) []report { return nil })
		if err != nil && !strings.Contains(page, "!") {
			t.Fatalf("page %d: %v", i, err)
		}
		out = append(out, r)
	}
	return out
}

func TestPages(t *testing.T) {
	for name, test := range map[string]struct {
		honor bool
		kind  string
		pages []string
		want  string
	}{
		"a series that is gone is stale": {pages: []string{"a 1\nb 2\n", "a 3\n", "a 4\nb 5\n"}, want: `
{__name__="a", instance="i", job="j"} 1@1000 3@2000 4@3000
{__name__="b", instance="i", job="j"} 2@1000 stale@2000 5@3000
`},
		"the order does not matter": {pages: []string{"a 1\nb 2\nc 3\n", "c 3\na 1\nb 2\n", "b 1\nc 1\n"}, want: `
{__name__="a", instance="i", job="j"} 1@1000 1@2000 stale@3000
{__name__="b", instance="i", job="j"} 2@1000 2@2000 1@3000
{__name__="c", instance="i", job="j"} 3@1000 3@2000 1@3000
`},
		"a page that cannot be parsed ends all": {pages: []string{"a 1\n", "a 2\nb! 3\n", "a 4\n"}, want: `
{__name__="a", instance="i", job="j"} 1@1000 stale@2000 4@3000
`},
		"an empty page ends all": {pages: []string{"a 1\n", "", "a 2\n"}, want: `
{__name__="a", instance="i", job="j"} 1@1000 stale@2000 2@3000
`},
		"the target's labels win": {pages: []string{`a{job="own",exported_job="x"} 1` + "\n"}, want: `
{__name__="a", exported_exported_job="own", exported_job="x", instance="i", job="j"} 1@1000
`},
		"unless the page's are honored": {honor: true, pages: []string{`a{job="own"} 1` + "\n"}, want: `
{__name__="a", instance="i", job="own"} 1@1000
`},
		"timestamps of the page": {pages: []string{"a 1 500\nb 1\n", "b 2\n"}, want: `
{__name__="a", instance="i", job="j"} 1@500
{__name__="b", instance="i", job="j"} 1@1000 2@2000
`},
		"the same series twice": {pages: []string{"a 1\na 2\n", "a 3\na 4\n"}, want: `
{__name__="a", instance="i", job="j"} 1@1000 3@2000
`},
		"OpenMetrics": {kind: "application/openmetrics-text; version=1.0.0", pages: []string{"# TYPE a counter\na_total 1\n# EOF\n"}, want: `
{__name__="a_total", instance="i", job="j"} 1@1000
`},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Config{})
			kind := test.kind
			if kind == "" {
				kind = plain
			}
			testPages(t, s, test.honor, kind, test.pages...)
			if got := dump(t, s, matcher(t, "__name__", ".+")); got != strings.TrimPrefix(test.want, "\n") {
				t.Errorf("got\n%swant%s", got, test.want)
			}
		})
	}
}

// A clock that was set back: the samples of that time are out of order beyond the window, counted, and the target goes on
// afterwards as if nothing had been.
func TestClockSetBack(t *testing.T) {
	s := openStore(t, Config{OutOfOrder: -1})
	p := newPageReader(s.origin("test"), labels.FromStrings("job", "j"), false)
	for _, second := range []int64{100, 101, 50, 51, 102} {
		if _, err := p.read(t.Context(), []byte("a 1\nb 2\n"), plain, second*1000, func(pageResult, error) []report { return nil }); err != nil {
			t.Fatalf("at %d: %v", second, err)
		}
	}
	if got := s.counts.outOfOrder.Load(); got != 4 {
		t.Errorf("%d samples out of order: want 4", got)
	}
	want := `{__name__="a", job="j"} 1@100000 1@101000 1@102000` + "\n"
	if got := dump(t, s, matcher(t, "__name__", "a")); got != want {
		t.Errorf("got %s want %s", got, want)
	}
}

func bomb(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "requests{path=\"/user/%d\",method=\"GET\"} 1\n", i)
	}
	return b.String()
}

// A metric with a label of ever new values is held back, and named with that label; all else goes on.
func TestLabelBomb(t *testing.T) {
	s := openStore(t, Config{Limits: Limits{SeriesPerMetric: 100}})
	r := testPages(t, s, false, plain, "ok 1\n"+bomb(150), "ok 2\n"+bomb(150)+"other 1\n")
	if r[0].refused != 50 || r[1].refused != 50 || r[1].stored != 102 {
		t.Errorf("refused %d and %d, stored %d: want 50, 50, 102", r[0].refused, r[1].refused, r[1].stored)
	}
	if n, _, _ := s.Head(); n != 102 {
		t.Errorf("%d series in memory: want 102", n)
	}
	all := s.Offenders()
	if len(all) != 1 {
		t.Fatalf("offenders %v: want one", all)
	}
	o := all[0]
	if o.Metric != "requests" || o.Label != "path" || o.LabelValues != 100 || o.Refused != 100 || !strings.Contains(o.Limit, "100 series of one metric") {
		t.Errorf("offender %+v: want requests by path, 100 values, 100 refused", o)
	}
}

// A metric whose labels are others at each reading has few series at any time; what it leaves in memory is bounded too.
func TestEverNewLabels(t *testing.T) {
	s := openStore(t, Config{Limits: Limits{SeriesPerMetric: 20}})
	var pages []string
	for round := range 40 {
		page := "ok 1\n"
		for i := range 10 {
			page += fmt.Sprintf("requests{id=\"%d-%d\"} 1\n", round, i)
		}
		pages = append(pages, page)
	}
	results := testPages(t, s, false, plain, pages...)
	if n, _, _ := s.Head(); n != churn*20+1 {
		t.Errorf("%d series in memory: want %d", n, churn*20+1)
	}
	if first, last := results[0], results[len(results)-1]; first.stored != 11 || last.stored != 1 || last.refused != 10 {
		t.Errorf("%+v at first, %+v at last: want all stored, then ok alone", first, last)
	}
	if all := s.Offenders(); len(all) != 1 || all[0].Metric != "requests" || !strings.Contains(all[0].Limit, "begun") {
		t.Errorf("offenders: %+v", all)
	}
}

func TestLimitOfATarget(t *testing.T) {
	s := openStore(t, Config{Limits: Limits{SeriesPerTarget: 10}})
	var page strings.Builder
	for i := range 20 {
		fmt.Fprintf(&page, "m%d 1\n", i)
	}
	// When series go, there is room for others.
	r := testPages(t, s, false, plain, page.String(), "x 1\n", page.String())
	if r[0].stored != 10 || r[1].refused != 1 || r[2].stored != 10 {
		t.Errorf("got %+v: want 10 stored, one refused while the place is taken, then 10 again", r)
	}
}

func TestLabelsAreChecked(t *testing.T) {
	s := openStore(t, Config{Limits: Limits{Labels: 4, LabelName: 20, LabelValue: 30}})
	page := `ok{a="1"} 1
many{a="1",b="2",c="3",d="4"} 1
long{` + strings.Repeat("a", 21) + `="1"} 1
wide{a="` + strings.Repeat("v", 31) + `"} 1
`
	if r := testPages(t, s, false, plain, page)[0]; r.refused != 3 || r.stored != 1 {
		t.Errorf("got %+v: want 3 refused, 1 stored", r)
	}
	if n := s.counts.invalid.Load(); n != 3 {
		t.Errorf("%d counted as invalid: want 3", n)
	}
}

func TestExemplarsAreKept(t *testing.T) {
	s := openStore(t, Config{})
	testPages(t, s, false, "application/openmetrics-text; version=1.0.0",
		"# TYPE h histogram\nh_bucket{le=\"1.0\"} 1 # {trace_id=\"abc\"} 0.5\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 0.5\n# EOF\n")
	q, err := s.ExemplarQuerier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := q.Select(0, math.MaxInt64, []*labels.Matcher{matcher(t, "__name__", "h_bucket")})
	if err != nil || len(all) != 1 || all[0].Exemplars[0].Labels.Get("trace_id") != "abc" {
		t.Errorf("got %v, %v: want the exemplar with trace_id abc", all, err)
	}
}

func TestMetadataIsKept(t *testing.T) {
	s := openStore(t, Config{})
	testPages(t, s, false, plain, "# HELP a What it is.\n# TYPE a counter\na 1\n")
	if m := s.Metadata("a")["a"]; m.Help != "What it is." || m.Type != "counter" {
		t.Errorf("got %+v", m)
	}
	if s.Metadata("b") != nil {
		t.Error("something is said of a metric that there is not")
	}
}

// The usual page costs no allocation for a sample.
func BenchmarkPage(b *testing.B) {
	s := openStore(b, Config{Limits: Limits{SeriesPerMetric: 1 << 20}})
	p := newPageReader(s.origin("bench"), labels.FromStrings("job", "j", "instance", "i"), false)
	page := []byte(bomb(10_000))
	ts := time.Now().UnixMilli()
	b.ReportAllocs()
	for b.Loop() {
		ts += 1000
		if _, err := p.read(context.Background(), page, plain, ts, func(pageResult, error) []report { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "samples/s")
}
