package forecast

import "math"

// regression learns, for one horizon, a linear map from what is known now to what will be, by recursive least squares
// with forgetting (Ljung 1999, section 11.2). Features and answer are divided by the level of the series, so that the
// same prior serves all.
type regression struct {
	theta [features]float64
	p     [features][features]float64
	n     int
}

// What a regression goes by: a constant, the last values, averages of them, and the same time a season ago.
const features = 10

const (
	rlsForget = 0.999
	rlsPrior  = 10.0 // variance of a coefficient before anything is known
)

type feature = [features]float64

func newRegression() *regression {
	r := &regression{}
	r.theta[1] = 1 // begins as persistence
	for i := range features {
		r.p[i][i] = rlsPrior
	}
	return r
}

func (r *regression) predict(x *feature) float64 {
	sum := 0.0
	for i, v := range x {
		sum += r.theta[i] * v
	}
	return sum
}

func (r *regression) observe(x *feature, y float64) {
	var px feature
	d := rlsForget
	for i := range features {
		for j := range features {
			px[i] += r.p[i][j] * x[j]
		}
		d += x[i] * px[i]
	}
	err := y - r.predict(x)
	// an error far beyond what was seen before teaches no more than a large one does
	for i := range features {
		r.theta[i] += px[i] / d * err
		for j := range features {
			r.p[i][j] = (r.p[i][j] - px[i]*px[j]/d) / rlsForget
		}
	}
	trace := 0.0
	for i := range features {
		trace += r.p[i][i]
	}
	if trace > 1e4 { // no excitation for a long time: do not let the gain wind up
		for i := range features {
			for j := range features {
				r.p[i][j] *= 1e4 / trace
			}
		}
	}
	r.n++
}

// features of now for a horizon, divided by level; those of seasons are those of now while there are none.
func (f *Forecaster) features(h int, level float64) feature {
	back := func(i int) float64 {
		return f.history.back(min(i, f.history.len()-1)) / level
	}
	x := feature{0: 1, 1: back(0), 2: back(1), 3: f.models[2].predict(h, f) / level, 4: f.models[3].predict(h, f) / level}
	x[5] = x[1]
	x[6] = x[1]
	x[7], x[8], x[9] = x[4], x[4], x[4]
	if m := f.models[8].(*seasonal); m.period > 0 && f.history.len() > m.period {
		x[5], x[6] = m.past(h, f)/level, m.past(0, f)/level
	}
	if m := f.models[9].(*seasonal); m.period > 0 && f.history.len() > m.period {
		x[7], x[8] = m.past(h, f)/level, m.past(0, f)/level
	}
	if m := f.models[11].predict(h, f); !math.IsNaN(m) {
		x[9] = m / level
	}
	return x
}
