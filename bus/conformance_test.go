package bus

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// engines are those that topics can be at. Each returns how a topic is configured there, for one test.
var engines = map[string]func(*testing.T) Topic{
	"embedded": func(*testing.T) Topic { return Topic{} },
	"nats":     func(t *testing.T) Topic { return Topic{Engine: engineNATS, URL: natsServer(t)} },
	"kafka":    func(t *testing.T) Topic { return Topic{Engine: engineKafka, URL: kafkaCluster(t)} },
}

// natsServer is a NATS server as others run it.
func natsServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not come up")
	}
	return s.ClientURL()
}

// kafkaCluster is a fake of a Kafka cluster, of three brokers.
func kafkaCluster(t *testing.T, options ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return "kafka://" + strings.Join(c.ListenAddrs(), ",")
}

// onEachEngine runs a test with a topic on each engine.
func onEachEngine(t *testing.T, f func(t *testing.T, topic Topic)) {
	for _, name := range slices.Sorted(maps.Keys(engines)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, engines[name](t))
		})
	}
}

type eventsAnswer struct {
	Events []eventJSON
	Next   any
	Error  string
}

func (a eventsAnswer) bodies() (all []string) {
	for _, e := range a.Events {
		all = append(all, *e.Body)
	}
	return all
}

// read reads a topic, or for a group, and fails the test unless that is allowed.
func read(t *testing.T, b *Bus, path string) (a eventsAnswer) {
	t.Helper()
	if code := ask(t, b, "GET", "/topics/news/"+path, "", nil, &a); code != 200 {
		t.Fatal(path, code, a.Error)
	}
	return a
}

// publish publishes an event and returns its offset.
func publish(t *testing.T, b *Bus, query, body string, headers map[string]string) (offset uint64) {
	t.Helper()
	var put struct {
		Offset uint64
		Error  string
	}
	if code := ask(t, b, "POST", "/topics/news/events"+query, body, headers, &put); code != 201 {
		t.Fatal(code, put.Error)
	}
	return put.Offset
}

var paid = map[string]string{"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/shop", "ce-type": "order.paid", "ce-partitionkey": "anna",
	"ce-note": "caf%C3%A9%20100%25", "Content-Type": "text/plain", "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "X-Colour": "red"}

// What is published comes back as it was, from any place.
func TestEngineReplays(t *testing.T) {
	onEachEngine(t, func(t *testing.T, topic Topic) {
		b := start(t, Config{Topics: map[string]Topic{"news": topic}})
		first := publish(t, b, "", structured, map[string]string{"Content-Type": "application/cloudevents+json"})
		var before time.Time
		for before = time.Now(); time.Since(before) < 5*time.Millisecond; { // instants of Kafka are whole milliseconds
		}
		second := publish(t, b, "", "paid", paid)
		third := publish(t, b, "?key=bert", "\x00\xff", nil)
		if second != first+1 || third != second+1 {
			t.Errorf("the offsets are %d, %d, %d", first, second, third)
		}
		all := read(t, b, "events")
		if len(all.Events) != 3 || *all.Events[0].Body != structured || all.Events[1].Key != "anna" || string(all.Events[2].BodyBase64) != "\x00\xff" || all.Events[2].Key != "bert" {
			t.Fatalf("%+v", all)
		}
		for name, want := range paid {
			if got := all.Events[1].Headers[strings.ToLower(name)]; got != want {
				t.Errorf("header %s: %q, want %q", name, got, want)
			}
		}
		if age := time.Since(all.Events[1].Time); age < 0 || age > time.Minute {
			t.Error(all.Events[1].Time)
		}
		for query, want := range map[string]uint64{fmt.Sprint("?from=", second, "&max=1"): second, "?key=anna": second, "?since=" + before.UTC().Format(time.RFC3339Nano): second,
			fmt.Sprint("?from=", third): third} {
			if a := read(t, b, "events"+query); len(a.Events) == 0 || a.Events[0].Offset != want {
				t.Errorf("%s: %+v", query, a)
			}
		}
		// An answer says where the next one goes on, and what is waited for comes.
		part := read(t, b, "events?max=2")
		if rest := read(t, b, fmt.Sprint("events?from=", part.Next)); len(part.Events) != 2 || len(rest.Events) != 1 || rest.Events[0].Offset != third {
			t.Errorf("%+v, then %+v", part, rest)
		}
		answer := make(chan eventsAnswer)
		go func() { answer <- read(t, b, fmt.Sprint("events?wait=50s&from=", all.Next)) }()
		fourth := publish(t, b, "", "four", nil)
		if a := <-answer; len(a.Events) != 1 || a.Events[0].Offset != fourth {
			t.Errorf("%+v", a)
		}
	})
}

// Server-sent events go on for ever, and after a break behind the last one that was seen.
func TestEngineStreams(t *testing.T) {
	onEachEngine(t, func(t *testing.T, topic Topic) {
		b := start(t, Config{Topics: map[string]Topic{"news": topic}})
		publish(t, b, "", "one", nil)
		publish(t, b, "", "two", nil)
		var last string
		for _, want := range []string{"one", "two", "three"} {
			r := map[string]string{"Accept": "text/event-stream"}
			if last != "" {
				r["Last-Event-ID"] = last
			}
			if want == "three" {
				publish(t, b, "", want, nil)
			}
			answer := send(t, b, "GET", "/topics/news/events", "", r)
			var e eventJSON
			last, e = firstEvent(t, answer.Body)
			answer.Body.Close()
			if *e.Body != want {
				t.Fatalf("behind %q: %+v, want %s", last, e, want)
			}
		}
	})
}

// firstEvent reads one server-sent event.
func firstEvent(t *testing.T, body io.Reader) (id string, e eventJSON) {
	t.Helper()
	var text strings.Builder
	for buffer := make([]byte, 1); !strings.HasSuffix(text.String(), "\n\n"); {
		n, err := body.Read(buffer)
		if text.Write(buffer[:n]); err != nil {
			t.Fatal(text.String(), err)
		}
	}
	for line := range strings.Lines(text.String()) {
		if v, ok := strings.CutPrefix(line, "id: "); ok {
			id = strings.TrimSpace(v)
		}
		if v, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(v), &e); err != nil {
				t.Fatal(err)
			}
		}
	}
	return id, e
}

