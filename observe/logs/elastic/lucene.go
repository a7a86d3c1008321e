package elastic

import (
	"strings"

	"github.com/banyanhq/banyan/observe/segment"
)

// lucene compiles the part of Lucene's query syntax that people type: words, "phrases", field:value, field:(a OR b),
// field:[1 TO 5}, field:>=5, * and ? in values, /regular expressions/, AND OR NOT && || ! + -, ( ), and _exists_:field. Boosts, fuzziness and
// proximity (^ and ~) are refused.
func (c *compiler) lucene(text, field string, and bool) (segment.Filter, error) {
	if len(text) > 16<<10 {
		return nil, badRequest("parse_exception", "a query of more than 16 KiB")
	}
	p := &luceneParser{c: c, s: text, and: and}
	f, err := p.group(fieldName(field), 0)
	if err == nil && p.peek() != 0 {
		err = p.wrong("a ) that nothing opened")
	}
	return f, err
}

type luceneParser struct {
	c   *compiler
	s   string
	i   int
	and bool
}

func (p *luceneParser) wrong(what string) error {
	return badRequest("parse_exception", "cannot parse [%.200s] at %d: %s", p.s, p.i+1, what)
}

// peek is the next byte that is no space; 0 at the end.
func (p *luceneParser) peek() byte {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
	if p.i == len(p.s) {
		return 0
	}
	return p.s[p.i]
}

func (p *luceneParser) operator(words ...string) bool {
	p.peek()
	for _, w := range words {
		if strings.HasPrefix(p.s[p.i:], w) {
			end := p.i + len(w)
			if w[0] < 'A' || end == len(p.s) || strings.IndexByte(" \t\r\n(\"", p.s[end]) >= 0 {
				p.i = end
				return true
			}
		}
	}
	return false
}

// group reads clauses up to a ) or the end. Those that stand side by side are alternatives, or all required if the default operator is
// AND; where one has a +, those without are but wishes, and one with a - or NOT is forbidden.
func (p *luceneParser) group(field string, depth int) (segment.Filter, error) {
	if depth > maxQueryDepth {
		return nil, p.wrong("too deep")
	}
	var must, should []segment.Filter
	plus := false // a clause is required by a +
	for c := p.peek(); c != 0 && c != ')'; c = p.peek() {
		required, forbidden := p.and, false
		switch {
		case c == '+':
			p.i++
			required, plus = true, true
		case c == '-':
			p.i++
			forbidden = true
		}
		f, negated, err := p.either(field, depth)
		switch {
		case err != nil:
			return nil, err
		case forbidden:
			must = append(must, segment.Not(f))
		case required || negated:
			must = append(must, f)
		default:
			should = append(should, f)
		}
	}
	if len(should) > 0 && !plus {
		must = append(must, segment.Or(should...))
	}
	return segment.And(must...), nil
}

// either reads a OR b; negated says that it is one NOT and nothing else.
func (p *luceneParser) either(field string, depth int) (f segment.Filter, negated bool, err error) {
	var all []segment.Filter
	for {
		f, n, err := p.both(field, depth)
		if err != nil {
			return nil, false, err
		}
		all = append(all, f)
		negated = n && len(all) == 1
		if !p.operator("OR", "||") {
			return segment.Or(all...), negated, nil
		}
	}
}

// both reads a AND b.
func (p *luceneParser) both(field string, depth int) (f segment.Filter, negated bool, err error) {
	var all []segment.Filter
	for {
		n := false
		for p.operator("NOT", "!") {
			n = !n
		}
		f, err := p.clause(field, depth)
		if err != nil {
			return nil, false, err
		}
		if n {
			f = segment.Not(f)
		}
		all = append(all, f)
		negated = n && len(all) == 1
		if !p.operator("AND", "&&") {
			return segment.And(all...), negated, nil
		}
	}
}

