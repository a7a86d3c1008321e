package topology

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time, written 50ms, 2s, 1m30s, 1.5h, 24h, 7d or 2w. A bare number is only allowed where it is 0.
type Duration time.Duration

// Std returns d as a standard duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Bytes is an amount of memory or storage, written 64MiB, 1GiB, 500kB or a plain number of bytes. Ki, Mi, Gi and k, M,
// G as Kubernetes writes them are understood as well: the first are powers of 1024, the second powers of 1000.
type Bytes int64

// Percent is a share, written 70%, 99.9% or as a plain fraction 0.7. Its value is the fraction.
type Percent float64

// Rate is a number of events in a second, written 200/s, 12000/min, 50/h or 1000/d. Its value is per second.
type Rate float64

// CPU is an amount of processing capacity in cores, written 0.5, 2 or 500m.
type CPU float64

// GrowthRate is growth over a period, compounding, written 8%/month or 100%/year.
type GrowthRate struct {
	// Share by which it grows in one period, as a fraction.
	Share float64
	// Period is day, week, month, quarter or year.
	Period string
}

// Command is a program with its arguments. In the file it is a list of words, or a string that is split at spaces.
type Command []string

// Strings is a list of strings. In the file a single string is a list of one.
type Strings []string

// What each unit looks like, for messages.
const (
	wantDuration = "a duration such as 50ms, 2s, 1m30s or 7d"
	wantBytes    = "a size such as 64MiB, 1GiB or 500kB"
	wantPercent  = "a share such as 70% or 0.7"
	wantRate     = "a rate such as 200/s, 12000/min or 50/h"
	wantCPU      = "a number of cores such as 0.5, 2 or 500m"
	wantGrowth   = "a growth such as 8%/month or 100%/year"
)

// durationUnits in nanoseconds.
var durationUnits = [...]struct {
	name string
	size int64
}{
	{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"μs", 1e3}, {"ms", 1e6}, {"s", 1e9},
	{"m", 60e9}, {"h", 3600e9}, {"d", 24 * 3600e9}, {"w", 7 * 24 * 3600e9},
}

