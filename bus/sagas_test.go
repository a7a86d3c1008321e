package bus

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/banyanhq/banyan/bus/workflow"
	"github.com/banyanhq/banyan/policy/saga"
	"github.com/banyanhq/banyan/topology"
)

// sagaBus runs a bus with the queues, topics and sagas of a file, whose services are all one server.
func sagaBus(t *testing.T, dir, file string, service http.Handler) *Bus {
	t.Helper()
	sys, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(file)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	cfg := Config{Dir: dir, ServiceURL: func(string, string) string { return server.URL }}
	cfg.Queues, cfg.Topics = FromFile(sys)
	if cfg.Sagas, err = SagasFromFile(sys); err != nil {
		t.Fatal(err)
	}
	return start(t, cfg)
}

// requests remembers what a service was asked.
type requests struct {
	mu     sync.Mutex
	all    []string
	keys   []string
	bodies []string
	answer func(w http.ResponseWriter, r *http.Request)
}

func (q *requests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	q.mu.Lock()
	q.all = append(q.all, r.Method+" "+r.URL.Path)
	q.keys = append(q.keys, r.Header.Get("Idempotency-Key"))
	q.bodies = append(q.bodies, string(body))
	q.mu.Unlock()
	if q.answer != nil {
		q.answer(w, r)
		return
	}
	_, _ = io.WriteString(w, `{"order": "o-7"}`)
}

func (q *requests) seen() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return strings.Join(q.all, ", ")
}

const tripFile = `
system: trip
services: {orders: {run: orders}}
queues: {starts: {}, mails: {}}
topics: {paid: {}, begun: {}}
sagas:
  trip:
    on: {queue: starts}
    steps:
      - name: reserve
        call: orders
        method: PUT
        path: /orders/${id}
        json: {who: "${input.who}"}
        retry: {attempts: 3, first: 1ms}
        compensate: {call: orders, method: DELETE, path: "/orders/${id}", accept: 404}
      - {name: paid, wait: {topic: paid, key: "${steps.reserve.order}"}}
      - {name: ready, wait: {signal: ready}}
      - {name: mail, send: queues.mails, json: {to: "${input.who}", paid: "${steps.paid}"}}
  short:
    on: {topic: begun}
    steps: [{name: only, call: orders, path: /only}]
`

func TestSagaOverHTTPAndNATS(t *testing.T) {
	service := &requests{}
	b := sagaBus(t, "", tripFile, service)
	_, js := connect(t, b)
	var run Run
	if status := ask(t, b, "POST", "/sagas/trip", `{"who": "ann"}`, map[string]string{"Idempotency-Key": "k1"}, &run); status != http.StatusAccepted || run.ID != "trip_k1" {
		t.Fatalf("started: %d %+v", status, run)
	}
	if _, err := js.Publish(limited(t), "topics.paid.o-7", []byte(`{"cents": 5}`)); err != nil {
		t.Fatal(err)
	}
	await(t, b, "trip_k1", func(in saga.Instance) bool { return in.At == 2 })
	if status := ask(t, b, "POST", "/runs/trip_k1/signals/never", ``, nil, nil); status != http.StatusConflict {
		t.Errorf("an unknown signal: %d", status)
	}
	if status := ask(t, b, "POST", "/runs/trip_k1/signals/ready", `true`, nil, nil); status != http.StatusOK {
		t.Errorf("a signal: %d", status)
	}
	ask(t, b, "GET", "/runs/trip_k1?wait=30s", "", nil, &run)
	if run.Status != saga.Completed || service.keys[0] != "trip_k1_reserve" || service.bodies[0] != `{"who":"ann"}` {
		t.Fatalf("%+v; asked with %q %q", run, service.keys, service.bodies)
	}
	got, err := b.Broker().Receive(limited(t), "mails", "", 1)
	if err != nil || len(got) != 1 || string(got[0].Body) != `{"paid":{"cents":5},"to":"ann"}` {
		t.Errorf("sent: %+v, %v", got, err)
	}
	if status := ask(t, b, "POST", "/sagas/trip", `{"who": "bob"}`, map[string]string{"Idempotency-Key": "k1"}, nil); status != http.StatusUnprocessableEntity {
		t.Errorf("the key with another input: %d", status)
	}
	for path, want := range map[string]int{"/runs/trip_none": 404, "/runs?status=odd": 400, "/sagas": 200, "/runs?saga=trip&status=completed": 200} {
		if status := ask(t, b, "GET", path, "", nil, nil); status != want {
			t.Errorf("%s: %d, expected %d", path, status, want)
		}
	}
}

// await waits until a run is as it should be.
func await(t *testing.T, b *Bus, id string, ok func(saga.Instance) bool) {
	t.Helper()
	ctx := limited(t)
	for tick := time.Tick(2 * time.Millisecond); ; {
		in, err := b.Sagas().Get(id)
		if err == nil && ok(in) {
			return
		}
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("%s is %+v, %v", id, in, err)
		}
	}
}

