package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

var testSecret = []byte("a secret of the tests")

// startWorkers starts n workers in this process; each is ended by its function, and all by the test's end.
func startWorkers(t *testing.T, n int) (addresses []string, end []func()) {
	t.Helper()
	for range n {
		w, err := NewWorker(testSecret)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, l) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		addresses, end = append(addresses, l.Addr().String()), append(end, stop)
	}
	return addresses, end
}

// Three workers send what one generator would: every arrival once, at its instant, with its own values.
func TestWorkersSendOneSchedule(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	setups := 0
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/once") {
			setups++
			w.Header().Set("Location", "key")
			return
		}
		seen[r.URL.Path]++
	}))
	defer target.Close()
	to := 1000
	w := getWorkload()
	w.Rate, w.Arrivals, w.Duration, w.Warmup = 150, "poisson", topology.Duration(time.Second), topology.Duration(500*time.Millisecond)
	w.Feeders = map[string]*topology.Feeder{"n": {From: new(int), To: &to, Order: "once"}, "f": {File: "f.csv", Order: "sequence"}}
	w.Thresholds = []string{"errors < 100%", "errors{/a} < 100%"}
	w.Scenarios = map[string]*topology.Scenario{"s": {
		Setup:    []*topology.Step{{Path: "/once", Extract: map[string]*topology.Extract{"key": {Header: "Location"}}}},
		Teardown: []*topology.Step{{Path: "/once/${key}"}},
		Steps:    []*topology.Step{{Name: "/a", Path: "/${key}/${user}/${f.id}", Tags: []string{"t"}}, {Path: "/n/${n}"}},
	}}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "f.csv"), "id\nx\ny\nz\n")
	addresses, _ := startWorkers(t, 3)
	res, err := Run(t.Context(), Config{Target: target.URL, Workload: w, Dir: dir, Seed: 4, Workers: addresses, Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Steady(150, 1500*time.Millisecond)
	mustProfile(t, p, err)
	all := NewPoisson(p, 4)
	n := all.Count()
	due := n - dueBefore(all, 0, 500*time.Millisecond)
	// What a busy machine could not send is counted, so that nothing is missing.
	first := res.Steps[0]
	if res.Scenarios.Started+res.Scenarios.NotStarted != due || first.Requests+first.NotSent != due || first.Requests == 0 || !res.OK() {
		t.Errorf("%+v, %d requests, %+v: want %d scenarios", res.Scenarios, res.Total.Requests, res.Verdicts, due)
	}
	users := 0
	for path, times := range seen {
		if times != 1 {
			t.Errorf("%s was asked for %d times", path, times)
		}
		if strings.HasPrefix(path, "/key/") {
			users++
		}
	}
	if int64(users)+first.NotSent != n || setups != 2 {
		t.Errorf("%d users, %d not sent, %d setups and teardowns: want %d users, 2", users, first.NotSent, setups, n)
	}
	sum, shares := int64(0), int64(0)
	for _, r := range res.Workers {
		sum += r.Total.Requests
		shares += r.Due
		if r.Lost != "" || r.OffsetError <= 0 || r.Offset > r.OffsetError+time.Millisecond || r.Offset < -r.OffsetError-time.Millisecond {
			t.Errorf("%+v: the clock is the same", r)
		}
	}
	if sum != res.Total.Requests || shares != due || len(res.Tags) != 1 || res.Tags[0].Requests+res.Tags[0].NotSent != due {
		t.Errorf("the workers sent %d of %d, their shares are %d of %d", sum, res.Total.Requests, shares, due)
	}
	offered := int64(0)
	for _, p := range res.Timeline.Points {
		offered += p.Offered
	}
	if offered != res.Total.Requests+res.Total.NotSent {
		t.Errorf("the timeline offers %d of %d", offered, res.Total.Requests)
	}
	var text, again bytes.Buffer
	if err := res.WriteText(&text); err != nil || !strings.Contains(text.String(), addresses[2]) {
		t.Errorf("%v\n%s", err, text.String())
	}
	if err := json.NewEncoder(&again).Encode(res); err != nil {
		t.Fatal(err)
	}
	if back, err := Read(&again); err != nil || !reflect.DeepEqual(back.Workers, res.Workers) {
		t.Errorf("as JSON: %v", err)
	}
}

// The progress of a run is the sum of its workers', with percentiles of all latencies together.
func TestWorkersProgress(t *testing.T) {
	slow, fast := stats.NewHistogram(2), stats.NewHistogram(2)
	slow.RecordN(int64(time.Second), 1)
	fast.RecordN(int64(time.Millisecond), 99)
	c := &coordinator{run: &run{end: time.Minute, rec: &recorder{warm: 2 * time.Second}}, latest: []status{
		{Progress: Progress{Elapsed: time.Second, Sent: 1, TotalSent: 1, Cores: 2}, Recent: slow},
		{Progress: Progress{Elapsed: 3 * time.Second, Sent: 99, TotalSent: 99, Cores: 4}, Recent: fast}, {},
	}}
	p := c.progress()
	if p.TotalSent != 100 || p.Sent != 100 || p.Cores != 6 || p.Elapsed != 3*time.Second || p.Warming || p.Length != time.Minute {
		t.Errorf("%+v", p)
	}
	if p.P50 > 2*time.Millisecond || p.P99 > 2*time.Millisecond || p.Max < time.Second {
		t.Errorf("p50 %s, p99 %s, max %s", p.P50, p.P99, p.Max)
	}
}

// A worker that is killed in the middle is reported, nothing of it is counted, and the run is no success.
func TestLostWorker(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	reached, ended := make(chan struct{}), make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := hits.Add(1); {
		case n == 60:
			close(reached)
			fallthrough
		case n > 60:
			<-ended // the run is not over before
		}
	}))
	defer target.Close()
	addresses, end := startWorkers(t, 3)
	go func() {
		<-reached
		end[1]()
		close(ended)
	}()
	w := getWorkload()
	w.Rate, w.Duration, w.Thresholds = 100, topology.Duration(2*time.Second), []string{"errors < 50%"}
	res, err := Run(t.Context(), Config{Target: target.URL, Workload: w, Workers: addresses, Secret: testSecret, patience: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	lost := res.Workers[1]
	if lost.Lost == "" || lost.Total != nil || lost.Due != 67 || !res.Lost() || res.OK() {
		t.Errorf("%+v, verdicts %+v", lost, res.Verdicts)
	}
	if want := int64(133); res.Total.Requests+res.Total.NotSent != want || res.Scenarios.Started+res.Scenarios.NotStarted != want || res.CutShort {
		t.Errorf("%d requests of %d are counted: want those of two workers, %d", res.Total.Requests, hits.Load(), want)
	}
	if len(res.Warnings) == 0 || !strings.Contains(strings.Join(res.Warnings, "\n"), "its share, 67 scenarios that were due, one of 3, is not in the figures") {
		t.Errorf("warnings %q", res.Warnings)
	}
	var text strings.Builder
	if err := res.WriteText(&text); err != nil || !strings.Contains(text.String(), "LOST") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

// When the coordinator is cancelled, all workers are cut, and what they did is reported.
func TestCancelledWorkers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var hits, tornDown atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			tornDown.Add(1)
		} else if hits.Add(1) == 20 {
			cancel()
		}
	}))
	defer target.Close()
	addresses, _ := startWorkers(t, 2)
	w := getWorkload()
	w.Users, w.Think, w.Duration = 5, topology.Duration(50*time.Millisecond), topology.Duration(time.Hour)
	w.Scenarios["s"].Teardown = []*topology.Step{{Path: "/down"}}
	cfg := Config{Target: target.URL, Workload: w, Workers: addresses, Secret: testSecret}
	res, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !res.CutShort || res.Total.Requests < 10 || res.Lost() || tornDown.Load() != 1 {
		t.Errorf("cut short %t, %d requests, %+v", res.CutShort, res.Total.Requests, res.Workers)
	}
	if res.Workers[0].Users != 3 || res.Workers[1].Users != 2 {
		t.Errorf("users %d and %d, want 3 and 2", res.Workers[0].Users, res.Workers[1].Users)
	}
	// The workers are free again.
	w.Duration = topology.Duration(100 * time.Millisecond)
	if res, err = Run(t.Context(), cfg); err != nil || res.CutShort || !res.OK() {
		t.Errorf("%v, %+v", err, res)
	}
}

