package gateway

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// rules are what a route does with its requests besides leading them to one service. Most routes have none.
type rules struct {
	path     string // of the route
	ways     []way  // of a split
	canary   *canary
	mirror   *mirror
	redirect *topology.Redirect
	rewrite  *rewrite
	request  *headerEdit
	response *headerEdit
	fault    *topology.Fault
	maxHead  int64
}

// way is one of the services that a route is split between.
type way struct {
	target *target
	below  float64 // the end of its part of the numbers from 0 to 1
}

// canary is a service under test.
type canary struct {
	*policy.Canary
	cfg     topology.Canary
	target  *target
	service string
}

// ruled gives a target what its route asks for.
func (g *Gateway) ruled(t *table, to *target, r *topology.Route) error {
	to.maxBody = int64(r.MaxBody)
	v := &rules{path: r.Path, redirect: r.Redirect, fault: r.Fault, maxHead: int64(r.MaxHeader)}
	aside := func(service string) (*target, error) {
		n := *to
		n.rules, n.before = nil, nil
		n.to = service
		err := g.direct(t, &n, service, r.Inbound)
		n.full = true
		return &n, err
	}
	if shares := r.Shares(false); len(r.Split) > 0 {
		sum := 0.0
		for _, s := range shares {
			n, err := aside(s.Service)
			if err != nil {
				return err
			}
			sum += s.Share
			v.ways = append(v.ways, way{n, sum})
		}
	}
	if cfg := r.Canary; cfg != nil {
		n, err := aside(cfg.To)
		if err != nil {
			return fmt.Errorf("canary: %w", err)
		}
		v.canary = &canary{cfg: *cfg, target: n, service: cfg.To}
		if b := to.before; b != nil && b.rules != nil && b.rules.canary != nil && b.to == to.to && reflect.DeepEqual(b.rules.canary.cfg, *cfg) {
			v.canary.Canary = b.rules.canary.Canary // or a reload would begin it anew
		} else {
			v.canary.Canary = policy.NewCanary(*cfg, g.now())
		}
	}
	if cfg := r.Mirror; cfg != nil {
		n, err := aside(cfg.To)
		if err != nil {
			return fmt.Errorf("mirror: %w", err)
		}
		v.mirror = newMirror(g, *cfg, n, to.traffic.name)
	}
	var err error
	if v.rewrite, err = newRewrite(r.Rewrite, r.Path); err != nil {
		return err
	}
	if h := r.Headers; h != nil {
		v.request, v.response = newHeaderEdit(h.Request), newHeaderEdit(h.Response)
	}
	if r.Redirect == nil && len(v.ways) == 0 && v.canary == nil && v.mirror == nil && v.rewrite == nil && v.request == nil &&
		v.response == nil && v.fault == nil && v.maxHead == 0 {
		return nil
	}
	to.rules, to.full = v, true
	return nil
}

// all returns the target and those of its ways.
func (to *target) all() []*target {
	out := []*target{to}
	if v := to.rules; v != nil {
		for _, w := range v.ways {
			out = append(out, w.target)
		}
		if v.canary != nil {
			out = append(out, v.canary.target)
		}
		if v.mirror != nil {
			out = append(out, v.mirror.target)
		}
	}
	return out
}

// choose takes one of the services that the route leads to. A client that is bound to a replica of one stays with it.
func (c *call) choose() {
	v := c.rules
	if v == nil || v.canary == nil && len(v.ways) == 0 {
		return
	}
	draw := rand.Float64()
	switch {
	case v.canary != nil && v.canary.Takes(draw):
		c.target, c.tested = v.canary.target, true
	case len(v.ways) > 0:
		for _, w := range v.ways {
			if c.boundTo(w.target) {
				c.target = w.target
				return
			}
		}
		for _, w := range v.ways {
			if c.target = w.target; draw < w.below {
				return
			}
		}
	}
}

// boundTo reports whether the client is bound to a replica of the target's service.
func (c *call) boundTo(t *target) bool {
	if t.sticky == nil {
		return false
	}
	value, ok := c.Cookie(t.sticky.cookie)
	if !ok {
		return false
	}
	key, ok := t.sticky.open(value)
	return ok && t.lane.pool.Has(key)
}

// judge tells a canary how a request has ended, and says what follows from it.
func (c *call) judge(code int, f fault) {
	v := c.rules
	if v == nil || v.canary == nil || f.blameless() {
		return
	}
	outcome := policy.OutcomeOf(code)
	switch {
	case f.kind == responseIncomplete:
		outcome = policy.Failure
	case c.grpc && f.kind == noFault:
		outcome = c.outcome // the status of HTTP is 200 whatever became of the call
	}
	now := c.g.now()
	v.canary.Observe(c.tested, c.answeredBy(now)-c.start, outcome)
	e, changed := v.canary.Tick(now)
	if !changed {
		return
	}
	level := slog.LevelInfo
	if e.State == policy.CanaryRolledBack {
		level = slog.LevelWarn
	}
	c.g.cfg.Log.Log(c.r.Context(), level, "canary", "route", c.target.traffic.name, "service", v.canary.service, "state", e.State.String(),
		"share", e.Share, "reason", e.Reason)
	if c.g.cfg.OnCanary != nil {
		c.g.cfg.OnCanary(c.target.traffic.name, v.canary.service, e)
	}
}

// CanaryStats is where a canary stands.
type CanaryStats struct {
	Route   string
	Service string // under test
	Against string // the service that it is compared with
	policy.CanaryReport
}

// Canaries returns where the canaries of the routes stand, in the file's order.
func (g *Gateway) Canaries() []CanaryStats {
	var out []CanaryStats
	for _, to := range g.table.Load().routes {
		if v := to.rules; v != nil && v.canary != nil {
			out = append(out, CanaryStats{to.traffic.name, v.canary.service, to.to, v.canary.Report()})
		}
	}
	return out
}

// inject hurts a request where the route asks for that; hurt is false where it goes on.
func (c *call) inject() (f fault, hurt bool) {
	if c.rules == nil || c.rules.fault == nil {
		return fault{}, false
	}
	cfg := c.rules.fault
	if rand.Float64() >= float64(cfg.Share) {
		return fault{}, false
	}
	if cfg.Delay > 0 {
		timer := time.NewTimer(cfg.Delay.Std())
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return c.ended(), true
		}
	}
	if cfg.Abort == 0 {
		return fault{}, false
	}
	return fault{kind: injected, status: cfg.Abort, detail: "the route's file asks for this fault"}, true
}

// headTooLarge reports whether the request's head is larger than the route allows: its lines as they are sent.
func (c *call) headTooLarge() bool {
	if c.rules == nil || c.rules.maxHead == 0 {
		return false
	}
	n := int64(len(c.r.Method) + len(c.r.RequestURI) + len("  HTTP/1.1\r\n"))
	if c.r.Host != "" {
		n += int64(len("Host: \r\n") + len(c.r.Host))
	}
	for key, values := range c.r.Header {
		for _, value := range values {
			n += int64(len(key) + len(": \r\n") + len(value))
		}
	}
	return n > c.rules.maxHead
}

// bodyLimit is the largest body of a request, 0 for any.
func (c *call) bodyLimit() int64 { return cmp.Or(c.target.maxBody, c.g.cfg.MaxBody) }

var tooLarge = fault{kind: requestError, status: http.StatusRequestHeaderFieldsTooLarge, detail: "the request's head is larger than the route allows"}
