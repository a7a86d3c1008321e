package simulate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// The kinds of event, and what their subject is.
const (
	evArrival    eventKind = iota // the next scenario of an open load starts
	evStep                        // session: its next request is due
	evGo                          // session: it is sent, as one of a cluster
	evDelay                       // visit: its delay is over
	evRetry                       // call: the pause before its next try is over
	evConnect                     // call: connecting has timed out
	evDeadline                    // queue of deadlines: its first one is due
	evDue                         // call: its time is over, and was less than its time-out
	evHedge                       // call: it has been slow for so long that it is sent a second time
	evPeriod                      // replica: a new period of its CPU quota begins
	evReady                       // replica: it has started
	evDrained                     // replica: the time for draining is over
	evPause                       // replica: all its threads stop
	evResume                      // replica: they go on
	evFail                        // replica: it fails by itself
	evTimer                       // function: the clock starts it
	evTimetable                   // timetable: the clock publishes a message
	evLine                        // queue: something in it is due
	evLimit                       // group: its limit has room again
	evTrend                       // the next point of the queues' outlook
	evIdle                        // replica of a function: it may have had nothing to do for long enough
	evBackground                  // service: a piece of work that no request asked for
	evFault                       // fault: it happens
	evRepair                      // fault: it is over
	evScale                       // the autoscaler looks
	evTick                        // the next point of the time-line
	evWarm                        // the warm-up is over
	evEnd                         // so is the run
)

// sim is one replication: a model at work. It belongs to one goroutine.
type sim struct {
	m           *Model
	replication int
	now         int64
	events      int64
	list        eventList
	cpu         *processor
	load        *workload
	ended       bool
	err         error

	services []service
	lanes    []lane
	edges    []edge
	replicas []replica // their index is their place on the processor too

	requests arena[request]
	calls    arena[call]
	visits   arena[visit]
	sessions arena[session]
	messages arena[message]

	blocks []block
	groups []group

	httpCaches []httpCache
	traffic    []traffic // by route
	ledgers    []*policy.Ledger
	ids        *stream // what requests are shed by

	deadlines []deadlines // by the model's time-outs, then the client's, then that of waiting calls
	clientOut int32
	waitOut   int32
	ackOut    int32 // of the first group
	tryOut    int32 // of the first of the time-outs of tries

	admission policy.Admission
	targets   [policy.ProbesPerCall]*policy.Member // of probes, while they are asked
	aims      []aim
	bindings  []binding // of clients to replicas: by session, then by cookie
	hit       [][]int32 // replicas that each fault has hit
	clients   uint64    // that have come so far
	ahead     ahead     // whom users follow who come in a cluster
	spread    float64   // seconds over which a cluster comes
	runs      uint64    // of scenarios that have begun

	arrivals source
	users    *stream // scenarios and steps taken, pauses
	balance  *stream
	scaler   Autoscaler

	tally tally
	trace *tracer
	probe *warmupProbe
	tell  func(Progress)
}

// session is a user, or one run of a scenario.
type session struct {
	scenario, step int32
	client         uint64 // who it is: a number that stays for as long as the session
	run            uint64 // which run of a scenario it is at
}

// request is one step of a scenario on its way.
type request struct {
	started int64
	route   int32
	root    int32 // visit
	session int32
	stamp   uint32
	key     uint64 // of the answer that the gateway's cache did not have, and one; 0: none is kept
	tested  bool   // its route's canary got it
	aborted int    // status that a fault of its route gives it; 0: none
	delayed int64  // by such a fault
}

