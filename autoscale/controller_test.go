package autoscale

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// plant is a fleet of one service on the test's clock: each replica serves 100 requests a second at full CPU, and
// serves from startUp after it was asked for.
type plant struct {
	t        *testing.T
	mu       sync.Mutex // the controller's goroutine and the test's
	began    time.Time
	rate     func(at time.Duration) float64
	startUp  time.Duration
	replicas int
	readyAt  []time.Time
	reading  Reading
	last     time.Time
	carry    float64
	scaled   []int
	fail     error
}

func newPlant(t *testing.T, replicas int, startUp time.Duration, rate func(at time.Duration) float64) *plant {
	p := &plant{t: t, began: time.Now(), last: time.Now(), rate: rate, startUp: startUp, replicas: replicas}
	for range replicas {
		p.readyAt = append(p.readyAt, p.began)
	}
	p.reading = Reading{CPU: map[string]time.Duration{"a": 0}, Limit: 1}
	return p
}

// size returns the wanted replicas, the ready ones, and the limits.
func (p *plant) size() (replicas, ready int, r Reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replicas, p.ready(), p.reading
}

func (p *plant) wanted() int {
	n, _, _ := p.size()
	return n
}

func (p *plant) ready() (n int) {
	for _, at := range p.readyAt {
		if !time.Now().Before(at) {
			n++
		}
	}
	return n
}

func (p *plant) Read([]string) map[string]Reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.carry += p.rate(now.Sub(p.began)) * now.Sub(p.last).Seconds()
	arrived := int64(p.carry)
	p.carry -= float64(arrived)
	r := p.reading
	r.Replicas, r.Ready, r.StartUp = p.replicas, p.ready(), p.startUp
	if r.Ready == 0 {
		r.InFlight += arrived
	} else {
		served := arrived + r.InFlight
		r.InFlight = 0
		r.Requests += served
		r.Busy += time.Duration(served) * 10 * time.Millisecond
		r.CPU = map[string]time.Duration{"a": r.CPU["a"] + time.Duration(served)*10*time.Millisecond}
	}
	p.reading, p.last = r, now
	return map[string]Reading{"web": r}
}

func (p *plant) Scale(_ context.Context, service string, to Size) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := to.Replicas
	if p.fail != nil {
		return p.fail
	}
	if service != "web" {
		p.t.Errorf("scales %q", service)
	}
	for len(p.readyAt) < n {
		p.readyAt = append(p.readyAt, time.Now().Add(p.startUp))
	}
	p.readyAt = p.readyAt[:n]
	p.replicas = n
	p.reading.Limit, p.reading.MemoryLimit = to.Cores, to.Memory
	p.scaled = append(p.scaled, n)
	return nil
}

func web(least, most int, scale topology.Scale) *topology.System {
	if scale.CoolDown == 0 {
		scale.CoolDown = topology.Duration(5 * time.Minute)
	}
	return &topology.System{
		Services: map[string]*topology.Service{"web": {Run: []string{"web"}, Replicas: topology.Replicas{Min: least, Max: most}, Limits: topology.Limits{CPU: 1}, Scale: &scale}},
		Prices:   &topology.Prices{CPUHour: 0.1},
	}
}

// run plays a controller for a time on the test's clock.
func run(t *testing.T, p *plant, sys *topology.System, d time.Duration) *Controller {
	t.Helper()
	c, err := New(Config{Fleet: p, System: sys})
	if err != nil || c == nil {
		t.Fatalf("controller %v, %v", c, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	time.Sleep(d)
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return c
}

func TestScalesByCPUAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t, 1, 5*time.Second, func(at time.Duration) float64 {
			if at < 10*time.Minute {
				return 350
			}
			return 50
		})
		c := run(t, p, web(1, 20, topology.Scale{Target: topology.ScaleTarget{CPU: 0.5}}), 9*time.Minute)
		if p.wanted() != 7 {
			t.Errorf("350/s of 100/s each, half of the CPU wanted: %d replicas, want 7", p.wanted())
		}
		all, ok := c.Decisions("web")
		if !ok || len(all) == 0 || math.Abs(all[len(all)-1].Each-50) > 1 {
			t.Errorf("decisions %+v, %v: want one replica to take 50/s", all, ok)
		}
		if _, ok := c.Decisions("orders"); ok {
			t.Error("decisions about a service that is not scaled")
		}
		run(t, p, web(1, 20, topology.Scale{Target: topology.ScaleTarget{CPU: 0.5}}), 8*time.Minute)
		if p.wanted() != 1 {
			t.Errorf("after the load fell and the cool-down passed: %d replicas, want 1", p.wanted())
		}
	})
}

