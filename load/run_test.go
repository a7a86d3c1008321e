package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A target that stops for a second is charged with it for every request that was due, by the part that was left, though
// only as many as there are connections noticed it.
func TestStallShowsInEveryLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		h := func(w http.ResponseWriter, _ *http.Request) {
			if at := time.Since(start); at >= 3*time.Second && at < 4*time.Second {
				time.Sleep(4*time.Second - at)
			}
			time.Sleep(time.Millisecond)
		}
		w := getWorkload()
		w.Rate = 100
		res := simulated(t, t.Context(), h, w, func(c *Config) { c.Connections = 4 })
		if res.Total.Requests != 1000 || res.Total.Failed() != 0 || res.Total.NotSent != 0 {
			t.Fatalf("%d requests, %d failed, %d not sent", res.Total.Requests, res.Total.Failed(), res.Total.NotSent)
		}
		// Due every 10 ms from 3.00 to 3.99 s: each waits for the rest of the second at least.
		if n := res.Total.Latency.CountAbove(int64(11 * time.Millisecond)); n < 98 || n > 125 {
			t.Errorf("%d latencies show the stall, want the 98 to 100 that were due in it and a few behind", n)
		}
		if n := res.Total.Latency.CountAbove(int64(500 * time.Millisecond)); n < 50 || n > 52 {
			t.Errorf("%d latencies above half a second, want 50", n)
		}
		if n := res.Total.Service.CountAbove(int64(2 * time.Millisecond)); n != 4 {
			t.Errorf("%d service times show the stall, want those of the 4 connections", n)
		}
		if p := res.Timeline.Points[3]; p.Offered != 100 || p.Completed != 0 {
			t.Errorf("in the second of the stall %d were offered and %d completed", p.Offered, p.Completed)
		}
		if p := res.Timeline.Points[4]; p.Completed != 200 || p.Quantile(1) < 900*time.Millisecond {
			t.Errorf("in the second after it %d were completed, the slowest in %s", p.Completed, p.Quantile(1))
		}
		if res.Generator.Queued == 0 || len(res.Warnings) == 0 {
			t.Error("nothing is said of the requests that waited for a connection")
		}
	})
}

// A steady target sees every request at its time, exactly, and the latency is the service time.
func TestScheduleIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		h := func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			at = append(at, time.Since(start))
			mu.Unlock()
			time.Sleep(30 * time.Millisecond)
		}
		w := getWorkload()
		w.Stages = []topology.Stage{{Rate: 50, Duration: topology.Duration(4 * time.Second)}, {Rate: 0, Duration: topology.Duration(4 * time.Second)}}
		w.Warmup = topology.Duration(2 * time.Second)
		res := simulated(t, t.Context(), h, w, nil)
		p, err := Ramps(w.Stages)
		mustProfile(t, p, err)
		if len(at) != 200 {
			t.Fatalf("%d requests, want 200", len(at))
		}
		for n := range at {
			if due, _ := (Even{p}).At(int64(n)); at[n] != due {
				t.Fatalf("request %d came at %s, due at %s", n, at[n], due)
			}
		}
		if res.Total.Requests != 175 || res.Duration != 6*time.Second { // 25 of the ramp are before 2 s
			t.Errorf("%d requests in %s, want 175 in 6s", res.Total.Requests, res.Duration)
		}
		if lo, hi := res.Total.Latency.Min(), res.Total.Latency.Max(); lo != int64(30*time.Millisecond) || hi != lo {
			t.Errorf("latencies from %d to %d, want 30ms", lo, hi)
		}
	})
}

// lateAlarm wakes later than it should.
type lateAlarm struct {
	alarm
	by time.Duration
}

func (a lateAlarm) set(d time.Duration) {
	if d > 0 {
		d += a.by
	}
	a.alarm.set(d)
}

// TestTheGeneratorsDelayIsNoError has a generator that is always woken late: what was due before the end is sent all the same, as late as
// it is, unless that is very late.
func TestTheGeneratorsDelayIsNoError(t *testing.T) {
	for by, lost := range map[time.Duration]bool{0: false, 30 * time.Millisecond: false, 150 * time.Millisecond: false, 700 * time.Millisecond: true} {
		synctest.Test(t, func(t *testing.T) {
			w := getWorkload()
			w.Rate = 100
			res := simulated(t, t.Context(), func(http.ResponseWriter, *http.Request) {}, w, func(c *Config) {
				c.newAlarm = func() (alarm, error) { return lateAlarm{newTimerAlarm(), by}, nil }
			})
			s := res.Total
			if s.Requests+s.NotSent != 1000 || s.NotSent > 0 != lost {
				t.Errorf("%s late: %d ended, %d were not sent", by, s.Requests, s.NotSent)
			}
			if worst := time.Duration(s.Latency.Max()); worst < by-10*time.Millisecond {
				t.Errorf("%s late: the slowest took %s", by, worst)
			}
		})
	}
}

func TestOverloadIsNeverHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := func(w http.ResponseWriter, _ *http.Request) { time.Sleep(100 * time.Millisecond) }
		for _, late := range []time.Duration{0, 500 * time.Millisecond} {
			w := getWorkload()
			w.Rate, w.Thresholds = 100, []string{"p99 < 1h", "errors < 1%", "p10 < 20s"} // 2 connections carry 20/s
			res := simulated(t, t.Context(), h, w, func(c *Config) { c.Connections, c.MaxInFlight, c.MaxLate = 2, 50, late })
			s := res.Total
			if all := s.Requests + s.NotSent; all != 1000 {
				t.Errorf("%d ended and %d were not sent: %d of 1000", s.Requests, s.NotSent, all)
			}
			if s.Requests < 198 || s.Requests > 202 || math.Abs(s.Rate-20) > 0.2 {
				t.Errorf("%d requests ended, %.2f/s, want 20/s", s.Requests, s.Rate)
			}
			if v := res.Verdicts; v[0].OK || v[1].OK || !v[2].OK {
				t.Errorf("verdicts %+v", v)
			}
			offered := int64(0)
			for _, p := range res.Timeline.Points {
				offered += p.Offered
			}
			if offered != 1000 {
				t.Errorf("the timeline offers %d of 1000", offered)
			}
			if worst := time.Duration(s.Latency.Max()); late > 0 && worst > 4*time.Second {
				t.Errorf("a latency of %s where arrivals later than %s are dropped and 50 wait", worst, late)
			}
		}
	})
}

// A closed network of one exponential server and users who think: throughput and response time are those of exact mean
// value analysis (M. Reiser and S. Lavenberg, 1980), and Little's law holds.
func TestClosedLoopAgainstMVA(t *testing.T) {
	const users, demand, think = 20, 0.05, 1.0
	queue, x, response := 0.0, 0.0, 0.0
	for n := 1.0; n <= users; n++ {
		response = demand * (1 + queue)
		x = n / (response + think)
		queue = x * response
	}
	synctest.Test(t, func(t *testing.T) {
		turn := make(chan *rand.Rand, 1)
		turn <- rand.New(rand.NewPCG(8, 9))
		h := func(w http.ResponseWriter, _ *http.Request) {
			rng := <-turn
			time.Sleep(time.Duration(rng.ExpFloat64() * demand * 1e9))
			turn <- rng
		}
		w := getWorkload()
		w.Users, w.Think = users, topology.Duration(think*1e9)
		length, within := 2000*time.Second, 0.02
		if raceEnabled { // it sees the same code in a tenth of the time
			length, within = 200*time.Second, 0.1
		}
		w.Warmup, w.Duration = topology.Duration(20*time.Second), topology.Duration(length)
		res := simulated(t, t.Context(), h, w, nil)
		if off := math.Abs(res.Total.Rate/x - 1); off > within {
			t.Errorf("throughput %.3f/s, MVA %.3f/s", res.Total.Rate, x)
		}
		if mean := res.Total.Latency.Mean() / 1e9; math.Abs(mean/response-1) > max(0.05, within) {
			t.Errorf("response time %.4fs, MVA %.4fs", mean, response)
		}
		if n := res.Total.Rate * (res.Total.Latency.Mean()/1e9 + think); math.Abs(n/users-1) > within {
			t.Errorf("throughput times cycle is %.2f users, want %d", n, users)
		}
		if res.Generator.Connections > users { // those of before the warm-up are not counted
			t.Errorf("%d connections for %d users", res.Generator.Connections, users)
		}
	})
}

