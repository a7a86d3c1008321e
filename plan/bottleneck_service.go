package plan

import "fmt"

// view is one service's time, taken apart.
type view struct {
	*ObservedService
	o *Observation
	// calls that the service let in and the time of them; tries, of which failed, and theirs.
	calls, time          float64
	tries, failed, tried float64
	callee               float64 // time of calls that it made, as far as they came one after the other
	own                  float64 // of the tries' time, what the service has of its own
	cpu                  float64 // CPU time in seconds
	cores                float64 // that it used, and
	use                  float64 // which share of its limit, or of the machine
	held                 float64 // share of the time that limits held replicas back
	low, middle          float64 // a quick try, and a middling one
	quick                float64 // what a fifth of the tries does not exceed
	calleeLow            float64 // of a quick try, the part that is calls
	variance             float64 // of a try
	running              float64 // replicas
	oddCPU               float64 // CPU time that a replica uses beyond its peers, if one is unlike them
}

// view takes a service's time apart; nil if too little happened to it.
func (o *Observation) view(s *ObservedService) *view {
	v := &view{ObservedService: s, o: o}
	var most, sum float64
	for _, e := range o.Edges {
		if e.To == s.Name {
			v.calls += e.Calls - e.Refused
			v.time += e.Time
		}
		if e.From == s.Name {
			sum += e.Time
			most = max(most, e.Time)
		}
	}
	var squares float64
	for _, r := range s.Replicas {
		v.tries += r.Tries
		v.failed += r.Failed
		v.tried += r.Time
		v.cores += r.CPU
		v.held = max(v.held, r.Throttled)
		v.low += r.P5 * r.Tries
		v.middle += r.P50 * r.Tries
		v.quick += r.P20 * r.Tries
		squares += r.StdDev * r.StdDev * r.Tries
		if r.CPU > 0 || r.Tries > 0 {
			v.running++
		}
	}
	if v.calls < leastCalls || v.tries < leastCalls {
		return nil
	}
	v.low, v.middle, v.quick, v.variance = v.low/v.tries, v.middle/v.tries, v.quick/v.tries, squares/v.tries
	v.calleeLow = min(o.quickCalls(s.Name, sum > v.tried)/v.tries, v.low)
	// Calls that took longer together than the service itself were made at the same time: the longest counts.
	if v.callee = sum; sum > v.tried {
		v.callee = most
	}
	v.own = max(v.tried-v.callee, 0)
	v.cpu = min(v.cores*o.Seconds, v.own)
	share := o.Cores
	if s.Limit > 0 && s.Limit*v.running < share {
		share = s.Limit * v.running
	}
	if share > 0 {
		v.use = v.cores / share
	}
	return v
}

// quickCalls is the time of all the calls that a service makes, if each were a quick one; parallel: made at the same time.
func (o *Observation) quickCalls(service string, parallel bool) (time float64) {
	for _, e := range o.Edges {
		if e.From != service {
			continue
		}
		for _, to := range o.Services {
			if to.Name != e.To {
				continue
			}
			var low, tries float64
			for _, r := range to.Replicas {
				low, tries = low+r.P5*r.Tries, tries+r.Tries
			}
			if one := (e.Calls - e.Refused) * low / max(tries, 1); parallel {
				time = max(time, one)
			} else {
				time += one
			}
		}
	}
	return time
}

// findings are what a service suffers from, and the time that is too little to name and left to the machine. full are the services
// that refuse calls.
func (v *view) findings(whole float64, full []room) (found []Finding, left float64) {
	add := func(f Finding, ok bool) {
		if ok {
			f.Service = v.Name
			found = append(found, f)
		}
	}
	waste, f, retried := v.retries(whole)
	add(f, retried)
	uneven, f, skewed := v.skew(whole)
	add(f, skewed)
	if skewed {
		v.cpu = max(v.cpu-v.oddCPU, 0) // it is part of the uneven time
	}
	outside := max(v.time-v.tried, 0)
	if retried {
		outside = 0 // pauses before tries
	}
	add(v.limit(outside, whole))
	excess := max(v.own-v.cpu-waste-uneven, 0)
	visit := excess / v.tries
	signs := v.dispersion()
	switch {
	case v.held >= heldBack || v.Limit > 0 && v.Limit < v.o.Cores && v.use >= 0.9:
		add(v.quota(excess, whole), true)
	case v.use >= highUse || v.starved() || v.cpu > 0.5*v.own && v.cpu > leastShare*whole && v.cpu >= leastDelay*v.tries:
		add(v.processors(excess, whole), true)
	case visit < leastDelay && !(excess > leastShare*whole && signs >= queueSigns && visit > leastDelay/3):
		left = excess
	case v.crowded() || v.pressed(full):
		left = excess
	case v.lined(signs):
		add(v.doubted(v.line(excess, signs, whole)), true)
	case excess > leastShare*whole:
		add(v.doubted(v.delay(excess, whole)), true)
	default:
		left = excess
	}
	add(v.backlog(whole))
	return found, left
}

