package promapi_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/promapi"
	"github.com/banyanhq/banyan/observe/promapi/promtest"
)

// serve answers the API over the store in a directory.
func serve(t *testing.T, dir string) (*metrics.Store, *httptest.Server) {
	t.Helper()
	s, err := metrics.Open(metrics.Config{Dir: dir, Retention: 100 * 365 * 24 * time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	api, err := promapi.New(promapi.Config{Store: s, Engine: promapi.NewEngine(promapi.EngineConfig{})})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	api.Mount(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return s, server
}

// The answers to all queries of the corpus are those of Debian's Prometheus, over the same blocks.
func TestAnswersAreThoseOfPrometheus(t *testing.T) {
	ours, theirs := promtest.Dirs(t.TempDir())
	if err := promtest.WriteBlocks(t.Context(), ours, theirs); err != nil {
		t.Fatal(err)
	}
	p, err := promtest.Run(t.Context(), theirs, "")
	if errors.Is(err, promtest.ErrAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	_, server := serve(t, ours)
	full, different := 0, 0
	corpus := promtest.Corpus()
	for _, q := range corpus {
		a, err := promtest.Ask(t.Context(), server.URL, q)
		if err != nil {
			t.Fatalf("%s: %v", q.Expr, err)
		}
		b, err := promtest.Ask(t.Context(), p.URL, q)
		if err != nil {
			t.Fatalf("%s: %v", q.Expr, err)
		}
		if len(a.Series) > 0 {
			full++
		}
		if d := promtest.Diff(a, b); d != "" {
			different++
			t.Errorf("%s (%v): %s", q.Expr, q.Step, d)
		}
	}
	t.Logf("%d queries, %d with series, %d with another answer than Prometheus's", len(corpus), full, different)
	if len(corpus) < 500 || full < len(corpus)*8/10 {
		t.Errorf("the corpus shows too little: %d queries, %d with series", len(corpus), full)
	}
}