// Values and cookies pass from step to step, for each user on his own; think times come between the steps.
func TestScenarioCarriesValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad, carts atomic.Int64
		h := func(w http.ResponseWriter, r *http.Request) {
			user := r.URL.Query().Get("user")
			switch r.URL.Path {
			case "/login":
				http.SetCookie(w, &http.Cookie{Name: "session", Value: "s" + user, Path: "/"})
				w.Header().Set("X-Token", "t&"+user)
				fmt.Fprintf(w, `{"cart":{"id":%s}}`, user)
			case "/cart/" + user:
				var body struct {
					ID    int
					Token string
				}
				c, err := r.Cookie("session")
				if json.NewDecoder(r.Body).Decode(&body) != nil || err != nil || c.Value != "s"+user || fmt.Sprint(body.ID) != user || body.Token != "t&"+user {
					bad.Add(1)
				}
				carts.Add(1)
				io.WriteString(w, "thank you")
			default:
				bad.Add(1)
			}
		}
		think := topology.Duration(0)
		w := getWorkload()
		w.Users, w.Think = 10, topology.Duration(time.Second)
		w.Scenarios = map[string]*topology.Scenario{"buy": {Steps: []*topology.Step{
			{Path: "/login?user=${user}", Extract: map[string]*topology.Extract{"id": {JSON: "cart.id"}, "token": {Header: "x-token"}}, Think: &think},
			{Path: "/cart/${id}?user=${user}", Method: "POST", JSON: map[string]any{"id": "${id}", "token": "${token}"}, Expect: &topology.Expect{Status: []int{200}, Contains: "thank"}},
		}}}
		res := simulated(t, t.Context(), h, w, nil)
		if bad.Load() != 0 || carts.Load() == 0 || res.Total.Failed() != 0 {
			t.Errorf("%d wrong requests, %d carts, errors %v", bad.Load(), carts.Load(), res.Total.Errors)
		}
		if a, b := res.Steps[0].Requests, res.Steps[1].Requests; a != b || res.Scenarios.Completed != b {
			t.Errorf("%d logins, %d carts, %d scenarios completed", a, b, res.Scenarios.Completed)
		}
		if x := res.Scenarios.Completed; x < 70 || x > 130 { // ten users, one think time of a second each round
			t.Errorf("%d scenarios in 10 s", x)
		}
	})
}

func TestJudgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/500" {
				w.WriteHeader(500)
			}
			io.WriteString(w, "{}")
		}
		w := getWorkload()
		w.Rate, w.Duration = 10, topology.Duration(time.Second)
		w.Scenarios["s"].Steps = []*topology.Step{
			{Path: "/500", Name: "status"},
			{Path: "/500", Name: "wanted", Expect: &topology.Expect{Status: []int{500}}},
			{Path: "/", Name: "text", Expect: &topology.Expect{Contains: "hello"}},
			{Path: "/", Name: "value", Extract: map[string]*topology.Extract{"id": {JSON: "id"}}},
			{Path: "/${id}", Name: "never"},
			{Path: "/", Name: "after"},
		}
		res := simulated(t, t.Context(), h, w, nil)
		for name, want := range map[string]Kind{"status": BadStatus, "wanted": "", "text": BadContent, "value": NotExtracted} {
			s := res.Step(name)
			if s.Requests != 10 || want == "" && s.Failed() != 0 || want != "" && s.Errors[want] != 10 {
				t.Errorf("%s: %d requests, errors %v, want %q", name, s.Requests, s.Errors, want)
			}
		}
		if s := res.Step("never"); s.Skipped != 10 || s.Requests != 0 {
			t.Errorf("a step without its value: %d requests, %d skipped", s.Requests, s.Skipped)
		}
		if s := res.Step("after"); s.Requests != 0 || res.Scenarios.Failed != 10 {
			t.Errorf("%d requests after it, %d scenarios failed", s.Requests, res.Scenarios.Failed)
		}
		if n := res.Step("status").Statuses[500]; n != 10 {
			t.Errorf("status 500 is counted %d times", n)
		}
	})
}

// Each arrival of an open workload is another user: neither cookies nor values of the one before are left.
func TestArrivalsShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logins, leaks atomic.Int64
		h := func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/login" {
				leaks.Add(1)
				return
			}
			if len(r.Cookies()) > 0 {
				leaks.Add(1)
			}
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "x"})
			if logins.Add(1) == 1 {
				io.WriteString(w, `{"id":1}`)
			}
		}
		w := getWorkload()
		w.Rate, w.Duration = 50, topology.Duration(time.Second)
		w.Scenarios["s"].Steps = []*topology.Step{
			// Most of the users do not log in, and so have no value for the step after.
			{Path: "/login", Weight: 0.2, Extract: map[string]*topology.Extract{"id": {JSON: "id"}}},
			{Path: "/second?${id}", Name: "second"},
		}
		res := simulated(t, t.Context(), h, w, func(c *Config) { c.Connections = 1 })
		// Only the first to log in got a value; it is the only one with a second step, which carries its cookie.
		if s := res.Step("second"); s.Requests != 1 || s.Skipped != 49 || leaks.Load() != 1 {
			t.Errorf("%d second steps, %d skipped, %d requests with what belongs to another", s.Requests, s.Skipped, leaks.Load()-1)
		}
	})
}

