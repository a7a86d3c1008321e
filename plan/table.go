package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// A table is a station whose replicas are its nodes. An operation takes CPU time at the node that answers it, and a write at all
// others too, with nobody waiting; beside that it waits for logs and for the majority. How the CPU time falls to nodes follows from
// which node leads which shard. The simulator plays the same (simulate/table.go).

// opCost is what one operation costs, in seconds.
type opCost struct{ cpu, scv, delay float64 }

// square is the second moment of its CPU time.
func (c opCost) square() float64 { return c.cpu * c.cpu * (1 + c.scv) }

// tableStation is a table of the file.
type tableStation struct {
	use string // as in 'uses'
	tableShape
	writes              float64 // share of operations that write; negative: by the method of the route
	read, write, follow opCost
	fsync, trip         float64 // seconds
	keys                int
	skew                float64
	quorums             map[int]*queueing.Quorum // by nodes
	spreads             map[tableShape]leaders

	// Of a request of the mix, found by gather.
	reads, written float64
	busiest        float64 // share of the nodes' CPU time that is the busiest node's
	now            tableWait
}

// tableShape is what a change may change.
type tableShape struct {
	nodes, shards int
	strong        bool
	eventual      float64 // share of reads that any node answers
}

// leaders is how operations fall to the nodes that lead, and to the hottest shard.
type leaders struct {
	led     []float64
	hottest float64
}

// tableWait is what operations wait for beside CPU time, as the last solve found it: seconds, and their squares.
type tableWait struct {
	read, readVar, write, writeVar float64
	log                            queueing.LogWait // of each node
}

// Costs of an operation where the file says nothing; package topology has the sources.
const (
	usualTableRead  = 60e-6
	usualTableWrite = 180e-6
	usualFsync      = 1e-3
	usualTrip       = 500e-6
)

// isTable reports whether a name in demands is that of a table.
func isTable(name string) bool { return strings.HasPrefix(name, "tables.") }

// tableOf reads a table of the file; nil where there is none of the name.
func tableOf(sys *topology.System, use string) *tableStation {
	if v := sys.Tables[strings.TrimPrefix(use, "tables.")]; v != nil && isTable(use) {
		return tableFrom(use, v)
	}
	return nil
}

// tableFrom reads the block of a table.
func tableFrom(use string, v *topology.Table) *tableStation {
	cost := func(c *topology.Cost, usual opCost) opCost {
		if c == nil {
			return usual
		}
		return opCost{c.CPU.Std().Seconds(), scvOf(c.SCV), c.Delay.Std().Seconds()}
	}
	t := &tableStation{
		use: use, tableShape: tableShape{max(v.Replicas, 1), max(v.Shards, 1), v.Consistency != "eventual", float64(v.EventualReads)},
		writes: -1, read: cost(v.Read, opCost{usualTableRead, 1, 0}), write: cost(v.Write, opCost{usualTableWrite, 1, 0}),
		fsync: v.Fsync.Std().Seconds(), trip: v.RoundTrip.Std().Seconds(), keys: v.Keys, skew: usualSkew,
		quorums: map[int]*queueing.Quorum{}, spreads: map[tableShape]leaders{},
	}
	t.follow = cost(v.Follow, t.write)
	if v.Engine == "" && v.Fsync == 0 && v.RoundTrip == 0 && v.Failover == 0 { // a file that was loaded has an engine
		t.fsync, t.trip = usualFsync, usualTrip
	}
	if v.Writes != nil {
		t.writes = float64(*v.Writes)
	}
	if v.Skew != nil {
		t.skew = *v.Skew
	}
	return t
}

