package logs

import (
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/observe/segment"
)

// Names of the fields that every format is brought to.
const (
	FieldLevel = "level"
	FieldTrace = "trace_id"
	FieldSpan  = "span_id"
)

// Parse takes the fields out of a line: of a JSON object; else of the key=value pairs in it. Level and trace id are found
// under the names that are in use for them, and in plain text, and brought to one name and form.
func Parse(line string) []segment.Field {
	var p Parser
	return p.Parse(line)
}

// Parser takes the fields out of many lines, as Parse does, with less memory for each. The fields share the memory of the line; what was
// returned stays as it is. The zero value is ready; it is used by one goroutine.
type Parser struct {
	line   string
	fields []segment.Field // of this line, at the front of what is free
	chunk  int             // fields that memory was last made for
	json   jsonReader
}

const maxChunk = 2048 // fields that memory is made for at once

// Parse is what the function Parse is.
func (p *Parser) Parse(line string) []segment.Field {
	if strings.HasPrefix(line, "{") {
		if fields, ok := p.Object(line); ok {
			return fields
		}
	}
	p.begin(line)
	pairs(line, p.add)
	p.conclude(false)
	return p.take()
}

// Object takes the fields out of a line that is one JSON object, behind those in before, and reports whether it is one whose objects lie
// no deeper in each other than is read.
func (p *Parser) Object(line string, before ...segment.Field) ([]segment.Field, bool) {
	p.begin(line)
	p.fields = append(p.fields, before...)
	if p.json.emit == nil {
		p.json.emit = p.add
	}
	if !p.json.read(line) {
		p.fields = p.fields[:0]
		return nil, false
	}
	p.conclude(true)
	return p.take(), true
}

func (p *Parser) begin(line string) {
	p.line = line
	if cap(p.fields) == 0 {
		p.chunk = min(max(12, 4*p.chunk), maxChunk)
		p.fields = make([]segment.Field, 0, p.chunk)
	}
}

// take returns the line's fields; the next line's begin behind them.
func (p *Parser) take() []segment.Field {
	n := len(p.fields)
	fields := p.fields[:n:n]
	p.fields = p.fields[n:n]
	return fields
}

func (p *Parser) add(name, value string, inText bool) {
	if len(p.fields) < maxFields && len(value) <= maxValue && len(name) <= maxName && name != "" {
		p.fields = append(p.fields, segment.Field{Name: name, Value: value, InBody: inText})
	}
}

// conclude finds level, trace and span.
func (p *Parser) conclude(object bool) {
	var level, trace, span string
	var hasLevel, hasTrace, hasSpan bool
	for i := range p.fields {
		f := &p.fields[i]
		switch f.Name {
		case FieldLevel, "lvl", "severity", "loglevel", "log.level", "severity_text", "levelname", "Level", "LEVEL", "Severity":
			if l := Level(f.Value); l != "" && level == "" {
				level = l
			}
			if f.Name == FieldLevel && level != "" {
				hasLevel = true
				if f.Value != level {
					f.Value, f.InBody = level, false
				}
			}
		case FieldTrace, "traceId", "traceID", "traceid", "trace.id", "TraceId", "TraceID", "otelTraceID":
			trace, hasTrace = f.Value, hasTrace || f.Name == FieldTrace
		case FieldSpan, "spanId", "spanID", "spanid", "span.id", "SpanId", "SpanID", "otelSpanID":
			span, hasSpan = f.Value, hasSpan || f.Name == FieldSpan
		case "traceparent":
			if len(f.Value) == 55 && trace == "" {
				trace, span = f.Value[3:35], f.Value[36:52]
			}
		}
	}
	if level == "" && !object {
		level = plainLevel(p.line)
	}
	if level != "" && !hasLevel {
		p.add(FieldLevel, level, false)
	}
	if trace != "" && !hasTrace {
		p.add(FieldTrace, trace, false)
	}
	if span != "" && !hasSpan {
		p.add(FieldSpan, span, false)
	}
}