// Users do not march in step: they start as if they had been thinking, or a little apart.
func TestUsersAreStaggered(t *testing.T) {
	for _, think := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var mu sync.Mutex
			at := map[time.Duration]int{}
			sum := time.Duration(0)
			h := func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				at[time.Since(start)]++
				sum += time.Since(start)
				mu.Unlock()
				<-r.Context().Done()
			}
			w := getWorkload()
			w.Users, w.Think, w.Duration, w.Timeout = 400, topology.Duration(think), topology.Duration(1000*time.Second), topology.Duration(time.Minute)
			ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
			defer cancel()
			simulated(t, ctx, h, w, nil)
			if len(at) < 395 {
				t.Errorf("%d users start at %d instants", w.Users, len(at))
			}
			mean := (sum / 400).Seconds()
			if think > 0 && math.Abs(mean-10) > 2 || think == 0 && mean > 1 {
				t.Errorf("users who think %s start after %.2fs on average", think, mean)
			}
		})
	}
}

// The mix and the weights of steps are kept, and the same seed draws the same.
func TestMixAndSeed(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64) (out []int64) {
		synctest.Test(t, func(t *testing.T) {
			w := getWorkload()
			w.Rate, w.Arrivals, w.Duration = 200, "poisson", topology.Duration(20*time.Second)
			w.Mix = map[string]topology.Percent{"a": 0.7, "b": 0.2}
			w.Scenarios = map[string]*topology.Scenario{
				"a": {Steps: []*topology.Step{{Path: "/a"}}},
				"b": {Steps: []*topology.Step{{Path: "/b"}, {Path: "/c", Weight: 0.25}}},
				"x": {Steps: []*topology.Step{{Path: "/x"}}},
			}
			res := simulated(t, t.Context(), func(http.ResponseWriter, *http.Request) {}, w, func(c *Config) { c.Seed = seed })
			for _, s := range res.Steps {
				out = append(out, s.Requests)
			}
		})
		return out
	}
	one := draw(1)
	if a, b, c := float64(one[0]), float64(one[1]), float64(one[2]); len(one) != 3 || math.Abs(a/(a+b)-7.0/9) > 0.03 || math.Abs(c/b-0.25) > 0.06 {
		t.Errorf("requests %v, want about 3111, 889 and 222", one)
	}
	if again := draw(1); fmt.Sprint(again) != fmt.Sprint(one) {
		t.Errorf("the same seed gives %v and %v", one, again)
	}
	if other := draw(2); fmt.Sprint(other) == fmt.Sprint(one) {
		t.Errorf("two seeds give %v", one)
	}
}

func TestCutShort(t *testing.T) {
	for _, users := range []int{0, 10} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second+450*time.Millisecond)
			defer cancel()
			var n atomic.Int64
			h := func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) > 20 {
					<-r.Context().Done() // never answers
				}
			}
			w := getWorkload()
			w.Users, w.Think = users, topology.Duration(100*time.Millisecond)
			if users == 0 {
				w.Rate = 10
			}
			start := time.Now()
			res := simulated(t, ctx, h, w, nil)
			if took := time.Since(start); took != 3450*time.Millisecond {
				t.Errorf("it took %s to be cut after 3.45s", took)
			}
			s := res.Total
			if !res.CutShort || res.Duration != 3450*time.Millisecond || s.Requests != 20 || s.Unfinished == 0 || s.Failed() != 0 {
				t.Errorf("cut short %t after %s, %d requests, %d unfinished, errors %v", res.CutShort, res.Duration, s.Requests, s.Unfinished, s.Errors)
			}
			if users == 0 && s.Requests+s.Unfinished != 35 {
				t.Errorf("%d requests and %d unfinished of 35", s.Requests, s.Unfinished)
			}
		})
	}
}

