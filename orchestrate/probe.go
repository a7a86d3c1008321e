package orchestrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/banyanhq/banyan/gateway/readiness"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// fastPoll is the pause between two checks before the first pass. It grows with the time that the replica takes, so
// that a slow starter is not kept busy answering.
const fastPoll = 10 * time.Millisecond

// defaultReady is the ready check of a service that has none: the replica must accept TCP connections.
var defaultReady = topology.Check{
	Interval: topology.Duration(time.Second),
	Timeout:  topology.Duration(time.Second),
	Failures: 3,
	Deadline: topology.Duration(30 * time.Second),
}

// complete fills in what would make a check spin or never pass. A loaded file leaves nothing to fill in; systems that
// are put together in Go may.
func complete(c topology.Check) topology.Check {
	if c.Interval <= 0 {
		c.Interval = defaultReady.Interval
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultReady.Timeout
	}
	return c
}

// verdict is what the checks of a replica found.
type verdict struct {
	kind verdictKind
	why  string // the last check's error, "" after a pass

	refused bool // with neverCame: the last connection was refused
}

type verdictKind uint8

const (
	becameReady   verdictKind = iota // may be given requests
	becameUnready                    // may not
	neverCame                        // did not pass its start-up or ready check by the deadline; final
	notAlive                         // failed its live check; final
)

// probes runs the checks of one replica.
type probes struct {
	address string
	root    string // that the service's files are relative to
	svc     *topology.Service
	report  func(verdict)
}

// run checks until ctx ends, or until a final verdict: start-up first; then ready and live, each at its own pace.
func (p *probes) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.svc.Health.Startup != nil {
		if !p.await(ctx, complete(*p.svc.Health.Startup)) {
			return
		}
	}
	ready := defaultReady
	if p.svc.Health.Ready != nil {
		ready = complete(*p.svc.Health.Ready)
	}
	if !p.await(ctx, ready) {
		return
	}
	p.report(verdict{kind: becameReady})

	var wg sync.WaitGroup
	if p.svc.Health.Live != nil {
		wg.Go(func() {
			defer cancel()
			p.watch(ctx, complete(*p.svc.Health.Live), func(state policy.HealthState, err error) (goOn bool) {
				p.report(verdict{kind: notAlive, why: err.Error()})
				return false
			})
		})
	}
	p.watch(ctx, ready, func(state policy.HealthState, err error) (goOn bool) {
		if state == policy.HealthUp {
			p.report(verdict{kind: becameReady})
		} else {
			p.report(verdict{kind: becameUnready, why: err.Error()})
		}
		return true
	})
	wg.Wait()
}

// await polls quickly until the check passes once; false if it did not by its deadline, or ctx ended.
func (p *probes) await(ctx context.Context, c topology.Check) bool {
	start := time.Now()
	h := policy.NewHealth(policy.HealthConfig{Deadline: c.Deadline.Std()}, 0, policy.HealthPending)
	var lastErr error
	for {
		err := p.once(ctx, c)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			lastErr = err
		}
		elapsed := time.Since(start)
		switch state, _ := h.Observe(elapsed, err == nil); state {
		case policy.HealthUp:
			return true
		case policy.HealthExpired:
			why := fmt.Sprintf("not ready within %v: %v", c.Deadline.Std(), lastErr)
			p.report(verdict{neverCame, why, errors.Is(lastErr, readiness.ErrRefused)})
			return false
		}
		wait := min(fastPoll+elapsed/100, c.Interval.Std())
		if at, ok := h.Deadline(); ok {
			wait = max(min(wait, at-elapsed), 0)
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

// watch checks at the check's interval from a passing state on, and calls change at each change of state.
func (p *probes) watch(ctx context.Context, c topology.Check, change func(policy.HealthState, error) bool) {
	start := time.Now()
	h := policy.NewHealth(policy.HealthConfig{Failures: c.Failures}, 0, policy.HealthUp)
	for pause(ctx, c.Interval.Std()) {
		err := p.once(ctx, c)
		if ctx.Err() != nil {
			return
		}
		if state, changed := h.Observe(time.Since(start), err == nil); changed && !change(state, err) {
			return
		}
	}
}

// pause waits, and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}

// once checks once, in the way that the service is called. Its authorities are read for each check, for the gateway reads them
// again with each reload.
func (p *probes) once(ctx context.Context, c topology.Check) error {
	way, err := readiness.WayTo(p.root, p.svc)
	if err != nil {
		return err
	}
	return readiness.Ask(ctx, way, p.address, c)
}
