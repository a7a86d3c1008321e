package stats

import (
	"errors"
	"fmt"
	"math"
)

// Bounds of a least-squares problem: what a run of hours with a few hundred routes needs.
const (
	maxColumns = 1000
	maxRows    = 1_000_000
)

// LeastSquares is the solution of a least-squares problem.
type LeastSquares struct {
	// X minimises the sum of the squared residuals; none of it is negative.
	X []float64
	// Errors are the standard errors of X if the rows' errors have variance 1 and are independent. That of an element which
	// the bound holds at 0 is the one it would have if it were free. Infinite: the rows do not tell it.
	Errors []float64
	// Squares is the sum of the squared residuals.
	Squares float64
}

// NonNegative finds x >= 0 that minimises |A x - b|^2, by the active-set method of Lawson and Hanson ('Solving Least
// Squares Problems', 1974, chapter 23) on the normal equations of the columns scaled to length 1. Where columns depend on
// each other, the one that came in first carries what they share. Rows of A have all the same length.
func NonNegative(a [][]float64, b []float64) (*LeastSquares, error) {
	if len(a) != len(b) || len(a) == 0 || len(a) > maxRows {
		return nil, fmt.Errorf("least squares: %d rows and %d right sides: want as many of each, 1 to %d", len(a), len(b), maxRows)
	}
	n := len(a[0])
	if n == 0 || n > maxColumns {
		return nil, fmt.Errorf("least squares: %d columns: want 1 to %d", n, maxColumns)
	}
	for i, row := range a {
		if len(row) != n {
			return nil, fmt.Errorf("least squares: row %d has %d columns, the first %d", i+1, len(row), n)
		}
		for _, v := range append(row[:n:n], b[i]) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("least squares: row %d has %v in it", i+1, v)
			}
		}
	}
	s := newActiveSet(a, b)
	if err := s.solve(); err != nil {
		return nil, err
	}
	out := &LeastSquares{X: make([]float64, n), Errors: s.errors()}
	for j, x := range s.x {
		if s.length[j] > 0 {
			out.X[j] = x / s.length[j]
		}
	}
	for i, row := range a {
		r := -b[i]
		for j, v := range row {
			r += v * out.X[j]
		}
		out.Squares += r * r
	}
	return out, nil
}

// activeSet is the state of the method, in scaled columns.
type activeSet struct {
	gram   [][]float64 // A'A
	right  []float64   // A'b
	length []float64   // of each column
	x      []float64
	free   []int // columns that are not held at 0, in the order in which they came
	size   float64
}

func newActiveSet(a [][]float64, b []float64) *activeSet {
	n := len(a[0])
	s := &activeSet{gram: make([][]float64, n), right: make([]float64, n), length: make([]float64, n), x: make([]float64, n)}
	for j := range n {
		s.gram[j] = make([]float64, n)
		for _, row := range a {
			s.length[j] = math.Hypot(s.length[j], row[j])
		}
	}
	scaled := make([]float64, n)
	for i, row := range a {
		s.size = math.Hypot(s.size, b[i])
		for j, v := range row {
			if scaled[j] = 0; s.length[j] > 0 {
				scaled[j] = v / s.length[j]
			}
		}
		for j, v := range scaled {
			if v == 0 {
				continue
			}
			s.right[j] += v * b[i]
			for k := j; k < n; k++ {
				s.gram[j][k] += v * scaled[k]
			}
		}
	}
	for j := range n {
		for k := range j {
			s.gram[j][k] = s.gram[k][j]
		}
	}
	return s
}

// dependent is how much of a column's squared length must be its own for it to come in.
const dependent = 1e-10

