package ui

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/topology"
)

func TestFrameSaysWhatIsWrong(t *testing.T) {
	f := newFake(t, shopSystem(t), 5*time.Second, time.Now())
	s := newServer(t, f, nil)
	n := s.feed.latest(time.Now()).Nodes["cart"]
	if n.Health != OK || n.Ready != 2 || len(n.Replicas) != 2 || n.Limit != 1 {
		t.Errorf("a healthy service: %+v", n)
	}
	f.broken = "cart"
	for range 6 {
		f.tick()
	}
	frame := s.feed.latest(time.Now().Add(time.Minute))
	n = frame.Nodes["cart"]
	if n.Health != Failing || n.BreakersOpen != 1 || n.Ready != 1 || !strings.Contains(n.Why, "% of the calls fail") || n.Replicas[0] != "waiting" {
		t.Errorf("a service that fails: %+v", n)
	}
	if q := frame.Nodes["queues.mail-dead"]; q.Health != Warning || q.Why != "2 dead messages" {
		t.Errorf("a queue of dead messages: %+v", q)
	}
	if q := frame.Nodes["queues.mail"]; q.Store == nil || q.Store.Waiting != 7 || q.Store.In <= 0 {
		t.Errorf("a queue: %+v", q.Store)
	}
	if p := frame.Nodes["payments"]; p.Wanted != 2 || p.Ready != 2 {
		t.Errorf("a service elsewhere: %+v", p)
	}
	if e := frame.Edges[EdgeKey("@gateway", "web")]; e.Rate == 0 {
		t.Errorf("from the gateway: %+v", e)
	}
}

func TestHealthOfServices(t *testing.T) {
	for name, c := range map[string]struct {
		n       NodeFigures
		message string
		want    Health
		why     string
	}{
		"nothing asked":    {NodeFigures{Wanted: 1, Ready: 1}, "", Idle, ""},
		"busy":             {NodeFigures{Wanted: 1, Ready: 1, Calls: Calls{Rate: 5}}, "", OK, ""},
		"scaled to zero":   {NodeFigures{}, "", Idle, ""},
		"none ready":       {NodeFigures{Wanted: 2}, "", Failing, "no replica is ready"},
		"starting":         {NodeFigures{Wanted: 2, Replicas: []string{"starting", "starting"}}, "", Warning, "its replicas are starting"},
		"none, and why":    {NodeFigures{Wanted: 2}, "exit status 1", Failing, "exit status 1"},
		"one missing":      {NodeFigures{Wanted: 2, Ready: 1}, "", Warning, "1 of 2 replicas ready"},
		"few errors":       {NodeFigures{Wanted: 1, Ready: 1, Calls: Calls{Rate: 5, Errors: 0.02}}, "", Warning, "2 % of the calls fail"},
		"held back":        {NodeFigures{Wanted: 1, Ready: 1, Throttled: 0.4, Calls: Calls{Rate: 5}}, "", Warning, "held back by its CPU limit for 40 % of the time"},
		"errors, one gone": {NodeFigures{Wanted: 2, Ready: 1, Calls: Calls{Rate: 5, Errors: 0.5}}, "", Failing, "50 % of the calls fail"},
	} {
		if got, why := healthOf(c.n, c.message); got != c.want || why != c.why {
			t.Errorf("%s: %s, %q; want %s, %q", name, got, why, c.want, c.why)
		}
	}
}

