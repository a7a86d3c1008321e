package bus

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/banyanhq/banyan/internal/loopback"
)

// Clients of Kafka and of HTTP see the same events, CloudEvents as each protocol has them.
func TestKafkaClientsShareATopic(t *testing.T) {
	url := kafkaCluster(t, kfake.SeedTopics(3, "shop.news"))
	b := start(t, Config{Topics: map[string]Topic{"news": {Engine: engineKafka, URL: url + "/shop.news?compression=zstd", Partitions: 3}}})
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(strings.TrimPrefix(url, "kafka://"), ",")...), kgo.ConsumeTopics("shop.news"), kgo.DefaultProduceTopic("shop.news"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	publish(t, b, "", "paid", paid)
	records := client.PollFetches(limited(t)).Records()
	if len(records) != 1 || string(records[0].Key) != "anna" || string(records[0].Value) != "paid" {
		t.Fatalf("%+v", records)
	}
	headers := map[string]string{}
	for _, h := range records[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	for name, want := range map[string]string{"ce_id": "2", "ce_specversion": "1.0", "ce_type": "order.paid", "ce_note": "café 100%", "content-type": "text/plain", "traceparent": paid["Traceparent"]} {
		if headers[name] != want {
			t.Errorf("%s: %q, want %q", name, headers[name], want)
		}
	}
	publish(t, b, "", structured, map[string]string{"Content-Type": "application/cloudevents+json"})
	if r := client.PollFetches(limited(t)).Records(); len(r) != 1 || string(r[0].Value) != structured || fmt.Sprint(r[0].Headers) != fmt.Sprint([]kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}) {
		t.Errorf("%+v", r)
	}

	// The other way. A key and a header that are no text do no harm.
	sent := &kgo.Record{Key: []byte{0xff}, Value: []byte("from java"), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("ü")}, {Key: "ce_source", Value: []byte("/java")},
		{Key: "ce_type", Value: []byte("x")}, {Key: "ce_specversion", Value: []byte("1.0")}, {Key: "__TypeId__", Value: []byte{0, 13, 10}}}}
	if err := client.ProduceSync(limited(t), sent).FirstErr(); err != nil {
		t.Fatal(err)
	}
	var found bool
	for _, e := range read(t, b, "events").Events {
		if *e.Body == "from java" {
			found = e.Headers["ce-id"] == "%C3%BC" && e.Key == "" && string(e.KeyBase64) == "\xff" && *e.Partition == sent.Partition && e.Offset == uint64(sent.Offset)
		}
	}
	if !found {
		t.Errorf("%+v", read(t, b, "events"))
	}
}

// Of events with one key one is pushed at a time, in their order, also when one of them is refused at first; others go on beside it.
func TestKafkaKeepsTheOrderOfKeys(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][]string{}
	refused := false
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		key, n := r.Header.Get("Banyan-Key"), r.Header.Get("X-N")
		if key == "a" && n == "3" && !refused {
			refused = true
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		seen[key] = append(seen[key], n)
	}))
	defer service.Close()
	push := []Push{{Name: "worker", URL: func() string { return service.URL }, Concurrency: func() int { return 20 }}}
	b := start(t, Config{Secret: testSecret, Topics: map[string]Topic{"news": {Engine: engineKafka, URL: kafkaCluster(t), Partitions: 2, Push: push}}})
	for n := range 10 {
		for _, key := range []string{"a", "b", "c"} {
			publish(t, b, "?key="+key, "x", map[string]string{"X-N": fmt.Sprint(n)})
		}
	}
	eventually(t, func() string {
		mu.Lock()
		defer mu.Unlock()
		if len(seen["a"])+len(seen["b"])+len(seen["c"]) < 30 {
			return fmt.Sprint(seen)
		}
		return ""
	})
	for key, order := range seen {
		if fmt.Sprint(order) != "[0 1 2 3 4 5 6 7 8 9]" {
			t.Errorf("%s: %v", key, order)
		}
	}
}

// While an engine is out of reach its topics say so, and nothing else suffers.
func TestAnEngineThatIsOutOfReach(t *testing.T) {
	address := net.JoinHostPort(loopback.Host(), "4711") // where nobody listens
	b := start(t, Config{Topics: map[string]Topic{"news": {Engine: engineKafka, URL: "kafka://" + address}, "other": {Engine: engineNATS, URL: "nats://" + address}, "own": {}}})
	for _, topic := range []string{"news", "other"} {
		var no refusal
		if code := ask(t, b, "POST", "/topics/"+topic+"/events", "x", nil, &no); code != 503 || !strings.Contains(no.Error, "out of reach") {
			t.Errorf("%s: %d %s", topic, code, no.Error)
		}
	}
	if code := ask(t, b, "POST", "/topics/own/events", "x", nil, nil); code != 201 {
		t.Error(code)
	}
	all, err := b.Topics(limited(t))
	if err != nil || len(all) != 3 || all[0].Error == "" || all[1].Error == "" || all[2].Error != "" || all[2].Events != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	for path, want := range map[string]int{"/backup?stream=news": 400, "/topics/news/schema": 400} {
		method := "GET"
		if strings.HasSuffix(path, "schema") {
			method = "PUT"
		}
		var no refusal
		if code := ask(t, b, method, path, `{"type": "object"}`, nil, &no); code != want || !strings.Contains(no.Error, "Kafka") {
			t.Errorf("%s: %d %s", path, code, no.Error)
		}
	}
}

// A stream of other NATS servers that is not as the topic has to be is not changed, and said.
func TestAStreamOfOthers(t *testing.T) {
	url := natsServer(t)
	first := start(t, Config{Topics: map[string]Topic{"news": {Engine: engineNATS, URL: url, Retain: time.Hour}}})
	publish(t, first, "", "one", nil)
	second := start(t, Config{Topics: map[string]Topic{"news": {Engine: engineNATS, URL: url, Retain: 2 * time.Hour}}})
	var no refusal
	if code := ask(t, second, "POST", "/topics/news/events", "x", nil, &no); code != 503 || !strings.Contains(no.Error, "keeps events for 1h, the file says retain: 2h") {
		t.Error(code, no.Error)
	}
}
