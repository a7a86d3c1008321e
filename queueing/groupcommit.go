package queueing

import (
	"fmt"
	"math"
)

// LogWait is what those wait who write to a log that is forced to the disk.
type LogWait struct {
	// Busy is the share of the time in which the log is being forced, which is the share of writes that come meanwhile.
	Busy float64
	// Forces a second.
	Forces float64
	// Mean and Variance of the time until a write is on the disk.
	Mean, Variance float64
}

// GroupCommit is a log to which writes come at random, rate a second, and which takes a time of mean force, exponentially distributed,
// to get to the disk. A write that comes while it is being forced is part of the next force, with all others that do. So the log is
// idle, or is being forced with nobody waiting, or with somebody waiting: with a = rate x force these have the weights 1, a and a^2.
// Who comes first waits for one force and who comes meanwhile for what is left of one, and another: never more than twice the mean.
func GroupCommit(rate, force float64) (LogWait, error) {
	if !(rate >= 0) || !(force >= 0) || math.IsInf(rate, 0) || math.IsInf(force, 0) {
		return LogWait{}, fmt.Errorf("group commit: %v writes/s, forced in %v s: want finite numbers of at least 0", rate, force)
	}
	a := rate * force
	if a > 1e100 { // always busy; its square is beyond what can be told
		return LogWait{Busy: 1, Forces: 1 / force, Mean: 2 * force, Variance: 2 * force * force}, nil
	}
	idle := 1 / (1 + a + a*a)
	w := LogWait{Busy: 1 - idle, Mean: force * (2 - idle)}
	if force > 0 {
		w.Forces = w.Busy / force
	}
	w.Variance = force*force*(2*idle+6*(1-idle)) - w.Mean*w.Mean
	return w, nil
}

// quorumSteps is how finely Quorum divides time, and busySteps how finely the share of busy logs.
const (
	quorumSteps = 800
	busySteps   = 32
)

// Quorum is a group of nodes, each with a log, of which the majority must have a write: the leader's own and that of as many of the
// others as are needed, each a round trip away, whose times are gamma distributed with a squared coefficient of variation of 1/4.
type Quorum struct {
	read  waitMoments
	write []waitMoments // by the share of logs that are busy
}

type waitMoments struct{ mean, variance float64 }

// NewQuorum prepares a group of so many nodes, the leader included.
func NewQuorum(nodes int, trip, force float64) (*Quorum, error) {
	if nodes < 1 || nodes > 1000 {
		return nil, fmt.Errorf("a quorum of %d nodes: want 1 to 1000", nodes)
	}
	if !(trip >= 0) || !(force >= 0) || math.IsInf(trip, 0) || math.IsInf(force, 0) {
		return nil, fmt.Errorf("a quorum with a round trip of %v s and forces of %v s: want finite numbers of at least 0", trip, force)
	}
	q := &Quorum{write: make([]waitMoments, busySteps+1)}
	if trip+force == 0 {
		return q, nil
	}
	others, needed := nodes-1, nodes/2
	step := (16*force + 6*trip) / quorumSteps
	idle, busy := make([]float64, quorumSteps+1), make([]float64, quorumSteps+1)
	near := make([]float64, quorumSteps+1)
	for i := range near {
		idle[i], busy[i] = forced(float64(i)*step, force)
		near[i] = arrived(float64(i)*step, trip)
	}
	farIdle, farBusy := behind(near, step, trip, force)
	q.read = integrated(step, func(i int) float64 { return atLeast(needed, others, near[i]) })
	for k := range q.write {
		b := float64(k) / busySteps
		q.write[k] = integrated(step, func(i int) float64 {
			return ((1-b)*idle[i] + b*busy[i]) * atLeast(needed, others, (1-b)*farIdle[i]+b*farBusy[i])
		})
	}
	return q, nil
}

// Read is mean and variance of the time until the majority has confirmed who leads.
func (q *Quorum) Read() (mean, variance float64) { return q.read.mean, q.read.variance }

// Write is mean and variance of the time until the majority has a write on disk, where each log is busy for a share of the time. Logs
// are taken as independent of each other.
func (q *Quorum) Write(busy float64) (mean, variance float64) {
	at := min(max(busy, 0), 1) * busySteps
	k := min(int(at), busySteps-1)
	part := at - float64(k)
	a, b := q.write[k], q.write[k+1]
	return a.mean + part*(b.mean-a.mean), a.variance + part*(b.variance-a.variance)
}

// forced is the chance that a write is on disk by a time: one that comes to an idle log, and to a busy one.
func forced(t, force float64) (idle, busy float64) {
	if force == 0 {
		return 1, 1
	}
	x := t / force
	e := math.Exp(-x)
	return 1 - e, 1 - e*(1+x)
}

// arrived is the chance that a round trip is over by a time.
func arrived(t, trip float64) float64 {
	if trip == 0 {
		return 1
	}
	x := 4 * t / trip
	return 1 - math.Exp(-x)*(1+x+x*x/2+x*x*x/6)
}

// behind is the chance that a write is on another node's disk, and known here, by each step: a round trip and a force.
func behind(near []float64, step, trip, force float64) (idle, busy []float64) {
	idle, busy = make([]float64, len(near)), make([]float64, len(near))
	if trip == 0 {
		for i := range near {
			idle[i], busy[i] = forced(float64(i)*step, force)
		}
		return idle, busy
	}
	halfIdle, halfBusy := make([]float64, len(near)), make([]float64, len(near))
	for i := range near {
		halfIdle[i], halfBusy[i] = forced((float64(i)+0.5)*step, force)
	}
	for i := range near {
		for j := 1; j <= i; j++ {
			w := near[j] - near[j-1]
			idle[i] += w * halfIdle[i-j]
			busy[i] += w * halfBusy[i-j]
		}
	}
	return idle, busy
}

// atLeast is the chance that so many of n have done what each has done with chance p.
func atLeast(k, n int, p float64) float64 {
	if k <= 0 {
		return 1
	}
	if k > n {
		return 0
	}
	p = min(max(p, 0), 1)
	if p == 1 {
		return 1
	}
	term, sum := math.Pow(1-p, float64(n)), 0.0 // of exactly i
	for i := range k {
		sum += term
		term *= float64(n-i) / float64(i+1) * p / (1 - p)
	}
	return max(0, 1-sum)
}

// integrated is mean and variance of a distribution that is given at equal steps.
func integrated(step float64, by func(i int) float64) waitMoments {
	var mean, square float64
	for i := range quorumSteps + 1 {
		left := 1 - by(i)
		if i == 0 || i == quorumSteps {
			left /= 2
		}
		mean += left * step
		square += 2 * float64(i) * step * left * step
	}
	return waitMoments{mean, max(0, square-mean*mean)}
}
