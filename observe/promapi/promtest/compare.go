package promtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// Answer to a query, as far as it matters: values by series and time, or an error.
type Answer struct {
	Kind   string
	Series map[string]map[string]float64
	Text   string // of a string
	Error  string
}

// Ask asks the API at a base URL.
func Ask(ctx context.Context, base string, q Query) (Answer, error) {
	form := url.Values{"query": {q.Expr}}
	path := "/api/v1/query"
	if q.Step > 0 {
		path += "_range"
		form.Set("start", strconv.FormatInt(q.Start.Unix(), 10))
		form.Set("end", strconv.FormatInt(q.End.Unix(), 10))
		form.Set("step", q.Step.String())
	} else {
		form.Set("time", strconv.FormatInt(q.End.Unix(), 10))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	return parse(data)
}

// parse reads an answer of the API.
func parse(data []byte) (Answer, error) {
	var envelope struct {
		Status, ErrorType string
		Data              struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return Answer{}, fmt.Errorf("%w in %.200s", err, data)
	}
	a := Answer{Kind: envelope.Data.ResultType, Series: map[string]map[string]float64{}, Error: envelope.ErrorType}
	switch a.Kind {
	case "scalar":
		var p []any
		if err := json.Unmarshal(envelope.Data.Result, &p); err != nil {
			return a, err
		}
		return a, a.point("", p)
	case "string":
		var p []any
		if err := json.Unmarshal(envelope.Data.Result, &p); err != nil {
			return a, err
		}
		a.Text = fmt.Sprint(p...)
	case "vector", "matrix":
		var list []struct {
			Metric map[string]string
			Value  []any
			Values [][]any
		}
		if err := json.Unmarshal(envelope.Data.Result, &list); err != nil {
			return a, err
		}
		for _, s := range list {
			if s.Value != nil {
				s.Values = append(s.Values, s.Value)
			}
			for _, p := range s.Values {
				if err := a.point(key(s.Metric), p); err != nil {
					return a, err
				}
			}
		}
	}
	return a, nil
}

func (a *Answer) point(series string, p []any) error {
	if len(p) != 2 {
		return fmt.Errorf("a point of %d parts", len(p))
	}
	v, err := strconv.ParseFloat(fmt.Sprint(p[1]), 64)
	if err != nil {
		return err
	}
	if a.Series[series] == nil {
		a.Series[series] = map[string]float64{}
	}
	a.Series[series][fmt.Sprint(p[0])] = v
	return nil
}

func key(metric map[string]string) string {
	var parts []string
	for name, v := range metric {
		parts = append(parts, fmt.Sprintf("%s=%q", name, v))
	}
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

// near says whether two values are the same but for the order in which floating-point numbers were added.
func near(a, b float64) bool {
	switch {
	case a == b || math.IsNaN(a) && math.IsNaN(b):
		return true
	case math.IsNaN(a) || math.IsNaN(b) || math.IsInf(a, 0) || math.IsInf(b, 0):
		return false
	}
	return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b))+1e-12
}

// Diff says in what two answers differ, empty if in nothing.
func Diff(a, b Answer) string {
	switch {
	case a.Error != b.Error:
		return fmt.Sprintf("error %q and %q", a.Error, b.Error)
	case a.Kind != b.Kind || a.Text != b.Text:
		return fmt.Sprintf("%s %s and %s %s", a.Kind, a.Text, b.Kind, b.Text)
	case len(a.Series) != len(b.Series):
		return fmt.Sprintf("%d and %d series", len(a.Series), len(b.Series))
	}
	for series, points := range a.Series {
		others, ok := b.Series[series]
		if !ok || len(points) != len(others) {
			return fmt.Sprintf("%s: %d and %d points", series, len(points), len(others))
		}
		for t, v := range points {
			if w, ok := others[t]; !ok || !near(v, w) {
				return fmt.Sprintf("%s at %s: %v and %v", series, t, v, w)
			}
		}
	}
	return ""
}
