package plan

import "math"

// A request costs more CPU on an idle machine than on a busy one: each hop wakes a sleeping process, which looks for more work
// in vain and falls asleep again. Only what a hop costs wakes and falls asleep; the work that a program does for the request
// stays what it is. A hop through the gateway, which does nothing else, shows what that is on this machine.
//
// A service is woken by each request, and by the answer to each of its calls, if a core is idle: where all are busy it waits its
// turn, which costs nothing. The gateway handles the hops of all, and sleeps in proportion to the idle share of the machine.

// What is believed of waking up before the pulses are looked at: the gateway's as a multiple r of what its hop costs on a full
// machine; a service's, on an idle machine and for each time, as a multiple of the gateway's hop; and the standard error of the
// whole that follows. Chosen on the half of the topologies of bench/twin that its page names; the errors of the other half are
// reported apart.
const (
	wakeGateway    = 1.0
	wakeService    = 2.6
	wakePriorError = 0.3 // as a share
	// mostWake is the largest share of a service's CPU time that is taken to go into waking up, however short the visit is. Most of
	// what a visit's CPU time falls by from 30 % of what a system holds to all of it is that. Where services have the kernel's own
	// timer slack, Go's scheduler looks around in vain as well, and it falls by up to two fifths.
	mostWake = 0.18
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
