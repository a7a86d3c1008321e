package bus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// send sends a request and returns the answer, whose body is the caller's to close.
func send(t *testing.T, b *Bus, method, path, body string, headers map[string]string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(limited(t), method, b.HTTPURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// ask sends a request and reads the answer into v, if that is not nil. It returns the status.
func ask(t *testing.T, b *Bus, method, path, body string, headers map[string]string, v any) int {
	t.Helper()
	answer := send(t, b, method, path, body, headers)
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if v != nil {
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatalf("%s %s: %d %s: %v", method, path, answer.StatusCode, text, err)
		}
	}
	return answer.StatusCode
}

type messagesAnswer struct{ Messages []Message }

func TestQueueOverHTTP(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"jobs": queueOf(workqueue.Rules{MaxDeliver: 2, Dedupe: time.Minute}, "")}})
	var put struct {
		Seq       uint64
		Duplicate bool
	}
	headers := map[string]string{"Content-Type": "application/json", "Idempotency-Key": "k1", "X-Colour": "red", "Cookie": "private"}
	if code := ask(t, b, "POST", "/queues/jobs/messages?key=anna&priority=3", `{"a":1}`, headers, &put); code != 201 || put.Seq != 1 {
		t.Fatal(code, put)
	}
	if code := ask(t, b, "POST", "/queues/jobs/messages", `{"a":1}`, headers, &put); code != 200 || !put.Duplicate {
		t.Fatal(code, put)
	}
	var got messagesAnswer
	if code := ask(t, b, "GET", "/queues/jobs/messages?wait=50s&max=5", "", nil, &got); code != 200 || len(got.Messages) != 1 {
		t.Fatal(code, got)
	}
	m := got.Messages[0]
	if *m.Body != `{"a":1}` || m.Key != "anna" || m.Priority != 3 || m.Attempt != 1 || m.Headers["x-colour"] != "red" || m.Headers["cookie"] != "" {
		t.Fatalf("%+v", m)
	}
	if code := ask(t, b, "POST", "/queues/jobs/messages/"+m.Receipt+"/extend?by=1m", "", nil, nil); code != 204 {
		t.Fatal(code)
	}
	if code := ask(t, b, "POST", "/queues/jobs/messages/"+m.Receipt+"/nack?delay=0s&reason=no+card+17", "", nil, nil); code != 204 {
		t.Fatal(code)
	}
	if code := ask(t, b, "DELETE", "/queues/jobs/messages/"+m.Receipt, "", nil, nil); code != 204 {
		t.Error("a late acknowledgement of a message that nobody else was given: ", code)
	}
	ask(t, b, "POST", "/queues/jobs/messages", "again", nil, &put)
	ask(t, b, "GET", "/queues/jobs/messages?wait=50s", "", nil, &got)
	if code := ask(t, b, "POST", "/queues/jobs/messages/"+got.Messages[0].Receipt+"/dead?reason=no+customer+9", "", nil, nil); code != 204 {
		t.Fatal(code)
	}
	if code := ask(t, b, "DELETE", "/queues/jobs/messages/"+got.Messages[0].Receipt, "", nil, nil); code != 409 {
		t.Error("settled twice: ", code)
	}
	var dead struct {
		In       string
		Groups   []workqueue.Group
		Messages []Message
	}
	if code := ask(t, b, "GET", "/queues/jobs/dead", "", nil, &dead); code != 200 || len(dead.Groups) != 1 || dead.Groups[0].Signature != "no customer #" ||
		len(dead.Messages) != 1 || *dead.Messages[0].Body != "again" || len(dead.Messages[0].Attempts) != 1 {
		t.Fatalf("%d %+v", code, dead)
	}
	var moved broker.Redrive
	if code := ask(t, b, "POST", "/queues/jobs/redrive?max=10", "", nil, &moved); code != 200 || moved.Moved != 1 {
		t.Fatal(code, moved)
	}
	ask(t, b, "GET", "/queues/jobs/messages?wait=50s", "", nil, &got)
	ask(t, b, "DELETE", "/queues/jobs/messages/"+got.Messages[0].Receipt, "", nil, nil)
	if code := ask(t, b, "GET", "/queues/jobs/redrives/"+moved.ID, "", nil, &moved); code != 200 || moved.Acked != 1 {
		t.Fatal(code, moved)
	}
	// Without a wait there is what there is.
	ask(t, b, "POST", "/queues/jobs/messages", "one", nil, nil)
	ask(t, b, "POST", "/queues/jobs/messages", "two", nil, nil)
	for _, want := range []int{2, 0} {
		if code := ask(t, b, "GET", "/queues/jobs/messages?max=9", "", nil, &got); code != 200 || len(got.Messages) != want {
			t.Error(code, got, want)
		}
	}
}

