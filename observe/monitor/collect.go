package monitor

import "github.com/prometheus/client_golang/prometheus"

// collector shows what became of what was told and sent.
type collector struct{ m *Monitor }

var (
	toldDesc    = prometheus.NewDesc("banyan_alerts_messages_total", "Messages about alerts, by what became of them.", []string{"destination", "outcome"}, nil)
	forwardDesc = prometheus.NewDesc("banyan_remote_write_samples_total", "Samples that were to be sent on, by what became of them.", []string{"url", "outcome"}, nil)
	waitingDesc = prometheus.NewDesc("banyan_remote_write_samples_waiting", "Samples that wait in memory to be sent on.", []string{"url"}, nil)
	retriesDesc = prometheus.NewDesc("banyan_remote_write_retries_total", "Requests that were tried again.", []string{"url"}, nil)
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{toldDesc, forwardDesc, waitingDesc, retriesDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, s := range c.m.notifier.Status() {
		counter(toldDesc, s.Sent, s.Destination, "sent")
		counter(toldDesc, s.Failed, s.Destination, "failed")
		counter(toldDesc, s.Dropped, s.Destination, "dropped")
	}
	for _, f := range c.m.forward {
		s := f.Status()
		counter(forwardDesc, s.Sent, s.URL, "sent")
		counter(forwardDesc, s.Dropped, s.URL, "dropped")
		counter(retriesDesc, s.Retries, s.URL)
		ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(s.Waiting), s.URL)
	}
}
