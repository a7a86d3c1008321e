package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// teardownTime bounds all teardown steps together: a run that was cut short must end.
const teardownTime = time.Minute

// kept are the values that the setup of each scenario extracted, by scenario and name.
type kept map[string]map[string]keptValue

type keptValue struct {
	Text string `json:"text"`
	Raw  bool   `json:"raw,omitempty"`
}

// needsOnce reports whether any scenario has steps that are run once.
func (p *plan) needsOnce() bool {
	for _, sc := range p.scenarios {
		if len(sc.setup)+len(sc.teardown) > 0 {
			return true
		}
	}
	return false
}

// setUp runs the setup of all scenarios, one step after the other. Where one fails, what was begun is torn down.
func (r *run) setUp(ctx context.Context) error {
	if !r.plan.needsOnce() {
		return nil
	}
	for i, sc := range r.plan.scenarios {
		err := r.runOnce(ctx, sc, sc.setup)
		if err == nil {
			continue
		}
		err = fmt.Errorf("load: setup of scenario %s: %w", sc.name, err)
		for _, failed := range r.tearDown(ctx, r.plan.scenarios[:i+1]) {
			err = errors.Join(err, fmt.Errorf("load: %s", failed))
		}
		return err
	}
	return nil
}

// tearDown runs the teardown of scenarios, also where ctx is done, and returns what failed in words.
func (r *run) tearDown(ctx context.Context, scenarios []*scenario) (failed []string) {
	if !r.plan.needsOnce() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTime)
	defer cancel()
	for _, sc := range scenarios {
		if err := r.runOnce(ctx, sc, sc.teardown); err != nil {
			failed = append(failed, fmt.Sprintf("teardown of scenario %s: %v", sc.name, err))
		}
	}
	return failed
}

// runOnce sends steps over a connection of their own, uncounted, and keeps what they extract for the scenario.
func (r *run) runOnce(ctx context.Context, sc *scenario, steps []*step) error {
	if len(steps) == 0 {
		return nil
	}
	own := targets{cfg: &r.cfg}
	for _, t := range r.targets.all {
		if _, err := own.find(t.address); err != nil {
			return err
		}
	}
	defer own.close()
	defer context.AfterFunc(ctx, own.cut)()
	callers := make([]caller, len(own.all))
	for i, t := range own.all {
		callers[i] = t.newCaller()
		defer callers[i].close()
	}
	s := newSession(r, 0)
	s.seed(r.cfg.Seed, -1)
	s.begin(sc)
	for i, st := range steps {
		if !st.taken(s.values.rng) {
			continue
		}
		err := ctx.Err()
		if err == nil && !s.build(st) {
			err = errors.New("a value is missing that an earlier step extracts")
		}
		if err == nil {
			err = s.once(ctx, callers[st.target], st)
		}
		if err != nil {
			return fmt.Errorf("step %d (%s): %w", i+1, st.name, err)
		}
	}
	for name, slot := range sc.slots {
		if v := s.values.vars[slot]; v.set {
			sc.keep(name, keptValue{string(v.text), v.raw})
		}
	}
	return nil
}

// once sends the request that was built.
func (s *session) once(ctx context.Context, c caller, st *step) error {
	if err := c.do(ctx, &s.x); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w", exchangeKind(err), err)
	}
	switch kind := s.judge(st); kind {
	case "":
		return nil
	case BadStatus:
		return fmt.Errorf("%s %d", kind, s.x.head.status)
	default:
		return errors.New(string(kind))
	}
}

// keep makes a value known to every run of the scenario.
func (sc *scenario) keep(name string, v keptValue) {
	if sc.kept == nil {
		sc.kept = map[string]keptValue{}
	}
	sc.kept[name] = v
	for len(sc.given) < sc.vars {
		sc.given = append(sc.given, value{})
	}
	sc.given[sc.slots[name]] = value{text: []byte(v.Text), raw: v.Raw, set: true}
}

// kept returns all that setup extracted.
func (p *plan) kept() kept {
	out := kept{}
	for _, sc := range p.scenarios {
		if len(sc.kept) > 0 {
			out[sc.name] = sc.kept
		}
	}
	return out
}

// restore takes over what a setup elsewhere extracted.
func (p *plan) restore(k kept) {
	for _, sc := range p.scenarios {
		for name, v := range k[sc.name] {
			if _, ok := sc.slots[name]; ok {
				sc.keep(name, v)
			}
		}
	}
}
