package simulate

import (
	"math"
	"slices"

	"github.com/banyanhq/banyan/queueing"
)

// processor shares the cores of the machine equally among the jobs of all replicas (processor sharing), no job taking
// more than one core; where some cores are apart, they idle beside jobs that could use them; a replica with a CPU limit
// stands still once it has used its quota, until the next period.
//
// It works in virtual time (as fair queueing does: Parekh and Gallager 1993): v is the CPU time that a job would have
// received that has been running all along. When a job is done, and when a replica's quota is used up, does not depend
// in virtual time on what other replicas do, so that an arrival or a departure touches one replica and costs the
// logarithm of the numbers of its jobs and of the replicas, however many jobs share the machine.
//
// A replica whose threads are counted runs so many jobs at most. The others stand in line, first come first served, and one
// that has run for a turn goes to the end of it: so do the goroutines, coroutines and thread pools of real programs.
type processor struct {
	cores float64
	apart float64 // see queueing.CoresBusy
	procs []proc

	now      int64 // instant at which v was read
	v        float64
	runnable int
	rate     float64 // dv/dt
	busy     float64 // core-seconds used so far

	race  tournament // replicas by the virtual time of what happens to them next
	next  int64      // its instant
	stale bool       // next has to be found anew
}

// proc is one replica on the processor.
type proc struct {
	jobs    []job // those that run, a binary heap by finish
	threads int   // how many may; 0: all
	line    []job // those that wait for one to end

	// The replica's own virtual time stood at own when the machine's was at, and has gone speed times as fast since.
	own, at, speed float64
	frozen         uint8 // reasons for which it stands still; 0: it does not
	quota          float64
	left           float64 // of the quota in this period, in CPU seconds; +Inf without a limit
	used           float64 // CPU seconds so far
	limited        bool    // has a quota
	exhausts       bool    // what comes next is the end of its quota, not of a job
}

// job is a piece of CPU work.
type job struct {
	finish  float64 // of this turn, in its replica's own virtual time
	rest    float64 // what is left to do after it, CPU seconds
	subject int32
}

// turn is how long a job runs, in CPU seconds, before it goes to the end of the line: as Go's scheduler has it
// (forcePreemptNS, runtime/proc.go); CPython's is half of that.
const turn = 0.01

// halfTick is by how much a thread overruns a quota that is used up: it is stopped at the next tick of the kernel's clock, which
// has 250 a second (CONFIG_HZ of Debian and Ubuntu), half of one later on average. What it ran too long is taken off the
// next period's quota.
const halfTick = 0.002

// Reasons for a replica to stand still.
const (
	throttled uint8 = 1 << iota // its quota is used up
	paused                      // all its threads are stopped, as by a garbage collector
	stalled                     // it was stopped from outside
)

// What fire returns when no job has ended: a quota has, or a job's turn.
const (
	drained int32 = -1 << 31
	turned  int32 = drained + 1
)

func newProcessor(cores, apart float64) *processor {
	return &processor{cores: cores, apart: apart, rate: 1, next: never}
}

// add gives the processor one more replica, with a quota of CPU seconds in each period (+Inf: none) and so many threads (0: as
// many as it has jobs).
func (p *processor) add(quota float64, threads int) int32 {
	p.procs = append(p.procs, proc{speed: 1, threads: threads, quota: quota, left: quota, limited: !math.IsInf(quota, 1)})
	p.race.grow(len(p.procs))
	return int32(len(p.procs) - 1)
}

// advance brings virtual time up to the instant now.
func (p *processor) advance(now int64) {
	if now > p.now && p.runnable > 0 {
		dv := float64(now-p.now) * 1e-9 * p.rate
		p.v += dv
		p.busy += dv * float64(p.runnable)
	}
	p.now = now
}

// sync brings the account of one replica up to virtual time.
func (p *processor) sync(r *proc) {
	if dv := p.v - r.at; dv > 0 && r.frozen == 0 && len(r.jobs) > 0 {
		r.own += dv * r.speed
		cpu := dv * float64(len(r.jobs))
		r.used += cpu
		r.left -= cpu
	}
	r.at = p.v
}

