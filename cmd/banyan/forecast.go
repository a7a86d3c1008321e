package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/forecast"
)

func (c *cli) forecast() *cobra.Command {
	var step time.Duration
	var horizons []int
	var levels []float64
	cmd := &cobra.Command{
		Use:     "forecast FILE.csv",
		GroupID: "predict",
		Short:   "Forecast recorded traffic, with upper bounds, and say how good that is",
		Long: `Forecast reads a series of rates or counts (a value, or a time and a value in each row; '-' is standard input), learns it
step by step, and says what comes next: the forecast at each horizon, and the values that what comes stays below with the
given probabilities. Below that it shows how the same would have done so far: its error against that of the last value
and of the season before, and how often the bounds held.`,
		Example: "  banyan forecast requests.csv\n" +
			"  banyan forecast requests.csv --horizons 1,15,60 --levels 0.9,0.99 --json",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(c.files) > 0 {
				return usagef("forecast reads recorded traffic, not a topology: name it without -f")
			}
			for _, p := range levels {
				if !(p >= 0.5 && p < 1) {
					return usagef("level %v: want 0.5 or more, below 1", p)
				}
			}
			series, err := c.readSeries(args[0], step)
			if err != nil {
				return wrongUse{err}
			}
			report, err := forecastSeries(series, horizons, levels)
			if err != nil {
				return wrongUse{fmt.Errorf("forecasting %s: %w", args[0], err)}
			}
			if c.json {
				return writeJSON(c.out, report)
			}
			report.print(c.out)
			return nil
		},
	}
	cmd.Flags().DurationVar(&step, "step", 0, "how long a step is (default: from the times in the file)")
	cmd.Flags().IntSliceVar(&horizons, "horizons", []int{1, 5, 15, 60}, "steps ahead to forecast")
	cmd.Flags().Float64SliceVar(&levels, "levels", []float64{0.8, 0.95, 0.99}, "probabilities of the upper bounds")
	return cmd
}

// readSeries reads recorded traffic, plain or gzip'd, from a file, or from standard input where name is "-".
func (c *cli) readSeries(name string, step time.Duration) (forecast.Series, error) {
	in := c.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return forecast.Series{}, fmt.Errorf("reading the traffic: %w", err)
		}
		defer f.Close() // nothing was written
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return forecast.Series{}, fmt.Errorf("reading the traffic: %s is a folder, not a file", name)
		}
		in = f
	}
	if step < 0 {
		return forecast.Series{}, errors.New("a step can't be negative")
	}
	series, err := forecast.ReadCSV(in, step)
	if err != nil {
		return forecast.Series{}, fmt.Errorf("%s: %w", name, err)
	}
	for _, note := range series.Notes {
		fmt.Fprintf(c.err, "%s: %s\n", name, note)
	}
	return series, nil
}

// forecastReport is what forecast prints. All values are in the unit of the file.
type forecastReport struct {
	Step     string            `json:"step"`
	Steps    int               `json:"steps"`
	Seasons  []int             `json:"seasons"`
	Levels   []float64         `json:"levels"`
	Horizons []horizonForecast `json:"horizons"`
	warmUp   int
	step     time.Duration
}

type horizonForecast struct {
	Steps  int       `json:"steps"`
	Mean   float64   `json:"forecast"`
	Upper  []float64 `json:"upper"`
	Model  string    `json:"model"`
	Weight float64   `json:"weight"`
	Ready  bool      `json:"ready"` // scored often enough for its bounds to mean something
	// Of the back-test; nothing where nothing could be scored.
	Scored      int       `json:"scored"`
	Error       float64   `json:"error"`
	Persistence float64   `json:"errorOfLastValue"`
	Seasonal    *float64  `json:"errorOfSeasonBefore,omitempty"`
	Coverage    []float64 `json:"coverage"`
}

func forecastSeries(s forecast.Series, horizons []int, levels []float64) (*forecastReport, error) {
	r := &forecastReport{Step: s.Step.String(), Steps: len(s.Values), Levels: levels, warmUp: min(len(s.Values)/3, 2000), step: s.Step}
	scores, f, err := forecast.Backtest(s.Values, forecast.Config{Step: s.Step, Horizons: horizons}, r.warmUp, levels)
	if err != nil {
		return nil, err
	}
	r.Seasons = f.Seasons()
	for _, score := range scores {
		at, err := f.At(score.Horizon)
		if err != nil {
			return nil, err
		}
		h := horizonForecast{Steps: score.Horizon, Mean: at.Mean, Model: at.Model, Weight: at.Weight, Ready: at.Ready,
			Scored: score.Steps, Error: score.Error, Persistence: score.Persistence, Coverage: score.Coverage}
		if !math.IsNaN(score.Seasonal) {
			h.Seasonal = &score.Seasonal
		}
		for _, p := range levels {
			upper, err := f.Quantile(score.Horizon, p)
			if err != nil {
				return nil, err
			}
			h.Upper = append(h.Upper, upper)
		}
		r.Horizons = append(r.Horizons, h)
	}
	return r, nil
}

func (r *forecastReport) print(w io.Writer) {
	seasons := "no season found"
	for i, p := range r.Seasons {
		if i == 0 {
			seasons = "seasons of "
		} else {
			seasons += " and "
		}
		seasons += (time.Duration(p) * r.step).String()
	}
	fmt.Fprintf(w, "%d steps of %s; %s\n", r.Steps, r.Step, seasons)
	ahead := table{head: []string{"AHEAD", "FORECAST"}, gap: true}
	back := table{head: []string{"AHEAD", "ERROR", "LAST VALUE", "SEASON BEFORE"}, gap: true}
	for _, p := range r.Levels {
		share := strconv.FormatFloat(100*p, 'f', -1, 64) + "%"
		ahead.head = append(ahead.head, share+" BELOW")
		back.head = append(back.head, share+" HELD")
	}
	ahead.head = append(ahead.head, "MODEL")
	for _, h := range r.Horizons {
		name := (time.Duration(h.Steps) * r.step).String()
		row := []string{name, digits(h.Mean)}
		for _, u := range h.Upper {
			if h.Ready {
				row = append(row, digits(u))
			} else {
				row = append(row, "-")
			}
		}
		ahead.row(append(row, fmt.Sprintf("%s (%s)", h.Model, percent(h.Weight)))...)
		back.row(h.backtest(name)...)
	}
	ahead.write(w)
	if r.Horizons[0].Scored == 0 {
		fmt.Fprintln(w, "\nThe series is too short to say how good that is.")
		return
	}
	back.write(w)
	fmt.Fprintf(w, "\nErrors are mean absolute ones, of all steps after the first %d. HELD is the share of steps at or below the bound.\n", r.warmUp)
}

func (h *horizonForecast) backtest(name string) []string {
	row := []string{name, "-", "-", "-"}
	if h.Scored > 0 {
		row[1], row[2] = digits(h.Error), digits(h.Persistence)
	}
	if h.Seasonal != nil {
		row[3] = digits(*h.Seasonal)
	}
	for _, c := range h.Coverage {
		cell := "-"
		if h.Scored > 0 {
			cell = strings.TrimSuffix(fmt.Sprintf("%.1f", 100*c), ".0") + "%"
		}
		row = append(row, cell)
	}
	return row
}
