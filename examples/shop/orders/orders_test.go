package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/tables/tablestest"
)

// world stands for catalog and payments. Product N costs N cents; there are
// edition pieces of each up to 100.
type world struct {
	mu       sync.Mutex
	edition  int64
	payments map[string]payment // by key
	charges  map[string]int     // how often a card was charged, by key
	// before, if set, is asked before payments does anything: false and it
	// answers 500 without having done it, or, if it says so, after.
	before func(path string) (do, answer bool)
	traces []string
}

func newWorld(edition int64) *world {
	return &world{edition: edition, payments: map[string]payment{}, charges: map[string]int{}}
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.traces = append(w.traces, r.Header.Get("Traceparent"))
	if r.URL.Path == "/products" {
		var products []map[string]any
		for id := range strings.SplitSeq(r.URL.Query().Get("ids"), ",") {
			if n, _ := strconv.Atoi(id); n >= 1 && n <= 100 {
				products = append(products, map[string]any{"id": n, "name": "P" + id, "price_cents": n, "edition": w.edition})
			}
		}
		httpserve.WriteJSON(rw, http.StatusOK, map[string]any{"products": products})
		return
	}
	do, answer := true, true
	if w.before != nil {
		do, answer = w.before(r.URL.Path)
	}
	var p payment
	if do {
		p = w.pay(r)
	}
	if !do || !answer {
		rw.WriteHeader(http.StatusInternalServerError)
		return
	}
	if p.Status == "" {
		httpserve.WriteError(rw, httpserve.Errorf(http.StatusUnprocessableEntity, "bad_card", "not a card"))
		return
	}
	httpserve.WriteJSON(rw, http.StatusOK, p)
}

func (w *world) pay(r *http.Request) payment {
	key := r.Header.Get("Idempotency-Key")
	if p, ok := w.payments[key]; ok {
		return p
	}
	p := payment{Status: "cancelled"}
	if r.URL.Path == "/payments" {
		body, _ := io.ReadAll(r.Body)
		switch {
		case bytes.Contains(body, []byte("0002")):
			p = payment{Status: "declined"}
		case bytes.Contains(body, []byte("0009")):
			return payment{}
		default:
			p = payment{Status: "approved", Reference: "ref-" + key}
			w.charges[key]++
		}
	}
	w.payments[key] = p
	return p
}

// eachKind runs a test with orders in a journal and with orders in tables;
// replica opens another replica on the same orders, which calls w.
func eachKind(t *testing.T, test func(t *testing.T, replica func(w http.Handler) *service)) {
	t.Run("journal", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func(w http.Handler) *service { return replica(t, onJournal(t, dir), w) })
	})
	t.Run("tables", func(t *testing.T) {
		address := tablestest.Start(t, "../tables.yaml")
		test(t, func(w http.Handler) *service { return replica(t, onTables(address), w) })
	})
}

func onJournal(t *testing.T, dir string) *journalBook {
	t.Helper()
	b, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.journal.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("journal: %v", err)
		}
	})
	return b
}

func onTables(address string) *tableBook { return &tableBook{client: tablestest.Client(address)} }

func replica(t *testing.T, b book, w http.Handler) *service {
	t.Helper()
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return &service{
		book:     b,
		catalog:  httpserve.NewClient("catalog", server.URL, time.Minute),
		payments: httpserve.NewClient("payments", server.URL, time.Minute),
		log:      slog.New(slog.DiscardHandler),
		now:      time.Now,
	}
}

func key(n int) string { return fmt.Sprintf("key-of-order-%06d", n) }

func buy(card string, items ...item) request {
	return request{Cart: "c", Items: items, Card: card, Customer: Customer{"Ann", "ann@example.org", "Road 1"}}
}

const goodCard, declinedCard = "4242424242424242", "4000000000000002"

// post sends a request to the service's handler and returns status and body.
func post(t *testing.T, s *service, key string, body any) (int, string) {
	t.Helper()
	data, ok := body.(string)
	if !ok {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		data = string(encoded)
	}
	r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(data))
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	w := httptest.NewRecorder()
	httpserve.Handler(httpserve.Service{Handler: s.service().Handler}).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestPlaceAndRepeat(t *testing.T) { eachKind(t, testPlaceAndRepeat) }

