package httpserve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func environment(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestReadEnv(t *testing.T) {
	env, err := ReadEnv("cart", 8092, environment(nil))
	if err != nil || env.Port != 8092 || env.Service != "cart" || env.Replica != "cart" || env.Data == "" {
		t.Errorf("nothing set: %+v, %v", env, err)
	}
	if u, err := env.URL("catalog", 8091); err != nil || u != "http://127.0.0.1:8091" {
		t.Errorf("URL = %q, %v", u, err)
	}
	env, err = ReadEnv("cart", 8092, environment(map[string]string{
		"PORT": "4000", "BANYAN_SERVICE": "basket", "BANYAN_REPLICA": "basket-1", "BANYAN_DATA": "/d",
		"PRICE_LIST_URL": "http://127.0.0.1:5/", "BAD_URL": "127.0.0.1:5", "WAIT": "20ms", "LONG": "2h",
	}))
	if err != nil || env.Port != 4000 || env.Service != "basket" || env.Replica != "basket-1" || env.Data != "/d" {
		t.Errorf("all set: %+v, %v", env, err)
	}
	if u, err := env.URL("price-list", 1); err != nil || u != "http://127.0.0.1:5" {
		t.Errorf("URL = %q, %v", u, err)
	}
	if _, err := env.URL("bad", 1); err == nil || !strings.Contains(err.Error(), "BAD_URL") {
		t.Errorf("a URL without a scheme: %v", err)
	}
	if d, err := env.Duration("WAIT", 0); err != nil || d != 20*time.Millisecond {
		t.Errorf("Duration = %v, %v", d, err)
	}
	if _, err := env.Duration("LONG", 0); err == nil {
		t.Error("two hours were taken")
	}
	for _, port := range []string{"x", "-1", "65536"} {
		if _, err := ReadEnv("cart", 1, environment(map[string]string{"PORT": port})); err == nil {
			t.Errorf("PORT=%s was taken", port)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Told to stop, a program finishes the request it has, refuses others, and only
// then ends its background work.
func TestServeDrains(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	entered, release := make(chan struct{}), make(chan struct{})
	order := make(chan string, 2)
	l := listen(t)
	served := make(chan error)
	go func() {
		served <- Serve(ctx, Env{Log: slog.New(slog.DiscardHandler)}, l, Service{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				<-release
				order <- "request"
				_, _ = io.WriteString(w, "finished")
			}),
			Run: func(ctx context.Context) error {
				<-ctx.Done()
				order <- "background"
				return nil
			},
		})
	}()
	type result struct {
		body string
		err  error
	}
	got := make(chan result)
	go func() {
		answer, err := http.Get("http://" + l.Addr().String() + "/slow")
		if err != nil {
			got <- result{err: err}
			return
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		got <- result{string(body), err}
	}()
	<-entered
	reserve, err := net.Dial("tcp", l.Addr().String()) // never sends anything
	if err != nil {
		t.Fatal(err)
	}
	defer reserve.Close()
	stop()
	for { // until the listener is closed
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		c.Close()
	}
	// A connection in reserve is closed while the request goes on.
	if _, err := reserve.Read(make([]byte, 1)); err == nil {
		t.Error("an unused connection got an answer")
	}
	close(release)
	if r := <-got; r.err != nil || r.body != "finished" {
		t.Errorf("the request in flight: %q, %v", r.body, r.err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if first, second := <-order, <-order; first != "request" || second != "background" {
		t.Errorf("%s ended before %s", first, second)
	}
}

func TestServeEndsWhenBackgroundFails(t *testing.T) {
	broken := errors.New("the disk is gone")
	err := Serve(t.Context(), Env{Log: slog.New(slog.DiscardHandler)}, listen(t), Service{
		Handler: http.NotFoundHandler(),
		Run:     func(context.Context) error { return broken },
	})
	if !errors.Is(err, broken) {
		t.Errorf("Serve = %v, want %v", err, broken)
	}
}

func TestHealth(t *testing.T) {
	var reason error
	h := Handler(Service{Handler: http.NotFoundHandler(), Ready: func(context.Context) error { return reason }})
	for _, tt := range []struct {
		path   string
		reason error
		status int
	}{
		{"/healthz", nil, 200}, {"/livez", nil, 200},
		{"/healthz", errors.New("no disk"), 503}, {"/livez", errors.New("no disk"), 200},
		{"/other", nil, 404},
	} {
		reason = tt.reason
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
		if w.Code != tt.status {
			t.Errorf("%s with %v: %d, want %d", tt.path, tt.reason, w.Code, tt.status)
		}
	}
}

func TestReadJSON(t *testing.T) {
	for _, tt := range []struct {
		body   string
		status int
		says   string
	}{
		{`{"name": "a", "n": 1}`, 0, ""},
		{` {"name": "a"}  `, 0, ""},
		{``, 400, "empty"},
		{`{"name": `, 400, "middle"},
		{`{"nome": "a"}`, 400, `unknown field "nome"`},
		{`{"n": "1"}`, 400, `field "n" is a string, want int`},
		{`{} {}`, 400, "more than one"},
		{`{} x`, 400, "more than one"},
		{`nonsense`, 400, "invalid character"},
		{`{"name": "` + strings.Repeat("a", MaxBody) + `"}`, 413, "larger"},
	} {
		var got error
		h := Handler(Service{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var v struct {
				Name string `json:"name"`
				N    int    `json:"n"`
			}
			got = ReadJSON(r, &v)
		})}) // through Handler, which bounds the body
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body)))
		var e *Error
		if tt.status == 0 && got == nil {
			continue
		}
		if !errors.As(got, &e) || e.Status != tt.status || !strings.Contains(e.Message, tt.says) {
			t.Errorf("%.30s: %v, want %d with %q", tt.body, got, tt.status, tt.says)
		}
	}
}

