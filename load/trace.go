package load

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Bounds of a trace file: it comes from outside.
const (
	maxTraceSamples = 5_000_000
	maxTraceBytes   = 512 << 20 // once unpacked
)

// series is a trace as it was recorded: one rate for each period.
type series struct {
	file   string
	start  time.Time // of the first sample; zero where the file has an index and no dates
	period time.Duration
	rates  []float64 // arrivals per second of the trace's own time
}

// timeUnits says what an index column counts, by its header.
var timeUnits = map[string]time.Duration{
	"second": time.Second, "seconds": time.Second, "sec": time.Second, "s": time.Second,
	"minute": time.Minute, "minutes": time.Minute, "min": time.Minute,
	"hour": time.Hour, "hours": time.Hour, "h": time.Hour,
	"day": 24 * time.Hour, "days": 24 * time.Hour, "d": 24 * time.Hour,
	"millisecond": time.Millisecond, "milliseconds": time.Millisecond, "ms": time.Millisecond,
}

// readTrace reads the file that t names, relative to dir. The first column is the time: RFC 3339, '2006-01-02
// 15:04:05', seconds since 1970, or an index in the unit that its header names (second, minute, hour, day). The second
// is the number of arrivals in each period; under the header 'rate', 'rps' or 'qps' it is arrivals per second. Periods
// that are missing count as 0.
func readTrace(t *topology.Trace, dir string) (*series, error) {
	return readTraceFrom(t, files{dir: dir})
}

func readTraceFrom(t *topology.Trace, from files) (*series, error) {
	f, err := from.open(t.File)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	s, err := parseTrace(f, t.Period.Std())
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", t.File, err)
	}
	s.file = t.File
	return s, nil
}

func parseTrace(r io.Reader, period time.Duration) (*series, error) {
	limited, err := unpacked(r, maxTraceBytes)
	if err != nil {
		return nil, err
	}
	rows := csv.NewReader(limited)
	rows.ReuseRecord, rows.FieldsPerRecord = true, -1
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if len(header) < 2 {
		return nil, fmt.Errorf("header has %d column: want time and count", len(header))
	}
	unit, isIndex := timeUnits[strings.ToLower(strings.TrimSpace(header[0]))]
	if !isIndex {
		unit = time.Second
	}
	s := &series{period: period}
	perSecond := isRateColumn(header[1])
	if err := s.readRows(rows, unit); err != nil {
		return nil, err
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("longer than %d MiB unpacked", maxTraceBytes>>20)
	}
	if !perSecond {
		for i := range s.rates {
			s.rates[i] /= s.period.Seconds()
		}
	}
	return s, nil
}

func isRateColumn(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	return name == "rate" || name == "rps" || name == "qps" || strings.HasSuffix(name, "_rps") ||
		strings.HasSuffix(name, "per_second") || strings.HasSuffix(name, "/s")
}

// readRows fills s.rates with the second column, in the places that the first one gives them.
func (s *series) readRows(rows *csv.Reader, unit time.Duration) error {
	var first, second time.Duration // since the first row, in the trace's own time
	var base time.Time
	var pending float64 // the first row's count: its period may only be known with the second
	for n := 0; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return errors.New("no samples")
			}
			if n == 1 {
				if s.period <= 0 {
					return errors.New("one sample only: give its period")
				}
				s.rates = []float64{pending}
			}
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := rows.FieldPos(0)
		at, count, err := parseSample(row, unit)
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if n == 0 {
			base, pending = at, count
			if base.Year() > 1971 { // otherwise an index
				s.start = base
			}
			continue
		}
		if n == 1 {
			second = at.Sub(base)
			if s.period <= 0 {
				s.period = second - first
			}
			if s.period <= 0 {
				return fmt.Errorf("line %d: time does not increase", line)
			}
			s.rates = []float64{pending}
		}
		i := int64(math.Round(float64(at.Sub(base)) / float64(s.period)))
		if i >= maxTraceSamples {
			return fmt.Errorf("line %d: more than %d periods of %s", line, maxTraceSamples, s.period)
		}
		if i < int64(len(s.rates)) {
			return fmt.Errorf("line %d: time does not increase by the period, %s", line, s.period)
		}
		for int64(len(s.rates)) < i {
			s.rates = append(s.rates, 0)
		}
		s.rates = append(s.rates, count)
	}
}

func parseSample(row []string, unit time.Duration) (time.Time, float64, error) {
	if len(row) < 2 {
		return time.Time{}, 0, fmt.Errorf("%d column: want time and count", len(row))
	}
	count, err := strconv.ParseFloat(strings.TrimSpace(row[1]), 64)
	if err != nil || math.IsNaN(count) || math.IsInf(count, 0) || count < 0 {
		return time.Time{}, 0, fmt.Errorf("count %.40q: want a number, 0 or more", row[1])
	}
	text := strings.TrimSpace(row[0])
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, count, nil
		}
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(x) || math.Abs(x)*unit.Seconds() > 9e9 {
		return time.Time{}, 0, fmt.Errorf("time %.40q: want RFC 3339, 'YYYY-MM-DD HH:MM:SS', seconds since 1970 or an index", row[0])
	}
	whole, frac := math.Modf(x * unit.Seconds())
	return time.Unix(int64(whole), int64(frac*1e9)).UTC(), count, nil
}

// replay is the part of a trace that a run goes through.
type replay struct {
	file    string
	start   time.Time     // of the part, in the trace's own time; zero where the trace has no dates
	offset  time.Duration // of the part in the trace
	length  time.Duration // of the part
	speed   float64
	factor  float64 // by which rates are multiplied
	period  time.Duration
	profile *Profile
}

// replayOf cuts the part that t asks for out of s and puts lead (wall time, at the part's first rate) before it.
func replayOf(s *series, t *topology.Trace, lead time.Duration) (*replay, error) {
	speed, scale := t.Speed, t.Scale
	if speed == 0 {
		speed = 1
	}
	if scale == 0 {
		scale = 1
	}
	whole := time.Duration(len(s.rates)) * s.period
	from, to := t.From.Std(), whole
	if t.Length > 0 {
		to = min(from+t.Length.Std(), whole)
	}
	if from < 0 || from >= to {
		return nil, fmt.Errorf("trace %s: the part from %s on is empty: the trace is %s long", s.file, from, whole)
	}
	r := &replay{file: s.file, offset: from, length: to - from, speed: speed, factor: speed * scale, period: s.period}
	if !s.start.IsZero() {
		r.start = s.start.Add(from)
	}
	r.profile = &Profile{name: fmt.Sprintf("trace %s, %s of it at speed %s", filepath.Base(s.file), to-from, number(speed))}
	k := r.factor
	if err := r.profile.add(lead.Seconds(), s.rates[from/s.period]*k, s.rates[from/s.period]*k); err != nil {
		return nil, fmt.Errorf("trace %s: %w", s.file, err)
	}
	for at := from; at < to; {
		i := at / s.period
		next := min((i+1)*s.period, to)
		rate := s.rates[i] * k
		if err := r.profile.add((next-at).Seconds()/speed, rate, rate); err != nil {
			return nil, fmt.Errorf("trace %s: %w", s.file, err)
		}
		at = next
	}
	return r, r.profile.check()
}
