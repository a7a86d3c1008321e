package bus

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/schema"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// FromFile describes the embedded queues of a topology, and its topics, whoever has their events. Whom they push to is for the caller to add.
func FromFile(sys *topology.System) (queues map[string]Queue, topics map[string]Topic) {
	queues, topics = map[string]Queue{}, map[string]Topic{}
	for name, q := range sys.Queues {
		if q.Engine == "embedded" {
			queues[name] = Queue{QueueConfig: broker.QueueConfig{Rules: workqueue.RulesOf(q), DeadLetter: q.DeadLetter, Durability: broker.Durability(q.Durability),
				Schedules: schedulesOf(q), Limit: workqueue.LimitOf(q.Limit), Limits: limitsOf(q.Limits)}}
		}
	}
	for name, t := range sys.Topics {
		topic := Topic{Retain: t.Retain.Std(), Limits: limitsOf(t.Limits), Filters: map[string]*topology.EventFilter{}}
		for group, v := range t.Filters {
			topic.Filters[group], _ = topology.ParseEventFilter(v) // the file was checked
		}
		if t.Engine == "embedded" {
			topic.Durability, topic.Compatibility = broker.Durability(t.Durability), schema.Level(t.Compatibility)
		} else {
			topic.Engine, topic.URL, topic.Partitions, topic.Path = t.Engine, t.URL, t.Partitions, sys.Path
		}
		if t.Schema != "" {
			topic.SchemaFile = sys.Path(t.Schema)
		}
		topics[name] = topic
	}
	return queues, topics
}

func limitsOf(limits map[string]*topology.DeliveryLimit) map[string]workqueue.Limit {
	all := map[string]workqueue.Limit{}
	for name, l := range limits {
		all[name] = workqueue.LimitOf(l)
	}
	return all
}

func schedulesOf(q *topology.Queue) map[string]broker.Schedule {
	all := map[string]broker.Schedule{}
	for name, s := range q.Schedules {
		m := broker.Message{Key: s.Key, Priority: s.Priority, TTL: s.TTL.Std(), Body: []byte(s.Body)}
		for _, header := range slices.Sorted(maps.Keys(s.Headers)) {
			m.Headers = append(m.Headers, broker.Header{Name: strings.ToLower(header), Value: s.Headers[header]})
		}
		if s.JSON != nil {
			m.Body, _ = json.Marshal(s.JSON) // what a file has as YAML can always be written
			m.Headers = append(m.Headers, broker.Header{Name: "content-type", Value: "application/json"})
		}
		all[name] = broker.Schedule{Cron: s.Cron, Zone: s.Zone, Once: s.Missed == "once", Message: m}
	}
	return all
}
