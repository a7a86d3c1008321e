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

// programOfSet2 is the model that the fork-join cases name, restated: one step,
// then two in parallel; each step visits two of four discs five times each.
const programOfSet2 = `"devices": {"d1": 0.04, "d2": 0.04, "d3": 0.04, "d4": 0.04},
"program": {"seq": [{"visits": {"d1": 5, "d2": 5}},
  {"par": [{"visits": {"d1": 5, "d2": 5}}, {"visits": {"d3": 5, "d4": 5}}]}]}`

// Every published problem is solved from its inputs as they stand, through the
// same door as a user's file.
func TestGolden(t *testing.T) {
	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			inputs := string(c.Inputs)
			if c.Kind == "fork-join closed network" {
				inputs = strings.Replace(inputs, `"lqn_in": "models/h-t-83/table1/set2/set2.in"`, programOfSet2, 1)
			}
			doc := fmt.Sprintf(`{"kind": %q, "name": %q, "inputs": %s}`, c.Kind, c.Name, inputs)
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
