package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// escape says where a value goes, and so how it must be written there.
type escape uint8

const (
	escapeNone   escape = iota // a raw body
	escapePath                 // a segment of the path
	escapeQuery                // the query, or a form
	escapeJSON                 // inside of a JSON string
	escapeHeader               // a header's value
)

// segment is a piece of a template: literal text or a value that is made for each request.
type segment struct {
	literal string
	kind    valueKind
	escape  escape
	slot    int      // of a variable
	lo, hi  int64    // of random and zipf
	zipf    *zipf    // of zipf
	words   []string // of pick
	bare    bool     // a JSON value of its own: numbers stay numbers
	feeder  *feeder  // whose row is used, at column slot
}

type valueKind uint8

const (
	valueLiteral valueKind = iota
	valueVariable
	valueUser
	valueIteration
	valueSeq
	valueUUID
	valueRandom
	valueZipf
	valuePick
	valueFeeder
)

// template is text with places for values, parsed once.
type template []segment

// fixed reports whether the template is the same for every request.
func (t template) fixed() bool {
	for _, s := range t {
		if s.kind != valueLiteral {
			return false
		}
	}
	return true
}

// sample is the text with a stand-in for each value, as the router sees it.
func (t template) sample() string {
	var b strings.Builder
	for _, s := range t {
		if s.kind == valueLiteral {
			b.WriteString(s.literal)
		} else {
			b.WriteByte('1')
		}
	}
	return b.String()
}

// scope is what a template may name: the slots of variables that earlier steps extract.
type scope struct {
	slots   map[string]int // all variables of the scenario
	defined map[string]bool
	unknown map[string]bool                    // collected, so that all are reported at once
	feeder  func(name string) (*feeder, error) // nil: there are none here; a nil feeder: no such one
	used    []*feeder
}

