package bus

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// A service that has an inbox is handed each message once, by its id: also when it is published again after the queue has
// forgotten the id, while it is being handled, and to another process of the bus. One that it refused comes again.
func TestInbox(t *testing.T) {
	var mu sync.Mutex
	calls := map[string]int{}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		what := r.URL.Path + " " + r.Header.Get("X-What")
		calls[what]++
		if r.Header.Get("X-What") == "moody" && calls[what] == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer service.Close()
	push := func(path string) []Push {
		return []Push{{Name: "worker", Inbox: time.Hour, URL: func() string { return service.URL + path }, Concurrency: func() int { return 4 }}}
	}
	jobs := queueOf(workqueue.Rules{Backoff: workqueue.Backoff{First: time.Millisecond}}, "") // which forgets ids at once
	jobs.Push = push("/jobs")
	cfg := Config{Dir: t.TempDir(), Secret: testSecret, Queues: map[string]Queue{"jobs": jobs}, Topics: map[string]Topic{"news": {Push: push("/news")}}}
	for round := range 2 {
		t.Run(fmt.Sprint("process ", round+1), func(t *testing.T) {
			b := start(t, cfg)
			for range 3 {
				for _, what := range []string{"a", "b", "moody"} {
					ask(t, b, "POST", "/queues/jobs/messages?id="+what, "", map[string]string{"X-What": what}, nil)
				}
				ask(t, b, "POST", "/queues/jobs/messages", "", map[string]string{"X-What": "nameless"}, nil)
			}
			ask(t, b, "POST", "/topics/news/events", "", map[string]string{"Idempotency-Key": fmt.Sprint("n", round), "X-What": "event"}, nil)
			eventually(t, func() string {
				s, _ := b.Broker().QueueStatus("jobs")
				mu.Lock()
				defer mu.Unlock()
				if s.Ready+s.Delayed+s.InFlight > 0 || calls["/news event"] != round+1 {
					return fmt.Sprint(s.Stats, calls)
				}
				return ""
			})
		})
	}
	want := map[string]int{"/jobs a": 1, "/jobs b": 1, "/jobs moody": 2, "/jobs nameless": 6, "/news event": 2}
	if fmt.Sprint(calls) != fmt.Sprint(want) {
		t.Errorf("the service was called %v, want %v", calls, want)
	}
}
