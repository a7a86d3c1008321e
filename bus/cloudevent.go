package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
)

// cloudEvent is what the bus reads of a CloudEvent 1.0.
type cloudEvent struct {
	SpecVersion  string `json:"specversion"`
	ID           string `json:"id"`
	Source       string `json:"source"`
	Type         string `json:"type"`
	Time         string `json:"time"`
	PartitionKey string `json:"partitionkey"`
}

// cloudEventOf reads a message as a CloudEvent: in binary mode its attributes are headers ce-NAME, in structured mode the body is
// JSON of type application/cloudevents+json. The result is false where it is neither, an error where it means to be one and
// is not.
func cloudEventOf(headers []broker.Header, body []byte) (e cloudEvent, ok bool, err error) {
	for _, h := range headers {
		switch h.Name {
		case "content-type":
			kind, _, err := mime.ParseMediaType(h.Value)
			switch {
			case err != nil:
				return e, false, fmt.Errorf("content type %q: %w", h.Value, err)
			case strings.HasPrefix(kind, "application/cloudevents-batch"):
				return e, false, errors.New("batches of CloudEvents: not supported; send them one by one")
			case kind == "application/cloudevents+json":
				if err := json.Unmarshal(body, &e); err != nil {
					return e, false, fmt.Errorf("a structured CloudEvent: %w", err)
				}
				return e, true, e.check()
			case strings.HasPrefix(kind, "application/cloudevents"):
				return e, false, fmt.Errorf("%s: not supported; send JSON", kind)
			}
		case "ce-specversion":
			e.SpecVersion = h.Value
		case "ce-id":
			e.ID = h.Value
		case "ce-source":
			e.Source = h.Value
		case "ce-type":
			e.Type = h.Value
		case "ce-time":
			e.Time = h.Value
		case "ce-partitionkey":
			e.PartitionKey = h.Value
		}
	}
	if e == (cloudEvent{}) {
		return e, false, nil
	}
	return e, true, e.check()
}

// eventID is what the specification has unique: source and id together.
func eventID(e cloudEvent) string { return e.Source + " " + e.ID }

// check says which required attribute is missing or wrong.
func (e cloudEvent) check() error {
	for _, required := range []struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if required.value == "" {
			return fmt.Errorf("a CloudEvent without %q", required.name)
		}
	}
	if e.SpecVersion != "1.0" {
		return fmt.Errorf("a CloudEvent of version %q: expected specversion 1.0", e.SpecVersion)
	}
	if e.Time != "" {
		if _, err := time.Parse(time.RFC3339, e.Time); err != nil {
			return fmt.Errorf("the time of a CloudEvent: %w", err)
		}
	}
	return nil
}
