package bus

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

func filterFor(t *testing.T, v any) *topology.EventFilter {
	t.Helper()
	f, err := topology.ParseEventFilter(v)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Who has a filter gets the events that it asks for, pushed, fetched or read, in both modes of CloudEvents; the others wait for nobody.
func TestEngineFilters(t *testing.T) {
	onEachEngine(t, func(t *testing.T, topic Topic) {
		var mu sync.Mutex
		var pushed []string
		service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			pushed = append(pushed, string(body))
		}))
		defer service.Close()
		orders := filterFor(t, map[string]any{"prefix": map[string]any{"type": "order."}})
		topic.Push = []Push{{Name: "worker", URL: func() string { return service.URL }, Concurrency: func() int { return 4 }}}
		topic.Filters = map[string]*topology.EventFilter{"worker": orders, "mail": orders}
		b := start(t, Config{Secret: testSecret, Topics: map[string]Topic{"news": topic}})
		publish(t, b, "", "plain", nil)
		publish(t, b, "", structured, map[string]string{"Content-Type": "application/cloudevents+json"})
		publish(t, b, "", "other", map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "user.made"})
		publish(t, b, "", "paid", paid)
		publish(t, b, "", "last", nil)
		eventually(t, func() string {
			mu.Lock()
			defer mu.Unlock()
			sorted := slices.Sorted(slices.Values(pushed))
			all, err := b.Topics(t.Context())
			if got := fmt.Sprint(sorted); got != "[paid "+structured+"]" || err != nil || fmt.Sprint(all[0].Groups) != "[{worker 0 0}]" {
				return fmt.Sprint(got, all, err)
			}
			return ""
		})
		got := take(t, b, "mail", 2)
		if fmt.Sprint(got.bodies()) != "["+structured+" paid]" {
			t.Errorf("%+v", got)
		}
		if more := read(t, b, "groups/mail/events?wait=1s"); len(more.Events) != 0 {
			t.Errorf("%+v", more)
		}
		filter := func(text string) string { return "filter=" + url.QueryEscape(text) }
		if a := read(t, b, "events?"+filter(`{"not": {"prefix": {"type": "order."}}}`)); fmt.Sprint(a.bodies()) != "[plain other last]" {
			t.Errorf("%+v", a)
		}
		none := read(t, b, "events?"+filter(`{"exact": {"type": "nothing"}}`))
		if rest := read(t, b, fmt.Sprint("events?from=", none.Next)); len(none.Events) != 0 || len(rest.Events) != 0 {
			t.Errorf("%+v, then %+v", none, rest)
		}
		answer := send(t, b, "GET", "/topics/news/events?"+filter(`[{"exact": {"type": "order.paid", "note": "café 100%"}}]`), "", map[string]string{"Accept": "text/event-stream"})
		if _, e := firstEvent(t, answer.Body); *e.Body != "paid" {
			t.Errorf("%+v", e)
		}
		answer.Body.Close()
		for _, bad := range []string{"{", `{"sql": "x"}`, `{"exact": {"type": "` + strings.Repeat("x", maxFilterText) + `"}}`} {
			var no refusal
			if code := ask(t, b, "GET", "/topics/news/events?"+filter(bad), "", nil, &no); code != 400 || !strings.Contains(no.Error, "filter") {
				t.Errorf("%.40s: %d %s", bad, code, no.Error)
			}
		}
	})
}
