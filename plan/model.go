package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// ErrNoDemands means that nothing says what a request costs.
var ErrNoDemands = errors.New("nothing says what a request costs: give services 'work: {cpu: 2ms}', or run 'banyan load' and then 'banyan calibrate'")

// demand is what one request of a route asks of one service. Times in seconds, for one visit.
type demand struct {
	visits          float64
	cpu, async      float64
	wake            float64 // CPU on an idle machine, none of it on a full one
	scv             float64
	delay, delaySCV float64
	calls           map[string]float64 // that one visit makes, by service, where they were counted
	writes          float64            // share of visits that write, to a table
}

// model is a system as the planner sees it.
type model struct {
	cores    float64
	idle     map[string]float64 // cores used without any request, by service
	bound    *bound             // of all that the load asks; nil: there is none that is modelled
	apart    float64            // see queueing.CoresBusy
	burst    float64            // waiting for the CPU as a multiple of what Poisson arrivals would make it
	routes   []string           // sorted
	demands  map[string]map[string]demand
	services []service // sorted by name; the gateway and the client last
	caches   []*cachedRoute
	beyond   []string                 // what the system does that only the simulator knows
	stores   []cacheStore             // caches of the file
	writing  map[string]bool          // routes whose requests write: they drop from a cache what others look up
	tables   map[string]*tableStation // that a route of the load asks, as in 'uses'
	notes    []string
}

// service is a station with a quota of its own.
type service struct {
	name     string
	replicas int
	limit    float64 // cores of one replica, 0 for none
	places   int     // requests that one replica is given at once, 0 for any number
}

// limited says that a replica cannot have all cores.
func (s service) limited(cores float64) bool { return s.limit > 0 && s.limit < cores }

// newModel builds the model of all routes that the load touches.
func newModel(sys *topology.System, load Load, o Options) (*model, error) {
	m := &model{cores: o.Cores, burst: 1, idle: map[string]float64{}, demands: map[string]map[string]demand{}, writing: map[string]bool{}}
	if sys.Machine != nil && sys.Machine.Cores > 0 {
		m.cores = float64(sys.Machine.Cores)
	}
	if !(m.cores > 0) || math.IsInf(m.cores, 0) {
		return nil, fmt.Errorf("the machine has %v cores: say 'machine: {cores: N}'", m.cores)
	}
	for _, name := range loadRoutes(load) {
		if err := m.addRoute(sys, name); err != nil {
			return nil, err
		}
	}
	if len(m.routes) == 0 {
		return nil, ErrNoWorkload
	}
	if !m.anyDemand() {
		return nil, ErrNoDemands
	}
	m.findBound(sys)
	m.addServices(sys, o)
	m.addStores(sys, o)
	if c := sys.Calibration; c != nil {
		for name, cores := range c.Idle {
			m.idle[name] = cores
		}
		m.burst, m.apart = burstOf(c), c.Apart
	}
	if left := sys.Workload.Unmodelled(); left != "" {
		m.notes = append(m.notes, left)
	}
	if left := sys.UnmodelledSagas(); left != "" {
		m.notes = append(m.notes, left)
	}
	m.noteTables(sys)
	if err := m.settleCaches(sys, load); err != nil {
		return nil, err
	}
	return m, nil
}

// burstOf is how much longer than in a Poisson stream calls wait: half the dispersion. Work that comes more evenly than by chance is
// taken to come by chance, as in the simulator: a low load says little of how even it is at a higher one, and machines whose
// runs were recorded made all of it wait longer than that.
func burstOf(c *topology.Calibration) float64 { return max(1, c.Dispersion/2) }

