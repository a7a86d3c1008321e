package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/topology"
)

// sent runs users, or arrivals, through steps until each step has been sent, and returns what came of it.
func sent(t *testing.T, target string, open bool, steps ...*topology.Step) *Result {
	t.Helper()
	return sentWith(t, Config{Target: target}, open, steps...)
}

func sentWith(t *testing.T, cfg Config, open bool, steps ...*topology.Step) *Result {
	t.Helper()
	w := &topology.Workload{Duration: topology.Duration(2 * time.Minute), Timeout: topology.Duration(time.Minute),
		Scenarios: map[string]*topology.Scenario{"s": {Steps: steps}}}
	if w.Users = 3; open {
		w.Users, w.Rate = 0, 20 // few at once: each may have to shake hands first
	}
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	cfg.Workload, cfg.Seed, cfg.watchEvery = w, 1, 20*time.Millisecond
	cfg.watch = func(r *run) {
		for id := range r.plan.names {
			n := int64(0)
			for i := range r.rec.shards {
				sh := &r.rec.shards[i]
				sh.mu.Lock()
				n += sh.steps[id].Requests
				sh.mu.Unlock()
			}
			if n == 0 {
				return
			}
		}
		enough()
	}
	r, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantKinds makes sure that each step ended with its kind alone, "" for well.
func wantKinds(t *testing.T, r *Result, want map[string]Kind) {
	t.Helper()
	for name, kind := range want {
		s := r.Step(name)
		if s == nil || s.Requests == 0 {
			t.Errorf("%s: no requests", name)
			continue
		}
		if got := s.Errors[kind]; kind == "" && s.Failed() > 0 || kind != "" && got != s.Requests {
			t.Errorf("%s: %d requests, errors %v, want all %q", name, s.Requests, s.Errors, kind)
		}
		if s.Latency.Count() != s.Requests {
			t.Errorf("%s: %d latencies of %d requests", name, s.Latency.Count(), s.Requests)
		}
	}
}

func startRedis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	l, err := net.Listen("tcp", loopback.Any())
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", port, "--bind", host, "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestRedisAndTCP(t *testing.T) {
	t.Parallel()
	addr := startRedis(t)
	for _, open := range []bool{false, true} {
		r := sent(t, "redis://"+addr, open,
			&topology.Step{Name: "set", Redis: []string{`SET "k ${user}" "a b ${seq}"`}, Expect: &topology.Expect{Contains: "OK"}},
			&topology.Step{Name: "get", Redis: []string{`GET "k ${user}"`}, Expect: &topology.Expect{Contains: "a b "}, Extract: map[string]*topology.Extract{"v": {Regex: "a b ([0-9]+)"}}},
			&topology.Step{Name: "pipeline", Redis: []string{"SET p${user} ${v}", "GET p${user}", "LRANGE none 0 -1", "EXISTS p${user}"}},
			&topology.Step{Name: "another database", To: "redis://" + addr + "/3", Redis: []string{`EXISTS "k ${user}"`}, Expect: &topology.Expect{Contains: "0"}},
			&topology.Step{Name: "no such database", To: "redis://" + addr + "/99", Redis: []string{"PING"}},
			&topology.Step{Name: "wrong", Redis: []string{`LPUSH "k ${user}" x`}},
			&topology.Step{Name: "unknown", Redis: []string{"NONSENSE"}},
			&topology.Step{Name: "inline", To: "tcp://" + addr, TCP: &topology.TCPCall{Send: "PING\r\n", Until: "\r\n"}, Expect: &topology.Expect{Contains: "+PONG"}},
			&topology.Step{Name: "length", To: "tcp://" + addr, TCP: &topology.TCPCall{Hex: "50 49 4e 47 0d 0a", Length: 7}},
			&topology.Step{Name: "match", To: "tcp://" + addr, TCP: &topology.TCPCall{Send: "ECHO abc\r\n", Match: `\$3\r\n[a-c]{3}\r\n`}},
			&topology.Step{Name: "absent", To: "tcp://" + addr, TCP: &topology.TCPCall{Send: "PING\r\n", Until: "\r\n"}, Expect: &topology.Expect{Contains: "nothing of the kind"}})
		wantKinds(t, r, map[string]Kind{"another database": "", "no such database": "redis ERR", "set": "", "get": "", "pipeline": "", "wrong": "redis WRONGTYPE", "unknown": "redis ERR", "inline": "", "length": "", "match": "", "absent": BadContent})
	}
}

func TestNATS(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, MaxPayload: 1000})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	// A responder, in the protocol's own words.
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "CONNECT {\"verbose\":false}\r\nSUB echo.> 1\r\nPING\r\n")
	d := dialogue{nc: c, reader: reader{from: c, buf: make([]byte, 4096), limit: 1 << 20}}
	ready := make(chan struct{})
	go func() {
		for {
			line, err := d.line(4096)
			if err != nil {
				return
			}
			words := strings.Fields(string(line))
			switch words[0] {
			case "PONG":
				close(ready)
			case "PING":
				fmt.Fprint(c, "PONG\r\n")
			case "MSG":
				body, _ := d.line(4096)
				if len(words) == 5 { // with a subject to answer to
					fmt.Fprintf(c, "PUB %s %d\r\n%s\r\n", words[3], len(body), body)
				}
			}
		}
	}()
	<-ready
	r := sent(t, "nats://"+s.Addr().String(), true,
		&topology.Step{Name: "request", NATS: &topology.NATSCall{Subject: "echo.${user}"}, JSON: map[string]any{"n": "${seq}"}, Extract: map[string]*topology.Extract{"n": {JSON: "n"}}},
		&topology.Step{Name: "publish", NATS: &topology.NATSCall{Subject: "log.${n}", Publish: true}, Body: "hello"},
		&topology.Step{Name: "nobody", NATS: &topology.NATSCall{Subject: "nobody"}},
		&topology.Step{Name: "too large", NATS: &topology.NATSCall{Subject: "echo.x"}, Body: strings.Repeat("x", 2000)})
	wantKinds(t, r, map[string]Kind{"request": "", "publish": "", "nobody": natsNoResponders, "too large": natsTooLarge})
}

