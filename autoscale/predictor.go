package autoscale

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/forecast"
	"github.com/banyanhq/banyan/policy"
)

// The frozen defaults of the predictive policy, the same for all services. They were chosen on recorded traffic by the
// cost at which 99.5 % of the minutes hold (bench/autoscale): a little more than the forecast, all the rest of the safety
// being headroom, costs less than a high quantile, because headroom does not widen after each burst.
const (
	DefaultCaution  = 0.3
	DefaultHeadroom = 0.25
	DefaultCoolDown = 5 * time.Minute
	DefaultInterval = 15 * time.Second
)

// mostHorizons are forecast; a longer outlook is sampled.
const mostHorizons = 8

// PredictorConfig of a Predictor.
type PredictorConfig struct {
	// Step is how long a rate that is observed is the mean of.
	Step time.Duration
	// StartUp is how long a new replica takes to serve, Interval the time between two decisions.
	StartUp, Interval time.Duration
	// Beyond is how far a replica that is taken away should not be missed.
	Beyond time.Duration
	// Caution is how far from the forecast to its quantile of 0.8 is reckoned with, as a share; 0: DefaultCaution.
	Caution float64
}

// Predictor learns the rate of one service. One goroutine at a time may use it.
type Predictor struct {
	forecaster    *forecast.Forecaster
	until, beyond []int // horizons, in steps
	caution       float64
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
	near := steps(cfg.StartUp+cfg.Interval, cfg.Step)
	far := max(near, steps(cfg.Beyond, cfg.Step))
	p := &Predictor{caution: cfg.Caution}
	p.until = spread(1, near, mostHorizons-2)
	if far > near {
		p.beyond = spread(near+1, far, 2)
	}
	var err error
	if p.forecaster, err = forecast.New(forecast.Config{Step: cfg.Step, Horizons: append(slices.Clone(p.until), p.beyond...)}); err != nil {
		return nil, fmt.Errorf("forecasting %v ahead in steps of %v: %w", cfg.StartUp, cfg.Step, err)
	}
	return p, nil
}

// steps that cover a time.
func steps(d, step time.Duration) int {
	return int(min(max(1, (d+step-1)/step), forecast.MaxHorizon))
}

// spread returns at most n steps from one to another, the last of them always.
func spread(from, to, n int) []int {
	if to-from < n {
		n = to - from + 1
	}
	if n == 1 {
		return []int{to}
	}
	out := make([]int, n)
	for i := range out {
		out[i] = from + (to-from)*i/(n-1)
	}
	return out
}

// Observe takes the mean rate of the next step; NaN where it is not known.
func (p *Predictor) Observe(rate float64) { p.forecaster.Observe(rate) }

// Outlook is what the service is to be ready for.
func (p *Predictor) Outlook() policy.Outlook {
	var o policy.Outlook
	o.Until = p.most(p.until)
	o.Beyond = math.Max(o.Until, p.most(p.beyond))
	return o
}

func (p *Predictor) most(horizons []int) float64 {
	most := 0.0
	for _, h := range horizons {
		at, err := p.forecaster.At(h)
		upper, upperErr := p.forecaster.Quantile(h, 0.8)
		if err == nil && upperErr == nil { // always: the horizons are those that it was made with
			most = math.Max(most, at.Mean+p.caution*(upper-at.Mean))
		}
	}
	return most
}

// Forecast is what lies behind the outlook: at the horizon at which a replica started now serves.
func (p *Predictor) Forecast() forecast.Forecast {
	at, err := p.forecaster.At(p.until[len(p.until)-1])
	if err != nil {
		return forecast.Forecast{}
	}
	return at
}