func testPlaceAndRepeat(t *testing.T, replica func(http.Handler) *service) {
	w := newWorld(10)
	a := replica(w)
	status, first := post(t, a, key(1), buy(goodCard, item{7, 2}, item{3, 1}))
	if status != http.StatusCreated || !strings.Contains(first, `"status":"confirmed"`) || !strings.Contains(first, `"total_cents":17`) {
		t.Fatalf("%d %s", status, first)
	}
	for _, tt := range []struct {
		name   string
		key    string
		body   request
		status int
		says   string
	}{
		{"the same again", key(1), buy(goodCard, item{7, 2}, item{3, 1}), 200, `"confirmed"`},
		{"the same, its cart empty by now", key(1), buy(goodCard), 200, `"confirmed"`},
		{"other items", key(1), buy(goodCard, item{7, 3}, item{3, 1}), 422, "key_reused"},
		{"another card", key(1), buy("5555555555554444", item{7, 2}, item{3, 1}), 422, "key_reused"},
		{"declined", key(2), buy(declinedCard, item{7, 1}), 402, "declined"},
		{"declined again", key(2), buy(declinedCard, item{7, 1}), 402, "declined"},
		{"a card that payments refuses", key(3), buy("400000000000"+"0009", item{7, 1}), 422, "bad_card"},
		{"more than there are", key(4), buy(goodCard, item{7, 9}), 409, "P7: 9 wanted, 8 left"},
		{"all that is left", key(4), buy(goodCard, item{7, 8}), 201, `"confirmed"`},
		{"sold out", key(5), buy(goodCard, item{7, 1}), 409, "0 left"},
		{"no such product", key(6), buy(goodCard, item{101, 1}), 422, "no_such_product"},
		{"nothing", key(7), buy(goodCard), 422, "empty_order"},
		{"a product twice", key(8), buy(goodCard, item{7, 1}, item{7, 1}), 422, "each product_id once"},
		{"a short key", "short", buy(goodCard, item{7, 1}), 400, "bad_key"},
		{"no card", key(9), buy("nonsense", item{7, 1}), 422, "card"},
	} {
		if status, body := post(t, a, tt.key, tt.body); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: %d %s, want %d with %s", tt.name, status, body, tt.status, tt.says)
		}
	}
	dear := buy(goodCard, item{3, 1})
	dear.TotalCents = 4
	if status, body := post(t, a, key(10), dear); status != 409 || !strings.Contains(body, "price_changed") {
		t.Errorf("a changed price: %d %s", status, body)
	}
	if status, body := post(t, a, key(11), `{"itemz": []}`); status != 400 || !strings.Contains(body, "itemz") {
		t.Errorf("an unknown field: %d %s", status, body)
	}
	if status, _ := post(t, a, key(11), `{"cart": "`+strings.Repeat("x", httpserve.MaxBody)+`"}`); status != 413 {
		t.Errorf("a huge body: %d", status)
	}
	for _, trace := range w.traces {
		if !strings.Contains(trace, "0af7651916cd43dd8448eb211c80319c") {
			t.Fatalf("a call went out with the trace %q", trace)
		}
	}
}

// Many buyers, few pieces, three replicas over the same orders: never more sold
// than there are, one charge for each confirmed order and none for another.
func TestNeverOversold(t *testing.T) {
	eachKind(t, func(t *testing.T, replica func(http.Handler) *service) {
		w := newWorld(20)
		replicas := []*service{replica(w), replica(w), replica(w)}
		r := rush{sold: map[int]int{}, confirmed: map[string]bool{}}
		var wg sync.WaitGroup
		for buyer := range 24 {
			wg.Go(func() { r.buy(t, replicas, buyer, rand.New(rand.NewPCG(7, uint64(buyer)))) })
		}
		wg.Wait()
		full := false
		for product := 1; product <= 4; product++ {
			s, err := replicas[0].book.stock(t.Context(), product)
			if err != nil {
				t.Fatal(err)
			}
			if r.sold[product] > 20 || int64(r.sold[product]) != s.Taken || s.Left != nil && *s.Left != 20-s.Taken {
				t.Errorf("product %d: %d sold, %+v of 20", product, r.sold[product], s)
			}
			full = full || s.Taken == 20
		}
		if !full {
			t.Error("nothing was sold out, the test is too weak")
		}
		if len(w.charges) != len(r.confirmed) {
			t.Errorf("%d charges for %d orders", len(w.charges), len(r.confirmed))
		}
		if left, err := replicas[0].book.unsettledSince(t.Context(), time.Now().Add(time.Hour).UnixMilli(), 100); err != nil || len(left) > 0 {
			t.Errorf("without an outcome: %v, %v", left, err)
		}
	})
}