// ParseDuration reads a duration: numbers with the units ns, us, ms, s, m, h, d (24 hours) and w (7 days), one after
// the other. A number without a unit is an error unless it is 0, as are negative durations and those over 292 years.
func ParseDuration(text string) (Duration, error) {
	fail := func(reason, hint string) (Duration, error) {
		return 0, &unitError{text, reason, wantDuration, hint}
	}
	if reason := checkUnitText(text); reason != "" {
		return fail(reason, "")
	}
	total, rest := 0.0, text
	exact := int64(0)
	for rest != "" {
		num, tail := splitNumber(rest, false)
		if num == "" {
			return fail("", "")
		}
		unitLen := strings.IndexAny(tail, "0123456789.")
		if unitLen < 0 {
			unitLen = len(tail)
		}
		name := tail[:unitLen]
		rest = tail[unitLen:]
		if name == "" {
			if v, _ := parseShifted(num, 0); v == 0 && num == text {
				return 0, nil
			}
			return fail("has no unit", num+"s")
		}
		size := int64(0)
		for _, u := range durationUnits {
			if u.name == name {
				size = u.size
			}
		}
		if size == 0 {
			return fail("has an unknown unit "+quoteFound(strings.TrimSpace(name)), spelledOut(num, name))
		}
		whole, fraction, _ := strings.Cut(num, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		part := 0.0
		if fraction != "" {
			part, _ = strconv.ParseFloat("0."+fraction, 64)
		}
		total += (float64(n) + part) * float64(size)
		if err != nil || total >= math.MaxInt64 {
			return fail("is too long", "")
		}
		exact += n*size + int64(math.Round(part*float64(size)))
	}
	if exact < 0 {
		return fail("is too long", "")
	}
	return Duration(exact), nil
}

// spelledOut is the hint for a unit that is written as a word.
func spelledOut(num, name string) string {
	word := strings.TrimSuffix(strings.TrimSpace(name), "s")
	for _, u := range [...][2]string{{"sec", "s"}, {"second", "s"}, {"min", "m"}, {"minute", "m"}, {"hour", "h"}, {"day", "d"}, {"week", "w"}} {
		if word == u[0] {
			return num + u[1]
		}
	}
	return ""
}

// String returns d in the largest units that show it exactly, such as 7d, 36h, 1m30s, 1.5s or 250us. ParseDuration
// gives it back.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	switch {
	case d == 0:
		return "0s"
	case d < 0:
		return time.Duration(d).String() // no file holds one
	case d >= 2*day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d < Duration(time.Second):
		return strings.ReplaceAll(time.Duration(d).String(), "µ", "u")
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// byteUnits from the largest; of equal ones the first is written.
var byteUnits = [...]struct {
	name string
	size int64
}{
	{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3},
	{"Pi", 1 << 50}, {"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
	{"P", 1e15}, {"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"K", 1e3}, {"KB", 1e3},
	{"B", 1}, {"", 1},
}

// ParseBytes reads an amount of memory: a number with B, kB, MB, GB, TB, PB (powers of 1000), KiB, MiB, GiB, TiB, PiB
// (powers of 1024), either without the B, or a plain number of bytes. Parts of a byte are rounded; negative amounts and
// those over 8 EiB are errors.
func ParseBytes(text string) (Bytes, error) {
	fail := func(reason, hint string) (Bytes, error) {
		return 0, &unitError{text, reason, wantBytes, hint}
	}
	if reason := checkUnitText(text); reason != "" {
		return fail(reason, "")
	}
	num, name := splitNumber(text, false)
	if num == "" {
		return fail("", "")
	}
	name = strings.TrimPrefix(name, " ")
	for _, u := range byteUnits {
		if u.name != name {
			continue
		}
		whole, fraction, _ := strings.Cut(num, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		part := 0.0
		if fraction != "" {
			part, _ = strconv.ParseFloat("0."+fraction, 64)
		}
		if err != nil || (float64(n)+part)*float64(u.size) >= math.MaxInt64 {
			return fail("is too large", "")
		}
		return Bytes(n*u.size + int64(math.Round(part*float64(u.size)))), nil
	}
	for _, u := range byteUnits {
		if u.name != "" && strings.EqualFold(u.name, name) {
			return fail("has an unknown unit "+quoteFound(name), num+u.name)
		}
	}
	return fail("has an unknown unit "+quoteFound(name), "")
}

// String returns b in the unit that shows it exactly with the fewest letters, such as 64MiB or 500kB. ParseBytes gives
// it back.
func (b Bytes) String() string {
	best := strconv.FormatInt(int64(b), 10)
	if b == 0 {
		return best
	}
	for _, u := range byteUnits[:10] {
		if int64(b)%u.size != 0 {
			continue
		}
		if text := strconv.FormatInt(int64(b)/u.size, 10) + u.name; len(text) < len(best) || best[len(best)-1] != 'B' {
			best = text
		}
	}
	return best
}

// ParsePercent reads a share: a number with %, or a plain fraction (0.7 is 70%). Negative shares are errors; a share
// may be over 100%, where its use allows it.
func ParsePercent(text string) (Percent, error) {
	fail := func(reason string) (Percent, error) {
		return 0, &unitError{text, reason, wantPercent, ""}
	}
	if reason := checkUnitText(text); reason != "" {
		return fail(reason)
	}
	num, rest := splitNumber(text, true)
	shift := 0
	if rest = strings.TrimPrefix(rest, " "); rest == "%" {
		shift, rest = -2, ""
	}
	if num == "" || rest != "" {
		return fail("")
	}
	v, ok := parseShifted(num, shift)
	if !ok {
		return fail("is too large")
	}
	return Percent(v), nil
}

// String returns p as 70% or 99.9%. ParsePercent gives it back.
func (p Percent) String() string { return formatShifted(float64(p), 2) + "%" }

// rateUnits in seconds; the first of a length is the one that is written.
var rateUnits = [...]struct {
	name    string
	seconds float64
}{
	{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400},
	{"sec", 1}, {"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", 86400},
}

// ParseRate reads a rate: a number, a slash and s, min, h or d (second, minute, hour and day are understood too).
// A bare number is an error unless it is 0; negative rates are errors.
func ParseRate(text string) (Rate, error) {
	fail := func(reason, hint string) (Rate, error) {
		return 0, &unitError{text, reason, wantRate, hint}
	}
	if reason := checkUnitText(text); reason != "" {
		return fail(reason, "")
	}
	num, rest := splitNumber(text, true)
	if num == "" {
		return fail("", "")
	}
	v, ok := parseShifted(num, 0)
	if !ok {
		return fail("is too large", "")
	}
	if rest == "" {
		if v == 0 {
			return 0, nil
		}
		return fail("has no unit", num+"/s")
	}
	name, ok := strings.CutPrefix(rest, "/")
	if !ok {
		return fail("", "")
	}
	for _, u := range rateUnits {
		if u.name == name {
			return Rate(v / u.seconds), nil
		}
	}
	if name == "m" {
		return fail(`has an unknown unit "m"`, num+"/min")
	}
	return fail("has an unknown unit "+quoteFound(name), "")
}

// String returns r per second, or per minute, hour or day where that is shorter and as exact, such as 200/s or
// 100/min. ParseRate gives it back.
func (r Rate) String() string {
	best := formatNumber(float64(r)) + "/s"
	for _, u := range rateUnits[1:4] {
		text := formatNumber(math.Round(float64(r)*u.seconds)) + "/" + u.name
		if back, err := ParseRate(text); err == nil && back == r && len(text)+1 < len(best) {
			best = text
		}
	}
	return best
}

// ParseCPU reads a number of cores: 0.5, 2, or 500m for thousandths. Negative amounts are errors.
func ParseCPU(text string) (CPU, error) {
	fail := func(reason string) (CPU, error) {
		return 0, &unitError{text, reason, wantCPU, ""}
	}
	if reason := checkUnitText(text); reason != "" {
		return fail(reason)
	}
	num, rest := splitNumber(text, true)
	shift := 0
	if rest == "m" {
		shift, rest = -3, ""
	}
	if num == "" || rest != "" {
		return fail("")
	}
	v, ok := parseShifted(num, shift)
	if !ok {
		return fail("is too large")
	}
	return CPU(v), nil
}

// String returns c in cores, such as 0.5 or 2. ParseCPU gives it back.
func (c CPU) String() string { return formatNumber(float64(c)) }

// growthPeriods a growth may compound over.
var growthPeriods = [...]string{"day", "week", "month", "quarter", "year"}

// maxGrowth is the most that demand may grow by in one period, as a fraction.
const maxGrowth = 1000

// ParseGrowthRate reads a growth: a share, a slash and day, week, month, quarter or year. A bare 0 is no growth at all.
// Negative growth, and growth by more than 100000% in a period, are errors.
func ParseGrowthRate(text string) (GrowthRate, error) {
	fail := func(reason, hint string) (GrowthRate, error) {
		return GrowthRate{}, &unitError{text, reason, wantGrowth, hint}
	}
	if reason := checkUnitText(text); reason != "" {
		return fail(reason, "")
	}
	share, period, found := strings.Cut(text, "/")
	v, err := ParsePercent(share)
	if err != nil {
		return fail("", "")
	}
	if !found {
		if v == 0 {
			return GrowthRate{}, nil
		}
		return fail("has no period", text+"/month")
	}
	if v > maxGrowth {
		return fail("is too large", "")
	}
	for _, p := range growthPeriods {
		if p == period {
			return GrowthRate{Share: float64(v), Period: p}, nil
		}
	}
	if near := nearest(period, growthPeriods[:]); near != "" {
		return fail("has an unknown period "+quoteFound(period), share+"/"+near)
	}
	return fail("has an unknown period "+quoteFound(period), "")
}

// String returns g as 8%/month, or 0 where nothing grows. ParseGrowthRate gives it back.
func (g GrowthRate) String() string {
	if g.Period == "" {
		return "0"
	}
	return Percent(g.Share).String() + "/" + g.Period
}

// ParseCommand splits a command at spaces as a shell does, with single and double quotes and backslashes, but expands
// nothing. An open quote, and a command of no words, are errors.
func ParseCommand(text string) (Command, error) {
	var words Command
	var word strings.Builder
	inWord, quote, escaped := false, rune(0), false
	for _, r := range text {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' && r != '$' && r != '`' {
				word.WriteByte('\\') // within double quotes a backslash stands for itself, as in a shell
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	const want = "a command such as \"./server --fast\" or a list of words"
	if quote != 0 || escaped {
		return nil, &unitError{text, "has an open quote", want, ""}
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, &unitError{text, "is empty", want, ""}
	}
	return words, nil
}
