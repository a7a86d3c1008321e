package plan

import "math"

// A request costs more CPU on an idle machine than on a busy one: each hop wakes a sleeping process, which looks for
// more work in vain and falls asleep again. With idle share i the mean cost of a call is a + w i. Throughput X and the
// m cores tie i to it, X (a + w i) = m (1 - i), from which follows what the next call costs as a share of the mean one:
// (1 + r i) / (1 + r), with r = w / a.

// What is believed of r before the pulses are looked at, and its standard error: the example shop on two virtual cores
// gave 1.0 over loads from 10% to 100% (docs/plan.md has the table). The pulses of half a minute weigh about as much.
const (
	wakePrior      = 0.9
	wakePriorError = 0.35
)

// minPulses is how many pulses it takes to say anything at all.
const minPulses = 30

// wakeRatio estimates r, with its standard error, from how CPU varied with calls from pulse to pulse on a machine with
// idle share i. Without enough pulses nothing is assumed: r is 0.
func wakeRatio(pulses []Pulse, i float64) (r, err float64) {
	slope, slopeErr, ok := marginalShare(pulses)
	if !ok {
		return 0, 0
	}
	// r = (1 - slope) / (slope - i); where the slope comes near i the pulses say 'large' and no more.
	distance := max(slope-i, 0.1)
	r = min(max((1-slope)/distance, 0), 4)
	err = max(slopeErr*(1-i)/(distance*distance), 0.02)
	w, prior := 1/(err*err), 1/(wakePriorError*wakePriorError)
	return (r*w + wakePrior*prior) / (w + prior), math.Sqrt(1 / (w + prior))
}

// marginalShare is the cost of the next call as a share of the mean one, with its standard error: the slope of CPU over
// calls, by least squares, over the ratio of their means.
func marginalShare(pulses []Pulse) (share, err float64, ok bool) {
	var n, x, y float64
	for _, p := range pulses {
		if p.usable() {
			n++
			x += p.Calls / p.Seconds
			y += p.CPU / p.Seconds
		}
	}
	if n < minPulses {
		return 0, 0, false
	}
	x, y = x/n, y/n
	var xx, xy, yy float64
	for _, p := range pulses {
		if p.usable() {
			dx, dy := p.Calls/p.Seconds-x, p.CPU/p.Seconds-y
			xx += dx * dx
			xy += dx * dy
			yy += dy * dy
		}
	}
	if xx == 0 || y <= 0 {
		return 0, 0, false
	}
	slope := xy / xx
	residual := max(0, yy-slope*xy) / (n - 2)
	return slope * x / y, math.Sqrt(residual/xx) * x / y, true
}

func (p Pulse) usable() bool { return p.Seconds > 0 && p.Calls > 0 && p.CPU >= 0 }

// dispersionSpan is the span over which bursts count, in pulses: a second, about as long as a queue remembers them.
const dispersionSpan = 5

// What is believed of the dispersion before the pulses are looked at: the example shop gave 3.4 to 6.6.
const (
	dispersionPrior      = 5.0
	dispersionPriorError = 2.0
)

// dispersion is the index of dispersion of the work that comes to the CPU (Fendick and Whitt, 'Measurements and
// approximations to describe the offered traffic and predict the average workload in a single-server queue', 1989): the
// variance of the work of a short span over its mean, in units of one call's work. Waiting grows in proportion to it;
// 2 are Poisson arrivals of exponential work. The variance is taken from successive differences (von Neumann 1941), so
// that a load that changes slowly does not count as bursts. idle is the CPU used without calls, in cores. Without enough
// pulses it is 2.
func dispersion(pulses []Pulse, idle float64) float64 {
	var work, calls []float64
	for _, p := range pulses {
		if p.usable() {
			work = append(work, max(0, p.CPU-idle*p.Seconds))
			calls = append(calls, p.Calls)
		}
	}
	n := float64(len(work))
	if n < minPulses {
		return 2
	}
	var sumWork, sumCalls float64
	for i := range work {
		sumWork += work[i]
		sumCalls += calls[i]
	}
	if sumWork == 0 {
		return 2
	}
	// The difference of two neighbouring spans, wherever they can lie.
	var square, pairs float64
	for i := 0; i+2*dispersionSpan <= len(work); i++ {
		var d float64
		for j := range dispersionSpan {
			d += work[i+dispersionSpan+j] - work[i+j]
		}
		square += d * d
		pairs++
	}
	variance := square / pairs / 2
	one := sumWork / sumCalls
	found := variance / (dispersionSpan * sumCalls / n * one * one)
	// Spans that overlap tell no more than those that do not; a variance from k of them errs by sqrt(2/k).
	err := max(found, 1) * math.Sqrt(2*dispersionSpan/n)
	w, prior := 1/(err*err), 1.0/(dispersionPriorError*dispersionPriorError)
	return min(max((found*w+dispersionPrior*prior)/(w+prior), 1), 20)
}
