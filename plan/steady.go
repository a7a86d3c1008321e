package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// steady is a model compiled for one mix of routes, so that it can be asked thousands of times: at other throughputs,
// with other replicas, limits, cores and demands. It gives the answers of the model's solveOpen, term by term; a test
// holds the two together. Throughputs are of all routes, in requests a second; times in seconds.
type steady struct {
	cores, burst float64
	background   float64 // cores used without any request
	services     []station
	routes       []pass
	slos         []promise
	tail         []*curve // of p99, where an SLO has paid for it

	// What one request of the mix uses: CPU on a full machine, and what waking up adds on an idle one.
	full, wake float64
	// Found by the last solve.
	stretch        float64
	mean, variance []float64
	lost           []loss   // to the CPU limit by each visit, by service
	memory         []recent // by service
}

// station is a service; its demands are those of a request of the mix.
type station struct {
	name       string
	replicas   int
	limit      float64
	idle       float64
	scale      float64 // multiplies the CPU demand
	visits     float64
	full, wake float64
	square     [3]float64 // second moment of the CPU time, as a polynomial in the idle share
	own        bool       // a service of the file, neither gateway nor client
	memory     float64    // bytes of one replica
}

// limited says that a replica cannot have all cores.
func (st *station) limited(cores float64) bool { return st.limit > 0 && st.limit < cores }

// pass is a route's way through the services.
type pass struct {
	name            string
	share           float64
	at              []call
	slow            float64 // multiplies the delay
	delay, delayVar float64
	cpu, visits     float64
	scv             float64
}

type call struct {
	service int
	demand  demand
	times   float64 // calls, retries counted, over those without any
}

// promise is one latency limit of an SLO.
type promise struct {
	slo   string
	key   string
	route int
	q     *curve
	limit float64
}

// compile makes the model ready for a mix.
func (m *model) compile(sys *topology.System, mix map[string]float64) (*steady, error) {
	s := &steady{cores: m.cores, burst: m.burst, background: m.idleCores()}
	index, curves := map[string]int{}, map[float64]*curve{}
	for i, svc := range m.services {
		index[svc.name] = i
		st := station{name: svc.name, replicas: svc.replicas, limit: svc.limit, idle: m.idle[svc.name], scale: 1}
		if f := sys.Services[svc.name]; f != nil {
			st.own, st.memory = true, float64(f.Limits.Memory)
		}
		s.services = append(s.services, st)
	}
	for i, name := range m.routes {
		p := pass{name: name, share: mix[name], slow: 1}
		if !(p.share >= 0 && p.share <= 1e9) {
			return nil, fmt.Errorf("the load of route %s is %v of all: want a finite number of requests", name, p.share)
		}
		for _, svc := range sortedKeys(m.demands[name]) {
			p.at = append(p.at, call{service: index[svc], demand: m.demands[name][svc], times: 1})
		}
		s.routes = append(s.routes, p)
		for _, slo := range sortedKeys(sys.SLOs) {
			if sys.SLOs[slo].Route != name {
				continue
			}
			for _, key := range sortedKeys(sys.SLOs[slo].Latency) {
				q, err := percentile(key)
				if err != nil {
					return nil, fmt.Errorf("SLO %s: %w", slo, err)
				}
				if curves[q] == nil {
					if curves[q], err = newCurve(q); err != nil {
						return nil, fmt.Errorf("SLO %s: %w", slo, err)
					}
				}
				s.slos = append(s.slos, promise{slo: slo, key: key, route: i, q: curves[q], limit: sys.SLOs[slo].Latency[key].Std().Seconds()})
			}
		}
	}
	if c := curves[0.99]; c != nil {
		s.tail = append(s.tail, c)
	}
	slices.SortStableFunc(s.slos, func(a, b promise) int { return strings.Compare(a.slo, b.slo) })
	s.mean, s.variance = make([]float64, len(s.routes)), make([]float64, len(s.routes))
	s.lost = make([]loss, len(s.services))
	s.memory = make([]recent, len(s.services))
	s.gather()
	return s, nil
}

