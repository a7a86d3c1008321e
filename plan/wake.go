package plan

import "math"

// A request costs more CPU on an idle machine than on a busy one: each hop wakes a sleeping process, which looks for more work
// in vain and falls asleep again. Only what a hop costs wakes and falls asleep; the work that a program does for the request
// stays what it is. A hop through the gateway, which does nothing else, shows what that is on this machine.
//
// A service is woken by each request, and by the answer to each of its calls, if a core is idle: where all are busy it waits its
// turn, which costs nothing. The gateway handles the hops of all, and sleeps in proportion to the idle share of the machine.

// What is believed of waking up before the pulses are looked at: the gateway's as a multiple r of what its hop costs on a full
// machine; a service's, on an idle machine and for each time, as a share of the gateway's hop; and the standard error of the
// whole that follows. Chosen on the half of the topologies of bench/twin that its page names; the errors of the other half are
// reported apart.
const (
	wakeGateway    = 5.0
	wakeService    = 0.73
	wakePriorError = 0.3 // as a share
	// mostWake is the largest share of a service's CPU time that is taken to go into waking up.
	mostWake = 0.6
	// A machine that stalls for a moment moves requests and CPU alike, which looks as if each request cost the same: the
	// pulses are never believed closer than this.
	wakePulseError = 0.5
)

// wakeShare is the share of CPU time that goes into waking up where the machine is idle for a share i, and where that costs r
// times the rest on an idle one.
func wakeShare(r, i float64) float64 { return r * i / (1 + r*i) }

// someIdle is the chance that one of the cores is idle, where each is for a share i.
func someIdle(i, cores float64) float64 { return 1 - math.Pow(1-i, cores) }

// minPulses is how many pulses it takes to say anything at all.
const minPulses = 30

// pulsedShare corrects what is believed of the share of all CPU time that goes into waking up by how CPU varied with calls from
// pulse to pulse, on a machine with idle share i, and gives its standard error. Without enough pulses nothing is assumed:
// it is 0.
func pulsedShare(beats []beat, i, believed float64) (share, err float64) {
	slope, slopeErr, ok := marginalShare(beats)
	if !ok || believed <= 0 {
		return 0, 0
	}
	// slope = (1 + r i) / (1 + r) as a share of the mean cost, with r of all CPU time; where it comes near i the pulses say
	// 'large' and no more.
	distance := max(slope-i, 0.1)
	r := min(max((1-slope)/distance, 0), 4)
	rErr := max(slopeErr*(1-i)/(distance*distance), wakePulseError)
	// What changes by an error of r, at what is believed.
	d := i * (1 - believed) * (1 - believed)
	found, foundErr := wakeShare(r, i), rErr*d
	priorErr := wakePriorError * believed
	w, v := 1/(foundErr*foundErr), 1/(priorErr*priorErr)
	return (found*w + believed*v) / (w + v), math.Sqrt(1 / (w + v))
}

// beat is a pulse in terms of work.
type beat struct {
	seconds float64
	offered float64 // CPU seconds that its requests cost at the mean
	cpu     float64 // CPU seconds used, what idle processes use taken out
	calls   float64 // visits to services
}

// marginalShare is what a little more load costs as a share of what load costs in the mean, with its standard error: the
// slope of the CPU used over the work offered, by least squares. Neighbouring beats err alike, so that they count for a
// third of their number.
func marginalShare(beats []beat) (share, err float64, ok bool) {
	n := float64(len(beats))
	if n < minPulses {
		return 0, 0, false
	}
	var x, y float64
	for _, b := range beats {
		x += b.offered / b.seconds
		y += b.cpu / b.seconds
	}
	x, y = x/n, y/n
	var xx, xy, yy float64
	for _, b := range beats {
		dx, dy := b.offered/b.seconds-x, b.cpu/b.seconds-y
		xx += dx * dx
		xy += dx * dy
		yy += dy * dy
	}
	if xx == 0 || y <= 0 {
		return 0, 0, false
	}
	slope := xy / xx
	residual := max(0, yy-slope*xy) / (n - 2)
	return slope * x / y, math.Sqrt(3*residual/xx) * x / y, true
}

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
// that a load that changes slowly does not count as bursts. Without enough pulses it is 2.
func dispersion(beats []beat) float64 {
	n := float64(len(beats))
	if n < minPulses {
		return 2
	}
	var sumWork, sumCalls float64
	for _, b := range beats {
		sumWork += b.cpu
		sumCalls += b.calls
	}
	if sumWork == 0 || sumCalls == 0 {
		return 2
	}
	// The difference of two neighbouring spans, wherever they can lie.
	var square, pairs float64
	for i := 0; i+2*dispersionSpan <= len(beats); i++ {
		var d float64
		for j := range dispersionSpan {
			d += beats[i+dispersionSpan+j].cpu - beats[i+j].cpu
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
