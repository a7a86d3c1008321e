package autoscale

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// How often the Controller looks.
const (
	// Interval is the time between two decisions, that of Kubernetes' autoscaler; policy.ScaleInterval has those of others.
	Interval = 15 * time.Second
	// BurstInterval is how often it looks for bursts between two decisions.
	BurstInterval = 2 * time.Second
	// WakeInterval is how often it looks at services that have no replica.
	WakeInterval = 100 * time.Millisecond
	// CoolDown is for how long fewer replicas must have been enough; a file may say another.
	CoolDown = 5 * time.Minute
)

// Reading of a service. What is counted never falls but when the system starts anew.
type Reading struct {
	// Replicas that are wanted, and Ready ones among them.
	Replicas, Ready int
	// Requests that have been answered; InFlight are those that have arrived and have not, waiting ones included.
	Requests, InFlight int64
	// Busy is the time that the answered requests took, all together.
	Busy time.Duration
	// CPU used by each replica since it started.
	CPU map[string]time.Duration
	// Limit of the CPU of one replica, in cores; 0: none.
	Limit float64
	// Memory that the replica which uses most uses, MemoryLimit of each (0: none), in bytes; MemoryKills counts replicas
	// that were killed at it.
	Memory, MemoryLimit int64
	MemoryKills         uint64
	// StartUp is how long the latest replica took to be ready; 0: none has been started in this run.
	StartUp time.Duration
}

// Fleet is whoever runs the replicas. Its methods are called by one goroutine.
type Fleet interface {
	// Read returns how the services are that are asked for; one that is not known is left out.
	Read(services []string) map[string]Reading
	// Scale sets the size of a service; it does not wait for its replicas.
	Scale(ctx context.Context, service string, to Size) error
}

// Size of a service.
type Size struct {
	Replicas int `json:"replicas"`
	// Cores and Memory (bytes) that each replica is limited to; 0: no limit.
	Cores  float64 `json:"cores,omitempty"`
	Memory int64   `json:"memory,omitempty"`
}

// String is the size in words.
func (s Size) String() string {
	text := fmt.Sprintf("%d replicas", s.Replicas)
	if s.Replicas == 1 {
		text = "1 replica"
	}
	if s.Cores > 0 {
		text += fmt.Sprintf(" of %.3g cores", s.Cores)
	}
	if s.Memory > 0 {
		text += fmt.Sprintf(" with %d MiB", s.Memory>>20)
	}
	return text
}

// Config of a Controller.
type Config struct {
	Fleet Fleet
	// System whose services are scaled; those without 'scale' are left alone.
	System *topology.System
	// Cores of the machine: no replica is given more. 0: not known.
	Cores float64
	Log   *slog.Logger
	// History of a service's requests a second in steps of so long, oldest first, up to this moment; NaN where it is not
	// known. The forecast starts from it. Nil: it starts from nothing.
	History func(service string, step time.Duration) []float64
	// Lapse is how many times faster than the clock time passes for what decides: intervals, start-ups, cool-downs,
	// schedules, not rates. It is there to rehearse recorded traffic that is played so much faster. Default: 1.
	Lapse float64
	// Expect is told when the replicas that were just asked for will serve, by how long the latest took, so that whoever
	// sheds load meanwhile can say for how long. Default: nobody.
	Expect func(service string, at time.Time)
	// Changed is told of each decision that changes something, after it was carried out. Default: nobody.
	Changed func(Decision)
}

// Controller scales the services of one system. Its methods may be called from any goroutine.
type Controller struct {
	cfg   Config
	mu    sync.Mutex
	scale map[string]*service
	names []string // of scale, sorted
}