// gather sums demands; to be called again after a scale or a slow was changed.
func (s *steady) gather() {
	s.full, s.wake = 0, 0
	for i := range s.services {
		st := &s.services[i]
		st.visits, st.full, st.wake, st.square = 0, 0, 0, [3]float64{}
	}
	for i := range s.routes {
		r := &s.routes[i]
		r.cpu, r.delay, r.delayVar, r.visits = 0, 0, 0, 0
		square := 0.0
		for _, c := range r.at {
			d, st := c.demand, &s.services[c.service]
			cpu, wake := st.scale*d.cpu, st.scale*d.wake
			full, delay := cpu+st.scale*d.async, r.slow*d.delay
			n := r.share * d.visits * c.times
			st.visits += n
			st.full += n * full
			st.wake += n * wake
			st.square[0] += n * full * full * (1 + d.scv)
			st.square[1] += n * 2 * full * wake * (1 + d.scv)
			st.square[2] += n * wake * wake * (1 + d.scv)
			r.cpu += d.visits * cpu
			r.delay += d.visits * delay
			r.delayVar += d.visits * d.delaySCV * delay * delay
			if d.cpu > 0 {
				r.visits += d.visits
				square += d.visits * cpu * cpu * (1 + d.scv)
			}
		}
		r.scv = 0
		if r.cpu > 0 {
			one := r.cpu / r.visits
			r.scv = max(0, square/r.visits/(one*one)-1)
		}
	}
	for _, st := range s.services {
		s.full += st.full
		if st.limited(s.cores) {
			s.full += st.wake // it sleeps unless its limit makes it stand still
		} else {
			s.wake += st.wake
		}
	}
}

// idle is the idle share of the machine at throughput x; see model.idleShare.
func (s *steady) idle(x float64) float64 {
	free := s.cores - s.background
	return max(0, (free-x*s.full)/(s.cores+x*s.wake))
}

// use is the number of cores that all services together use at throughput x.
func (s *steady) use(x float64) float64 { return s.background + x*(s.full+s.wake*s.idle(x)) }

// fullAt is the throughput at which a service uses all of its limit, infinite where it never does.
func (s *steady) fullAt(i int) float64 {
	st := &s.services[i]
	if st.limit <= 0 {
		return math.Inf(1)
	}
	room := st.limit*float64(st.replicas) - st.idle
	if room <= 0 {
		return 0
	}
	if st.limited(s.cores) {
		return room / max(st.full, 1e-300) // full, it never sleeps
	}
	if st.full+st.wake <= 0 {
		return math.Inf(1)
	}
	// With C cores, F free ones of them and the idle share (F - x full) / (C + x wake), x (f + w i) = room is quadratic.
	free := s.cores - s.background
	a := st.full*s.wake - st.wake*s.full
	b := st.full*s.cores + st.wake*free - room*s.wake
	c := -room * s.cores
	best := math.Inf(1)
	if math.Abs(a) < 1e-15*math.Abs(b) {
		if b > 0 {
			best = -c / b
		}
	} else if d := b*b - 4*a*c; d >= 0 {
		// Citardauq form for the small root, so that nothing cancels.
		q := -(b + math.Copysign(math.Sqrt(d), b)) / 2
		for _, x := range []float64{q / a, c / q} {
			if x > 0 && x < best {
				best = x
			}
		}
	}
	if free > 0 && best*s.full <= free {
		return best
	}
	if st.full <= 0 {
		return math.Inf(1)
	}
	return room / st.full
}

// machineFullAt is the throughput at which the machine is full.
func (s *steady) machineFullAt() float64 {
	if s.full <= 0 {
		return math.Inf(1)
	}
	return max(0, s.cores-s.background) / s.full
}

// held is the throughput at which the first resource is full, and its name.
func (s *steady) held() (x float64, by string) {
	x, by = s.machineFullAt(), Machine
	for i := range s.services {
		if at := s.fullAt(i); at < x {
			x, by = at, s.services[i].name
		}
	}
	return x, by
}

// solve finds mean and variance of each route's latency at throughput x. It reports false where something is full.
func (s *steady) solve(x float64) (bool, error) {
	if held, _ := s.held(); x >= held {
		return false, nil
	}
	if !s.shareCores(x) {
		return false, nil
	}
	return s.finish(x)
}

// shareCores finds how much sharing the cores stretches CPU time at throughput x; false where they are full.
func (s *steady) shareCores(x float64) bool {
	servers, _ := wholeServers(s.cores)
	q, err := queueing.MMc(max(s.use(x)/s.cores*float64(servers), 1e-12), 1, servers)
	if err != nil {
		return false
	}
	s.stretch = max(1, 1+q.Wq)
	return true
}