func TestExpectedStandsBesideMeasured(t *testing.T) {
	f := newFake(t, shopSystem(t), 2*time.Minute, time.Now())
	s := newServer(t, f, nil)
	frame := s.feed.latest(time.Now())
	if !frame.Expected.Known || frame.Expected.Bottleneck == "" {
		t.Fatalf("nothing is expected: %+v", frame.Expected)
	}
	web := frame.Nodes["web"]
	if web.Expected == nil || math.Abs(web.Expected.Rate/web.Rate-1) > 0.02 { // each request visits it once
		t.Errorf("web is asked %g times a second, expected %+v", web.Rate, web.Expected)
	}
	for _, r := range frame.Routes {
		if r.Expected == nil || r.Expected.P99 <= r.Expected.P50 {
			t.Errorf("%s: expected %+v", r.Route, r.Expected)
		}
	}
	series, err := s.series("catalog", "", "5m", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	measured, expected := 0, 0
	for i := range series.At {
		if series.Rate[i] > 0 && series.Cores[i] > 0 && series.P99[i] > series.P50[i] {
			measured++
		}
		if series.Expected.Cores[i] > 0 {
			expected++
		}
	}
	if len(series.At) != steps || measured < 20 || expected < 20 || series.UseBand <= 0 {
		t.Errorf("of %d steps %d were measured and %d expected: %+v", len(series.At), measured, expected, series)
	}
	route, err := s.series("", "POST /checkout", "5m", time.Now())
	if err != nil || !(route.Expected.P99[steps-1] > 0) {
		t.Errorf("the route's p99 is expected at %v (%v)", route.Expected.P99[steps-1], err)
	}
	gateway, err := s.series("@gateway", "", "5m", time.Now())
	if err != nil || !math.IsNaN(gateway.Expected.Rate[steps-1]) || !(gateway.Expected.Cores[steps-1] > 0) {
		t.Errorf("the gateway: %v, %v (%v)", gateway.Expected.Rate[steps-1], gateway.Expected.Cores[steps-1], err)
	}
	if data, err := json.Marshal(series); err != nil || !strings.Contains(string(data), "null") {
		t.Errorf("what is not known is not null: %v", err)
	}
}

func TestNothingIsExpectedWithoutCosts(t *testing.T) {
	sys := shopSystem(t)
	sys.Demands = nil
	f := newFake(t, sys, 5*time.Second, time.Now())
	s := newServer(t, f, nil)
	if e := s.feed.latest(time.Now()).Expected; e.Known || !strings.Contains(e.Why, "calibrate") {
		t.Errorf("%+v", e)
	}
	if w := ask(s, "POST", "/v1/predict", "{}", nil); w.Code != http.StatusConflict {
		t.Errorf("a prediction without costs: %d %s", w.Code, w.Body)
	}
}

func TestChunksAreReckonedOnce(t *testing.T) {
	f := newFake(t, shopSystem(t), time.Minute, time.Now())
	counted := &countingSystem{fakeSystem: f}
	s := newServer(t, f, func(c *Config) { c.System = counted })
	now := time.Now()
	for _, node := range []string{"web", "catalog", "web"} {
		if _, err := s.series(node, "", "5m", now); err != nil {
			t.Fatal(err)
		}
	}
	if counted.windows != steps {
		t.Errorf("%d windows were read, want %d", counted.windows, steps)
	}
	for i := range 500 { // time goes on: the cache does not grow
		if _, err := s.series("web", "", "5m", now.Add(time.Duration(i)*5*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.past.chunks[5*time.Second]); n > 2*steps+1 {
		t.Errorf("%d chunks are kept", n)
	}
}

type countingSystem struct {
	*fakeSystem
	windows int
}

func (c *countingSystem) Window(from, to time.Time) (*observe.Window, error) {
	c.windows++
	return c.fakeSystem.Window(from, to)
}

func TestWhatIf(t *testing.T) {
	s := newServer(t, fakeShop(t), nil)
	ctx := context.Background()
	now, err := s.predict(ctx, PredictRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if now.Changed || now.Rate != 100 || math.Abs(now.Mix["GET /"]-0.8) > 1e-9 || now.Before.Plan.Saturation.Throughput <= 0 || now.Before.Cost == nil {
		t.Errorf("as it runs: %+v", now)
	}
	by := now.Before.Plan.Saturation.By
	more, err := s.predict(ctx, PredictRequest{Replicas: map[string]int{by: 6}, Rate: 150})
	if err != nil {
		t.Fatal(err)
	}
	if !more.Changed || more.Rate != 150 || more.After.Plan.Saturation.Throughput <= more.Before.Plan.Saturation.Throughput || more.After.Cost.Month < more.Before.Cost.Month {
		t.Errorf("with six of %s it holds %g, before %g", by, more.After.Plan.Saturation.Throughput, more.Before.Plan.Saturation.Throughput)
	}
	if len(more.Rates) != len(more.After.P99) || len(more.Rates) > 64 || !slices.IsSorted(more.Rates) {
		t.Errorf("the curve has %d rates and %d values", len(more.Rates), len(more.After.P99))
	}
	last := len(more.Rates) - 1
	if math.IsNaN(more.After.P99[0]) || !math.IsNaN(more.Before.P99[last]) {
		t.Errorf("the curve begins at %g and ends at %g", more.After.P99[0], more.Before.P99[last])
	}
	mix, err := s.predict(ctx, PredictRequest{Mix: map[string]float64{"POST /checkout": 3}})
	if err != nil || mix.Mix["POST /checkout"] != 1 || mix.Rate != 100 {
		t.Errorf("another mix: %+v %v", mix, err)
	}
	full, cancel := context.WithCancel(ctx)
	cancel()
	s.predicting <- struct{}{}
	if _, err := s.predict(full, PredictRequest{}); statusOf(err) != http.StatusTooManyRequests {
		t.Errorf("while another is made: %v", err)
	}
}

func TestBoardOfSLOs(t *testing.T) {
	f := newFake(t, shopSystem(t), 30*time.Second, time.Now())
	s := newServer(t, f, nil)
	b, err := s.slos(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.SLOs) != 2 || b.SLOs[0].Name != "checkout" || len(b.SLOs[0].Targets) != 2 || b.SLOs[0].Targets[0].What != "p50" {
		t.Fatalf("%+v", b)
	}
	// Latencies are 12 ms times half and more of an exponential: p99 is about 61 ms, over 50 ms.
	home := b.SLOs[1]
	if home.Health != Failing || home.Targets[0].What != "availability" || home.Targets[0].Looks[0].Missed != 0 || home.Targets[1].Looks[0].Burn <= 1 || home.Targets[1].Looks[0].Measured < 50 {
		t.Errorf("home: %+v", home)
	}
	if checkout := b.SLOs[0]; checkout.Health != OK {
		t.Errorf("checkout: %+v", checkout)
	}
	if again, _ := s.slos(time.Now()); again != b {
		t.Error("the board was made twice within seconds")
	}
}

func TestTimelineSortsWhatHappened(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	events := []orchestrate.Event{
		{Time: at, What: "reloaded"}, {Time: at.Add(5 * time.Second), Service: "a", What: "canary rolled back"}, {Time: at.Add(1 * time.Second), Service: "a", What: "canary step"},
		{Time: at.Add(3 * time.Second), Service: "a", Replica: "a-0", What: "exited", Why: "exit status 1"}, {Time: at.Add(4 * time.Second), Service: "a", Replica: "a-0", What: "ready"},
		{Time: at.Add(6 * time.Second), Service: "a", What: "alert fires", Why: "Burn"}, {Time: at.Add(7 * time.Second), Service: "a", What: "alert ended", Why: "Burn"},
	}
	decisions := []autoscale.Decision{
		{At: at.Add(2 * time.Second), Service: "a", From: autoscale.Size{Replicas: 1}, To: autoscale.Size{Replicas: 2}, Why: "busy"},
		{At: at.Add(2 * time.Second), Service: "a", From: autoscale.Size{Replicas: 2}, To: autoscale.Size{Replicas: 2}, Why: "as it should be"},
		{At: at.Add(2 * time.Second), Service: "a", From: autoscale.Size{Replicas: 2}, To: autoscale.Size{Replicas: 3}, DryRun: true},
	}
	all := timeline(events, decisions)
	var got []string
	ids := map[string]bool{}
	for _, e := range all {
		word := string(e.Kind)
		if e.Bad {
			word += "!"
		}
		got = append(got, word)
		ids[e.ID] = true
	}
	if want := []string{"deploy", "deploy", "scaling", "fault!", "replica", "deploy!", "alert!", "alert"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if len(ids) != len(all) || timeline(events, decisions)[2].ID != all[2].ID {
		t.Error("the IDs are not those of the events")
	}
	many := make([]orchestrate.Event, 3*maxEvents)
	if n := len(timeline(many, nil)); n != maxEvents {
		t.Errorf("%d events are kept", n)
	}
}

func TestOneLoadTestAtATime(t *testing.T) {
	loads := &fakeLoads{step: make(chan struct{})}
	s := newServer(t, fakeShop(t), func(c *Config) { c.Loader = loads })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if err := s.loads.start(s.running, LoadRequest{Rate: 50, Seconds: 10}); err != nil {
		t.Fatal(err)
	}
	if err := s.loads.start(s.running, LoadRequest{}); statusOf(err) != http.StatusConflict {
		t.Errorf("a second one: %v", err)
	}
	loads.step <- struct{}{}
	loads.step <- struct{}{} // the look at the first step has been taken by now
	if st := s.loads.state(10); !st.Running || len(st.Points) == 0 || st.Points[0].P99 != 20 {
		t.Errorf("while it runs: %+v", st)
	}
	if err := s.loads.stop(ctx); err != nil {
		t.Fatal(err)
	}
	if st := s.loads.state(10); st.Running || st.Error != "stopped" {
		t.Errorf("stopped: %+v", st)
	}
	if err := s.loads.start(s.running, LoadRequest{Rate: 666}); err != nil {
		t.Fatal(err)
	}
	loads.step <- struct{}{}
	s.loads.wait()
	if st := s.loads.state(10); !strings.Contains(st.Error, "does not answer") {
		t.Errorf("one that fails: %+v", st)
	}
	if err := s.loads.start(s.running, LoadRequest{}); err != nil {
		t.Fatal(err)
	}
	cancel() // the system ends while it runs: Run waits for it
	if err := <-done; err != nil {
		t.Error(err)
	}
	if st := s.loads.state(0); st.Running {
		t.Error("Run has returned, and a load test goes on")
	}
	if err := s.loads.start(s.running, LoadRequest{}); err == nil {
		t.Error("one was started after the end")
	}
}

// hundred is a system of a hundred services, each with two replicas.
func hundred(t testing.TB) *topology.System {
	t.Helper()
	var b strings.Builder
	b.WriteString("version: 1\nsystem: hundred\nmachine: {cores: 64}\nservices:\n")
	name := func(i int) string { return "service-" + string(rune('a'+i/26)) + string(rune('a'+i%26)) }
	for i := range 100 {
		uses := []string{}
		for _, k := range []int{2*i + 1, 2*i + 2, i + 7} {
			if k < 100 && k > i {
				uses = append(uses, name(k))
			}
		}
		slices.Sort(uses)
		uses = slices.Compact(uses)
		b.WriteString("  " + name(i) + ": {build: ., replicas: 2, limits: {cpu: 1}, uses: [" + strings.Join(uses, ", ") + "], work: {cpu: 1ms}}\n")
	}
	b.WriteString("routes:\n")
	for i := range 10 {
		b.WriteString("  - {path: /r" + string(rune('a'+i)) + "/, to: " + name(i) + "}\n")
	}
	sys, err := topology.Parse(topology.Source{Name: "hundred.yaml", Data: []byte(b.String())})
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

// BenchmarkFrame is what each second costs while pages look at a hundred services: the figures, the expectation, and the
// bytes for one page.
func BenchmarkFrame(b *testing.B) {
	f := newFake(b, hundred(b), 70*time.Second, time.Now())
	s := newServer(b, f, nil)
	now := time.Now()
	size := 0
	for b.Loop() {
		now = now.Add(2 * time.Second)
		data, err := json.Marshal(s.feed.latest(now))
		if err != nil {
			b.Fatal(err)
		}
		size = len(data)
	}
	b.ReportMetric(float64(size), "B/frame")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1e4, "%core/s")
}
