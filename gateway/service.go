package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// Backend is one replica of a service.
type Backend struct {
	// ID of the replica, unique within its service.
	ID string
	// Address on which it answers HTTP, host:port.
	Address string
	// Weight is its share of the requests in relation to others', under policies that weigh. 0 counts as 1.
	Weight int
	// Zone that it runs in; empty: not known.
	Zone string
}

// service is the set of backends of one service, and the ways in which calls reach them.
type service struct {
	name    string
	g       *Gateway
	waiting waitlist
	now     func() time.Duration
	ledger  policy.Ledger // what all lanes spent on retries and hedges
	place   place
	// verdicts counts what was decided about tries that failed.
	verdicts [policy.Verdicts]atomic.Int64
	relief   atomic.Int64 // when more of it is expected to serve (Expect), by now; 0: nothing was said

	mu       sync.Mutex
	link     link
	limit    int64 // of requests at one backend at once; 0: none
	backends map[string]*backend
	lanes    []*lane // those of the newest table
	retired  []*lane // those of tables before it, which calls that began under them may still use
}

// place is where the gateway stands among others.
type place struct {
	zone     string
	gateway  int
	gateways int
}

// lane is one way of calling a service: a balancing policy, breakers and a retry budget, shared by all routes and
// edges that ask for the same.
type lane struct {
	service *service
	key     string
	balance topology.Balance
	pool    *policy.Pool
	retrier *policy.Retrier
	bound   *policy.Adaptive // nil: there is none
	subset  int              // backends that are used; 0: all

	feasible *policy.Feasibility // nil: nothing is refused for being late
	inFlight atomic.Int64        // let in at the door; counted only with feasible

	longest time.Duration // time-out of the most patient calls on this lane
	until   time.Duration // when it has no more calls, once it is retired
}

// backend is one replica with its connections and counters. Its flags are guarded by the service's mutex.
type backend struct {
	policy.Backend
	service   *service
	id        string
	address   string
	transport *http.Transport
	members   map[*lane]*policy.Member
	ready     bool

	closing atomic.Bool   // draining or removed: nothing new is sent
	empty   chan struct{} // closed when closing and nothing is in flight
	emptied sync.Once

	conns    atomic.Int64
	requests atomic.Int64
	failures atomic.Int64
	latency  *stats.Recorder
}

func laneKey(in topology.Inbound) string {
	key := in.Handling()
	if in.Locality != nil {
		key += fmt.Sprintf("|locality %+v", *in.Locality)
	}
	if in.Subset > 0 {
		key += fmt.Sprintf("|subset %d", in.Subset)
	}
	return key
}

// newLane returns a way of calling the service as in asks for. It has the adaptive bound of others with the same settings: what
// they say of retries or balancing does not change how much the service can hold.
func (s *service) newLane(in topology.Inbound, others []*lane) (*lane, error) {
	pool, err := policy.NewPool(in.Balance, in.Breaker)
	if err != nil {
		return nil, err
	}
	pool.SetSlowStart(in.SlowStart.Std())
	pool.SetOutliers(in.Outliers)
	pool.SetLocality(s.place.zone, in.Locality)
	l := &lane{service: s, key: laneKey(in), balance: in.Balance, pool: pool, retrier: policy.NewSharedRetrier(in.Retry, &s.ledger), subset: in.Subset}
	if in.Admission != nil {
		l.feasible = policy.NewFeasibility(*in.Admission)
	}
	if in.Adaptive != nil {
		l.bound = policy.SharedAdaptive(*in.Adaptive, func(yield func(*policy.Adaptive) bool) {
			for _, o := range others {
				if !yield(o.bound) {
					return
				}
			}
		})
	}
	return l, nil
}

func (s *service) add(b Backend) {
	s.mu.Lock()
	n := newBackend(s, b, s.limit)
	old := s.backends[b.ID]
	s.backends[b.ID] = n
	s.rebuild()
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
}

func newBackend(s *service, b Backend, limit int64) *backend {
	n := &backend{
		service: s, id: b.ID, address: b.Address,
		members: map[*lane]*policy.Member{}, empty: make(chan struct{}), latency: stats.NewRecorder(2),
	}
	n.Backend.Owner, n.Backend.Key, n.Backend.Limit, n.Backend.Weight = n, policy.HashString(b.ID), limit, b.Weight
	n.Zone = b.Zone
	n.transport = newTransport(n)
	return n
}

// setReady begins a fresh chapter each time a backend becomes ready: its breakers forget what was before.
func (s *service) setReady(id string, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.backends[id]
	if b == nil || b.ready == ready {
		return
	}
	if b.ready = ready; ready {
		clear(b.members)
	}
	s.rebuild()
	if ready {
		s.waiting.wakeAll()
	}
}

// forget drops the retired lanes that no call can be on any more. The caller holds the mutex.
func (s *service) forget() {
	s.retired = slices.DeleteFunc(s.retired, func(l *lane) bool {
		if s.now() < l.until {
			return false
		}
		l.pool.Set(nil)
		for _, b := range s.backends {
			delete(b.members, l)
		}
		return true
	})
}

