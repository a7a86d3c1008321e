// Package words writes figures as the page does: three digits are as many as anybody reads.
//
// web/js/format.js writes the same in the browser, once the page's script runs; a test of package ui holds the two together.
package words

import (
	"math"
	"strconv"
	"strings"
)

// None stands for a figure that is not known.
const None = "–"

// Fixed writes a number with so many decimals, up to 3. Halves are rounded away from zero, as ECMAScript's toFixed does.
func Fixed(v float64, decimals int) string {
	scale := math.Pow10(decimals)
	if halves := v * math.Exp2(float64(decimals+1)); halves == math.Trunc(halves) && math.Abs(v*scale-math.Trunc(v*scale)) == 0.5 {
		v = math.Round(v*scale) / scale // a half that is stored exactly, which strconv rounds to the even digit
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

func compact(v float64, digits int) string {
	if v == 0 {
		return "0"
	}
	text := strconv.FormatFloat(math.Abs(v), 'e', -1, 64)
	power, err := strconv.Atoi(text[strings.IndexByte(text, 'e')+1:])
	if err != nil {
		return None // an infinity
	}
	return Fixed(v, min(max(0, digits-1-power), 3))
}

func known(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Number of things.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case !known(v):
		return None
	case a >= 1e6:
		return compact(v/1e6, 3) + "M"
	case a >= 1e4:
		return compact(v/1e3, 3) + "k"
	case a >= 100 || v == math.Trunc(v):
		return Fixed(v, 0)
	case a >= 1:
		return Fixed(v, 1)
	}
	return compact(v, 2)
}

// Rate a second.
func Rate(v float64) string {
	if !known(v) {
		return None
	}
	return Number(v) + "/s"
}

// Latency of calls in milliseconds; no call has taken no time.
func Latency(v float64) string {
	switch {
	case !known(v) || v <= 0:
		return None
	case v < 1:
		return Fixed(v*1000, 0) + " µs"
	case v < 1000:
		return compact(v, 3) + " ms"
	case v < 60000:
		return compact(v/1000, 3) + " s"
	}
	return Span(v / 1000)
}

// Percent of a share from 0 to 1.
func Percent(share float64) string {
	v := share * 100
	switch {
	case !known(share):
		return None
	case v == 0:
		return "0 %"
	case v < 0.01:
		return "< 0.01 %"
	}
	return compact(v, 3) + " %"
}

// Bytes of memory or storage.
func Bytes(v float64) string {
	if !known(v) {
		return None
	}
	if math.Abs(v) < 1000 {
		return Fixed(v, 0) + " B"
	}
	for _, unit := range []string{" KiB", " MiB", " GiB"} {
		if v /= 1024; math.Abs(v) < 1000 {
			return compact(v, 3) + unit
		}
	}
	return compact(v/1024, 3) + " TiB"
}

// Cores of a processor.
func Cores(v float64) string {
	switch {
	case !known(v):
		return None
	case v < 0.1:
		return compact(v, 2)
	}
	return compact(v, 3)
}

// Span of time in seconds.
func Span(seconds float64) string {
	whole := func(v float64) string { return strconv.FormatFloat(math.Floor(v), 'f', 0, 64) }
	two := func(n float64, unit string, m float64, part string) string {
		if m < 1 {
			return whole(n) + unit
		}
		return whole(n) + unit + " " + whole(m) + part
	}
	switch {
	case seconds < 60:
		return whole(seconds+0.5) + " s"
	case seconds < 3600:
		return whole(seconds/60) + " min"
	case seconds < 86400:
		return two(seconds/3600, " h", math.Mod(seconds, 3600)/60, " min")
	}
	return two(seconds/86400, " d", math.Mod(seconds, 86400)/3600, " h")
}

// Plural is a number of things.
func Plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return strconv.Itoa(n) + " " + word
}
