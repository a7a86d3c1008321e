package logs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

// The language of queries:
//
//	timeout                  the word, in any case of letters
//	time*                    words that begin so
//	"connection refused"     the words, one after the other
//	/took \d{4,} ms/         what the regular expression matches (RE2)
//	level=error              a field or label has the value; 'user.id' is id in user
//	path="/a b"              values with spaces are quoted
//	status!=200              another value, or no such field
//	status>=500              numbers, durations (duration>250ms) and levels (level>=warn) by their size: > >= < <=
//	path~"^/api/"            the regular expression matches the value; !~ it does not
//	message:refused          the value has the word, or the "words"
//	user_id=*                there is such a field
//	a b, a and b             both;  a or b: either;  not a, -a: not;  ( ) group.  'or' binds less than 'and'
//
// An empty query, or *, finds everything.

// Bounds on queries.
const (
	maxQuery      = 16 << 10
	maxQueryDepth = 100
	maxRegexp     = 2000
)

// QueryError says what is wrong with a query and where.
type QueryError struct {
	// At is the place in the query, in bytes from 0.
	At int
	// Problem says what was found there.
	Problem string
}

func (e *QueryError) Error() string { return fmt.Sprintf("query, at %d: %s", e.At+1, e.Problem) }

// Query reads a query. An error is a *QueryError.
func Query(text string) (segment.Filter, error) {
	if len(text) > maxQuery {
		return nil, &QueryError{0, fmt.Sprintf("it has %d bytes, and may have %d", len(text), maxQuery)}
	}
	p := &queryParser{s: text}
	f, err := p.or()
	if err == nil && p.peek() {
		err = p.errorf("a ')' that nothing opened")
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

type queryParser struct {
	s     string
	i     int
	depth int
}

func (p *queryParser) errorf(format string, args ...any) error {
	return &QueryError{p.i, fmt.Sprintf(format, args...)}
}

// peek skips spaces and reports whether there is more.
func (p *queryParser) peek() bool {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
	return p.i < len(p.s)
}

// keyword takes a word of the language, if it is next.
func (p *queryParser) keyword(word string) bool {
	if !p.peek() || len(p.s)-p.i < len(word) || !strings.EqualFold(p.s[p.i:p.i+len(word)], word) {
		return false
	}
	if end := p.i + len(word); end == len(p.s) || strings.IndexByte(" \t\r\n()\"", p.s[end]) >= 0 {
		p.i = end
		return true
	}
	return false
}

func (p *queryParser) or() (segment.Filter, error) {
	var all []segment.Filter
	for {
		f, err := p.and()
		if err != nil {
			return nil, err
		}
		if all = append(all, f); !p.keyword("or") {
			return segment.Or(all...), nil
		}
		if !p.peek() {
			return nil, p.errorf("nothing stands behind 'or'")
		}
	}
}

func (p *queryParser) and() (segment.Filter, error) {
	var all []segment.Filter
	for p.peek() && p.s[p.i] != ')' {
		if at := p.i; p.keyword("or") {
			p.i = at
			if len(all) == 0 {
				return nil, p.errorf("nothing stands before 'or'; the word itself is \"or\"")
			}
			break
		}
		if p.keyword("and") {
			if len(all) == 0 || !p.peek() || p.s[p.i] == ')' {
				return nil, p.errorf("'and' wants something on both sides; the word itself is \"and\"")
			}
			continue
		}
		f, err := p.unary()
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return segment.And(all...), nil
}

func (p *queryParser) unary() (segment.Filter, error) {
	if p.depth++; p.depth > maxQueryDepth {
		return nil, p.errorf("more than %d levels", maxQueryDepth)
	}
	defer func() { p.depth-- }()
	negated := p.keyword("not")
	if !negated && (p.s[p.i] == '-' || p.s[p.i] == '!') {
		negated = true
		p.i++
	}
	if negated {
		if !p.peek() || p.s[p.i] == ')' {
			return nil, p.errorf("nothing stands behind the negation")
		}
		f, err := p.unary()
		if err != nil {
			return nil, err
		}
		return segment.Not(f), nil
	}
	if p.s[p.i] == '(' {
		p.i++
		f, err := p.or()
		if err != nil {
			return nil, err
		}
		if !p.peek() || p.s[p.i] != ')' {
			return nil, p.errorf("a ')' is missing")
		}
		p.i++
		return f, nil
	}
	return p.term()
}

// operators, longer ones before those that they begin with.
var operators = []string{"!=", "!~", ">=", "<=", "=", "~", ":", ">", "<"}

func (p *queryParser) term() (segment.Filter, error) {
	switch p.s[p.i] {
	case '"':
		text, err := p.quoted()
		if err != nil {
			return nil, err
		}
		return segment.Phrase(text), nil
	case '/':
		re, err := p.slashed()
		if err != nil {
			return nil, err
		}
		return segment.Matches(re), nil
	}
	begin := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n()\"=!~:<>", p.s[p.i]) < 0 {
		p.i++
	}
	name := p.s[begin:p.i]
	for _, op := range operators {
		if strings.HasPrefix(p.s[p.i:], op) {
			if name == "" {
				return nil, p.errorf("a field is wanted before %q", op)
			}
			p.i += len(op)
			return p.comparison(name, op)
		}
	}
	switch {
	case name == "":
		return nil, p.errorf("%q is nothing that stands here; quote it if it is meant", p.s[p.i])
	case name == "*":
		return segment.All(), nil
	case strings.HasSuffix(name, "*"):
		return segment.Prefix(strings.TrimSuffix(name, "*")), nil
	}
	return segment.Phrase(name), nil
}

// quoted reads a text in quotes, in which \" and \\ stand for " and \.
func (p *queryParser) quoted() (string, error) {
	begin := p.i
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; c {
		case '"':
			p.i++
			return b.String(), nil
		case '\\':
			if p.i+1 < len(p.s) && (p.s[p.i+1] == '"' || p.s[p.i+1] == '\\') {
				p.i++
			}
			b.WriteByte(p.s[p.i])
		default:
			b.WriteByte(c)
		}
	}
	p.i = begin
	return "", p.errorf("a quote that nothing ends")
}

func (p *queryParser) slashed() (*regexp.Regexp, error) {
	begin := p.i
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '/':
			p.i++
			return p.regexp(b.String(), begin)
		case c == '\\' && p.i+1 < len(p.s) && p.s[p.i+1] == '/':
		default:
			b.WriteByte(c)
			if c == '\\' && p.i+1 < len(p.s) {
				p.i++
				b.WriteByte(p.s[p.i])
			}
		}
	}
	p.i = begin
	return nil, p.errorf("a regular expression that no / ends; quote a word that begins with /")
}