// Levels, from the least to the gravest.
var levels = []string{"trace", "debug", "info", "warn", "error", "fatal"}

// Level is the level that a name or number stands for: trace, debug, info, warn, error or fatal; "" if for none. Numbers are those of
// Bunyan and Pino (10 to 60).
func Level(s string) string {
	if len(s) > 13 {
		return ""
	}
	switch strings.ToLower(s) {
	case "trace", "finest", "10":
		return "trace"
	case "debug", "dbg", "fine", "20":
		return "debug"
	case "info", "information", "inf", "notice", "informational", "30":
		return "info"
	case "warn", "warning", "wrn", "40":
		return "warn"
	case "error", "err", "eror", "severe", "50":
		return "error"
	case "fatal", "critical", "crit", "panic", "dpanic", "alert", "emerg", "emergency", "60":
		return "fatal"
	}
	return ""
}

// plainLevel finds a level near the beginning of plain text: ERROR, [warn], or how Go programs and klog begin.
func plainLevel(line string) string {
	head := line[:min(len(line), 80)]
	switch {
	case strings.HasPrefix(head, "panic: "), strings.HasPrefix(head, "fatal error: "):
		return "fatal"
	case len(head) > 20 && strings.IndexByte("IWEF", head[0]) >= 0 && head[5] == ' ' && digits(head[1:5]) && head[8] == ':':
		return map[byte]string{'I': "info", 'W': "warn", 'E': "error", 'F': "fatal"}[head[0]] // I1129 12:00:00.000000
	}
	for i := 0; i < len(head); {
		if !upper(head[i]) && !lower(head[i]) {
			i++
			continue
		}
		begin := i
		for i < len(head) && (upper(head[i]) || lower(head[i])) {
			i++
		}
		word := head[begin:i]
		bracketed := begin > 0 && i < len(head) && (head[begin-1] == '[' && head[i] == ']' || head[begin-1] == '<' && head[i] == '>')
		if bracketed || word == strings.ToUpper(word) && len(word) > 2 || begin == 0 && i < len(head) && head[i] == ':' {
			if l := Level(word); l != "" {
				return l
			}
		}
	}
	return ""
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }
func lower(c byte) bool { return c >= 'a' && c <= 'z' }
func digit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return true
}

// pairs gives the key=value pairs of a line to emit, as logfmt writes them, wherever they stand in it. A value may be quoted, with
// backslashes as in Go.
func pairs(line string, emit func(name, value string, inText bool)) {
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		begin := i
		for i < len(line) && keyByte(line[i]) {
			i++
		}
		if i > begin && i < len(line) && line[i] == '=' && !digit(line[begin]) {
			var value string
			var inText bool
			key := line[begin:i]
			value, inText, i = pairValue(line, i+1)
			if value != "" {
				emit(key, value, inText)
			}
			continue
		}
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			if line[i] == '"' { // what is quoted is no pair
				_, _, i = pairValue(line, i)
				continue
			}
			i++
		}
	}
}

func keyByte(c byte) bool {
	return upper(c) || lower(c) || digit(c) || c == '_' || c == '.' || c == '-' || c == '/'
}

// pairValue reads the value that begins at i and returns where it ends.
func pairValue(line string, i int) (value string, inText bool, end int) {
	begin := i
	if i < len(line) && line[i] == '"' {
		escaped := false
		for i++; i < len(line); i++ {
			switch line[i] {
			case '\\':
				escaped = true
				i++
			case '"':
				if !escaped {
					return line[begin+1 : i], true, i + 1
				}
				if s, err := strconv.Unquote(line[begin : i+1]); err == nil {
					return s, false, i + 1
				}
				return line[begin+1 : i], false, i + 1
			}
		}
		i = begin // the quote never ends: it is a part of the value
	}
	for i < len(line) && line[i] != ' ' && line[i] != '\t' {
		i++
	}
	return line[begin:i], true, i
}