// What the other side answers, and what the caller makes of it.
func TestClient(t *testing.T) {
	headers := make(chan http.Header, 10)
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		switch r.URL.Path {
		case "/good":
			WriteJSON(w, http.StatusCreated, map[string]int{"n": 7})
		case "/refused":
			WriteError(w, Errorf(http.StatusConflict, "taken", "it is taken"))
		case "/failed":
			WriteError(w, errors.New("the disk is full"))
		case "/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/moved":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/garbage":
			_, _ = io.WriteString(w, "<html>")
		case "/huge":
			_, _ = w.Write(make([]byte, MaxReply+1))
		case "/cut":
			panic(http.ErrAbortHandler)
		}
	}))
	defer inner.Close()
	c := NewClient("inner", inner.URL, time.Minute)
	var outer http.Handler = Handler(Service{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var out struct{ N int }
		status, err := c.Do(r.Context(), Call{Path: r.URL.Path, Out: &out})
		var refused *Error
		var unavailable *Unavailable
		switch {
		case err == nil && status == http.StatusCreated && out.N == 7:
			w.WriteHeader(200)
		case errors.As(err, &refused):
			WriteError(w, err)
		case errors.As(err, &unavailable):
			WriteError(w, err)
		default:
			t.Errorf("%s: %d, %v", r.URL.Path, status, err)
		}
	})})
	for path, want := range map[string]int{
		"/good": 200, "/refused": 409, "/failed": 503, "/busy": 503, "/moved": 503, "/garbage": 503, "/huge": 503, "/cut": 503,
	} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		r.Header.Set("X-Request-Id", "id-7")
		r.Header.Set("Cookie", "secret=1")
		w := httptest.NewRecorder()
		outer.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
		}
		if want == 503 && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", path)
		}
		header := <-headers
		if header.Get("Traceparent") != r.Header.Get("Traceparent") || header.Get("X-Request-Id") != "id-7" || header.Get("Cookie") != "" {
			t.Errorf("%s: went out with %v", path, header)
		}
	}
	if _, err := NewClient("gone", "http://127.0.0.1:1", time.Second).Do(t.Context(), Call{Path: "/"}); err == nil || !strings.Contains(err.Error(), "gone is unavailable") {
		t.Errorf("nobody there: %v", err)
	}
}
