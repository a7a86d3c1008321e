package observe

import (
	"encoding/json"
	"flag"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite with -update); got:\n%s", path, got)
	}
}

// shopSample is the i-th second of a shop whose web-2 restarted in the third second.
func shopSample() func(i int) Sample {
	route, in, edge := newCalls("GET /", "", ""), newCalls("", Outside, "web"), newCalls("", "web", "catalog")
	return func(i int) Sample {
		for j := range 10 {
			code := 200
			if j == 0 && i%5 == 0 {
				code = 503
			}
			route.answer(time.Duration(10+j)*time.Millisecond, code)
			in.answer(time.Duration(10+j)*time.Millisecond, code)
			edge.answer(time.Millisecond, 200)
			edge.answer(2*time.Millisecond, 200)
		}
		route.InFlight, in.InFlight, edge.InFlight = 1, 1, 2
		s := Sample{At: at(float64(i)), Routes: []CallCounters{route.snapshot()}, Edges: []CallCounters{in.snapshot(), edge.snapshot()},
			Machine: MachineCounters{Cores: 2, Busy: time.Duration(i) * 1500 * time.Millisecond, MemoryUsed: 1 << 30, MemoryTotal: 4 << 30, Load1: 0.5},
			Services: []ServiceState{
				{Service: "web", Wanted: 2, Ready: 1, Message: "web-2 is starting", Replicas: []ReplicaState{
					{Replica: "web-1", State: StateReady, CPULimit: 0.5, MemoryLimit: 128 << 20}, {Replica: "web-2", State: "starting", Restarts: 1}}},
				{Service: "catalog", Wanted: 1, Ready: 1, Replicas: []ReplicaState{{Replica: "catalog-1", State: StateReady}}}},
			Backends: []BackendState{
				{Service: "web", Replica: "web-1", Address: "127.0.0.1:4001", Breaker: BreakerClosed, Healthy: true, Requests: int64(i * 10), InFlight: 1, Latency: in.live.Clone()},
				{Service: "web", Replica: "web-2", Address: "127.0.0.1:4002", Breaker: BreakerOpen, Requests: int64(i), Errors: int64(i)}},
			Processes: []ProcessCounters{
				{Service: Gateway, Replica: Gateway, CPU: time.Duration(i) * 100 * time.Millisecond, Memory: 50 << 20},
				{Service: "web", Replica: "web-1", Started: at(-9), CPU: time.Duration(i) * 250 * time.Millisecond, Memory: 20 << 20, Throttled: time.Duration(i) * 50 * time.Millisecond, Waited: time.Duration(i) * 20 * time.Millisecond},
				{Service: "catalog", Replica: "catalog-1", Started: at(-9), CPU: time.Duration(i) * 125 * time.Millisecond, Memory: 10 << 20}}}
		second := ProcessCounters{Service: "web", Replica: "web-2", Started: at(-9), CPU: time.Duration(i) * 100 * time.Millisecond, Memory: 30 << 20}
		if i >= 3 {
			second.Started, second.CPU = at(2.5), time.Duration(i-2)*100*time.Millisecond-50*time.Millisecond
		}
		s.Processes = append(s.Processes, second)
		return s
	}
}

func TestStatusGolden(t *testing.T) {
	o := newTestObserver(t, Config{System: "shop"})
	sample := shopSample()
	for i := range 11 {
		o.Observe(sample(i))
	}
	st, err := o.Status(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.json", string(b)+"\n")
	var back Status
	if err := json.Unmarshal(b, &back); err != nil || len(back.Services) != 2 || back.Services[1].Rate != 10 {
		t.Errorf("read back: %+v, %v", back, err)
	}
}

func TestMetricsPage(t *testing.T) {
	extra := prometheus.NewCounter(prometheus.CounterOpts{Name: "banyan_gateway_things_total", Help: "Things."})
	extra.Add(3)
	o := newTestObserver(t, Config{System: "shop", Version: "1.2.3", Collectors: []prometheus.Collector{extra},
		Record: RecordConfig{Dir: t.TempDir()}})
	page := func() string {
		w := httptest.NewRecorder()
		o.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 200 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if p := page(); !strings.Contains(p, "banyan_build_info") || strings.Contains(p, "banyan_replica") {
		t.Errorf("before the first sample:\n%s", p)
	}
	sample := shopSample()
	for i := range 4 {
		o.Observe(sample(i))
	}
	s := sample(4)
	s.Processes = append(s.Processes, ProcessCounters{Service: "web", Replica: "web-2", Exited: true}, s.Processes[1])
	s.Services = append(s.Services, s.Services[0])
	o.Observe(s)
	o.close()
	var ours []string
	for line := range strings.Lines(page()) {
		if strings.Contains(line, "banyan_") && !strings.Contains(line, "goversion=") {
			ours = append(ours, line)
		}
	}
	golden(t, "metrics.txt", strings.Join(ours, ""))
}

func TestCollectorTwiceIsRefused(t *testing.T) {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "banyan_build_info"})
	if _, err := New(Config{Sample: func() Sample { return Sample{} }, Collectors: []prometheus.Collector{c}}); err == nil {
		t.Error("no error")
	}
}

func TestNaturalOrder(t *testing.T) {
	names := []string{"a-1", "a-2", "a-10", "b", "b-1"}
	for i := 1; i < len(names); i++ {
		if compareNatural(names[i-1], names[i]) >= 0 || compareNatural(names[i], names[i-1]) <= 0 || compareNatural(names[i], names[i]) != 0 {
			t.Errorf("%s and %s", names[i-1], names[i])
		}
	}
}

// Present is Status but for the trends.
func TestPresent(t *testing.T) {
	o := newTestObserver(t, Config{System: "shop"})
	sample := shopSample()
	for i := range 11 {
		o.Observe(sample(i))
	}
	whole, err1 := o.Status(5 * time.Second)
	present, err2 := o.Present(5 * time.Second)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	none := Trend{Rate: []float64{}, P99: []time.Duration{}}
	whole.Total.Trend = none
	for i := range whole.Services {
		whole.Services[i].Trend = none
	}
	for _, calls := range [][]CallStatus{whole.Routes, whole.Edges} {
		for i := range calls {
			calls[i].Trend = none
		}
	}
	if !reflect.DeepEqual(whole, present) {
		t.Errorf("present is\n%+v\nwant\n%+v", present, whole)
	}
}
