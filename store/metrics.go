package store

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Collector returns the metrics of a Store that is asked for each time; of none while it is nil.
func Collector(s func() *Store) prometheus.Collector { return collector{s} }

type collector struct{ store func() *Store }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_store_"+name, help, labels, nil)
}

var (
	requestsDesc = desc("requests_total", "Requests to the tables, by operation and by what became of them.", "operation", "outcome")
	commandsDesc = desc("commands_total", "Commands that were applied: one for each write, batch or transaction.")
	groupsDesc   = desc("groups_total", "Groups in which commands were applied: each is at most one fsync.")
	refusedDesc  = desc("refused_total", "Commands that were refused because too many were waiting.")
	expiredDesc  = desc("expired_total", "Items that were deleted because they had expired.")
	tablesDesc   = desc("tables", "Tables that there are.")
	diskDesc     = desc("disk_bytes", "Bytes that the tables take on disk.")
	memoryDesc   = desc("memory_bytes", "Bytes of cached blocks, and of what is not yet in files.")
)

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, commandsDesc, groupsDesc, refusedDesc, expiredDesc, tablesDesc, diskDesc, memoryDesc} {
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
}
