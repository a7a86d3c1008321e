package plan

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// alikeLoads is how much of the load of one run may be other requests than those of the first, or more, or fewer, where both are
// taken for measurements of the same.
const alikeLoads = 0.2

// typical is the run to derive demands from: of several at the same load the one whose requests cost the median CPU time, of an
// even number the cheaper of the two in the middle. A machine shared with others is faster or slower by the minute, and so is
// all that one run says; the mean of runs would be of a minute that there never was.
//
// The note says what the others were; it is empty where there are none.
func typical(runs []*Measurement) (m *Measurement, note string, err error) {
	for _, m := range runs {
		if m.Seconds() <= 0 || m.Cores <= 0 {
			return nil, "", errors.New("calibrating: the measurement has no length or no cores")
		}
	}
	if len(runs) == 0 {
		return nil, "", errors.New("calibrating: no measurement")
	}
	for _, m := range runs[1:] {
		if d := runs[0].otherLoad(m); d > alikeLoads {
			return nil, "", fmt.Errorf("calibrating: the loads of %s and %s differ by %.0f%%: name runs of one load, or one run", runs[0].Source, m.Source, 100*d)
		}
	}
	sorted := slices.Clone(runs)
	slices.SortStableFunc(sorted, func(a, b *Measurement) int { return cmp.Compare(a.cost(), b.cost()) })
	m = sorted[(len(sorted)-1)/2]
	if len(runs) > 1 {
		note = fmt.Sprintf("a request cost from %v to %v of CPU time in the %d runs: %s is the one in the middle, with %v",
			sorted[0].shortCost(), sorted[len(sorted)-1].shortCost(), len(runs), m.Source, m.shortCost())
	}
	return m, note, nil
}

// otherLoad is by how much the requests of another run differ from those of this one, route by route, as a share of this one's,
// less what chance may have done: requests that come at random are more or fewer than their rate has it by the root of their
// number, a fifth of all in a run of a second.
func (m *Measurement) otherLoad(other *Measurement) float64 {
	names := slices.AppendSeq(slices.Collect(maps.Keys(m.Routes)), maps.Keys(other.Routes))
	slices.Sort(names)
	var here, there, differ float64
	for _, name := range slices.Compact(names) {
		a, b := float64(m.Routes[name].Requests), float64(other.Routes[name].Requests)
		here, there = here+a, there+b
		differ += beyondChance(a, m.Seconds(), b, other.Seconds())
	}
	if here == 0 {
		return 0
	}
	return max(differ, beyondChance(here, m.Seconds(), there, other.Seconds())) * m.Seconds() / here
}

// beyondChance is how far apart the rates of a requests in so many seconds and of b in others are, less three standard deviations
// of what lies between two Poisson counts of one rate; 0 where that is all there is.
func beyondChance(a, aSeconds, b, bSeconds float64) float64 {
	chance := 3 * math.Sqrt(a/(aSeconds*aSeconds)+b/(bSeconds*bSeconds))
	return max(0, math.Abs(a/aSeconds-b/bSeconds)-chance)
}

// cost is the CPU time of a request, that of a load generator on the same machine included, in seconds.
func (m *Measurement) cost() float64 {
	var cores, requests float64
	for _, s := range m.Services {
		cores += s.CPU - s.Idle
	}
	for _, r := range m.Routes {
		requests += float64(r.Requests)
	}
	if requests == 0 {
		return 0
	}
	return cores * m.Seconds() / requests
}

// shortCost is the same to two or three digits, for a note.
func (m *Measurement) shortCost() time.Duration {
	return seconds(m.cost()).Round(10 * time.Microsecond)
}
