package plan

import (
	"fmt"
	"math"
	"slices"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// leastSampled is how many operations must have been looked at for their CPU time before their mean is trusted.
const leastSampled = 30

// spreadNote is by how much the operations on a table may differ from what the file declares before that is noted.
const spreadNote = 0.05

// findTables derives what operations on embedded tables cost, and how many a request of each route makes: as many as its services
// declare ('work.calls', or one for each visit), reads of routes whose method is safe and writes of the others, made to fit what was
// counted at the table. What routes that write read beside it is what the others do not account for.
func (c *calibration) findTables() {
	c.writes = grid(c.routes)
	for _, name := range sortedKeys(c.m.Tables) {
		v := c.sys.Tables[name]
		if v == nil {
			continue
		}
		t := c.m.Tables[name]
		if why := c.tooLittle(&t); why != "" {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("tables.%s: %s; what it costs stays a part of the gateway's CPU time and of the services' delays", name, why))
			continue
		}
		if !c.spreadOperations("tables."+name, &t) {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("tables.%s was asked by services that do not have it in 'uses': what it costs stays a part of the gateway's CPU time and of the services' delays", name))
			continue
		}
		if c.out.Tables == nil {
			c.out.Tables = map[string]*topology.Table{}
		}
		c.out.Tables[name] = c.costs(v, &t)
	}
	measured := *c.m
	measured.Services = c.m.apart(func(table string) bool { return c.out.Tables[table] != nil })
	c.m = &measured
}

// tooLittle says why a table's costs cannot be told; empty where they can.
func (c *calibration) tooLittle(t *TableMeasurement) string {
	switch {
	case t.Read.Count > 0 && t.Read.Sampled < leastSampled && t.Read.Count > 0.05*t.Write.Count,
		t.Write.Count > 0 && t.Write.Sampled < leastSampled && t.Write.Count > 0.05*t.Read.Count:
		return fmt.Sprintf("only %d reads and %d writes were looked at for their CPU time, %d are needed; load it longer", t.Read.Sampled, t.Write.Sampled, leastSampled)
	}
	return ""
}

// spreadOperations gives each route its operations on a table, and takes their time out of that of the services. It reports false
// where no service says that it asks the table.
func (c *calibration) spreadOperations(use string, t *TableMeasurement) bool {
	calls := map[string]map[string]float64{} // of one request, by route and service
	var safe, unsafe float64                 // a second
	for _, route := range c.routes {
		calls[route] = map[string]float64{}
		for svc, v := range c.visits[route] {
			f := c.sys.Services[svc]
			if f == nil || !slices.Contains(f.Uses, use) {
				continue
			}
			n := v * callsOf(f, use)
			if calls[route][svc] = n; c.reads(route) {
				safe += c.rate(route) * n
			} else {
				unsafe += c.rate(route) * n
			}
		}
	}
	if safe+unsafe <= 0 {
		return false
	}
	reads, writes := t.Read.Count/c.m.Seconds(), t.Write.Count/c.m.Seconds()
	if declared := safe + unsafe; math.Abs((reads+writes)/declared-1) > spreadNote {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s did %.4g operations for each that the services' 'work.calls' say (one for each visit if left out): they are spread over the routes to fit", use, (reads+writes)/declared))
	}
	safeReads := reads
	if unsafe > 0 {
		safeReads = min(reads, safe)
	}
	for _, route := range c.routes {
		r, w := 0.0, 0.0 // for each declared call
		switch {
		case c.reads(route) && unsafe > 0:
			r = safeReads / safe
		case c.reads(route):
			r, w = reads/safe, writes/safe
		default:
			r, w = (reads-safeReads)/unsafe, writes/unsafe
		}
		for svc, n := range calls[route] {
			c.addOperations(route, svc, use, n*r, n*w, t)
		}
	}
	return true
}

// addOperations adds reads and writes that one request of a route makes from a service.
func (c *calibration) addOperations(route, svc, use string, reads, writes float64, t *TableMeasurement) {
	n := reads + writes
	if n <= 0 {
		return
	}
	before := c.visits[route][use]
	c.writes[route][use] = (c.writes[route][use]*before + writes) / (before + n)
	c.visits[route][use] = before + n
	c.made[route][svc] += n
	c.own[route][svc] -= reads*t.Read.Mean.Seconds() + writes*t.Write.Mean.Seconds()
	if c.edges[route] == nil {
		c.edges[route] = map[string]map[string]float64{}
	}
	if c.edges[route][svc] == nil {
		c.edges[route][svc] = map[string]float64{}
	}
	c.edges[route][svc][use] += n
}

// reads reports whether a route's requests are taken to read only.
func (c *calibration) reads(route string) bool {
	r := c.sys.RouteByName(route)
	return r == nil || r.Method == "" || policy.Safe(r.Method)
}

// costs are a table's block with what was measured of it: one node, as 'up' runs it. What the latency has beyond CPU time, stretched as
// a machine that was so busy stretches it, and beyond the log is a delay.
func (c *calibration) costs(v *topology.Table, t *TableMeasurement) *topology.Table {
	out := *v
	out.Replicas, out.Consistency = 1, "strong"
	servers, _ := wholeServers(c.m.Cores)
	stretch, err := queueing.CoresStretch(min(c.m.MachineCPU/c.m.Cores, mostUsed)*float64(servers), servers, c.apart())
	if err != nil {
		stretch = 1
	}
	cost := func(cpu float64, mean, log float64) *topology.Cost {
		return &topology.Cost{CPU: topology.Duration(seconds(cpu)), Delay: topology.Duration(seconds(max(0, mean-cpu*stretch-log)))}
	}
	if t.Read.Sampled > 0 {
		out.Read = cost(t.Read.CPU.Seconds(), t.Read.Mean.Seconds(), 0)
	}
	if t.Forces >= leastSampled && t.Force > 0 {
		out.Fsync = topology.Duration(t.Force)
	}
	if t.Write.Sampled > 0 {
		log, err := queueing.GroupCommit(t.Write.Count/c.m.Seconds(), out.Fsync.Std().Seconds())
		if err == nil {
			out.Write = cost((t.Write.CPU + t.Apply).Seconds(), t.Write.Mean.Seconds(), log.Mean)
		}
		if t.Applied >= leastSampled {
			out.Follow = &topology.Cost{CPU: topology.Duration(t.Apply)}
		}
	}
	return &out
}

// splitTables sets the CPU time of operations on tables.
func (c *calibration) splitTables() {
	for name, v := range c.out.Tables {
		use := "tables." + name
		t := tableFrom(use, v)
		for _, route := range c.routes {
			if n := c.visits[route][use]; n > 0 {
				c.cpu[route][use] = n * t.demandOf(demand{writes: c.writes[route][use]}).cpu
			}
		}
	}
}

// tablesCPU is the CPU time that the tables spent on so many requests, by route.
func (c *calibration) tablesCPU(requests map[string]float64) (sum float64) {
	for name := range c.out.Tables {
		for _, route := range c.routes {
			sum += requests[route] * c.cpu[route]["tables."+name]
		}
	}
	return sum
}

// asksTables reports whether a service asks a table whose costs are known.
func (c *calibration) asksTables(svc string) bool {
	for name := range c.out.Tables {
		if f := c.sys.Services[svc]; f != nil && slices.Contains(f.Uses, "tables."+name) {
			return true
		}
	}
	return false
}