// rush is what many buyers know together.
type rush struct {
	mu        sync.Mutex
	sold      map[int]int // by product
	confirmed map[string]bool
}

// buy places some orders, each twice at once and by any two replicas.
func (r *rush) buy(t *testing.T, replicas []*service, buyer int, random *rand.Rand) {
	for n := range 8 {
		card := goodCard
		if random.IntN(4) == 0 {
			card = declinedCard
		}
		wanted := buy(card, item{1 + random.IntN(2), 1 + random.IntN(2)}, item{3 + random.IntN(2), 1})
		k := key(buyer*100 + n)
		var twice sync.WaitGroup
		for _, s := range []*service{replicas[random.IntN(3)], replicas[random.IntN(3)]} {
			twice.Go(func() {
				o, _, err := s.place(t.Context(), k, wanted)
				var refused *httpserve.Error
				if err != nil && !errors.As(err, &refused) {
					t.Errorf("place: %v", err)
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				if err == nil && o.Status == confirmed && !r.confirmed[k] {
					r.confirmed[k] = true
					for _, l := range o.Lines {
						r.sold[l.Product] += l.Quantity
					}
				}
			})
		}
		twice.Wait()
	}
}

// Wherever a checkout breaks off, the sweep settles it: confirmed if and only
// if the card was charged, its stock released otherwise.
func TestRecoveryBetweenSteps(t *testing.T) {
	eachKind(t, testRecoveryBetweenSteps)
}

func testRecoveryBetweenSteps(t *testing.T, replica func(http.Handler) *service) {
	for n, tt := range []struct {
		name       string
		do, answer bool // what payments does with the charge
		want       string
	}{
		{"before the card is charged", false, false, cancelled},
		{"after it is charged, before the answer", true, false, confirmed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, product := key(n), 7+n
			w := newWorld(5)
			w.before = func(path string) (bool, bool) { return tt.do, tt.answer }
			a := replica(w)
			if status, body := post(t, a, key, buy(goodCard, item{product, 2})); status != 503 {
				t.Fatalf("%d %s, want 503", status, body)
			}
			w.mu.Lock()
			w.before = nil
			w.mu.Unlock()

			// A replica that starts later finds it; too early it leaves it alone.
			b := replica(w)
			b.sweep(t.Context())
			if o, _, _ := b.book.get(t.Context(), orderID(key)); o.Status != pending {
				t.Fatalf("swept at once: %s", o.Status)
			}
			b.now = func() time.Time { return time.Now().Add(abandonedAfter + time.Second) }
			b.sweep(t.Context())
			o, _, err := a.book.get(t.Context(), orderID(key))
			if err != nil || o.Status != tt.want {
				t.Fatalf("after the sweep: %s, %v, want %s", o.Status, err, tt.want)
			}
			s, _ := a.book.stock(t.Context(), product)
			if want := map[string]int64{confirmed: 2, cancelled: 0}[tt.want]; s.Taken != want {
				t.Errorf("%d taken, want %d", s.Taken, want)
			}
			// The charge that was on its way arrives after all: too late.
			if o, _, err := a.place(t.Context(), key, buy(goodCard, item{product, 2})); err != nil || o.Status != tt.want {
				t.Errorf("the request again: %s, %v", o.Status, err)
			}
			late, err := a.charge(t.Context(), Order{ID: orderID(key), TotalCents: 14}, goodCard)
			if err != nil || late.Status != tt.want {
				t.Errorf("a late charge: %s, %v", late.Status, err)
			}
			if n := len(w.charges); n != map[string]int{confirmed: 1, cancelled: 0}[tt.want] {
				t.Errorf("%d charges", n)
			}
		})
	}
}

// A retry with the same key takes a broken-off checkout up where it stopped.
func TestRetryResumes(t *testing.T) { eachKind(t, testRetryResumes) }

func testRetryResumes(t *testing.T, replica func(http.Handler) *service) {
	w := newWorld(5)
	w.before = func(string) (bool, bool) { return true, false }
	a := replica(w)
	if status, _ := post(t, a, key(1), buy(goodCard, item{7, 2})); status != 503 {
		t.Fatal(status)
	}
	w.mu.Lock()
	w.before = nil
	w.mu.Unlock()
	if status, body := post(t, a, key(1), buy(goodCard, item{7, 2})); status != 200 || !strings.Contains(body, confirmed) {
		t.Fatalf("%d %s", status, body)
	}
	if w.charges[orderID(key(1))] != 1 {
		t.Fatalf("charged %d times", w.charges[orderID(key(1))])
	}
}
