package loki

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

// expr is a query that is understood: one of the fields is set.
type expr struct {
	logs   *pipeline
	count  *counting
	over   *grouping
	binary *binary
	number *float64 // a scalar, or vector(n)
	vector bool
}

// counting is rate(...) and the like.
type counting struct {
	op   string
	of   *pipeline
	span time.Duration
}

// grouping is sum by (...) (...) and the like.
type grouping struct {
	op      string
	k       int // of topk and bottomk
	labels  []string
	without bool
	all     bool // neither by nor without
	of      *expr
}

type binary struct {
	op   string
	a, b *expr
}

type parser struct {
	tokens []token
	i      int
	depth  int
}

// parseQuery reads a query.
func parseQuery(s string) (*expr, error) {
	ts, err := tokens(s)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: ts}
	e, err := p.sum()
	if err != nil {
		return nil, err
	}
	if p.next().kind != end {
		return nil, p.unexpected()
	}
	return e, nil
}

// parseSelector reads {a="b"} alone.
func parseSelector(s string) (segment.Filter, error) {
	ts, err := tokens(s)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: ts}
	f, err := p.selector()
	if err == nil && p.next().kind != end {
		err = p.unexpected()
	}
	return f, err
}

// parseLabels reads the labels of a pushed stream, which are written as a selector with = alone.
func parseLabels(s string) (map[string]string, error) {
	ts, err := tokens(s)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: ts}
	labels := map[string]string{}
	err = p.matchers(func(name, op, value string) error {
		if op != "=" {
			return fmt.Errorf("labels %.100s: = is expected, not %s", s, op)
		}
		labels[name] = value
		return nil
	})
	if err == nil && p.next().kind != end {
		err = p.unexpected()
	}
	return labels, err
}

func (p *parser) next() token { return p.tokens[p.i] }

func (p *parser) take(s string) bool {
	if t := p.next(); t.text == s && t.kind != text && t.kind != end {
		p.i++
		return true
	}
	return false
}

func (p *parser) unexpected() error {
	t := p.next()
	if t.kind == end {
		return fmt.Errorf("parse error at %d: unexpected end", t.at+1)
	}
	return fmt.Errorf("parse error at %d: unexpected %.60q", t.at+1, t.text)
}

func (p *parser) expect(s string) error {
	if !p.take(s) {
		return fmt.Errorf("%w; %q is expected", p.unexpected(), s)
	}
	return nil
}

func unsupported(what string) error {
	return fmt.Errorf("%s: not supported by Banyan's log store", what)
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return fmt.Errorf("the query is nested more than %d deep", maxDepth)
	}
	return nil
}

func (p *parser) sum() (*expr, error) {
	return p.chain(p.product, "+", "-")
}

func (p *parser) product() (*expr, error) {
	return p.chain(p.operand, "*", "/")
}

func (p *parser) chain(operand func() (*expr, error), ops ...string) (*expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	a, err := operand()
	if err != nil {
		return nil, err
	}
	for slices.Contains(ops, p.next().text) && p.next().kind == operator {
		op := p.next().text
		p.i++
		b, err := operand()
		if err != nil {
			return nil, err
		}
		if a.logs != nil || b.logs != nil {
			return nil, fmt.Errorf("parse error: %s is of numbers, not of log lines", op)
		}
		if p.depth++; p.depth > 10*maxDepth {
			return nil, fmt.Errorf("the query is too long")
		}
		a = &expr{binary: &binary{op, a, b}}
	}
	return a, nil
}

var countings = []string{"rate", "count_over_time", "bytes_rate", "bytes_over_time"}

var groupings = []string{"sum", "avg", "min", "max", "count", "topk", "bottomk"}

func (p *parser) operand() (*expr, error) {
	t := p.next()
	switch {
	case p.take("("):
		e, err := p.sum()
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	case t.text == "{" && t.kind == operator:
		l, err := p.pipeline()
		return &expr{logs: l}, err
	case t.kind == number || t.text == "-" && t.kind == operator:
		n, err := p.number()
		return &expr{number: &n}, err
	case t.kind != word:
		return nil, p.unexpected()
	}
	p.i++
	switch {
	case t.text == "vector":
		if err := p.expect("("); err != nil {
			return nil, err
		}
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		return &expr{number: &n, vector: true}, p.expect(")")
	case slices.Contains(countings, t.text):
		return p.counting(t.text)
	case slices.Contains(groupings, t.text):
		return p.grouping(t.text)
	}
	return nil, unsupported(t.text)
}