func newSim(m *Model, load *workload, replication int) (*sim, error) {
	s := &sim{m: m, replication: replication, load: load, cpu: newProcessor(m.cores, m.apart)}
	o := &m.o
	s.users, s.balance = s.stream("users"), s.stream("balance")
	s.admission = policy.Admission{Wait: o.Wait, MaxWaiting: o.MaxWaiting}
	s.arrivals = source{load: load, draws: s.stream("arrivals")}
	for _, t := range m.timeouts {
		s.deadlines = append(s.deadlines, deadlines{after: int64(t)})
	}
	s.clientOut = int32(len(s.deadlines))
	s.waitOut = s.clientOut + 1
	s.deadlines = append(s.deadlines, deadlines{after: load.timeout}, deadlines{after: int64(o.Wait)})
	s.ackOut = int32(len(s.deadlines))
	for i := range m.groups {
		s.deadlines = append(s.deadlines, deadlines{after: int64(m.timeouts[m.groups[i].ackWait])})
		s.groups = append(s.groups, group{groupModel: &m.groups[i], busy: map[int32]int32{}, limit: workqueue.NewBucket(m.groups[i].rate)})
	}
	s.tryOut = int32(len(s.deadlines))
	for _, t := range m.tries {
		s.deadlines = append(s.deadlines, deadlines{after: int64(t)})
	}
	for i := range m.blocks {
		s.blocks = append(s.blocks, s.newBlock(&m.blocks[i]))
		if every := m.blocks[i].every; every > 0 {
			s.schedule(every, evTimer, int32(i), 0)
		}
	}
	for i := range m.timetables {
		s.arm(int32(i))
	}
	if slices.ContainsFunc(s.blocks, func(b block) bool { return b.line != nil }) {
		s.schedule(trendEvery, evTrend, 0, 0)
	}
	s.httpCaches = make([]httpCache, len(m.httpCaches))
	for _, r := range m.routes {
		if r.cache != none {
			s.httpCaches[r.cache] = s.newHTTPCache(&m.httpCaches[r.cache], r.name)
		}
	}
	for _, r := range m.routes {
		s.traffic = append(s.traffic, s.newTraffic(r.traffic, r.name))
	}
	if m.prioritised() {
		s.ids = s.stream("priorities")
	}
	for range m.services {
		s.ledgers = append(s.ledgers, new(policy.Ledger))
	}
	for i := range m.lanes {
		l, err := newLane(&m.lanes[i], s.lanes, s.ledgers[m.lanes[i].service], s.stream(fmt.Sprintf("lane %d", i)))
		if err != nil {
			return nil, err
		}
		s.lanes = append(s.lanes, l)
	}
	for _, e := range m.edges {
		at := edge{edgeModel: e}
		if e.hedge != nil {
			at.hedger = policy.NewHedger(*e.hedge, s.ledgers[e.to])
		}
		if p := e.priority; p != nil {
			at.class, _ = policy.ParseClass(p.Class)
			at.header = cmp.Or(p.Header, "X-Banyan-Priority")
		}
		s.edges = append(s.edges, at)
	}
	for i := range m.services {
		s.addService(int32(i))
	}
	for i := range m.aims {
		s.aims = append(s.aims, newAim(&m.aims[i]))
	}
	s.tally = newTally(m)
	s.schedule(load.warmup, evWarm, 0, 0)
	s.schedule(load.end, evEnd, 0, 0)
	s.hit = make([][]int32, len(m.faults))
	for i, f := range m.faults {
		s.schedule(f.at, evFault, int32(i), 0)
	}
	if o.Autoscale != nil {
		if s.scaler = o.Autoscale(); s.scaler != nil {
			s.schedule(int64(o.AutoscaleEvery), evScale, 0, 0)
		}
	}
	s.startLoad()
	return s, nil
}

func (s *sim) stream(name string) *stream { return newStream(s.m.o.Seed, s.replication, name) }

func (s *sim) schedule(at int64, kind eventKind, subject int32, stamp uint32) {
	s.list.schedule(at, kind, subject, stamp)
}

// instant is the present as package policy understands it.
func (s *sim) instant() time.Duration { return time.Duration(s.now) }

// run lets happen all that happens until the end.
func (s *sim) run(ctx context.Context) error {
	limit := s.m.o.MaxEvents
	err := s.runUntil(ctx, limit)
	if err == nil && !s.ended {
		err = fmt.Errorf("%w: more than %d by %v of %v simulated (Options.MaxEvents)",
			ErrTooManyEvents, limit, s.instant(), time.Duration(s.load.end))
	}
	return err
}

// runUntil stops after so many events in all.
func (s *sim) runUntil(ctx context.Context, limit int64) error {
	const checkEvery = 1 << 14
	for !s.ended && s.err == nil && s.events < limit {
		if s.events&(checkEvery-1) == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if s.tell != nil && s.events&(1<<20-1) == 0 {
				s.tell(Progress{Replication: s.replication, At: s.instant(), End: time.Duration(s.load.end), Events: s.events})
			}
		}
		s.events++
		if at := s.cpu.nextAt(); at <= s.list.nextAt() {
			s.now = at
			s.workDone()
			continue
		}
		e := s.list.next()
		s.now = e.at
		s.dispatch(e)
	}
	return s.err
}

func (s *sim) dispatch(e event) {
	switch e.kind() {
	case evArrival:
		s.arrive()
	case evStep:
		s.nextStep(e.subject)
	case evGo:
		s.nextStep(e.subject)
	case evDelay:
		if s.visits.at(e.subject).stamp == e.stamp {
			s.delayDone(e.subject)
		}
	case evRetry:
		if s.calls.at(e.subject).stamp == e.stamp {
			s.try(e.subject)
		}
	case evConnect:
		if s.calls.at(e.subject).stamp == e.stamp {
			s.tryFailed(e.subject, none, false, 504)
		}
	case evDeadline:
		s.deadlinesDue(e.subject)
	case evDue:
		if s.calls.at(e.subject).stamp == e.stamp {
			s.timedOut(e.subject)
		}
	case evHedge:
		if s.calls.at(e.subject).stamp == e.stamp {
			s.sendSecond(e.subject)
		}
	case evWarm:
		s.tally.begin(s)
	case evEnd:
		s.tally.finish(s)
		s.ended = true
	default:
		s.dispatchRare(e)
	}
}

