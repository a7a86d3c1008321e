package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/banyanhq/banyan/gateway/httpcache"
)

// cacheFamily is the metrics of the caches of routes.
type cacheFamily []cacheMetric

type cacheMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	label string // of the requests' result; empty: the metric has none
	of    func(s *httpcache.Stats) int64
}

func newCacheFamily() cacheFamily {
	requests := desc("cache_requests_total", "Requests of cached routes, by what became of them in the cache.", "route", "service", "result")
	metric := func(name, help string, kind prometheus.ValueType, of func(s *httpcache.Stats) int64) cacheMetric {
		return cacheMetric{desc: desc("cache_"+name, help, "route", "service"), kind: kind, of: of}
	}
	result := func(label string, of func(s *httpcache.Stats) int64) cacheMetric {
		return cacheMetric{desc: requests, kind: prometheus.CounterValue, label: label, of: of}
	}
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	return cacheFamily{
		result("hit", func(s *httpcache.Stats) int64 { return s.Hits }),
		result("stale", func(s *httpcache.Stats) int64 { return s.Stale }),
		result("coalesced", func(s *httpcache.Stats) int64 { return s.Coalesced }),
		result("miss", func(s *httpcache.Stats) int64 { return s.Misses }),
		result("passed", func(s *httpcache.Stats) int64 { return s.Passed }),
		metric("revalidated_total", "Kept answers that the service confirmed.", counter, func(s *httpcache.Stats) int64 { return s.Revalidated }),
		metric("unstored_total", "Misses whose answer was not for keeping.", counter, func(s *httpcache.Stats) int64 { return s.Unstored }),
		metric("background_total", "Refreshes that no client waited for.", counter, func(s *httpcache.Stats) int64 { return s.Background }),
		metric("evictions_total", "Answers dropped to make room.", counter, func(s *httpcache.Stats) int64 { return s.Evictions }),
		metric("served_bytes_total", "Bytes of bodies that were served from the cache.", counter, func(s *httpcache.Stats) int64 { return s.Served }),
		metric("objects", "Answers that are kept in memory.", gauge, func(s *httpcache.Stats) int64 { return s.Objects }),
		metric("bytes", "Memory that they take.", gauge, func(s *httpcache.Stats) int64 { return s.Bytes }),
	}
}

func (f cacheFamily) describe(ch chan<- *prometheus.Desc) {
	for _, m := range f {
		ch <- m.desc
	}
}

func (f cacheFamily) collect(ch chan<- prometheus.Metric, s *httpcache.Stats, route, service string) {
	for _, m := range f {
		labels := []string{route, service}
		if m.label != "" {
			labels = append(labels, m.label)
		}
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.of(s)), labels...)
	}
}
