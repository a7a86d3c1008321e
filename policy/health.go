package policy

import (
	"fmt"
	"time"
)

// HealthState is what a row of check results says about a replica.
type HealthState uint8

// The states of Health.
const (
	HealthPending HealthState = iota // no verdict yet: the check has not passed often enough, and has time left
	HealthUp                         // the check passes
	HealthDown                       // the check passed before and fails now
	HealthExpired                    // the check did not pass by its deadline; final
)

// String returns the state's name as it is shown to people and in metrics.
func (s HealthState) String() string {
	switch s {
	case HealthPending:
		return "pending"
	case HealthUp:
		return "up"
	case HealthDown:
		return "down"
	case HealthExpired:
		return "expired"
	}
	return fmt.Sprintf("HealthState(%d)", uint8(s))
}

// HealthConfig sets how many results in a row make a verdict.
type HealthConfig struct {
	// Failures in a row that turn up into down. Less than 1 means 1.
	Failures int
	// Successes in a row that turn pending or down into up. Less than 1 means 1.
	Successes int
	// Deadline after the start by which the check must have passed; 0: none. It no longer counts once it has passed.
	Deadline time.Duration
}

// Health turns the results of one check of one replica into a state that does not flap: a threshold in each
// direction, and a deadline for the first pass. One goroutine at a time may call its methods.
type Health struct {
	cfg    HealthConfig
	start  time.Duration
	state  HealthState
	streak int // results in a row that contradict the state
}

// NewHealth returns the health of a replica whose checks begin at the instant start. Start-up and ready checks begin
// HealthPending; a live check, which finds a replica guilty only by evidence, begins HealthUp.
func NewHealth(cfg HealthConfig, start time.Duration, initial HealthState) *Health {
	cfg.Failures = max(cfg.Failures, 1)
	cfg.Successes = max(cfg.Successes, 1)
	return &Health{cfg: cfg, start: start, state: initial}
}

// State returns the state after the last event.
func (h *Health) State() HealthState { return h.state }

// Observe takes the result of a check that ended at the instant now, and reports the state and whether it changed. A
// pass counts as in time if it is observed at the deadline or before it.
func (h *Health) Observe(now time.Duration, passed bool) (state HealthState, changed bool) {
	before := h.state
	switch h.state {
	case HealthPending:
		if !passed {
			h.streak = 0
		} else if !h.late(now) {
			h.count(h.cfg.Successes, HealthUp)
		}
		h.expire(now)
	case HealthDown:
		if passed {
			h.count(h.cfg.Successes, HealthUp)
		} else {
			h.streak = 0
		}
	case HealthUp:
		if passed {
			h.streak = 0
		} else {
			h.count(h.cfg.Failures, HealthDown)
		}
	}
	return h.state, h.state != before
}

// Tick lets the deadline pass where no check ends: call it at Deadline, or at any time.
func (h *Health) Tick(now time.Duration) (state HealthState, changed bool) {
	before := h.state
	h.expire(now)
	return h.state, h.state != before
}

// Deadline returns the instant by which the check must have passed, and whether that still matters.
func (h *Health) Deadline() (at time.Duration, ok bool) {
	return h.start + h.cfg.Deadline, h.state == HealthPending && h.cfg.Deadline > 0
}

func (h *Health) late(now time.Duration) bool {
	return h.cfg.Deadline > 0 && now-h.start > h.cfg.Deadline
}

// expire ends a pending state whose time is up; at the deadline itself nothing can pass any more.
func (h *Health) expire(now time.Duration) {
	if h.state == HealthPending && h.cfg.Deadline > 0 && now-h.start >= h.cfg.Deadline {
		h.state, h.streak = HealthExpired, 0
	}
}

func (h *Health) count(threshold int, next HealthState) {
	if h.streak++; h.streak >= threshold {
		h.state, h.streak = next, 0
	}
}