func TestHTTPRefusals(t *testing.T) {
	b := start(t, Config{MaxMessage: 1000, Queues: map[string]Queue{"jobs": queueOf(workqueue.Rules{MaxMessages: 1}, "")}, Topics: map[string]Topic{"news": {}}})
	ask(t, b, "POST", "/queues/jobs/messages", "", nil, nil)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/queues/jobs/messages", "second", 429},
		{"POST", "/queues/nowhere/messages", "", 404},
		{"POST", "/queues/jobs/messages", strings.Repeat("x", 2000), 413},
		{"POST", "/queues/jobs/messages?delay=tomorrow", "", 400},
		{"POST", "/queues/jobs/messages?priority=10", "", 400},
		{"GET", "/queues/nowhere/messages", "", 404},
		{"GET", "/queues/jobs/messages?wait=2h", "", 400},
		{"GET", "/queues/jobs/messages?max=-1", "", 400},
		{"DELETE", "/queues/jobs/messages/1", "", 400},
		{"DELETE", "/queues/jobs/messages/1.7", "", 409},
		{"POST", "/queues/jobs/messages/1.1/burn", "", 400},
		{"GET", "/queues/jobs/messages/99", "", 404},
		{"GET", "/queues/jobs/redrives/x", "", 404},
		{"POST", "/topics/nowhere/events", "", 404},
		{"POST", "/topics/news/events?key=a+b", "", 400},
		{"GET", "/topics/news/events?from=yesterday", "", 400},
		{"GET", "/topics/news/groups/a%20b/events", "", 400},
		{"POST", "/topics/news/groups/g/bm9uc2Vuc2U/ack", "", 400},
	} {
		var said struct{ Error string }
		if code := ask(t, b, c.method, c.path, c.body, nil, &said); code != c.want || said.Error == "" {
			t.Errorf("%s %s: %d %q, want %d", c.method, c.path, code, said.Error, c.want)
		}
	}
}

// events reads server-sent events.
func events(t *testing.T, b *Bus, path string, headers map[string]string) <-chan string {
	t.Helper()
	answer := send(t, b, "GET", path, "", headers)
	out := make(chan string, 100)
	go func() {
		defer answer.Body.Close()
		defer close(out)
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out <- data
			}
		}
	}()
	return out
}

func TestServerSentMessagesWaitForAcknowledgement(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"jobs": {}}})
	stream := events(t, b, "/queues/jobs/stream?max=1", nil)
	for i := range 3 {
		ask(t, b, "POST", "/queues/jobs/messages", fmt.Sprint(i), nil, nil)
	}
	for i := range 3 {
		var m Message
		if err := json.Unmarshal([]byte(<-stream), &m); err != nil || *m.Body != fmt.Sprint(i) {
			t.Fatal(m, err)
		}
		select {
		case more := <-stream:
			t.Fatalf("a second one came before the first was settled: %s", more)
		default:
		}
		ask(t, b, "DELETE", "/queues/jobs/messages/"+m.Receipt, "", nil, nil)
	}
}

const structured = `{"specversion":"1.0","id":"1","source":"/shop","type":"order.placed","data":{"n":1}}`