// From zero: a request that waits starts a replica at once; without requests the last one goes after the cool-down.
func TestScalesToZeroAndFromIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst = 7*time.Minute + 4*time.Second
		p := newPlant(t, 1, 2*time.Second, func(at time.Duration) float64 {
			if at > burst && at < burst+time.Minute {
				return 20
			}
			return 0
		})
		run(t, p, web(0, 5, topology.Scale{Target: topology.ScaleTarget{Requests: 50}}), burst)
		if p.wanted() != 0 {
			t.Fatalf("idle for seven minutes: %d replicas, want none", p.wanted())
		}
		c := run(t, p, web(0, 5, topology.Scale{Target: topology.ScaleTarget{Requests: 50}}), 2*WakeInterval)
		if p.wanted() != 1 {
			t.Fatalf("a request has waited for %v: %d replicas, want 1", 2*WakeInterval, p.wanted())
		}
		all, _ := c.Decisions("web")
		if last := all[len(all)-1]; last.Why != "a request waits" || last.From.Replicas != 0 || last.To.Replicas != 1 {
			t.Errorf("decision %+v", last)
		}
		run(t, p, web(0, 5, topology.Scale{Target: topology.ScaleTarget{Requests: 50}}), 10*time.Minute)
		if p.wanted() != 0 {
			t.Errorf("idle again: %d replicas, want none", p.wanted())
		}
	})
}

// With a start-up of two minutes and a wave that comes back each half hour, forecasting has the replicas there in time.
func TestPredictsAWave(t *testing.T) {
	short := func(predict bool) (missed float64) {
		synctest.Test(t, func(t *testing.T) {
			rate := func(at time.Duration) float64 {
				return 500 - 450*math.Cos(2*math.Pi*at.Minutes()/30)
			}
			p := newPlant(t, 2, 2*time.Minute, rate)
			sys := web(1, 40, topology.Scale{Predict: predict, CoolDown: topology.Duration(2 * time.Minute), Target: topology.ScaleTarget{Requests: 70}})
			c, err := New(Config{Fleet: p, System: sys})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			go c.Run(ctx)
			const length = 3 * time.Hour
			for at := time.Duration(0); at < length; at += 5 * time.Second {
				time.Sleep(5 * time.Second)
				_, ready, _ := p.size()
				if at > length/2 && rate(at) > 75*float64(ready) {
					missed++
				}
			}
			cancel()
			synctest.Wait()
			all, _ := c.Decisions("web")
			if used := all[len(all)-1].Outlook; predict != (used != nil && used.Used) {
				t.Errorf("predict %v: outlook of the last decision is %+v", predict, used)
			}
		})
		return missed
	}
	reactive, predictive := short(false), short(true)
	t.Logf("of 1080 readings, over 75/s for each ready replica: reactive %.0f, predictive %.0f", reactive, predictive)
	if reactive < 50 || predictive > reactive/4 {
		t.Errorf("over 75/s for each ready replica: reactive %.0f times, predictive %.0f", reactive, predictive)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t, 1, time.Second, func(time.Duration) float64 { return 400 })
		c := run(t, p, web(1, 20, topology.Scale{DryRun: true, Target: topology.ScaleTarget{Requests: 50}}), time.Minute)
		all, _ := c.Decisions("web")
		if len(p.scaled) != 0 || len(all) == 0 || !all[len(all)-1].DryRun || all[len(all)-1].To.Replicas < 2 {
			t.Errorf("scaled %v, decisions %+v", p.scaled, all)
		}
	})
}

func TestAFailureIsKeptAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t, 1, time.Second, func(time.Duration) float64 { return 400 })
		p.fail = errors.New("no room")
		c := run(t, p, web(1, 20, topology.Scale{Target: topology.ScaleTarget{Requests: 50}}), time.Minute)
		all, _ := c.Decisions("web")
		if n := len(all); n < 3 || !strings.Contains(all[n-1].Error, "no room") {
			t.Errorf("decisions %+v", all)
		}
	})
}