func TestSagaIsStartedByMessages(t *testing.T) {
	service := &requests{}
	b := sagaBus(t, "", tripFile, service)
	conn, js := connect(t, b)
	if _, err := js.Publish(limited(t), "queues.starts", []byte(`{"who": "bob"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(limited(t), "queues.starts", []byte(`not JSON`)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(limited(t), &nats.Msg{Subject: "topics.begun", Data: []byte(`{"x": 1}`)}); err != nil {
		t.Fatal(err)
	}
	_ = conn.Flush()
	await(t, b, "trip_q-starts-1", func(in saga.Instance) bool { return in.At == 1 })
	await(t, b, "short_t-begun-1", func(in saga.Instance) bool { return in.Status == saga.Completed })
	// An event that is published while nobody waits for it is found when somebody does.
	if status := ask(t, b, "POST", "/runs/trip_q-starts-1/cancel", "", nil, nil); status != http.StatusOK {
		t.Fatalf("cancelling: %d", status)
	}
	await(t, b, "trip_q-starts-1", func(in saga.Instance) bool { return in.Status == saga.Compensated })
	if !strings.Contains(service.seen(), "DELETE /orders/trip_q-starts-1") {
		t.Errorf("asked for %s", service.seen())
	}
	for ctx := limited(t); ; {
		s, err := b.Broker().QueueStatus("starts")
		if err != nil {
			t.Fatal(err)
		}
		if s.Dead == 1 && s.Acked == 1 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the queue is %+v", s)
		}
	}
}

func TestAnEventBeforeTheWait(t *testing.T) {
	var b *Bus
	service := &requests{}
	service.answer = func(w http.ResponseWriter, r *http.Request) {
		// It is published before the step is done, so that the run waits only afterwards.
		if _, err := b.js.Publish(r.Context(), "topics.paid.o-8", []byte(`1`)); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, `{"order": "o-8"}`)
	}
	b = sagaBus(t, "", tripFile, service)
	ask(t, b, "POST", "/sagas/trip", `{"who": "eve"}`, map[string]string{"Idempotency-Key": "k"}, nil)
	await(t, b, "trip_k", func(in saga.Instance) bool { return in.At == 2 })
}

func TestWhatAnAnswerMeans(t *testing.T) {
	for _, c := range []struct {
		status      int
		ok, final   bool
		doubt, wait bool
	}{{200, true, false, false, false}, {204, true, false, false, false}, {404, true, false, false, false}, {400, false, true, false, false}, {302, false, true, false, false},
		{409, false, true, false, false}, {408, false, false, true, false}, {429, false, false, false, true}, {500, false, false, true, false}, {503, false, false, true, true}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c.wait {
				w.Header().Set("Retry-After", "3")
			}
			w.WriteHeader(c.status)
		}))
		p := newPerformer(&Bus{cfg: Config{ServiceURL: func(string, string) string { return server.URL }}})
		o := p.Perform(limited(t), saga.Effect{Service: "s", Method: "POST", Path: "/", Accept: []int{404}, Timeout: time.Minute})
		if o.OK != c.ok || o.Final != c.final || o.Doubt != c.doubt || (o.After == 3*time.Second) != c.wait {
			t.Errorf("%d means %+v", c.status, o)
		}
		server.Close()
	}
}

func TestNoAnswerIsDoubt(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	p := newPerformer(&Bus{cfg: Config{ServiceURL: func(string, string) string { return server.URL }}})
	o := p.Perform(context.Background(), saga.Effect{Service: "s", Method: "POST", Path: "/", Timeout: 20 * time.Millisecond})
	if o.OK || o.Final || !o.Doubt || !strings.Contains(o.Reason, "no answer within") {
		t.Errorf("%+v", o)
	}
	p.bus.cfg.ServiceURL = func(string, string) string { return "" }
	if o := p.Perform(context.Background(), saga.Effect{Service: "s", Method: "POST", Path: "/", Timeout: time.Second}); !o.Unmade {
		t.Errorf("without an address: %+v", o)
	}
	server2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxResult+1))
	}))
	defer server2.Close()
	p.bus.cfg.ServiceURL = func(string, string) string { return server2.URL }
	if o := p.Perform(context.Background(), saga.Effect{Service: "s", Method: "POST", Path: "/", Timeout: time.Minute}); !o.Final || !o.Doubt {
		t.Errorf("an answer that is too large: %+v", o)
	}
}

func TestASagaSurvivesTheBus(t *testing.T) {
	dir := t.TempDir()
	service := &requests{}
	t.Run("before", func(t *testing.T) {
		b := sagaBus(t, dir, tripFile, service)
		ask(t, b, "POST", "/sagas/trip", `{"who": "ann"}`, map[string]string{"Idempotency-Key": "k1"}, nil)
		await(t, b, "trip_k1", func(in saga.Instance) bool { return in.At == 1 })
	})
	t.Run("after", func(t *testing.T) {
		b := sagaBus(t, dir, tripFile, service)
		_, js := connect(t, b)
		if _, err := js.Publish(limited(t), "topics.paid.o-7", []byte(`1`)); err != nil {
			t.Fatal(err)
		}
		await(t, b, "trip_k1", func(in saga.Instance) bool { return in.At == 2 })
		var all []workflow.Status
		ask(t, b, "GET", "/sagas", "", nil, &all)
		text, _ := json.Marshal(all)
		if len(all) != 2 || all[1].Runs[saga.Running] != 1 {
			t.Errorf("%s", text)
		}
	})
	if got := service.seen(); got != "PUT /orders/trip_k1" {
		t.Errorf("asked for %s", got)
	}
}

// Before its pivot a step of the file is given up after a few attempts; the pivot, which nothing undoes, and what follows is not.
func TestAPivotOfTheFile(t *testing.T) {
	sys, err := topology.Parse(topology.Source{Name: "x.yaml", Data: []byte(`
system: shop
services: {web: {run: web}}
routes: [{path: /, to: web}]
sagas:
  checkout:
    steps:
      - {name: reserve, call: web, compensate: {call: web}}
      - {name: confirm, call: web, pivot: true}
      - {name: mail, call: web}
      - {name: bill, call: web, retry: {attempts: 7}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	sagas, err := SagasFromFile(sys)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{stepAttempts, anyNumber, anyNumber, 7} {
		if s := sagas[0].Steps[i]; s.Do.Attempts != want || s.Pivot != (i == 1) {
			t.Errorf("step %s has %d attempts (pivot: %v), want %d", s.Name, s.Do.Attempts, s.Pivot, want)
		}
	}
}
