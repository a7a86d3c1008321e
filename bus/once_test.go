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

// What a service has taken is known to the node that leads next: a message with an id that was handled comes to it once, whichever node it is
// published at, and whichever leads.
func TestNodesPushOnce(t *testing.T) {
	t.Parallel() // most of the time is that in which they find each other
	service := &requests{}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	push := []Push{{Name: "mail", URL: func() string { return server.URL }, Inbox: time.Hour}}
	nodes, err := NewNodes(Config{Dir: t.TempDir(), Secret: make([]byte, 32), Queues: map[string]Queue{"jobs": {Push: push}}, Topics: map[string]Topic{"news": {Push: push}}}, 3)
	if err != nil {
		t.Fatal(err)
	}
	ctx := runNodes(t, nodes)
	publish := func(b *Bus, path, id string) {
		t.Helper()
		eventually(t, func() string { // another node may begin to lead at any time
			if status := ask(t, b, "POST", path, "x", map[string]string{"Idempotency-Key": id}, nil); status/100 != 2 {
				return fmt.Sprint(path, ": ", status)
			}
			return ""
		})
	}
	handled := func(want int) {
		t.Helper()
		eventually(t, func() string {
			if s, err := nodes.Broker().QueueStatus("jobs"); err != nil || s.Ready+s.InFlight+s.Delayed > 0 {
				return fmt.Sprintf("%+v %v", s, err)
			}
			all, err := nodes.Topics(ctx)
			if err != nil || len(all[0].Groups) != 1 || all[0].Groups[0].Lag+uint64(all[0].Groups[0].InFlight) > 0 {
				return fmt.Sprintf("%+v %v", all, err)
			}
			service.mu.Lock()
			defer service.mu.Unlock()
			if len(service.keys) != want {
				return fmt.Sprintf("%d were posted, want %d", len(service.keys), want)
			}
			return ""
		})
	}
	for _, b := range nodes {
		publish(b, "/queues/jobs/messages", "one")
	}
	publish(nodes[0], "/topics/news/events", "one")
	handled(2)
	if _, err := nodes[0].conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+queuesStream, nil); err != nil {
		t.Fatal(err)
	}
	for _, b := range nodes {
		publish(b, "/queues/jobs/messages", "one")
	}
	publish(nodes[1], "/queues/jobs/messages", "two")
	handled(3)
}
