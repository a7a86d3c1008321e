package queueing

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Report is the answer to a Model.
type Report struct {
	Kind   string         `json:"kind"`
	Name   string         `json:"name,omitempty"`
	Method string         `json:"method"`
	Exact  bool           `json:"exact"`
	Notes  []string       `json:"notes,omitempty"`
	Values map[string]any `json:"values"` // float64, []float64, [][]float64 or map[string]any of these, by metric

	order []string
}

// set adds a metric; they are shown in the order in which they were set. What is
// not known (NaN) is left out.
func (r *Report) set(name string, value any) {
	if x, ok := value.(float64); ok && (math.IsNaN(x) || math.IsInf(x, 0)) {
		return
	}
	if list, ok := value.([]float64); ok && slices.ContainsFunc(list, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }) {
		return
	}
	if r.Values == nil {
		r.Values = map[string]any{}
	}
	if _, twice := r.Values[name]; !twice {
		r.order = append(r.order, name)
	}
	r.Values[name] = value
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// JSON is the report as an indented JSON document.
func (r *Report) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// Text is the report as aligned plain text.
func (r *Report) Text() string {
	var b strings.Builder
	title := r.Kind
	if r.Name != "" {
		title = r.Name + ": " + title
	}
	exact := "approximate"
	if r.Exact {
		exact = "exact"
	}
	fmt.Fprintf(&b, "%s\nmethod: %s (%s)\n", title, r.Method, exact)
	width := 0
	for _, name := range r.order {
		width = max(width, len(name))
	}
	for _, name := range r.order {
		writeValue(&b, name, r.Values[name], width)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

func writeValue(b *strings.Builder, name string, value any, width int) {
	switch v := value.(type) {
	case float64:
		fmt.Fprintf(b, "  %-*s  %12.6g\n", width, name, v)
	case []float64:
		fmt.Fprintf(b, "  %-*s ", width, name)
		for _, x := range v {
			fmt.Fprintf(b, " %12.6g", x)
		}
		b.WriteByte('\n')
	case [][]float64:
		for i, row := range v {
			label := ""
			if i == 0 {
				label = name
			}
			writeValue(b, label, row, width)
		}
	case map[string]any:
		fmt.Fprintf(b, "  %s\n", name)
		keys := make([]string, 0, len(v))
		inner := 0
		for k := range v {
			keys = append(keys, k)
			inner = max(inner, len(k)+2)
		}
		slices.Sort(keys)
		for _, k := range keys {
			writeValue(b, "  "+k, v[k], inner)
		}
	default:
		fmt.Fprintf(b, "  %-*s  %v\n", width, name, v)
	}
}
