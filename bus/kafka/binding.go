package kafka

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/cloudevent"
)

// Attributes of a CloudEvent are headers ce_NAME of a record of Kafka, in UTF-8, and headers ce-NAME of an HTTP request, in which the
// characters that HTTP does not take are percent-encoded: the bindings of CloudEvents to both protocols have it so. Other headers are the same.
const (
	ofRecord  = "ce_"
	ofRequest = cloudevent.Prefix
)

// recordHeaders are the headers of a record for those of a request.
func recordHeaders(headers []broker.Header) (all []kgo.RecordHeader) {
	for _, h := range headers {
		if name, ok := cutFold(h.Name, ofRequest); ok {
			all = append(all, kgo.RecordHeader{Key: ofRecord + strings.ToLower(name), Value: []byte(cloudevent.Decode(h.Value))})
			continue
		}
		all = append(all, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
	}
	return all
}

// requestHeaders are the headers of a request for those of a record.
func requestHeaders(headers []kgo.RecordHeader) (all []broker.Header) {
	for _, h := range headers {
		switch name, ok := cutFold(h.Key, ofRecord); {
		case ok:
			all = append(all, broker.Header{Name: ofRequest + strings.ToLower(name), Value: cloudevent.Encode(string(h.Value))})
		case strings.EqualFold(h.Key, "content-type"):
			all = append(all, broker.Header{Name: "content-type", Value: string(h.Value)})
		default:
			all = append(all, broker.Header{Name: h.Key, Value: string(h.Value)})
		}
	}
	return all
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// eventOf is a record as an event.
func eventOf(r *kgo.Record) Event {
	return Event{Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UTC(), Key: r.Key, Headers: requestHeaders(r.Headers), Body: r.Value}
}