func TestTopicOverHTTP(t *testing.T) {
	b := start(t, Config{Topics: map[string]Topic{"news": {Retain: time.Hour}}})
	var put struct {
		Offset    uint64
		Duplicate bool
	}
	cloud := map[string]string{"Content-Type": "application/cloudevents+json"}
	if code := ask(t, b, "POST", "/topics/news/events", structured, cloud, &put); code != 201 || put.Offset != 1 {
		t.Fatal(code, put)
	}
	if code := ask(t, b, "POST", "/topics/news/events", structured, cloud, &put); code != 200 || !put.Duplicate {
		t.Fatal(code, put)
	}
	before := time.Now()
	binary := map[string]string{"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/shop", "ce-type": "order.paid", "ce-partitionkey": "anna"}
	if code := ask(t, b, "POST", "/topics/news/events", "paid", binary, &put); code != 201 || put.Offset != 2 {
		t.Fatal(code, put)
	}
	for what, bad := range map[string]map[string]string{
		"no id": {"ce-specversion": "1.0", "ce-source": "/shop", "ce-type": "x"}, "version": {"ce-specversion": "0.3", "ce-id": "1", "ce-source": "/s", "ce-type": "x"},
		"batch": {"Content-Type": "application/cloudevents-batch+json"}, "not JSON": {"Content-Type": "application/cloudevents+json"},
	} {
		if code := ask(t, b, "POST", "/topics/news/events", "x", bad, nil); code != 400 {
			t.Errorf("%s: %d", what, code)
		}
	}
	type answer struct {
		Events []eventJSON
		Next   uint64
	}
	read := func(query string) (a answer) {
		t.Helper()
		if code := ask(t, b, "GET", "/topics/news/events"+query, "", nil, &a); code != 200 {
			t.Fatal(code)
		}
		return a
	}
	if a := read(""); len(a.Events) != 2 || *a.Events[0].Body != structured || a.Next != 3 || a.Events[1].Headers["ce-type"] != "order.paid" || a.Events[1].Key != "anna" {
		t.Fatalf("%+v", a)
	}
	if a := read("?from=2"); len(a.Events) != 1 || a.Events[0].Offset != 2 {
		t.Fatalf("%+v", a)
	}
	if a := read("?key=anna"); len(a.Events) != 1 || a.Events[0].Offset != 2 {
		t.Fatalf("%+v", a)
	}
	if a := read("?since=" + before.UTC().Format(time.RFC3339Nano)); len(a.Events) != 1 || a.Events[0].Offset != 2 {
		t.Fatalf("%+v", a)
	}
	stream := events(t, b, "/topics/news/events", map[string]string{"Accept": "text/event-stream", "Last-Event-ID": "1"})
	var e eventJSON
	if err := json.Unmarshal([]byte(<-stream), &e); err != nil || e.Offset != 2 {
		t.Fatal(e, err)
	}

	// Each group sees every event, each member of a group some.
	for _, group := range []string{"mail", "stock"} {
		seen := map[uint64]bool{}
		for range 2 {
			var a answer
			if code := ask(t, b, "GET", "/topics/news/groups/"+group+"/events?wait=50s", "", nil, &a); code != 200 || len(a.Events) != 1 {
				t.Fatal(code, a)
			}
			seen[a.Events[0].Offset] = true
			if code := ask(t, b, "POST", "/topics/news/groups/"+group+"/"+a.Events[0].Receipt+"/ack", "", nil, nil); code != 204 {
				t.Fatal(code)
			}
		}
		if len(seen) != 2 {
			t.Errorf("%s has seen %v", group, seen)
		}
	}
	eventually(t, func() string { // an acknowledgement counts a moment after it was taken
		var all []TopicStatus
		if ask(t, b, "GET", "/topics", "", nil, &all); len(all) != 1 || all[0].Events != 2 || len(all[0].Groups) != 2 || all[0].Groups[0].Lag != 0 {
			return fmt.Sprintf("%+v", all)
		}
		return ""
	})
	// NATS clients see the same.
	_, js := connect(t, b)
	c, err := js.CreateOrUpdateConsumer(limited(t), "news", jetstream.ConsumerConfig{Durable: "nats"})
	if err != nil {
		t.Fatal(err)
	}
	if m := one(t, c); string(m.Data()) != structured {
		t.Error(string(m.Data()))
	}
}

var testSecret = bytes.Repeat([]byte("s"), 32)

