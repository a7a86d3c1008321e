package orchestrate

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// event is whatever reaches a controller: launched, checked, gone and ended from its instances; scaleOrder and
// replaceOrder from outside.
type event any

type scaleOrder struct {
	change Change
	reply  chan error
}

type replaceOrder struct{ reply chan error }

// maxClashes is how often in a row a replica whose port was snatched away is started again without that counting as a
// crash.
const maxClashes = 5

// controller keeps one service as it should be. All its state belongs to the goroutine of run; others reach it through
// the inbox and read what it posts on the board.
type controller struct {
	d       *driver
	name    string
	svc     *topology.Service
	desired *desiredState
	board   *board
	inbox   chan event
	quit    chan struct{} // closed when the service is to stop
	done    chan struct{} // closed when run has returned

	start     time.Time
	target    target
	limits    limits
	revisions map[int]*revision
	latest    int // number of the newest revision
	members   map[int]*replica
	seq       uint64
	waiting   []chan error // of replaceOrders that are under way
	rollError string
	accepted  []acceptance // answers to give once the board shows what was accepted
	instances sync.WaitGroup
}

type acceptance struct {
	reply chan error
	err   error
}

// replica is what the controller knows of one.
type replica struct {
	member
	name       string
	meter      *meter
	restart    *policy.Restart
	in         *instance // nil while no process runs
	starts     int
	clashes    int
	inBalancer bool
	pid        int
	address    string
	started    time.Time
	readySince time.Time
	lastExit   string
	oom        bool
	why        string
	doomed     string // why its running process is being ended as never ready
	failure    string // failed, with the last lines
}

func newController(d *driver, name string, svc *topology.Service, desired *desiredState, b *board) *controller {
	w, restored := desired.restore(name, svc)
	c := &controller{
		d: d, name: name, svc: svc, desired: desired, board: b,
		inbox: make(chan event, 64), quit: make(chan struct{}), done: make(chan struct{}),
		start: time.Now(), revisions: make(map[int]*revision), members: make(map[int]*replica),
		limits: limits{w.CPU, w.Memory},
		target: target{
			replicas: w.Replicas, surge: svc.Deploy.Surge, unavailable: svc.Deploy.Unavailable,
			deadline: svc.Deploy.Deadline.Std(),
		},
	}
	if c.target.surge == 0 && c.target.unavailable == 0 {
		c.target.surge = 1
	}
	c.target.revision = c.newRevision().number
	if restored {
		d.journal.add(slog.LevelInfo, name, "", "restored",
			fmt.Sprintf("%d replicas and limits as they were scaled to before the last run died", w.Replicas))
	}
	c.post(false)
	return c
}

// send gives the controller an event, unless it has ended.
func (c *controller) send(e event) bool {
	select {
	case c.inbox <- e:
		return true
	case <-c.done:
		return false
	}
}

func (c *controller) now() time.Duration { return time.Since(c.start) }

// run keeps the service as it should be until quit is closed and everything has stopped.
func (c *controller) run() {
	defer close(c.done)
	defer c.instances.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	quit := c.quit
	for {
		wake := c.step()
		if c.target.stop && len(c.members) == 0 {
			return
		}
		timer.Stop()
		if wake > 0 {
			timer.Reset(max(wake-c.now(), 0))
		}
		select {
		case e := <-c.inbox:
			c.handle(e)
		case <-timer.C:
		case <-quit:
			quit = nil
			c.target.stop = true
			c.finishRoll(errors.New("the system is stopping"))
		}
	}
}

// step takes the steps that lead from actual to desired now, and returns the instant to look again.
func (c *controller) step() (wake time.Duration) {
	var out outcome
	// Again until nothing is left to do: giving up a replacement, or removing a replica that has no process, changes
	// at once what is to be done next. The bound is only there so that a mistake could not turn into an endless loop.
	for range 100 {
		members := make([]member, 0, len(c.members))
		for _, r := range c.members {
			members = append(members, r.member)
		}
		out = reconcile(c.target, members, c.now())
		if len(out.actions) == 0 {
			break
		}
		for _, a := range out.actions {
			c.apply(a)
		}
	}
	if out.rolled {
		c.target.previous = 0
		c.finishRoll(nil)
	}
	c.dropRevisions()
	c.post(out.settled)
	for _, a := range c.accepted {
		a.reply <- a.err
	}
	c.accepted = nil
	return out.wake
}

