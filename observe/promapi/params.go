package promapi

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

type matchers = []*labels.Matcher

// The bounds of time, where none is given: as far as milliseconds reach without overflowing nanoseconds.
var (
	minTime = time.UnixMilli(math.MinInt64 / 1_000_000).UTC()
	maxTime = time.UnixMilli(math.MaxInt64 / 1_000_000).UTC()
)

// instant reads a time: seconds since 1970 or RFC 3339.
func instant(r *http.Request, name string, def time.Time) (time.Time, error) {
	text := r.FormValue(name)
	if text == "" {
		if def.IsZero() {
			return def, badData("invalid parameter %q: it is missing", name)
		}
		return def, nil
	}
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(s) || math.Abs(s) > math.MaxInt64/1e9 {
			return def, badData("invalid parameter %q: %q is no time", name, text)
		}
		whole, part := math.Modf(s)
		return time.Unix(int64(whole), int64(math.Round(part*1000)*1e6)).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return def, badData("invalid parameter %q: cannot parse %q to a valid timestamp", name, text)
	}
	return t, nil
}

// span reads start and end. Beyond what a time can be, all there is.
func span(r *http.Request) (start, end time.Time, err error) {
	if start, err = instant(r, "start", minTime); err != nil {
		return start, end, err
	}
	end, err = instant(r, "end", maxTime)
	return start, end, err
}

// duration reads a length of time: seconds, or Prometheus's 1h30m.
func duration(r *http.Request, name string) (time.Duration, error) {
	text := r.FormValue(name)
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		ns := s * float64(time.Second)
		if math.IsNaN(ns) || ns >= math.MaxInt64 || ns <= math.MinInt64 {
			return 0, badData("invalid parameter %q: cannot parse %q to a valid duration. It overflows int64", name, text)
		}
		return time.Duration(ns), nil
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, badData("invalid parameter %q: cannot parse %q to a valid duration", name, text)
	}
	return time.Duration(d), nil
}
