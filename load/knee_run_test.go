package load

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// queue is a single server: requests are served one after the other, for as long as service says.
type queue struct {
	mu      sync.Mutex
	free    time.Time // when the server is free again
	longest time.Duration
	service func() time.Duration
}

func (q *queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	now := time.Now()
	if q.free.Before(now) {
		q.free = now
	}
	q.free = q.free.Add(q.service())
	wait := q.free.Sub(now)
	q.longest = max(q.longest, wait)
	q.mu.Unlock()
	time.Sleep(wait)
}

// searched finds the knee of h on a simulated clock.
func searched(t *testing.T, ctx context.Context, h http.Handler, slo string, change func(*KneeConfig)) (*Knee, error) {
	t.Helper()
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(network) }()
	limits, err := ParseSLO(slo)
	if err != nil {
		t.Fatal(err)
	}
	w := getWorkload()
	w.Arrivals = "poisson"
	w.Users = 3 // replaced
	cfg := KneeConfig{SLO: limits, Config: Config{Target: "http://shop", Workload: w, Seed: 1, Dial: network.dial, newAlarm: func() (alarm, error) { return newTimerAlarm(), nil }}}
	if change != nil {
		change(&cfg)
	}
	k, err := FindKnee(ctx, cfg)
	server.Close()
	<-done
	return k, err
}

func TestFindKneeOfASingleServer(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip("the race detector sees the same code in TestFindKneeOfErrors, which is shorter")
	}
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(4, 4))
		q := &queue{service: func() time.Duration { return time.Duration(rng.ExpFloat64() * float64(time.Second) / 300) }}
		seen := 0
		k, err := searched(t, t.Context(), q, "p99<100ms,errors<1%", func(c *KneeConfig) { c.OnProbe = func(KneeProbe) { seen++ } })
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := k.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		t.Log(text.String())
		truth := 300 - math.Log(100)/0.1
		if !k.Found || math.Abs(k.Knee/truth-1) > 0.06 {
			t.Errorf("knee %v, want %v", k.Knee, truth)
		}
		if k.Low >= k.Knee || k.High <= k.Knee || seen != len(k.Probes) || k.Base <= 0 || k.Base > 20*time.Millisecond {
			t.Errorf("low %v, high %v, %d of %d probes seen, base %v", k.Low, k.High, seen, len(k.Probes), k.Base)
		}
		if q.longest > 3*time.Second {
			t.Errorf("the target was drowned: a wait of %v", q.longest)
		}
		stopped := false
		for _, p := range k.Probes {
			if p.Verdict == Hopeless {
				stopped = true
				if p.Why == "" || p.CoolDown == 0 {
					t.Errorf("stopped without a reason or a cool-down: %+v", p)
				}
			}
		}
		if !stopped {
			t.Error("no probe was stopped early")
		}
		data, err := json.Marshal(k)
		var again Knee
		if err != nil || json.Unmarshal(data, &again) != nil || again.Knee != k.Knee || len(again.Probes) != len(k.Probes) {
			t.Errorf("the JSON form loses something: %v", err)
		}
	})
}

func TestFindKneeOfErrors(t *testing.T) {
	t.Parallel()
	// A target that refuses what is above 80 in any second.
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tokens, last := 80.0, time.Now()
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			tokens, last = min(80, tokens+80*now.Sub(last).Seconds()), now
			if tokens < 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			tokens--
		})
		k, err := searched(t, t.Context(), h, "errors<1%", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Found || k.Knee < 74 || k.Knee > 90 {
			t.Errorf("%+v", k)
		}
	})
}

func TestFindKneeOfATargetThatDoesNotRecover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		n, start, dead := 0, time.Now(), false
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if time.Since(start) > time.Second {
				n, start = 0, time.Now()
			}
			n++
			dead = dead || n > 100
			slow := dead
			mu.Unlock()
			if slow {
				time.Sleep(2 * time.Second)
			}
		})
		k, err := searched(t, t.Context(), h, "p95<100ms", func(c *KneeConfig) { c.CoolDown = 20 * time.Second })
		if err != nil {
			t.Fatal(err)
		}
		if k.Found || !strings.Contains(k.Why, "had not recovered") {
			t.Errorf("%+v", k)
		}
	})
}