// An hour a second is a timeline of 3600 points; a longer run merges them, and loses nothing.
func TestTimelineStaysBounded(t *testing.T) {
	l := Timeline{Width: time.Second}
	const n = 3 * maxPoints
	for i := range n {
		l.at(time.Duration(i)*time.Second).Offered++
		l.latency(time.Duration(i)*time.Second, time.Duration(i))
	}
	if len(l.Points) > maxPoints || l.Width != 4*time.Second {
		t.Fatalf("%d points of %s", len(l.Points), l.Width)
	}
	offered, latencies := int64(0), int64(0)
	for _, p := range l.Points {
		offered += p.Offered
		latencies += p.Latency.Count()
	}
	if offered != n || latencies != n {
		t.Errorf("%d offered and %d latencies of %d", offered, latencies, n)
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := getWorkload()
		w.Rate, w.Warmup, w.Duration = 50, topology.Duration(2*time.Second), topology.Duration(3*time.Second)
		var seen []Progress
		simulated(t, t.Context(), func(http.ResponseWriter, *http.Request) { time.Sleep(10 * time.Millisecond) }, w, func(c *Config) {
			c.Progress = func(p Progress) { seen = append(seen, p) }
		})
		if len(seen) < 4 || !seen[0].Warming || seen[2].Warming {
			t.Fatalf("seen %+v", seen)
		}
		for _, p := range seen {
			if math.Abs(p.Offered-50) > 1 || math.Abs(p.Completed-50) > 2 || p.P99 < 10*time.Millisecond || p.Length != 5*time.Second {
				t.Errorf("seen %+v", p)
			}
		}
	})
}

func TestTraceReplayRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, dir+"/t.csv", "time,requests\n2020-01-01T00:00:00Z,100\n2020-01-01T00:01:00Z,300\n2020-01-01T00:02:00Z,50\n")
		w := getWorkload()
		w.Trace = &topology.Trace{File: "t.csv", Speed: 60}
		res := simulated(t, t.Context(), func(http.ResponseWriter, *http.Request) {}, w, func(c *Config) { c.Dir = dir })
		if res.Trace == nil || len(res.Trace.Timeline.Points) != 3 || res.Duration != 3*time.Second {
			t.Fatalf("trace %+v in %s", res.Trace, res.Duration)
		}
		for i, want := range []int64{100, 300, 50} {
			if p := res.Trace.Timeline.Points[i]; p.Offered != want || p.Sent != want || p.Completed != want {
				t.Errorf("minute %d: %+v, want %d", i, p, want)
			}
		}
		var text bytes.Buffer
		res.WriteText(&text)
		if !strings.Contains(text.String(), "2020-01-01 00:01    300/s    300/s     300/s") {
			t.Errorf("the report has no line for the second minute:\n%s", &text)
		}
	})
}

// A rate that no machine can send is counted to the last arrival, does not hold up the end of the run, and lets it be cut short.
func TestRateThatNobodyCanSend(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	w := getWorkload()
	w.Rate, w.Duration = 2e9, topology.Duration(200*time.Millisecond)
	cfg := Config{Target: server.URL, Workload: w, MaxInFlight: 100, Connections: 10}
	const all = 4e8 - 1 // the last one is due at the end, to the nanosecond
	for _, catchUp := range []string{"all", "skip"} {
		for _, goroutines := range []bool{false, true} {
			cfg.CatchUp, cfg.goroutines = catchUp, goroutines
			r, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if s := r.Total; catchUp == "all" && s.Requests == 0 || s.Requests+s.NotSent != all || r.Timeline.Points[0].Offered != all {
				t.Errorf("%s, goroutines %t: %d requests and %d not sent, %d offered, want %d in all", catchUp, goroutines, s.Requests, s.NotSent, r.Timeline.Points[0].Offered, int64(all))
			}
		}
	}
	w.Duration = topology.Duration(2 * time.Minute)
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	cfg.goroutines, cfg.watch = false, func(*run) { cut() }
	if r, err := Run(ctx, cfg); err != nil || !r.CutShort {
		t.Errorf("%v, not cut short", err)
	}
}

func TestRunRefuses(t *testing.T) {
	ok := func() Config { w := getWorkload(); w.Rate = 1; return Config{Target: "http://h", Workload: w} }
	for name, change := range map[string]func(*Config){
		"no workload":  func(c *Config) { c.Workload = nil },
		"no load":      func(c *Config) { c.Workload.Rate = 0 },
		"two loads":    func(c *Config) { c.Workload.Users = 3 },
		"target":       func(c *Config) { c.Target = "ftp://x" },
		"no target":    func(c *Config) { c.Target = "" },
		"target query": func(c *Config) { c.Target = "http://h/?q" },
		"threshold":    func(c *Config) { c.Workload.Thresholds = []string{"p99 200ms"} },
		"unknown step": func(c *Config) { c.Workload.Thresholds = []string{"p99{none} < 200ms"} },
		"trace":        func(c *Config) { c.Workload.Rate, c.Workload.Trace = 0, &topology.Trace{File: "none"} },
		"warm-up": func(c *Config) {
			c.Workload.Rate, c.Workload.Stages, c.Workload.Warmup = 0, []topology.Stage{{Rate: 1, Duration: 1e9}}, 2e9
		},
		"negative rate": func(c *Config) { c.Workload.Rate = -1 },
	} {
		cfg := ok()
		change(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
