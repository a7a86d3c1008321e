package loki

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

const (
	defaultSample = 100  // lines that fields are looked for in, as in Loki
	maxFields     = 1000 // of an answer, and its default, as in Loki
	levelField    = "detected_level"
)

// detectedLabels says which labels there are and how many values each has.
func (s *Server) detectedLabels(r *http.Request) (any, error) {
	filter, err := selected(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	streams, err := s.found(r, filter)
	if err != nil {
		return nil, err
	}
	values := map[string]map[string]bool{}
	for _, st := range streams {
		for _, l := range st.Labels() {
			if values[l.Name] == nil {
				values[l.Name] = map[string]bool{}
			}
			values[l.Name][l.Value] = true
		}
	}
	type label struct {
		Label       string `json:"label"`
		Cardinality int    `json:"cardinality"`
	}
	all := []label{}
	for name, seen := range values {
		all = append(all, label{name, len(seen)})
	}
	slices.SortFunc(all, func(a, b label) int { return strings.Compare(a.Label, b.Label) })
	return map[string]any{"detectedLabels": all}, nil
}

// sample returns the newest lines of a query: those that fields are looked for in.
func (s *Server) sample(r *http.Request) ([]segment.Record, error) {
	e, err := parseQuery(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	if e.logs == nil {
		return nil, fmt.Errorf("a query for log lines is expected, not for numbers")
	}
	from, to, err := s.span(r, time.Hour)
	if err != nil {
		return nil, err
	}
	n, err := count(r, "line_limit", defaultSample, maxLimit)
	if err != nil {
		return nil, err
	}
	records, _, err := s.logs.Store().Search(r.Context(), segment.Query{From: from.UnixNano(), To: to.UnixNano(), Filter: e.logs.filter, Limit: n})
	if err != nil {
		return nil, fmt.Errorf("searching: %w", err)
	}
	return records, nil
}

// detected is what is known of a field in a sample.
type detected struct {
	Label       string   `json:"label"`
	Type        string   `json:"type"`
	Cardinality int      `json:"cardinality"`
	Parsers     []string `json:"parsers"` // that take it out of lines; nil: it came beside them

	values map[string]bool
}

func (d *detected) add(value, parser string) {
	if d.values == nil {
		d.values, d.Type = map[string]bool{}, typeOf(value)
	}
	if !d.values[value] {
		d.values[value] = true
		d.Type = commonType(d.Type, typeOf(value))
	}
	d.Cardinality = len(d.values)
	if parser != "" && !slices.Contains(d.Parsers, parser) {
		d.Parsers = append(d.Parsers, parser)
	}
}

// detectedFields says which fields the newest lines of a query have. All but the labels of streams are fields here, as Loki's structured
// metadata are; a level is also there by the name that Loki gives it.
func (s *Server) detectedFields(r *http.Request) (any, error) {
	limit, err := fieldLimit(r)
	if err != nil {
		return nil, err
	}
	records, err := s.sample(r)
	if err != nil {
		return nil, err
	}
	fields := map[string]*detected{}
	for i := range records {
		parser, inLine := parserOf(records[i].Body)
		seen := map[string]bool{}
		for _, f := range records[i].Fields {
			name := safeName(f.Name)
			if _, isLabel := records[i].Stream.Get(name); isLabel || name == "" || seen[name] {
				continue
			}
			seen[name] = true
			from := ""
			if inLine(f.Name) {
				from = parser
			}
			note(fields, name, f.Value, from)
			if f.Name == logs.FieldLevel {
				note(fields, levelField, f.Value, "")
			}
		}
	}
	all := make([]*detected, 0, len(fields))
	for _, f := range fields {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *detected) int { return strings.Compare(a.Label, b.Label) })
	return map[string]any{"fields": all[:min(len(all), limit)], "limit": limit}, nil
}

func note(fields map[string]*detected, name, value, parser string) {
	f := fields[name]
	if f == nil {
		f = &detected{Label: strings.Clone(name)}
		fields[name] = f
	}
	f.add(value, parser)
}

// fieldLimit is how many fields or values are answered; older clients call it field_limit.
func fieldLimit(r *http.Request) (int, error) {
	if r.FormValue("limit") == "" {
		return count(r, "field_limit", maxFields, maxFields)
	}
	return count(r, "limit", maxFields, maxFields)
}

// fieldValues are the values of one field in the newest lines of a query.
func (s *Server) fieldValues(r *http.Request) (any, error) {
	limit, err := fieldLimit(r)
	if err != nil {
		return nil, err
	}
	records, err := s.sample(r)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for i := range records {
		if v, ok := valueOf(segment.RowOf(&records[i]), r.PathValue("name")); ok {
			seen[v] = true
		}
	}
	all := sorted(seen)
	return map[string]any{"values": all[:min(len(all), limit)], "limit": limit}, nil
}

// parserOf says which of LogQL's parsers takes fields out of a line, and which fields.
func parserOf(line string) (parser string, has func(name string) bool) {
	var p logs.Parser
	if strings.HasPrefix(line, "{") {
		if fields, ok := p.Object(line); ok {
			return "json", func(name string) bool {
				return slices.ContainsFunc(fields, func(f segment.Field) bool { return f.Name == name })
			}
		}
	}
	// What the words of a plain line told, such as its level, is in no pair.
	return "logfmt", func(name string) bool { return strings.Contains(line, name+"=") }
}

var byteSize = regexp.MustCompile(`^[0-9]+(\.[0-9]+)? ?([kKMGTPE]i?)?B$`)

// typeOf a value, in Loki's words.
func typeOf(value string) string {
	if _, err := strconv.ParseInt(value, 10, 64); err == nil {
		return "int"
	}
	if f, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		return "float"
	}
	if value == "true" || value == "false" {
		return "boolean"
	}
	if _, err := time.ParseDuration(value); err == nil {
		return "duration"
	}
	if byteSize.MatchString(value) {
		return "bytes"
	}
	return "string"
}

// commonType of two values of a field.
func commonType(a, b string) string {
	switch {
	case a == b:
		return a
	case a == "int" && b == "float" || a == "float" && b == "int":
		return "float"
	}
	return "string"
}
