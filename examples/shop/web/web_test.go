package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// others stands for the services that web uses. A service that is down
// answers 500.
type others struct {
	mu    sync.Mutex
	down  map[string]bool
	calls []string // "cart GET /carts/..."
	items []item
	// The answer of orders to POST /orders; nil: a confirmed order.
	refusal *httpserve.Error
	order   orderRequest
	key     string
}

func (o *others) handler(service string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.calls = append(o.calls, service+" "+r.Method+" "+r.URL.Path)
		if o.down[service] {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		chair := product{ID: 7, Name: "Chair <7>", Category: "Chairs", PriceCents: 123456, Rating: 45, Edition: 5, Limited: true}
		switch {
		case service == "catalog" && r.URL.Path == "/products/7":
			httpserve.WriteJSON(w, 200, chair)
		case service == "catalog" && strings.HasPrefix(r.URL.Path, "/products/"):
			httpserve.WriteError(w, httpserve.Errorf(404, "no_such_product", "there is no such product"))
		case service == "catalog":
			httpserve.WriteJSON(w, 200, productPage{Total: 1, Products: []product{chair}})
		case service == "cart" && r.Method == http.MethodPost:
			var i item
			if err := httpserve.ReadJSON(r, &i); err != nil {
				httpserve.WriteError(w, err)
				return
			}
			o.items = append(o.items, i)
			httpserve.WriteJSON(w, 200, cart{ID: "c", Version: 9, Items: o.items})
		case service == "cart":
			httpserve.WriteJSON(w, 200, cart{ID: "c", Version: 9, Items: o.items})
		case r.Method == http.MethodPost:
			o.key = r.Header.Get("Idempotency-Key")
			if err := httpserve.ReadJSON(r, &o.order); err != nil {
				httpserve.WriteError(w, err)
			} else if o.refusal != nil {
				httpserve.WriteError(w, o.refusal)
			} else {
				httpserve.WriteJSON(w, 201, order{ID: "o1", Status: "confirmed"})
			}
		case strings.HasPrefix(r.URL.Path, "/stock/"):
			httpserve.WriteJSON(w, 200, map[string]int{"taken": 3})
		default:
			httpserve.WriteJSON(w, 200, order{ID: "o1", Status: "confirmed", Customer: customer{Name: "Ann"}})
		}
	})
}

// backend reaches them.
func (o *others) backend(t testing.TB) backend {
	client := func(service string) *httpserve.Client {
		s := httptest.NewServer(o.handler(service))
		t.Cleanup(s.Close)
		return httpserve.NewClient(service, s.URL, time.Minute)
	}
	return backend{catalog: client("catalog"), cart: client("cart"), orders: client("orders"), sideTime: time.Minute}
}