// A target that is down, or answers nothing but errors, is told so before the first probe.
func TestFindKneeOfATargetThatIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
		_, err := searched(t, t.Context(), h, "p99<100ms,errors<1%", nil)
		if err == nil || !strings.Contains(err.Error(), "all of the 20 requests to http://shop before the search failed (unexpected status: 20)") || time.Since(start) > 3*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if _, err := searched(t, t.Context(), h, "p99<100ms", func(c *KneeConfig) { c.Search.Max = 40 }); err != nil {
			t.Errorf("with errors allowed: %v", err)
		}
	})
}

func TestFindKneeInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 17*time.Second)
		defer cancel()
		k, err := searched(t, ctx, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "p99<100ms", nil)
		if err != nil || k.Found || k.Low == 0 || !strings.Contains(k.Why, "interrupted") || !strings.Contains(k.Summary(), "holds") {
			t.Errorf("%+v, %v", k, err)
		}
	})
}

func TestParseSLO(t *testing.T) {
	for text, want := range map[string]int{"p99<200ms": 1, "p99<200ms, errors<0.1%": 2, "p99{POST /a,b} < 1s,mean<=5ms,max<1s": 3} {
		if got, err := ParseSLO(text); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", ",", "p99<200ms,", "p99>200ms", "rate<5/s", "min<1s", "p99{a<1s"} {
		if got, err := ParseSLO(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func TestHopeless(t *testing.T) {
	slo, err := ParseSLO("p99<200ms,errors<1%,mean<100ms,max<5s")
	if err != nil {
		t.Fatal(err)
	}
	fine := func() look {
		l := look{elapsed: time.Second, timeout: 10 * time.Second, rate: 1000}
		for range slo {
			l.limits = append(l.limits, limitLook{expected: 10000, over: 90, sum: 1e9 * 500, max: int64(4 * time.Second)})
		}
		return l
	}
	if why := fine().hopeless(slo); why != "" {
		t.Errorf("given up for no reason: %s", why)
	}
	for name, change := range map[string]func(*look){
		"over the limit": func(l *look) { l.limits[0].over = 151 },
		"errors":         func(l *look) { l.limits[1].over = 151 },
		"mean":           func(l *look) { l.limits[2].sum = 1e9 * 1201 },
		"max":            func(l *look) { l.limits[3].max = int64(6 * time.Second) },
		"backlog":        func(l *look) { l.backlog = 700 },
	} {
		l := fine()
		if change(&l); l.hopeless(slo) == "" {
			t.Errorf("%s: not given up", name)
		}
	}
}

func TestGeneratorsFault(t *testing.T) {
	slo, err := ParseSLO("p99<50ms")
	if err != nil {
		t.Fatal(err)
	}
	result := func(service, late time.Duration) *Result {
		total := newStep("total")
		for range 100 {
			total.Requests++
			total.Latency.RecordDuration(service + late)
			total.Service.RecordDuration(service)
			total.Lateness.RecordDuration(late)
		}
		return &Result{Total: &total, Limits: Limits{MaxInFlight: 100}, Workload: &topology.Workload{}}
	}
	if why := generatorsFault(result(5*time.Millisecond, 80*time.Millisecond), slo); why == "" {
		t.Error("a late generator was not found out")
	}
	if why := generatorsFault(result(80*time.Millisecond, 80*time.Millisecond), slo); why != "" {
		t.Errorf("a slow target was excused: %s", why)
	}
	if why := generatorsFault(result(5*time.Millisecond, 20*time.Millisecond), slo); why != "" {
		t.Errorf("an SLO that held was excused: %s", why)
	}
	queued := result(5*time.Millisecond, 80*time.Millisecond)
	queued.Generator.Queued = 1
	if why := generatorsFault(queued, slo); why != "" {
		t.Errorf("a target without free connections was excused: %s", why)
	}
}
