package simulate

import (
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// quotaPeriod is the kernel's default period of a CPU limit (CFS bandwidth control, cpu.max).
const quotaPeriod = 100 * time.Millisecond

// backgroundPiece is the length, in seconds, of the pieces in which CPU is used that no request asked for.
const backgroundPiece = 0.001

// service is a station at work.
type service struct {
	lanes    []int32
	replicas []int32 // all it ever had; those that were stopped are used again first
	wanted   int
	waiting  line
	present  int // visits

	work, delays, branches, disturbances *stream

	turn      int // of the replica that gets the next background work
	count     serviceCount
	accounted int64 // instant up to which the areas of count are summed
}

// replicaState is where a replica is in its life.
type replicaState uint8

const (
	replicaStopped  replicaState = iota // not wanted
	replicaDown                         // died, and is to be started again
	replicaStarting                     // not ready yet
	replicaReady
	replicaDraining // finishes what it has, and is given nothing new
)

// replica is one replica of a service.
type replica struct {
	service int32
	state   replicaState
	backend *policy.Backend
	members []*policy.Member // by lane of the service
	present int              // visits
	visited int64            // when the last one began
	cuts    int              // faults that keep everybody from reaching it
	lost    int64            // when its last life ended
	stalled int64            // until when it stands still
	// of a function's instance: since when it has had nothing to do, and whether an event will look at that
	idleFrom int64
	idling   bool

	stamp   uint32 // of its present life: changes when it starts and when it ends
	began   int64  // of its present life
	restart *policy.Restart

	slow   float64 // factor on delays, and by the processor's speed on CPU work
	errors float64 // share of answers that are errors

	limited   bool // has a CPU quota
	ticking   bool // its next period is on the event list
	phase     int64
	throttled int64 // since when; 0: it is not
}

func (s *sim) addService(i int32) {
	m := &s.m.services[i]
	sv := service{
		lanes: m.lanes, wanted: m.replicas,
		work: s.stream("work of " + m.name), delays: s.stream("delays of " + m.name),
		branches: s.stream("calls of " + m.name), disturbances: s.stream("disturbances of " + m.name),
	}
	s.services = append(s.services, sv)
	for range m.replicas {
		r := s.addReplica(i)
		s.replicas[r].state = replicaStarting
		s.ready(r)
	}
	if m.idle > 0 {
		s.schedule(s.nextBackground(i), evBackground, i, 0)
	}
}

// addReplica makes room for a replica that does not run yet.
func (s *sim) addReplica(service int32) int32 {
	m := &s.m.services[service]
	sv := &s.services[service]
	quota := math.Inf(1)
	// A quota that all cores together cannot use up limits nothing.
	limited := m.limit > 0 && m.limit < s.m.cores
	if limited {
		quota = m.limit * quotaPeriod.Seconds()
	}
	threads := m.threads
	if threads == 0 {
		threads = s.m.threads(m.limit)
	}
	i := s.cpu.add(quota, threads)
	s.replicas = append(s.replicas, replica{
		service: service, slow: 1, limited: limited,
		backend: &policy.Backend{Owner: i, Key: mix64(uint64(service)<<32 | uint64(len(sv.replicas))), Limit: int64(m.concurrency)},
		restart: policy.NewRestart(m.restart),
		// Each control group has had its own period since it was made.
		phase: int64(sv.disturbances.uniform() * float64(quotaPeriod)),
	})
	sv.replicas = append(sv.replicas, i)
	return i
}

// launch starts a replica, which is ready after a while.
func (s *sim) launch(i int32, after int64) {
	r := &s.replicas[i]
	s.account(r.service)
	r.state = replicaStarting
	r.stamp++
	s.schedule(s.now+after+int64(s.m.services[r.service].start), evReady, i, r.stamp)
}

// ready begins a fresh chapter for a replica: the breakers forget what was before.
func (s *sim) ready(i int32) {
	r := &s.replicas[i]
	s.account(r.service)
	r.state, r.began = replicaReady, s.now
	r.members = r.members[:0]
	for _, l := range s.services[r.service].lanes {
		member := s.lanes[l].pool.NewMember(r.backend)
		member.Since = s.instant()
		r.members = append(r.members, member)
	}
	s.rebuild(r.service)
	if f := s.m.services[r.service].failures; f.MTBF > 0 {
		s.schedule(s.now+nanoseconds(f.MTBF.Seconds()*s.services[r.service].disturbances.ExpFloat64()), evFail, i, r.stamp)
	}
	if p := s.m.services[r.service].pause; p.For > 0 {
		s.schedule(s.now+s.pauseAfter(r.service, p), evPause, i, r.stamp)
	}
	if s.m.services[r.service].block != none {
		r.idling = false
		s.serveLine(i)
		return
	}
	s.wakeAll(r.service)
	for _, g := range s.m.services[r.service].groups {
		s.feed(g)
	}
}

// rebuild gives every lane of a service the replicas that are ready.
func (s *sim) rebuild(service int32) {
	sv := &s.services[service]
	sv.count.ready = 0
	for _, i := range sv.replicas {
		if s.replicas[i].state == replicaReady {
			sv.count.ready++
		}
	}
	for k, l := range sv.lanes {
		members := make([]*policy.Member, 0, sv.count.ready)
		for _, i := range sv.replicas {
			if r := &s.replicas[i]; r.state == replicaReady {
				members = append(members, r.members[k])
			}
		}
		s.lanes[l].pool.Set(members)
	}
}

// halt ends the life of a replica: what it was doing is lost, and whoever waited for it learns of a broken connection.
func (s *sim) halt(i int32, state replicaState) {
	r := &s.replicas[i]
	s.account(r.service)
	r.state, r.lost = state, s.now
	r.stamp++
	s.rebuild(r.service)
	s.forget(i)
	s.endThrottle(i)
	s.cpu.drop(s.now, i)
	if r.present == 0 {
		return
	}
	type mark struct {
		visit int32
		stamp uint32
	}
	var lost []mark
	for v := range s.visits.taken {
		if at := s.visits.at(v); at.phase != phaseNone && at.replica == i && at.service != none {
			lost = append(lost, mark{v, at.stamp})
		}
	}
	for _, l := range lost {
		at := s.visits.at(l.visit)
		if at.stamp != l.stamp {
			continue // gone with another one
		}
		s.cancelCalls(at)
		call := at.call
		s.trace.note(s, at.trace, at.service, at.replica, "killed", "")
		s.leave(l.visit, false)
		if call != none {
			s.tryFailed(call, l.visit, true, 502)
		}
	}
}

// forget empties the node of a cache that has ended.
func (s *sim) forget(i int32) {
	service := s.replicas[i].service
	for k := range s.blocks {
		if b := &s.blocks[k]; b.service == service && b.caches != nil {
			b.caches[slices.Index(s.services[service].replicas, i)].clear()
		}
	}
}

// drain takes a replica out of use; it stops when it has finished what it has.
func (s *sim) drain(i int32) {
	r := &s.replicas[i]
	s.account(r.service)
	if r.state != replicaReady {
		s.halt(i, replicaStopped)
		return
	}
	r.state = replicaDraining
	r.stamp++
	s.rebuild(r.service)
	s.schedule(s.now+int64(s.m.services[r.service].drain), evDrained, i, r.stamp)
	s.checkDrained(i)
}

func (s *sim) checkDrained(i int32) {
	if r := &s.replicas[i]; r.state == replicaDraining && r.present == 0 && r.backend.InFlight() == 0 {
		s.stop(i)
	}
}

func (s *sim) stop(i int32) { s.halt(i, replicaStopped) }

// startWork gives the processor work of a replica, in CPU seconds.
func (s *sim) startWork(i int32, work float64, subject int32) {
	r := &s.replicas[i]
	if r.state == replicaStopped || r.state == replicaDown {
		return // what was to be done after the answer died with it
	}
	s.cpu.start(s.now, i, work, subject)
	if r.limited && !r.ticking {
		r.ticking = true
		s.schedulePeriod(i)
	}
}

// schedulePeriod schedules the next period of a replica's quota, on its own grid.
func (s *sim) schedulePeriod(i int32) {
	p := int64(quotaPeriod)
	next := s.now + p - (s.now-s.replicas[i].phase+p)%p
	s.schedule(next, evPeriod, i, 0)
}

// newPeriod refills a quota. A replica that has nothing to do lets its periods rest: its quota is full.
func (s *sim) newPeriod(i int32) {
	r := &s.replicas[i]
	s.services[r.service].count.Periods++
	s.endThrottle(i)
	s.cpu.refill(s.now, i)
	if r.ticking = len(s.cpu.procs[i].jobs) > 0; r.ticking {
		s.schedulePeriod(i)
	}
}

// throttle notes that a replica has used up its quota.
func (s *sim) throttle(i int32) {
	s.replicas[i].throttled = s.now
	s.services[s.replicas[i].service].count.ThrottledPeriods++
}

func (s *sim) endThrottle(i int32) {
	if r := &s.replicas[i]; r.throttled != 0 {
		s.services[r.service].count.throttled += s.now - r.throttled
		r.throttled = 0
	}
}

func (s *sim) pauseAfter(service int32, p Pause) int64 {
	return nanoseconds(p.Every.Seconds() * s.services[service].disturbances.ExpFloat64())
}

func (s *sim) pause(i int32) {
	r := &s.replicas[i]
	s.cpu.setFrozen(s.now, i, paused, true)
	s.schedule(s.now+int64(s.m.services[r.service].pause.For), evResume, i, r.stamp)
}

func (s *sim) resume(i int32) {
	r := &s.replicas[i]
	s.cpu.setFrozen(s.now, i, paused, false)
	s.schedule(s.now+s.pauseAfter(r.service, s.m.services[r.service].pause), evPause, i, r.stamp)
}

func (s *sim) nextBackground(i int32) int64 {
	mean := backgroundPiece / s.m.services[i].idle
	return s.now + nanoseconds(mean*s.services[i].disturbances.ExpFloat64())
}

// background makes the next replica in turn do a piece of work that no request asked for.
func (s *sim) background(i int32) {
	sv := &s.services[i]
	for range sv.replicas {
		r := sv.replicas[sv.turn%len(sv.replicas)]
		sv.turn++
		if st := s.replicas[r].state; st == replicaReady || st == replicaDraining {
			s.startWork(r, backgroundPiece, nobody)
			break
		}
	}
	s.schedule(s.nextBackground(i), evBackground, i, 0)
}
