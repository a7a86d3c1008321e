package traces

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

// Bounds on answers.
const (
	MaxTraces   = 1500
	maxFound    = 20000 // spans of one answer
	maxPathLook = 1000  // traces that a summary looks at
)

// Summary of a trace that was found.
type Summary struct {
	TraceID  string        `json:"trace_id"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration"` // of the root
	Service  string        `json:"service"`  // of the root
	Name     string        `json:"name"`
	Spans    int           `json:"spans"`
	Services []string      `json:"services"`
	Errors   int           `json:"errors"` // spans
	Kept     string        `json:"kept"`   // why
}

// Search says which traces are looked for. A trace is found if one of its spans meets all of it.
type Search struct {
	From, To      time.Time // bounds on the span's start; zero: none
	Service, Name string
	Tags          map[string]string
	Min, Max      time.Duration // bounds on the span's duration; zero: none
	Errors        bool          // only spans that failed
	Roots         bool          // only the spans that a trace began with
	Filter        segment.Filter
	Limit         int // of traces, the latest first; at most MaxTraces. Default 20
}

func (s Search) filter() segment.Filter {
	var all []segment.Filter
	add := func(f segment.Filter) { all = append(all, f) }
	if s.Filter != nil {
		add(s.Filter)
	}
	if s.Service != "" {
		add(segment.Label("service", func(v string) bool { return v == s.Service }))
	}
	if s.Name != "" {
		add(segment.Equals(fieldName, s.Name))
	}
	if s.Errors {
		add(segment.Equals(fieldError, "true"))
	}
	if s.Roots {
		add(segment.Equals(fieldRoot, "true"))
	}
	for k, v := range s.Tags {
		if strings.HasPrefix(k, "span.") || k == "otel.status_code" {
			k = map[string]string{"span.kind": fieldKind}[k]
		}
		if k != "" {
			add(segment.Equals(k, v))
		}
	}
	if s.Min > 0 || s.Max > 0 {
		add(segment.FieldFunc(fieldDuration, func(v string) bool {
			d, err := time.ParseDuration(v)
			return err == nil && d >= s.Min && (s.Max == 0 || d <= s.Max)
		}))
	}
	return segment.And(all...)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// ids finds the traces of a search, those with the latest spans first.
func (t *Traces) ids(ctx context.Context, s Search) ([]string, error) {
	limit := min(cmp.Or(s.Limit, 20), MaxTraces)
	q := segment.Query{From: nanos(s.From), To: nanos(s.To), Filter: s.filter(), Limit: max(10*limit, 500)}
	var ids []string
	seen := map[string]bool{}
	for looked := 0; len(ids) < limit && looked < maxFound; looked += q.Limit {
		records, _, err := t.store.Search(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("searching traces: %w", err)
		}
		for i := range records {
			if id, _ := records[i].Field(fieldTrace); !seen[id] && len(ids) < limit {
				seen[id] = true
				ids = append(ids, id)
			}
		}
		if len(records) < q.Limit {
			break
		}
		last := records[len(records)-1]
		q.After = &segment.Position{Time: last.Time, Seq: last.Seq}
	}
	return ids, nil
}

// spansOf reads the spans of traces, by trace.
func (t *Traces) spansOf(ctx context.Context, ids []string) (map[string][]*Span, error) {
	out := make(map[string][]*Span, len(ids))
	const atOnce = 50 // words of one search
	for part := range slices.Chunk(ids, atOnce) {
		any := make([]segment.Filter, len(part))
		for i, id := range part {
			any[i] = segment.Equals(fieldTrace, id)
		}
		records, _, err := t.store.Search(ctx, segment.Query{Filter: segment.Or(any...), Limit: maxFound, Ascending: true})
		if err != nil {
			return nil, fmt.Errorf("reading traces: %w", err)
		}
		for i := range records {
			s, err := fromRecord(&records[i])
			if err != nil {
				return nil, err
			}
			out[s.TraceID] = append(out[s.TraceID], s)
		}
	}
	return out, nil
}

// Trace returns the spans of a trace in order of their start; none if it is not there. Digits before the id that are zero may be missing.
func (t *Traces) Trace(ctx context.Context, id string) ([]*Span, error) {
	id = strings.ToLower(id)
	if len(id) < 32 {
		id = strings.Repeat("0", 32-len(id)) + id
	}
	found, err := t.spansOf(ctx, []string{id})
	return found[id], err
}

// Find returns the traces of a search, the latest first.
func (t *Traces) Find(ctx context.Context, s Search) ([]Summary, error) {
	traces, err := t.FindSpans(ctx, s)
	if err != nil {
		return nil, err
	}
	all := make([]Summary, 0, len(traces))
	for _, spans := range traces {
		all = append(all, summary(spans))
	}
	return all, nil
}

// FindSpans is Find with the spans themselves.
func (t *Traces) FindSpans(ctx context.Context, s Search) ([][]*Span, error) {
	ids, err := t.ids(ctx, s)
	if err != nil {
		return nil, err
	}
	found, err := t.spansOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	var all [][]*Span
	for _, id := range ids {
		if len(found[id]) > 0 {
			all = append(all, found[id])
		}
	}
	return all, nil
}

func summary(spans []*Span) Summary {
	root := rootOf(spans)
	out := Summary{TraceID: root.TraceID, Start: time.Unix(0, root.Start).UTC(), Duration: root.Took(), Service: root.Service, Name: root.Name, Spans: len(spans), Kept: root.Kept}
	for _, s := range spans {
		if !slices.Contains(out.Services, s.Service) {
			out.Services = append(out.Services, s.Service)
		}
		if s.Error {
			out.Errors++
		}
	}
	slices.Sort(out.Services)
	return out
}

// Services names the services that have spans.
func (t *Traces) Services() []string {
	var all []string
	for _, s := range t.store.Streams(0, 0, nil) {
		if name, ok := s.Get("service"); ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Operation of a service.
type Operation struct {
	Name string `json:"name"`
	Kind string `json:"spanKind"`
}

const maxListed = 2000 // operations and edges of one answer

// Operations names the operations of a service in the last two days; kind may be "".
func (t *Traces) Operations(ctx context.Context, service, kind string) ([]Operation, error) {
	q := segment.Query{From: t.cfg.Now().Add(-48 * time.Hour).UnixNano(), Filter: Search{Service: service}.filter()}
	var mu sync.Mutex
	seen := map[Operation]bool{}
	_, err := t.store.Scan(ctx, q, func() func(segment.Row) bool {
		mine := map[Operation]bool{}
		return func(r segment.Row) bool {
			name, _ := r.Field(fieldName)
			k, _ := r.Field(fieldKind)
			if op := (Operation{name, k}); !mine[op] && (kind == "" || kind == k) {
				op = Operation{strings.Clone(name), strings.Clone(k)}
				mine[op] = true
				mu.Lock()
				defer mu.Unlock()
				seen[op] = true
				return len(seen) < maxListed
			}
			return true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing operations: %w", err)
	}
	all := make([]Operation, 0, len(seen))
	for op := range seen {
		all = append(all, op)
	}
	slices.SortFunc(all, func(a, b Operation) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind)) })
	return all, nil
}

// Dependency is how often one service called another, as far as kept traces tell.
type Dependency struct {
	Parent string `json:"parent"`
	Child  string `json:"child"`
	Calls  int64  `json:"callCount"`
}

// Dependencies are the calls from service to service between two instants.
func (t *Traces) Dependencies(ctx context.Context, from, to time.Time) ([]Dependency, error) {
	var mu sync.Mutex
	calls := map[edgeKey]float64{}
	_, err := t.store.Scan(ctx, segment.Query{From: nanos(from), To: nanos(to), Filter: segment.Has(fieldCaller)}, func() func(segment.Row) bool {
		return func(r segment.Row) bool {
			caller, _ := r.Field(fieldCaller)
			service, _ := r.Stream().Get("service")
			mu.Lock()
			defer mu.Unlock()
			if key := (edgeKey{caller, service}); len(calls) < maxListed || calls[key] > 0 {
				calls[edgeKey{strings.Clone(caller), service}] += weightOf(r)
			}
			return true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("counting calls: %w", err)
	}
	all := []Dependency{}
	for k, n := range calls {
		all = append(all, Dependency{k.client, k.server, int64(n + 0.5)})
	}
	slices.SortFunc(all, func(a, b Dependency) int {
		return cmp.Or(cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.Child, b.Child))
	})
	return all, nil
}

// Paths summarizes the critical paths of the traces that begin with an operation of a service; name may be "".
func (t *Traces) Paths(ctx context.Context, service, name string, from, to time.Time) (PathSummary, error) {
	route := strings.TrimSpace(service + " " + name)
	found, err := t.FindSpans(ctx, Search{From: from, To: to, Service: service, Name: name, Roots: true, Limit: maxPathLook})
	if err != nil {
		return PathSummary{}, err
	}
	var all []traced
	for _, spans := range found {
		root := rootOf(spans)
		all = append(all, traced{spans, root, cmp.Or(root.Weight, 1)})
	}
	return summarize(route, all), nil
}