func TestKeepsABoundedNumberOfDecisions(t *testing.T) {
	s, err := newService("web", web(1, 2, topology.Scale{}).Services["web"], nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * keptDecisions {
		s.keep(Decision{To: Size{Replicas: i}})
	}
	if len(s.kept) != keptDecisions || s.kept[len(s.kept)-1].To.Replicas != 3*keptDecisions-1 {
		t.Errorf("%d kept, the last is %+v", len(s.kept), s.kept[len(s.kept)-1])
	}
}

func TestNothingToScale(t *testing.T) {
	c, err := New(Config{System: &topology.System{Services: map[string]*topology.Service{"web": {Replicas: topology.Replicas{Min: 1, Max: 9}}, "db": web(3, 3, topology.Scale{}).Services["web"]}}})
	if c != nil || err != nil {
		t.Errorf("controller %v, %v: want none", c, err)
	}
}

// A burst to many times the load is answered within seconds, not at the next interval.
func TestAnswersABurstWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const at = 5*time.Minute + 16*time.Second
		p := newPlant(t, 1, time.Second, func(d time.Duration) float64 {
			if d > at {
				return 400
			}
			return 40
		})
		sys := web(1, 20, topology.Scale{Target: topology.ScaleTarget{Requests: 50}})
		c, err := New(Config{Fleet: p, System: sys})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go c.Run(ctx)
		time.Sleep(at + 4*time.Second + WakeInterval)
		synctest.Wait()
		all, _ := c.Decisions("web")
		if p.wanted() != 8 || all[len(all)-1].Why != "panic" {
			t.Errorf("four seconds into a burst of 400/s: %d replicas, want 8; %+v", p.wanted(), all[len(all)-1])
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if p.wanted() != 8 {
			t.Errorf("four minutes later: %d replicas, want 8", p.wanted())
		}
		cancel()
		synctest.Wait()
	})
}

// A rehearsal: an hour of traffic within a minute is decided about as the hour would be, its rates being what they are.
func TestLapse(t *testing.T) {
	const lapse = 60
	replicas := func(lapse float64) (got []int) {
		synctest.Test(t, func(t *testing.T) {
			at := func(d time.Duration) time.Duration { return time.Duration(float64(d) / lapse) }
			p := newPlant(t, 2, at(time.Minute), func(d time.Duration) float64 {
				if d > at(30*time.Minute) {
					return 140
				}
				return 90 + 700*d.Seconds()/at(30*time.Minute).Seconds()
			})
			c, err := New(Config{Fleet: p, System: web(1, 30, topology.Scale{Target: topology.ScaleTarget{Requests: 50}}), Lapse: lapse})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			go c.Run(ctx)
			for range 20 {
				time.Sleep(at(3*time.Minute) - time.Nanosecond)
				synctest.Wait()
				got = append(got, p.wanted())
			}
			cancel()
			synctest.Wait()
		})
		return got
	}
	slow, fast := replicas(1), replicas(lapse)
	for i := range slow {
		if d := slow[i] - fast[i]; d < -1 || d > 1 { // the rehearsal looks at other instants
			t.Errorf("every three minutes %v, and in the rehearsal %v", slow, fast)
			break
		}
	}
	if slow[9] < 14 || slow[19] > 4 {
		t.Errorf("replicas %v: not what the traffic asks for", slow)
	}
}

// What a history says of the forecast is known from the first decision on; without one nothing is.
func TestHistory(t *testing.T) {
	rate := func(at time.Duration) float64 {
		return 300 + 250*math.Sin(2*math.Pi*at.Hours())
	}
	proved := func(history func(string, time.Duration) []float64) (proved bool) {
		synctest.Test(t, func(t *testing.T) {
			p := newPlant(t, 6, time.Minute, rate)
			c, err := New(Config{Fleet: p, System: web(1, 30, topology.Scale{Predict: true, Target: topology.ScaleTarget{Requests: 50}}), History: history})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			go c.Run(ctx)
			time.Sleep(45 * time.Second)
			synctest.Wait()
			all, _ := c.Decisions("web")
			last := all[len(all)-1]
			proved = last.Outlook != nil && last.Outlook.Skill > 0 && last.Sides != nil && last.Sides.Proof > 0
			cancel()
			synctest.Wait()
		})
		return proved
	}
	history := func(_ string, step time.Duration) []float64 {
		rates := make([]float64, 24*time.Hour/step)
		for i := range rates {
			rates[i] = rate(time.Duration(i-len(rates)) * step)
		}
		return rates
	}
	if proved(nil) {
		t.Error("without a history something is proved after three decisions")
	}
	if !proved(history) {
		t.Error("with a history of a day nothing is")
	}
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The test's clock begins at midnight UTC, 1 January 2000.
		sys := web(1, 20, topology.Scale{CoolDown: topology.Duration(time.Minute), Target: topology.ScaleTarget{Requests: 50},
			Schedule: []topology.ScaleWindow{{At: "30 * * * *", For: topology.Duration(10 * time.Minute), Min: 5}}})
		p := newPlant(t, 1, time.Second, func(time.Duration) float64 { return 40 })
		c, err := New(Config{Fleet: p, System: sys})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go c.Run(ctx)
		for _, want := range []struct {
			after    time.Duration
			replicas int
		}{{29 * time.Minute, 1}, {2 * time.Minute, 5}, {8 * time.Minute, 5}, {3 * time.Minute, 1}} {
			time.Sleep(want.after)
			synctest.Wait()
			if p.wanted() != want.replicas {
				t.Errorf("at %s: %d replicas, want %d", time.Now().UTC().Format("15:04"), p.wanted(), want.replicas)
			}
		}
		all, _ := c.Decisions("web")
		if len(all) == 0 || all[0].Why != "schedule" {
			t.Errorf("decisions %+v", all)
		}
		cancel()
		synctest.Wait()
	})
}