// addTables adds the calls to tables of the services that a route visits, where it has no demands: each of as many operations as the
// service's 'work' says. A table behind a cache of the same service is left to the simulator. Nil where the route asks for none.
func addTables(sys *topology.System, route *topology.Route, demands map[string]demand) {
	for _, name := range sortedKeys(demands) {
		svc := sys.Services[name]
		if svc == nil {
			continue
		}
		for _, used := range svc.Uses {
			t := tableOf(sys, used)
			if t == nil || behindCache(sys, svc, used) {
				continue
			}
			d := demands[used]
			if d.visits += demands[name].visits * callsOf(svc, used); d.visits > 0 {
				d.writes = t.writesOf(nil, route)
				demands[used] = d
			}
		}
	}
}

// behindCache reports whether a service asks a table only for what a cache does not have.
func behindCache(sys *topology.System, svc *topology.Service, table string) bool {
	return slices.ContainsFunc(svc.Uses, func(used string) bool {
		kind, name := topology.ServiceOf(used)
		c := sys.Caches[name]
		return kind == "caches" && c != nil && (c.Of == table || c.Of == "" && table == "tables."+name)
	})
}

// writesOf is the share of a route's operations that write: as its demand says, as the table does, or by the route's method.
func (t *tableStation) writesOf(said *topology.Percent, route *topology.Route) float64 {
	switch {
	case said != nil:
		return float64(*said)
	case t.writes >= 0:
		return t.writes
	case reads(route):
		return 0
	}
	return 1
}

// reads reports whether a route's requests change nothing, by its method.
func reads(route *topology.Route) bool { return route.Method == "" || policy.Safe(route.Method) }

// demandOf is what an operation asks of the nodes, where a share of them writes.
func (t *tableStation) demandOf(d demand) demand {
	r, w := 1-d.writes, d.writes
	d.cpu = r*t.read.cpu + w*t.write.cpu
	d.async = w * float64(t.nodes-1) * t.follow.cpu
	d.delay = r*t.read.delay + w*t.write.delay
	if d.scv = 0; d.cpu > 0 {
		d.scv = max(0, (r*t.read.square()+w*t.write.square())/(d.cpu*d.cpu)-1)
	}
	if d.delaySCV = 0; d.delay > 0 {
		d.delaySCV = max(0, 2*(r*t.read.delay*t.read.delay+w*t.write.delay*t.write.delay)/(d.delay*d.delay)-1)
	}
	return d
}

// leaders is how the leaders of its shards are spread.
func (t *tableStation) leaders() leaders {
	key := t.tableShape
	key.eventual = 0
	s, ok := t.spreads[key]
	if !ok {
		s.led, s.hottest = simulate.Leaders(t.keys, t.skew, t.shards, t.nodes)
		t.spreads[key] = s
	}
	return s
}

// settle finds the busiest node's share of the CPU time after reads and written have been summed.
func (t *tableStation) settle() {
	n := float64(t.nodes)
	even, led := t.reads*t.read.cpu+t.written*t.write.cpu, 0.0
	if t.strong {
		even = t.eventual * t.reads * t.read.cpu
		led = (1-t.eventual)*t.reads*t.read.cpu + t.written*t.write.cpu
	}
	all, most := even+led+t.written*(n-1)*t.follow.cpu, 0.0
	for _, share := range t.leaders().led {
		behind := 1 - share
		if !t.strong {
			behind = 1 - 1/n
		}
		most = max(most, even/n+led*share+t.written*behind*t.follow.cpu)
	}
	if t.busiest = 1 / n; all > 0 {
		t.busiest = most / all
	}
}

// solve finds what operations wait for at throughput x of the mix.
func (t *tableStation) solve(x float64) error {
	rate := x * t.written // each node's log takes all writes
	if !t.strong {
		rate /= float64(t.nodes)
	}
	log, err := queueing.GroupCommit(rate, t.fsync)
	if err != nil {
		return fmt.Errorf("%s: %w", t.use, err)
	}
	t.now = tableWait{write: log.Mean, writeVar: log.Variance, log: log}
	if !t.strong || t.nodes == 1 {
		return nil
	}
	q := t.quorums[t.nodes]
	if q == nil {
		if q, err = queueing.NewQuorum(t.nodes, t.trip, t.fsync); err != nil {
			return fmt.Errorf("%s: %w", t.use, err)
		}
		t.quorums[t.nodes] = q
	}
	t.now.write, t.now.writeVar = q.Write(log.Busy)
	mean, variance := q.Read()
	t.now.read = (1 - t.eventual) * mean
	t.now.readVar = (1-t.eventual)*(variance+mean*mean) - t.now.read*t.now.read
	return nil
}

