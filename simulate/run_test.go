package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("other architectures fuse multiplications and additions, and round once less")
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}

func encode(t *testing.T, r *Result) []byte {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSameSeedSameBits(t *testing.T) {
	sys, o := stormy()
	o.Replications, o.Trace, o.Workers = 4, 50, 1
	want := encode(t, simulate(t, sys, o))
	for _, workers := range []int{2, 7} {
		o.Workers = workers
		if !bytes.Equal(encode(t, simulate(t, sys, o)), want) {
			t.Errorf("%d workers give another result than one", workers)
		}
	}
	o.Workers = 0
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if !bytes.Equal(encode(t, simulate(t, sys, o)), want) {
		t.Error("one core gives another result than several")
	}
	o.Seed++
	if bytes.Equal(encode(t, simulate(t, sys, o)), want) {
		t.Error("another seed gives the same result")
	}
}

func TestStopRuleDoesNotDependOnWorkers(t *testing.T) {
	sys := oneService(1, 10, 1, 70)
	o := Options{Seed: 3, Duration: 20 * time.Second, Precision: 0.06, MaxReplications: 60, Workers: 1}
	one := simulate(t, sys, o)
	o.Workers = 5
	if !bytes.Equal(encode(t, one), encode(t, simulate(t, sys, o))) {
		t.Error("the number of workers changes the result")
	}
	if share := one.All.Mean.HalfWidth.Seconds() / one.All.Mean.Value.Seconds(); share > 0.06 || one.Replications <= 5 {
		t.Errorf("%d replications, half width %.3f of the mean", one.Replications, share)
	}
	o.Precision, o.MaxReplications = 0.0001, 6
	if r := simulate(t, sys, o); r.Replications != 6 || !strings.Contains(strings.Join(r.Notes, "\n"), "was not reached") {
		t.Errorf("%d replications, notes %q", r.Replications, r.Notes)
	}
}

// TestCommonRandomNumbers: a faster service must not change who arrives when.
func TestCommonRandomNumbers(t *testing.T) {
	a, b := twentyServices(300), twentyServices(300)
	b.Services["c0"].Work.CPU = ms(4)
	o := Options{Seed: 5, Replications: 1, Warmup: -1, Duration: 20 * time.Second}
	ra, rb := simulate(t, a, o), simulate(t, b, o)
	for i := range ra.Routes {
		if d := ra.Routes[i].Requests - rb.Routes[i].Requests; d < -20 || d > 20 {
			t.Errorf("route %s: %d and %d requests", ra.Routes[i].Route, ra.Routes[i].Requests, rb.Routes[i].Requests)
		}
	}
	if ra.Started != rb.Started {
		t.Errorf("%d and %d requests arrived", ra.Started, rb.Started)
	}
}

func TestWarmupIsFoundAndLeftOut(t *testing.T) {
	// Users who all come at once into an empty system: it takes a while until they have spread.
	sys := chain(400, 1)
	sys.Workload.Think = topology.Duration(20 * time.Second)
	sys.Workload.Duration = topology.Duration(5 * time.Minute)
	r := simulate(t, sys, Options{Seed: 1, Replications: 2})
	if !r.WarmupFound || r.Warmup > 150*time.Second {
		t.Errorf("warm-up of %v, found %v", r.Warmup, r.WarmupFound)
	}
	if r.Duration != 5*time.Minute {
		t.Errorf("%v are measured", r.Duration)
	}

	rng := rand.New(rand.NewPCG(1, 1))
	p := &warmupProbe{}
	for i := range 20000 {
		x := 1 + 0.2*rng.NormFloat64()
		if i < 3000 {
			x += 3 * (1 - float64(i)/3000)
		}
		p.add(int64(i), x)
	}
	if at, settled := p.warmup(); !settled || at < 2000 || at > 4000 {
		t.Errorf("the start of 3000 was cut at %d (settled: %v)", at, settled)
	}
	p = &warmupProbe{}
	for i := range 20000 {
		p.add(int64(i), float64(i))
	}
	if _, settled := p.warmup(); settled {
		t.Error("a series that only grows has settled")
	}
}

func TestStudent(t *testing.T) {
	for _, c := range []struct {
		degrees int
		want    float64
	}{{1, 12.706}, {4, 2.7764}, {30, 2.0423}, {31, 2.0395}, {60, 2.0003}, {120, 1.9799}, {100000, 1.95998}} {
		if got := student(c.degrees); math.Abs(got-c.want) > 2e-4 {
			t.Errorf("%d degrees of freedom: %.5f, want %.5f", c.degrees, got, c.want)
		}
	}
}

func TestBadInput(t *testing.T) {
	nan := math.NaN()
	for name, c := range map[string]struct {
		change func(*topology.System, *Options)
		want   string
	}{
		"no cores":          {func(s *topology.System, _ *Options) { s.Machine = nil }, "cores"},
		"NaN cores":         {func(s *topology.System, _ *Options) { s.Machine.Cores = topology.CPU(nan) }, "cores"},
		"negative CPU":      {func(s *topology.System, _ *Options) { s.Services["web"].Work.CPU = -1 }, "web"},
		"NaN SCV":           {func(s *topology.System, _ *Options) { s.Services["web"].Work.SCV = &nan }, "web"},
		"negative limit":    {func(s *topology.System, _ *Options) { s.Services["web"].Limits.CPU = -1 }, "web"},
		"NaN rate":          {func(s *topology.System, _ *Options) { s.Workload.Rate = topology.Rate(nan) }, "rate"},
		"negative rate":     {func(s *topology.System, _ *Options) { s.Workload.Rate = -1 }, "rate"},
		"endless rate":      {func(s *topology.System, _ *Options) { s.Workload.Rate = topology.Rate(math.Inf(1)) }, "rate"},
		"too many arrivals": {func(s *topology.System, _ *Options) { s.Workload.Rate = 1e9 }, "too many events"},
		"two loads":         {func(s *topology.System, _ *Options) { s.Workload.Users = 5 }, "exactly one"},
		"no workload":       {func(s *topology.System, _ *Options) { s.Workload = nil }, "no workload"},
		"no demands":        {func(s *topology.System, _ *Options) { s.Services["web"].Work = nil }, "costs"},
		"cycle":             {func(s *topology.System, _ *Options) { s.Services["web"].Uses = []string{"web"} }, "calls itself"},
		"route to nowhere":  {func(s *topology.System, _ *Options) { s.Routes[0].To = "nobody" }, "nobody"},
		"unmatched step":    {func(s *topology.System, _ *Options) { s.Routes[0].Path = "/other" }, "no route answers"},
		"unknown scenario":  {func(s *topology.System, _ *Options) { s.Workload.Mix["x"] = 1 }, "x"},
		"balance":           {func(s *topology.System, _ *Options) { s.Routes[0].Balance = "magic" }, "magic"},
		"NaN calls":         {func(s *topology.System, _ *Options) { callsOften(s, nan) }, "calls"},
		"negative calls":    {func(s *topology.System, _ *Options) { callsOften(s, -1) }, "calls"},
		"billions of calls": {func(s *topology.System, _ *Options) { callsOften(s, 1e12) }, "calls"},
		"demands of nobody": {func(s *topology.System, _ *Options) { demands(s, "nobody", 1) }, "nobody"},
		"NaN visits":        {func(s *topology.System, _ *Options) { demands(s, "web", nan) }, "visits"},
		"trace":             {func(s *topology.System, _ *Options) { s.Workload.Rate, s.Workload.Trace = 0, &topology.Trace{} }, "trace"},
		"NaN in arrivals": {func(s *topology.System, o *Options) {
			s.Workload.Rate, s.Workload.Trace = 0, &topology.Trace{}
			o.Arrivals = &Arrivals{[]float64{1, nan}, time.Second}
		}, "period 2"},
		"million replicas":   {func(_ *topology.System, o *Options) { o.Replicas = map[string]int{"web": 1_000_000} }, "web"},
		"replicas of nobody": {func(_ *topology.System, o *Options) { o.Replicas = map[string]int{"nobody": 1} }, "nobody"},
		"unknown fault":      {func(_ *topology.System, o *Options) { o.Faults = []Fault{{Kind: "flood", Service: "web"}} }, "flood"},
		"fault of nobody":    {func(_ *topology.System, o *Options) { o.Faults = []Fault{{Kind: FaultKill, Service: "nobody"}} }, "nobody"},
		"negative fault":     {func(_ *topology.System, o *Options) { o.Faults = []Fault{{Kind: FaultKill, Service: "web", At: -1}} }, "negative"},
		"no such edge": {func(_ *topology.System, o *Options) {
			o.Faults = []Fault{{Kind: FaultPartition, Service: "web", From: "web"}}
		}, "no request"},
		"speed of 0": {func(_ *topology.System, o *Options) { o.Faults = []Fault{{Kind: FaultSlow, Service: "web"}} }, "factor"},
		"precision":  {func(_ *topology.System, o *Options) { o.Precision = nan }, "Precision"},
		"warm-up of all": {func(s *topology.System, o *Options) {
			s.Workload.Rate = 0
			s.Workload.Stages = []topology.Stage{{Rate: 5, Duration: ms(10)}}
			o.Warmup = time.Second
		}, "nothing"},
		"negative options": {func(_ *topology.System, o *Options) { o.Replications = -1 }, "Replications"},
		"shape":            {func(_ *topology.System, o *Options) { o.Shape = "round" }, "round"},
		"load of no route": {func(_ *topology.System, o *Options) { o.Load = &Load{Rates: map[string]float64{"GET /x": 1}} }, "GET /x"},
		"NaN load":         {func(_ *topology.System, o *Options) { o.Load = &Load{Rates: map[string]float64{"GET /": nan}} }, "GET /"},
		"many users": {func(_ *topology.System, o *Options) {
			o.Load = &Load{Users: 1 << 40, Mix: map[string]float64{"GET /": 1}}
		}, "users"},
		"long run": {func(_ *topology.System, o *Options) { o.Duration = 1 << 62 }, "at most"},
		"nil demand": {func(s *topology.System, _ *Options) {
			s.Demands = map[string]map[string]*topology.Demand{"GET /": {"web": nil}}
		}, "web"},
		"negative idle": {func(s *topology.System, _ *Options) {
			s.Calibration = &topology.Calibration{Idle: map[string]float64{"web": -1}}
		}, "idle"},
		"negative think time": {func(s *topology.System, _ *Options) { s.Workload.Think = -1 }, "think"},
	} {
		sys, o := oneService(1, 10, 1, 10), Options{}
		c.change(sys, &o)
		_, err := New(sys, o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("no system: no error")
	}
}

func callsOften(s *topology.System, n float64) {
	s.Services["web"].Uses = []string{"store"}
	s.Services["web"].Work.Calls = map[string]float64{"store": n}
	s.Services["store"] = &topology.Service{}
}

func demands(s *topology.System, name string, visits float64) {
	s.Demands = map[string]map[string]*topology.Demand{"GET /": {name: {Visits: visits, CPU: ms(1)}}}
}

func TestRunsThatDoNotEndAreEnded(t *testing.T) {
	run := func(sys *topology.System, o Options) error {
		m, err := New(sys, o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Run(context.Background())
		return err
	}
	// A load far beyond what is held, whose calls nobody gives up.
	sys := oneService(1, 10, 1, 10000)
	sys.Services["web"].Inbound.Timeout = topology.Duration(time.Hour)
	if err := run(sys, Options{MaxInProgress: 10000}); !errors.Is(err, ErrTooManyInProgress) {
		t.Errorf("got %v, want %v", err, ErrTooManyInProgress)
	}
	// Users who do not think, of a service that takes hardly any time.
	sys = oneService(1, 0.000001, 0, 0)
	sys.Workload.Rate, sys.Workload.Users = 0, 3
	if err := run(sys, Options{MaxEvents: 100000, Replications: 3}); !errors.Is(err, ErrTooManyEvents) {
		t.Errorf("got %v, want %v", err, ErrTooManyEvents)
	}
	// Scenarios that never make a request.
	sys.Workload.Scenarios["home"].Steps[0].Weight = 1e-12
	if err := run(sys, Options{MaxEvents: 100000}); !errors.Is(err, ErrTooManyEvents) {
		t.Errorf("got %v, want %v", err, ErrTooManyEvents)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m, err := New(oneService(1, 10, 1, 10), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestProgressIsToldByOneAtATime(t *testing.T) {
	busy, told := false, 0
	o := Options{Replications: 4, Workers: 4, Progress: func(p Progress) {
		if busy {
			t.Error("told twice at the same time")
		}
		busy = true
		told++
		busy = false
	}}
	simulate(t, oneService(1, 10, 1, 50), o)
	if told < 4 {
		t.Errorf("told %d times", told)
	}
}

func TestTextAndTrace(t *testing.T) {
	sys := storm(0.1, 1)
	sys.Workload.Stages = nil
	sys.Workload.Rate = 150
	sys.Workload.Duration = topology.Duration(20 * time.Second)
	sys.Services["store"].Concurrency = 3
	sys.Services["store"].Inbound.Timeout = ms(60)
	r := simulate(t, sys, Options{Seed: 2, Trace: 40, Wait: 30 * time.Millisecond})
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	text.WriteByte('\n')
	for _, e := range r.Trace {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(line)
		text.WriteByte('\n')
	}
	golden(t, "result.txt", text.Bytes())
	ends := map[int]int{}
	for _, e := range r.Trace {
		if e.What == "end" {
			ends[e.Request]++
		}
	}
	for i := range 40 {
		if ends[i+1] != 1 {
			t.Errorf("request %d ended %d times", i+1, ends[i+1])
		}
	}
}
