package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// The bounds of a simulation that stands in for a prediction.
const (
	simulatedRequests = 60_000
	shortestSimulated = 10 * time.Second
	longestSimulated  = 10 * time.Minute
	simulatedEvents   = 20_000_000 // in one of its replications
)

// Simulate replaces the latencies of a prediction by simulated ones, where it leaves out what the simulator knows (Beyond) and
// is not saturated. The rest stands. It reports whether it did; where the system is too large for a short simulation, a claim
// says so.
func (p *Prediction) Simulate(ctx context.Context, sys *topology.System, o Options) (bool, error) {
	if len(p.Beyond) == 0 || p.Saturated {
		return false, nil
	}
	if p.Bound != nil && p.Bound.Refused > 0 {
		p.because("not simulated: latencies of a simulation count what is refused")
		return false, nil
	}
	length := time.Duration(simulatedRequests / max(p.Throughput, 1e-3) * float64(time.Second))
	m, err := simulate.New(sys, simulate.Options{
		Seed: 1, Cores: o.Cores, Replicas: o.Replicas, CPU: o.CPU, Load: &p.Load, Replications: 3, MaxEvents: simulatedEvents,
		Duration: min(max(length, shortestSimulated), longestSimulated),
	})
	var r *simulate.Result
	if err == nil {
		r, err = m.Run(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(err, simulate.ErrTooManyEvents) || errors.Is(err, simulate.ErrTooManyInProgress):
		p.because(fmt.Sprintf("not simulated: %v", err))
		return false, nil
	case err != nil:
		return false, fmt.Errorf("simulating what the closed form leaves out: %w", err)
	}
	for i := range p.Routes {
		to := &p.Routes[i]
		k := slices.IndexFunc(r.Routes, func(from simulate.RouteResult) bool { return from.Route == to.Route })
		if k < 0 {
			continue
		}
		from := &r.Routes[k]
		to.Mean, to.P50, to.P95, to.P99 = from.Mean.Value, from.P50.Value, from.P95.Value, from.P99.Value
		to.StdDev = 0
		if from.Latency != nil {
			to.StdDev = time.Duration(from.Latency.StdDev())
		}
	}
	p.queues(r)
	p.Method = "simulation, for " + strings.Join(p.Beyond, ", ")
	for i := range p.Claims {
		c := &p.Claims[i]
		if c.What != claimMean && c.What != claimPercentiles {
			continue
		}
		c.Method = "simulation"
		c.Why = slices.DeleteFunc(c.Why, func(why string) bool { return strings.HasSuffix(why, " left out") })
		if c.Trust = Fair; len(c.Why) > 0 && c.What == claimPercentiles {
			c.Trust = Poor
		}
	}
	return true, nil
}

// QueuePrediction is what becomes of a queue, by simulation.
type QueuePrediction struct {
	Queue string `json:"queue"`
	// Published messages a second, and the mean time after which one is handled; 0 where none was.
	Published float64       `json:"published_per_second"`
	Handled   time.Duration `json:"handled_ns,omitempty"`
	// Backlog is the mean number of messages that wait.
	Backlog float64 `json:"backlog"`
	// Again is how many deliveries are repetitions, and Dead, Refused and Expired how many of the messages end so, as shares.
	Again   float64 `json:"delivered_again,omitempty"`
	Dead    float64 `json:"dead,omitempty"`
	Refused float64 `json:"refused,omitempty"`
	Expired float64 `json:"expired,omitempty"`
	// Outlook says where it goes if the load stays; empty where too little was simulated to say.
	Outlook string `json:"outlook,omitempty"`
}

// queues takes what a simulation says of the queues that have consumers.
func (p *Prediction) queues(r *simulate.Result) {
	share := func(n, of int64) float64 { return float64(n) / float64(max(of, 1)) }
	for i := range r.Blocks {
		b := &r.Blocks[i]
		name, isQueue := strings.CutPrefix(b.Block, "queues.")
		if !isQueue || b.Delivered == 0 && b.Outlook == "" {
			continue
		}
		offered := b.Published + b.Refused
		p.Queues = append(p.Queues, QueuePrediction{
			Queue: name, Published: float64(b.Published) / max(r.Duration.Seconds()*float64(r.Replications), 1e-9), Handled: b.Handled.Value, Backlog: b.Backlog.Value,
			Again: share(b.Redelivered, b.Delivered), Dead: share(b.Dead, offered), Refused: share(b.Refused, offered), Expired: share(b.Expired, offered),
			Outlook: b.Outlook,
		})
	}
}

// because gives all latencies a reason not to be trusted.
func (p *Prediction) because(why string) {
	for i := range p.Claims {
		if c := &p.Claims[i]; c.What == claimMean || c.What == claimPercentiles {
			c.Why = append(c.Why, why)
		}
	}
}

// StormCheck is a metastable region held against the simulator, shocked by a second of twice what is held.
type StormCheck struct {
	// Recovers is the highest load tried at which requests are answered again some time after the shock, 0 where none of those
	// tried is; Stays the lowest at which they are not, 0 where all recover.
	Recovers float64 `json:"recovers,omitempty"`
	Stays    float64 `json:"stays,omitempty"`
	// Confirmed: it recovers at 90% of the load from which on a storm is said to sustain itself, and not at 110%. Why says what
	// stood in the way of a check.
	Confirmed bool   `json:"confirmed"`
	Why       string `json:"why,omitempty"`
}

// recovered is the share of requests answered from which on a system counts as recovered.
const recovered = 0.9

// The course of a check: some seconds as usual, the shock, and as long as abandoned work may take to burn.
const (
	beforeShock = 5 * time.Second
	shock       = time.Second
	afterShock  = 120 * time.Second
	looked      = 20 * time.Second // at the end
)

// Check simulates a shock below and above the storm's threshold. held is the throughput that the system holds.
func (st *Storm) Check(ctx context.Context, sys *topology.System, held float64, o Options) error {
	st.Simulated = &StormCheck{}
	mix, _, err := RequestMix(sys)
	if err != nil {
		return err
	}
	each := mix.Open(1).Total() // requests of a scenario
	run := func(rate float64) (float64, error) {
		shaken := *sys
		w := *sys.Workload
		w.Rate, w.Users, w.Trace, w.Warmup = 0, 0, nil, 0
		stage := func(x float64, length time.Duration) topology.Stage {
			return topology.Stage{Rate: topology.Rate(x / each), Duration: topology.Duration(length)}
		}
		w.Stages = []topology.Stage{stage(rate, time.Millisecond), stage(rate, beforeShock), stage(2*held, time.Millisecond),
			stage(2*held, shock), stage(rate, time.Millisecond), stage(rate, afterShock)}
		shaken.Workload = &w
		m, err := simulate.New(&shaken, simulate.Options{Seed: 1, Cores: o.Cores, Replicas: o.Replicas, CPU: o.CPU, Replications: 1, MaxEvents: simulatedEvents})
		if err != nil {
			return 0, err
		}
		r, err := m.Run(ctx)
		if err != nil {
			return 0, err
		}
		var good, all float64
		for _, p := range r.Timeline {
			if p.At > beforeShock+shock+afterShock-looked {
				good += p.Throughput - p.Errors
				all += rate
			}
		}
		return min(good/max(all, 1e-9), 1), nil
	}
	c := st.Simulated
	for _, share := range []float64{1.1, 0.9, 0.7, 0.5, 0.3} {
		good, err := run(min(share*st.From, 0.98*held))
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Why = err.Error()
			return nil
		}
		if good >= recovered {
			c.Recovers = share * st.From
			break
		}
		c.Stays = share * st.From
	}
	c.Confirmed = c.Recovers >= 0.89*st.From && c.Stays > 0
	return nil
}
