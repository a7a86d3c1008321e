package load

import (
	"fmt"
	"time"
)

// part is the share of one generator among several: places index, index+of, index+2 of and so on. The zero part is all.
type part struct{ index, of int64 }

// place returns the place, in the whole, of this generator's n-th.
func (p part) place(n int64) int64 {
	if p.of == 0 {
		return n
	}
	return n*p.of + p.index
}

// share returns how many of n fall to this generator.
func (p part) share(n int64) int64 {
	if p.of == 0 {
		return n
	}
	return max((n-p.index+p.of-1)/p.of, 0)
}

// divide returns the i-th of n parts of this part.
func (p part) divide(i, n int64) part {
	whole := max(p.of, 1)
	if whole*n == 1 {
		return part{}
	}
	return part{p.index + i*whole, whole * n}
}

// schedule returns this generator's part of s. All parts together are s, exactly.
func (p part) schedule(s Schedule) Schedule {
	if p.of == 0 {
		return s
	}
	return partOf{s, p}
}

// partOf is every of-th arrival of a schedule.
type partOf struct {
	whole Schedule
	part  part
}

var _ Schedule = partOf{}

// At implements Schedule.
func (p partOf) At(n int64) (time.Duration, bool) {
	if n < 0 {
		return 0, false
	}
	return p.whole.At(p.part.place(n))
}

func (p partOf) String() string {
	return fmt.Sprintf("%s, part %d of %d", p.whole, p.part.index+1, p.part.of)
}
