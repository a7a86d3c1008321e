package queueing

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// goldenCase is one published problem of testdata/cases.json.
type goldenCase struct {
	Name     string          `json:"name"`
	Kind     string          `json:"kind"`
	Inputs   json.RawMessage `json:"inputs"`
	Expected json.RawMessage `json:"expected"`
	Tol      float64         `json:"tol"`
	TolRel   float64         `json:"tol_rel"`
	Origin   string          `json:"origin"`
}

func goldenCases(t *testing.T) []goldenCase {
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

func (c *goldenCase) near(t *testing.T, what string, got, want float64) {
	t.Helper()
	tol := c.Tol
	if c.TolRel > 0 {
		tol = c.TolRel * math.Abs(want)
	}
	if math.IsNaN(got) || math.Abs(got-want) > tol {
		t.Errorf("%s: %s = %.6g, published %.6g, tolerance %.3g", c.Name, what, got, want, tol)
	}
}

func decode[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func singleMetric(s *Single, name string) float64 {
	switch name {
	case "L":
		return s.L
	case "Lq":
		return s.Lq
	case "W":
		return s.W
	case "Wq":
		return s.Wq
	case "P0":
		return s.P0
	case "PK":
		return s.PLoss
	}
	return math.NaN()
}

func TestGoldenBounds(t *testing.T) {
	for _, c := range goldenCases(t) {
		in := func() (v struct {
			N int
			D []float64
			Z float64
		}) {
			json.Unmarshal(c.Inputs, &v)
			return v
		}()
		var b *Bounds
		var err error
		switch c.Kind {
		case "geometric bounds (Casale-Muntz-Serazzi)":
			b, err = GeometricBounds(in.D, in.Z, in.N)
		case "proportional bounds (Hsieh-Lam)":
			b, err = ProportionalBounds(in.D, in.N)
		default:
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		want := decode[map[string]float64](t, c.Expected)
		c.near(t, "X lower", b.XLower, want["X_lower"])
		c.near(t, "X upper", b.XUpper, want["X_upper"])
	}
}
