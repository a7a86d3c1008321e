package reactor

import (
	"math/bits"
	"time"
)

// Timer calls its owner once, at the time it was last set to. The zero value is not set.
type Timer struct {
	// Owner is called on the loop's goroutine. It is set once, before the timer is.
	Owner Expirer

	next, prev *Timer // in a slot's ring
	at         int64  // tick
	level      uint8
	slot       uint8
}

// Expirer is told that a timer has expired.
type Expirer interface{ Expired(t *Timer) }

// Active reports whether the timer is set.
func (t *Timer) Active() bool { return t.next != nil }

// Due returns the instant that the timer is set to.
func (t *Timer) Due() time.Duration { return time.Duration(t.at) * tick }

const (
	tick       = time.Millisecond
	slotBits   = 6
	slots      = 1 << slotBits
	levels     = 5 // 64 ms, 4 s, 4 min, 4.6 h, 12 days
	maxHorizon = 1<<(slotBits*levels) - 1
)

// wheel is a hierarchical timing wheel (G. Varghese, T. Lauck, Hashed and Hierarchical Timing Wheels, 1987): setting and
// stopping are a few writes, whatever the number of timers.
type wheel struct {
	now   int64 // the last tick that was dealt with
	used  [levels]uint64
	slots [levels][slots]Timer // heads of rings
}

func (w *wheel) set(t *Timer, at int64) {
	w.stop(t)
	t.at = max(at, w.now+1)
	w.insert(t)
}

func (w *wheel) insert(t *Timer) {
	at := min(t.at, w.now+maxHorizon)
	level := 0
	for delta := at - w.now; delta >= slots; delta >>= slotBits {
		level++
	}
	slot := at >> (slotBits * level) & (slots - 1)
	t.level, t.slot = uint8(level), uint8(slot)
	head := &w.slots[level][slot]
	if head.next == nil {
		head.next, head.prev = head, head
	}
	t.next, t.prev = head, head.prev
	head.prev.next = t
	head.prev = t
	w.used[level] |= 1 << slot
}

func (w *wheel) stop(t *Timer) {
	if t.next == nil {
		return
	}
	t.next.prev, t.prev.next = t.prev, t.next
	t.next, t.prev = nil, nil
	if head := &w.slots[t.level][t.slot]; head.next == head {
		w.used[t.level] &^= 1 << t.slot
	}
}

// until returns the number of ticks until something may have to be done, -1 if nothing is set.
func (w *wheel) until() int64 {
	best := int64(-1)
	for level := range levels {
		if w.used[level] == 0 {
			continue
		}
		shift := slotBits * level
		at := w.now >> shift
		// The first used slot after the current one; of the level's own slot all has been dealt with, so that it stands
		// for the next time round.
		d := int64(bits.TrailingZeros64(bits.RotateLeft64(w.used[level], -int((at+1)&(slots-1))))) + 1
		if n := (at+d)<<shift - w.now; best < 0 || n < best {
			best = n
		}
	}
	return best
}

// advance deals with all ticks up to now.
func (w *wheel) advance(now int64) {
	for w.now < now {
		d := w.until()
		if d < 0 || w.now+d > now {
			w.now = now
			return
		}
		w.now += d
		for level := levels - 1; level >= 0; level-- {
			shift := slotBits * level
			if w.now&(1<<shift-1) != 0 {
				continue
			}
			slot := w.now >> shift & (slots - 1)
			if w.used[level]&(1<<slot) != 0 {
				w.empty(level, int(slot))
			}
		}
	}
}

// empty takes all timers out of a slot; those whose time has come expire, others move to a lower level.
func (w *wheel) empty(level, slot int) {
	head := &w.slots[level][slot]
	w.used[level] &^= 1 << slot
	if head.next == nil || head.next == head {
		return
	}
	// The ring is hung on a head of its own, so that what is set meanwhile does not get into it.
	var own Timer
	own.next, own.prev = head.next, head.prev
	own.next.prev, own.prev.next = &own, &own
	head.next, head.prev = head, head
	for own.next != &own {
		t := own.next
		t.next.prev, t.prev.next = t.prev, t.next
		t.next, t.prev = nil, nil
		if t.at > w.now {
			w.insert(t)
			continue
		}
		t.Owner.Expired(t)
	}
}