func (c *controller) apply(a action) {
	switch a.verb {
	case doCreate:
		c.create(a.index)
	case doRetry:
		r := c.members[a.index]
		c.note(slog.LevelInfo, r, "restarting", "")
		c.launch(r)
	case doStop:
		c.stop(c.members[a.index], a.why)
	case doGiveUp:
		c.giveUp(a.why)
	}
}

func (c *controller) create(index int) {
	c.seq++
	name := fmt.Sprintf("%s-%d", c.name, index)
	r := &replica{
		member:  member{index: index, seq: c.seq, revision: c.target.revision, created: c.now()},
		name:    name,
		meter:   &meter{service: c.name, replica: name},
		restart: policy.NewRestart(c.svc.Restart),
	}
	c.members[index] = r
	c.launch(r)
}

// launch starts a process for the replica; what comes of it arrives as events.
func (c *controller) launch(r *replica) {
	r.phase = phaseStarting
	r.starts++
	in := &instance{
		d: c.d, service: c.name, svc: c.svc, replica: r.name,
		id: fmt.Sprintf("%s.%d.%d", r.name, r.seq, r.starts), meter: r.meter, limits: c.limits,
		tell: func(e event) { c.send(e) }, orders: make(chan stopOrder, 1),
	}
	r.in = in
	var err error
	if c.svc.Build != "" {
		rev := c.revisions[r.revision]
		err = rev.pin(c.d.dir, c.name)
		in.program = rev.program
	}
	c.instances.Go(func() {
		if err != nil {
			in.tell(ended{in, ending{err: err, permanent: errors.Is(err, errStart)}})
			return
		}
		in.run()
	})
}

// stop drains and ends the replica for good.
func (c *controller) stop(r *replica, why string) {
	if r.in == nil {
		delete(c.members, r.index)
		c.note(slog.LevelInfo, r, "removed", why)
		return
	}
	r.phase = phaseStopping
	r.why = why
	c.note(slog.LevelInfo, r, "stopping", why)
	r.in.order(stopOrder{why: why, drain: r.inBalancer, grace: c.svc.Drain.Std()})
}

// giveUp returns from a replacement that failed to what ran before.
func (c *controller) giveUp(why string) {
	detail := why
	for _, r := range c.members {
		if r.revision == c.target.revision && r.failed != "" {
			why, detail = r.name+": "+r.failed, r.failure
		}
	}
	c.target.bad, c.target.revision, c.target.previous = c.target.revision, c.target.previous, 0
	c.rollError = why
	c.note(slog.LevelError, nil, "replacement failed", why)
	c.finishRoll(fmt.Errorf("%s: the replacement failed and is undone: %s", c.name, detail))
}

func (c *controller) finishRoll(err error) {
	for _, reply := range c.waiting {
		reply <- err
	}
	if len(c.waiting) > 0 && err == nil {
		c.note(slog.LevelInfo, nil, "replaced", "")
	}
	c.waiting = nil
}

func (c *controller) newRevision() *revision {
	c.latest++
	rev := &revision{number: c.latest}
	c.revisions[rev.number] = rev
	return rev
}

// dropRevisions forgets the revisions that nothing can return to.
func (c *controller) dropRevisions() {
	if len(c.revisions) == 1 {
		return
	}
	inUse := map[int]bool{c.target.revision: true, c.target.previous: true}
	for _, r := range c.members {
		inUse[r.revision] = true
	}
	for n, rev := range c.revisions {
		if !inUse[n] {
			rev.unpin()
			delete(c.revisions, n)
		}
	}
}

func (c *controller) handle(e event) {
	switch e := e.(type) {
	case launched:
		if r := c.of(e.in); r != nil {
			r.pid, r.address, r.started = e.pid, e.address, e.at
			c.note(slog.LevelInfo, r, "started", fmt.Sprintf("process %d at %s", e.pid, e.address))
		}
	case checked:
		if r := c.of(e.in); r != nil {
			c.judge(r, e.verdict)
		}
	case gone:
		if r := c.of(e.in); r != nil {
			c.takeOut(r)
			r.pid, r.address = 0, ""
			if r.phase != phaseStopping {
				r.phase = phaseEnding
			}
		}
	case ended:
		if r := c.of(e.in); r != nil {
			c.bury(r, e.ending)
		}
	case scaleOrder:
		c.accepted = append(c.accepted, acceptance{e.reply, c.scale(e.change)})
	case replaceOrder:
		c.replace(e.reply)
	}
}

