package plan

import (
	"maps"
	"time"

	"github.com/banyanhq/banyan/simulate"
)

// TableMeasurement is what was observed of an embedded table, the warm-up's operations scaled off.
type TableMeasurement struct {
	Read  OperationMeasurement `json:"read"`
	Write OperationMeasurement `json:"write"`
	// Apply is the CPU time of applying one write, which every node spends that holds its shard, by Applied of them that were looked at.
	Apply   time.Duration `json:"apply_ns,omitempty"`
	Applied int64         `json:"applied,omitempty"`
	// Force is the mean time in which the log gets to the disk, and Forces how often it was forced; one log serves all embedded tables.
	Force  time.Duration `json:"force_ns,omitempty"`
	Forces float64       `json:"forces,omitempty"`
	// Hot are the partition keys that were asked for most.
	Hot []HotKey `json:"hot,omitempty"`
}

// OperationMeasurement is what operations of one kind took at the table, network and client apart.
type OperationMeasurement struct {
	Count  float64       `json:"count"`
	Mean   time.Duration `json:"mean_ns"`
	StdDev time.Duration `json:"stddev_ns,omitempty"`
	P99    time.Duration `json:"p99_ns"`
	// CPU time of one, without applying a write, by Sampled of them that were looked at.
	CPU     time.Duration `json:"cpu_ns"`
	Sampled int64         `json:"sampled"`
	// BytesIn and BytesOut of one request and answer.
	BytesIn  float64 `json:"bytes_in,omitempty"`
	BytesOut float64 `json:"bytes_out,omitempty"`
}

// HotShare is the share of a table's operations from which on one partition key is called hot.
const HotShare = 0.2

// HotKey is a partition key with its share of the operations.
type HotKey struct {
	Key   string  `json:"key"`
	Share float64 `json:"share"`
}

// cpu is the cores that a table used over so many seconds.
func (t *TableMeasurement) cpu(seconds float64) float64 {
	return (t.Read.Count*t.Read.CPU.Seconds() + t.Write.Count*(t.Write.CPU+t.Apply).Seconds()) / seconds
}

// apart are the services of a measurement with tables beside them. Embedded tables run inside of Banyan's own process, whose CPU is the
// gateway's less theirs.
func (m *Measurement) apart(of func(table string) bool) map[string]ServiceMeasurement {
	gateway, ok := m.Services[Gateway]
	if !ok || len(m.Tables) == 0 {
		return m.Services
	}
	services := maps.Clone(m.Services)
	for _, name := range sortedKeys(m.Tables) {
		if !of(name) {
			continue
		}
		t := m.Tables[name]
		cpu := min(t.cpu(m.Seconds()), gateway.CPU)
		gateway.CPU -= cpu
		services["tables."+name] = ServiceMeasurement{CPU: cpu, Replicas: 1}
	}
	services[Gateway] = gateway
	return services
}

// TableComparison is predicted against measured for one table: operations a second, seconds of an operation by kind, cores, and the
// share of the time in which its log is being forced.
type TableComparison struct {
	Rate  Pair `json:"rate"`
	Read  Pair `json:"read,omitzero"`
	Write Pair `json:"write,omitzero"`
	CPU   Pair `json:"cpu"`
	Log   Pair `json:"log"`
	// Hot is the share of the operations that the partition key has that is asked for most, as it was measured; 0: not known.
	Hot float64 `json:"hot,omitempty"`
}

// compareTables compares tables as in 'uses'; nil where none was predicted and measured.
func compareTables(p *Prediction, sim *simulate.Result, m *Measurement) map[string]TableComparison {
	blocks := map[string]*simulate.BlockResult{}
	if sim != nil {
		for i := range sim.Blocks {
			blocks[sim.Blocks[i].Block] = &sim.Blocks[i]
		}
	}
	cpu := index(sim)
	var out map[string]TableComparison
	for _, t := range p.Tables {
		name := t.Table[len("tables."):]
		got, ok := m.Tables[name]
		if !ok {
			continue
		}
		b := blocks[t.Table]
		if b == nil {
			b = &simulate.BlockResult{}
		}
		secs := m.Seconds()
		c := TableComparison{
			Rate: pair(t.Rate, b.Rate.Value, (got.Read.Count+got.Write.Count)/secs),
			CPU:  pair(t.CPU, cpu.cpu(t.Table), got.cpu(secs)),
			Log:  pair(t.Log, b.Syncs.Value/float64(t.Replicas)*got.Force.Seconds(), got.Forces/secs*got.Force.Seconds()),
		}
		if got.Read.Count > 0 {
			c.Read = pair(t.Read.Seconds(), b.Read.Value.Seconds(), got.Read.Mean.Seconds())
		}
		if got.Write.Count > 0 {
			c.Write = pair(t.Write.Seconds(), b.Write.Value.Seconds(), got.Write.Mean.Seconds())
		}
		if len(got.Hot) > 0 {
			c.Hot = got.Hot[0].Share
		}
		if out == nil {
			out = map[string]TableComparison{}
		}
		out[t.Table] = c
	}
	return out
}