func (s *activeSet) solve() error {
	n := len(s.x)
	shut := make([]bool, n) // depends on those that are free
	for range 10 * (n + 1) {
		// The column along which the residual falls fastest comes in.
		best, most := -1, 1e-13*s.size
		for j := range n {
			if s.length[j] == 0 || shut[j] || s.isFree(j) {
				continue
			}
			slope := s.right[j]
			for _, k := range s.free {
				slope -= s.gram[j][k] * s.x[k]
			}
			if slope > most {
				best, most = j, slope
			}
		}
		if best < 0 {
			return nil
		}
		s.free = append(s.free, best)
		z, ok := s.unbounded()
		if !ok || z[len(z)-1] <= 0 {
			s.free = s.free[:len(s.free)-1]
			shut[best] = true
			continue
		}
		if s.retreat(z) {
			clear(shut)
		}
	}
	return errors.New("least squares: the active set does not settle")
}

// retreat goes from x towards the unbounded solution as far as nothing becomes negative, drops what has become 0, and
// tries again. It reports whether anything was dropped.
func (s *activeSet) retreat(z []float64) (dropped bool) {
	for {
		step, worst := 1.0, -1
		for i, k := range s.free {
			if z[i] <= 0 {
				if t := s.x[k] / (s.x[k] - z[i]); t < step || worst < 0 {
					step, worst = t, k
				}
			}
		}
		for i, k := range s.free {
			s.x[k] += step * (z[i] - s.x[k])
		}
		if worst < 0 {
			return dropped
		}
		dropped = true
		s.x[worst] = 0
		kept := s.free[:0]
		for _, k := range s.free {
			if s.x[k] > 0 {
				kept = append(kept, k)
			} else {
				s.x[k] = 0
			}
		}
		s.free = kept
		var ok bool
		if z, ok = s.unbounded(); !ok {
			return dropped
		}
	}
}

func (s *activeSet) isFree(j int) bool {
	for _, k := range s.free {
		if k == j {
			return true
		}
	}
	return false
}

// unbounded solves for the free columns alone.
func (s *activeSet) unbounded() ([]float64, bool) {
	l, ok := s.cholesky(s.free)
	if !ok {
		return nil, false
	}
	z := make([]float64, len(s.free))
	for i, k := range s.free {
		z[i] = s.right[k]
	}
	substitute(l, z)
	return z, true
}

// cholesky factors the part of the Gram matrix that belongs to columns; false where they depend on each other.
func (s *activeSet) cholesky(columns []int) ([][]float64, bool) {
	l := make([][]float64, len(columns))
	for i, a := range columns {
		l[i] = make([]float64, i+1)
		for j := range i + 1 {
			v := s.gram[a][columns[j]]
			for k := range j {
				v -= l[i][k] * l[j][k]
			}
			if i != j {
				l[i][j] = v / l[j][j]
				continue
			}
			if v < dependent {
				return nil, false
			}
			l[i][i] = math.Sqrt(v)
		}
	}
	return l, true
}

// substitute solves L L' z = z in place.
func substitute(l [][]float64, z []float64) {
	for i := range z {
		for k := range i {
			z[i] -= l[i][k] * z[k]
		}
		z[i] /= l[i][i]
	}
	for i := len(z) - 1; i >= 0; i-- {
		for k := i + 1; k < len(z); k++ {
			z[i] -= l[k][i] * z[k]
		}
		z[i] /= l[i][i]
	}
}

// errors are the roots of the diagonal of the inverse of A'A, of the free columns and each other one beside them.
func (s *activeSet) errors() []float64 {
	out := make([]float64, len(s.x))
	for j := range out {
		out[j] = math.Inf(1)
		if s.length[j] == 0 {
			continue
		}
		columns, at := s.free, -1
		for i, k := range columns {
			if k == j {
				at = i
			}
		}
		if at < 0 {
			columns, at = append(columns[:len(columns):len(columns)], j), len(columns)
		}
		if l, ok := s.cholesky(columns); ok {
			unit := make([]float64, len(columns))
			unit[at] = 1
			substitute(l, unit)
			out[j] = math.Sqrt(unit[at]) / s.length[j]
		}
	}
	return out
}
