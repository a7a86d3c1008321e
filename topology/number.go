package topology

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxUnitText bounds the text of one value with a unit: no honest one is longer.
const maxUnitText = 64

// unitError says why a text is not a value of a unit.
type unitError struct {
	text   string // as it was written
	reason string // empty: it simply is not one
	want   string // a duration such as 50ms, 2s or 7d
	hint   string // the text that was perhaps meant
}

func (e *unitError) Error() string {
	s := quoteFound(e.text) + ": "
	if e.reason != "" {
		s += e.reason + ", "
	}
	s += "expected " + e.want
	if e.hint != "" {
		s += "; did you mean " + e.hint + "?"
	}
	return s
}

// splitNumber cuts a decimal number (digits, an optional fraction, an optional exponent) off the front of text.
// num is empty where text does not start with one.
func splitNumber(text string, exponents bool) (num, rest string) {
	i := digits(text, 0)
	if i == 0 {
		return "", text
	}
	if i < len(text) && text[i] == '.' {
		j := digits(text, i+1)
		if j == i+1 {
			return "", text
		}
		i = j
	}
	if exponents && i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		j := i + 1
		if j < len(text) && (text[j] == '+' || text[j] == '-') {
			j++
		}
		if k := digits(text, j); k > j {
			i = k
		}
	}
	return text[:i], text[i:]
}

func digits(text string, i int) int {
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return i
}

// parseShifted returns num times ten to the power of shift. The shift is made in the text, so that 7% is exactly the
// number nearest to 0.07. ok is false where the result is out of range.
func parseShifted(num string, shift int) (v float64, ok bool) {
	mantissa, exponent := num, 0
	if i := strings.IndexAny(num, "eE"); i >= 0 {
		n, err := strconv.Atoi(num[i+1:])
		if err != nil || n > 1000 || n < -1000 {
			return 0, false
		}
		mantissa, exponent = num[:i], n
	}
	v, err := strconv.ParseFloat(mantissa+"e"+strconv.Itoa(exponent+shift), 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// formatNumber writes v with as few digits as identify it, plainly where that is readable.
func formatNumber(v float64) string { return formatShifted(v, 0) }

// formatShifted writes v times ten to the power of shift; parseShifted with -shift gives v back exactly.
func formatShifted(v float64, shift int) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	text := strconv.FormatFloat(v, 'e', -1, 64)
	mantissa, exp, _ := strings.Cut(text, "e")
	exponent, _ := strconv.Atoi(exp)
	exponent += shift
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	ds := strings.Replace(mantissa, ".", "", 1)
	switch {
	case exponent < -6 || exponent > 20:
		return sign + mantissa + "e" + strconv.Itoa(exponent)
	case exponent < 0:
		return sign + "0." + strings.Repeat("0", -exponent-1) + ds
	case exponent+1 >= len(ds):
		return sign + ds + strings.Repeat("0", exponent+1-len(ds))
	default:
		return sign + ds[:exponent+1] + "." + ds[exponent+1:]
	}
}

// checkUnitText refuses what no unit takes, with the reason.
func checkUnitText(text string) (reason string) {
	switch {
	case text == "":
		return "is empty"
	case len(text) > maxUnitText:
		return "is too long"
	case text[0] == '-':
		return "must not be negative"
	case strings.EqualFold(strings.TrimLeft(text, ".+"), "nan"), strings.HasPrefix(strings.ToLower(strings.TrimLeft(text, ".+")), "inf"):
		return "must be a finite number"
	}
	return ""
}

// quoteFound shows a piece of the file in a message: quoted, and cut where it is long.
func quoteFound(text string) string {
	const most = 60
	if runes := []rune(firstBytes(text, 4*most+4)); len(runes) > most {
		return fmt.Sprintf("%q", string(runes[:most])+"…")
	}
	return fmt.Sprintf("%q", text)
}

func firstBytes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}
