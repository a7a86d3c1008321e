package metrics

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A target is read, found down when it fails, and ended when it is gone.
func TestScraper(t *testing.T) {
	var broken, gone atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "a 1")
	}))
	defer server.Close()
	s := openStore(t, Config{})
	sc := NewScraper(s, func() []Target {
		if gone.Load() {
			return nil
		}
		return []Target{{Job: "j", URL: server.URL + "/metrics", Interval: 100 * time.Millisecond}, {Job: "wrong", URL: "ftp://x"}}
	})
	sc.poll = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sc.Run(ctx) }()
	health := func() string {
		if all := sc.Targets(); len(all) == 1 {
			return all[0].Health
		}
		return ""
	}
	eventually(t, "the target is up", func() bool { return health() == "up" })
	broken.Store(true)
	eventually(t, "the target is down", func() bool { return health() == "down" })
	broken.Store(false)
	eventually(t, "the target is up again", func() bool { return health() == "up" })
	gone.Store(true)
	eventually(t, "the target is gone", func() bool { return len(sc.Targets()) == 0 && len(s.sortedOrigins()) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := dump(t, s, matcher(t, "__name__", "a|up"))
	for _, line := range strings.Split(strings.TrimSpace(got), "\n") {
		if !strings.Contains(line, "stale@") || !strings.Contains(line, `job="j"`) {
			t.Errorf("%s: want a series that has ended", line)
		}
	}
	if !strings.Contains(got, " 0@") {
		t.Errorf("%s: want up to have been 0", got)
	}
}

// A page that never ends is cut off at the limit, and costs the target alone.
func TestScraperBoundsThePage(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(bomb(1000))); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	s := openStore(t, Config{Limits: Limits{Body: 1 << 20}})
	target := Target{Job: "j", URL: server.URL, Interval: time.Minute, Timeout: time.Minute} // that the page is too large ends it, not its time
	if err := target.check(); err != nil {
		t.Fatal(err)
	}
	r := &reading{target: target, reader: newPageReader(s.origin("x"), target.lset(), false), client: server.Client(), log: s.cfg.Log}
	r.once(t.Context(), time.Now())
	if r.status.Health != "down" || !strings.Contains(fmt.Sprint(r.status.Error), "too large") {
		t.Errorf("status %+v: want it down because the page is too large", r.status)
	}
}

func TestTargetsAreChecked(t *testing.T) {
	for _, bad := range []Target{{Job: "j"}, {URL: "http://x"}, {Job: "j", URL: "http://x", Interval: time.Second, Timeout: 2 * time.Second},
		{Job: "j", URL: "/metrics"}, {Job: "j", URL: "http://x", Interval: time.Millisecond}} {
		if err := bad.check(); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
