package policy

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// BreakerState is what a breaker lets pass.
type BreakerState uint8

// The states of a breaker.
const (
	BreakerClosed   BreakerState = iota // all calls pass
	BreakerOpen                         // none pass, until its time is up
	BreakerHalfOpen                     // one call is on its way as a probe
)

// String returns the state's name as it is shown to people and in metrics.
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return fmt.Sprintf("BreakerState(%d)", uint8(s))
}

// Ticket says whether an admitted call is a breaker's probe, and which one. The zero ticket is an ordinary call.
type Ticket uint16

const probeTicket Ticket = 1 << 8

// Breaker takes one backend out of use after a number of failures in a row (M. Nygard, Release It!, 2007). After a
// while it lets one call pass as a probe: its success closes the breaker, its failure opens it again for twice as long.
//
// All its state is one atomic word, so that it is safe for concurrent use and a call that finds it closed costs one
// load. Results that were under way when the state changed are recognised by their ticket and do not count.
type Breaker struct {
	failures uint64
	open     time.Duration
	maxOpen  time.Duration

	// From the lowest bit: 48 bits value, 6 bits level, 8 bits generation, 2 bits state. The value is the number of
	// failures in a row (closed), the end of the pause (open) or the start of the probe (half-open), the latter in
	// microseconds. The level counts how often the pause was doubled. The generation grows with each change of state.
	word   atomic.Uint64
	opened atomic.Int64
}

// NewBreaker returns a closed breaker, nil if cfg turns breaking off.
func NewBreaker(cfg topology.Breaker) *Breaker {
	if cfg.Off {
		return nil
	}
	open := max(cfg.Open.Std(), 0)
	return &Breaker{failures: uint64(max(cfg.Failures, 1)), open: open, maxOpen: max(cfg.MaxOpen.Std(), open)}
}

// breakerWord is the breaker's word, taken apart.
type breakerWord struct {
	state      BreakerState
	generation uint8
	level      uint8
	value      uint64
}

const (
	valueBits = 48
	maxValue  = 1<<valueBits - 1
	maxLevel  = 1<<6 - 1
)

func unpack(w uint64) breakerWord {
	return breakerWord{
		state: BreakerState(w >> 62), generation: uint8(w >> 54), level: uint8(w>>valueBits) & maxLevel, value: w & maxValue,
	}
}

func (w breakerWord) pack() uint64 {
	return uint64(w.state)<<62 | uint64(w.generation)<<54 | uint64(w.level)<<valueBits | min(w.value, maxValue)
}

// micros returns t in microseconds, rounded up: a pause may last a little longer, never shorter.
func micros(t time.Duration) uint64 {
	return uint64(max(t, 0)/time.Microsecond) + min(uint64(max(t, 0)%time.Microsecond), 1)
}

// Opened returns how often it has opened, probes that failed among them.
func (b *Breaker) Opened() int64 { return b.opened.Load() }

// State returns the state. A pause whose time is up reads as open until a probe passes.
func (b *Breaker) State() BreakerState { return unpack(b.word.Load()).state }

// Admits reports whether Admit would let a call pass now, and changes nothing.
func (b *Breaker) Admits(now time.Duration, repeatable bool) bool {
	word := b.word.Load()
	return BreakerState(word>>62) == BreakerClosed || b.probeDue(unpack(word), now, repeatable)
}

// probeDue reports whether a call may pass as a probe. A call that cannot be repeated does so only if no other has
// come for the length of the first pause; a probe of which nothing is heard for the longest pause is given up.
func (b *Breaker) probeDue(w breakerWord, now time.Duration, repeatable bool) bool {
	switch w.state {
	case BreakerOpen:
		due := time.Duration(w.value) * time.Microsecond
		if !repeatable {
			due += b.open
		}
		return now >= due
	case BreakerHalfOpen:
		return now >= time.Duration(w.value)*time.Microsecond+b.maxOpen
	}
	return false
}

// Admit lets a call pass or not. The ticket of a call that passes must come back with its Report.
func (b *Breaker) Admit(now time.Duration, repeatable bool) (Ticket, bool) {
	for {
		old := b.word.Load()
		w := unpack(old)
		if w.state == BreakerClosed {
			return 0, true
		}
		if !b.probeDue(w, now, repeatable) {
			return 0, false
		}
		w.state, w.generation, w.value = BreakerHalfOpen, w.generation+1, micros(now)
		if b.word.CompareAndSwap(old, w.pack()) {
			return probeTicket | Ticket(w.generation), true
		}
	}
}

// Report takes the outcome of an admitted call. It returns true if the failures in a row call for the breaker to open:
// it is the caller's choice to Trip it, for only the caller knows how many others are open.
func (b *Breaker) Report(now time.Duration, t Ticket, o Outcome) (due bool) {
	for {
		old := b.word.Load()
		w := unpack(old)
		due := false
		switch {
		case w.state == BreakerClosed && t == 0:
			switch {
			case o == Success:
				w.value = 0
			case o == Failure && w.value < b.failures:
				w.value++
			}
			due = o == Failure && w.value >= b.failures
		case w.state == BreakerHalfOpen && t == probeTicket|Ticket(w.generation):
			w.generation++
			switch o {
			case Success:
				w.state, w.level, w.value = BreakerClosed, 0, 0
			case Failure:
				w.level = min(w.level+1, maxLevel)
				w.state, w.value = BreakerOpen, micros(now+doubled(b.open, b.maxOpen, int(w.level)))
			default: // the next call is the probe
				w.state, w.value = BreakerOpen, uint64(max(now, 0)/time.Microsecond)
			}
		default:
			return false // of a call from before the last change
		}
		if word := w.pack(); word == old || b.word.CompareAndSwap(old, word) {
			if t != 0 && o == Failure {
				b.opened.Add(1)
			}
			return due
		}
	}
}

// Trip opens a closed breaker; any other stays as it is.
func (b *Breaker) Trip(now time.Duration) {
	for {
		old := b.word.Load()
		w := unpack(old)
		if w.state != BreakerClosed {
			return
		}
		w = breakerWord{state: BreakerOpen, generation: w.generation + 1, value: micros(now + b.open)}
		if b.word.CompareAndSwap(old, w.pack()) {
			b.opened.Add(1)
			return
		}
	}
}
