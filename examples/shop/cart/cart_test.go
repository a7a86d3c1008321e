package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/tables"
	"github.com/banyanhq/banyan/examples/shop/tables/tablestest"
)

// eachKind runs a test with carts in a journal and with carts in a table;
// replica opens another replica on the same carts.
func eachKind(t *testing.T, test func(t *testing.T, replica func() service)) {
	t.Run("journal", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func() service { return service{store: onJournal(t, dir)} })
	})
	t.Run("table", func(t *testing.T) {
		url := tablestest.Start(t, "../tables.yaml")
		test(t, func() service { return service{store: onTable(t, url)} })
	})
}

func onJournal(t *testing.T, dir string) *journalStore {
	t.Helper()
	s, err := openJournal(dir, slog.New(slog.DiscardHandler))
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
	return s
}

func onTable(t *testing.T, url string) *tableStore {
	t.Helper()
	s, err := openTable(t.Context(), tablestest.Client(url))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func do(t *testing.T, h http.Handler, method, path, body string) (int, Cart, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	var c Cart
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
	}
	return w.Code, c, w.Body.String()
}

func TestCart(t *testing.T) { eachKind(t, testCart) }

func testCart(t *testing.T, replica func() service) {
	a, b := httpserve.Handler(replica().service()), httpserve.Handler(replica().service())
	var version int64
	for _, tt := range []struct {
		name, method, path, body string
		on                       http.Handler
		status                   int
		items                    string
	}{
		{"unknown is empty", "GET", "/carts/cart-one", "", a, 200, "[]"},
		{"add", "POST", "/carts/cart-one/items", `{"product_id": 7, "quantity": 2}`, a, 200, "[{7 2}]"},
		{"add more of it", "POST", "/carts/cart-one/items", `{"product_id": 7, "quantity": 1}`, b, 200, "[{7 3}]"},
		{"and another", "POST", "/carts/cart-one/items", `{"product_id": 9, "quantity": 99}`, a, 200, "[{7 3} {9 99}]"},
		{"no more than 99", "POST", "/carts/cart-one/items", `{"product_id": 9, "quantity": 99}`, b, 200, "[{7 3} {9 99}]"},
		{"read", "GET", "/carts/cart-one", "", b, 200, "[{7 3} {9 99}]"},
		{"remove", "DELETE", "/carts/cart-one/items/7", "", b, 200, "[{9 99}]"},
		{"remove what is not there", "DELETE", "/carts/cart-one/items/7", "", a, 200, "[{9 99}]"},
		{"empty an old version", "DELETE", "/carts/cart-one?version=12", "", a, 409, ""},
		{"empty without a version", "DELETE", "/carts/cart-one", "", a, 400, ""},
		{"another cart", "GET", "/carts/cart-two", "", a, 200, "[]"},
		{"no quantity", "POST", "/carts/cart-one/items", `{"product_id": 7}`, a, 422, ""},
		{"negative", "POST", "/carts/cart-one/items", `{"product_id": 7, "quantity": -1}`, a, 422, ""},
		{"unknown field", "POST", "/carts/cart-one/items", `{"product": 7}`, a, 400, ""},
		{"bad id", "GET", "/carts/x", "", a, 400, ""},
	} {
		status, c, body := do(t, tt.on, tt.method, tt.path, tt.body)
		if status != tt.status || status == 200 && fmt.Sprint(c.Items) != tt.items {
			t.Errorf("%s: %d %s, want %d %s", tt.name, status, body, tt.status, tt.items)
		}
		if status == 200 && c.ID == "cart-one" {
			version = c.Version
		}
	}
	if status, c, body := do(t, b, "DELETE", fmt.Sprintf("/carts/cart-one?version=%d", version), ""); status != 200 || len(c.Items) != 0 {
		t.Errorf("emptying: %d %s", status, body)
	}
	if _, c, body := do(t, a, "GET", "/carts/cart-one", ""); len(c.Items) != 0 || c.Version != 0 {
		t.Errorf("after emptying: %s", body)
	}
	for i := range maxItems + 1 {
		status, _, body := do(t, a, "POST", "/carts/cart-full/items", fmt.Sprintf(`{"product_id": %d, "quantity": 1}`, i+1))
		if want := map[bool]int{true: 200, false: 409}[i < maxItems]; status != want {
			t.Fatalf("item %d: %d %s, want %d", i, status, body, want)
		}
	}
}

// Adding by many at once, through three replicas, loses nothing.
func TestConcurrentAdds(t *testing.T) {
	eachKind(t, func(t *testing.T, replica func() service) {
		// A cart is one buyer's: there are never many who change it.
		const buttons, times = 2, 4
		var wg sync.WaitGroup
		for r := range 3 {
			s := replica()
			for range buttons {
				wg.Go(func() {
					for range times {
						_, err := s.add(t.Context(), "shared-cart", Item{1 + r, 1})
						for errors.Is(err, tables.ErrContended) { // nothing was added: one presses again
							_, err = s.add(t.Context(), "shared-cart", Item{1 + r, 1})
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		c, err := replica().get(t.Context(), "shared-cart")
		if err != nil || len(c.Items) != 3 {
			t.Fatalf("%v, %v", c, err)
		}
		for _, i := range c.Items {
			if i.Quantity != buttons*times {
				t.Errorf("product %d: %d, want %d", i.Product, i.Quantity, buttons*times)
			}
		}
	})
}

func TestSnapshotForgetsOldCarts(t *testing.T) {
	s := onJournal(t, t.TempDir())
	carts := service{store: s}
	start := time.Unix(1_700_000_000, 0)
	s.now = func() time.Time { return start }
	if _, err := carts.add(t.Context(), "old-cart", Item{1, 1}); err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return start.Add(keepFor + time.Second) }
	if _, err := carts.add(t.Context(), "new-cart", Item{1, 1}); err != nil {
		t.Fatal(err)
	}
	kept := ""
	err := s.journal.View(func() error {
		return s.snapshot(func(record []byte) error { kept += string(record); return nil }, nil)
	})
	if err != nil || strings.Contains(kept, "old-cart") || !strings.Contains(kept, "new-cart") {
		t.Errorf("kept %s, %v", kept, err)
	}
}

// A write whose answer got lost is tried again by the SDK, and finds what it
// wrote itself: it counts once.
func TestLostAnswerCountsOnce(t *testing.T) {
	s := onTable(t, tablestest.LoseAnswer(t, tablestest.Start(t, "../tables.yaml"), "PutItem"))
	c, err := service{store: s}.add(t.Context(), "lucky-cart", Item{7, 2})
	if err != nil || fmt.Sprint(c.Items) != "[{7 2}]" {
		t.Fatalf("%v, %v", c, err)
	}
	if there, err := s.get(t.Context(), "lucky-cart"); err != nil || fmt.Sprint(there) != fmt.Sprint(c) {
		t.Errorf("there is %v, %v, answered was %v", there, err, c)
	}
}
