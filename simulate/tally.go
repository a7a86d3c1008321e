package simulate

import (
	"fmt"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Outcome says how a request ended: what went wrong first, where something did.
type Outcome uint8

// The outcomes. Each request has exactly one.
const (
	// OK is a good answer.
	OK Outcome = iota
	// Timeout: a call, this one or one behind it, took longer than its time-out.
	Timeout
	// ClientTimeout: the client gave up.
	ClientTimeout
	// Broken: the breakers of all replicas were open.
	Broken
	// Refused: all replicas were at their limit for as long as the gateway waits, or too many waited already.
	Refused
	// Unavailable: no replica was ready for as long as the gateway waits.
	Unavailable
	// Disconnected: a replica died, or could not be reached.
	Disconnected
	// Failed: a replica answered with an error.
	Failed
	// Limited: there were too many requests (429).
	Limited

	outcomes = int(Limited) + 1
)

// String returns the outcome's name as it is shown to people and in JSON.
func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case Timeout:
		return "timeout"
	case ClientTimeout:
		return "client timeout"
	case Broken:
		return "broken"
	case Refused:
		return "refused"
	case Unavailable:
		return "unavailable"
	case Disconnected:
		return "disconnected"
	case Failed:
		return "failed"
	case Limited:
		return "limited"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// serviceCount is what has happened at a service since the start of the run, all replicas together.
type serviceCount struct {
	Calls, Visits                          int64 // calls made to it; visits that have ended
	Retries, OverBudget                    int64
	Timeouts, Refused, Broken, Orphans     int64
	Limited                                int64
	Hedges, Shed, Infeasible               int64
	Periods, ThrottledPeriods              int64
	cpu                                    float64 // core-seconds; filled in by a snapshot
	sojourn                                int64   // nanoseconds of visits that have ended; wraps around, as differences do not
	throttled                              int64   // nanoseconds
	presentArea, waitingArea, readyArea    float64 // number times seconds
	ready                                  int     // replicas now
	presentNow, waitingNow, replicasWanted int     // filled in by a snapshot
}

// since returns what has happened since an earlier snapshot.
func (c serviceCount) since(b serviceCount) serviceCount {
	c.Calls -= b.Calls
	c.Visits -= b.Visits
	c.Retries -= b.Retries
	c.OverBudget -= b.OverBudget
	c.Timeouts -= b.Timeouts
	c.Refused -= b.Refused
	c.Broken -= b.Broken
	c.Orphans -= b.Orphans
	c.Limited -= b.Limited
	c.Hedges -= b.Hedges
	c.Shed -= b.Shed
	c.Infeasible -= b.Infeasible
	c.Periods -= b.Periods
	c.ThrottledPeriods -= b.ThrottledPeriods
	c.cpu -= b.cpu
	c.sojourn -= b.sojourn
	c.throttled -= b.throttled
	c.presentArea -= b.presentArea
	c.waitingArea -= b.waitingArea
	c.readyArea -= b.readyArea
	return c
}

// account sums the areas of a service up to now. It is called before a number that they sum changes.
func (s *sim) account(service int32) {
	sv := &s.services[service]
	if dt := float64(s.now-sv.accounted) * 1e-9; dt > 0 {
		c := &sv.count
		c.presentArea += dt * float64(sv.present)
		c.waitingArea += dt * float64(sv.waiting.n)
		c.readyArea += dt * float64(c.ready)
	}
	sv.accounted = s.now
}

// snapshot is what has happened at a service up to now.
func (s *sim) snapshot(service int32) serviceCount {
	s.account(service)
	s.cpu.advance(s.now)
	sv := &s.services[service]
	c := sv.count
	c.cpu = 0
	for _, i := range sv.replicas {
		p := &s.cpu.procs[i]
		s.cpu.sync(p)
		c.cpu += p.used
		if r := &s.replicas[i]; r.throttled != 0 {
			c.throttled += s.now - r.throttled
		}
	}
	c.presentNow, c.waitingNow, c.replicasWanted = sv.present, sv.waiting.n, sv.wanted
	return c
}

// routeTally counts the requests of a route.
type routeTally struct {
	Started  int64 // since the start of the run
	Ended    int64 // since the start of the run
	outcomes [outcomes]int64
	hits     int64            // answered by the gateway's cache, of those that came while measuring
	copied   int64            // sent to the route's mirror, since the start of the run
	dropped  int64            // copies that would have been one too many
	latency  *stats.Histogram // nanoseconds; of all requests that ended while measuring
}

// tally is what a replication has measured.
type tally struct {
	measuring   bool
	from, to    int64
	routes      []routeTally
	base        []serviceCount // at the end of the warm-up
	services    []serviceCount // from then to the end
	blockBase   []blockCount
	blocks      []blockCount
	busyBase    float64
	busy        float64 // core-seconds of the machine
	scaleBase   []serviceCount
	timeline    []Point
	every       int64
	lastBusy    float64
	tickBase    []serviceCount
	interval    *stats.Histogram
	intervalBad int64
}

func newTally(m *Model) tally {
	t := tally{
		routes: make([]routeTally, len(m.routes)), base: make([]serviceCount, len(m.services)),
		services: make([]serviceCount, len(m.services)), scaleBase: make([]serviceCount, len(m.services)),
		blockBase: make([]blockCount, len(m.blocks)), blocks: make([]blockCount, len(m.blocks)),
	}
	for i := range t.routes {
		t.routes[i].latency = stats.NewHistogram(latencyDigits)
	}
	return t
}

// latencyDigits is the precision of latencies: a thousandth.
const latencyDigits = 3

// begin starts to measure.
func (t *tally) begin(s *sim) {
	t.measuring, t.from = true, s.now
	for i := range t.base {
		t.base[i] = s.snapshot(int32(i))
	}
	for i := range t.blockBase {
		t.blockBase[i] = s.accountBlock(int32(i)).count.since(blockCount{})
	}
	t.busyBase = s.cpu.busy
}

// finish ends it.
func (t *tally) finish(s *sim) {
	t.to = s.now
	for i := range t.services {
		t.services[i] = s.snapshot(int32(i)).since(t.base[i])
	}
	for i := range t.blocks {
		t.blocks[i] = s.accountBlock(int32(i)).count.since(t.blockBase[i])
	}
	t.busy = s.cpu.busy - t.busyBase
	if t.every > 0 && len(t.timeline) > 0 && s.now > int64(t.timeline[len(t.timeline)-1].At) {
		t.point(s)
	}
}

func (t *tally) requestDone(s *sim, route int32, latency int64, o Outcome) {
	r := &t.routes[route]
	r.Ended++
	if t.measuring {
		r.outcomes[o]++
		r.latency.Record(latency)
	}
	if t.every > 0 {
		t.interval.Record(latency)
		if o != OK {
			t.intervalBad++
		}
	}
}

func (t *tally) sinceScale(s *sim, service int32) serviceCount {
	now := s.snapshot(service)
	d := now.since(t.scaleBase[service])
	t.scaleBase[service] = now
	return d
}

// Point of the time-line: what happened in one interval.
type Point struct {
	// At is the end of the interval, since the start of the run.
	At time.Duration `json:"at_ns"`
	// Throughput is the requests that ended a second, Errors those of them that were not good.
	Throughput float64 `json:"throughput"`
	Errors     float64 `json:"errors"`
	// Mean and P99 of the latency of requests that ended.
	Mean time.Duration `json:"mean_ns"`
	P99  time.Duration `json:"p99_ns"`
	// CPU of the machine in cores.
	CPU      float64        `json:"cpu"`
	Services []ServicePoint `json:"services"`
}

// ServicePoint is a service in one interval, in the order of the result's services.
type ServicePoint struct {
	// CPU in cores, all replicas together.
	CPU float64 `json:"cpu"`
	// Present is the mean number of requests at the replicas, Waiting of calls that waited for one.
	Present float64 `json:"present"`
	Waiting float64 `json:"waiting"`
	// Retries a second.
	Retries float64 `json:"retries"`
	// Ready is the mean number of replicas that were ready.
	Ready float64 `json:"ready"`
}

// keepTimeline makes the replication keep a time-line.
func (t *tally) keepTimeline(s *sim) {
	every := int64(s.m.o.Timeline)
	for _, most := range []int64{maxTimeline, max(1, 2_000_000/int64(len(s.m.services)))} {
		if s.load.end/every >= most {
			every = (s.load.end + most - 1) / most
		}
	}
	t.every, t.interval = every, stats.NewHistogram(2)
	t.tickBase = make([]serviceCount, len(s.m.services))
	s.schedule(every, evTick, 0, 0)
}

func (t *tally) tick(s *sim) {
	t.point(s)
	s.schedule(s.now+t.every, evTick, 0, 0)
}

// point closes an interval.
func (t *tally) point(s *sim) {
	start := int64(0)
	if n := len(t.timeline); n > 0 {
		start = int64(t.timeline[n-1].At)
	}
	width := float64(s.now-start) * 1e-9
	p := Point{
		At: time.Duration(s.now), Throughput: float64(t.interval.Count()) / width, Errors: float64(t.intervalBad) / width,
		Mean: time.Duration(t.interval.Mean()), P99: t.interval.QuantileDuration(0.99),
		Services: make([]ServicePoint, len(s.m.services)),
	}
	for i := range p.Services {
		now := s.snapshot(int32(i))
		d := now.since(t.tickBase[i])
		t.tickBase[i] = now
		p.Services[i] = ServicePoint{
			CPU: d.cpu / width, Present: d.presentArea / width, Waiting: d.waitingArea / width,
			Retries: float64(d.Retries) / width, Ready: d.readyArea / width,
		}
	}
	p.CPU = (s.cpu.busy - t.lastBusy) / width
	t.lastBusy = s.cpu.busy
	t.interval.Reset()
	t.intervalBad = 0
	t.timeline = append(t.timeline, p)
}
