package forecast

import "math"

// model is one way to forecast. It sees each value once, after the history took it.
type model interface {
	name() string
	observe(y float64, f *Forecaster)
	// predict the value of h steps ahead; NaN while it can't.
	predict(h int, f *Forecaster) float64
	// forget what a former regime taught about the level.
	forget(y float64)
}

func newModels() []model {
	return []model{
		persistence{},
		&average{label: "ewma 2", alpha: 0.5},
		&average{label: "ewma 6", alpha: 0.15},
		&average{label: "ewma 30", alpha: 0.033},
		&trend{label: "damped trend", alpha: 0.4, beta: 0.1, phi: 0.9},
		&trend{label: "slow damped trend", alpha: 0.15, beta: 0.02, phi: 0.98},
		&seasonal{label: "season", which: 0, level: 0},
		&seasonal{label: "season at level", which: 0, level: 0.5},
		&seasonal{label: "smooth season at level", which: 0, level: 0.1, smooth: true, seasons: 4},
		&seasonal{label: "long season at level", which: 1, level: 0.2, smooth: true},
		&seasonal{label: "long season", which: 1, level: 0},
		&holtWinters{},
	}
}

// persistence says that all stays as it is: what any other must beat. It is the first of the models.
type persistence struct{}

func (persistence) name() string                         { return "last value" }
func (persistence) observe(float64, *Forecaster)         {}
func (persistence) predict(_ int, f *Forecaster) float64 { return f.history.back(0) }
func (persistence) forget(float64)                       {}

// average is the exponentially weighted moving average.
type average struct {
	label string
	alpha float64
	value float64
	n     int
}

func (m *average) name() string { return m.label }
func (m *average) observe(y float64, _ *Forecaster) {
	m.n++
	m.value += math.Max(m.alpha, 1/float64(m.n)) * (y - m.value)
}
func (m *average) predict(int, *Forecaster) float64 { return m.value }
func (m *average) forget(y float64)                 { m.value = y }

// trend is Holt's linear method with a damped trend (Gardner and McKenzie 1985).
type trend struct {
	label            string
	alpha, beta, phi float64
	level, slope     float64
	started          bool
}

func (m *trend) name() string { return m.label }
func (m *trend) observe(y float64, _ *Forecaster) {
	if !m.started {
		m.level, m.started = y, true
		return
	}
	before := m.level
	expected := before + m.phi*m.slope
	m.level = expected + m.alpha*(y-expected)
	m.slope = m.phi*m.slope + m.beta*(m.level-before-m.phi*m.slope)
}
func (m *trend) predict(h int, _ *Forecaster) float64 {
	damped := m.phi * (1 - math.Pow(m.phi, float64(h))) / (1 - m.phi)
	return math.Max(0, m.level+damped*m.slope)
}
func (m *trend) forget(y float64) { m.level, m.slope = y, 0 }

// seasonal says what was a season ago, brought to the level of today: the ratio of two averages with the same weights,
// of the latest values and of those a season before.
type seasonal struct {
	label   string
	which   int     // of the seasons found
	level   float64 // weight of the latest value in the averages; zero: the level is not corrected
	smooth  bool    // the value of a season ago is the mean of those around it
	seasons int     // how many seasons back are averaged; zero: one
	period  int
	now     float64
	then    float64
	started bool
}

func (m *seasonal) name() string { return m.label }

func (m *seasonal) observe(y float64, f *Forecaster) {
	if p := f.seasons.periods[m.which]; p != m.period {
		m.period, m.started = p, false
	}
	if m.period == 0 || m.level == 0 || f.history.len() <= m.period {
		return
	}
	before := m.past(0, f)
	if !m.started {
		m.now, m.then, m.started = y, before, true
	}
	m.now += m.level * (y - m.now)
	m.then += m.level * (before - m.then)
}

