package plot

import (
	"strconv"
	"strings"
	"time"
)

// Brief writes d with three digits.
func Brief(d time.Duration) string {
	x := float64(d)
	switch {
	case d == 0:
		return "0s"
	case d < time.Microsecond:
		return Number(x) + "ns"
	case x < 999.5e3:
		return Number(x/1e3) + "µs"
	case x < 999.5e6:
		return Number(x/1e6) + "ms"
	case d < 100*time.Second:
		return Number(x/1e9) + "s"
	}
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Number writes x with three digits, and all digits of what is before the point.
func Number(x float64) string {
	switch {
	case x >= 1000:
		return Count(int64(x + 0.5))
	case x >= 99.95:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	digits := 2
	if x >= 9.995 {
		digits = 1
	}
	text := strconv.FormatFloat(x, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// Count writes n with its thousands apart.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
