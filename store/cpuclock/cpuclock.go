// Package cpuclock says how much CPU time pieces of work take, by looking at one in so many: a thread's clock is a system call away,
// and a goroutine has to stay on its thread meanwhile.
package cpuclock

import (
	"math/rand/v2"
	"runtime"
	"time"
)

// Sampler looks at one of so many pieces, by chance: pieces of different kinds may come in turn.
type Sampler struct {
	Every uint32
}

// Mark is the beginning of a piece. Its End must be called by the same goroutine.
type Mark struct {
	on bool
	at time.Duration
}

// Begin marks the beginning of the next piece.
func (s Sampler) Begin() Mark {
	if s.Every > 1 && rand.Uint32N(s.Every) != 0 {
		return Mark{}
	}
	runtime.LockOSThread()
	at, ok := threadTime()
	if !ok {
		runtime.UnlockOSThread()
		return Mark{}
	}
	return Mark{true, at}
}

// End is the CPU time of the piece, without what the goroutine waited; false where it was not looked at.
func (m Mark) End() (time.Duration, bool) {
	if !m.on {
		return 0, false
	}
	now, ok := threadTime()
	runtime.UnlockOSThread()
	return now - m.at, ok
}