// past returns what is remembered for h steps ahead of now.
func (m *seasonal) past(h int, f *Forecaster) float64 {
	w := 0
	if m.smooth {
		w = min(3, m.period/16)
	}
	sum, n := 0.0, 0.0
	back := m.period - h
	for back < 0 {
		back += m.period
	}
	for range max(1, m.seasons) {
		if back >= f.history.len() {
			break
		}
		sum += f.history.mean(back, w)
		n++
		back += m.period
	}
	return sum / n // NaN when there is none
}

func (m *seasonal) predict(h int, f *Forecaster) float64 {
	if m.period == 0 || f.history.len() <= m.period {
		return math.NaN()
	}
	v := m.past(h, f)
	if m.level == 0 {
		return v
	}
	if !m.started || m.then <= 0 {
		return math.NaN()
	}
	return v * math.Min(m.now/m.then, 10)
}

func (m *seasonal) forget(float64) {}

// holtWinters is the double seasonal method of Taylor (2003) with multiplicative seasons and an autoregressive error:
// each season as an index around a slow level, what is left decaying by phi.
type holtWinters struct {
	periods      [2]int
	level        float64
	index        [2][]float32
	residual     float64
	at           int
	learnedSteps int
}

// Weights of Holt-Winters, the same for all series.
const (
	hwLevel  = 0.03
	hwSeason = 0.25
	hwPhi    = 0.95
)

func (m *holtWinters) name() string { return "double seasonal Holt-Winters" }

func (m *holtWinters) observe(y float64, f *Forecaster) {
	if f.seasons.periods != m.periods {
		m.learn(f)
		return
	}
	if m.periods[0] == 0 {
		return
	}
	m.step(y)
}

// learn begins anew with other seasons, from all that is remembered.
func (m *holtWinters) learn(f *Forecaster) {
	*m = holtWinters{periods: f.seasons.periods}
	if m.periods[0] == 0 {
		return
	}
	n := f.history.len()
	first := min(n, max(m.periods[0], m.periods[1]))
	sum := 0.0
	for i := range first {
		sum += f.history.back(n - 1 - i)
	}
	m.level = math.Max(sum/float64(first), 1e-9)
	for s, p := range m.periods {
		m.index[s] = make([]float32, p)
		for i := range m.index[s] {
			m.index[s][i] = 1
		}
	}
	for i := range n {
		m.step(f.history.back(n - 1 - i))
	}
}

func (m *holtWinters) step(y float64) {
	a, b := m.cell(0, 0), m.cell(1, 0)
	seasons := float64(*a)
	if b != nil {
		seasons *= float64(*b)
	}
	fitted := m.level * seasons
	m.residual = y - fitted
	if seasons > 1e-6 {
		m.level += hwLevel * (y/seasons - m.level)
	}
	m.level = math.Max(m.level, 1e-9)
	rate := float32(hwSeason)
	if m.learnedSteps < m.periods[0] {
		rate = 0.8
	}
	if b != nil {
		*a += rate * (clampIndex(y/(m.level*math.Max(float64(*b), 1e-3))) - *a)
		*b += rate * (clampIndex(y/(m.level*math.Max(float64(*a), 1e-3))) - *b)
	} else {
		*a += rate * (clampIndex(y/m.level) - *a)
	}
	m.learnedSteps++
	m.at++
}

func clampIndex(v float64) float32 { return float32(math.Min(v, 50)) }

// cell is the index of a season for h steps after the next.
func (m *holtWinters) cell(s, h int) *float32 {
	if m.periods[s] == 0 {
		return nil
	}
	return &m.index[s][(m.at+h)%m.periods[s]]
}

func (m *holtWinters) predict(h int, _ *Forecaster) float64 {
	if m.periods[0] == 0 || m.learnedSteps < m.periods[0] {
		return math.NaN()
	}
	v := m.level * float64(*m.cell(0, h-1))
	if b := m.cell(1, h-1); b != nil {
		v *= float64(*b)
	}
	return math.Max(0, v+m.residual*math.Pow(hwPhi, float64(h)))
}

func (m *holtWinters) forget(y float64) {}
