package gateway

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/banyanhq/banyan/gateway/readiness"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Backends of a service that runs elsewhere have no supervisor to check them: the gateway does so itself, by the service's
// ready check (package readiness), while it runs.

const (
	// checkTick is how often the gateway looks which checks are due.
	checkTick = 20 * time.Millisecond
	// checkRise is how many checks in a row must pass before a backend that failed gets requests again.
	checkRise = 2
	// checkJitter is by how much the pause between two checks varies, so that those of many gateways do not fall together.
	checkJitter = 0.1
)

// checked is what the checks of one backend found. It belongs to the goroutine that watches, but for the result.
type checked struct {
	health *policy.Health
	due    time.Duration
	result chan bool // holds the result of the check under way; nil: none is
}

// watch checks the backends of services that run elsewhere until ctx ends.
func (g *Gateway) watch(ctx context.Context) {
	known := map[*backend]*checked{}
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(checkTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t := g.table.Load()
		seen := map[*backend]bool{}
		for name, svc := range t.system.Services {
			check := svc.Health.Ready
			if check == nil || !svc.External() {
				continue
			}
			for _, b := range t.services[name].all() {
				seen[b] = true
				g.check(ctx, b, known, *check, &asking)
			}
		}
		for b := range known {
			if !seen[b] {
				delete(known, b)
			}
		}
	}
}

// all returns the backends of the service.
func (s *service) all() (all []*backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.backends {
		all = append(all, b)
	}
	return all
}

// check takes the result of a check that has ended, and begins the next where it is due.
func (g *Gateway) check(ctx context.Context, b *backend, known map[*backend]*checked, cfg topology.Check, asking *sync.WaitGroup) {
	c := known[b]
	if c == nil {
		initial := policy.HealthDown
		if b.service.isReady(b) {
			initial = policy.HealthUp
		}
		c = &checked{health: policy.NewHealth(policy.HealthConfig{Failures: cfg.Failures, Successes: checkRise}, g.now(), initial)}
		known[b] = c
	}
	if c.result != nil {
		select {
		case passed := <-c.result:
			c.result = nil
			pause := max(cfg.Interval.Std(), checkTick)
			c.due = g.now() + time.Duration(float64(pause)*(1+checkJitter*(2*rand.Float64()-1)))
			state, changed := c.health.Observe(g.now(), passed)
			if changed {
				g.cfg.Log.Info("backend", "service", b.service.name, "backend", b.id, "state", state.String())
			}
			if up := state == policy.HealthUp; up == passed { // whatever the backend was before it was checked
				b.service.setReady(b.id, up)
			}
		default:
			return
		}
	}
	if g.now() < c.due {
		return
	}
	result := make(chan bool, 1)
	c.result = result
	to := b.service.linked()
	asking.Go(func() { result <- readiness.Ask(ctx, to.way(), b.address, cfg) == nil })
}

// isReady reports whether the backend may be given requests.
func (s *service) isReady(b *backend) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.ready
}
