package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestNonNegativeKnown(t *testing.T) {
	for _, c := range []struct {
		name string
		a    [][]float64
		b, x []float64
	}{
		{"one column", [][]float64{{1}, {1}}, []float64{1, 3}, []float64{2}},
		{"all free", [][]float64{{1, 0}, {0, 2}, {1, 1}}, []float64{1, 4, 3}, []float64{1, 2}},
		{"the bound holds", [][]float64{{1, 1}, {1, 2}, {1, 3}}, []float64{3, 2, 1}, []float64{2, 0}},
		{"all held", [][]float64{{1, 2}, {3, 4}}, []float64{-1, -1}, []float64{0, 0}},
		{"one that came in goes out again", [][]float64{{1, 1, 0}, {1, 0.9, 0.1}, {0, 1, -1}}, []float64{1, 1, -0.5}, nil},
		{"columns of very different size", [][]float64{{1e-9, 0}, {0, 1e6}}, []float64{3, 2}, []float64{3e9, 2e-6}},
		{"a column of nothing", [][]float64{{1, 0}, {2, 0}}, []float64{2, 4}, []float64{2, 0}},
		{"twice the same column", [][]float64{{1, 1}, {2, 2}}, []float64{2, 4}, nil},
	} {
		got, err := NonNegative(c.a, c.b)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for j, want := range c.x {
			if math.Abs(got.X[j]-want) > 1e-9*(1+want) {
				t.Errorf("%s: x = %v, want %v", c.name, got.X, c.x)
			}
		}
		optimal(t, c.name, c.a, c.b, got.X)
	}
}

// optimal holds the conditions of Karush, Kuhn and Tucker: nothing negative, no slope where x is free, none downhill where
// it is held.
func optimal(t *testing.T, name string, a [][]float64, b, x []float64) {
	t.Helper()
	for j := range x {
		var slope, size float64
		for i, row := range a {
			r := b[i]
			for k, v := range row {
				r -= v * x[k]
			}
			slope += row[j] * r
			size += math.Abs(row[j] * b[i])
		}
		if x[j] < 0 || slope > 1e-7*size+1e-300 || x[j] > 0 && slope < -1e-7*size {
			t.Errorf("%s: not optimal at column %d: x = %v, slope %v of %v", name, j, x[j], slope, size)
		}
	}
}

func TestNonNegativeIsOptimalOnRandomProblems(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	for trial := range 300 {
		n, m := 1+rng.IntN(12), 1+rng.IntN(40)
		a, b := make([][]float64, m), make([]float64, m)
		for i := range a {
			a[i] = make([]float64, n)
			for j := range a[i] {
				a[i][j] = rng.NormFloat64() * math.Pow(10, float64(j%4))
				if trial%3 == 0 {
					a[i][j] = math.Abs(a[i][j])
				}
			}
			b[i] = rng.NormFloat64()
		}
		got, err := NonNegative(a, b)
		if err != nil {
			t.Fatalf("trial %d: %v", trial, err)
		}
		optimal(t, "random", a, b, got.X)
	}
}

// TestNonNegativeErrorsCover draws noise of variance 1 again and again: the truth lies within two standard errors as often
// as the normal law says.
func TestNonNegativeErrorsCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	truth := []float64{5, 2, 8}
	inside, all := 0, 0
	for range 400 {
		var a [][]float64
		var b []float64
		for range 40 {
			row := []float64{rng.Float64() * 4, rng.Float64() * 4, rng.Float64() * 4}
			a = append(a, row)
			b = append(b, row[0]*truth[0]+row[1]*truth[1]+row[2]*truth[2]+rng.NormFloat64())
		}
		got, err := NonNegative(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for j, want := range truth {
			all++
			if math.Abs(got.X[j]-want) < 1.96*got.Errors[j] {
				inside++
			}
		}
	}
	if share := float64(inside) / float64(all); share < 0.93 || share > 0.97 {
		t.Errorf("the truth lies within the 95%% interval in %.1f%% of %d cases", 100*share, all)
	}
}

func TestNonNegativeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		a [][]float64
		b []float64
	}{
		"no rows":     {nil, nil},
		"no columns":  {[][]float64{{}}, []float64{1}},
		"ragged":      {[][]float64{{1, 2}, {1}}, []float64{1, 2}},
		"right sides": {[][]float64{{1}}, []float64{1, 2}},
		"not finite":  {[][]float64{{1}, {math.NaN()}}, []float64{1, 2}},
		"endless":     {[][]float64{{1}, {2}}, []float64{1, math.Inf(1)}},
	} {
		if _, err := NonNegative(c.a, c.b); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}