// dispatchRare handles what does not happen for each request.
func (s *sim) dispatchRare(e event) {
	switch e.kind() {
	case evPeriod:
		s.newPeriod(e.subject)
	case evReady:
		if s.replicas[e.subject].stamp == e.stamp {
			s.ready(e.subject)
		}
	case evDrained:
		if s.replicas[e.subject].stamp == e.stamp {
			s.stop(e.subject)
		}
	case evPause:
		if s.replicas[e.subject].stamp == e.stamp {
			s.pause(e.subject)
		}
	case evResume:
		if s.replicas[e.subject].stamp == e.stamp {
			s.resume(e.subject)
		}
	case evFail:
		if s.replicas[e.subject].stamp == e.stamp {
			s.fail(e.subject)
		}
	case evTimer:
		s.timer(e.subject)
	case evTimetable:
		s.timetable(e.subject)
	case evLine:
		s.lineDue(e.subject)
	case evLimit:
		s.limitDue(e.subject)
	case evTrend:
		s.noteTrends()
	case evIdle:
		if s.replicas[e.subject].stamp == e.stamp {
			s.idleOver(e.subject)
		}
	case evBackground:
		s.background(e.subject)
	case evFault:
		s.strike(e.subject)
	case evRepair:
		s.repair(e.subject)
	case evScale:
		s.scale()
	case evTick:
		s.tally.tick(s)
	}
}

// setDeadline queues a deadline of a call or a request; those before it that are void leave the queue.
func (s *sim) setDeadline(queue, subject int32, stamp uint32) {
	d := &s.deadlines[queue]
	for d.n > 0 && s.void(queue, d.head()) {
		d.pop()
	}
	at := s.now + d.after
	d.push(deadline{at: at, subject: subject, stamp: stamp})
	if !d.armed {
		d.armed = true
		s.schedule(d.head().at, evDeadline, queue, 0)
	}
}

// void reports whether what a deadline is about is over.
func (s *sim) void(queue int32, d deadline) bool {
	if queue >= s.tryOut {
		return s.calls.at(d.subject).tryStamp != d.stamp
	}
	if queue >= s.ackOut {
		return s.messages.at(d.subject).stamp != d.stamp
	}
	switch queue {
	case s.clientOut:
		return s.requests.at(d.subject).stamp != d.stamp
	case s.waitOut:
		return s.calls.at(d.subject).waitStamp != d.stamp
	}
	return s.calls.at(d.subject).stamp != d.stamp
}

func (s *sim) deadlinesDue(queue int32) {
	for {
		d := &s.deadlines[queue]
		if d.n == 0 {
			d.armed = false
			return
		}
		first := d.head()
		if s.void(queue, first) {
			d.pop()
			continue
		}
		if first.at > s.now {
			s.schedule(first.at, evDeadline, queue, 0)
			return
		}
		d.pop()
		switch {
		case queue == s.clientOut:
			s.clientGone(first.subject)
		case queue == s.waitOut:
			s.waitOver(first.subject)
		case queue >= s.tryOut:
			s.tryTimedOut(first.subject)
		case queue >= s.ackOut:
			s.ackOver(first.subject)
		default:
			s.timedOut(first.subject)
		}
	}
}

// lane is a way of calling a service: the very pools, breakers, retriers and budgets that the gateway runs.
type lane struct {
	service int32
	pool    *policy.Pool
	retrier *policy.Retrier
	bound   *policy.Adaptive // nil: there is none
	// what cannot finish in its time is refused; nil: nothing is
	feasible *policy.Feasibility
	atDoor   int64          // calls that were let in
	ledger   *policy.Ledger // nil: nobody asks it for tries
	probes   bool           // the policy goes by probes
	draws    *stream
}

// newLane returns a lane whose bound is that of others of its service with the same settings, where they have one.
func newLane(m *laneModel, others []lane, ledger *policy.Ledger, draws *stream) (lane, error) {
	pool, err := policy.NewPool(m.balance, m.breaker)
	if err != nil {
		return lane{}, err
	}
	pool.SetSlowStart(m.slowStart)
	pool.SetOutliers(m.outliers)
	l := lane{service: m.service, pool: pool, retrier: policy.NewSharedRetrier(m.retry, ledger), probes: m.balance == topology.Prequal, draws: draws}
	if m.adaptive != nil {
		l.bound = policy.SharedAdaptive(*m.adaptive, func(yield func(*policy.Adaptive) bool) {
			for i := range others {
				if others[i].service == m.service && !yield(others[i].bound) {
					return
				}
			}
		})
	}
	if m.admission != nil {
		l.feasible = policy.NewFeasibility(*m.admission)
	}
	if l.retrier.Enabled() {
		l.ledger = ledger
	}
	return l, nil
}

// edge is a caller's way to a service.
type edge struct {
	edgeModel
	cuts   int            // partitions that cut it
	hedger *policy.Hedger // nil: nothing is hedged
	class  policy.Class   // of its priority
	header string
}

// prioritised reports whether anything is shed by what it is worth.
func (m *Model) prioritised() bool {
	return slices.ContainsFunc(m.edges, func(e edgeModel) bool { return e.priority != nil })
}