// of returns the replica whose process the instance is, nil if that is over.
func (c *controller) of(in *instance) *replica {
	for _, r := range c.members {
		if r.in == in {
			return r
		}
	}
	return nil
}

// judge acts on what a check found. A replica that is being stopped or ended anyway is past judging.
func (c *controller) judge(r *replica, v verdict) {
	if r.phase == phaseStopping || r.phase == phaseEnding {
		return
	}
	grace := min(c.svc.Drain.Std(), endGrace)
	switch v.kind {
	case becameReady:
		if !r.inBalancer {
			c.d.balancer.Add(c.name, r.name, r.address)
			r.inBalancer = true
		}
		c.d.balancer.SetReady(c.name, r.name, true)
		r.phase, r.everReady, r.clashes, r.readySince = phaseReady, true, 0, time.Now()
		r.failed, r.failure, r.why = "", "", ""
		c.note(slog.LevelInfo, r, "ready", "after "+time.Since(r.started).Round(time.Millisecond).String())
	case becameUnready:
		c.d.balancer.SetReady(c.name, r.name, false)
		r.phase, r.why = phaseUnready, v.why
		c.note(slog.LevelWarn, r, "not ready", v.why)
	case neverCame:
		r.phase, r.why, r.doomed = phaseEnding, v.why, v.why
		c.note(slog.LevelError, r, "never ready", v.why)
		r.in.order(stopOrder{why: v.why, grace: grace})
	case notAlive:
		if r.inBalancer {
			c.d.balancer.SetReady(c.name, r.name, false)
		}
		r.phase, r.why = phaseEnding, v.why
		c.note(slog.LevelError, r, "not alive", v.why)
		r.in.order(stopOrder{why: v.why, grace: grace})
	}
}

// takeOut removes the replica from the balancer.
func (c *controller) takeOut(r *replica) {
	if r.inBalancer {
		c.d.balancer.Remove(c.name, r.name)
		r.inBalancer = false
	}
}

// bury takes note of how a process ended: it was stopped for good, or will be started again after a pause.
func (c *controller) bury(r *replica, e ending) {
	c.takeOut(r)
	r.in, r.started = nil, time.Time{}
	r.lastExit, r.oom = e.String(), e.oom
	if r.phase == phaseStopping {
		delete(c.members, r.index)
		c.note(slog.LevelInfo, r, "stopped", e.String())
		return
	}
	if e.clash && r.clashes < maxClashes {
		r.clashes++
		r.phase, r.retryAt = phaseWaiting, c.now()
		c.note(slog.LevelWarn, r, "port taken", "another program took its port before it could listen; trying another one")
		return
	}
	ran := e.ran
	if r.doomed != "" {
		ran = 0 // it was never up, however long that took
	}
	pause := r.restart.Exited(ran)
	r.phase, r.retryAt = phaseWaiting, c.now()+pause
	switch {
	case r.doomed != "":
		r.failed, r.failure = r.doomed, explain(r.name, r.doomed, e.lines)
		r.doomed = ""
	case !r.everReady && (e.permanent || r.restart.CrashLooping()):
		r.failed, r.failure = e.String(), explain(r.name, e.brief(), e.lines)
		r.why = r.failed
	default:
		r.why = e.String()
	}
	why := e.String()
	if r.restart.CrashLooping() {
		why += fmt.Sprintf("; crash-looping: %d exits in a row", r.restart.Exits())
	}
	if pause > 0 {
		why += fmt.Sprintf("; starting again in %v", pause)
	}
	c.note(slog.LevelError, r, "exited", why)
}

func (c *controller) note(level slog.Level, r *replica, what, why string) {
	name := ""
	if r != nil {
		name = r.name
	}
	c.d.journal.add(level, c.name, name, what, why)
}