// New returns a Controller; nil when no service is to be scaled.
func New(cfg Config) (*Controller, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func(Decision) {}
	}
	if cfg.Expect == nil {
		cfg.Expect = func(string, time.Time) {}
	}
	if cfg.Lapse <= 0 {
		cfg.Lapse = 1
	}
	c := &Controller{cfg: cfg, scale: map[string]*service{}}
	for name, svc := range cfg.System.Services {
		if !Scaled(svc) {
			continue
		}
		s, err := newService(name, svc, cfg.System.Prices, cfg.Cores)
		if err != nil {
			return nil, err
		}
		s.lapse = cfg.Lapse
		c.scale[name] = s
		c.names = append(c.names, name)
	}
	if len(c.names) == 0 {
		return nil, nil
	}
	slices.Sort(c.names)
	return c, nil
}

// Scaled says whether the file has a service scaled: it says by what, and leaves room between min and max, of its replicas
// or of the CPU of each.
func Scaled(svc *topology.Service) bool {
	return svc.Scale != nil && !svc.External() && (svc.Replicas.Max > svc.Replicas.Min || svc.Scale.Vertical != nil)
}

// Run decides until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.learn()
	begin := time.Now()
	ticker := time.NewTicker(time.Duration(float64(WakeInterval) / min(c.cfg.Lapse, fastest)))
	defer ticker.Stop()
	c.step(ctx, begin)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			c.step(ctx, begin.Add(time.Duration(float64(now.Sub(begin))*c.cfg.Lapse)))
		}
	}
}

// fastest that it looks at the services, in times of WakeInterval.
const fastest = 4

// learn has the forecasts start from what is known of earlier.
func (c *Controller) learn() {
	if c.cfg.History == nil {
		return
	}
	for _, name := range c.names {
		if s := c.scale[name]; s.scale.Predict {
			rates := c.cfg.History(name, s.interval)
			c.mu.Lock()
			s.scaler.Learn(rates)
			c.mu.Unlock()
		}
	}
}

// step looks at the services that are due: for a decision, for bursts, or since they sleep.
func (c *Controller) step(ctx context.Context, now time.Time) {
	c.mu.Lock()
	var names []string
	for _, n := range c.names {
		if s := c.scale[n]; s.asleep || !now.Before(s.next) || !now.Before(s.nextBurst) {
			names = append(names, n)
		}
	}
	c.mu.Unlock()
	if len(names) == 0 {
		return
	}
	readings := c.cfg.Fleet.Read(names)
	for _, name := range names {
		if r, ok := readings[name]; ok {
			start := r.StartUp
			r.StartUp = time.Duration(float64(start) * c.cfg.Lapse)
			c.mu.Lock()
			d := c.scale[name].look(now, r)
			c.mu.Unlock()
			if c.carryOut(ctx, name, d) && d.To.Replicas > d.From.Replicas {
				c.cfg.Expect(name, time.Now().Add(cmp.Or(start, policy.PresumedStart)))
			}
		}
	}
}

// carryOut tells the fleet of a decision that changes something, and returns whether it has been changed.
func (c *Controller) carryOut(ctx context.Context, name string, d Decision) (done bool) {
	if d.To == d.From {
		return false
	}
	if !d.DryRun {
		if err := c.cfg.Fleet.Scale(ctx, name, d.To); err != nil {
			if ctx.Err() == nil {
				c.cfg.Log.Warn("scaling", "service", name, "to", d.To, "error", err)
			}
			d.Error = err.Error()
		}
	}
	c.mu.Lock()
	c.scale[name].keep(d)
	c.mu.Unlock()
	c.cfg.Changed(d)
	return !d.DryRun && d.Error == ""
}

// Decisions of a service that changed something, oldest first, the latest decision of all as the last one; ok is false
// when the service is not scaled.
func (c *Controller) Decisions(service string) (all []Decision, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.scale[service]
	if s == nil {
		return nil, false
	}
	all = slices.Clone(s.kept)
	if s.latest.Service != "" && (len(all) == 0 || !all[len(all)-1].At.Equal(s.latest.At)) {
		all = append(all, s.latest)
	}
	return all, true
}

// Services that are scaled, in order.
func (c *Controller) Services() []string { return slices.Clone(c.names) }
