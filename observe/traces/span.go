package traces

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/banyanhq/banyan/observe/otlp"
	"github.com/banyanhq/banyan/observe/segment"
)

// Span is a piece of work of one service for one request.
type Span struct {
	TraceID string `json:"trace_id"` // 32 hexadecimal digits
	SpanID  string `json:"span_id"`  // 16
	// Parent is the span that this one was done for; "" if none.
	Parent  string `json:"parent,omitempty"`
	Service string `json:"service"`
	Name    string `json:"name"`
	// Kind is server, client, producer, consumer or internal.
	Kind string `json:"kind"`
	// Start is in nanoseconds since 1970; Duration in nanoseconds.
	Start    int64             `json:"start"`
	Duration int64             `json:"duration"`
	Error    bool              `json:"error,omitempty"`
	Message  string            `json:"message,omitempty"` // why it is an error
	Attrs    map[string]string `json:"attributes,omitempty"`
	Resource map[string]string `json:"resource,omitempty"`
	Scope    string            `json:"scope,omitempty"`
	Events   []Event           `json:"events,omitempty"`
	Links    []Link            `json:"links,omitempty"`

	// Of the trace, once it was decided: why it was kept, of how many it is one, and which service called.
	Kept   string  `json:"kept,omitempty"`
	Weight float64 `json:"weight,omitempty"`
	Caller string  `json:"caller,omitempty"`

	from, to string // of an Outer
}

// Event is something that happened during a span.
type Event struct {
	Time  int64             `json:"time"`
	Name  string            `json:"name"`
	Attrs map[string]string `json:"attributes,omitempty"`
}

// Link is another span that has to do with this one.
type Link struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
}

// End is when the span ended.
func (s *Span) End() int64 { return s.Start + s.Duration }

// Bounds on a span; what is beyond is left out and counted.
const (
	maxAttr   = 16 << 10 // bytes of a value
	maxEvents = 128
	maxLinks  = 128
	maxText   = 4 << 10 // bytes of a name or message
	maxSpan   = 1 << 20 // bytes, stored
)

var kinds = map[tracepb.Span_SpanKind]string{
	tracepb.Span_SPAN_KIND_SERVER: "server", tracepb.Span_SPAN_KIND_CLIENT: "client",
	tracepb.Span_SPAN_KIND_PRODUCER: "producer", tracepb.Span_SPAN_KIND_CONSUMER: "consumer",
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// fromProto reads a span of OTLP.
func fromProto(p *tracepb.Span, service, scope string, resource map[string]string) (*Span, error) {
	if len(p.GetTraceId()) != 16 || len(p.GetSpanId()) != 8 || zero(p.GetTraceId()) || zero(p.GetSpanId()) {
		return nil, fmt.Errorf("a span without an id of 16 bytes for its trace and 8 for itself")
	}
	const latest = 1 << 62 // about the year 2116
	begin, end := p.GetStartTimeUnixNano(), p.GetEndTimeUnixNano()
	if begin == 0 || begin > latest || end > latest {
		return nil, fmt.Errorf("a span whose instants are out of range")
	}
	s := &Span{
		TraceID: hex.EncodeToString(p.GetTraceId()), SpanID: hex.EncodeToString(p.GetSpanId()), Service: service, Scope: scope, Resource: resource,
		Name: cut(p.GetName(), maxText), Kind: kinds[p.GetKind()], Start: int64(begin), Duration: int64(max(end, begin) - begin),
		Error: p.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, Message: cut(p.GetStatus().GetMessage(), maxText),
	}
	if s.Kind == "" {
		s.Kind = "internal"
	}
	if len(p.GetParentSpanId()) == 8 && !zero(p.GetParentSpanId()) {
		s.Parent = hex.EncodeToString(p.GetParentSpanId())
	}
	attrs := map[string]string{}
	otlp.Attributes(p.GetAttributes(), func(name, value string) { attrs[cut(name, 200)] = cut(value, maxAttr) })
	s.Attrs = attrs
	for i, e := range p.GetEvents() {
		if i == maxEvents {
			break
		}
		event := Event{Time: int64(min(e.GetTimeUnixNano(), latest)), Name: cut(e.GetName(), maxText), Attrs: map[string]string{}}
		otlp.Attributes(e.GetAttributes(), func(name, value string) { event.Attrs[cut(name, 200)] = cut(value, maxAttr) })
		s.Events = append(s.Events, event)
	}
	for i, l := range p.GetLinks() {
		if i == maxLinks {
			break
		}
		s.Links = append(s.Links, Link{hex.EncodeToString(l.GetTraceId()), hex.EncodeToString(l.GetSpanId())})
	}
	return s, nil
}

func zero(id []byte) bool {
	for _, b := range id {
		if b != 0 {
			return false
		}
	}
	return true
}

// size is about what the span takes in memory.
func (s *Span) size() int {
	n := 400 + len(s.Name) + len(s.Message)
	for k, v := range s.Attrs {
		n += 64 + len(k) + len(v)
	}
	for i := range s.Events {
		n += 100 + len(s.Events[i].Name)
		for k, v := range s.Events[i].Attrs {
			n += 64 + len(k) + len(v)
		}
	}
	return n + 64*len(s.Links)
}

// Names of a span's fields in the store.
const (
	fieldTrace    = "trace_id"
	fieldSpan     = "span_id"
	fieldName     = "name"
	fieldKind     = "kind"
	fieldError    = "error"
	fieldDuration = "duration"
	fieldRoot     = "root"
	fieldCaller   = "caller"
	fieldWeight   = "weight"
	fieldKept     = "kept"
)

var reserved = map[string]bool{fieldTrace: true, fieldSpan: true, fieldName: true, fieldKind: true, fieldError: true, fieldDuration: true,
	fieldRoot: true, fieldCaller: true, fieldWeight: true, fieldKept: true, "service": true}

// record is the span as it is stored: as JSON, with fields to search by.
func (s *Span) record(stream *segment.Stream, root bool) (segment.Record, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return segment.Record{}, err
	}
	if len(body) > maxSpan {
		short := *s
		short.Events, short.Links, short.Attrs = nil, nil, map[string]string{"banyan.cut_bytes": strconv.Itoa(len(body))}
		return short.record(stream, root)
	}
	r := segment.Record{Time: s.Start, Stream: stream, Body: string(body)}
	add := func(name, value string) {
		if value != "" {
			r.Fields = append(r.Fields, segment.Field{Name: name, Value: value})
		}
	}
	add(fieldTrace, s.TraceID)
	add(fieldSpan, s.SpanID)
	add(fieldName, s.Name)
	add(fieldKind, s.Kind)
	add(fieldDuration, strconv.FormatInt(s.Duration, 10)+"ns")
	add(fieldCaller, s.Caller)
	add(fieldKept, s.Kept)
	add(fieldWeight, strconv.FormatFloat(s.Weight, 'g', 6, 64))
	if s.Error {
		add(fieldError, "true")
	}
	if root {
		add(fieldRoot, "true")
	}
	for name, value := range s.Attrs {
		if !reserved[name] && len(value) <= 1<<10 {
			add(name, value)
		}
	}
	return r, nil
}

// fromRecord reads a stored span.
func fromRecord(r *segment.Record) (*Span, error) {
	s := &Span{}
	if err := json.Unmarshal([]byte(r.Body), s); err != nil {
		return nil, fmt.Errorf("reading a stored span: %w", err)
	}
	return s, nil
}

// Took is the duration.
func (s *Span) Took() time.Duration { return time.Duration(s.Duration) }