// What can't be kept, found or understood is refused with the status that says so.
func TestEngineRefusals(t *testing.T) {
	onEachEngine(t, func(t *testing.T, topic Topic) {
		b := start(t, Config{Topics: map[string]Topic{"news": topic}, MaxMessage: 1000})
		publish(t, b, "", "one", nil)
		for _, c := range []struct {
			method, path, body string
			headers            map[string]string
			want               int
		}{
			{"POST", "/events", strings.Repeat("x", 1001), nil, 413},
			{"POST", "/events", "x", map[string]string{"ce-specversion": "1.0", "ce-source": "/shop", "ce-type": "x"}, 400},
			{"POST", "/events", "x", map[string]string{"Content-Type": "application/cloudevents+json"}, 400},
			{"POST", "/events?key=" + strings.Repeat("k", 257), "x", nil, 400},
			{"GET", "/events?from=yesterday", "", nil, 400},
			{"GET", "/events?since=yesterday", "", nil, 400},
			{"GET", "/events?max=1001", "", nil, 400},
			{"GET", "/groups/A/events", "", nil, 400},
			{"POST", "/groups/mail/bm9uZQ/ack", "", nil, 400},
			{"POST", "/groups/mail/!/ack", "", nil, 400},
			{"POST", "/groups/mail/bm9uZQ/forget", "", nil, 400},
		} {
			var no refusal
			if code := ask(t, b, c.method, "/topics/news"+c.path, c.body, c.headers, &no); code != c.want || no.Error == "" {
				t.Errorf("%s %s: %d %s, want %d", c.method, c.path, code, no.Error, c.want)
			}
		}
		if a := read(t, b, "events"); len(a.Events) != 1 {
			t.Errorf("%+v", a)
		}
	})
}

// Each group sees each event, each member some; one that is refused comes again, one that was acknowledged does not, also not to another
// process; and how far a group is behind can be seen.
func TestEngineGroups(t *testing.T) {
	onEachEngine(t, func(t *testing.T, topic Topic) {
		cfg := Config{Dir: t.TempDir(), Topics: map[string]Topic{"news": topic}}
		t.Run("process 1", func(t *testing.T) {
			b := start(t, cfg)
			for _, body := range []string{"one", "two", "three"} {
				publish(t, b, "", body, nil)
			}
			for _, group := range []string{"mail", "stock"} {
				got := take(t, b, group, 3)
				if slices.Sort(got.bodies()); fmt.Sprint(got.bodies()) != "[one two three]" || got.Events[0].Attempt != 1 {
					t.Fatalf("%s: %+v", group, got)
				}
				settle(t, b, group, got.Events[0], "extend")
				settle(t, b, group, got.Events[0], "ack")
				settle(t, b, group, got.Events[1], "nack?delay=1ms")
				again := take(t, b, group, 1)
				if *again.Events[0].Body != "two" || again.Events[0].Attempt != 2 {
					t.Fatalf("%s: %+v", group, again)
				}
				settle(t, b, group, again.Events[0], "ack")
				if group == "stock" {
					settle(t, b, group, got.Events[2], "ack")
				}
			}
			eventually(t, func() string {
				all, err := b.Topics(limited(t))
				if err != nil || len(all) != 1 || all[0].Error != "" || fmt.Sprint(all[0].Groups) != "[{mail 0 1} {stock 0 0}]" || all[0].Events != 3 || all[0].Label == "" {
					return fmt.Sprintf("%+v %v", all, err)
				}
				return ""
			})
			publish(t, b, "", "four", nil)
			got := take(t, b, "stock", 1)
			settle(t, b, "stock", got.Events[0], "ack")
		})
		t.Run("process 2", func(t *testing.T) {
			b := start(t, cfg)
			publish(t, b, "", "five", nil)
			if got := take(t, b, "stock", 1); *got.Events[0].Body != "five" {
				t.Errorf("%+v", got)
			}
			want := `banyan_topic_group_lag{group="stock",topic="news"} 0 banyan_topic_group_in_flight{group="stock",topic="news"} 1`
			eventually(t, func() string {
				if got := gathered(t, b, "banyan_topic_group_lag", "banyan_topic_group_in_flight"); !strings.Contains(got, strings.Fields(want)[0]) {
					return got
				}
				return ""
			})
		})
	})
}

