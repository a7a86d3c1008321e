package queueing

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// goldenCase is one published problem of testdata/cases.json.
type goldenCase struct {
	Name     string          `json:"name"`
	Kind     string          `json:"kind"`
	Inputs   json.RawMessage `json:"inputs"`
	Expected map[string]any  `json:"expected"`
	Tol      float64         `json:"tol"`
	TolRel   float64         `json:"tol_rel"`
	Origin   string          `json:"origin"`
}

func goldenCases(t testing.TB) []goldenCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// compare walks what was published and finds each number in what was computed.
func (c *goldenCase) compare(t *testing.T, path string, got, want any) {
	t.Helper()
	switch w := want.(type) {
	case nil: // not published
	case float64:
		g, ok := got.(float64)
		tol := c.Tol
		if c.TolRel > 0 {
			tol = c.TolRel * math.Abs(w)
		}
		if !ok || math.IsNaN(g) || math.Abs(g-w) > tol {
			t.Errorf("%s = %v, published %v, tolerance %.3g", path, got, w, tol)
		}
	case []any:
		for i := range w {
			var item any
			switch g := got.(type) {
			case []float64:
				if i < len(g) {
					item = g[i]
				} else if w[i] == 0.0 {
					item = 0.0 // phases that an entry does not have
				}
			case [][]float64:
				if i < len(g) {
					item = g[i]
				}
			}
			c.compare(t, fmt.Sprintf("%s[%d]", path, i), item, w[i])
		}
	case map[string]any:
		g, _ := got.(map[string]any)
		for name := range w {
			c.compare(t, path+"."+name, g[name], w[name])
		}
	}
}

// Every published problem is solved from its inputs as they stand, through the
// same door as a user's file.
func TestGolden(t *testing.T) {
	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			doc := fmt.Sprintf(`{"kind": %q, "name": %q, "inputs": %s}`, c.Kind, c.Name, c.Inputs)
			m, err := ParseModel(strings.NewReader(doc))
			if err != nil {
				t.Fatal(err)
			}
			r, err := m.Solve()
			if err != nil {
				t.Fatal(err)
			}
			want := c.Expected
			if exact, ok := want["petri"]; ok { // the exact of several published solutions
				want = exact.(map[string]any)
			}
			for name, w := range want {
				got := r.Values[name]
				switch name {
				case "throughput_exact":
					got = r.Values["throughput"]
				case "approx_col2", "approx_col3": // other people's approximations
					continue
				}
				c.compare(t, name, got, w)
			}
			if t.Failed() {
				t.Log(r.Text())
			}
		})
	}
}
