package topology

import (
	"fmt"
	"math"
	"time"
)

// Stage of an open workload.
type Stage struct {
	// Rate at the end of a ramp, of a step, on average of a sine, at the top of a spike.
	Rate Rate `yaml:"rate" schema:"required"`
	// Duration of the stage.
	Duration Duration `yaml:"duration" schema:"required"`
	// Shape of the stage: ramp (linearly from the rate before to its own), step (its own at once, and kept), sine (waves
	// around its own) or spike (linearly up to its own until half-time, then back to the rate before).
	Shape string `yaml:"shape" schema:"enum=ramp|step|sine|spike,default=ramp"`
	// Amplitude of a sine, at most its rate.
	Amplitude Rate `yaml:"amplitude"`
	// Period of a sine, which begins at its rate, rising.
	Period Duration `yaml:"period"`
}

// Slope is a stretch of a schedule on which the rate changes linearly, rates in arrivals per second.
type Slope struct {
	Duration time.Duration
	From, To float64
}

const (
	sineSlopes = 64 // of one period: the rate is off by no more than amplitude (pi/64)^2/2 = 0.12 %
	maxSlopes  = 1_000_000
)

// Slopes returns the stages as stretches of linear change. The rate before the first stage is 0.
func Slopes(stages []Stage) ([]Slope, error) {
	var out []Slope
	before := 0.0
	for i, s := range stages {
		rate, d := float64(s.Rate), s.Duration.Std()
		switch s.Shape {
		case "", "ramp":
			out = append(out, Slope{d, before, rate})
			before = rate
		case "step":
			out = append(out, Slope{d, rate, rate})
			before = rate
		case "spike":
			out = append(out, Slope{d / 2, before, rate}, Slope{d - d/2, rate, before})
		case "sine":
			waves, err := s.sine()
			if err != nil {
				return nil, fmt.Errorf("stage %d: %w", i+1, err)
			}
			out = append(out, waves...)
			before = waves[len(waves)-1].To
		default:
			return nil, fmt.Errorf("stage %d: shape %q: want ramp, step, sine or spike", i+1, s.Shape)
		}
		if len(out) > maxSlopes {
			return nil, fmt.Errorf("stage %d: the stages have more than %d periods in all", i+1, maxSlopes/sineSlopes)
		}
	}
	return out, nil
}

// sine returns the waves of a stage, each piece of them as a straight line.
func (s Stage) sine() ([]Slope, error) {
	period, d := s.Period.Std(), s.Duration.Std()
	mean, amplitude := float64(s.Rate), float64(s.Amplitude)
	if period <= 0 || amplitude <= 0 || amplitude > mean || d <= 0 {
		return nil, fmt.Errorf("a sine needs a duration, a period and an amplitude of at most its rate")
	}
	if float64(d)/float64(period) > maxSlopes/sineSlopes {
		return nil, fmt.Errorf("a sine of more than %d periods", maxSlopes/sineSlopes)
	}
	at := func(t time.Duration) float64 {
		return max(mean+amplitude*math.Sin(2*math.Pi*math.Mod(t.Seconds(), period.Seconds())/period.Seconds()), 0)
	}
	var out []Slope
	for k, from := 1, time.Duration(0); from < d; k++ {
		to := min(time.Duration(float64(k)*float64(period)/sineSlopes), d)
		if to > from {
			out = append(out, Slope{to - from, at(from), at(to)})
			from = to
		}
	}
	return out, nil
}

// shape checks that a stage has what its shape needs.
func (c *checker) shape(s Stage, at spot) {
	if s.Shape == "sine" {
		if _, err := s.sine(); err != nil && s.Duration > 0 && s.Rate > 0 {
			c.at(at, Problem{Message: err.Error()})
		}
		return
	}
	for _, key := range []string{"amplitude", "period"} {
		if at.child(key).node != nil {
			c.at(at.name(key), Problem{Message: "is about a sine", Expected: "shape: sine"})
		}
	}
}