func open(t testing.TB) (*others, http.Handler) {
	t.Helper()
	o := &others{down: map[string]bool{}}
	w, err := newWeb(o.backend(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return o, httpserve.Handler(httpserve.Service{Handler: w.handler()})
}

// do makes a request of a visitor who has a cart.
func do(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.AddCookie(&http.Cookie{Name: cartCookie, Value: "the-cart"})
	if strings.Contains(body, "=") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	form := url.Values{"key": {"k1"}, "items": {"7x2"}, "total": {"246912"}, "version": {"9"}, "name": {"Ann"}, "email": {"a@b"}, "address": {"R"}, "card": {"42"}}.Encode()
	for _, tt := range []struct {
		name, method, path, body string
		down                     string
		status                   int
		says                     string
	}{
		{"home", "GET", "/", "", "", 200, "Chair &lt;7&gt;"},
		{"home without cart", "GET", "/", "", "cart", 200, "Chair &lt;7&gt;"},
		{"home without orders", "GET", "/", "", "orders", 200, "€1,234.56"},
		{"home without catalog", "GET", "/", "", "catalog", 503, "One moment"},
		{"search", "GET", "/search?q=%3Cb%3E", "", "", 200, "“&lt;b&gt;”"},
		{"a huge search", "GET", "/search?q=" + strings.Repeat("%C3%A9", 200), "", "", 200, "é"},
		{"a category", "GET", "/search?category=Tea", "", "", 200, "<h1>Tea"},
		{"product", "GET", "/product/7", "", "", 200, "2 of 5 pieces left"},
		{"product without orders", "GET", "/product/7", "", "orders", 200, "A limited edition of 5"},
		{"no such product", "GET", "/product/8", "", "", 404, "cannot find"},
		{"cart", "GET", "/cart", "", "", 200, "€3,703.68"},
		{"cart without cart", "GET", "/cart", "", "cart", 503, "One moment"},
		{"add", "POST", "/cart", "product=7&quantity=1", "", 303, ""},
		{"add nothing", "POST", "/cart", "product=7&quantity=0", "", 400, "Quantity"},
		{"add what is not there", "POST", "/cart", "product=8&quantity=1", "", 404, "cannot find"},
		{"add without cart", "POST", "/cart", "product=7&quantity=1", "cart", 503, "One moment"},
		{"a huge form", "POST", "/cart", "product=" + strings.Repeat("7", httpserve.MaxBody), "", 413, "larger"},
		{"remove", "POST", "/cart/remove", "product=7", "", 303, ""},
		{"checkout", "GET", "/checkout", "", "", 200, `value="7x3"`},
		{"pay", "POST", "/checkout", form, "", 303, ""},
		{"pay without orders", "POST", "/checkout", form, "orders", 503, `name="key" value="k1"`},
		{"pay without orders and catalog", "POST", "/checkout", form, "orders catalog", 503, "Nothing is lost"},
		{"pay without cart", "POST", "/checkout", form, "cart", 303, ""},
		{"pay for nonsense", "POST", "/checkout", "items=x", "", 400, "Items"},
		{"order", "GET", "/orders/o1", "", "", 200, "Thank you, Ann"},
		{"style", "GET", "/assets/shop.css", "", "", 200, "--leaf"},
		{"nowhere", "GET", "/nowhere", "", "", 404, "cannot find"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, h := open(t)
			o.items = []item{{7, 3}}
			for service := range strings.FieldsSeq(tt.down) {
				o.down[service] = true
			}
			w := do(h, tt.method, tt.path, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Fatalf("%d, want %d with %q:\n%s", w.Code, tt.status, tt.says, w.Body)
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") && w.Code != 303 {
				if _, err := html.Parse(w.Body); err != nil || w.Header().Get("Content-Security-Policy") == "" {
					t.Errorf("no good HTML, or no policy with it: %v", err)
				}
			}
			calls := map[string]int{}
			for _, c := range o.calls {
				service, _, _ := strings.Cut(c, " ")
				calls[service]++
			}
			if tt.method == "GET" && (calls["catalog"] > 1 || calls["cart"] > 1 || calls["orders"] > 1) {
				t.Errorf("more than one call to a service: %v", o.calls)
			}
		})
	}
}

func TestCheckoutForm(t *testing.T) {
	o, h := open(t)
	form := url.Values{"key": {"k1"}, "items": {"7x2,9x1"}, "total": {"246912"}, "version": {"9"}, "name": {"Ann"}, "email": {"a@b"}, "address": {"R"}, "card": {"42"}}
	if w := do(h, "POST", "/checkout", form.Encode()); w.Header().Get("Location") != "/orders/o1" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := orderRequest{Cart: "the-cart", Items: []item{{7, 2}, {9, 1}}, Customer: customer{"Ann", "a@b", "R"}, Card: "42", TotalCents: 246912}
	if fmt.Sprint(o.order) != fmt.Sprint(want) || o.key != "k1" {
		t.Errorf("ordered %v with the key %q, want %v", o.order, o.key, want)
	}
	o.refusal = httpserve.Errorf(402, "declined", "the card was declined")
	w := do(h, "POST", "/checkout", form.Encode())
	body := w.Body.String()
	if w.Code != 402 || !strings.Contains(body, "The card was declined.") || !strings.Contains(body, `value="Ann"`) {
		t.Errorf("declined: %d %s", w.Code, body)
	}
	if strings.Contains(body, `value="k1"`) || strings.Contains(body, `value="42"`) {
		t.Error("the spent key or the card's number is in the new form")
	}
	o.refusal = httpserve.Errorf(422, "key_reused", "the key was used")
	if w := do(h, "POST", "/checkout", form.Encode()); w.Code != 409 || strings.Contains(w.Body.String(), "<form action=\"/checkout\"") {
		t.Errorf("a form that was sent before: %d %s", w.Code, w.Body)
	}
}

func TestAPI(t *testing.T) {
	buyer := `{"cart": "the-cart", "customer": {"name": "A", "email": "a@b", "address": "R"}, "card": "42"}`
	for _, tt := range []struct {
		name, method, path, body string
		down                     string
		status                   int
		says                     string
	}{
		{"products", "GET", "/api/products?limit=1", "", "", 200, `"total":1`},
		{"product", "GET", "/api/products/7", "", "", 200, `"price_cents":123456`},
		{"no such product", "GET", "/api/products/8", "", "", 404, "no_such_product"},
		{"search", "GET", "/api/search?q=x", "", "", 200, `"total":1`},
		{"search without catalog", "GET", "/api/search?q=x", "", "catalog", 503, "unavailable"},
		{"cart", "GET", "/api/cart/the-cart", "", "", 200, `"total_cents":370368`},
		{"add", "POST", "/api/cart/the-cart/items", `{"product_id": 7}`, "", 201, `"version":9`},
		{"add a field too many", "POST", "/api/cart/the-cart/items", `{"product_id": 7, "x": 1}`, "", 400, "unknown field"},
		{"add what is not there", "POST", "/api/cart/the-cart/items", `{"product_id": 8}`, "", 404, "no_such_product"},
		{"checkout", "POST", "/api/checkout", buyer, "", 201, `"id":"o1"`},
		{"checkout without orders", "POST", "/api/checkout", buyer, "orders", 503, "unavailable"},
		{"order", "GET", "/api/orders/o1", "", "", 200, `"confirmed"`},
		{"nowhere", "GET", "/api/x", "", "", 404, "no_such_path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, h := open(t)
			o.items = []item{{7, 3}}
			o.down[tt.down] = true
			w := do(h, tt.method, tt.path, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%d %s, want %d with %q", w.Code, w.Body, tt.status, tt.says)
			}
		})
	}
}

