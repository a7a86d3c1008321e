package logs

import "github.com/prometheus/client_golang/prometheus"

// Collector shows the counters to Prometheus.
func (l *Logs) Collector() prometheus.Collector { return collector{l} }

type collector struct{ l *Logs }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_logs_"+name, help, labels, nil)
}

var (
	descLines    = desc("lines_total", "Lines taken.")
	descBytes    = desc("bytes_total", "Bytes of lines taken.")
	descCut      = desc("cut_lines_total", "Lines that were longer than is kept, and cut.")
	descRedacted = desc("redactions_total", "Places in lines where text was redacted.")
	descLost     = desc("lost_lines_total", "Lines that were not stored.", "reason")
	descBad      = desc("bad_requests_total", "Requests to store lines that could not be read.")
	descSyncs    = desc("syncs_total", "Syncs of the disk.")
	descDisk     = desc("disk_bytes", "Bytes of sealed segments on disk.")
	descSegments = desc("segments", "Sealed segments.")
	descHead     = desc("head_records", "Records in memory that are not sealed yet.")
	descStreams  = desc("streams", "Sets of labels.")
	descOverflow = desc("overflowed_records_total", "Records whose labels were beyond the bound on streams.")
	descDamaged  = desc("damaged_total", "Frames, blocks and segments that could not be read.")
	descExpired  = desc("expired_records_total", "Records that retention removed.")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	n, st := &c.l.counters, c.l.store.Stats()
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter(descLines, n.lines.Load())
	counter(descBytes, n.bytes.Load())
	counter(descCut, n.cut.Load())
	counter(descRedacted, n.redacted.Load())
	counter(descLost, n.overRate.Load(), "rate")
	counter(descLost, n.overQueue.Load(), "queue")
	counter(descLost, n.failed.Load(), "disk")
	counter(descLost, n.refused.Load(), "refused")
	counter(descBad, n.badReq.Load())
	counter(descSyncs, st.Syncs)
	gauge(descDisk, st.SealedBytes)
	gauge(descSegments, int64(st.Segments))
	gauge(descHead, int64(st.Head))
	gauge(descStreams, int64(st.Streams))
	counter(descOverflow, st.Overflowed)
	counter(descDamaged, st.Damaged)
	counter(descExpired, st.Expired)
}
