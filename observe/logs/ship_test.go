package logs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

// TestShip sends lines to an engine that fails now and then, is stopped in between, and refuses one; it must have each other one once.
func TestShip(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	all := make(chan struct{})
	n, answers := 0, 0
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		if answers++; answers%3 == 1 {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		var items []string
		lines := strings.Split(strings.TrimSpace(string(body)), "\n")
		for i := 0; i < len(lines); i += 2 {
			var action struct {
				Create struct {
					ID string `json:"_id"`
				}
			}
			if err := json.Unmarshal([]byte(lines[i]), &action); err != nil {
				t.Error(err)
			}
			status := 201
			if got[action.Create.ID]++; got[action.Create.ID] > 1 {
				status = 409
			} else if n++; n == 2500 {
				close(all)
			}
			items = append(items, fmt.Sprintf(`{"create":{"status":%d}}`, status))
		}
		fmt.Fprintf(w, `{"errors":false,"items":[%s]}`, strings.Join(items, ","))
	}))
	defer engine.Close()
	l, _ := running(t, Config{})
	ship := Ship{Engine: "elasticsearch", URL: engine.URL, System: "shop", State: filepath.Join(t.TempDir(), "shipped")}
	var records []segment.Record
	for i := range 2500 {
		records = append(records, segment.Record{Time: noon.Add(time.Duration(i) * time.Millisecond).UnixNano(), Stream: segment.NewStream(map[string]string{"service": "web"}), Body: fmt.Sprint("line ", i)})
	}
	if err := l.Append(t.Context(), records[:1200]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Ship(ctx, ship) }()
	if err := l.Append(t.Context(), records[1200:]); err != nil {
		t.Fatal(err)
	}
	<-all
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(got) != 2500 {
		t.Errorf("%d lines came", len(got))
	}
	if err := l.Ship(t.Context(), Ship{Engine: "splunk"}); err == nil {
		t.Error("an engine that is not known was taken")
	}
}

// TestShipRefused goes on behind what an engine refuses, as Loki refuses lines that are too old.
func TestShipRefused(t *testing.T) {
	came := make(chan string, 10)
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "old") {
			http.Error(w, "entry too far behind", http.StatusBadRequest)
		} else {
			w.WriteHeader(http.StatusNoContent)
		}
		came <- string(body)
	}))
	defer engine.Close()
	l, _ := running(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	state := filepath.Join(t.TempDir(), "shipped")
	go func() {
		ended <- l.Ship(ctx, Ship{Engine: "loki", URL: engine.URL + "/", System: "shop", State: state})
	}()
	stream := segment.NewStream(map[string]string{"service.name": "web"})
	for _, line := range []string{"old", "new"} {
		if err := l.Append(ctx, []segment.Record{{Time: noon.UnixNano(), Stream: stream, Body: line}}); err != nil {
			t.Fatal(err)
		}
		body := <-came
		if !strings.Contains(body, `"service_name":"web"`) || !strings.Contains(body, line) {
			t.Errorf("%s", body)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := l.counters.unshipped.Load(); n != 1 {
		t.Errorf("%d lines are counted as refused", n)
	}
}