// retries finds that calls are made again and again, and the time that this takes within the tries.
func (v *view) retries(whole float64) (waste float64, f Finding, ok bool) {
	share := 1 - v.calls/v.tries
	if share < wasteLimit || v.failed < 0.5*(v.tries-v.calls) {
		return 0, f, false
	}
	waste = v.own * share
	lost := waste + v.callee*share + max(v.time-v.tried, 0)
	f = Finding{Class: ClassRetry, Score: max(min(2*share, 1), lost/whole), Gain: seconds(lost)}
	f.Evidence = []string{
		fmt.Sprintf("%.2f tries for each call", v.tries/v.calls),
		fmt.Sprintf("%.0f%% of the tries fail", 100*v.failed/v.tries),
		fmt.Sprintf("repeating takes %s of each call", duration(lost/v.calls)),
	}
	f.Remedy, f.By = "mend what fails; until then fewer attempts or a smaller retry budget", "the time of repeated tries and the pauses before them"
	return waste, f, true
}

// skew finds a replica that is unlike its peers, and the time that this takes.
func (v *view) skew(whole float64) (lost float64, f Finding, ok bool) {
	if len(v.Replicas) < 2 {
		return 0, f, false
	}
	var worst *ObservedReplica
	var slower, fuller float64
	for i := range v.Replicas {
		r := &v.Replicas[i]
		if r.Tries == 0 {
			continue
		}
		var tries, time, peers float64
		for j, p := range v.Replicas {
			if j != i && p.Tries > 0 {
				tries, time, peers = tries+p.Tries, time+p.Time, peers+1
			}
		}
		if peers == 0 {
			return 0, f, false
		}
		mean := time / tries
		far := r.Time/r.Tries - mean
		slow, full := r.Time/r.Tries/max(mean, 1e-9), r.Tries/(tries/peers)
		if r.Tries*far < 0 || !(slow > skewRatio && far > leastDelay/2 && r.Tries > 10) && !(full > skewRatio && r.Tries > leastCalls) {
			continue
		}
		if cost := r.Tries * far; worst == nil || cost > lost {
			worst, lost, slower, fuller = r, cost, slow, full
		}
	}
	if worst == nil {
		return 0, f, false
	}
	v.oddCPU = max(worst.CPU-(v.cores-worst.CPU)/(v.running-1), 0) * v.o.Seconds
	uneven := worst.Tries/v.tries - 1/float64(len(v.Replicas))
	f = Finding{Class: ClassSkew, Score: max(lost/whole, uneven), Gain: seconds(lost)}
	if slower > skewRatio { // even where a balancer avoids it: its share of the capacity is gone
		f.Score = max(f.Score, (1-1/slower)/float64(len(v.Replicas)))
	}
	f.Evidence = []string{
		fmt.Sprintf("%s takes %.1f times as long as its peers (%s)", worst.Name, slower, duration(worst.Time/worst.Tries)),
		fmt.Sprintf("it is given %.1f times as many requests as each of them", fuller),
		fmt.Sprintf("it uses %.2f cores", worst.CPU),
	}
	f.Remedy, f.By = "replace the replica if it is slow; spread the keys, or balance by load, if it is given more", "the replica as fast as its peers"
	return lost, f, true
}

// limit finds that requests wait in the gateway for a place at a replica.
func (v *view) limit(outside, whole float64) (f Finding, ok bool) {
	if v.Concurrency == 0 || outside < 0.1*v.time {
		return f, false
	}
	inside := 0.0
	for _, r := range v.Replicas {
		inside += r.Time
	}
	inside /= v.o.Seconds * v.running // Little's law
	f = Finding{Class: ClassPool, Score: outside / whole, Gain: seconds(outside)}
	f.Evidence = []string{
		fmt.Sprintf("%s of each call is waiting for one of %.0f places", duration(outside/v.calls), v.Concurrency*v.running),
		fmt.Sprintf("%.1f of %.0f places of a replica are taken on average", inside, v.Concurrency),
		fmt.Sprintf("%.0f%% of its CPU is used", 100*v.use),
	}
	f.Remedy, f.By = "raise its concurrency, or add a replica", "the wait removed; what follows it may then be the limit"
	return f, true
}