// clause reads field:value, a value, or a group.
func (p *luceneParser) clause(field string, depth int) (segment.Filter, error) {
	if p.c.clauses++; p.c.clauses > maxClauses {
		return nil, p.wrong("too many clauses")
	}
	switch p.peek() {
	case 0, ')':
		return nil, p.wrong("a clause is missing")
	case '(':
		p.i++
		f, err := p.group(field, depth+1)
		if err != nil {
			return nil, err
		}
		if p.peek() != ')' {
			return nil, p.wrong("a ) is missing")
		}
		p.i++
		return f, nil
	case '"':
		text, err := p.until('"')
		if err != nil {
			return nil, err
		}
		return segment.FieldPhrase(field, unescape(text)), nil
	case '/':
		text, err := p.until('/')
		if err != nil {
			return nil, err
		}
		re, err := pattern(text)
		if err != nil {
			return nil, err
		}
		if field == "" {
			return segment.BodyFunc(re.MatchString), nil
		}
		return segment.FieldFunc(field, re.MatchString), nil
	case '[', '{':
		return p.span(field)
	}
	begin := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n()[]{}\"", p.s[p.i]) < 0 {
		if p.s[p.i] == '\\' && p.i+1 < len(p.s) {
			p.i++
		} else if p.s[p.i] == ':' && p.i > begin {
			name := unescape(p.s[begin:p.i])
			p.i++
			if name == "_exists_" {
				return p.exists()
			}
			return p.clause(fieldName(name), depth+1)
		}
		p.i++
	}
	word := p.s[begin:p.i]
	if word == "" {
		return nil, p.wrong("a word is expected")
	}
	return p.word(field, word)
}

func (p *luceneParser) exists() (segment.Filter, error) {
	begin := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n()", p.s[p.i]) < 0 {
		p.i++
	}
	if begin == p.i {
		return nil, p.wrong("a field is expected behind _exists_:")
	}
	return segment.Has(fieldName(p.s[begin:p.i])), nil
}

// word compiles a value without spaces.
func (p *luceneParser) word(field, word string) (segment.Filter, error) {
	for _, op := range []string{">=", "<=", ">", "<"} {
		if value, ok := strings.CutPrefix(word, op); ok && field != "" {
			return p.c.bound(field, field, map[string]string{">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}[op], unescape(value), false)
		}
	}
	for i := range len(word) {
		if (word[i] == '^' || word[i] == '~') && (i == 0 || word[i-1] != '\\') {
			return nil, p.wrong("^ and ~ are not supported")
		}
	}
	switch {
	case word == "*" && field != "":
		return segment.Has(field), nil
	case word == "*":
		return segment.All(), nil
	case strings.ContainsAny(word, "*?"):
		if len(word) > maxPattern {
			return nil, p.wrong("the pattern is too long")
		}
		if field != "" {
			return segment.FieldFunc(field, func(v string) bool {
				return wildcardMatch(word, v) || someWord(v, word)
			}), nil
		}
		if head, ok := strings.CutSuffix(word, "*"); ok && !strings.ContainsAny(head, "*?") {
			return segment.Prefix(unescape(head)), nil
		}
		return segment.BodyFunc(func(body string) bool { return someWord(body, word) }), nil
	}
	text := unescape(word)
	if field == labelIndex {
		return segment.Equals(field, text), nil
	}
	return segment.FieldPhrase(field, text), nil
}

// someWord reports whether a word of the text is what the pattern says.
func someWord(text, pattern string) bool {
	pattern = strings.ToLower(pattern)
	for _, w := range segment.Words(text) {
		if wildcardMatch(pattern, strings.ToLower(w)) {
			return true
		}
	}
	return false
}

// span reads [1 TO 5}.
func (p *luceneParser) span(field string) (segment.Filter, error) {
	if field == "" {
		return nil, p.wrong("a range is of a field")
	}
	from := "gte"
	if p.s[p.i] == '{' {
		from = "gt"
	}
	begin := p.i + 1
	end := strings.IndexAny(p.s[begin:], "]}")
	if end < 0 {
		return nil, p.wrong("a ] is missing")
	}
	to := "lte"
	if p.s[begin+end] == '}' {
		to = "lt"
	}
	low, high, ok := strings.Cut(p.s[begin:begin+end], " TO ")
	if !ok {
		return nil, p.wrong("[a TO b] is expected")
	}
	p.i = begin + end + 1
	var all []segment.Filter
	for op, value := range map[string]string{from: strings.TrimSpace(low), to: strings.TrimSpace(high)} {
		if value == "*" {
			continue
		}
		f, err := p.c.bound(field, field, op, strings.Trim(value, `"`), false)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return segment.Has(field), nil
	}
	return segment.And(all...), nil
}

// until reads what stands between the delimiter that is next and the one after it.
func (p *luceneParser) until(delimiter byte) (string, error) {
	begin := p.i + 1
	for i := begin; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			i++
		case delimiter:
			p.i = i + 1
			return p.s[begin:i], nil
		}
	}
	return "", p.wrong("a " + string(delimiter) + " is missing")
}

// unescape takes the backslashes before other characters away.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
