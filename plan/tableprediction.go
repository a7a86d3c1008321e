package plan

import (
	"fmt"
	"time"
)

// TablePrediction is what a table is expected to do.
type TablePrediction struct {
	// Table as in 'uses', such as tables.orders.
	Table    string `json:"table"`
	Replicas int    `json:"replicas"`
	Shards   int    `json:"shards"`
	// Rate of operations a second, and the share of them that write.
	Rate   float64 `json:"rate"`
	Writes float64 `json:"writes"`
	// Read and Write are how long an operation takes on average; 0 where the system is saturated, or there are none.
	Read  time.Duration `json:"read_ns,omitempty"`
	Write time.Duration `json:"write_ns,omitempty"`
	// CPU of all nodes in cores, and the share of it that the busiest node has.
	CPU     float64 `json:"cpu"`
	Busiest float64 `json:"busiest_share"`
	// Limit is what each node has, in cores, 0 where they share the machine's; Used is the busiest node's use of that, or the use that
	// all nodes make of the machine.
	Limit float64 `json:"limit,omitempty"`
	Used  float64 `json:"used"`
	// Hottest is the share of operations that the hottest shard has.
	Hottest float64 `json:"hottest_shard"`
	// Log is the share of the time in which a node's log is being forced to the disk, and Forces how often that is a second, on all
	// nodes. A log does not fill up: what comes meanwhile shares the next force.
	Log    float64 `json:"log"`
	Forces float64 `json:"forces"`
}

// describeTables fills in what is expected of tables at throughput x, after a solve.
func (s *steady) describeTables(p *Prediction, x float64) {
	_, speed := wholeServers(s.cores)
	stretch := (s.stretch + s.bursts(x)) / speed
	for i := range s.services {
		st := &s.services[i]
		t := st.table
		if t == nil || st.visits <= 0 {
			continue
		}
		out := TablePrediction{
			Table: t.use, Replicas: t.nodes, Shards: t.shards, Rate: x * st.visits, Writes: t.written / st.visits, CPU: s.cpuOf(i, x),
			Busiest: t.busiest, Limit: st.limit, Hottest: t.leaders().hottest,
		}
		if out.Used = out.CPU / s.cores; st.limit > 0 {
			out.Used = out.CPU / (st.limit * st.spread)
		}
		if t.solve(x) == nil {
			out.Log, out.Forces = t.now.log.Busy, t.now.log.Forces*float64(t.nodes)
		}
		if !p.Saturated && t.reads > 0 {
			out.Read = seconds(st.scale*t.read.cpu*stretch + s.lost[i].mean + t.read.delay + t.now.read)
		}
		if !p.Saturated && t.written > 0 {
			out.Write = seconds(st.scale*t.write.cpu*stretch + s.lost[i].mean + t.write.delay + t.now.write)
		}
		p.Tables = append(p.Tables, out)
	}
}

// maxTableReplicas is what a topology may say.
const maxTableReplicas = 9

// tableChanges are what may be done differently about a table: one replica more, twice the shards, reads that any node answers and,
// where its nodes have a limit, twice the CPU.
func tableChanges(i int, st *station) (list []change) {
	t := st.table
	add := func(what string, do func(*tableShape)) {
		list = append(list, change{what: t.use + ": " + what, service: i, table: do})
	}
	if t.nodes < maxTableReplicas {
		add(fmt.Sprintf("%d -> %d replicas", t.nodes, t.nodes+1), func(s *tableShape) { s.nodes++ })
	}
	if t.nodes > 1 && t.strong {
		add(fmt.Sprintf("%d -> %d shards", t.shards, 2*t.shards), func(s *tableShape) { s.shards *= 2 })
		if t.eventual < 1 && t.reads > 0 {
			add(fmt.Sprintf("eventual_reads %.0f%% -> 100%%", 100*t.eventual), func(s *tableShape) { s.eventual = 1 })
		}
	}
	if st.limit > 0 {
		list = append(list, change{what: fmt.Sprintf("%s: cpu %g -> %g", t.use, st.limit, 2*st.limit), service: i, cpu: 2 * st.limit})
	}
	return list
}
