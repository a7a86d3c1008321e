package load

import (
	"slices"

	"github.com/banyanhq/banyan/topology"
)

// TracePeak is the highest rate, in arrivals a second, at which a replay of the trace starts scenarios. dir is what
// the trace's file is relative to.
func TracePeak(t *topology.Trace, dir string) (float64, error) {
	s, err := readTrace(t, dir)
	if err != nil {
		return 0, err
	}
	r, err := replayOf(s, t, 0)
	if err != nil {
		return 0, err
	}
	first, last := int(r.offset/s.period), int((r.offset+r.length-1)/s.period)
	return slices.Max(s.rates[first:last+1]) * r.factor, nil
}
