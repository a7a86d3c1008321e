package plan

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// tableSystem is a service that asks a table: one operation for each request, reads of 'get' and writes of 'put'.
func tableSystem(v *topology.Table) *topology.System {
	cpu := func(ms float64) topology.Duration { return topology.Duration(ms * float64(time.Millisecond)) }
	v.Engine = "embedded" // so that what is 0 is 0
	if v.Read == nil {
		v.Read = &topology.Cost{CPU: cpu(0.3), Delay: cpu(0.1)}
	}
	if v.Write == nil {
		v.Write = &topology.Cost{CPU: cpu(0.8), Delay: cpu(0.2)}
	}
	return &topology.System{Name: "tabled", Machine: &topology.Machine{Cores: 4},
		Services: map[string]*topology.Service{"web": {Uses: []string{"tables.orders"}, Work: &topology.Work{CPU: cpu(0.5)}}},
		Tables:   map[string]*topology.Table{"orders": v},
		Routes:   []*topology.Route{{Name: "get", Method: "GET", Path: "/", To: "web"}, {Name: "put", Method: "PUT", Path: "/", To: "web"}},
	}
}

// TestTablesAsTheSimulatorHasThem holds the closed form of tables against the simulator, of all kinds and at different loads.
func TestTablesAsTheSimulatorHasThem(t *testing.T) {
	if raceEnabled {
		t.Skip("most of a minute under the race detector, and nothing here is concurrent")
	}
	share := func(v float64) *topology.Percent { p := topology.Percent(v); return &p }
	skew := 1.1
	for _, c := range []struct {
		name      string
		table     topology.Table
		demands   bool
		reads     float64
		writes    float64
		tolerance float64
	}{
		{"one node", topology.Table{Fsync: ms(2)}, false, 300, 200, 0.05},
		{"one node, its log always busy", topology.Table{Fsync: ms(8)}, false, 300, 900, 0.05},
		{"three strong nodes", topology.Table{Replicas: 3, Shards: 6, Fsync: ms(2), RoundTrip: ms(1)}, false, 300, 200, 0.05},
		{"five strong nodes, far away", topology.Table{Replicas: 5, Shards: 2, Fsync: ms(1), RoundTrip: ms(5)}, false, 200, 100, 0.05},
		{"three nodes, reads by any", topology.Table{Replicas: 3, Shards: 6, Fsync: ms(2), RoundTrip: ms(4), EventualReads: 1}, false, 300, 100, 0.05},
		{"three eventual nodes", topology.Table{Replicas: 3, Consistency: "eventual", Fsync: ms(4), RoundTrip: ms(4)}, false, 300, 300, 0.05},
		{"cheap followers", topology.Table{Replicas: 3, Follow: &topology.Cost{CPU: ms(0.1)}, Fsync: ms(1), RoundTrip: ms(1)}, false, 300, 500, 0.05},
		{"writes as the table says", topology.Table{Replicas: 3, Writes: share(0.5), Fsync: ms(3), RoundTrip: ms(1)}, false, 300, 100, 0.05},
		{"demands", topology.Table{Replicas: 3, Fsync: ms(3), RoundTrip: ms(1)}, true, 200, 100, 0.05},
		{"nodes with a limit, hot keys", topology.Table{Replicas: 3, Shards: 3, CPU: 1.5, Keys: 1000, Skew: &skew, Fsync: ms(1), RoundTrip: ms(1)}, false, 400, 100, 0.06},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := tableSystem(&c.table)
			if c.demands {
				writes := topology.Percent(0.25)
				for _, route := range []string{"get", "put"} {
					if sys.Demands == nil {
						sys.Demands = map[string]map[string]*topology.Demand{}
					}
					sys.Demands[route] = map[string]*topology.Demand{"web": {Visits: 1, CPU: ms(0.5)}, "tables.orders": {Visits: 2.5, Writes: &writes}}
				}
			}
			load := Load{Rates: map[string]float64{"get": c.reads, "put": c.writes}}
			p, err := Predict(sys, load, Options{})
			if err != nil {
				t.Fatal(err)
			}
			m, err := simulate.New(sys, simulate.Options{Seed: 1, Load: &load, Replications: 2, Duration: 40 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			r, err := m.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			agree := func(what string, closed, simulated, within float64) {
				if math.Abs(simulated/closed-1) > within {
					t.Errorf("%s: the simulator says %.4g, the closed form %.4g", what, simulated, closed)
				}
			}
			if len(p.Tables) != 1 || len(p.Beyond) > 0 {
				t.Fatalf("tables %+v, beyond %v", p.Tables, p.Beyond)
			}
			table, block := p.Tables[0], r.Blocks[0]
			for i, route := range p.Routes {
				agree("mean of "+route.Route, route.Mean.Seconds(), r.Routes[i].Mean.Value.Seconds(), c.tolerance)
				agree("p99 of "+route.Route, route.P99.Seconds(), r.Routes[i].P99.Value.Seconds(), 0.15)
			}
			agree("a read", table.Read.Seconds(), block.Read.Value.Seconds(), c.tolerance)
			agree("a write", table.Write.Seconds(), block.Write.Value.Seconds(), c.tolerance)
			agree("operations", table.Rate, block.Rate.Value, 0.03)
			agree("forces of logs", table.Forces, block.Syncs.Value, 0.04)
			agree("share of writes", table.Writes, block.Writes.Value, 0.05)
			agree("the machine", p.Machine.CPU, r.Machine.CPU.Value, 0.04)
			for _, s := range r.Services {
				if s.Service == "tables.orders" {
					agree("the nodes", table.CPU, s.CPU.Value, 0.04)
				}
			}
		})
	}
}