// processors finds that CPU is what requests need.
func (v *view) processors(excess, whole float64) Finding {
	saved := v.cpu/2 + excess
	if v.use < 1 { // processor sharing: c/(1-rho) becomes c/2/(1-rho/2)
		saved = min(saved, v.cpu+excess-v.cpu/2/(1-v.use/2))
	}
	score := (v.cpu + excess) / whole
	if v.use < highUse && !v.starved() {
		score *= calmWeight
	}
	f := Finding{Class: ClassCPU, Score: score, Gain: seconds(max(saved, 0))}
	f.Evidence = []string{
		fmt.Sprintf("%.2f cores used, %.0f%% of what it may have", v.cores, 100*v.use),
		fmt.Sprintf("%s of CPU in each request, of %s that the service takes", duration(v.cpu/v.tries), duration(v.own/v.tries)),
	}
	if v.starved() {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the machine is full: %.2f of %.0f cores", v.o.Busy, v.o.Cores))
	}
	f.Remedy, f.By = "make it need half the CPU, or give it twice as much", "processor sharing at half the use"
	return f
}

// starved reports whether the machine is full and this service asks for much CPU: what it uses is then what it gets, not
// what it wants, and so says little.
func (v *view) starved() bool {
	return v.o.Cores > 0 && v.o.Busy >= fullMachine*v.o.Cores && v.cpu/v.tries >= leastDelay
}

// crowded reports whether the time that is not CPU is waiting for cores that others keep busy: a fifth of the tries is spared
// it, which no dependency, pool or lock does that takes so long on average.
func (v *view) crowded() bool {
	others := v.o.Busy - v.o.ownCPU()
	return v.o.Cores > 0 && v.o.Busy >= fullMachine*v.o.Cores && others >= 0.25*v.o.Cores &&
		max(v.quick-v.calleeLow, 0) < 0.2*v.own/v.tries
}

// doubted adds to a finding of time that is not CPU what makes it uncertain: on a full machine, waiting for a processor
// looks the same.
func (v *view) doubted(f Finding) Finding {
	if v.o.Cores > 0 && v.o.Busy >= fullMachine*v.o.Cores {
		f.Evidence = append(f.Evidence, fmt.Sprintf("uncertain: %.2f of the machine's %.0f cores are busy, %.2f of them with other programs, and waiting for a core looks the same",
			v.o.Busy, v.o.Cores, max(v.o.Busy-v.o.ownCPU(), 0)))
	}
	return f
}

// quota finds that a limit holds replicas back.
func (v *view) quota(excess, whole float64) Finding {
	f := Finding{Class: ClassQuota, Score: (v.cpu + excess) / whole, Gain: seconds(excess)}
	f.Evidence = []string{
		fmt.Sprintf("held back %.0f%% of the time by its limit of %.2f cores", 100*v.held, v.Limit),
		fmt.Sprintf("%.2f cores used, %.0f%% of the limit", v.cores, 100*v.use),
		fmt.Sprintf("%s of CPU in each request, of %s that the service takes", duration(v.cpu/v.tries), duration(v.own/v.tries)),
	}
	f.Remedy, f.By = "raise limits.cpu, or add a replica", "the time beyond its CPU removed"
	return f
}

// line finds that requests wait for each other within the service, though neither CPU nor the gateway makes them.
func (v *view) line(excess, signs, whole float64) Finding {
	// By the utilisation law X S is the number of permits in use: with a quick try for S, hardly above one for a lock.
	used := v.permits()
	f := Finding{Class: ClassLock, Score: excess / whole, Gain: seconds(max(excess-v.low*v.tries, 0))}
	f.Remedy = "shorten what is done under the lock, or split the lock; another replica has a lock of its own"
	if used > onePermit {
		f.Class, f.Remedy = ClassPool, "enlarge the pool, or hold what it gives for a shorter time"
	}
	f.Evidence = []string{
		fmt.Sprintf("%s of each request is neither CPU nor calls, and requests wait for each other (the means of seconds vary %.1f times as much as by chance)", duration(excess/v.tries), signs),
		fmt.Sprintf("the quick ones take %s, which at %.1f requests a second makes about %.1f at once in the section that they wait for", duration(v.low), v.rate(), used),
		fmt.Sprintf("%.0f%% of its CPU is used", 100*v.use),
	}
	f.By = "the wait removed, the quick requests' time kept"
	return f
}