func TestPictures(t *testing.T) {
	for category := range motifs {
		for _, id := range []int{1, 1999} {
			p := string(picture(category, 359, id))
			if strings.Contains(p, "@") || !strings.HasPrefix(p, "<svg") || strings.Count(p, "<svg") != strings.Count(p, "</svg>") {
				t.Errorf("%s: %s", category, p)
			}
		}
	}
	if p := string(picture("Anything <else>", 0, 1)); strings.Contains(p, "<else>") {
		t.Error("the name of a category got into the picture")
	}
}

func TestEuros(t *testing.T) {
	for cents, want := range map[int64]string{0: "€0.00", 5: "€0.05", 99999: "€999.99", 123456789: "€1,234,567.89"} {
		if got := euros(cents); got != want {
			t.Errorf("euros(%d) = %s, want %s", cents, got, want)
		}
	}
}

// The rendering alone: a home page with twelve products.
func BenchmarkHomePage(b *testing.B) {
	w, err := newWeb(backend{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	page := productPage{Total: 2000}
	for i := range featuredCount {
		page.Products = append(page.Products, product{ID: i + 1, Name: "Amber Brass Desk Lamp", Category: "Lighting", PriceCents: 12345, Hue: 30 * i})
	}
	b.ReportAllocs()
	for b.Loop() {
		rw := httptest.NewRecorder()
		if err := w.show(rw, 200, "home", view{Title: "x", CartCount: 2, Page: page}); err != nil {
			b.Fatal(err)
		}
	}
}
