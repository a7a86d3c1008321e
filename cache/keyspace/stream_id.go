package keyspace

import (
	"cmp"
	"math"
)

// StreamID identifies an entry of a stream: milliseconds since 1970, as a rule, and a number among those of the same one.
type StreamID struct{ MS, Seq uint64 }

// MaxStreamID is the last one that there is.
var MaxStreamID = StreamID{math.MaxUint64, math.MaxUint64}

// Compare is negative if the id comes before another, positive if it comes behind it.
func (a StreamID) Compare(b StreamID) int {
	if c := cmp.Compare(a.MS, b.MS); c != 0 {
		return c
	}
	return cmp.Compare(a.Seq, b.Seq)
}

// Next is the id that follows; there is none behind the last one, and ok is false.
func (a StreamID) Next() (next StreamID, ok bool) {
	switch {
	case a.Seq < math.MaxUint64:
		return StreamID{a.MS, a.Seq + 1}, true
	case a.MS < math.MaxUint64:
		return StreamID{a.MS + 1, 0}, true
	}
	return StreamID{}, false
}

// Previous is the id before; there is none before 0-0, and ok is false.
func (a StreamID) Previous() (previous StreamID, ok bool) {
	switch {
	case a.Seq > 0:
		return StreamID{a.MS, a.Seq - 1}, true
	case a.MS > 0:
		return StreamID{a.MS - 1, math.MaxUint64}, true
	}
	return MaxStreamID, false
}