func (p *parser) number() (float64, error) {
	sign := 1.0
	if p.take("-") {
		sign = -1
	}
	if p.next().kind != number {
		return 0, p.unexpected()
	}
	n, err := strconv.ParseFloat(p.next().text, 64)
	if err != nil {
		return 0, p.unexpected()
	}
	p.i++
	return sign * n, nil
}

func (p *parser) counting(op string) (*expr, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	c := &counting{op: op}
	var err error
	if c.of, err = p.pipeline(); err != nil {
		return nil, err
	}
	if err := p.expect("["); err != nil {
		return nil, err
	}
	if c.span, err = duration(p.next().text); err != nil || c.span <= 0 {
		return nil, fmt.Errorf("%w; a duration is expected", p.unexpected())
	}
	p.i++
	if err := p.expect("]"); err != nil {
		return nil, err
	}
	// A pipeline may also go on behind the range.
	if err := p.stages(c.of); err != nil {
		return nil, err
	}
	if p.next().text == "offset" {
		return nil, unsupported("offset")
	}
	return &expr{count: c}, p.expect(")")
}

func (p *parser) grouping(op string) (*expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	g := &grouping{op: op, all: true}
	if err := p.byLabels(g); err != nil {
		return nil, err
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	if op == "topk" || op == "bottomk" {
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		if n < 1 || n > 10000 {
			return nil, fmt.Errorf("%s of %g", op, n)
		}
		g.k = int(n)
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
	var err error
	if g.of, err = p.sum(); err != nil {
		return nil, err
	}
	if g.of.logs != nil {
		return nil, fmt.Errorf("parse error: %s is of numbers, not of log lines", op)
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	return &expr{over: g}, p.byLabels(g)
}

func (p *parser) byLabels(g *grouping) error {
	switch {
	case p.take("by"):
	case p.take("without"):
		g.without = true
	default:
		return nil
	}
	g.all = false
	if err := p.expect("("); err != nil {
		return err
	}
	for !p.take(")") {
		if p.next().kind != word {
			return p.unexpected()
		}
		g.labels = append(g.labels, p.next().text)
		p.i++
		if !p.take(",") && p.next().text != ")" {
			return p.unexpected()
		}
	}
	return nil
}

// matchers reads {name op "value", ...}.
func (p *parser) matchers(each func(name, op, value string) error) error {
	if err := p.expect("{"); err != nil {
		return err
	}
	for !p.take("}") {
		name := p.next()
		if name.kind != word {
			return p.unexpected()
		}
		p.i++
		op := p.next()
		if op.kind != operator || !slices.Contains([]string{"=", "!=", "=~", "!~"}, op.text) {
			return p.unexpected()
		}
		p.i++
		value := p.next()
		if value.kind != text {
			return p.unexpected()
		}
		p.i++
		if err := each(name.text, op.text, value.text); err != nil {
			return err
		}
		if !p.take(",") && p.next().text != "}" {
			return p.unexpected()
		}
	}
	return nil
}

func (p *parser) selector() (segment.Filter, error) {
	var all []segment.Filter
	err := p.matchers(func(name, op, value string) error {
		match, err := matcher(op, value)
		if err == nil {
			all = append(all, segment.Label(name, match))
		}
		return err
	})
	return segment.And(all...), err
}

// matcher is what an operator says of a value. Expressions match the whole value.
func matcher(op, value string) (func(string) bool, error) {
	switch op {
	case "=", "==":
		return func(v string) bool { return v == value }, nil
	case "!=":
		return func(v string) bool { return v != value }, nil
	}
	re, err := compile(`^(?s:` + value + `)$`)
	if err != nil {
		return nil, err
	}
	if op == "=~" {
		return re.MatchString, nil
	}
	return func(v string) bool { return !re.MatchString(v) }, nil
}

func compile(s string) (*regexp.Regexp, error) {
	if len(s) > maxRegexp {
		return nil, fmt.Errorf("a regular expression of more than %d bytes", maxRegexp)
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, fmt.Errorf("parse error: %w", err)
	}
	return re, nil
}
