package plan

import "math"

// A core that is shared equally at every instant makes a short piece of work wait little. A scheduler shares by slices: as
// long as cores are free now and then, a thread that wakes up goes first, but where many are ready each waits for the
// slices of those before it, however little it has to do. So on a busy machine a request waits for its turn at each hop, and
// one of many hops waits long though it costs little. How long a slice is, the calibration says; without one, cores are
// shared equally.

// turnsAtOnce is the chance that a thread waits for its turn, as a multiple of that of finding as many in line as there are
// cores. Chosen on the example shop, as bench/twin measures it, at 70 and 80% of what it holds.
const turnsAtOnce = 2

// line is how threads wait for a core, beyond what equal sharing makes them wait.
type line struct {
	turns  float64 // until a turn comes, as a multiple of before
	chance float64 // of waiting at all
	before float64 // mean rest of the piece or slice that runs, seconds
}

// inLine is the line at an idle share of the machine.
func (s *steady) inLine(idle float64) line {
	if s.slice <= 0 || s.full <= 0 {
		return line{}
	}
	servers, speed := wholeServers(s.cores)
	use, wait := min(1-idle, mostUsed), s.queued(idle)
	square := 0.0
	for i := range s.services {
		square += s.services[i].square
	}
	chance := wait * float64(servers) * (1 - use)
	turns := math.Min(1, turnsAtOnce*chance*math.Pow(use, float64(servers)))
	return line{turns: turns * wait, chance: chance, before: min(square/(2*s.full), s.slice) / speed}
}

// late is by how much longer than by equal shares a route's request waits for its turns, mean and variance. All of its
// turns come in the same crowd, which changes more slowly than a request passes, so that they are late together; the crowd
// differs from one time to the next by as much again.
func (s *steady) late(r *pass, l line) (mean, variance float64) {
	if l.turns <= 0 || l.chance <= 0 {
		return 0, 0
	}
	for _, c := range r.at {
		pieces := 1.0 // of a visit: it runs until it calls, and again after each answer
		switch st := &s.services[c.service]; {
		case st.name == Gateway:
			pieces = 2
		case !st.hops:
			for _, n := range c.demand.calls {
				pieces += n
			}
		}
		if short := l.before - s.services[c.service].scale*c.demand.cpu/pieces; short > 0 {
			mean += c.demand.visits * c.times * pieces * short * l.turns
		}
	}
	return mean, mean * mean * 2 / l.chance
}