// settle finds what happens to a replica next, after its jobs or its state have changed.
func (p *processor) settle(i int32, r *proc) {
	key := math.Inf(1)
	if r.frozen == 0 && len(r.jobs) > 0 {
		left := max(0, r.jobs[0].finish-r.own)
		if r.speed != 1 {
			left /= r.speed
		}
		key = r.at + left
		r.exhausts = false
		if r.limited {
			if end := r.at + max(0, r.left+r.overrun())/float64(len(r.jobs)); end < key {
				key, r.exhausts = end, true
			}
		}
	}
	p.race.set(i, key)
	p.stale = true
}

func (p *processor) changeRunnable(by int) {
	p.runnable += by
	p.rate = 1
	if n := float64(p.runnable); n > 0 {
		p.rate = queueing.CoresBusy(n, p.cores, p.apart) / n
	}
}

// wakes reports whether more work would wake a thread of a replica: not while it stands still with work to do, and not where
// all its threads have some.
func (p *processor) wakes(i int32) bool {
	r := &p.procs[i]
	return len(r.jobs) == 0 || r.frozen&throttled == 0 && (r.threads == 0 || len(r.jobs) < r.threads)
}

// start begins a piece of work of so many CPU seconds on a replica.
func (p *processor) start(now int64, i int32, work float64, subject int32) {
	p.advance(now)
	r := &p.procs[i]
	p.sync(r)
	before := r.runnable()
	r.line = append(r.line, job{rest: work, subject: subject})
	r.begin()
	p.changeRunnable(r.runnable() - before)
	p.settle(i, r)
}

// begin lets those in line run for whom there are threads.
func (r *proc) begin() {
	n := 0
	for ; n < len(r.line) && (r.threads == 0 || len(r.jobs) < r.threads); n++ {
		j := r.line[n]
		now := j.rest
		if r.threads > 0 && now > turn {
			now = turn
		}
		j.rest -= now
		j.finish = r.own + now
		r.push(j)
	}
	if n > 0 {
		r.line = r.line[:copy(r.line, r.line[n:])]
	}
}

// nextAt is the instant at which fire must be called, unless something changes before.
func (p *processor) nextAt() int64 {
	if !p.stale {
		return p.next
	}
	p.stale = false
	key := p.race.best()
	if math.IsInf(key, 1) {
		p.next = never
		return never
	}
	// Rounded up, so that what is to be done is done when the time comes.
	dt := max(0, key-p.v) * 1e9
	if p.rate != 1 {
		dt /= p.rate
	}
	if dt >= maxSpan {
		p.next = never
		return never
	}
	whole := int64(dt)
	if float64(whole) < dt {
		whole++
	}
	p.next = p.now + whole
	return p.next
}

// fire lets happen what was due at nextAt: it returns the replica, and the subject of the job that is done, or drained
// or turned if none is.
func (p *processor) fire() (replica, subject int32) {
	p.advance(p.next)
	i := p.race.winner()
	r := &p.procs[i]
	p.sync(r)
	if r.exhausts {
		r.left = -r.overrun()
		p.changeRunnable(-len(r.jobs))
		r.frozen |= throttled
		p.settle(i, r)
		return i, drained
	}
	before := r.runnable()
	j := r.pop()
	if subject = j.subject; j.rest > 0 {
		r.line, subject = append(r.line, j), turned
	}
	r.begin()
	p.changeRunnable(r.runnable() - before)
	p.settle(i, r)
	return i, subject
}

// refill begins a new period of a replica's quota.
func (p *processor) refill(now int64, i int32) {
	p.change(now, i, func(r *proc) {
		r.left = min(r.quota, r.quota+r.left)
		r.frozen &^= throttled
	})
}

// setFrozen sets or clears one reason for a replica to stand still.
func (p *processor) setFrozen(now int64, i int32, reason uint8, on bool) {
	p.change(now, i, func(r *proc) {
		if r.frozen &^= reason; on {
			r.frozen |= reason
		}
	})
}

// setSpeed makes a replica get so much done in each CPU second, 1 being its normal speed.
func (p *processor) setSpeed(now int64, i int32, speed float64) {
	p.change(now, i, func(r *proc) { r.speed = speed })
}

