package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/store/dynamo"
)

// Collector returns the metrics of a Store that is asked for each time; of none while it is nil.
func Collector(s func() *Store) prometheus.Collector { return collector{s} }

type collector struct{ store func() *Store }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_store_"+name, help, labels, nil)
}

var (
	requestsDesc   = desc("requests_total", "Requests to the tables, by operation and by what became of them.", "operation", "outcome")
	commandsDesc   = desc("commands_total", "Commands that were applied: one for each write, batch or transaction.")
	groupsDesc     = desc("groups_total", "Groups in which commands were applied: each is at most one fsync.")
	refusedDesc    = desc("refused_total", "Commands that were refused because too many were waiting.")
	expiredDesc    = desc("expired_total", "Items that were deleted because they had expired.")
	tablesDesc     = desc("tables", "Tables that there are.")
	operationDesc  = desc("operation_seconds", "Time of requests by table and kind, from the request that is whole to the answer that is sent; 'write' includes the log.", "table", "kind")
	bytesDesc      = desc("operation_bytes_total", "Bytes of requests (in) and answers (out), by table and kind.", "table", "kind", "direction")
	sampledDesc    = desc("sampled_operations_total", "Requests that were looked at for their CPU time, by table and kind.", "table", "kind")
	sampledCPUDesc = desc("sampled_operation_cpu_seconds_total", "CPU time of these, without applying writes.", "table", "kind")
	appliedDesc    = desc("sampled_commands_total", "Commands that were looked at for the CPU time of applying them.")
	appliedCPUDesc = desc("sampled_command_cpu_seconds_total", "CPU time of applying these.")
	forcesDesc     = desc("log_forces_total", "Times that the log was forced to the disk.")
	forceTimeDesc  = desc("log_force_seconds_total", "Time that this took.")
	logBytesDesc   = desc("log_bytes_total", "Bytes that were written to the log.")
	diskDesc       = desc("disk_bytes", "Bytes that the tables take on disk.")
	memoryDesc     = desc("memory_bytes", "Bytes of cached blocks, and of what is not yet in files.")
)

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, commandsDesc, groupsDesc, refusedDesc, expiredDesc, tablesDesc, diskDesc, memoryDesc,
		operationDesc, bytesDesc, sampledDesc, sampledCPUDesc, appliedDesc, appliedCPUDesc, forcesDesc, forceTimeDesc, logBytesDesc} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.store()
	if s == nil {
		return
	}
	metric := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, o := range s.api.Counts() {
		metric(requestsDesc, prometheus.CounterValue, float64(o.OK), o.Operation, "ok")
		metric(requestsDesc, prometheus.CounterValue, float64(o.ClientErrors), o.Operation, "refused")
		metric(requestsDesc, prometheus.CounterValue, float64(o.Failures), o.Operation, "failed")
	}
	st := s.engine.Stats()
	metric(commandsDesc, prometheus.CounterValue, float64(st.Commands))
	metric(groupsDesc, prometheus.CounterValue, float64(st.Groups))
	metric(refusedDesc, prometheus.CounterValue, float64(st.Refused))
	metric(expiredDesc, prometheus.CounterValue, float64(st.Expired))
	metric(tablesDesc, prometheus.GaugeValue, float64(len(s.engine.Tables())))
	metric(diskDesc, prometheus.GaugeValue, float64(st.DiskBytes))
	metric(memoryDesc, prometheus.GaugeValue, float64(st.MemoryBytes))
	metric(appliedDesc, prometheus.CounterValue, float64(st.Sampled))
	metric(appliedCPUDesc, prometheus.CounterValue, st.ApplyCPU.Seconds())
	metric(forcesDesc, prometheus.CounterValue, float64(st.Forces))
	metric(forceTimeDesc, prometheus.CounterValue, st.ForceTime.Seconds())
	metric(logBytesDesc, prometheus.CounterValue, float64(st.LogBytes))
	for _, t := range s.api.TableCounts() {
		for _, k := range []struct {
			kind string
			of   dynamo.KindCount
		}{{"read", t.Read}, {"write", t.Write}} {
			out <- operationHistogram(t.Table, k.kind, k.of.Latency)
			metric(bytesDesc, prometheus.CounterValue, float64(k.of.In), t.Table, k.kind, "in")
			metric(bytesDesc, prometheus.CounterValue, float64(k.of.Out), t.Table, k.kind, "out")
			metric(sampledDesc, prometheus.CounterValue, float64(k.of.Sampled), t.Table, k.kind)
			metric(sampledCPUDesc, prometheus.CounterValue, k.of.CPU.Seconds(), t.Table, k.kind)
		}
	}
}

// operationBuckets bound the buckets of latencies.
var operationBuckets = []time.Duration{100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second}

func operationHistogram(table, kind string, h *stats.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64, len(operationBuckets))
	for _, b := range operationBuckets {
		buckets[b.Seconds()] = uint64(h.Count() - h.CountAbove(int64(b)))
	}
	return prometheus.MustNewConstHistogram(operationDesc, uint64(h.Count()), h.Sum()/1e9, buckets, table, kind)
}

// Usage is what was asked of the tables since the start, and what that took.
type Usage struct {
	Tables []dynamo.TableCount `json:"tables"`
	// Commands that were applied; of those looked at, Sampled, applying took ApplyCPU.
	Commands int64         `json:"commands"`
	Sampled  int64         `json:"sampled"`
	ApplyCPU time.Duration `json:"apply_cpu_ns"`
	// Forces of the log, which all tables share, the time that they took, and the bytes written to it.
	Forces    int64         `json:"forces"`
	ForceTime time.Duration `json:"force_time_ns"`
	LogBytes  uint64        `json:"log_bytes"`
}

// Usage says what was asked of the tables so far.
func (s *Store) Usage() *Usage {
	st := s.engine.Stats()
	return &Usage{Tables: s.api.TableCounts(), Commands: st.Commands, Sampled: st.Sampled, ApplyCPU: st.ApplyCPU,
		Forces: st.Forces, ForceTime: st.ForceTime, LogBytes: st.LogBytes}
}

// Sums are what was asked of the tables since the start, in few words.
type Sums struct {
	At        time.Time
	Tables    map[string]dynamo.TableSums
	Forces    int64
	ForceTime time.Duration
}

// Sums says what was asked of the tables so far.
func (s *Store) Sums(at time.Time) *Sums {
	st := s.engine.Stats()
	return &Sums{At: at, Tables: s.api.TableSums(), Forces: st.Forces, ForceTime: st.ForceTime}
}

// HotKeys are the partition keys of each table that are asked for most of late.
func (s *Store) HotKeys() map[string][]dynamo.HotKey { return s.api.HotKeys() }
