package forecast

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxValues is how many steps ReadCSV takes.
const MaxValues = 10_000_000

// Series is a recorded series at equal steps.
type Series struct {
	Start  time.Time // zero when the file has no times
	Step   time.Duration
	Values []float64 // NaN: missing
	// Rate says that the values are for each second; else they are counts of a step.
	Rate bool
	// Notes say what was odd, a line each.
	Notes []string
}

// Rates returns the values for each second.
func (s Series) Rates() []float64 {
	rates := slices.Clone(s.Values)
	if !s.Rate && s.Step > 0 {
		for i := range rates {
			rates[i] /= s.Step.Seconds()
		}
	}
	return rates
}

// Steps returns the rates in steps of another length, at most n of them, the last one ending at an instant: the mean of
// the series where they are longer than its own, what lies between its values where they are shorter. What it does not
// reach is missing. A series without times is taken to end at that instant.
func (s Series) Steps(step time.Duration, end time.Time, n int) []float64 {
	rates := s.Rates()
	if s.Step <= 0 || step <= 0 || len(rates) == 0 {
		return nil
	}
	start := s.Start
	if start.IsZero() {
		start = end.Add(-time.Duration(len(rates)) * s.Step)
	}
	n = max(min(n, int(end.Sub(start)/step)), 0)
	out := make([]float64, n)
	for k := range out {
		from := end.Add(-time.Duration(n-k) * step).Sub(start)
		if step >= s.Step {
			out[k] = meanOver(rates, float64(from)/float64(s.Step), float64(from+step)/float64(s.Step))
		} else {
			out[k] = between(rates, float64(from+step/2)/float64(s.Step)-0.5)
		}
	}
	return out
}

// meanOver the steps between two places, of those that are known; NaN when none is.
func meanOver(rates []float64, from, to float64) float64 {
	sum, weight := 0.0, 0.0
	for i := max(int(math.Floor(from)), 0); i < len(rates) && float64(i) < to; i++ {
		if w := math.Min(to, float64(i+1)) - math.Max(from, float64(i)); w > 0 && !math.IsNaN(rates[i]) {
			sum, weight = sum+w*rates[i], weight+w
		}
	}
	return sum / weight
}

// between the middles of two steps; half a step beyond the first and the last it is theirs.
func between(rates []float64, at float64) float64 {
	if at < -0.5 || at > float64(len(rates))-0.5 {
		return math.NaN()
	}
	at = math.Min(math.Max(at, 0), float64(len(rates)-1))
	i := min(int(at), len(rates)-1)
	if f := at - float64(i); f > 0 {
		return rates[i]*(1-f) + rates[i+1]*f
	}
	return rates[i]
}

// ReadCSV reads a series of one or two columns: a value, or a time and a value; further columns are left alone. A time
// is of RFC 3339, 'YYYY-MM-DD hh:mm:ss', Unix seconds, or a number of the unit that the header names ('second',
// 'minute', 'hour'). A header that speaks of a rate (rate, rps, per second) says that the values are rates. step is
// that of the file where it has no times, or zero to infer it from them. Steps without a row are missing; a second row
// of a step is added to it where the values are counts, and replaces it where they are rates; both are noted. Time that
// goes back is an error, as is what is no number; negative values and those above MaxValue count as missing. What begins as
// gzip does is unpacked.
func ReadCSV(r io.Reader, step time.Duration) (Series, error) {
	text := bufio.NewReader(r)
	if magic, _ := text.Peek(2); string(magic) == "\x1f\x8b" { // what can't be read is told by the reader of rows
		z, err := gzip.NewReader(text)
		if err != nil {
			return Series{}, fmt.Errorf("reading it as gzip: %w", err)
		}
		text = bufio.NewReader(z)
	}
	in := csv.NewReader(text)
	in.FieldsPerRecord, in.ReuseRecord, in.TrimLeadingSpace = -1, true, true
	p := reading{step: step, last: math.Inf(-1)}
	for line := 1; ; line++ {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Series{}, fmt.Errorf("reading the series: %w", err)
		}
		if err := p.row(row); err != nil {
			at, _ := in.FieldPos(0)
			return Series{}, fmt.Errorf("reading the series: line %d: %w", at, err)
		}
	}
	return p.series()
}

// reading of a file: seconds and values of its rows so far.
type reading struct {
	step     time.Duration
	unit     float64 // seconds that a number in the time column stands for; zero: no header named it
	calendar bool    // times are of a calendar
	rate     bool
	rows     int
	times    []float64 // none when there is one column
	values   []float64
	last     float64
	absurd   int // values that are negative or beyond MaxValue
}

