package logs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Redaction is a rule by which text is taken out of lines before anything of them is stored.
type Redaction struct {
	// Name of a built-in rule (see Redactions), or of one's own, for the counters.
	Name string
	// Pattern of one's own, as of package regexp. Its first group, or all of it if it has none, is replaced.
	Pattern string
	// With replaces it. Default [NAME].
	With string
}

// builtin rules: may says at once of most lines that there is nothing in them.
var builtin = map[string]struct {
	pattern string
	may     func(string) bool
	check   func(string) bool
}{
	"email": {`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`, func(s string) bool { return strings.IndexByte(s, '@') >= 0 }, nil},
	"card":  {`\b(?:\d[ -]?){12,18}\d\b`, manyDigits, luhn},
	"secret": {`(?i)(?:passw(?:or)?d|secret|token|api[_-]?key|authorization)["']?\s*[:=]\s*(?:bearer\s+|basic\s+)?["']?([^\s"',;&}]+)`,
		func(s string) bool { return strings.ContainsAny(s, ":=") }, nil},
	"bearer": {`(?i)\bbearer\s+([A-Za-z0-9._~+/-]+=*)`, func(s string) bool { return strings.Contains(strings.ToLower(s), "bearer") }, nil},
	"ipv4":   {`\b(?:\d{1,3}\.){3}\d{1,3}\b`, func(s string) bool { return strings.Count(s, ".") >= 3 }, nil},
}

// Redactions names the built-in rules.
func Redactions() []string { return []string{"bearer", "card", "email", "ipv4", "secret"} }

type redactor struct {
	name, with string
	re         *regexp.Regexp
	group      int
	may, check func(string) bool
}

func newRedactors(rules []Redaction) ([]redactor, error) {
	var all []redactor
	for _, r := range rules {
		known, isBuiltin := builtin[r.Name]
		pattern := r.Pattern
		if pattern == "" {
			pattern = known.pattern
		}
		if pattern == "" {
			return nil, fmt.Errorf("there is no built-in redaction %q: there are %s; one of your own needs a pattern", r.Name, strings.Join(Redactions(), ", "))
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("redaction %s: %w", r.Name, err)
		}
		d := redactor{name: r.Name, with: r.With, re: re, group: min(re.NumSubexp(), 1)}
		if isBuiltin && r.Pattern == "" {
			d.may, d.check = known.may, known.check
		}
		if d.with == "" {
			d.with = "[" + r.Name + "]"
		}
		all = append(all, d)
	}
	return all, nil
}

// redact returns the line without what the rules take out, and how many places that were.
func redact(rules []redactor, line string) (string, int) {
	n := 0
	for i := range rules {
		r := &rules[i]
		if r.may != nil && !r.may(line) {
			continue
		}
		var b strings.Builder
		end := 0
		for _, m := range r.re.FindAllStringSubmatchIndex(line, -1) {
			from, to := m[2*r.group], m[2*r.group+1]
			if from < end || from == to || r.check != nil && !r.check(line[from:to]) {
				continue
			}
			b.WriteString(line[end:from])
			b.WriteString(r.with)
			end = to
			n++
		}
		if end > 0 {
			b.WriteString(line[end:])
			line = b.String()
		}
	}
	return line, n
}

func manyDigits(s string) bool {
	n := 0
	for i := range len(s) {
		if digit(s[i]) {
			n++
		}
	}
	return n >= 13
}

// luhn reports whether the digits of s end with their check digit (ISO/IEC 7812-1), as a card's number does.
func luhn(s string) bool {
	var d []int
	for i := range len(s) {
		if digit(s[i]) {
			d = append(d, int(s[i]-'0'))
		}
	}
	slices.Reverse(d)
	sum := 0
	for i, v := range d {
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}