// parse splits text at its ${...}. '$${' stands for a plain '${'. esc gives the escape for a place, from what precedes
// it in the text.
func (sc *scope) parse(text string, esc func(before string) escape) (template, error) {
	var t template
	literal := strings.Builder{}
	for rest := text; ; {
		i := strings.Index(rest, "${")
		if i < 0 {
			literal.WriteString(rest)
			break
		}
		if i > 0 && rest[i-1] == '$' {
			literal.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		end := strings.IndexByte(rest[i:], '}')
		if end < 0 {
			return nil, fmt.Errorf("%.60q: '${' without '}'", text)
		}
		literal.WriteString(rest[:i])
		value, err := sc.value(rest[i+2 : i+end])
		if err != nil {
			return nil, fmt.Errorf("%.60q: %w", text, err)
		}
		value.escape = esc(text[:len(text)-len(rest)+i])
		if literal.Len() > 0 {
			t = append(t, segment{literal: literal.String()})
			literal.Reset()
		}
		t = append(t, value)
		rest = rest[i+end+1:]
	}
	if literal.Len() > 0 {
		t = append(t, segment{literal: literal.String()})
	}
	return t, nil
}

func always(e escape) func(string) escape { return func(string) escape { return e } }

func inPath(before string) escape {
	if strings.Contains(before, "?") {
		return escapeQuery
	}
	return escapePath
}

// value parses what stands between the braces.
func (sc *scope) value(expr string) (segment, error) {
	name, args, hasArgs := strings.Cut(expr, ":")
	name = strings.TrimSpace(name)
	switch name {
	case "random", "zipf":
		lo, hi, err := parseRange(args)
		if err != nil {
			return segment{}, fmt.Errorf("${%s}: %w", expr, err)
		}
		s := segment{kind: valueRandom, lo: lo, hi: hi}
		if name == "zipf" {
			s.kind, s.zipf = valueZipf, newZipf(uint64(hi-lo)+1)
		}
		return s, nil
	case "pick":
		if !hasArgs || args == "" {
			return segment{}, fmt.Errorf("${%s}: want ${pick:a,b,c}", expr)
		}
		return segment{kind: valuePick, words: strings.Split(args, ",")}, nil
	}
	if hasArgs {
		return segment{}, fmt.Errorf("${%s}: no such generator: want random, zipf or pick", expr)
	}
	switch name {
	case "user":
		return segment{kind: valueUser}, nil
	case "seq":
		return segment{kind: valueSeq}, nil
	case "iteration":
		return segment{kind: valueIteration}, nil
	case "uuid":
		return segment{kind: valueUUID}, nil
	}
	if !sc.defined[name] && sc.feeder != nil {
		if s, err := sc.fed(name); err != nil || s.feeder != nil {
			return s, err
		}
	}
	if !sc.defined[name] {
		sc.unknown[name] = true
	}
	return segment{kind: valueVariable, slot: sc.slots[name]}, nil
}

// fed is the value of a feeder, ${NAME.COLUMN} or ${NAME}; without feeder where there is none of that name.
func (sc *scope) fed(expr string) (segment, error) {
	name, column, hasColumn := strings.Cut(expr, ".")
	f, err := sc.feeder(name)
	if err != nil {
		return segment{}, fmt.Errorf("feeder %s: %w", name, err)
	}
	if f == nil {
		return segment{}, nil
	}
	s := segment{kind: valueFeeder, feeder: f}
	switch {
	case f.file == "" && hasColumn:
		return s, fmt.Errorf("${%s}: the feeder counts, and has no columns: want ${%s}", expr, name)
	case f.file != "" && column == "":
		return s, fmt.Errorf("${%s}: want a column of the feeder's file, such as ${%s.id}", expr, name)
	case f.file != "":
		s.slot = f.column(column)
	}
	if !slices.Contains(sc.used, f) {
		sc.used = append(sc.used, f)
	}
	return s, nil
}

func parseRange(args string) (lo, hi int64, err error) {
	a, b, ok := strings.Cut(args, ":")
	if ok {
		if lo, err = strconv.ParseInt(strings.TrimSpace(a), 10, 64); err == nil {
			hi, err = strconv.ParseInt(strings.TrimSpace(b), 10, 64)
		}
	}
	if !ok || err != nil || hi < lo || hi-lo < 0 || hi-lo >= 1<<53 {
		return 0, 0, fmt.Errorf("want two whole numbers, the smaller first, such as 1:100")
	}
	return lo, hi, nil
}

// value of a variable, as it was extracted.
type value struct {
	text []byte
	raw  bool // a JSON number, boolean, object or array, which may stand without quotes
	set  bool
}

// values are what a session fills its templates from.
type values struct {
	user, iteration int64
	seq             int64 // a number that no other run of a scenario has, from 1
	vars            []value
	rows            []int64 // at hand, by feeder
	rng             *rand.Rand
}

// append writes t for v to dst; false where a variable has no value.
func (t template) append(dst []byte, v *values) ([]byte, bool) {
	var scratch [36]byte
	for i := range t {
		s := &t[i]
		var text []byte
		isNumber := true
		switch s.kind {
		case valueLiteral:
			dst = append(dst, s.literal...)
			continue
		case valueUser:
			text = strconv.AppendInt(scratch[:0], v.user, 10)
		case valueIteration:
			text = strconv.AppendInt(scratch[:0], v.iteration, 10)
		case valueSeq:
			text = strconv.AppendInt(scratch[:0], v.seq, 10)
		case valueRandom:
			text = strconv.AppendInt(scratch[:0], s.lo+v.rng.Int64N(s.hi-s.lo+1), 10)
		case valueZipf:
			text = strconv.AppendInt(scratch[:0], s.lo+int64(s.zipf.draw(v.rng)), 10)
		case valueUUID:
			text, isNumber = appendUUID(scratch[:0], v.rng), false
		case valuePick:
			dst = appendEscaped(dst, s.words[v.rng.IntN(len(s.words))], s.escape, s.bare)
			continue
		case valueFeeder:
			text, isNumber = s.feeder.value(v.rows[s.feeder.id], s.slot, scratch[:0])
			if s.bare && isNumber {
				dst = append(dst, text...)
				continue
			}
		case valueVariable:
			x := &v.vars[s.slot]
			if !x.set {
				return dst, false
			}
			if s.bare && x.raw {
				dst = append(dst, x.text...)
			} else {
				dst = appendEscaped(dst, x.text, s.escape, s.bare)
			}
			continue
		}
		dst = appendEscaped(dst, text, s.escape, s.bare && !isNumber)
	}
	return dst, true
}

const hexDigits = "0123456789ABCDEF"

// appendEscaped writes text as e asks, in quotes if asked.
func appendEscaped[T string | []byte](dst []byte, text T, e escape, quoted bool) []byte {
	if quoted {
		dst = append(dst, '"')
	}
	for i := range len(text) {
		c := text[i]
		switch {
		case e == escapeNone, 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~':
			dst = append(dst, c)
		case e == escapeHeader:
			if c < ' ' && c != '\t' || c == 0x7f {
				c = ' ' // a line break here would start a header of its own
			}
			dst = append(dst, c)
		case e == escapeJSON:
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < ' ':
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
		case e == escapeQuery && c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	if quoted {
		dst = append(dst, '"')
	}
	return dst
}

// appendUUID writes a random UUID (RFC 9562, version 4).
func appendUUID(dst []byte, rng *rand.Rand) []byte {
	hi, lo := rng.Uint64(), rng.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	const digits = "0123456789abcdef"
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			dst = append(dst, '-')
		}
		x := hi
		if i >= 16 {
			x = lo
		}
		dst = append(dst, digits[x>>(60-4*(i%16))&15])
	}
	return dst
}

// zipfSkew is the exponent of ${zipf}: that of the popularity of pages and products in many published traces, and of
// the YCSB benchmark.
const zipfSkew = 0.99

// zipf draws ranks 0 to n-1 with probability proportional to 1/(rank+1)^zipfSkew, by inversion with rejection
// (W. Hörmann and G. Derflinger, Rejection-inversion to generate variates from monotone discrete distributions, 1996).
// It is not changed after it is made.
type zipf struct {
	n            float64
	low, high, s float64
}

func newZipf(n uint64) *zipf {
	z := &zipf{n: float64(n)}
	z.low = z.integral(1.5) - 1
	z.high = z.integral(z.n + 0.5)
	z.s = 2 - z.inverse(z.integral(2.5)-math.Pow(2, -zipfSkew))
	return z
}

// integral of x^-skew.
func (z *zipf) integral(x float64) float64 { return math.Pow(x, 1-zipfSkew) / (1 - zipfSkew) }

func (z *zipf) inverse(y float64) float64 { return math.Pow(y*(1-zipfSkew), 1/(1-zipfSkew)) }

func (z *zipf) draw(rng *rand.Rand) uint64 {
	for {
		u := z.low + rng.Float64()*(z.high-z.low)
		x := z.inverse(u)
		k := min(max(math.Round(x), 1), z.n)
		if k-x <= z.s || u >= z.integral(k+0.5)-math.Pow(k, -zipfSkew) {
			return uint64(k) - 1
		}
	}
}

// formBody is the template of an application/x-www-form-urlencoded body.
func (sc *scope) formBody(form map[string]string) (template, error) {
	var t template
	for i, k := range sortedKeys(form) {
		key := url.QueryEscape(k) + "="
		if i > 0 {
			key = "&" + key
		}
		t = append(t, segment{literal: key})
		v, err := sc.parse(form[k], always(escapeQuery))
		if err != nil {
			return nil, fmt.Errorf("form %s: %w", k, err)
		}
		for _, s := range v {
			if s.kind == valueLiteral {
				s.literal = url.QueryEscape(s.literal)
			}
			t = append(t, s)
		}
	}
	return t, nil
}