func (p *reading) row(row []string) error {
	p.rows++
	if p.rows == 1 && p.header(row) {
		return nil
	}
	if len(p.values) >= MaxValues {
		return fmt.Errorf("more than %d rows", MaxValues)
	}
	text := row[0]
	if len(row) > 1 {
		text = row[1]
		at, err := p.time(row[0])
		if err != nil {
			return err
		}
		if at < p.last {
			return fmt.Errorf("time goes back, at %q", row[0])
		}
		p.last = at
		p.times = append(p.times, at)
	}
	v, err := parseValue(text)
	if err != nil {
		return err
	}
	if v < 0 || v > MaxValue {
		p.absurd++
		v = math.NaN()
	}
	p.values = append(p.values, v)
	if len(p.times) != 0 && len(p.times) != len(p.values) {
		return errors.New("some rows have a time and some have none")
	}
	return nil
}

// header says whether the first row is one, and learns from it.
func (p *reading) header(row []string) bool {
	value := row[0]
	if len(row) > 1 {
		value = row[1]
	}
	if _, err := parseValue(value); err == nil {
		return false
	}
	name := strings.ToLower(value)
	for _, s := range []string{"rate", "rps", "per_second", "per second", "/s", "qps"} {
		p.rate = p.rate || strings.Contains(name, s)
	}
	switch unit := strings.ToLower(strings.TrimSpace(row[0])); {
	case strings.HasPrefix(unit, "sec"):
		p.unit = 1
	case strings.HasPrefix(unit, "min"):
		p.unit = 60
	case strings.HasPrefix(unit, "hour"):
		p.unit = 3600
	}
	return true
}

func parseValue(text string) (float64, error) {
	text = strings.TrimSpace(text)
	switch strings.ToLower(text) {
	case "", "na", "nan", "null", "none", "-":
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return v, nil
}

// time in seconds.
func (p *reading) time(text string) (float64, error) {
	text = strings.TrimSpace(text)
	if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
		if p.unit == 0 && v > 1e8 {
			p.calendar = true
		}
		if p.unit > 0 {
			v *= p.unit
		}
		return v, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			p.calendar = true
			return float64(at.UnixNano()) / 1e9, nil
		}
	}
	return 0, fmt.Errorf("%q is no time: want RFC 3339, 'YYYY-MM-DD hh:mm:ss', or a number", text)
}

func (p *reading) series() (Series, error) {
	if len(p.values) == 0 {
		return Series{}, errors.New("reading the series: it has no values")
	}
	s := Series{Step: p.step, Rate: p.rate, Values: p.values}
	if p.absurd > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d values are negative or above %.0e: taken as missing", p.absurd, MaxValue))
	}
	if !slices.ContainsFunc(p.values, valid) {
		return Series{}, errors.New("reading the series: none of its values is known")
	}
	if len(p.times) > 0 {
		if err := p.place(&s); err != nil {
			return Series{}, err
		}
	}
	if s.Step <= 0 {
		return Series{}, errors.New("reading the series: it has no times: say how long a step is (--step 1m)")
	}
	return s, nil
}

// place puts the values at their steps.
func (p *reading) place(s *Series) error {
	if s.Step <= 0 {
		s.Step = time.Duration(medianGap(p.times) * 1e9).Round(time.Millisecond)
		if s.Step <= 0 {
			return errors.New("reading the series: all its rows have one time: say how long a step is (--step 1m)")
		}
	}
	step, first := s.Step.Seconds(), p.times[0]
	if p.calendar {
		s.Start = time.Unix(0, int64(first*1e9)).UTC()
	}
	n := math.Round((p.last-first)/step) + 1
	if n > MaxValues {
		return fmt.Errorf("reading the series: %.0f steps of %v: more than %d", n, s.Step, MaxValues)
	}
	s.Values = make([]float64, int(n))
	for i := range s.Values {
		s.Values[i] = math.NaN()
	}
	twice := 0
	for i, v := range p.values {
		at := &s.Values[int(math.Round((p.times[i]-first)/step))]
		switch {
		case math.IsNaN(*at):
			*at = v
		case p.rate:
			twice++
			*at = v
		case !math.IsNaN(v):
			twice++
			*at += v
		}
	}
	missing := 0
	for _, v := range s.Values {
		if math.IsNaN(v) {
			missing++
		}
	}
	if twice > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d rows are of a step that another row is of", twice))
	}
	if missing > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d of %d steps are missing", missing, len(s.Values)))
	}
	return nil
}

func medianGap(times []float64) float64 {
	var gaps []float64
	for i := 1; i < len(times); i++ {
		if g := times[i] - times[i-1]; g > 0 {
			gaps = append(gaps, g)
		}
	}
	if len(gaps) == 0 {
		return 0
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}
