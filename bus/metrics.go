package bus

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/workflow"
	"github.com/banyanhq/banyan/policy/saga"
)

// Collector returns the metrics of the queues and topics of Nodes that are asked for each time; of none while they are nil.
func Collector(n func() *Nodes) prometheus.Collector { return collector{n} }

type collector struct{ nodes func() *Nodes }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_queue_"+name, help, append([]string{"queue"}, labels...), nil)
}

var (
	messagesDesc = desc("messages", "Messages in the queue, by state.", "state")
	bytesDesc    = desc("bytes", "Bytes of the messages in the queue.")
	ageDesc      = desc("oldest_age_seconds", "Age of the oldest message that is not dead.")
	eventsDesc   = desc("events_total", "What happened to messages.", "event")
)

var (
	refusedDesc   = prometheus.NewDesc("banyan_topic_refused_total", "Events that were refused, for they do not have the schema of their topic.", []string{"topic"}, nil)
	lagDesc       = prometheus.NewDesc("banyan_topic_group_lag", "Events of the topic that wait for the consumer group.", []string{"topic", "group"}, nil)
	underwayDesc  = prometheus.NewDesc("banyan_topic_group_in_flight", "Events of the topic that the consumer group was given and has not settled.", []string{"topic", "group"}, nil)
	reachedDesc   = prometheus.NewDesc("banyan_topic_up", "Whether the engine of the topic answers.", []string{"topic"}, nil)
	runsDesc      = prometheus.NewDesc("banyan_saga_runs", "Runs of the saga that are kept, by status.", []string{"saga", "status"}, nil)
	oldestRunDesc = prometheus.NewDesc("banyan_saga_oldest_age_seconds", "Age of the oldest run that has not ended.", []string{"saga"}, nil)
	runEventsDesc = prometheus.NewDesc("banyan_saga_events_total", "What happened to runs and to the attempts of their steps.", []string{"saga", "event"}, nil)
)

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesDesc, bytesDesc, ageDesc, eventsDesc, runsDesc, oldestRunDesc, runEventsDesc, refusedDesc,
		lagDesc, underwayDesc, reachedDesc} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	nodes := c.nodes()
	if nodes == nil {
		return
	}
	for _, s := range nodes.Broker().Status() {
		collect(out, s)
	}
	for topic := range (*nodes)[0].refused {
		refused := uint64(0)
		for _, b := range *nodes {
			refused += b.refused[topic].Load()
		}
		out <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(refused), topic)
	}
	collectTopics(out, nodes)
	if sagas := nodes.Sagas(); sagas != nil {
		for _, s := range sagas.Status() {
			collectSaga(out, s)
		}
	}
}

// collectTopics says how far consumer groups are behind. Engines that do not answer in time are left out.
func collectTopics(out chan<- prometheus.Metric, nodes *Nodes) {
	ctx, cancel := context.WithTimeout(context.Background(), collectPatience)
	defer cancel()
	all, err := nodes.Topics(ctx)
	if err != nil {
		return // the next time will do
	}
	for _, t := range all {
		up := 1.0
		if t.Error != "" {
			up = 0
		}
		out <- prometheus.MustNewConstMetric(reachedDesc, prometheus.GaugeValue, up, t.Name)
		for _, g := range t.Groups {
			out <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, float64(g.Lag), t.Name, g.Name)
			out <- prometheus.MustNewConstMetric(underwayDesc, prometheus.GaugeValue, float64(g.InFlight), t.Name, g.Name)
		}
	}
}

// collectPatience bounds how long a page of metrics waits for the engines of topics.
const collectPatience = 2 * time.Second

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

func collectSaga(out chan<- prometheus.Metric, s workflow.Status) {
	for _, status := range []saga.Status{saga.Running, saga.Compensating, saga.Completed, saga.Compensated, saga.Stuck} {
		out <- prometheus.MustNewConstMetric(runsDesc, prometheus.GaugeValue, float64(s.Runs[status]), s.Name, string(status))
	}
	out <- prometheus.MustNewConstMetric(oldestRunDesc, prometheus.GaugeValue, s.Oldest.Seconds(), s.Name)
	c := s.Counts
	for event, n := range map[string]uint64{"started": c.Started, "completed": c.Completed, "compensated": c.Compensated, "stuck": c.Stuck,
		"attempt": c.Attempts, "retry": c.Retries} {
		out <- prometheus.MustNewConstMetric(runEventsDesc, prometheus.CounterValue, float64(n), s.Name, event)
	}
}