func loadRoutes(load Load) []string {
	from := load.Rates
	if load.Users > 0 {
		from = load.Mix
	}
	var names []string
	for name, v := range from {
		if v > 0 {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func (m *model) addRoute(sys *topology.System, name string) error {
	route := sys.RouteByName(name)
	if route == nil {
		return fmt.Errorf("the load names route %q, which does not exist", name)
	}
	demands := map[string]demand{}
	if declared, ok := sys.Demands[name]; ok {
		for svc, d := range declared {
			demands[svc] = demand{
				visits: d.Visits, cpu: d.CPU.Std().Seconds(), async: d.Async.Std().Seconds(), wake: d.Wake.Std().Seconds(),
				scv: scvOf(d.SCV), delay: d.Delay.Std().Seconds(), delaySCV: scvOf(d.DelaySCV), calls: d.Calls,
			}
			if err := m.addTable(sys, route, svc, d, demands); err != nil {
				return fmt.Errorf("demands of %s: %w", name, err)
			}
		}
	} else {
		silent := expandRoute(sys, route, demands)
		if len(silent) > 0 {
			slices.Sort(silent)
			m.notes = append(m.notes, fmt.Sprintf("%s: nothing is known of the work of %s, counted as none", name, strings.Join(slices.Compact(silent), ", ")))
		}
		addTables(sys, route, demands)
		if blocks := blocksOf(sys, demands); len(blocks) > 0 {
			m.leaveOut(blocks...)
			m.notes = append(m.notes, fmt.Sprintf("%s: %s are left out of the prediction; 'banyan simulate' knows them", name, strings.Join(blocks, ", ")))
		}
	}
	m.keepTables(sys, route, demands)
	if err := m.addCache(sys, route, demands); err != nil {
		return err
	}
	if route.Hedge != nil {
		m.leaveOut("hedges")
		m.notes = append(m.notes, fmt.Sprintf("%s: the load of hedges is counted, the latency that they save is not", name))
	}
	if parts := route.Unmodelled(); len(parts) > 0 {
		m.leaveOut(parts...)
		m.notes = append(m.notes, fmt.Sprintf("%s: %s not modelled yet, the prediction is without", name, strings.Join(parts, ", ")))
	}
	m.routes = append(m.routes, name)
	m.demands[name], m.writing[name] = demands, !reads(route)
	return nil
}

// leaveOut takes note of what only the simulator knows.
func (m *model) leaveOut(names ...string) {
	for _, name := range names {
		if !slices.Contains(m.beyond, name) {
			m.beyond = append(m.beyond, name)
		}
	}
}

// expandRoute adds what the services of a route are asked, by their own 'work': each has its share of the requests.
// Nobody waits for copies (of mirrors and hedges), but they cost CPU all the same.
func expandRoute(sys *topology.System, route *topology.Route, into map[string]demand) (silent []string) {
	for _, s := range route.Shares(false) {
		silent = append(silent, expandWork(sys, s.Service, s.Share, into)...)
	}
	aside := func(to string, share float64) {
		extra := map[string]demand{}
		silent = append(silent, expandWork(sys, to, share, extra)...)
		for name, e := range extra {
			d, ok := into[name]
			if !ok || d.visits == 0 {
				d = demand{visits: e.visits, scv: 1, delaySCV: 1}
			}
			d.async += e.visits * e.cpu / d.visits
			into[name] = d
		}
	}
	if h := route.Hedge; h != nil && (route.Method == "" || policy.Idempotent(route.Method)) {
		share := math.Min(float64(h.Budget), 1-float64(h.Quantile))
		for _, s := range route.Shares(false) {
			aside(s.Service, share*s.Share)
		}
	}
	if m := route.Mirror; m != nil {
		aside(m.To, float64(m.Share))
	}
	return silent
}

// expandWork follows the calls from a service down and adds what each asks. The loader has made sure that there are
// no cycles. It returns the services whose work is unknown.
func expandWork(sys *topology.System, name string, visits float64, into map[string]demand) (silent []string) {
	svc := sys.Services[name]
	if svc == nil {
		return nil
	}
	d := into[name]
	d.visits += visits
	d.scv, d.delaySCV = 1, 1
	if !svc.Work.Known() {
		silent = append(silent, name)
	} else {
		d.cpu, d.delay, d.scv = svc.Work.CPU.Std().Seconds(), svc.Work.Delay.Std().Seconds(), scvOf(svc.Work.SCV)
	}
	into[name] = d
	for _, used := range svc.Uses {
		if sys.Services[used] == nil {
			continue
		}
		if calls := callsOf(svc, used); calls > 0 {
			silent = append(silent, expandWork(sys, used, visits*calls, into)...)
		}
	}
	return silent
}

// blocksOf names the caches, queues, topics and functions that the services of a route use, and the tables that are no stations.
func blocksOf(sys *topology.System, visited map[string]demand) []string {
	var blocks []string
	for svc := range visited {
		if f := sys.Services[svc]; f != nil {
			for _, used := range f.Uses {
				_, station := visited[used]
				if station = station || isTable(used) && callsOf(f, used) <= 0; !station && sys.Services[used] == nil {
					blocks = append(blocks, used)
				}
			}
		}
	}
	slices.Sort(blocks)
	return slices.Compact(blocks)
}

func scvOf(p *float64) float64 {
	if p == nil {
		return 1
	}
	return *p
}

func (m *model) anyDemand() bool {
	for _, byService := range m.demands {
		for _, d := range byService {
			if d.visits > 0 && d.cpu+d.async+d.wake+d.delay > 0 {
				return true
			}
		}
	}
	return false
}

func (m *model) addServices(sys *topology.System, o Options) {
	names := map[string]bool{}
	for name := range sys.Services {
		names[name] = true
	}
	for _, byService := range m.demands {
		for name := range byService {
			names[name] = true
		}
	}
	for name := range names {
		s := service{name: name, replicas: 1}
		if svc := sys.Services[name]; svc != nil {
			s.replicas, s.limit, s.places = max(svc.Replicas.Min, 1), float64(svc.Limits.CPU), svc.Concurrency
			if n, ok := o.Replicas[name]; ok {
				s.replicas = max(n, 1)
			}
			if c, ok := o.CPU[name]; ok {
				s.limit = c
			}
		} else if t := m.tables[name]; t != nil {
			s.replicas, s.limit = t.nodes, float64(sys.Tables[strings.TrimPrefix(name, "tables.")].CPU)
		}
		m.services = append(m.services, s)
	}
	slices.SortFunc(m.services, func(a, b service) int {
		return strings.Compare(sortKey(a.name), sortKey(b.name))
	})
}

// sortKey puts the gateway and the client behind the services.
func sortKey(name string) string {
	if name == Gateway || name == Client {
		return "\xff" + name
	}
	return name
}

// Machine is the name of the station that all services share: the cores of the machine.
const Machine = "machine"
