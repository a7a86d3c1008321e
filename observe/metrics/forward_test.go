package metrics

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// eventually waits until a condition holds: what it is about happens in other goroutines.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}

// What one store takes arrives in another, through a receiver that fails at first, refuses one request and then works.
func TestForward(t *testing.T) {
	to := openStore(t, Config{})
	receive := to.RemoteWrite()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) <= 2 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		receive.ServeHTTP(w, r)
	}))
	defer server.Close()
	from := openStore(t, Config{})
	f, err := NewForwarder(from, ForwardConfig{URL: server.URL, Flush: 20 * time.Millisecond, Batch: 10, Labels: map[string]string{"system": "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- from.Forward(ctx, []*Forwarder{f}) }()

	// The watcher sends what is newer than its own start, so samples lie a little ahead.
	start := time.Now().Add(time.Minute).UnixMilli()
	const n = 95
	for i := range int64(n) {
		b := from.Begin(t.Context(), "test")
		b.Append(labels.FromStrings("__name__", "a", "i", string(rune('a'+i%5))), Sample{T: start + i, V: float64(i)})
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all samples are sent", func() bool { return f.Status().Sent == n })
	if s := f.Status(); s.Retries < 2 || s.Dropped != 0 || s.Error != "" {
		t.Errorf("status %+v: want at least 2 retries and nothing dropped", s)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := f.Status(); s.Waiting != 0 {
		t.Errorf("%d samples wait after the end", s.Waiting)
	}
	if got := to.counts.samples.Load(); got != n {
		t.Errorf("%d samples arrived: want %d", got, n)
	}
	if got := dump(t, to, matcher(t, "system", "shop")); got == "" {
		t.Error("the label of the system is missing")
	}
}

func TestForwardRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer server.Close()
	s := openStore(t, Config{})
	f, err := NewForwarder(s, ForwardConfig{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	f.ctx = t.Context()
	f.deliver([]pendingSample{{labels: encodeLabels(labels.FromStrings("__name__", "a")), t: time.Now().UnixMilli(), v: 1}})
	if got := f.Status(); got.Dropped != 1 || got.Retries != 0 || got.Error == "" {
		t.Errorf("status %+v: want one dropped, no retry", got)
	}
	f.deliver([]pendingSample{{t: time.Now().Add(-2 * time.Hour).UnixMilli()}})
	if got := f.Status(); got.Dropped != 2 {
		t.Errorf("status %+v: want the old one dropped", got)
	}
}