type checks struct {
	healthpb.UnimplementedHealthServer
}

func (checks) Check(_ context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if in.Service == "gone" {
		return nil, grpcstatus.Error(codes.NotFound, "no such service")
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func (checks) Watch(_ *healthpb.HealthCheckRequest, out grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	for range 3 {
		if err := out.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}); err != nil {
			return err
		}
	}
	return nil
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, checks{})
	reflection.Register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	for _, open := range []bool{false, true} {
		r := sent(t, "grpc://"+l.Addr().String(), open,
			&topology.Step{Name: "unary", GRPC: &topology.GRPCCall{Method: "grpc.health.v1.Health/Check"}, JSON: map[string]any{"service": "s${user}"}, Expect: &topology.Expect{Contains: "SERVING"}, Extract: map[string]*topology.Extract{"s": {JSON: "status"}}},
			&topology.Step{Name: "stream", GRPC: &topology.GRPCCall{Method: "grpc.health.v1.Health/Watch"}, Expect: &topology.Expect{Contains: "NOT_SERVING\"}\n{"}},
			&topology.Step{Name: "raw", GRPC: &topology.GRPCCall{Method: "grpc.health.v1.Health/Check", Hex: "0a01" + "78"}},
			&topology.Step{Name: "gone", GRPC: &topology.GRPCCall{Method: "grpc.health.v1.Health/Check"}, JSON: map[string]any{"service": "gone"}},
			&topology.Step{Name: "no method", GRPC: &topology.GRPCCall{Method: "a.B/C", Hex: "00"}})
		wantKinds(t, r, map[string]Kind{"unary": "", "stream": "", "raw": "", "gone": "grpc not found", "no method": "grpc unimplemented"})
	}
	w := getWorkload()
	w.Rate = 10
	w.Scenarios["s"].Steps = []*topology.Step{{GRPC: &topology.GRPCCall{Method: "grpc.health.v1.Health/Check"}, JSON: map[string]any{"nonsense": 1}}}
	if _, err := Run(t.Context(), Config{Target: "grpc://" + l.Addr().String(), Workload: w}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a field that the message does not have: %v", err)
	}
}

