package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func replica(t *testing.T, dir string) (*store, http.Handler) {
	t.Helper()
	s, err := openStore(dir, slog.New(slog.DiscardHandler), acquirer{after: time.After})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.journal.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("journal: %v", err)
		}
	})
	return s, httpserve.Handler(s.service())
}

func do(h http.Handler, method, path, key, body string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Idempotency-Key", key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

const good, bad = `{"amount_cents": 1250, "card": "4242 4242 4242 4242"}`, `{"amount_cents": 1250, "card": "4000-0000-0000-0002"}`

func TestPayments(t *testing.T) {
	dir := t.TempDir()
	_, a := replica(t, dir)
	_, b := replica(t, dir)
	for _, tt := range []struct {
		name, method, path, key, body string
		on                            http.Handler
		status                        int
		says                          string
	}{
		{"charge", "POST", "/payments", "key-00001", good, a, 201, `"status":"approved"`},
		{"again, another replica", "POST", "/payments", "key-00001", good, b, 200, `"status":"approved"`},
		{"what became of it", "GET", "/payments/key-00001", "", "", b, 200, `"last_four":"4242"`},
		{"resolve leaves it", "POST", "/payments/key-00001/resolve", "", "", a, 200, `"status":"approved"`},
		{"another amount", "POST", "/payments", "key-00001", strings.Replace(good, "1250", "1251", 1), a, 422, "key_reused"},
		{"another card", "POST", "/payments", "key-00001", bad, a, 422, "key_reused"},
		{"declined", "POST", "/payments", "key-00002", bad, a, 201, `"status":"declined"`},
		{"declined again", "POST", "/payments", "key-00002", bad, b, 200, `"status":"declined"`},
		{"unknown", "GET", "/payments/key-00003", "", "", a, 404, "no_such_payment"},
		{"resolve first", "POST", "/payments/key-00003/resolve", "", "", a, 200, `"status":"cancelled"`},
		{"a charge that comes late", "POST", "/payments", "key-00003", good, b, 200, `"status":"cancelled"`},
		{"no key", "POST", "/payments", "", good, a, 400, "bad_key"},
		{"a mistyped card", "POST", "/payments", "key-00004", `{"amount_cents": 1, "card": "4242424242424243"}`, a, 422, "bad_card"},
		{"nothing to pay", "POST", "/payments", "key-00004", `{"amount_cents": 0, "card": "4242424242424242"}`, a, 422, "bad_amount"},
		{"unknown field", "POST", "/payments", "key-00004", `{"amount": 1}`, a, 400, "amount"},
		{"two values", "POST", "/payments", "key-00004", good + "{}", a, 400, "more than one"},
		{"not JSON", "POST", "/payments", "key-00004", "", a, 400, "empty"},
		{"wrong type", "POST", "/payments", "key-00004", `{"amount_cents": "1"}`, a, 400, "amount_cents"},
		{"wrong method", "DELETE", "/payments", "", "", a, 405, ""},
	} {
		if status, body := do(tt.on, tt.method, tt.path, tt.key, tt.body); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: %d %s, want %d with %s", tt.name, status, body, tt.status, tt.says)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "payments.log"))
	if err != nil || strings.Contains(string(data), "424242") {
		t.Errorf("the number of a card is in the journal (%v)", err)
	}
}

// Charging and resolving race on two replicas: one of them decides, and both
// and every later reader say the same.
func TestResolveRacesCharge(t *testing.T) {
	dir := t.TempDir()
	a, _ := replica(t, dir)
	b, _ := replica(t, dir)
	outcomes := map[string]int{}
	for i := range 60 {
		key := "key-of-race-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		var charged, resolved Payment
		var wg sync.WaitGroup
		charge := func() {
			var err error
			if charged, _, err = a.pay(t.Context(), key, "4242424242424242", 100); err != nil {
				t.Error(err)
			}
		}
		resolve := func() {
			var err error
			if resolved, _, err = b.record(t.Context(), Payment{Key: key, Status: cancelled}); err != nil {
				t.Error(err)
			}
		}
		if i%2 == 0 {
			charge, resolve = resolve, charge
		}
		wg.Go(charge)
		wg.Go(resolve)
		wg.Wait()
		after, err := b.get(key)
		if err != nil || charged != resolved || charged != after {
			t.Fatalf("charge says %v, resolve %v, later %v, %v", charged, resolved, after, err)
		}
		outcomes[after.Status]++
	}
	t.Log(outcomes)
}

func TestAcquirerDelayEndsWithTheRequest(t *testing.T) {
	a := acquirer{delay: time.Hour, after: func(time.Duration) <-chan time.Time { return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := a.decide(ctx, "k", "4242424242424242"); err == nil {
		t.Fatal("the acquirer answered a request that had gone")
	}
}

// Old payments are forgotten, so that the file stays bounded.
func TestTheStoreStaysBounded(t *testing.T) {
	dir := t.TempDir()
	const keep, payments, compactAbove = 5, 300, 4000
	s, err := openStoreKeeping(dir, slog.New(slog.DiscardHandler), acquirer{after: time.After}, keep, compactAbove)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.journal.Run(ctx) }()
	for i := range payments {
		if _, made, err := s.pay(t.Context(), fmt.Sprint("key", i), "4242424242424242", int64(i)); err != nil || !made {
			t.Fatal(made, err)
		}
	}
	if p, err := s.get(fmt.Sprint("key", payments-1)); err != nil || p.AmountCents != payments-1 {
		t.Errorf("the last payment: %+v, %v", p, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	again, err := openStoreKeeping(dir, slog.New(slog.DiscardHandler), acquirer{}, keep, compactAbove)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(again.payments); n < keep || n > 60 {
		t.Errorf("%d payments are remembered", n)
	}
	if _, err := again.get("key0"); err == nil {
		t.Error("the first payment is still remembered")
	}
}