// of is mean and variance of what an operation waits for, where a share of them writes.
func (w *tableWait) of(writes float64) (mean, variance float64) {
	mean = (1-writes)*w.read + writes*w.write
	square := (1-writes)*(w.readVar+w.read*w.read) + writes*(w.writeVar+w.write*w.write)
	return mean, max(0, square-mean*mean)
}

// addTable reads the demand of a route on a table: nothing but how often it is asked, and how much of that writes.
func (m *model) addTable(sys *topology.System, route *topology.Route, use string, said *topology.Demand, demands map[string]demand) error {
	if !isTable(use) {
		return nil
	}
	t := tableOf(sys, use)
	if t == nil {
		return fmt.Errorf("there is no table %s", strings.TrimPrefix(use, "tables."))
	}
	demands[use] = demand{visits: said.Visits, writes: t.writesOf(said.Writes, route)}
	return nil
}

// keepTables makes stations of the tables that a route asks. What copies of its requests ask of them is left out.
func (m *model) keepTables(sys *topology.System, route *topology.Route, demands map[string]demand) {
	for _, use := range sortedKeys(demands) {
		if !isTable(use) {
			continue
		}
		if m.tables == nil {
			m.tables = map[string]*tableStation{}
		}
		if m.tables[use] == nil {
			m.tables[use] = tableOf(sys, use)
		}
		demands[use] = m.tables[use].demandOf(demands[use])
		if route.Hedge != nil || route.Mirror != nil {
			m.leaveOut("what copies of requests ask of tables")
		}
	}
}

// keepCalibrated makes a station of a table as it was measured.
func (m *model) keepCalibrated(use string, v *topology.Table) {
	if m.tables == nil {
		m.tables = map[string]*tableStation{}
	}
	if m.tables[use] == nil {
		m.tables[use] = tableFrom(use, v)
	}
}

// noteTables says which tables of the file are no stations.
func (m *model) noteTables(sys *topology.System) {
	var left []string
	for _, name := range sortedKeys(sys.Tables) {
		if m.tables["tables."+name] == nil {
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		m.notes = append(m.notes, fmt.Sprintf("tables (%s): the work of what holds them, and the time that services wait for it, count only where 'demands' or a "+
			"calibration have them", strings.Join(left, ", ")))
	}
}

// gatherTables finds what a request of the mix asks of each table, and what an operation costs there.
func (s *steady) gatherTables() {
	if len(s.tables) == 0 {
		return
	}
	for _, t := range s.tables {
		t.reads, t.written = 0, 0
	}
	for i := range s.routes {
		r := &s.routes[i]
		for k := range r.at {
			c := &r.at[k]
			t := s.services[c.service].table
			if t == nil {
				continue
			}
			c.demand = t.demandOf(c.demand)
			n := r.share * c.demand.visits * c.times
			t.reads += n * (1 - c.demand.writes)
			t.written += n * c.demand.writes
		}
	}
	for i := range s.services {
		if st := &s.services[i]; st.table != nil {
			st.table.settle()
			st.spread = 1 / st.table.busiest
		}
	}
}

// solveTables finds what operations on tables wait for at throughput x.
func (s *steady) solveTables(x float64) error {
	for _, t := range s.tables {
		if err := t.solve(x); err != nil {
			return err
		}
	}
	return nil
}

// tableWait is mean and variance of what a visit waits for logs and majorities; nothing where it is not to a table.
func (s *steady) tableWait(c *call) (mean, variance float64) {
	if t := s.services[c.service].table; t != nil {
		return t.now.of(c.demand.writes)
	}
	return 0, 0
}