func TestHTTP2AndHTTPS(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/404":
			http.NotFound(w, r)
		case "/reset":
			panic(http.ErrAbortHandler)
		default:
			http.SetCookie(w, &http.Cookie{Name: "c", Value: "1"})
			fmt.Fprintf(w, "%d %s %s %s %d", r.ProtoMajor, r.Method, r.Header.Get("X-A"), body, len(r.Cookies()))
		}
	})
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	clear := httptest.NewUnstartedServer(h)
	clear.Config.Protocols = p
	clear.Start()
	t.Cleanup(clear.Close)
	for target, version := range map[string]string{"h2" + strings.TrimPrefix(s.URL, "https"): "2", s.URL: "1", "h2c" + strings.TrimPrefix(clear.URL, "http"): "2"} {
		for _, open := range []bool{false, true} {
			r := sentWith(t, Config{Target: target, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig}, open,
				&topology.Step{Name: "post", Method: "POST", Path: "/x?y=${seq}", Headers: map[string]string{"X-A": "v"}, Body: "b${user}", Expect: &topology.Expect{Contains: version + " POST v b"}},
				&topology.Step{Name: "get", Path: "/", Expect: &topology.Expect{Contains: version + " GET   1"}},
				&topology.Step{Name: "404", Path: "/404"}, &topology.Step{Name: "reset", Path: "/reset"})
			wantKinds(t, r, map[string]Kind{"post": "", "get": "", "404": BadStatus})
			if e := r.Step("reset").Errors; version == "2" && e[StreamReset] != r.Step("reset").Requests {
				t.Errorf("%s: an aborted request: %v", target, e)
			}
		}
	}
	r := sent(t, "h2"+strings.TrimPrefix(s.URL, "https"), false, &topology.Step{Name: "untrusted", Path: "/"})
	if e := r.Step("untrusted").Errors; e[TLS] == 0 || len(e) != 1 {
		t.Errorf("an unknown authority: %v", e)
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("/echo", websocket.Handler(func(c *websocket.Conn) {
		_, _ = c.Write([]byte("welcome"))
		for {
			var m string
			if websocket.Message.Receive(c, &m) != nil || m == "bye" {
				return
			}
			_ = websocket.Message.Send(c, "noise")
			_ = websocket.Message.Send(c, "echo "+m)
		}
	}))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	target := "ws" + strings.TrimPrefix(s.URL, "http")
	for _, open := range []bool{false, true} {
		r := sent(t, target, open,
			&topology.Step{Name: "connect", WebSocket: &topology.WebSocketCall{Path: "/echo"}, Headers: map[string]string{"Origin": "http://localhost"}},
			&topology.Step{Name: "welcome", WebSocket: &topology.WebSocketCall{Path: "/echo", Await: "^welcome$"}},
			&topology.Step{Name: "send", WebSocket: &topology.WebSocketCall{Path: "/echo", Send: "m${seq} " + strings.Repeat("x", 300)}},
			&topology.Step{Name: "await", WebSocket: &topology.WebSocketCall{Path: "/echo", Await: "^echo m"}, Extract: map[string]*topology.Extract{"m": {Regex: "m([0-9]+)"}}},
			&topology.Step{Name: "closed", WebSocket: &topology.WebSocketCall{Path: "/echo", Send: "bye", Await: "never"}})
		wantKinds(t, r, map[string]Kind{"connect": "", "welcome": "", "send": "", "await": ""})
		if e := r.Step("closed").Errors; e[wsClosed]+e[ClosedEarly] != r.Step("closed").Requests {
			t.Errorf("a server that closes: %v", e)
		}
	}
	r := sent(t, target, false, &topology.Step{Name: "refused", WebSocket: &topology.WebSocketCall{Path: "/nothing"}})
	wantKinds(t, r, map[string]Kind{"refused": wsRefused})
}

func TestDynamoDB(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		_ = json.NewDecoder(r.Body).Decode(&in)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if r.Header.Get("Content-Type") != "application/x-amz-json-1.0" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
			w.WriteHeader(http.StatusForbidden)
		}
		switch r.Header.Get("X-Amz-Target") {
		case "DynamoDB_20120810.GetItem":
			key := in["Key"].(map[string]any)["id"].(map[string]any)["S"]
			fmt.Fprintf(w, `{"Item":{"id":{"S":%q},"n":{"N":"7"}}}`, key)
		case "DynamoDB_20120810.PutItem":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no"}`)
		default:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, `{"__type":"MadeUpException","message":"no"}`)
		}
	}))
	t.Cleanup(s.Close)
	r := sent(t, "dynamodb"+strings.TrimPrefix(s.URL, "http"), false,
		&topology.Step{Name: "get", DynamoDB: "GetItem", JSON: map[string]any{"TableName": "t", "Key": map[string]any{"id": map[string]any{"S": "u${user}"}}},
			Expect: &topology.Expect{Contains: `"S":"u`}, Extract: map[string]*topology.Extract{"n": {JSON: "Item.n.N"}}},
		&topology.Step{Name: "put", DynamoDB: "PutItem", JSON: map[string]any{"TableName": "t", "N": "${n}"}},
		&topology.Step{Name: "other", DynamoDB: "Scan"})
	wantKinds(t, r, map[string]Kind{"get": "", "put": "dynamodb ConditionalCheckFailedException", "other": "dynamodb other error"})
}
