package plan

import "math"

// A request costs more CPU on an idle machine than on a busy one: each hop wakes a sleeping process, which looks for
// more work in vain and falls asleep again. With idle share i the mean cost of a call is a + w i. Throughput X and the
// m cores tie i to it, X (a + w i) = m (1 - i), from which follows what the next call costs as a share of the mean one:
// (1 + r i) / (1 + r), with r = w / a.

// What is believed of r before the pulses are looked at, and its standard error: Go services on two virtual cores gave
// 0.2 to 0.8. The pulses of half a minute outweigh it, those of a few seconds do not.
const (
	wakePrior      = 0.4
	wakePriorError = 0.3
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
