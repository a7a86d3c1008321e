package bus

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/saga"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
	"github.com/banyanhq/banyan/transport"
)

// Three nodes answer as one, whichever is asked.
func TestNodesServeTogether(t *testing.T) {
	t.Parallel() // most of the time is that in which they find each other
	dir := t.TempDir()
	cfg := Config{Dir: dir, Queues: map[string]Queue{"jobs": {QueueConfig: broker.QueueConfig{Durability: broker.Replicated, Rules: workqueue.Rules{Dedupe: time.Hour}}}}, Topics: map[string]Topic{"news": {}}}
	nodes, err := NewNodes(cfg, 3)
	if err != nil {
		t.Fatal(err)
	}
	waiting := runNodes(t, nodes)
	for i, b := range nodes {
		for path, want := range map[string]string{"/queues/jobs/messages": fmt.Sprintf(`"seq":%d`, i+1), "/topics/news/events": fmt.Sprintf(`"offset":%d`, i+1)} {
			told(t, b.HTTPURL()+path, fmt.Sprint("by node ", i+1), want)
		}
		_, js := connect(t, b)
		eventually(t, func() string {
			if s, err := js.Stream(waiting, "jobs"); err != nil || s.CachedInfo().State.Msgs != uint64(i+1) {
				return fmt.Sprintf("node %d: %v", i+1, err)
			}
			return ""
		})
		var seen []Node
		if err := json.Unmarshal([]byte(asked(t, http.MethodGet, b.HTTPURL()+"/nodes")), &seen); err != nil || len(seen) != 3 {
			t.Errorf("node %d sees %+v, %v", i+1, seen, err)
		}
	}
	eventually(t, func() string {
		topics, err := nodes.Topics(waiting)
		if err != nil || len(topics) != 1 || !strings.HasPrefix(topics[0].Label, "replicated") {
			return fmt.Sprintf("%+v %v", topics, err)
		}
		leading := nodes.Broker()
		if leading == nil {
			return "no node leads"
		}
		if s, err := leading.QueueStatus("jobs"); err != nil || !strings.HasPrefix(s.Label, "replicated") || s.Ready != 3 {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	})
	if text := asked(t, http.MethodPut, nodes.HTTPURL()+"/topics/news/schema"); !strings.Contains(text, "several nodes") {
		t.Errorf("a schema: %s", text)
	}
}

// runNodes runs nodes until the test ends, and returns when they serve. The context bounds what the test waits for.
func runNodes(t *testing.T, nodes Nodes) context.Context {
	t.Helper()
	if err := nodes.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- nodes.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	waiting, stop := context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(stop)
	if err := nodes.Ready(waiting); err != nil {
		t.Fatal(err)
	}
	return waiting
}

// Three nodes run a saga as one does: whichever is asked to, one of them runs it.
func TestNodesRunSagas(t *testing.T) {
	t.Parallel() // most of the time is that in which they find each other
	sys, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(tripFile)})
	if err != nil {
		t.Fatal(err)
	}
	service := &requests{}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	cfg := Config{Dir: t.TempDir(), ServiceURL: func(string, string) string { return server.URL }}
	cfg.Queues, cfg.Topics = FromFile(sys)
	if cfg.Sagas, err = SagasFromFile(sys); err != nil {
		t.Fatal(err)
	}
	nodes, err := NewNodes(cfg, 3)
	if err != nil {
		t.Fatal(err)
	}
	ctx := runNodes(t, nodes)
	var run Run
	// On a busy machine another node may begin to lead at any time, and until it does the answer is 503.
	try := func(b *Bus, method, path, body string, ok func() bool, want ...int) {
		t.Helper()
		eventually(t, func() string {
			run = Run{}
			status := ask(t, b, method, path, body, map[string]string{"Idempotency-Key": "k"}, &run)
			if slices.Contains(want, status) && ok() {
				return ""
			}
			return fmt.Sprintf("%s %s: %d %+v", method, path, status, run)
		})
	}
	for _, b := range nodes {
		try(b, "POST", "/sagas/trip", `{"who": "ann"}`, func() bool { return run.ID == "trip_k" }, http.StatusAccepted)
	}
	_, js := connect(t, nodes[1])
	put := func(subject, body string) {
		t.Helper()
		eventually(t, func() string {
			if _, err := js.Publish(ctx, subject, []byte(body), jetstream.WithMsgID(subject)); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	put("topics.paid.o-7", `{"cents": 5}`)
	try(nodes[1], "POST", "/runs/trip_k/signals/ready", `true`, func() bool { return true }, http.StatusOK, http.StatusConflict)
	for _, b := range nodes {
		try(b, "GET", "/runs/trip_k?wait=1s", "", func() bool { return run.Status == saga.Completed }, http.StatusOK)
	}
	service.mu.Lock()
	for _, key := range service.keys {
		if key != "trip_k_reserve" {
			t.Errorf("a service was asked with the key %s", key)
		}
	}
	service.mu.Unlock()
	// A message that comes to a queue at one node starts a run on the one that runs them.
	put("queues.starts", `{"who": "bob"}`)
	eventually(t, func() string {
		var text json.RawMessage
		var runs []Run
		if status := ask(t, nodes[2], "GET", "/runs?saga=trip", "", nil, &text); status != http.StatusOK || json.Unmarshal(text, &runs) != nil || len(runs) != 2 {
			return fmt.Sprintf("%d %s", status, text)
		}
		return ""
	})
	eventually(t, func() string {
		engines := 0
		for _, b := range nodes {
			if b.Sagas() != nil {
				engines++
			}
		}
		if engines != 1 {
			return fmt.Sprintf("%d nodes run sagas", engines)
		}
		return ""
	})
}

// certificates writes what a node of a cluster shows, and returns the TLS of it.
func certificates(t *testing.T, authority, key []byte, name string) *tls.Config {
	t.Helper()
	dir := t.TempDir()
	certificate, own, err := transport.Issue(authority, key, name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg, err := transport.Certificates(file("ca", authority), file("cert", certificate), file("key", own))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// With certificates nodes need no secret, and talk to each other by TLS alone, also where one passes on what another has to answer.
func TestNodesSpeakTLS(t *testing.T) {
	t.Parallel() // most of the time is that in which they find each other
	authority, key, err := transport.Authority(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	peers, err := freePeers(3)
	if err != nil {
		t.Fatal(err)
	}
	var nodes Nodes
	for n := range peers {
		b, err := New(Config{Dir: t.TempDir(), Queues: map[string]Queue{"jobs": queueOf(workqueue.Rules{Dedupe: time.Hour}, "")}, Cluster: &Cluster{Node: n, Peers: peers, TLS: certificates(t, authority, key, nodeName(n))}})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, b)
	}
	runNodes(t, nodes)
	for i, b := range nodes {
		told(t, b.HTTPURL()+"/queues/jobs/messages", fmt.Sprint("by node ", i+1), fmt.Sprintf(`"seq":%d`, i+1))
		eventually(t, func() string {
			if b.leading() {
				return ""
			}
			if to, err := b.leader(limited(t)); err != nil || to.Scheme != "https" {
				return fmt.Sprintf("node %d passes on to %v, %v", i+1, to, err)
			}
			return ""
		})
	}
	foreign, foreignKey, err := transport.Authority(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stranger := certificates(t, foreign, foreignKey, "node-4")
	stranger.VerifyConnection = nil // it takes any server
	clients := strings.TrimPrefix(nodes[0].HTTPURL(), "http://")
	for _, c := range []struct {
		what, address, request string
		cfg                    *tls.Config
		taken                  bool
	}{{"a foreign node", peers[1], "", stranger, false}, {"a foreign node's request", clients, "GET /health HTTP/1.0\r\n\r\n", stranger, false},
		{"a node of the cluster", peers[1], "", certificates(t, authority, key, "node-4"), true},
		{"a request of one", clients, "GET /health HTTP/1.0\r\n\r\n", certificates(t, authority, key, "node-4"), true}} {
		if err := greet(t, c.address, c.request, c.cfg); (err == nil) != c.taken {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// greet speaks TLS at an address, and returns an error if the other side does not go on.
func greet(t *testing.T, address, request string, cfg *tls.Config) error {
	t.Helper()
	dialer := tls.Dialer{Config: cfg}
	conn, err := dialer.DialContext(limited(t), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // where the certificate was refused it is told only now
	return err
}

// told posts what is known again by its key until the answer has a text: where the machine is busy another node may begin to lead at any time, and until it
// does nothing is taken.
func told(t *testing.T, url, key, want string) {
	t.Helper()
	eventually(t, func() string {
		if text := askedAs(t, http.MethodPost, url, key); !strings.Contains(text, want) {
			return fmt.Sprintf("%s: %s, want %s", url, text, want)
		}
		return ""
	})
}

// asked sends a small body, and returns what is answered.
func asked(t *testing.T, method, url string) string {
	t.Helper()
	return askedAs(t, method, url, "")
}

func askedAs(t *testing.T, method, url, key string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(limited(t), method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatSeveralNodesCannotDo(t *testing.T) {
	peers := map[uint64]string{1: "127.0.0.1:1", 2: "127.0.0.1:2", 3: "127.0.0.1:3"}
	secret := []byte("sixteen bytes at least")
	for want, c := range map[string]Config{
		"expected 3 to 9":    {Cluster: &Cluster{Node: 1, Peers: map[uint64]string{1: "127.0.0.1:1", 2: "127.0.0.1:2"}, Secret: secret}},
		"node 4 is not":      {Cluster: &Cluster{Node: 4, Peers: peers, Secret: secret}},
		"16 bytes":           {Cluster: &Cluster{Node: 1, Peers: peers, Secret: []byte("short")}},
		"expected HOST:PORT": {Cluster: &Cluster{Node: 1, Peers: map[uint64]string{1: "nowhere", 2: "127.0.0.1:2", 3: "127.0.0.1:3"}, Secret: secret}},
		"an inbox":           {Cluster: &Cluster{Node: 1, Peers: peers, Secret: secret}, Secret: make([]byte, 32), Queues: map[string]Queue{"a": {Push: []Push{{Name: "b", Inbox: time.Hour}}}}},
		"queue a: durability replicated takes several nodes": {Queues: map[string]Queue{"a": {QueueConfig: broker.QueueConfig{Durability: broker.Replicated}}}},
		"topic a: durability replicated takes several nodes": {Topics: map[string]Topic{"a": {Durability: broker.Replicated}}},
	} {
		c.Dir = t.TempDir()
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	alone := t.TempDir()
	if err := os.Mkdir(filepath.Join(alone, "queues"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := NewNodes(Config{Dir: alone}, 3); err == nil || !strings.Contains(err.Error(), "not replicated") {
		t.Errorf("in the folder of one that stood alone: %v", err)
	}
	several := t.TempDir()
	if err := os.Mkdir(filepath.Join(several, "node-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := NewNodes(Config{Dir: several}, 1); err == nil || !strings.Contains(err.Error(), "several nodes") {
		t.Errorf("in the folder of several: %v", err)
	}
}
