package traces

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/banyanhq/banyan/observe/segment"
)

// valid is s with what is no UTF-8 replaced, as Prometheus and JSON want it.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func weightOf(r segment.Row) float64 {
	v, _ := r.Field(fieldWeight)
	w, err := strconv.ParseFloat(v, 64)
	if err != nil || w < 1 || w > 1e9 {
		return 1
	}
	return w
}

// jaegerAnswer is what all of Jaeger's API answers (its structuredResponse). Total is set for lists of names alone, as there.
type jaegerAnswer struct {
	Data   any           `json:"data"`
	Total  int           `json:"total"`
	Limit  int           `json:"limit"`
	Offset int           `json:"offset"`
	Errors []jaegerError `json:"errors"`
}

type jaegerError struct {
	Code    int    `json:"code,omitempty"`
	Msg     string `json:"msg"`
	TraceID string `json:"traceID,omitempty"`
}

var (
	errNoTrace   = errors.New("trace not found")
	errNoService = errors.New("parameter 'service' is required")
)

// Jaeger answers Jaeger's query API below /api, as Jaeger's page and Grafana's data source ask it: services, operations, traces, one trace,
// dependencies.
func (t *Traces) Jaeger() http.Handler {
	mux := http.NewServeMux()
	for path, f := range map[string]func(*http.Request) (jaegerAnswer, error){
		"/api/services": t.jaegerServices, "/api/services/{service}/operations": t.jaegerOperationNames, "/api/operations": t.jaegerOperations,
		"/api/traces": t.jaegerTraces, "/api/traces/{id}": t.jaegerTrace, "/api/dependencies": t.jaegerDependencies,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			out, err := f(r)
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				code := http.StatusBadRequest
				if errors.Is(err, errNoTrace) {
					code = http.StatusNotFound
				}
				out = jaegerAnswer{Errors: []jaegerError{{Code: code, Msg: err.Error()}}}
				w.WriteHeader(code)
			}
			_ = json.NewEncoder(w).Encode(out) // the client may have gone
		})
	}
	return mux
}

func (t *Traces) jaegerServices(*http.Request) (jaegerAnswer, error) {
	names := append([]string{}, t.Services()...)
	return jaegerAnswer{Data: names, Total: len(names)}, nil
}

func (t *Traces) jaegerOperationNames(r *http.Request) (jaegerAnswer, error) {
	ops, err := t.Operations(r.Context(), r.PathValue("service"), "")
	names := []string{}
	for _, op := range ops {
		if !slices.Contains(names, op.Name) {
			names = append(names, op.Name)
		}
	}
	return jaegerAnswer{Data: names, Total: len(names)}, err
}

func (t *Traces) jaegerOperations(r *http.Request) (jaegerAnswer, error) {
	service := r.FormValue("service")
	if service == "" {
		return jaegerAnswer{}, errNoService
	}
	ops, err := t.Operations(r.Context(), service, r.FormValue("spanKind"))
	return jaegerAnswer{Data: ops, Total: len(ops)}, err
}

func (t *Traces) jaegerTrace(r *http.Request) (jaegerAnswer, error) {
	spans, err := t.Trace(r.Context(), r.PathValue("id"))
	if err == nil && len(spans) == 0 {
		err = errNoTrace
	}
	if err != nil {
		return jaegerAnswer{}, err
	}
	return jaegerAnswer{Data: []any{jaegerTrace(spans)}}, nil
}

func (t *Traces) jaegerDependencies(r *http.Request) (jaegerAnswer, error) {
	end := t.cfg.Now()
	if text := r.FormValue("endTs"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return jaegerAnswer{}, fmt.Errorf("endTs: %w", err)
		}
		end = time.UnixMilli(ms)
	}
	back := 24 * time.Hour
	if text := r.FormValue("lookback"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms < 0 || ms > 1e12 {
			return jaegerAnswer{}, errors.New("lookback: milliseconds are expected")
		}
		back = time.Duration(ms) * time.Millisecond
	}
	all, err := t.Dependencies(r.Context(), end.Add(-back), end)
	if service := r.FormValue("service"); service != "" {
		all = slices.DeleteFunc(all, func(d Dependency) bool { return d.Parent != service && d.Child != service })
	}
	return jaegerAnswer{Data: all}, err
}

func (t *Traces) jaegerTraces(r *http.Request) (jaegerAnswer, error) {
	traces := []any{}
	if ids := r.URL.Query()["traceID"]; len(ids) > 0 {
		var missing []jaegerError
		for _, id := range ids[:min(len(ids), 100)] {
			spans, err := t.Trace(r.Context(), id)
			if err != nil {
				return jaegerAnswer{}, err
			}
			if len(spans) > 0 {
				traces = append(traces, jaegerTrace(spans))
			} else {
				missing = append(missing, jaegerError{Msg: errNoTrace.Error(), TraceID: id})
			}
		}
		return jaegerAnswer{Data: traces, Errors: missing}, nil
	}
	s, err := jaegerSearch(r)
	if err != nil {
		return jaegerAnswer{}, err
	}
	found, err := t.FindSpans(r.Context(), s)
	if err != nil {
		return jaegerAnswer{}, err
	}
	for _, spans := range found {
		traces = append(traces, jaegerTrace(spans))
	}
	return jaegerAnswer{Data: traces}, nil
}