// drop takes all jobs off a replica, which begins anew with a full quota.
func (p *processor) drop(now int64, i int32) {
	p.change(now, i, func(r *proc) { r.jobs, r.line, r.left, r.frozen = r.jobs[:0], r.line[:0], r.quota, 0 })
}

// remove takes one job off a replica, if it is there.
func (p *processor) remove(now int64, i int32, subject int32) {
	p.change(now, i, func(r *proc) {
		is := func(j job) bool { return j.subject == subject }
		if k := slices.IndexFunc(r.line, is); k >= 0 {
			r.line = slices.Delete(r.line, k, k+1)
			return
		}
		k := slices.IndexFunc(r.jobs, is)
		if k < 0 {
			return
		}
		last := len(r.jobs) - 1
		r.jobs[k] = r.jobs[last]
		r.jobs = r.jobs[:last]
		if k < last {
			r.down(k)
			r.up(k)
		}
		r.begin()
	})
}

// change lets f change a replica whose account is up to date, and counts its runnable jobs afresh.
func (p *processor) change(now int64, i int32, f func(*proc)) {
	p.advance(now)
	r := &p.procs[i]
	p.sync(r)
	before := r.runnable()
	f(r)
	p.changeRunnable(r.runnable() - before)
	p.settle(i, r)
}

// overrun is how much CPU time a replica gets beyond its quota before it stands still: nothing where its threads are not counted.
func (r *proc) overrun() float64 { return halfTick * float64(r.threads) }

func (r *proc) runnable() int {
	if r.frozen != 0 {
		return 0
	}
	return len(r.jobs)
}

func (r *proc) push(j job) {
	r.jobs = append(r.jobs, j)
	r.up(len(r.jobs) - 1)
}

func (r *proc) pop() job {
	first := r.jobs[0]
	last := len(r.jobs) - 1
	r.jobs[0] = r.jobs[last]
	r.jobs = r.jobs[:last]
	if last > 1 {
		r.down(0)
	}
	return first
}

func (r *proc) up(i int) {
	j := r.jobs[i]
	for i > 0 {
		parent := (i - 1) / 2
		if r.jobs[parent].finish <= j.finish {
			break
		}
		r.jobs[i] = r.jobs[parent]
		i = parent
	}
	r.jobs[i] = j
}

func (r *proc) down(i int) {
	j, n := r.jobs[i], len(r.jobs)
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && r.jobs[child+1].finish < r.jobs[child].finish {
			child++
		}
		if r.jobs[child].finish >= j.finish {
			break
		}
		r.jobs[i] = r.jobs[child]
		i = child
	}
	r.jobs[i] = j
}

// tournament keeps the least of a number of keys: a complete binary tree whose inner nodes hold the winner of the two
// below (Knuth, The Art of Computer Programming 3, 5.4.1). A changed key replays its own games only.
type tournament struct {
	key  []float64
	tree []int32 // tree[1] is the winner of all; the leaves are implied
}

// grow makes room for n players; new ones do not run yet.
func (t *tournament) grow(n int) {
	size := 1
	for size < n {
		size *= 2
	}
	for len(t.key) < size {
		t.key = append(t.key, math.Inf(1))
	}
	if len(t.tree) == size {
		return
	}
	t.tree = make([]int32, size)
	for node := size - 1; node > 0; node-- {
		t.tree[node] = t.game(node)
	}
}

// game returns the winner of the two below an inner node.
func (t *tournament) game(node int) int32 {
	a, b := t.below(2*node), t.below(2*node+1)
	if t.key[b] < t.key[a] {
		return b
	}
	return a
}

func (t *tournament) below(node int) int32 {
	if size := len(t.tree); node >= size {
		return int32(node - size)
	}
	return t.tree[node]
}

func (t *tournament) set(i int32, key float64) {
	if t.key[i] == key {
		return
	}
	t.key[i] = key
	for node := (int(i) + len(t.tree)) / 2; node > 0; node /= 2 {
		t.tree[node] = t.game(node)
	}
}

func (t *tournament) winner() int32 {
	if len(t.tree) == 1 {
		return 0
	}
	return t.tree[1]
}

// best is the least key, +Inf if nobody runs.
func (t *tournament) best() float64 {
	if len(t.key) == 0 {
		return math.Inf(1)
	}
	return t.key[t.winner()]
}