// take takes events for a group, in several requests if need be, and puts them in the order of their offsets.
func take(t *testing.T, b *Bus, group string, n int) (all eventsAnswer) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); len(all.Events) < n && time.Now().Before(deadline); {
		all.Events = append(all.Events, read(t, b, fmt.Sprintf("groups/%s/events?wait=2s&max=%d", group, n-len(all.Events))).Events...)
	}
	if len(all.Events) != n {
		t.Fatalf("%s got %+v", group, all)
	}
	slices.SortFunc(all.Events, func(x, y eventJSON) int { return int(x.Offset) - int(y.Offset) })
	return all
}

func settle(t *testing.T, b *Bus, group string, e eventJSON, verb string) {
	t.Helper()
	verb, query, _ := strings.Cut(verb, "?")
	if code := ask(t, b, "POST", fmt.Sprintf("/topics/news/groups/%s/%s/%s?%s", group, e.Receipt, verb, query), "", nil, nil); code != 204 {
		t.Fatal(verb, code)
	}
}

// gathered is what a page of metrics says of some families.
func gathered(t *testing.T, b *Bus, names ...string) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Collector(func() *Nodes { return &Nodes{b} }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range families {
		if !slices.Contains(names, f.GetName()) {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			fmt.Fprintf(&out, "%s{%s} %v\n", f.GetName(), strings.Join(labels, ","), m.GetGauge().GetValue())
		}
	}
	return out.String()
}

// A service is handed each event, signed, with its headers and key; what it refuses comes again, what it has taken is not handed to it again
// under the same id; and it is handed no more than its limit allows.
func TestEnginePushes(t *testing.T) {
	onEachEngine(t, func(t *testing.T, topic Topic) {
		var mu sync.Mutex
		calls := map[string]int{}
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			calls[string(body)]++
			switch string(body) {
			case "moody":
				if r.Header.Get("Banyan-Attempt") == "1" {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			case "paid":
				if r.Header.Get("Ce-Type") != "order.paid" || r.Header.Get("Ce-Note") != paid["ce-note"] || r.Header.Get("Banyan-Key") != "anna" || r.Header.Get("Banyan-Topic") != "news" ||
					!strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") || r.Header.Get("Content-Type") != "text/plain" || r.Header.Get("Traceparent") != paid["Traceparent"] {
					t.Errorf("%v", r.Header)
				}
			}
		}))
		defer service.Close()
		to := func(name string, inbox time.Duration) Push {
			return Push{Name: name, Inbox: inbox, URL: func() string { return service.URL }, Concurrency: func() int { return 4 }}
		}
		topic.Push = []Push{to("worker", time.Hour)}
		limited := topic
		limited.Push, limited.Limits = []Push{to("slow", 0)}, map[string]workqueue.Limit{"slow": {PerSecond: 1e-6, Burst: 2}}
		b := start(t, Config{Secret: testSecret, Topics: map[string]Topic{"news": topic, "alerts": limited}})
		publish(t, b, "", "paid", paid)
		publish(t, b, "", "moody", nil)
		ask(t, b, "POST", "/topics/news/events", "once", map[string]string{"Idempotency-Key": "k"}, nil)
		ask(t, b, "POST", "/topics/news/events", "once", map[string]string{"Idempotency-Key": "k"}, nil)
		for range 5 {
			ask(t, b, "POST", "/topics/alerts/events", "alert", nil, nil)
		}
		eventually(t, func() string {
			all, _ := b.Topics(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(calls) != "map[alert:2 moody:2 once:1 paid:1]" || len(all) != 2 || fmt.Sprint(all[1].Groups) != "[{worker 0 0}]" {
				return fmt.Sprintf("%v %+v", calls, all)
			}
			return ""
		})
		if code := ask(t, b, "GET", "/topics/news/groups/worker/events", "", nil, nil); code != 400 {
			t.Error(code)
		}
	})
}