func jaegerSearch(r *http.Request) (s Search, err error) {
	s.Service, s.Name = r.FormValue("service"), r.FormValue("operation")
	if s.Service == "" {
		return s, errNoService
	}
	if s.Name == "all" {
		s.Name = ""
	}
	for name, to := range map[string]*time.Time{"start": &s.From, "end": &s.To} {
		if text := r.FormValue(name); text != "" {
			us, err := strconv.ParseInt(text, 10, 64)
			if err != nil || us < 0 || us > 9e15 {
				return s, fmt.Errorf("%s: microseconds are expected", name)
			}
			*to = time.UnixMicro(us)
		}
	}
	for name, to := range map[string]*time.Duration{"minDuration": &s.Min, "maxDuration": &s.Max} {
		if text := r.FormValue(name); text != "" {
			if *to, err = time.ParseDuration(text); err != nil {
				return s, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if text := r.FormValue("limit"); text != "" {
		if s.Limit, err = strconv.Atoi(text); err != nil || s.Limit < 1 {
			return s, errors.New("limit: a number above 0 is expected")
		}
	}
	s.Tags = map[string]string{}
	if text := r.FormValue("tags"); text != "" {
		if err := json.Unmarshal([]byte(text), &s.Tags); err != nil {
			return s, fmt.Errorf("tags: %w", err)
		}
	}
	for _, text := range r.Form["tag"] {
		k, v, _ := strings.Cut(text, ":")
		s.Tags[k] = v
	}
	return s, nil
}

type jaegerTag struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Value any    `json:"value"`
}

func jaegerTags(attrs map[string]string) []jaegerTag {
	tags := make([]jaegerTag, 0, len(attrs))
	for k, v := range attrs {
		tags = append(tags, jaegerTag{valid(k), "string", valid(v)})
	}
	slices.SortFunc(tags, func(a, b jaegerTag) int { return cmp.Compare(a.Key, b.Key) })
	return tags
}

// jaegerTrace is a trace as Jaeger's API has it.
func jaegerTrace(spans []*Span) map[string]any {
	processes := map[string]any{}
	ids := map[string]string{}
	list := make([]any, 0, len(spans))
	for _, s := range spans {
		key := s.Service + fmt.Sprint(s.Resource)
		if ids[key] == "" {
			ids[key] = fmt.Sprintf("p%d", len(ids)+1)
			processes[ids[key]] = map[string]any{"serviceName": valid(s.Service), "tags": jaegerTags(s.Resource)}
		}
		list = append(list, jaegerSpan(s, ids[key]))
	}
	return map[string]any{"traceID": spans[0].TraceID, "spans": list, "processes": processes, "warnings": nil}
}

func jaegerSpan(s *Span, process string) map[string]any {
	references := []any{}
	if s.Parent != "" {
		references = append(references, map[string]any{"refType": "CHILD_OF", "traceID": s.TraceID, "spanID": s.Parent})
	}
	for _, l := range s.Links {
		references = append(references, map[string]any{"refType": "FOLLOWS_FROM", "traceID": l.TraceID, "spanID": l.SpanID})
	}
	tags := append(jaegerTags(s.Attrs), jaegerTag{"span.kind", "string", s.Kind})
	if s.Error {
		tags = append(tags, jaegerTag{"error", "bool", true}, jaegerTag{"otel.status_code", "string", "ERROR"})
		if s.Message != "" {
			tags = append(tags, jaegerTag{"otel.status_description", "string", valid(s.Message)})
		}
	}
	if s.Scope != "" {
		tags = append(tags, jaegerTag{"otel.scope.name", "string", valid(s.Scope)})
	}
	if s.Kept != "" {
		tags = append(tags, jaegerTag{"banyan.kept", "string", s.Kept})
	}
	events := make([]any, 0, len(s.Events))
	for _, e := range s.Events {
		fields := append([]jaegerTag{{"event", "string", valid(e.Name)}}, jaegerTags(e.Attrs)...)
		events = append(events, map[string]any{"timestamp": e.Time / 1000, "fields": fields})
	}
	return map[string]any{
		"traceID": s.TraceID, "spanID": s.SpanID, "operationName": valid(s.Name), "references": references, "startTime": s.Start / 1000,
		"duration": s.Duration / 1000, "tags": tags, "logs": events, "processID": process, "warnings": nil, "flags": 1,
	}
}
