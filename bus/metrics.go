package bus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/banyanhq/banyan/bus/broker"
)

// Collector returns the metrics of the queues of a Bus that is asked for each time; of none while it is nil.
func Collector(b func() *Bus) prometheus.Collector { return collector{b} }

type collector struct{ bus func() *Bus }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_queue_"+name, help, append([]string{"queue"}, labels...), nil)
}

var (
	messagesDesc = desc("messages", "Messages in the queue, by state.", "state")
	bytesDesc    = desc("bytes", "Bytes of the messages in the queue.")
	ageDesc      = desc("oldest_age_seconds", "Age of the oldest message that is not dead.")
	eventsDesc   = desc("events_total", "What happened to messages.", "event")
)

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesDesc, bytesDesc, ageDesc, eventsDesc} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	b := c.bus()
	if b == nil {
		return
	}
	for _, s := range b.broker.Status() {
		collect(out, s)
	}
}

func collect(out chan<- prometheus.Metric, s broker.Status) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.Name}, labels...)...)
	}
	for state, n := range map[string]int{"ready": s.Ready, "delayed": s.Delayed, "in_flight": s.InFlight, "dead": s.Dead} {
		gauge(messagesDesc, float64(n), state)
	}
	gauge(bytesDesc, float64(s.Stats.Bytes))
	gauge(ageDesc, s.OldestAge.Seconds())
	for event, n := range map[string]uint64{"put": s.Put, "duplicate": s.Duplicates, "refused": s.Refused, "delivered": s.Delivered, "redelivered": s.Redelivered,
		"acked": s.Acked, "failed": s.Failed, "died": s.Died, "expired": s.Expired} {
		out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(n), s.Name, event)
	}
}
