package workflow

import (
	"math/rand/v2"

	"github.com/banyanhq/banyan/policy/saga"
)

// perform makes the attempt under way of a run in a goroutine. e.mu is held.
func (e *Engine) perform(r *run) {
	if e.ctx == nil {
		e.ready = append(e.ready, r)
		return
	}
	if e.closed || e.ctx.Err() != nil {
		return
	}
	effect, ok, wrong := r.Effect()
	if !ok {
		return
	}
	ctx := e.ctx
	e.attempt.Go(func() {
		outcome := saga.Outcome{Final: true}
		if wrong != nil {
			outcome.Reason = wrong.Error()
		} else {
			select {
			case e.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			outcome = e.cfg.Performer.Perform(ctx, effect)
			<-e.slots
		}
		if ctx.Err() != nil {
			return // its outcome is not known; the next engine makes it again
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.failure == nil && !e.closed {
			e.happen(r, r.Answer(e.now(), outcome, rand.Float64()))
		}
	})
}
