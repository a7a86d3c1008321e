package forecast

import (
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// DefaultCaution was chosen, with the headroom that a user adds, on recorded traffic by the cost at which 99.5 % of the
// minutes hold (bench/autoscale): a little more than the forecast, all the rest of the safety being headroom, costs less
// than a high quantile, because headroom does not widen after each burst.
const DefaultCaution = 0.3

// mostHorizons are forecast; a longer outlook is sampled.
const mostHorizons = 8

// PredictorConfig of a Predictor.
type PredictorConfig struct {
	// Step is how long a rate that is observed is the mean of.
	Step time.Duration
	// Far is how far ahead the outlook reaches.
	Far time.Duration
	// Caution is how far from the forecast to its quantile of 0.8 is reckoned with, as a share; 0: DefaultCaution.
	Caution float64
}

// Predictor gives the outlook of one rate to whoever must be ready for it. One goroutine at a time may use it.
type Predictor struct {
	forecaster *Forecaster
	horizons   []int // in steps
	step       time.Duration
	caution    float64
}

// NewPredictor returns a Predictor, or what is wrong with its configuration.
func NewPredictor(cfg PredictorConfig) (*Predictor, error) {
	if cfg.Step <= 0 {
		return nil, fmt.Errorf("step of %v: want more than nothing", cfg.Step)
	}
	if cfg.Caution == 0 {
		cfg.Caution = DefaultCaution
	}
	if !(cfg.Caution >= 0) || math.IsInf(cfg.Caution, 0) {
		return nil, fmt.Errorf("caution %v: want a share, 0 or more", cfg.Caution)
	}
	p := &Predictor{step: cfg.Step, caution: cfg.Caution, horizons: spread(steps(cfg.Far, cfg.Step), mostHorizons)}
	var err error
	if p.forecaster, err = New(Config{Step: cfg.Step, Horizons: p.horizons}); err != nil {
		return nil, fmt.Errorf("forecasting %v ahead in steps of %v: %w", cfg.Far, cfg.Step, err)
	}
	return p, nil
}

// steps that cover a time.
func steps(d, step time.Duration) int {
	return int(min(max(1, (d+step-1)/step), MaxHorizon))
}

// spread returns at most n of the steps from 1 to the last, which is always one of them.
func spread(last, n int) []int {
	n = min(n, last)
	if n == 1 {
		return []int{last}
	}
	out := make([]int, n)
	for i := range out {
		out[i] = 1 + (last-1)*i/(n-1)
	}
	return out
}

// Observe takes the mean rate of the next step; NaN where it is not known.
func (p *Predictor) Observe(rate float64) { p.forecaster.Observe(rate) }

// Outlook of someone to whom a start takes so long.
func (p *Predictor) Outlook(start time.Duration) stats.Outlook {
	o := stats.Outlook{Masked: p.forecaster.Masked()}
	near := steps(start, p.step)
	reached := false
	for _, h := range p.horizons {
		// Neither fails: the horizons are those that it was made with.
		at, err := p.forecaster.At(h)
		upper, upperErr := p.forecaster.Quantile(h, 0.8)
		if err != nil || upperErr != nil {
			continue
		}
		v := math.Max(0, at.Mean+p.caution*(upper-at.Mean))
		o.Beyond = math.Max(o.Beyond, v)
		if !reached {
			o.Until, o.Skill, o.Model, o.Ready = o.Beyond, at.Skill, at.Model, at.Ready
		}
		reached = reached || h >= near
	}
	return o
}