func (p *queryParser) regexp(text string, at int) (*regexp.Regexp, error) {
	if len(text) > maxRegexp {
		return nil, &QueryError{at, fmt.Sprintf("a regular expression of more than %d bytes", maxRegexp)}
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, &QueryError{at, err.Error()}
	}
	return re, nil
}

func (p *queryParser) comparison(name, op string) (segment.Filter, error) {
	at := p.i
	quoted := p.i < len(p.s) && p.s[p.i] == '"'
	var value string
	if quoted {
		var err error
		if value, err = p.quoted(); err != nil {
			return nil, err
		}
	} else {
		for p.i < len(p.s) && strings.IndexByte(" \t\r\n()\"", p.s[p.i]) < 0 {
			p.i++
		}
		value = p.s[at:p.i]
	}
	if value == "" && !quoted {
		return nil, p.errorf("a value is wanted behind %s%s", name, op)
	}
	if name == FieldLevel {
		if l := Level(value); l != "" && op != "~" && op != "!~" {
			value = l
		}
	}
	switch op {
	case "=", "!=":
		f := segment.Equals(name, value)
		if !quoted && value == "*" {
			f = segment.Has(name)
		} else if !quoted && strings.HasSuffix(value, "*") {
			prefix := strings.TrimSuffix(value, "*")
			f = segment.FieldFunc(name, func(v string) bool { return strings.HasPrefix(v, prefix) })
		}
		if op == "!=" {
			f = segment.Not(f)
		}
		return f, nil
	case ":":
		if !quoted && strings.HasSuffix(value, "*") {
			return segment.FieldPrefix(name, strings.TrimSuffix(value, "*")), nil
		}
		return segment.FieldPhrase(name, value), nil
	case "~", "!~":
		re, err := p.regexp(value, at)
		if err != nil {
			return nil, err
		}
		f := segment.FieldFunc(name, re.MatchString)
		if op == "!~" {
			f = segment.Not(f)
		}
		return f, nil
	}
	return p.size(name, op, value, at)
}

// size compares numbers, durations and levels.
func (p *queryParser) size(name, op, value string, at int) (segment.Filter, error) {
	rank := Number
	if name == FieldLevel {
		rank = func(s string) (float64, bool) {
			for i, l := range levels {
				if l == s {
					return float64(i), true
				}
			}
			return 0, false
		}
	}
	bound, ok := rank(value)
	if !ok {
		return nil, &QueryError{at, fmt.Sprintf("%q has no size: a number, a duration or a level is wanted behind %s", value, op)}
	}
	return segment.FieldFunc(name, func(v string) bool {
		n, ok := rank(v)
		if !ok {
			return false
		}
		switch op {
		case ">":
			return n > bound
		case ">=":
			return n >= bound
		case "<":
			return n < bound
		}
		return n <= bound
	}), nil
}

// Number is the size of a number, or of a duration in seconds.
func Number(s string) (float64, bool) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && n == n {
		return n, true
	}
	if len(s) < 40 {
		if d, err := time.ParseDuration(s); err == nil {
			return d.Seconds(), true
		}
	}
	return 0, false
}
