package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

//go:embed templates/*.html shop.css
var files embed.FS

const (
	cartCookie    = "cart"
	featuredCount = 12
	foundCount    = 24
)

// web serves the pages and the API.
type web struct {
	backend backend
	log     *slog.Logger
	pages   map[string]*template.Template
	style   []byte
	version string // of the style sheet, so that a browser may keep it for ever
	buffers sync.Pool
}

func newWeb(b backend, log *slog.Logger) (*web, error) {
	w := &web{backend: b, log: log, pages: map[string]*template.Template{}}
	w.buffers.New = func() any { return new(bytes.Buffer) }
	var err error
	if w.style, err = files.ReadFile("shop.css"); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(w.style)
	w.version = hex.EncodeToString(sum[:6])
	functions := template.FuncMap{
		"euros":   euros,
		"picture": picture,
		"stars":   func(rating int) string { return fmt.Sprintf("%d.%d", rating/10, rating%10) },
		"date":    func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2 January 2006, 15:04 UTC") },
		"times":   func(price int64, n int) int64 { return price * int64(n) },
	}
	for _, name := range []string{"home", "search", "product", "cart", "checkout", "order", "error"} {
		w.pages[name], err = template.New("layout.html").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *web) handler() http.Handler {
	mux := http.NewServeMux()
	page := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			h := rw.Header()
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "same-origin")
			h.Set("Cache-Control", "no-store")
			if err := f(rw, r); err != nil {
				w.fail(rw, r, err)
			}
		})
	}
	page("GET /{$}", w.home)
	page("GET /search", w.search)
	page("GET /product/{id}", w.product)
	page("GET /cart", w.cart)
	page("POST /cart", w.addToCart)
	page("POST /cart/remove", w.removeFromCart)
	page("GET /checkout", w.checkout)
	page("POST /checkout", w.placeOrder)
	page("GET /orders/{id}", w.order)
	page("/", func(http.ResponseWriter, *http.Request) error {
		return httpserve.Errorf(http.StatusNotFound, "no_such_page", "There is no such page.")
	})
	mux.HandleFunc("GET /assets/shop.css", func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Type", "text/css; charset=utf-8")
		h.Set("Content-Length", strconv.Itoa(len(w.style)))
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = rw.Write(w.style)
	})
	w.apiRoutes(mux)
	return mux
}

// view is what every page is made from.
type view struct {
	Title     string
	Style     string
	Query     string
	CartCount int // -1: not known
	Page      any
}

// show renders a page whole before the first byte is sent, so that an error
// can still become an error page.
func (w *web) show(rw http.ResponseWriter, status int, name string, v view) error {
	v.Style = w.version
	buf := w.buffers.Get().(*bytes.Buffer)
	defer w.buffers.Put(buf)
	buf.Reset()
	if err := w.pages[name].Execute(buf, v); err != nil {
		return fmt.Errorf("rendering the page %s: %w", name, err)
	}
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	rw.WriteHeader(status)
	_, _ = rw.Write(buf.Bytes())
	return nil
}

// fail shows what went wrong in words for the buyer.
func (w *web) fail(rw http.ResponseWriter, r *http.Request, err error) {
	page := struct {
		Status                      int
		Heading, Text, Again, Label string
	}{Again: "/", Label: "Back to the shop"}
	var refused *httpserve.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		page.Status, page.Heading = http.StatusNotFound, "We cannot find that"
		page.Text = "It may have moved, or the address may have a slip in it. The search finds everything that we have."
	case errors.As(err, &refused):
		page.Status, page.Heading, page.Text = refused.Status, "That did not work", upperFirst(refused.Message)+"."
	default:
		page.Status, page.Heading = http.StatusServiceUnavailable, "One moment, please"
		page.Text = "A part of the shop is not answering just now. Nothing is lost; try again in a few seconds."
		if r.Method == http.MethodGet {
			page.Again, page.Label = r.URL.RequestURI(), "Try again"
		}
		rw.Header().Set("Retry-After", "2")
		if !errors.Is(err, context.Canceled) { // the visitor has gone
			w.log.Warn("a page could not be served", "path", r.URL.Path, "error", err)
		}
	}
	if err := w.show(rw, page.Status, "error", view{Title: page.Heading, CartCount: -1, Page: page}); err != nil {
		http.Error(rw, page.Heading, page.Status)
	}
}

// cartID is the visitor's cart, or "" for one who has none yet.
func cartID(r *http.Request) string {
	c, err := r.Cookie(cartCookie)
	if err != nil || len(c.Value) > 64 {
		return ""
	}
	return c.Value
}

// count starts to ask for the number of things in the visitor's cart and
// returns a function that waits for the answer. Nobody waits long for it, and
// -1 is shown as nothing.
func (w *web) count(r *http.Request) func() int {
	id := cartID(r)
	if id == "" {
		return func() int { return 0 }
	}
	answer := make(chan int, 1)
	go func() {
		ctx, cancel := context.WithTimeout(r.Context(), w.backend.sideTime)
		defer cancel()
		n, err := w.backend.inCart(ctx, id)
		if err != nil {
			n = -1
		}
		answer <- n
	}()
	return func() int { return <-answer }
}

func (w *web) home(rw http.ResponseWriter, r *http.Request) error {
	count := w.count(r)
	page, err := w.backend.products(r.Context(), "/products?featured="+strconv.Itoa(featuredCount))
	n := count()
	if err != nil {
		return err
	}
	return w.show(rw, http.StatusOK, "home", view{Title: "Good things, made well", CartCount: n, Page: page})
}

func (w *web) search(rw http.ResponseWriter, r *http.Request) error {
	query, category := strings.TrimSpace(r.URL.Query().Get("q")), r.URL.Query().Get("category")
	if len(query) > 120 {
		query = strings.ToValidUTF8(query[:120], "")
	}
	values := url.Values{"limit": {strconv.Itoa(foundCount)}, "q": {query}, "category": {category}}
	path := "/search?"
	if query == "" {
		path = "/products?"
	}
	count := w.count(r)
	found, err := w.backend.products(r.Context(), path+values.Encode())
	n := count()
	if err != nil {
		return err
	}
	title := "Everything"
	if query != "" {
		title = "Search: " + query
	} else if category != "" {
		title = category
	}
	return w.show(rw, http.StatusOK, "search", view{Title: title, Query: query, CartCount: n, Page: struct {
		productPage
		Category string
	}{found, category}})
}

func (w *web) product(rw http.ResponseWriter, r *http.Request) error {
	count := w.count(r)
	p, err := w.backend.product(r.Context(), r.PathValue("id"))
	n := count()
	if err != nil {
		return err
	}
	left := int64(-1) // not worth saying, or not known
	if p.Limited {
		if l, err := w.backend.stockLeft(r.Context(), p); err == nil {
			left = l
		}
	}
	return w.show(rw, http.StatusOK, "product", view{Title: p.Name, CartCount: n, Page: struct {
		product
		Left int64
	}{p, left}})
}

func (w *web) order(rw http.ResponseWriter, r *http.Request) error {
	count := w.count(r)
	o, err := w.backend.order(r.Context(), r.PathValue("id"))
	n := count()
	if err != nil {
		return err
	}
	return w.show(rw, http.StatusOK, "order", view{Title: "Your order", CartCount: n, Page: o})
}

func euros(cents int64) string {
	whole := strconv.FormatInt(cents/100, 10)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return fmt.Sprintf("€%s.%02d", whole, cents%100)
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// newID is an id that nobody can guess: a cart's or a key's.
func newID() string { return strings.ToLower(rand.Text()) }