// bursts is how much longer than at random arrivals CPU time waits, as a multiple of it.
func (s *steady) bursts(idle float64) float64 {
	if s.burst == 1 {
		return 0
	}
	servers, _ := wholeServers(s.cores)
	q, err := queueing.MMc(min(1-idle, 0.999)*float64(servers), 1, servers)
	if err != nil {
		return 0
	}
	return (s.burst - 1) * q.Wq
}

// finish turns the machine's stretch into latencies.
func (s *steady) finish(x float64) (bool, error) {
	idle := s.idle(x)
	_, speed := wholeServers(s.cores)
	s.loseToLimits(x)
	wait := s.bursts(idle)
	for i := range s.routes {
		r := &s.routes[i]
		limit, limitVar := 0.0, 0.0
		for _, c := range r.at {
			limit += c.demand.visits * s.lost[c.service].mean
			limitVar += c.demand.visits * s.lost[c.service].variance()
		}
		if math.IsInf(limit, 1) {
			return false, nil
		}
		s.mean[i] = r.delay + limit
		s.variance[i] = r.delayVar + limitVar
		if r.cpu <= 0 {
			continue
		}
		one := r.cpu / speed
		s.mean[i] += one * (s.stretch + wait)
		n := max(r.visits, 1)
		v, err := queueing.PSVariance(one/n, r.scv, max(1, s.stretch+wait))
		if err != nil {
			return false, fmt.Errorf("route %s: %w", r.name, err)
		}
		s.variance[i] += n * v
	}
	return true, nil
}

// loseToLimits fills lost for throughput x.
func (s *steady) loseToLimits(x float64) {
	for i := range s.services {
		st := &s.services[i]
		s.lost[i] = loss{}
		if !st.limited(s.cores) || st.visits <= 0 || st.full+st.wake <= 0 {
			continue
		}
		n := float64(st.replicas)
		h := held{rate: x * st.visits / n, idle: st.idle / n, limit: st.limit, cores: s.cores}
		h.cpu = st.full / st.visits
		h.scv = st.square[0]/st.visits/(h.cpu*h.cpu) - 1
		asked := remembered{h: h, visits: st.visits, wake: st.wake / st.visits, square: st.square}
		if out, ok := s.memory[i].find(&asked); ok {
			s.lost[i] = out
			continue
		}
		asleep := h.asleep(asked.wake)
		h.cpu = (st.full + st.wake*asleep) / st.visits
		h.scv = (st.square[0]+asleep*(st.square[1]+asleep*st.square[2]))/st.visits/(h.cpu*h.cpu) - 1
		s.lost[i] = h.loss()
		asked.out = s.lost[i]
		s.memory[i].keep(asked)
	}
}

// remembered is what a service loses to its limit, and all that it follows from. A search asks for the same again and again:
// what is changed is one service of many.
type remembered struct {
	h            held
	visits, wake float64
	square       [3]float64
	out          loss
}

// recent are the answers last found for a service.
type recent struct {
	last [4]remembered
	next int
}

func (r *recent) find(asked *remembered) (loss, bool) {
	for i := range r.last {
		if k := &r.last[i]; k.h == asked.h && k.visits == asked.visits && k.wake == asked.wake && k.square == asked.square {
			return k.out, true
		}
	}
	return loss{}, false
}

func (r *recent) keep(k remembered) {
	r.last[r.next] = k
	r.next = (r.next + 1) % len(r.last)
}

// latency is the mean over all routes after a solve.
func (s *steady) latency() float64 {
	var sum, shares float64
	for i := range s.routes {
		sum += s.routes[i].share * s.mean[i]
		shares += s.routes[i].share
	}
	return sum / shares
}

// strain is the highest ratio of a promised percentile to its limit after a solve, and which promise that is.
func (s *steady) strain() (ratio float64, worst int, err error) {
	worst = -1
	for i, p := range s.slos {
		v, err := p.q.at(s.mean[p.route], s.variance[p.route])
		if err != nil {
			return 0, 0, err
		}
		if v/p.limit > ratio || worst < 0 {
			ratio, worst = v/p.limit, i
		}
	}
	return ratio, worst, nil
}
