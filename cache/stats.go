package cache

import "github.com/prometheus/client_golang/prometheus"

// Stats of a server since it started, or since CONFIG RESETSTAT.
type Stats struct {
	Hits     int64 `json:"hits"`
	Misses   int64 `json:"misses"`
	Evicted  int64 `json:"evicted"`
	Expired  int64 `json:"expired"`
	Commands int64 `json:"commands"`
	Errors   int64 `json:"errors"`
	Clients  int64 `json:"clients"`
	// Loads from origins, and requests to them that failed; Behind are keys that wait to be written there.
	Loads        int64 `json:"loads,omitempty"`
	LoadFailures int64 `json:"load_failures,omitempty"`
	Behind       int64 `json:"behind,omitempty"`
	// Fsync is the policy by which the append file is synced; empty: there is none.
	Fsync string `json:"fsync,omitempty"`
	Keys  int64  `json:"keys"`
	// Used is the memory that the data takes, Limit what it may take (0: any), Resident what that is for the process.
	Used     int64 `json:"used_bytes"`
	Limit    int64 `json:"limit_bytes"`
	Resident int64 `json:"resident_bytes"`
}

// Stats counts what has happened. It may be called whenever the server exists.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Stats{}
	}
	st := Stats{
		Hits: s.store.Hits, Misses: s.store.Misses, Evicted: s.store.Evicted, Expired: s.store.Expired, Commands: s.count.commands,
		Errors: s.count.errors, Clients: int64(len(s.clients)), Used: s.store.Used(), Limit: s.set.memory, Resident: s.store.Resident(),
	}
	for i := range s.store.Databases() {
		st.Keys += int64(s.store.DB(i).Len())
	}
	for _, o := range s.origins {
		st.Loads += o.loads
		st.LoadFailures += o.failures
		st.Behind += int64(o.behind)
	}
	if s.keep != nil && s.keep.appends() {
		st.Fsync = s.keep.policy
	}
	return st
}

// HitRatio is the share of lookups that found what they looked for; 0 where there were none.
func (s Stats) HitRatio() float64 {
	if s.Hits+s.Misses == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Hits+s.Misses)
}

// Collector makes metrics of servers, by the names of the caches. A cluster counts as one.
type Collector map[string]Nodes

var _ prometheus.Collector = Collector{}

var metrics = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(Stats) int64
}{
	metric("hits_total", "Lookups that found their key.", prometheus.CounterValue, func(s Stats) int64 { return s.Hits }),
	metric("misses_total", "Lookups that did not find their key.", prometheus.CounterValue, func(s Stats) int64 { return s.Misses }),
	metric("evictions_total", "Keys dropped to make room.", prometheus.CounterValue, func(s Stats) int64 { return s.Evicted }),
	metric("expired_total", "Keys whose time was over.", prometheus.CounterValue, func(s Stats) int64 { return s.Expired }),
	metric("commands_total", "Commands carried out.", prometheus.CounterValue, func(s Stats) int64 { return s.Commands }),
	metric("errors_total", "Commands answered with an error.", prometheus.CounterValue, func(s Stats) int64 { return s.Errors }),
	metric("origin_loads_total", "Loads from origins.", prometheus.CounterValue, func(s Stats) int64 { return s.Loads }),
	metric("origin_failures_total", "Requests to origins that failed.", prometheus.CounterValue, func(s Stats) int64 { return s.LoadFailures }),
	metric("origin_writes_behind", "Keys that wait to be written to an origin.", prometheus.GaugeValue, func(s Stats) int64 { return s.Behind }),
	metric("clients", "Connections that are open.", prometheus.GaugeValue, func(s Stats) int64 { return s.Clients }),
	metric("keys", "Keys that there are.", prometheus.GaugeValue, func(s Stats) int64 { return s.Keys }),
	metric("memory_bytes", "Memory that the data takes.", prometheus.GaugeValue, func(s Stats) int64 { return s.Used }),
	metric("memory_limit_bytes", "Memory that the data may take; 0: any.", prometheus.GaugeValue, func(s Stats) int64 { return s.Limit }),
}

func metric(name, help string, kind prometheus.ValueType, of func(Stats) int64) (m struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(Stats) int64
}) {
	m.desc, m.kind, m.of = prometheus.NewDesc("banyan_cache_server_"+name, help, []string{"cache"}, nil), kind, of
	return m
}

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	for name, s := range c {
		st := s.Stats()
		for _, m := range metrics {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.of(st)), name)
		}
	}
}
