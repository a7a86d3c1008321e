package main

import (
	"context"
	"encoding/json"
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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/tables/tablestest"
)

// eachKind runs a test with payments in a journal and with payments in a table;
// replica opens another replica on the same payments.
func eachKind(t *testing.T, test func(t *testing.T, replica func() service)) {
	t.Run("journal", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func() service { return onJournal(t, dir) })
	})
	t.Run("table", func(t *testing.T) {
		address := tablestest.Start(t, "../tables.yaml")
		test(t, func() service { return onTable(address) })
	})
}

func onJournal(t *testing.T, dir string) service {
	t.Helper()
	l, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.journal.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("journal: %v", err)
		}
	})
	return service{ledger: l, acquirer: acquirer{after: time.After}}
}

func onTable(address string) service {
	l := &tableLedger{client: tablestest.Client(address), now: time.Now}
	return service{ledger: l, acquirer: acquirer{after: time.After}}
}

func do(h http.Handler, method, path, key, body string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Idempotency-Key", key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

const good, bad = `{"amount_cents": 1250, "card": "4242 4242 4242 4242"}`, `{"amount_cents": 1250, "card": "4000-0000-0000-0002"}`

func TestPayments(t *testing.T) { eachKind(t, testPayments) }

func testPayments(t *testing.T, replica func() service) {
	first := replica()
	a, b := httpserve.Handler(first.service()), httpserve.Handler(replica().service())
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
	if kept := everything(t, first.ledger); !strings.Contains(kept, "4242") || strings.Contains(kept, "424242") {
		t.Errorf("the last four digits of a card should be kept, and no more: %s", kept)
	}
}

// everything is what a ledger keeps, as text.
func everything(t *testing.T, l ledger) string {
	t.Helper()
	switch l := l.(type) {
	case *journalLedger:
		kept := ""
		if err := l.journal.View(func() error {
			for _, at := range l.payments {
				data, err := l.journal.Read(at)
				if err != nil {
					return err
				}
				kept += string(data)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return kept
	case *tableLedger:
		out, err := l.client.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(paymentsTable)})
		if err != nil {
			t.Fatal(err)
		}
		var all []map[string]any
		if err := attributevalue.UnmarshalListOfMaps(out.Items, &all); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(all)
	}
	t.Fatalf("an unknown ledger: %T", l)
	return ""
}

// The requests by which a workflow pays: a token stands for the card, what is
// refunded stays so, and a charge that comes after that is refused.
func TestWorkflowPays(t *testing.T) {
	eachKind(t, func(t *testing.T, replica func() service) {
		a, b := httpserve.Handler(replica().service()), httpserve.Handler(replica().service())
		var token struct{ Key string }
		status, body := do(a, "POST", "/cards", "key-of-card-1", `{"card": "4242424242424242"}`)
		if err := json.Unmarshal([]byte(body), &token); err != nil || status != 201 {
			t.Fatalf("a card: %d %s", status, body)
		}
		charge := fmt.Sprintf(`{"amount_cents": 700, "token": %q}`, token.Key)
		for _, tt := range []struct {
			name, path, key, body string
			on                    http.Handler
			status                int
			says                  string
		}{
			{"charge", "/charges", "key-00001", charge, a, 201, `"status":"approved"`},
			{"again", "/charges", "key-00001", charge, b, 200, `"status":"approved"`},
			{"refund", "/payments/key-00001/refund", "", "", b, 200, `"status":"refunded"`},
			{"refund again", "/payments/key-00001/refund", "", "", a, 200, `"reference":"acq-key-00001"`},
			{"charge what was refunded", "/charges", "key-00001", charge, a, 409, "refunded"},
			{"refund what was not paid", "/payments/key-00002/refund", "", "", a, 200, `"status":"cancelled"`},
			{"charge it then", "/charges", "key-00002", charge, b, 409, "cancelled"},
			{"no such card", "/charges", "key-00003", `{"amount_cents": 1, "token": "tok_none"}`, a, 422, "bad_token"},
		} {
			if status, body := do(tt.on, "POST", tt.path, tt.key, tt.body); status != tt.status || !strings.Contains(body, tt.says) {
				t.Errorf("%s: %d %s, want %d with %s", tt.name, status, body, tt.status, tt.says)
			}
		}
	})
}

// A charge whose answer got lost is tried again by the SDK, and is one charge.
func TestLostAnswerChargesOnce(t *testing.T) {
	s := onTable(tablestest.LoseAnswer(t, tablestest.Start(t, "../tables.yaml"), "PutItem"))
	p, _, err := s.pay(t.Context(), "key-00001", "4242424242424242", 100)
	if err != nil || p.Status != approved {
		t.Fatalf("%v, %v", p, err)
	}
	if there, err := s.payment(t.Context(), "key-00001"); err != nil || there != p {
		t.Errorf("there is %v, %v, answered was %v", there, err, p)
	}
}

// Charging and resolving race on two replicas: one of them decides, and both
// and every later reader say the same.
func TestResolveRacesCharge(t *testing.T) { eachKind(t, testResolveRacesCharge) }

func testResolveRacesCharge(t *testing.T, replica func() service) {
	a, b := replica(), replica()
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
			if resolved, _, err = b.ledger.record(t.Context(), Payment{Key: key, Status: cancelled}); err != nil {
				t.Error(err)
			}
		}
		if i%2 == 0 {
			charge, resolve = resolve, charge
		}
		wg.Go(charge)
		wg.Go(resolve)
		wg.Wait()
		after, err := b.payment(t.Context(), key)
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
func TestTheJournalStaysBounded(t *testing.T) {
	dir := t.TempDir()
	const keep, payments, compactAbove = 5, 300, 4000
	l, err := openJournalKeeping(dir, slog.New(slog.DiscardHandler), keep, compactAbove)
	if err != nil {
		t.Fatal(err)
	}
	s := service{ledger: l, acquirer: acquirer{after: time.After}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.journal.Run(ctx) }()
	for i := range payments {
		if _, made, err := s.pay(t.Context(), fmt.Sprint("key", i), "4242424242424242", int64(i)); err != nil || !made {
			t.Fatal(made, err)
		}
	}
	if p, err := s.payment(t.Context(), fmt.Sprint("key", payments-1)); err != nil || p.AmountCents != payments-1 {
		t.Errorf("the last payment: %+v, %v", p, err)
	}
	// What came while a slow disk had a compaction under way is compacted with what comes more slowly.
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "payments.log"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	more := 0
	for ; size() > 2*compactAbove && more < 10*payments; time.Sleep(time.Millisecond) {
		if _, made, err := s.pay(t.Context(), fmt.Sprint("more", more), "4242424242424242", 1); err != nil || !made {
			t.Fatal(made, err)
		}
		more++
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	again, err := openJournalKeeping(dir, slog.New(slog.DiscardHandler), keep, compactAbove)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(again.payments); n < keep || n > 100 {
		t.Errorf("%d payments are remembered of %d", n, payments+more)
	}
	if _, there := again.payments["key0"]; there {
		t.Error("the first payment is still remembered")
	}
}
