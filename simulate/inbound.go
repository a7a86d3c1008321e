package simulate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// lane returns the lane of a service for the given handling of calls.
func (c *compiler) lane(service int32, in topology.Inbound) int32 {
	if in.Balance == "" {
		in.Balance = topology.LeastRequest
	}
	key := fmt.Sprintf("%d|%s", service, in.Handling())
	if l, ok := c.byLane[key]; ok {
		return l
	}
	s := &c.m.services[service]
	i := int32(len(c.m.lanes))
	c.byLane[key] = i
	c.m.lanes = append(c.m.lanes, laneModel{
		service: service, balance: in.Balance, slowStart: in.SlowStart.Std(), retry: in.Retry, breaker: in.Breaker,
		outliers: in.Outliers, adaptive: in.Adaptive, admission: in.Admission,
	})
	s.lanes = append(s.lanes, i)
	return i
}

// edge returns the way from a service to another.
func (c *compiler) edge(from, to int32, in topology.Inbound) (int32, error) {
	timeout := in.Timeout.Std()
	setDefault(&timeout, 30*time.Second)
	if timeout < 0 || timeout > 1000*time.Hour {
		return none, fmt.Errorf("time-out of calls to %s of %v", c.m.services[to].name, timeout)
	}
	if err := checkInbound(in); err != nil {
		return none, fmt.Errorf("calls to %s: %w", c.m.services[to].name, err)
	}
	t, err := c.timeout(timeout)
	if err != nil {
		return none, err
	}
	e := edgeModel{from: from, to: to, lane: c.lane(to, in), timeout: t, aim: c.aim(from, to, in), block: none, link: none,
		tryTimeout: c.tryTimeout(in.TryTimeout.Std()), hedge: in.Hedge, priority: in.Priority}
	if e.link, err = c.link(from, to); err != nil {
		return none, err
	}
	i, ok := c.byEdge[e]
	if !ok || e.hedge != nil { // each route learns its own latencies
		i = int32(len(c.m.edges))
		c.byEdge[e] = i
		c.m.edges = append(c.m.edges, e)
	}
	return i, nil
}

// tryTimeout returns the index of a time-out of single tries.
func (c *compiler) tryTimeout(d time.Duration) int32 {
	if d <= 0 {
		return none
	}
	i := slices.Index(c.m.tries, d)
	if i < 0 {
		i = len(c.m.tries)
		c.m.tries = append(c.m.tries, d)
	}
	return int32(i)
}

func checkInbound(in topology.Inbound) error {
	if in.Balance != "" && !slices.Contains(topology.Balances(), in.Balance) {
		return fmt.Errorf("balance %q is not supported: want one of %v", in.Balance, topology.Balances())
	}
	if in.SlowStart < 0 {
		return fmt.Errorf("slow_start of %v", in.SlowStart)
	}
	if o := in.Outliers; o != nil {
		if o.Interval < 0 || o.Eject < 0 || o.MaxEject < 0 || o.MinReplicas < 0 || o.MinRequests < 0 || !(o.MaxEjected >= 0) || !(o.Deviations >= 0) || !(o.Slower >= 0) || !(o.Panic >= 0) {
			return errors.New("outliers: want no negative numbers")
		}
	}
	if l := in.Limit; l != nil && (!(l.Rate > 0) || l.Burst < 0) {
		return fmt.Errorf("limit of %v/s, %d at once: want a positive rate", float64(l.Rate), l.Burst)
	}
	if in.TryTimeout < 0 {
		return fmt.Errorf("try_timeout of %v", in.TryTimeout)
	}
	if h := in.Hedge; h != nil && (!(h.Quantile > 0 && h.Quantile < 1) || h.MinDelay < 0 || !(h.Budget >= 0) || !(h.MaxUtilization >= 0)) {
		return errors.New("hedge: want a quantile between 0 and 1 and no negative numbers")
	}
	if a := in.Admission; a != nil && !(a.Margin >= 0) {
		return fmt.Errorf("admission: margin of %v", a.Margin)
	}
	if p := in.Priority; p != nil && p.Class != "" {
		if _, ok := policy.ParseClass(p.Class); !ok {
			return fmt.Errorf("priority: there is no class %q", p.Class)
		}
	}
	if a := in.Adaptive; a != nil && (a.Initial < 0 || a.Min < 0 || a.Max < 0 || !(a.Tolerance >= 0)) {
		return errors.New("adaptive: want no negative numbers")
	}
	if r := in.Retry; r != nil {
		if r.Attempts < 0 || r.Backoff < 0 || !(r.Budget >= 0) || !(r.MinPerSecond >= 0) {
			return errors.New("retry: want no negative numbers")
		}
	}
	if b := in.Breaker; b != nil {
		if b.Failures < 0 || b.Open < 0 || b.MaxOpen < 0 || !(b.MaxEjected >= 0) {
			return errors.New("breaker: want no negative numbers")
		}
	}
	return nil
}

// routeInbound gives a route what it leaves unset of its service's own.
func routeInbound(route *topology.Route, svc *topology.Service) topology.Inbound {
	in := route.Inbound
	if in.Balance == "" {
		in.Balance = svc.Inbound.Balance
	}
	if in.Timeout == 0 {
		in.Timeout = svc.Inbound.Timeout
	}
	if in.Retry == nil {
		in.Retry = svc.Inbound.Retry
	}
	if in.Breaker == nil {
		in.Breaker = svc.Inbound.Breaker
	}
	if in.Hash == nil {
		in.Hash = svc.Inbound.Hash
	}
	if in.Sticky == nil {
		in.Sticky = svc.Inbound.Sticky
	}
	if in.SlowStart == 0 {
		in.SlowStart = svc.Inbound.SlowStart
	}
	if in.Outliers == nil {
		in.Outliers = svc.Inbound.Outliers
	}
	if in.Limit == nil {
		in.Limit = svc.Inbound.Limit
	}
	if in.Adaptive == nil {
		in.Adaptive = svc.Inbound.Adaptive
	}
	if in.TryTimeout == 0 {
		in.TryTimeout = svc.Inbound.TryTimeout
	}
	if in.Hedge == nil {
		in.Hedge = svc.Inbound.Hedge
	}
	if in.Admission == nil {
		in.Admission = svc.Inbound.Admission
	}
	if in.Priority == nil {
		in.Priority = svc.Inbound.Priority
	}
	return in
}
