package simulate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Names in demands that are no services: Banyan's gateway, and the load generator where it shares the machine.
const (
	Gateway = "gateway"
	Client  = "client"
)

// none is the index of nothing.
const none int32 = -1

// Model is a system made ready for simulation. It is not changed by Run, which may be called more than once, and from
// several goroutines at once unless the options' functions forbid it.
type Model struct {
	o          Options
	system     string
	cores      float64
	apart      float64 // see queueing.CoresBusy
	services   []serviceModel
	lanes      []laneModel
	edges      []edgeModel
	nodes      []node
	routes     []routeModel
	timeouts   []time.Duration // distinct ones of edges
	tries      []time.Duration // distinct time-outs of single tries
	blocks     []blockModel
	httpCaches []httpCacheModel
	groups     []groupModel
	timetables []timetable
	links      []distribution
	aims       []aimModel
	cookies    int  // that bind clients
	keyed      bool // something asks who a request comes from, or what it is about
	load       *workload
	faults     []fault

	sizing *Sizing // nil: it is as large as the file says

	dispersion float64 // of the work, as it was calibrated; 0: not known
	turns      bool    // programs let their work wait its turn, as a calibration says
	notes      []string
}

// serviceModel is a station: a service, or the gateway or the client.
type serviceModel struct {
	name        string
	replicas    int
	min, max    int // between which it is scaled
	limit       float64
	threads     int // of a replica; 0: as the calibration has them
	concurrency int
	start       time.Duration
	drain       time.Duration
	restart     topology.Restart
	idle        float64 // cores used without any request
	client      bool    // it is the client
	pause       Pause
	failures    Failures
	lanes       []int32
	groups      []int32 // whose messages it handles
	block       int32   // function whose instances these are; none: another station
}

// laneModel is one way of calling a service, as the gateway has them: a balancing policy, breakers and a retry budget,
// shared by all routes and edges that ask for the same.
type laneModel struct {
	service   int32
	balance   topology.Balance
	slowStart time.Duration
	retry     *topology.Retry
	breaker   *topology.Breaker
	outliers  *topology.Outliers
	adaptive  *topology.Adaptive
	admission *topology.Admission
}

// edgeModel is a caller's way to a service. The caller of requests from outside is none.
type edgeModel struct {
	from, to int32
	lane     int32   // none: straight, past all policies
	timeout  int32   // index into timeouts
	block    int32   // that is called; none: a service
	writes   float64 // share of the operations on a table that write; negative: as the table says
	link     int32   // index into links: what the network adds; none: nothing
	aim      int32   // index into aims; none: all requests are alike
	// of a single try: index into tries; none: as long as the call
	tryTimeout int32
	hedge      *topology.Hedge
	priority   *topology.Priority
}

// node is what a visit to a service does in the requests of a route.
type node struct {
	service           int32 // none: the request itself, which only calls
	block             int32 // none: a service
	cpu, async, delay distribution
	wake              float64    // seconds of CPU that a visit costs more after a long rest of its replica
	calls             []nodeCall // those that are made at the same time last
	fork              int32      // index of the first of these
	visits            float64    // to it and below, of one visit; 0 while unknown
	height            int
}

// nodeCall is a call that a visit makes.
type nodeCall struct {
	node, edge int32
	mean       float64 // how often: so many times, and once more with the probability of the rest
	whole      int32
	rest       float64
	together   bool      // with others that are
	origin     *nodeCall // of a cache: what is asked where it has nothing; nil: not known
}

type routeModel struct {
	name  string
	root  int32 // node
	cache int32 // index into httpCaches; none: the gateway keeps nothing
	hit   int32 // node of requests that are answered from the cache
	// what becomes of requests besides going to one service; nil: nothing
	traffic *trafficModel
}

// Limits of what is simulated.
const (
	maxCores         = 1e6
	maxServices      = 100_000
	maxReplicas      = 200_000
	maxHeight        = 1000
	maxVisitsRequest = 1e7
)

