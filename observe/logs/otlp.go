package logs

import (
	"context"
	"encoding/hex"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"

	"github.com/banyanhq/banyan/observe/otlp"
	"github.com/banyanhq/banyan/observe/segment"
)

// Export stores OpenTelemetry's log records: service.name and service.instance.id are labels (service and replica), the other attributes
// fields, the severity the level.
func (l *Logs) Export(ctx context.Context, all []*logspb.ResourceLogs) (rejected int, reason string, err error) {
	var records []segment.Record
	for _, rl := range all {
		labels := map[string]string{}
		var resource []segment.Field
		otlp.Attributes(rl.GetResource().GetAttributes(), func(name, value string) {
			switch {
			case name == "service.name" && len(value) <= 200:
				labels[LabelService] = value
			case name == "service.instance.id" && len(value) <= 200:
				labels[LabelReplica] = value
			default:
				resource = append(resource, segment.Field{Name: name, Value: value})
			}
		})
		stream := segment.NewStream(labels)
		for _, sl := range rl.GetScopeLogs() {
			for _, r := range sl.GetLogRecords() {
				records = append(records, l.exported(r, stream, resource))
			}
		}
	}
	if len(records) == 0 {
		return 0, "", nil
	}
	return 0, "", l.Append(ctx, records)
}

func (l *Logs) exported(r *logspb.LogRecord, stream *segment.Stream, resource []segment.Field) segment.Record {
	at := int64(r.GetTimeUnixNano())
	if at <= 0 {
		at = int64(r.GetObservedTimeUnixNano())
	}
	if at <= 0 {
		at = l.cfg.Now().UnixNano()
	}
	out := segment.Record{Time: at, Stream: stream, Body: otlp.Text(r.GetBody())}
	add := func(name, value string) {
		if value != "" {
			out.Fields = append(out.Fields, segment.Field{Name: name, Value: value})
		}
	}
	add(FieldLevel, severity(r))
	if len(r.GetTraceId()) == 16 {
		add(FieldTrace, hex.EncodeToString(r.GetTraceId()))
	}
	if len(r.GetSpanId()) == 8 {
		add(FieldSpan, hex.EncodeToString(r.GetSpanId()))
	}
	otlp.Attributes(r.GetAttributes(), add)
	out.Fields = append(out.Fields, resource...)
	known := map[string]bool{}
	for _, f := range out.Fields {
		known[f.Name] = true
	}
	for _, f := range Parse(out.Body) {
		if !known[f.Name] {
			out.Fields = append(out.Fields, f)
		}
	}
	return out
}

// severity is the level of a record: by its number (opentelemetry.io/docs/specs/otel/logs/data-model), else by its text.
func severity(r *logspb.LogRecord) string {
	if n := int(r.GetSeverityNumber()); n >= 1 && n <= 24 {
		return levels[(n-1)/4]
	}
	return Level(r.GetSeverityText())
}
