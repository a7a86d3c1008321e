package forecast

import "math"

const (
	lossMemory = 200 // steps over which the loss of a model is remembered, or eight horizons if that is more
	sharpness  = 6   // power of the inverse loss that gives the weights
)

// head forecasts for one horizon: it weighs the models by how they did at it, and calibrates quantiles.
type head struct {
	h        int
	weights  []float64
	loss     []float64 // discounted mean absolute error of each model, the regression last
	combined float64   // of the combination
	scored   int
	rls      *regression
	// what was said for the steps to come, the oldest at next
	pending  []said
	next     int
	now      said
	quant    conformal
	best     int
	gated    bool
	surprise float64 // the last error, in scales
}

// said is what was forecast for a step.
type said struct {
	models  []float32
	x       feature
	level   float64
	mean    float64
	ungated float64
	valid   bool
}

func newHead(h, models int) head {
	hd := head{h: h, loss: make([]float64, models+1), weights: make([]float64, models+1), rls: newRegression(), pending: make([]said, h), quant: newConformal(h)}
	for i := range hd.pending {
		hd.pending[i].models = make([]float32, models+1)
	}
	return hd
}

const regressionName = "regression"

// nextMean is what was said for the step to come h steps ago; NaN when nothing was.
func (hd *head) nextMean() float64 {
	if s := &hd.pending[hd.next]; s.valid {
		return s.mean
	}
	return math.NaN()
}

// score holds what was said h steps ago against what came.
func (hd *head) score(y float64) {
	s := &hd.pending[hd.next]
	if !s.valid {
		hd.surprise = 0
		return
	}
	hd.scored++
	memory := math.Max(lossMemory, 8*float64(hd.h))
	w := math.Max(1/memory, 1/float64(hd.scored))
	for i, v := range s.models {
		e := math.Abs(y - float64(v))
		if math.IsNaN(e) {
			e = 2 * math.Abs(y-float64(s.models[0])) // a model that can't say yet begins behind persistence
		}
		hd.loss[i] += w * (e - hd.loss[i])
	}
	hd.combined += w * (math.Abs(y-s.ungated) - hd.combined)
	hd.rls.observe(&s.x, y/s.level)
	hd.surprise = hd.quant.observe(y)
}

// predict says what h steps ahead will bring, and keeps it for its score.
func (hd *head) predict(f *Forecaster) {
	s := &hd.pending[hd.next]
	hd.next = (hd.next + 1) % len(hd.pending)
	s.level = math.Max(f.models[3].predict(hd.h, f), 1e-9)
	s.x = f.features(hd.h, s.level)
	for i, m := range f.models {
		s.models[i] = float32(math.Min(m.predict(hd.h, f), beyondPeak*f.peak))
	}
	s.models[len(f.models)] = float32(math.NaN())
	if hd.scored > 2*features {
		s.models[len(f.models)] = float32(math.Min(math.Max(0, hd.rls.predict(&s.x)*s.level), beyondPeak*f.peak))
	}
	hd.combine(s)
	s.valid = true
	hd.now = *s
	hd.quant.predict(s.mean, s.level)
}

// combine weighs by the inverse of the loss to a power: the best few share the weight, the others have next to none.
func (hd *head) combine(s *said) {
	least := math.Inf(1)
	for i, v := range s.models {
		if !math.IsNaN(float64(v)) {
			least = math.Min(least, hd.loss[i])
		}
	}
	sum, total := 0.0, 0.0
	hd.best = 0
	for i, v := range s.models {
		hd.weights[i] = 0
		if math.IsNaN(float64(v)) {
			continue
		}
		w := 1.0
		if least > 0 {
			w = math.Pow(least/hd.loss[i], sharpness)
		} else if hd.loss[i] > 0 {
			w = 0
		}
		hd.weights[i] = w
		sum += w * float64(v)
		total += w
		if w > hd.weights[hd.best] {
			hd.best = i
		}
	}
	for i := range hd.weights {
		hd.weights[i] /= total
	}
	s.ungated = sum / total
	s.mean = s.ungated
	hd.gated = hd.scored > 0 && hd.combined >= hd.loss[0] && hd.loss[0] > 0
	if hd.gated {
		s.mean = float64(s.models[0])
	}
}