// At 0.1 for the hour of a core, 0.35 an hour pays for three replicas of one core.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t, 1, time.Second, func(time.Duration) float64 { return 900 })
		c := run(t, p, web(1, 20, topology.Scale{Budget: 0.35, Target: topology.ScaleTarget{Requests: 50}}), 2*time.Minute)
		all, _ := c.Decisions("web")
		if p.wanted() != 3 || all[len(all)-1].Why != "budget" {
			t.Errorf("%d replicas, want the three that the budget pays for; %+v", p.wanted(), all[len(all)-1])
		}
	})
}

// More CPU first, up to what one replica may have, then more replicas; and back.
func TestVerticalComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var load atomic.Uint64
		p := newPlant(t, 1, time.Second, func(time.Duration) float64 { return math.Float64frombits(load.Load()) })
		sys := web(1, 10, topology.Scale{CoolDown: topology.Duration(time.Minute), Target: topology.ScaleTarget{CPU: 0.5},
			Vertical: &topology.Vertical{Min: 0.5, Max: 4}})
		c, err := New(Config{Fleet: p, System: sys, Cores: 3})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go c.Run(ctx)
		for _, step := range []struct {
			load     float64
			replicas int
			limit    float64
		}{{50, 1, 1}, {100, 1, 2}, {150, 1, 3}, {400, 3, 2.7}, {50, 1, 1}, {5, 1, 0.5}} {
			load.Store(math.Float64bits(step.load))
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if replicas, _, r := p.size(); replicas != step.replicas || math.Abs(r.Limit-step.limit) > 0.31 {
				t.Errorf("at %v/s: %d replicas of %.2f cores, want %d of %.2f", step.load, replicas, r.Limit, step.replicas, step.limit)
			}
		}
		cancel()
		synctest.Wait()
	})
}

func TestEachPolicyHoldsItsTarget(t *testing.T) {
	for _, policy := range []string{"kubernetes", "knative", "tracking", "steps"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPlant(t, 2, time.Second, func(at time.Duration) float64 {
				if at > 20*time.Minute {
					return 60
				}
				return 300
			})
			sys := web(1, 20, topology.Scale{Policy: policy, CoolDown: topology.Duration(time.Minute), Target: topology.ScaleTarget{Requests: 50}})
			c, err := New(Config{Fleet: p, System: sys})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			go c.Run(ctx)
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			if p.wanted() < 6 || p.wanted() > 7 {
				t.Errorf("%s: at 300/s, 50/s for each, %d replicas, want 6", policy, p.wanted())
			}
			time.Sleep(40 * time.Minute)
			synctest.Wait()
			if p.wanted() > 3 {
				t.Errorf("%s: at 60/s, 50/s for each, %d replicas, want 2", policy, p.wanted())
			}
			cancel()
			synctest.Wait()
		})
	}
}

// A replica that comes near its limit of memory gets more before it is killed.
func TestMemoryGrowsBeforeItIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t, 2, time.Second, func(time.Duration) float64 { return 60 })
		p.reading.MemoryLimit, p.reading.Memory = 128<<20, 120<<20
		c := run(t, p, web(1, 5, topology.Scale{Target: topology.ScaleTarget{Requests: 50},
			Vertical: &topology.Vertical{Memory: &topology.VerticalMemory{Min: 64 << 20, Max: 200 << 20}}}), time.Minute)
		all, _ := c.Decisions("web")
		if p.reading.MemoryLimit != 200<<20 || p.wanted() != 2 || all[0].Why != "memory" {
			t.Errorf("a limit of %d MiB, want the 200 that it may have; %d replicas; %+v", p.reading.MemoryLimit>>20, p.wanted(), all[0])
		}
	})
}
