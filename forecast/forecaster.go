package forecast

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Bounds of a Config.
const (
	MaxHorizon  = 512 // steps
	MaxHorizons = 64
	// MaxValue is the largest value that is not taken for a fault of whoever measured it.
	MaxValue = 1e15
)

// ErrHorizon is returned for a horizon that the Forecaster was not made for.
var ErrHorizon = errors.New("not a horizon of this forecaster")

// Config of a Forecaster.
type Config struct {
	// Step is the sampling period. It serves to know a day and a week; zero when it means nothing.
	Step time.Duration
	// Horizons at which forecasts will be asked for, in steps, each from 1 to MaxHorizon; at most MaxHorizons.
	Horizons []int
	// Seasons known beforehand, in steps, at most two. Without any they are searched for.
	Seasons []int
}

// Forecast is what is expected at one horizon.
type Forecast struct {
	// Mean is the combined forecast, Last what persistence says.
	Mean, Last float64
	// Skill is 1 - (recent absolute error of the combination / that of persistence): above 0 it does better.
	Skill float64
	// Gated says that the combination has shown no skill, so that Mean is Last.
	Gated bool
	// Model has the largest weight in the combination, Weight is that weight.
	Model  string
	Weight float64
	// Ready says that the horizon has been scored often enough for its quantiles to mean something.
	Ready bool
}

// Forecaster learns one series. Its zero value is of no use: New makes one.
type Forecaster struct {
	cfg     Config
	history history
	seasons seasonFinder
	models  []model
	heads   []head
	regime  cusum
	outage  outage
	surge   surge
	masked  bool    // the latest value was none that is believed
	peak    float64 // of the values, decaying: no model goes far beyond it
}

// A model may say up to beyondPeak times the largest value; that is forgotten by peakDecay a step.
const (
	beyondPeak = 3
	peakDecay  = 0.9995
)

// New returns a Forecaster, or an error that says what in the Config is out of bounds.
func New(cfg Config) (*Forecaster, error) {
	if len(cfg.Horizons) == 0 || len(cfg.Horizons) > MaxHorizons {
		return nil, fmt.Errorf("%d horizons: want 1 to %d", len(cfg.Horizons), MaxHorizons)
	}
	cfg.Horizons = slices.Clone(cfg.Horizons)
	slices.Sort(cfg.Horizons)
	cfg.Horizons = slices.Compact(cfg.Horizons)
	for _, h := range cfg.Horizons {
		if h < 1 || h > MaxHorizon {
			return nil, fmt.Errorf("horizon of %d steps: want 1 to %d", h, MaxHorizon)
		}
	}
	if len(cfg.Seasons) > 2 {
		return nil, fmt.Errorf("%d seasons: want at most 2", len(cfg.Seasons))
	}
	for _, p := range cfg.Seasons {
		if p < 2 || p > maxSeason {
			return nil, fmt.Errorf("season of %d steps: want 2 to %d", p, maxSeason)
		}
	}
	f := &Forecaster{cfg: cfg, models: newModels()}
	f.seasons = newSeasonFinder(cfg)
	for _, h := range cfg.Horizons {
		f.heads = append(f.heads, newHead(h, len(f.models)))
	}
	return f, nil
}

// Observe takes the value of the next step; NaN, a negative value or one above MaxValue is missing.
func (f *Forecaster) Observe(y float64) {
	missing := !valid(y)
	f.masked = missing
	if f.history.len() == 0 {
		if !missing {
			f.peak = y
			f.take(y)
		}
		return
	}
	expected := f.heads[0].nextMean()
	if !missing && (f.surge.absurd(y, f.peak) || f.outage.silent(y, expected, f.models[3].predict(1, f))) {
		missing = true
	}
	if f.masked = missing; missing {
		f.take(f.fill(expected))
		return
	}
	f.peak = math.Max(y, peakDecay*f.peak)
	for i := range f.heads {
		f.heads[i].score(y)
	}
	if f.regime.observe(f.heads[0].surprise) {
		for _, m := range f.models {
			m.forget(y)
		}
	}
	f.take(y)
}

// fill is what a missing value is taken for: the same time a season ago at the level of today, else the average.
func (f *Forecaster) fill(expected float64) float64 {
	if math.IsNaN(expected) {
		expected = f.models[3].predict(1, f)
	}
	return math.Min(expected, f.peak)
}

// take makes a value the latest, and forecasts from it.
func (f *Forecaster) take(y float64) {
	f.history.push(y)
	f.seasons.observe(&f.history)
	for _, m := range f.models {
		m.observe(y, f)
	}
	for i := range f.heads {
		f.heads[i].predict(f)
	}
}

// At returns the forecast for one of the horizons.
func (f *Forecaster) At(h int) (Forecast, error) {
	hd := f.head(h)
	if hd == nil {
		return Forecast{}, fmt.Errorf("%d steps: %w", h, ErrHorizon)
	}
	out := Forecast{Mean: hd.now.mean, Gated: hd.gated, Ready: hd.quant.now.sure, Weight: hd.weights[hd.best], Model: regressionName}
	if len(hd.now.models) > 0 {
		out.Last = float64(hd.now.models[0])
	}
	if hd.best < len(f.models) {
		out.Model = f.models[hd.best].name()
	}
	if hd.gated {
		out.Model, out.Weight = f.models[0].name(), 1
	}
	if hd.loss[0] > 0 {
		out.Skill = 1 - hd.combined/hd.loss[0]
	}
	return out, nil
}

// Masked says whether the latest value was none, or was taken for a fault of whoever measured it (an outage, or a hundred
// times all others).
func (f *Forecaster) Masked() bool { return f.masked }

// Quantile returns the value that the one h steps ahead stays below with probability p. Below 0.5 nothing is calibrated.
func (f *Forecaster) Quantile(h int, p float64) (float64, error) {
	hd := f.head(h)
	if hd == nil {
		return 0, fmt.Errorf("%d steps: %w", h, ErrHorizon)
	}
	return hd.quant.upper(p), nil
}

func (f *Forecaster) head(h int) *head {
	i, ok := slices.BinarySearch(f.cfg.Horizons, h)
	if !ok {
		return nil
	}
	return &f.heads[i]
}

// Seasons returns the periods found, in steps; none, one or two.
func (f *Forecaster) Seasons() []int {
	var found []int
	for _, p := range f.seasons.periods {
		if p > 0 {
			found = append(found, p)
		}
	}
	return found
}
