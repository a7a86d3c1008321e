package forecast

import "math"

// Score of a back-test at one horizon: what the Forecaster said at each step for h steps later, held against what came.
type Score struct {
	Horizon int
	Steps   int // forecasts that were scored
	// Mean absolute errors: of the forecast, of persistence, of the value of a season before (the season found by the
	// end; NaN without any). In the unit of the series.
	Error, Persistence, Seasonal float64
	// SMAPE is 200/n * sum |f-y|/(|f|+|y|), in percent.
	SMAPE float64
	// Coverage is the share of values at or below the upper quantile of each of the levels asked for.
	Coverage []float64
	// Width is the mean of that quantile over the mean of the series.
	Width []float64
}

// Backtest runs a Forecaster over a series and scores it at each of its horizons, from the step on that warm-up ends at.
func Backtest(values []float64, cfg Config, warmup int, levels []float64) ([]Score, *Forecaster, error) {
	f, err := New(cfg)
	if err != nil {
		return nil, nil, err
	}
	tests := make([]backtest, len(f.cfg.Horizons))
	for i, h := range f.cfg.Horizons {
		tests[i] = backtest{Score: Score{Horizon: h, Coverage: make([]float64, len(levels)), Width: make([]float64, len(levels))},
			mean: make([]float64, h), upper: make([][]float64, h)}
	}
	season := lastSeason(values, cfg)
	for t, y := range values {
		for i := range tests {
			tests[i].score(t, y, values, season, warmup)
		}
		f.Observe(y)
		for i := range tests {
			tests[i].say(t, &f.heads[i], levels)
		}
	}
	scores := make([]Score, len(tests))
	for i := range tests {
		scores[i] = tests[i].result()
	}
	return scores, f, nil
}

// lastSeason is the first season that would be found in the whole of a series.
func lastSeason(values []float64, cfg Config) int {
	s := newSeasonFinder(cfg)
	if s.fixed {
		return s.periods[0]
	}
	var r history
	for _, y := range values {
		if valid(y) {
			r.push(y)
		} else if r.len() > 0 {
			r.push(r.back(0))
		}
	}
	if r.len() < firstLook {
		return 0
	}
	return s.search(&r)[0]
}

type backtest struct {
	Score
	mean     []float64
	upper    [][]float64
	seasonal int // steps that the seasonal error was taken over
	sum      float64
}

func (b *backtest) score(t int, y float64, values []float64, season, warmup int) {
	h := b.Horizon
	if t < warmup+h || !valid(y) || !valid(values[t-h]) {
		return
	}
	b.Steps++
	b.sum += y
	m := b.mean[t%h]
	b.Error += math.Abs(y - m)
	if m+y > 0 {
		b.SMAPE += 200 * math.Abs(m-y) / (m + y)
	}
	b.Persistence += math.Abs(y - values[t-h])
	if season > 0 {
		back := season
		for back < h {
			back += season
		}
		if t >= back && valid(values[t-back]) {
			b.Seasonal += math.Abs(y - values[t-back])
			b.seasonal++
		}
	}
	for i, u := range b.upper[t%h] {
		if y <= u {
			b.Coverage[i]++
		}
		b.Width[i] += u
	}
}

func (b *backtest) say(t int, hd *head, levels []float64) {
	i := t % b.Horizon
	b.mean[i] = hd.now.mean
	b.upper[i] = b.upper[i][:0]
	for _, p := range levels {
		b.upper[i] = append(b.upper[i], hd.quant.upper(p))
	}
}

func (b *backtest) result() Score {
	n := float64(max(b.Steps, 1))
	s := b.Score
	s.Error, s.Persistence, s.SMAPE = s.Error/n, s.Persistence/n, s.SMAPE/n
	s.Seasonal /= float64(b.seasonal) // NaN without any
	for i := range s.Coverage {
		s.Coverage[i] /= n
		s.Width[i] /= b.sum
	}
	return s
}

func valid(y float64) bool { return y >= 0 && y <= MaxValue }