func TestWorkersRefuse(t *testing.T) {
	t.Parallel()
	addresses, end := startWorkers(t, 2)
	w := getWorkload()
	w.Rate = 10
	run := func(secret string, workers ...string) string {
		t.Helper()
		_, err := Run(t.Context(), Config{Target: "http://127.0.0.1:1", Workload: w, Workers: workers, Secret: []byte(secret)})
		return fmt.Sprint(err)
	}
	if got := run("another secret, as long", addresses...); !strings.Contains(got, "another secret") {
		t.Errorf("a wrong secret: %s", got)
	}
	if got := run("short", addresses...); !strings.Contains(got, "16 at least") {
		t.Errorf("a short secret: %s", got)
	}
	if got := run(string(testSecret), addresses[0], addresses[0]); !strings.Contains(got, "twice") {
		t.Errorf("a worker twice: %s", got)
	}
	if got := run(string(testSecret), "nowhere"); !strings.Contains(got, "HOST:PORT") {
		t.Errorf("no address: %s", got)
	}
	// A coordinator of another version is told so, under the right secret.
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	old := &remote{address: addresses[0], secret: testSecret, client: client}
	if err := old.ask(t.Context(), pathSession, hello{Version: wireVersion + 1, Nonce: randomHex()}, &welcome{}); err == nil || !strings.Contains(err.Error(), "this worker speaks") {
		t.Errorf("another version: %v", err)
	}
	end[1]()
	if got := run(string(testSecret), addresses...); !strings.Contains(got, addresses[1]) {
		t.Errorf("a dead worker: %s", got)
	}
	// One who does not know the secret cannot answer for a worker.
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerMAC, strings.Repeat("0", 64))
		json.NewEncoder(w).Encode(welcome{randomHex(), randomHex()})
	}))
	defer fake.Close()
	if got := run(string(testSecret), fake.Listener.Addr().String()); !strings.Contains(got, errForeign.Error()) {
		t.Errorf("a fake worker: %s", got)
	}
}