// New reads a system into a model. The system is one that package topology loaded, or an equal one; what it does not
// say is taken from the field's documented default. Errors name the service, route or option that is wrong.
func New(sys *topology.System, o Options) (*Model, error) {
	if sys == nil {
		return nil, errors.New("simulate: no system given")
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	m, err := compile(sys, o)
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	return m, nil
}

func compile(sys *topology.System, o Options) (*Model, error) {
	m := &Model{o: o, system: sys.Name, cores: o.Cores}
	if sys.Machine != nil && sys.Machine.Cores != 0 {
		m.cores = float64(sys.Machine.Cores)
	}
	if !(m.cores > 0 && m.cores <= maxCores) {
		return nil, fmt.Errorf("the machine has %v cores: say 'machine: {cores: N}'", m.cores)
	}
	load, err := compileLoad(sys, o)
	if err != nil {
		return nil, err
	}
	if err := load.divide(o.Cells); err != nil {
		return nil, err
	}
	m.load = load
	c := &compiler{
		m: m, sys: sys, byWork: map[string]int32{}, index: map[string]int32{}, onPath: map[string]bool{}, silent: map[string]bool{},
		byLane: map[string]int32{}, byTimeout: map[time.Duration]int32{}, byEdge: map[edgeModel]int32{}, byCookie: map[string]int32{},
		byBlock: map[string]int32{},
	}
	if err := c.addServices(); err != nil {
		return nil, err
	}
	for _, name := range load.routes {
		if err := c.addRoute(name); err != nil {
			return nil, fmt.Errorf("route %s: %w", name, err)
		}
	}
	if err := c.afterRoutes(); err != nil {
		return nil, err
	}
	if err := c.shareMemory(); err != nil {
		return nil, fmt.Errorf("http_cache: %w", err)
	}
	c.keys()
	if !m.costs() {
		return nil, ErrNoDemands
	}
	if err := c.size(); err != nil {
		return nil, err
	}
	if m.faults, err = c.compileFaults(o.Faults); err != nil {
		return nil, err
	}
	if total := m.load.expected(); total > float64(o.MaxEvents) {
		return nil, fmt.Errorf("%w: the load starts %.3g scenarios, and MaxEvents is %d", ErrTooManyEvents, total, o.MaxEvents)
	}
	m.turns = sys.Calibration != nil && sys.Calibration.Slice > 0
	if k := sys.Calibration; k != nil && k.Apart > 0 {
		m.apart = k.Apart
	}
	if k := sys.Calibration; k != nil && k.Dispersion > 0 && k.Dispersion <= 1000 {
		m.dispersion = k.Dispersion
	}
	c.note()
	return m, nil
}

// afterRoutes compiles what requests do not wait for: consumers of queues and topics, and what the clock starts.
func (c *compiler) afterRoutes() error {
	if err := errors.Join(c.timers(), c.scheduled()); err != nil {
		return err
	}
	for len(c.unfed) > 0 {
		i := c.unfed[0]
		c.unfed = c.unfed[1:]
		use := c.m.blocks[i].name
		_, name := topology.ServiceOf(use)
		if err := c.groups(i, name); err != nil {
			return fmt.Errorf("%s: %w", use, err)
		}
	}
	return nil
}

// threads is how many jobs a replica with a CPU limit (0: none) runs at once: as many as there are cores, or as its limit
// makes of them, which is two at least, as Go's runtime counts (since 1.25). 0: as many as there are.
func (m *Model) threads(limit float64) int {
	if !m.turns {
		return 0
	}
	n := math.Ceil(m.cores - 1e-9)
	if limit > 0 {
		n = min(n, max(2, math.Ceil(limit)))
	}
	return int(n)
}

func (m *Model) costs() bool {
	for _, n := range m.nodes {
		if n.cpu.mean+n.async.mean+n.wake+n.delay.mean > 0 {
			return true
		}
	}
	return false
}

// compiler builds a model.
type compiler struct {
	m      *Model
	sys    *topology.System
	index  map[string]int32 // services by name
	byWork map[string]int32 // nodes of services' own work
	onPath map[string]bool  // services between the entry and the one being expanded
	silent map[string]bool  // services of whose work nothing is known

	// what is there already
	byLane    map[string]int32
	byTimeout map[time.Duration]int32
	byEdge    map[edgeModel]int32
	byCookie  map[string]int32
	byBlock   map[string]int32
	unfed     []int32 // queues and topics whose consumers are still to be compiled
}

func (c *compiler) addServices() error {
	names := sortedKeys(c.sys.Services)
	if len(names) > maxServices {
		return fmt.Errorf("%d services: at most %d are simulated", len(names), maxServices)
	}
	names = append(names, Gateway, Client)
	total := 0
	for _, name := range names {
		s := serviceModel{name: name, replicas: 1, min: 1, max: 1, block: none, client: name == Client}
		if svc := c.sys.Services[name]; svc != nil {
			var err error
			if s, err = c.service(name, svc); err != nil {
				return fmt.Errorf("service %s: %w", name, err)
			}
		}
		if c.sys.Calibration != nil {
			s.idle = c.sys.Calibration.Idle[name]
		}
		if s.idle < 0 || s.idle > maxCores || math.IsNaN(s.idle) {
			return fmt.Errorf("service %s: idle use of %v cores", name, s.idle)
		}
		if total += max(s.replicas, s.max); total > maxReplicas {
			return fmt.Errorf("more than %d replicas in all", maxReplicas)
		}
		if _, ok := c.index[name]; !ok {
			c.index[name] = int32(len(c.m.services))
			c.m.services = append(c.m.services, s)
		}
	}
	return c.checkNames()
}

// checkNames refuses options for services that do not exist.
func (c *compiler) checkNames() error {
	o := c.m.o
	for _, by := range []struct {
		option string
		names  []string
	}{{"Replicas", sortedKeys(o.Replicas)}, {"CPU", sortedKeys(o.CPU)}, {"Starts", sortedKeys(o.Starts)}, {"Pauses", sortedKeys(o.Pauses)}, {"Failures", sortedKeys(o.Failures)}} {
		for _, name := range by.names {
			if c.sys.Services[name] == nil {
				return fmt.Errorf("%s names service %q, which does not exist", by.option, name)
			}
		}
	}
	return nil
}

func (c *compiler) service(name string, svc *topology.Service) (serviceModel, error) {
	o := c.m.o
	s := serviceModel{
		name: name, replicas: max(svc.Replicas.Min, 1), limit: float64(svc.Limits.CPU), concurrency: svc.Concurrency,
		start: o.Start, drain: svc.Drain.Std(), restart: svc.Restart, pause: o.Pauses[name],
		failures: o.Failures[name], block: none,
	}
	if n, ok := o.Replicas[name]; ok {
		s.replicas = n
	}
	s.min = min(max(svc.Replicas.Min, 1), s.replicas)
	s.max = max(svc.Replicas.Max, s.replicas)
	if cpu, ok := o.CPU[name]; ok {
		s.limit = cpu
	}
	if start, ok := o.Starts[name]; ok {
		s.start = max(start, 0)
	}
	setDefault(&s.drain, 10*time.Second)
	setDefault(&s.restart.Min, topology.Duration(100*time.Millisecond))
	setDefault(&s.restart.Max, topology.Duration(30*time.Second))
	setDefault(&s.restart.Reset, topology.Duration(30*time.Second))
	switch {
	case s.replicas < 1 || s.max > maxReplicas:
		return s, fmt.Errorf("%d replicas: want 1 to %d", s.replicas, maxReplicas)
	case s.limit < 0 || math.IsNaN(s.limit) || s.limit > maxCores:
		return s, fmt.Errorf("CPU limit of %v cores", s.limit)
	case s.limit > 0 && s.limit < 0.001:
		return s, fmt.Errorf("CPU limit of %v cores: the kernel knows none below 0.001", s.limit)
	case s.max > policy.MaxMembers:
		return s, fmt.Errorf("%d replicas: at most %d of one service are simulated", s.max, policy.MaxMembers)
	case s.concurrency < 0:
		return s, fmt.Errorf("concurrency of %d", s.concurrency)
	case s.failures.MTBF < 0 || s.failures.MTTR < 0:
		return s, fmt.Errorf("failures every %v for %v: want positive times", s.failures.MTBF, s.failures.MTTR)
	case s.pause.Every < 0 || s.pause.For < 0 || (s.pause.For > 0 && s.pause.Every == 0):
		return s, fmt.Errorf("pauses of %v every %v: want both positive", s.pause.For, s.pause.Every)
	}
	return s, nil
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// note says what of the system is not simulated.
func (c *compiler) note() {
	for _, route := range c.sys.Routes {
		if parts := unsimulated(&route.Inbound); len(parts) > 0 {
			c.m.notes = append(c.m.notes, fmt.Sprintf("%s: %s not simulated yet", route.Name, list(parts)))
		}
	}
	if left := c.sys.Workload.Unmodelled(); left != "" {
		c.m.notes = append(c.m.notes, left)
	}
	if left := c.sys.UnmodelledSagas(); left != "" {
		c.m.notes = append(c.m.notes, left)
	}
	if len(c.silent) > 0 {
		c.m.notes = append(c.m.notes, fmt.Sprintf("nothing is known of the work of %s: counted as none", list(sortedKeys(c.silent))))
	}
	for _, name := range c.sys.SortedServices() {
		if scale := c.sys.Services[name].Scale; scale != nil && (len(scale.Schedule) > 0 || scale.Budget > 0 || scale.Vertical != nil) {
			c.assume("scale of %s: schedule, budget and vertical are not simulated", name)
		}
	}
	if c.m.o.Autoscale == nil {
		for _, s := range c.m.services {
			if s.max > s.replicas {
				c.m.notes = append(c.m.notes, "no autoscaler was given: the number of replicas stays as it is at the start")
				break
			}
		}
	}
}

// assume notes an assumption, once.
func (c *compiler) assume(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(c.m.notes, note) && len(c.m.notes) < maxNotes {
		c.m.notes = append(c.m.notes, note)
	}
}

// maxNotes bounds what is noted of a system with very many parts.
const maxNotes = 200

func list(names []string) string {
	const most = 8
	text := ""
	for i, n := range names {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(names)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}
