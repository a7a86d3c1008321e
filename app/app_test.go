package app

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

const twoServices = `
version: 1
system: two
services:
  web: {layer: presentation, run: x, uses: [word-list]}
  word-list: {layer: business, run: y}
routes:
  - {path: /, to: web}
  - {path: /words, to: word-list}
workload:
  rate: 10/s
  scenarios:
    read: {steps: [{path: /}, {name: list, path: "/words?n=1"}]}
`

func parse(t *testing.T, text string) *topology.System {
	t.Helper()
	sys, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

func TestUnsupportedNamesEveryBlock(t *testing.T) {
	if err := Unsupported(parse(t, twoServices)); err != nil {
		t.Errorf("services alone: %v", err)
	}
	err := Unsupported(parse(t, twoServices+"tables: {t: {key: id}}\nfunctions: {f: {run: x, on: {every: 1m}}}\nqueues: {q: {}}\ncaches: {c: {}}\n"))
	for _, want := range []string{"functions: not supported yet", "tables.t: the name of a table has 3 characters or more"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "caches") || strings.Contains(err.Error(), "queues.q") {
		t.Errorf("caches and a queue: %v", err)
	}
}

func TestEnvironNamesWhatIsUsed(t *testing.T) {
	text := strings.Replace(twoServices, "uses: [word-list]", "uses: [word-list, caches.products, caches.sessions]", 1) +
		"caches: {products: {}, sessions: {}}\n"
	got := environ(parse(t, text), "web", func(from, to string) string { return "http://" + from + "." + to },
		func(name string) string { return "redis://" + name },
		func(name string) []string { return map[string][]string{"products": {"a:1", "b:2"}}[name] })
	want := []string{"WORD_LIST_URL=http://web.word-list", "REDIS_URL=redis://products", "REDIS_NODES=a:1,b:2", "PRODUCTS_REDIS_URL=redis://products",
		"PRODUCTS_REDIS_NODES=a:1,b:2", "SESSIONS_REDIS_URL=redis://sessions"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRunsAreKeptAndTheOldestGo(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenRun(dir, ""); err == nil || !strings.Contains(err.Error(), "banyan load") {
		t.Errorf("without runs: %v", err)
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var last string
	for i := range keepRuns + 3 {
		run := &Run{Name: RunName(&load.Result{Start: start.Add(time.Duration(i) * time.Second)})}
		if _, err := SaveRun(dir, run); err != nil {
			t.Fatal(err)
		}
		last = run.Name
	}
	names, err := runNames(dir)
	if err != nil || len(names) != keepRuns {
		t.Fatalf("%d runs are kept, want %d (%v)", len(names), keepRuns, err)
	}
	run, err := OpenRun(dir, "")
	if err != nil || run.Name != last {
		t.Errorf("the newest is %v, want %s (%v)", run, last, err)
	}
	if run, err = OpenRun(dir, names[0]); err != nil || run.Name != names[0] {
		t.Errorf("by name: %v %v", run, err)
	}
	if err := os.WriteFile(filepath.Join(dir, runsDir, "zzz.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRun(dir, ""); err == nil || !strings.Contains(err.Error(), "zzz.json") {
		t.Errorf("a torn record: %v", err)
	}
}

func TestCalibrationIsAnOverlayOfTheFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "banyan.yaml")
	if err := os.WriteFile(file, []byte(twoServices), 0o644); err != nil {
		t.Fatal(err)
	}
	scv := 3.25
	k := &plan.Calibrated{
		Demands: map[string]map[string]*topology.Demand{"/": {
			"web":       {Visits: 1.5, CPU: topology.Duration(1234567), Delay: topology.Duration(time.Millisecond), DelaySCV: &scv},
			plan.Client: {Visits: 1, Async: topology.Duration(50 * time.Microsecond), Wake: topology.Duration(7 * time.Microsecond)},
		}},
		Calibration: &topology.Calibration{Source: "run: \"1\"", At: "2026-01-02T03:04:05Z", Cores: 2, Throughput: 12.5, Dispersion: 4.5, Slice: topology.Duration(1400 * time.Microsecond),
			Idle: map[string]float64{"web": 0.25}},
		Notes: []string{"a note"},
	}
	if err := WriteCalibration(CalibrationFile(file), k); err != nil {
		t.Fatal(err)
	}
	sys, err := topology.Load(file, filepath.Join(dir, "banyan.calibration.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	web, client := sys.Demands["/"]["web"], sys.Demands["/"][plan.Client]
	if web.Visits != 1.5 || web.CPU != 1234567 || web.Delay.Std() != time.Millisecond || *web.DelaySCV != scv {
		t.Errorf("web came back as %+v", web)
	}
	if client.Async.Std() != 50*time.Microsecond || client.Wake.Std() != 7*time.Microsecond {
		t.Errorf("client came back as %+v", client)
	}
	if c := sys.Calibration; c.Source != k.Calibration.Source || c.Throughput != 12.5 || c.Dispersion != 4.5 || c.Slice.Std() != 1400*time.Microsecond || c.Idle["web"] != 0.25 || c.Cores != 2 {
		t.Errorf("calibration came back as %+v", c)
	}
}

func TestMeasurementJoinsBothSides(t *testing.T) {
	sys := parse(t, twoServices)
	h := stats.NewHistogram(3)
	h.RecordN(int64(2*time.Millisecond), 100)
	result := &load.Result{
		Workload: sys.Workload, Start: time.Unix(100, 0), Warmup: time.Second, Duration: 10 * time.Second,
		Steps: []*load.Step{
			{Name: "/", Requests: 100, Latency: h, Errors: map[load.Kind]int64{load.Timeout: 2}},
			{Name: "list", Requests: 100, Latency: h.Clone(), NotSent: 3},
		},
		Scenarios: load.ScenarioCounts{Started: 97, NotStarted: 3},
	}
	result.Generator.CPU = time.Second
	offered, err := offeredLoad(sys, result)
	if err != nil {
		t.Fatal(err)
	}
	if offered.Rates["/"] != 10 || offered.Rates["/words"] != 10 {
		t.Errorf("offered %+v, want 10 of each", offered)
	}
	client := clientSide(&Run{Name: "r", Result: result}, topology.NewRouter(sys.Routes), offered)
	during := &observe.Window{
		Interval: observe.Interval{Attributed: []observe.AttributedSums{{Route: "/", To: "web", Count: 110, Sum: 220 * time.Millisecond}},
			Machine: observe.MachineSums{Cores: 4, Busy: 11 * time.Second}},
		Covered:  11 * time.Second,
		Services: []observe.ServiceUse{{Service: "web", Cores: 0.5, Running: 2}},
	}
	// The first of the idle seconds still has the end of an earlier load in it.
	idle := &observe.Window{Services: []observe.ServiceUse{{Service: "web", Cores: 0.06}}}
	for i, used := range []time.Duration{150 * time.Millisecond, 12 * time.Millisecond, 8 * time.Millisecond} {
		second := observe.Interval{Start: time.Unix(int64(90+i), 0), End: time.Unix(int64(91+i), 0)}
		for _, replica := range []string{"web-0", "web-1"} {
			second.Processes = append(second.Processes, observe.ProcessSums{Service: "web", Replica: replica, CPU: used / 2})
		}
		idle.Intervals = append(idle.Intervals, second)
	}
	m := Measurement(sys, client, during, idle)
	if m.Seconds() != 10 || m.Cores != 4 || m.MachineCPU != 1 || m.NotSent != 3 {
		t.Errorf("measurement: %+v", m)
	}
	if r := m.Routes["/words"]; r.Requests != 100 || r.Mean != 2*time.Millisecond {
		t.Errorf("a step with a name of its own did not count for its route: %+v", m.Routes)
	}
	if m.Routes["/"].Errors != 2 {
		t.Errorf("errors: %+v", m.Routes["/"])
	}
	if c := m.Calls[0]; c.Count != 100 || c.Time != 200*time.Millisecond {
		t.Errorf("calls are not scaled from the window to the load: %+v", c)
	}
	if w := m.Services["web"]; w.CPU != 0.5 || math.Abs(w.Idle-0.012) > 1e-9 || w.Replicas != 2 {
		t.Errorf("web: %+v", w)
	}
	if c := m.Services[plan.Client]; c.CPU != 0.1 {
		t.Errorf("client: %+v", c)
	}
}

func TestPulseStepsLeaveOutWhatCannotBe(t *testing.T) {
	sys := parse(t, twoServices)
	at := func(ms int, cpu time.Duration, n ...int64) observe.Pulse {
		return observe.Pulse{At: time.UnixMilli(int64(ms)), CPU: cpu, Requests: n}
	}
	steps := pulseSteps([]observe.Pulse{
		at(0, time.Second, 10, 5), at(200, 2*time.Second, 14, 5), at(400, time.Second, 20, 5), at(600, 3*time.Second, 21),
	}, sys.Routes)
	if len(steps) != 1 || steps[0].Seconds != 0.2 || steps[0].CPU != 1 || steps[0].Requests["/"] != 4 || len(steps[0].Requests) != 1 {
		t.Errorf("%+v", steps)
	}
}