// A service gets what is pushed, signed; a failure is tried again after the back-off, and one that never works is a dead letter with
// what the service said.
func TestPush(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	var down atomic.Bool
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, stamp := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		var sec int64
		fmt.Sscan(stamp, &sec)
		if _, want := sign(testSecret, id, time.Unix(sec, 0), body); r.Header.Get("Webhook-Signature") != want {
			t.Errorf("signature %q, want %q", r.Header.Get("Webhook-Signature"), want)
		}
		mu.Lock()
		calls = append(calls, fmt.Sprintf("%s %s %s", body, r.Header.Get("Banyan-Attempt"), r.Header.Get("X-Colour")))
		mu.Unlock()
		switch {
		case strings.HasPrefix(string(body), "poison"):
			http.Error(w, "card 4711 refused", http.StatusUnprocessableEntity)
		case r.Header.Get("Banyan-Attempt") == "1" && string(body) == "moody":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer service.Close()
	push := []Push{{Name: "worker", URL: func() string {
		if down.Load() {
			return ""
		}
		return service.URL + "/work"
	}, Concurrency: func() int { return 2 }}}
	down.Store(true)
	jobs := queueOf(workqueue.Rules{MaxDeliver: 3, Backoff: workqueue.Backoff{First: 10 * time.Millisecond}}, "")
	jobs.Push = push
	b := start(t, Config{Secret: testSecret, Queues: map[string]Queue{"jobs": jobs}, Topics: map[string]Topic{"news": {Push: push}}})
	for _, body := range []string{"good", "moody", "poison"} {
		ask(t, b, "POST", "/queues/jobs/messages", body, map[string]string{"X-Colour": "red"}, nil)
	}
	ask(t, b, "POST", "/topics/news/events", "event", map[string]string{"X-Colour": "blue"}, nil)
	down.Store(false) // nothing was tried, and so no attempt used up, while there was no service
	want := "[event 1 blue good 1 red moody 1 red moody 2 red poison 1 red poison 2 red poison 3 red]"
	eventually(t, func() string {
		mu.Lock()
		defer mu.Unlock()
		sorted := append([]string(nil), calls...)
		slices.Sort(sorted)
		if got := fmt.Sprint(sorted); got != want {
			return got
		}
		return ""
	})
	eventually(t, func() string {
		_, groups, err := b.Broker().DeadLetters("jobs")
		if err != nil || len(groups) != 1 || groups[0].Signature != "# Unprocessable Entity card # refused" {
			return fmt.Sprint(groups, err)
		}
		return ""
	})
}

// eventually waits until f finds nothing wrong.
func eventually(t *testing.T, f func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := f()
		if wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(wrong)
		}
	}
}

// The example of the specification of Standard Webhooks.
func TestSignature(t *testing.T) {
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	if _, got := sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
	for _, bad := range []string{"", "MfKQ", "whsec_", "whsec_!!", "whsec_AAAA"} {
		if _, err := ParseSecret(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// Ten thousand subscriptions and ten thousand requests that wait hurt nobody else.
func TestManySubscriptionsAndRequests(t *testing.T) {
	// What is given to somebody who is gone already comes again when the ack wait is over.
	patience := workqueue.Rules{AckWait: 200 * time.Millisecond}
	b := start(t, Config{Queues: map[string]Queue{"jobs": {QueueConfig: broker.QueueConfig{Rules: patience}}}})
	conn, _ := connect(t, b)
	for i := range 10000 {
		if _, err := conn.Subscribe(fmt.Sprintf("s.%d", i), func(*nats.Msg) {}); err != nil {
			t.Fatal(err)
		}
	}
	inbox := nats.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for range maxPulls + 1 {
		if err := conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.jobs.w", inbox, []byte(`{"expires": 600000000000}`)); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := sub.NextMsgWithContext(limited(t)); err != nil || m.Header.Get("Status") != "409" {
		t.Fatal(m, err)
	}
	conn.Close() // and with it all that waited
	_, js := connect(t, b)
	c, err := js.Consumer(limited(t), "jobs", "w")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(limited(t), "queues.jobs", []byte("for the living")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { // the server may take a moment to notice who is gone
		batch, err := c.Fetch(1, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err.Error()
		}
		for m := range batch.Messages() {
			if string(m.Data()) == "for the living" {
				return ""
			}
		}
		return fmt.Sprint("no message: ", batch.Error())
	})
}

func FuzzCloudEvent(f *testing.F) {
	f.Add("application/cloudevents+json", []byte(structured))
	f.Add("text/plain", []byte{})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		cloudEventOf([]broker.Header{{Name: "content-type", Value: kind}}, body)
	})
}

func FuzzWire(f *testing.F) {
	f.Add("a.b 5\r\nhello\r\n", false, false)
	f.Add("a.b r 12 17\r\nNATS/1.0\r\n\r\nhello\r\n", true, false)
	f.Add("a.b 1 r 5\r\nhello\r\n", false, true)
	f.Fuzz(func(t *testing.T, text string, headers, numbered bool) {
		line, rest, _ := strings.Cut(text, "\r\n")
		if len(rest) > 1<<16 {
			return
		}
		readMessage(bufio.NewReader(strings.NewReader(rest)), line, nil, headers, numbered)
	})
}