// onePermit is the number of permits in use that a lock may seem to have, and leastPermits what makes a line at all: the
// time of a try is known roughly. Both are from recorded faults.
const (
	onePermit    = 1.1
	leastPermits = 0.3
)

// permits is the number of requests, of each replica, that are in the section that the others wait for: the throughput
// times a quick try's time. Waits are about exponential where there is nearly always a line (Kingman's heavy-traffic
// limit, 1961), so that a twentieth of the tries waits for up to a twentieth of the mean wait: that much is taken off.
func (v *view) permits() float64 {
	wait := max(v.tried/v.tries-v.low, 0) / 20
	return v.rate() * max(v.low-wait-v.calleeLow, 0)
}

// rate is the throughput of a replica in tries a second.
func (v *view) rate() float64 { return v.tries / v.o.Seconds / max(v.running, 1) }

// lined reports whether requests wait for each other: seconds differ by more than chance, most tries take longer than the
// quick ones, and enough are there at once (Little's law, at the median) to be in each other's way.
func (v *view) lined(signs float64) bool {
	waiting := 1 - v.low*v.tries/max(v.own, 1e-12)
	return signs >= queueSigns && waiting > 0.25 && v.rate()*max(v.middle-v.calleeLow, 0) >= leastPermits
}

// delay finds that time passes though nobody waits for anybody.
func (v *view) delay(excess, whole float64) Finding {
	f := Finding{Class: ClassDownstream, Score: calmWeight * excess / whole, Gain: seconds(excess)}
	f.Evidence = []string{
		fmt.Sprintf("%s of each request is neither CPU nor calls that the gateway sees: %.0f%% of the time of all requests", duration(excess/v.tries), 100*excess/whole),
		fmt.Sprintf("%.0f%% of its CPU is used", 100*v.use),
		"requests do not wait for each other",
	}
	f.Remedy, f.By = "make what it waits for faster, ask less of it, or cache it", "the delay removed"
	return f
}

// backlog finds that more arrives than leaves.
func (v *view) backlog(whole float64) (f Finding, ok bool) {
	n := len(v.Slices)
	if n < 6 {
		return f, false
	}
	third := n / 3
	mean := func(part []ObservedTimeline) (sum float64) {
		for _, t := range part {
			sum += t.InFlight
		}
		return sum / float64(len(part))
	}
	first, middle, last := mean(v.Slices[:third]), mean(v.Slices[third:n-third]), mean(v.Slices[n-third:])
	left := v.calls / v.o.Seconds
	grows := (last - first) / (v.o.Seconds * float64(n-third) / float64(n)) // requests a second
	if !(first < middle && middle < last) || grows < backlogged*left || last < 10 {
		return f, false
	}
	f = Finding{Class: ClassQueue, Score: calmWeight * min(v.time/whole, 1) * grows / (grows + left), Gain: seconds(v.time * grows / (grows + left))}
	f.Evidence = []string{
		fmt.Sprintf("%.1f requests more come each second than the %.1f that leave", grows, left),
		fmt.Sprintf("in flight: %.0f, then %.0f, then %.0f", first, middle, last),
	}
	f.Remedy, f.By = "admit less (limit, adaptive), or mend what limits it", "arrivals that stay, at the time that they take"
	return f, true
}

// dispersion is how much more the means of single seconds vary than those of as many independent requests would: about 1
// where requests do not touch each other, however long they take, and far more where they stand in line, since the length
// of a line changes slowly. It is the index of dispersion of the analysis of variance, with the seconds as groups.
func (v *view) dispersion() float64 {
	var n, sum float64
	for _, t := range v.Slices {
		n += t.Calls
		sum += max(t.Time-t.Callee, 0)
	}
	if n == 0 || v.variance == 0 {
		return 0
	}
	mean, groups, between := sum/n, 0.0, 0.0
	for _, t := range v.Slices {
		if t.Calls < 2 {
			continue
		}
		d := max(t.Time-t.Callee, 0)/t.Calls - mean
		between += t.Calls * d * d
		groups++
	}
	if groups < 4 {
		return 0
	}
	return between / (groups - 1) / v.variance
}

// duration prints seconds.
func duration(s float64) string {
	switch {
	case s < 1e-3:
		return fmt.Sprintf("%.0fµs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.1fms", s*1e3)
	}
	return fmt.Sprintf("%.2fs", s)
}