// A message counts once: sent again, or with a letter changed, it is refused; so is a second run.
func TestReplayedMessage(t *testing.T) {
	t.Parallel()
	addresses, _ := startWorkers(t, 1)
	var last *http.Request
	var body []byte
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		body, _ = io.ReadAll(r.Body)
		last = r.Clone(context.Background())
		r.Body = io.NopCloser(bytes.NewReader(body))
		return http.DefaultTransport.RoundTrip(r)
	})}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	w := &remote{address: addresses[0], secret: testSecret, client: client}
	again := func(change func(*http.Request)) int {
		t.Helper()
		r := last.Clone(context.Background())
		r.Body = io.NopCloser(bytes.NewReader(body))
		change(r)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	same := func(*http.Request) {}
	if err := w.meet(t.Context()); err != nil {
		t.Fatal(err)
	}
	j := &job{Target: "http://127.0.0.1:1", Workload: getWorkload(), Of: 1}
	j.Workload.Rate = 1
	if err := w.ask(t.Context(), pathPrepare, j, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	if code := again(same); code != http.StatusForbidden {
		t.Errorf("a replayed message: %d", code)
	}
	if code := again(func(r *http.Request) { r.Header.Set(headerCount, "9") }); code != http.StatusForbidden {
		t.Errorf("another count: %d", code)
	}
	if code := again(func(r *http.Request) { r.URL.Path = pathEnd; r.Header.Set(headerCount, "9") }); code != http.StatusForbidden {
		t.Errorf("another path: %d", code)
	}
	w.count++
	sig := signature{path: pathStatus, session: w.session, count: w.count, digest: digestOf([]byte("{}"))}
	if code := again(func(r *http.Request) {
		r.URL.Path = pathStatus
		r.Header.Set(headerCount, fmt.Sprint(sig.count))
		r.Header.Set(headerDigest, sig.digest)
		r.Header.Set(headerMAC, sig.mac(w.key))
	}); code != http.StatusBadRequest {
		t.Errorf("another body under a right signature: %d", code)
	}
	other := &remote{address: addresses[0], secret: testSecret, client: client}
	if err := other.meet(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.ask(t.Context(), pathPrepare, j, &struct{}{}); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("a second run: %v", err)
	}
	if err := other.ask(t.Context(), pathEnd, struct{}{}, &struct{}{}); err == nil {
		t.Error("a session ended the run of another")
	}
	if err := w.ask(t.Context(), pathStart, begin{At: time.Now().Add(-time.Second).UnixNano()}, &struct{}{}); err == nil {
		t.Error("a run began in the past")
	}
	if err := w.ask(t.Context(), pathEnd, struct{}{}, &struct{}{}); err != nil {
		t.Error(err)
	}
	if err := other.ask(t.Context(), pathPrepare, j, &struct{}{}); err != nil {
		t.Errorf("the worker is not free: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A worker whose coordinator has gone is free after its lease.
func TestSilentCoordinator(t *testing.T) {
	t.Parallel()
	w, err := NewWorker(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	w.lease = 50 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	gone := &remote{address: l.Addr().String(), secret: testSecret, client: client}
	if err := gone.meet(ctx); err != nil {
		t.Fatal(err)
	}
	j := &job{Target: "http://127.0.0.1:1", Workload: getWorkload(), Of: 1}
	j.Workload.Rate = 1
	if err := gone.ask(ctx, pathPrepare, j, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	next := &remote{address: l.Addr().String(), secret: testSecret, client: client}
	if err := next.meet(ctx); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		if err = next.ask(ctx, pathPrepare, j, &struct{}{}); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzJob(f *testing.F) {
	w := getWorkload()
	w.Rate = 1
	data, err := json.Marshal(&job{Target: "http://h", Workload: w, Of: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"workload":{"Scenarios":{"s":null}},"of":1}`))
	f.Add([]byte(`{"workload":{"Users":1,"Scenarios":{"s":{"Steps":[null]}}},"of":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := parseJob(data)
		if err != nil {
			return
		}
		cfg := j.config()
		if cfg.Connections > 10 || cfg.Workload.Users > 10 {
			return
		}
		_, _, _ = prepare(cfg)
	})
}