// TestBusiestNodeLimitsATable has the hot shard's leader be full first, and the changes that help do so.
func TestBusiestNodeLimitsATable(t *testing.T) {
	// Reads alone, of one shard on three nodes: the leader does all. 1 core of 0.25 ms a read: 4000/s.
	sys := tableSystem(&topology.Table{Replicas: 3, Shards: 1, CPU: 1, Read: &topology.Cost{CPU: ms(0.25)}, Write: &topology.Cost{CPU: ms(1)}, Fsync: ms(1), RoundTrip: ms(1)})
	sys.Machine.Cores = 64
	load := Load{Rates: map[string]float64{"get": 1000}}
	p, err := Make(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "what one leader holds", p.Saturation.Throughput, 4000, 1e-6)
	if p.Saturation.By != "tables.orders" || p.Tables[0].Busiest != 1 || p.Tables[0].Hottest != 1 {
		t.Errorf("full first is %s, the busiest node has %v, the hottest shard %v", p.Saturation.By, p.Tables[0].Busiest, p.Tables[0].Hottest)
	}
	near(t, "use of the busiest node", p.Tables[0].Used, 0.25, 1e-6)
	by := map[string]Change{}
	for _, c := range p.Changes {
		by[c.What] = c
	}
	for what, want := range map[string]float64{
		"tables.orders: 1 -> 2 shards": 8000, "tables.orders: eventual_reads 0% -> 100%": 12000, "tables.orders: 3 -> 4 replicas": 4000, "tables.orders: cpu 1 -> 2": 8000,
	} {
		if c, ok := by[what]; !ok {
			t.Errorf("%s is missing", what)
		} else {
			near(t, what, c.Saturation, want, 1e-6)
		}
	}
	near(t, "unchanged after all", p.Unchanged.Saturation, 4000, 1e-6)
	e, err := Explore(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(e.Counterfactuals, func(c Change) bool {
		return strings.HasPrefix(c.What, "tables.orders: 1 -> 2 shards") && c.Saturation > 7999
	}) {
		t.Errorf("exploring does not have the shards: %+v", e.Counterfactuals)
	}
	g, err := Grow(sys, load, CapacityOptions{For: 3 * 12 * month, Growth: &topology.GrowthRate{Share: 1, Period: "year"}})
	if err != nil {
		t.Fatal(err)
	}
	// Four times today's load, in two years, fills the leader; the remedy enlarges the nodes.
	if e := g.Ends[0]; e.What != "tables.orders" || math.Abs(float64(e.At)/float64(24*month)-1) > 0.01 {
		t.Errorf("first to end is %+v", e)
	}
	if r := g.Remedy; !r.Possible || !strings.HasPrefix(strings.Join(r.Changes, ";"), "tables.orders: cpu 1 -> 2") {
		t.Errorf("the remedy is %+v", r)
	}
	text, err := Overlay(sys, Options{}, g.Remedy)
	if err != nil || !strings.Contains(string(text), "tables:\n  orders: {cpu: 2") {
		t.Errorf("overlay %q, %v", text, err)
	}
}

// TestTableAddsWhatItIsWaitedFor checks a case that can be worked out by hand: nothing else is asked of the system.
func TestTableAddsWhatItIsWaitedFor(t *testing.T) {
	sys := tableSystem(&topology.Table{Fsync: ms(4), Read: &topology.Cost{}, Write: &topology.Cost{}})
	sys.Services["web"].Work = &topology.Work{CPU: ms(0.001)}
	p, err := Predict(sys, Load{Rates: map[string]float64{"put": 500}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// a = 500/s x 4 ms = 2: idle 1 in 7, so that a write waits 4 ms x (2 - 1/7).
	near(t, "a write", p.Routes[0].Mean.Seconds(), 0.004*(2-1.0/7), 0.001)
	near(t, "the log", p.Tables[0].Log, 6.0/7, 1e-9)
}

// TestTablesBehindCachesAreSimulated says which tables the closed form leaves to the simulator.
func TestTablesBehindCachesAreSimulated(t *testing.T) {
	sys := tableSystem(&topology.Table{Fsync: ms(1)})
	sys.Caches = map[string]*topology.Cache{"orders": {HitRatio: 0.5}}
	sys.Services["web"].Uses = append(sys.Services["web"].Uses, "caches.orders")
	p, err := Predict(sys, Load{Rates: map[string]float64{"get": 100}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Tables) > 0 || !slices.Equal(p.Beyond, []string{"caches.orders", "tables.orders"}) {
		t.Errorf("tables %+v, beyond %v", p.Tables, p.Beyond)
	}
	if did, err := p.Simulate(context.Background(), sys, Options{}); err != nil || !did {
		t.Errorf("it is not simulated: %v", err)
	}
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "tables (orders)") {
		t.Errorf("it is not said that the table is no station: %s", notes)
	}
}

// TestPlacesAreHeldWhileATableIsAsked has a service with places wait for its table in them.
func TestPlacesAreHeldWhileATableIsAsked(t *testing.T) {
	sys := tableSystem(&topology.Table{Fsync: ms(10), Write: &topology.Cost{}})
	sys.Services["web"].Concurrency = 4
	p, err := Predict(sys, Load{Rates: map[string]float64{"put": 100}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// a = 1: a write takes 10 ms x (2 - 1/3) and 0.5 ms of CPU before.
	near(t, "places held", p.Services[1].Places, 100*(0.010*(2-1.0/3)+0.0005)/4, 0.02)
	near(t, "mean", p.Routes[0].Mean.Seconds()-p.Services[1].Wait.Seconds(), 0.010*(2-1.0/3)+0.0005, 0.02)
}

// TestCalibrateFindsTables derives the costs of a table from a run that the model itself has made up.
func TestCalibrateFindsTables(t *testing.T) {
	truth := tableSystem(&topology.Table{Fsync: ms(3), Read: &topology.Cost{CPU: ms(0.3), Delay: ms(0.1)}, Write: &topology.Cost{CPU: ms(0.8), Delay: ms(0.2)}})
	truth.Machine.Cores = 2
	truth.Calibration = &topology.Calibration{Apart: coresApart}
	rates := map[string]float64{"get": 120, "put": 80}
	// A request of 'put' reads before it writes.
	half, none := topology.Percent(0.5), topology.Percent(0)
	truth.Demands = map[string]map[string]*topology.Demand{
		"get": {"web": {Visits: 1, CPU: ms(1)}, Gateway: {Visits: 1, CPU: ms(0.2)}, "tables.orders": {Visits: 1, Writes: &none}},
		"put": {"web": {Visits: 1, CPU: ms(1)}, Gateway: {Visits: 1, CPU: ms(0.2)}, "tables.orders": {Visits: 2, Writes: &half}},
	}
	m := madeUp(t, truth, rates, 60)
	file := tableSystem(&topology.Table{Fsync: ms(1), Replicas: 3})
	file.Services["web"].Work = &topology.Work{Calls: map[string]float64{"tables.orders": 1}}
	k, err := Calibrate(file, m)
	if err != nil {
		t.Fatal(err)
	}
	v := k.Tables["orders"]
	if v == nil {
		t.Fatalf("nothing was found: %v", k.Notes)
	}
	near(t, "CPU of a read", v.Read.CPU.Std().Seconds(), 0.0003, 0.01)
	near(t, "CPU of a write", v.Write.CPU.Std().Seconds(), 0.0008, 0.01)
	near(t, "CPU of a write elsewhere", v.Follow.CPU.Std().Seconds(), 0.0005, 0.01)
	near(t, "fsync", v.Fsync.Std().Seconds(), 0.003, 0.01)
	near(t, "delay of a read", v.Read.Delay.Std().Seconds(), 0.0001, 0.2)
	near(t, "delay of a write", v.Write.Delay.Std().Seconds(), 0.0002, 0.2)
	near(t, "operations of put", k.Demands["put"]["tables.orders"].Visits, 2, 0.02)
	near(t, "writes of put", float64(*k.Demands["put"]["tables.orders"].Writes), 0.5, 0.02)
	near(t, "operations of get", k.Demands["get"]["tables.orders"].Visits, 1, 0.02)
	gateway := k.Demands["get"][Gateway]
	near(t, "CPU of the gateway", (gateway.CPU+gateway.Async).Std().Seconds()+topology.Rested(200)*gateway.Wake.Std().Seconds(), 0.0002, 0.05)
	if notes := strings.Join(k.Notes, "\n"); !strings.Contains(notes, "tables.orders did 1.4 operations") {
		t.Errorf("it is not said that put reads too: %s", notes)
	}

	// What was found answers as the truth does, at twice the load too.
	found := *file
	found.Machine = truth.Machine
	found.Tables, found.Demands, found.Calibration = k.Tables, k.Demands, k.Calibration
	load := Load{Rates: map[string]float64{"get": 240, "put": 160}}
	want, err := Predict(truth, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Predict(&found, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range want.Routes {
		near(t, "mean of "+r.Route, got.Routes[i].Mean.Seconds(), r.Mean.Seconds(), 0.06)
	}
	near(t, "the machine", got.Machine.CPU, want.Machine.CPU, 0.07) // part of what was measured is taken to be waking up

	// And a comparison shows it.
	p, err := Predict(&found, Load{Rates: rates}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := Compare(p, nil, m, k.Calibration.Throughput)
	table, ok := c.Tables["tables.orders"]
	if !ok {
		t.Fatal("no table in the comparison")
	}
	for what, pair := range map[string]Pair{"read": table.Read, "write": table.Write, "operations": table.Rate, "CPU": table.CPU, "log": table.Log, "gateway": c.Services[Gateway], "nodes": c.Services["tables.orders"]} {
		if math.Abs(pair.Error) > 0.05 || pair.Measured == 0 {
			t.Errorf("%s: %+v", what, pair)
		}
	}
}

// TestOperationsOnTablesAreNotADearerHop: they wake the gateway's process up too, so that what a hop costs, and with it what is
// believed of waking up every service, is told apart from how many of them a request makes.
func TestOperationsOnTablesAreNotADearerHop(t *testing.T) {
	with := func(operations, writes float64) *calibration {
		const rate, hop = 100, 0.0004
		c := &calibration{
			m:      &Measurement{Cores: 2, MachineCPU: 0.5, Start: time.Unix(0, 0), End: time.Unix(60, 0), Routes: map[string]RouteMeasurement{"get": {Requests: 60 * rate}}},
			routes: []string{"get"},
			visits: map[string]map[string]float64{"get": {Gateway: 1, "web": 1, "tables.orders": operations}},
			made:   map[string]map[string]float64{"get": {"web": operations}},
			writes: map[string]map[string]float64{"get": {"tables.orders": writes}},
			cpu:    map[string]map[string]float64{"get": {Gateway: hop * (1 + operations*(1+writes)/2)}},
			out:    &Calibrated{Tables: map[string]*topology.Table{"orders": {}}},
		}
		return c
	}
	bare, asking := with(0, 0), with(2, 0.5)
	near(t, "a hop", asking.hop(), bare.hop(), 1e-9)
	wake := func(c *calibration, svc string) float64 { _, always := c.asleep("get", svc, 0.05); return always }
	near(t, "waking up web, for the request and two answers", wake(asking, "web"), 3*wake(bare, "web"), 1e-9)

	// Commands to caches are shared among the visits of those that use them.
	caching := with(0, 0)
	caching.m.CacheCommands = map[string]float64{"pages": 60 * 200}
	caching.sys = &topology.System{Services: map[string]*topology.Service{"web": {Uses: []string{"caches.pages"}}, "other": {}}}
	caching.visits["get"]["other"] = 3
	caching.asked = grid(caching.routes)
	caching.spreadCommands("caches.pages", 200)
	near(t, "hops with two commands", caching.hops("get"), 2, 1e-9)
	near(t, "waking up web, for the request and two commands", wake(caching, "web"), 3*wake(bare, "web")/2, 1e-9)
	near(t, "waking up who uses no cache", wake(caching, "other"), wake(bare, "web")/2, 1e-9)
}

// madeUp is the run that a system would have by the model, without noise.
func madeUp(t *testing.T, sys *topology.System, rates map[string]float64, length float64) *Measurement {
	t.Helper()
	p, err := Predict(sys, Load{Rates: rates}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1000, 0)
	m := &Measurement{System: sys.Name, Source: "made up", Start: start, End: start.Add(seconds(length)), Cores: float64(sys.Machine.Cores), MachineCPU: p.Machine.CPU,
		Load: p.Load, Routes: map[string]RouteMeasurement{}, Services: map[string]ServiceMeasurement{}, Tables: map[string]TableMeasurement{}}
	for _, r := range p.Routes {
		n := int64(r.Rate * length)
		m.Routes[r.Route] = RouteMeasurement{Requests: n, Mean: r.Mean, StdDev: r.StdDev, P50: r.P50, P95: r.P95, P99: r.P99}
		m.Calls = append(m.Calls, CallMeasurement{Route: r.Route, To: "web", Count: n, Time: time.Duration(n) * r.Mean})
	}
	var tables float64
	for _, v := range p.Tables {
		tables += v.CPU
		one := TableMeasurement{
			Read:  OperationMeasurement{Count: v.Rate * (1 - v.Writes) * length, Mean: v.Read, CPU: 300 * time.Microsecond, Sampled: 100},
			Write: OperationMeasurement{Count: v.Rate * v.Writes * length, Mean: v.Write, CPU: 300 * time.Microsecond, Sampled: 100},
			Apply: 500 * time.Microsecond, Applied: 100, Force: 3 * time.Millisecond, Forces: v.Forces * length,
		}
		m.Tables[strings.TrimPrefix(v.Table, "tables.")] = one
	}
	for _, s := range p.Services {
		switch {
		case s.Service == Gateway:
			m.Services[s.Service] = ServiceMeasurement{CPU: s.CPU + tables, Replicas: 1}
		case !isTable(s.Service):
			m.Services[s.Service] = ServiceMeasurement{CPU: s.CPU, Replicas: 1}
		}
	}
	return m
}

// TestTablesThatNobodyExplainsStayWithTheGateway says so where a run tells too little of a table.
func TestTablesThatNobodyExplainsStayWithTheGateway(t *testing.T) {
	truth := tableSystem(&topology.Table{Fsync: ms(3)})
	rates := map[string]float64{"get": 120, "put": 80}
	m := madeUp(t, truth, rates, 60)
	file := tableSystem(&topology.Table{Fsync: ms(1)})
	file.Services["web"].Uses = nil
	k, err := Calibrate(file, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Tables) > 0 || !strings.Contains(strings.Join(k.Notes, "\n"), "tables.orders was asked by services that do not have it in 'uses'") {
		t.Errorf("tables %v, notes %v", k.Tables, k.Notes)
	}
	few := m.Tables["orders"]
	few.Read.Sampled = 3
	m.Tables["orders"] = few
	if k, err = Calibrate(truth, m); err != nil || len(k.Tables) > 0 || !strings.Contains(strings.Join(k.Notes, "\n"), "only 3 reads") {
		t.Errorf("tables %v, notes %v, %v", k.Tables, k.Notes, err)
	}
}

func TestHotKeysAndLogsAreFound(t *testing.T) {
	with := func(change func(v *ObservedTable)) []Finding {
		o := frontAndStore(func(o *Observation, front, store *ObservedService) {
			for _, c := range []*ObservedCalls{&o.Routes[0], &o.Edges[0], &o.Edges[1]} {
				c.Time += c.Calls * 0.008
			}
			for _, r := range []*ObservedReplica{&front.Replicas[0], &store.Replicas[0]} {
				r.Time += r.Tries * 0.008
			}
			v := ObservedTable{Table: "tables.orders", Users: []string{"store"}, Reads: 500, ReadTime: 0.1, Writes: 1000, WriteTime: 8, Forces: 800, ForceTime: 4, HotKey: "a", HotShare: 0.05}
			change(&v)
			o.Tables = []ObservedTable{v}
		})
		found, err := Bottlenecks(o)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(found, func(f Finding) bool { return f.Service != "tables.orders" })
	}
	found := with(func(*ObservedTable) {})
	if len(found) != 1 || found[0].Class != ClassLog || !slices.Equal(found[0].Edges, []string{"store -> tables.orders"}) || !slices.Equal(found[0].Routes, []string{"get"}) {
		t.Errorf("a log that is waited for: %+v", found)
	}
	found = with(func(v *ObservedTable) { v.HotShare = 0.9 })
	if len(found) != 2 || found[0].Class != ClassHot && found[1].Class != ClassHot {
		t.Errorf("a hot key: %+v", found)
	}
	if found = with(func(v *ObservedTable) { v.WriteTime, v.HotShare = 0.2, 0.9 }); len(found) > 0 {
		t.Errorf("of a table that is quick: %+v", found)
	}
}
