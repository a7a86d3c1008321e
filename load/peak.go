package load

import (
	"slices"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// TraceCounts is how many scenarios a replay of the trace starts in each of its periods, and how long a period of the
// replay is. dir is what the trace's file is relative to.
func TraceCounts(t *topology.Trace, dir string) (counts []float64, period time.Duration, err error) {
	s, err := readTrace(t, dir)
	if err != nil {
		return nil, 0, err
	}
	r, err := replayOf(s, t, 0)
	if err != nil {
		return nil, 0, err
	}
	period = time.Duration(float64(s.period) / r.speed)
	first, last := int(r.offset/s.period), int((r.offset+r.length-1)/s.period)
	for _, rate := range s.rates[first : last+1] {
		counts = append(counts, rate*r.factor*period.Seconds())
	}
	return counts, period, nil
}

// TracePeak is the highest rate, in arrivals a second, at which a replay of the trace starts scenarios.
func TracePeak(t *topology.Trace, dir string) (float64, error) {
	counts, period, err := TraceCounts(t, dir)
	if err != nil {
		return 0, err
	}
	return slices.Max(counts) / period.Seconds(), nil
}