// use makes lanes those of the newest table, and limit that of each backend, which is reached as link says. Backends are
// replaced by others of the same address where that changes, since it is fixed: what is in flight at them finishes, and counts no more.
func (s *service) use(lanes []*lane, limit int64, to link) {
	s.mu.Lock()
	var old []*backend
	for _, l := range s.lanes {
		if !slices.Contains(lanes, l) {
			l.until = s.now() + l.longest
			s.retired = append(s.retired, l)
		}
	}
	s.lanes = lanes
	if s.limit != limit || !s.link.same(to) {
		s.limit, s.link = limit, to
		for id, b := range s.backends {
			n := newBackend(s, Backend{ID: b.id, Address: b.address, Weight: b.Weight, Zone: b.Zone}, limit)
			n.ready = b.ready
			s.backends[id] = n
			old = append(old, b)
		}
	}
	s.rebuild()
	s.mu.Unlock()
	for _, b := range old {
		b.close()
	}
	s.waiting.wakeAll()
}

// rebuild gives every lane the backends that are ready, in the order of their ids. The caller holds the mutex.
func (s *service) rebuild() {
	var use []*backend
	for _, id := range sortedKeys(s.backends) {
		if b := s.backends[id]; b.ready && !b.closing.Load() {
			use = append(use, b)
		}
	}
	s.forget()
	for _, l := range slices.Concat(s.lanes, s.retired) {
		some := l.some(use)
		members := make([]*policy.Member, len(some))
		for i, b := range some {
			if b.members[l] == nil {
				b.members[l] = l.pool.NewMember(&b.Backend)
				b.members[l].Since = s.now()
			}
			members[i] = b.members[l]
		}
		l.pool.Set(members)
	}
}

// some returns those of the backends that the lane uses.
func (l *lane) some(use []*backend) []*backend {
	if l.subset == 0 {
		return use
	}
	keys := make([]uint64, len(use))
	for i, b := range use {
		keys[i] = b.Key
	}
	var out []*backend
	for _, i := range policy.Subset(keys, l.subset, l.service.place.gateway, l.service.place.gateways) {
		out = append(out, use[i])
	}
	return out
}

// drain takes the backend out, and waits until it has nothing in flight.
func (s *service) drain(ctx context.Context, id string) error {
	s.mu.Lock()
	b := s.backends[id]
	if b == nil {
		s.mu.Unlock()
		return fmt.Errorf("draining %s: no backend %q", s.name, id)
	}
	// First the flag, then the look at what is in flight: whoever takes a place does the reverse (see pick).
	b.closing.Store(true)
	s.rebuild()
	s.mu.Unlock()
	b.checkEmpty()
	select {
	case <-b.empty:
	case <-ctx.Done():
		return fmt.Errorf("draining %s %s: %d requests in flight: %w", s.name, id, b.InFlight(), context.Cause(ctx))
	}
	closed := make(chan struct{})
	b.closeIdle(func() { close(closed) })
	<-closed
	return nil
}

func (s *service) remove(id string) {
	s.mu.Lock()
	b := s.backends[id]
	if b != nil {
		delete(s.backends, id)
		b.closing.Store(true)
		s.rebuild()
	}
	s.mu.Unlock()
	if b != nil {
		b.close()
	}
}

// close lets no new request in and closes connections as they become idle.
func (b *backend) close() {
	b.closing.Store(true)
	b.checkEmpty()
	b.closeIdle(nil)
}

// closeIdle closes the connections on which nothing is in flight: the full tier's at once, the fast tier's soon; then it
// calls done, unless that is nil.
func (b *backend) closeIdle(done func()) {
	if done == nil {
		done = func() {}
	}
	b.transport.CloseIdleConnections()
	if t := b.service.g.fast.Load(); t != nil {
		t.closeIdle(b, done)
	} else {
		done()
	}
}

func (b *backend) checkEmpty() {
	if b.closing.Load() && b.InFlight() == 0 {
		b.emptied.Do(func() { close(b.empty) })
	}
}

// pick takes a place at a backend of the lane.
func (l *lane) pick(r *policy.Request, now time.Duration) (policy.Grant, policy.Refusal) {
	for {
		g, why := l.pool.Pick(r, now)
		if why != policy.Picked {
			return g, why
		}
		b := g.Owner.(*backend)
		if !b.closing.Load() {
			l.probe(r, now)
			return g, why
		}
		// Its draining began between the look at the set and the taking of the place. Once its service has rebuilt the
		// set, which holding the mutex proves, it is out of it.
		l.pool.Report(g, now, policy.Neutral)
		l.release(g, 0, policy.Neutral)
		l.service.awaitRebuild()
	}
}

// probe asks a few backends for their load, where the policy goes by that. All requests to a backend pass through here,
// so that its answer is known without sending anything; what other callers do shows in the latency.
func (l *lane) probe(r *policy.Request, now time.Duration) {
	var targets [policy.ProbesPerCall]*policy.Member
	for _, m := range targets[:l.pool.ProbeTargets(r, &targets)] {
		l.pool.Feed(m, m.Load(), now)
	}
}

// awaitRebuild returns when no change of the set is under way.
func (s *service) awaitRebuild() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

// release gives the place back.
func (l *lane) release(g policy.Grant, latency time.Duration, o policy.Outcome) {
	b := g.Owner.(*backend)
	l.pool.Release(g, latency, o)
	l.service.ledger.Outcome(l.service.now(), o)
	if b.closing.Load() {
		b.checkEmpty()
		if b.InFlight() == 0 {
			b.closeIdle(nil)
		}
	}
	if b.Limit > 0 {
		l.service.waiting.wakeOne()
	}
}

// closeAll closes the connections to all backends.
func (s *service) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.backends {
		b.closeIdle(nil)
	}
}
