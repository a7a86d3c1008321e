package loki

import (
	"slices"
	"strings"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

// pipeline is a selector with what follows it.
type pipeline struct {
	filter segment.Filter
	parsed bool     // a parser makes fields labels
	drop   []string // labels that the answer does not have
	keep   []string // if there are any: the only ones that it has
}

func (p *parser) pipeline() (*pipeline, error) {
	if p.take("(") {
		l, err := p.pipeline()
		if err != nil {
			return nil, err
		}
		return l, p.expect(")")
	}
	f, err := p.selector()
	if err != nil {
		return nil, err
	}
	l := &pipeline{filter: f}
	return l, p.stages(l)
}

func (p *parser) stages(l *pipeline) error {
	for {
		t := p.next()
		if t.kind != operator {
			return nil
		}
		switch t.text {
		case "|=", "!=", "|~", "!~":
			p.i++
			f, err := p.lineFilter(t.text)
			if err != nil {
				return err
			}
			l.filter = segment.And(l.filter, f)
		case "|>", "!>":
			return unsupported("the pattern filter " + t.text)
		case "|":
			p.i++
			if err := p.stage(l); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// lineFilter reads the text of |= "a" or "b".
func (p *parser) lineFilter(op string) (segment.Filter, error) {
	var any []segment.Filter
	for {
		if p.next().kind != text {
			if p.next().text == "ip" {
				return nil, unsupported("ip()")
			}
			return nil, p.unexpected()
		}
		s := p.next().text
		p.i++
		if op == "|~" || op == "!~" {
			re, err := compile(s)
			if err != nil {
				return nil, err
			}
			any = append(any, segment.Matches(re))
		} else {
			any = append(any, segment.Contains(s))
		}
		if !p.take("or") {
			break
		}
	}
	f := segment.Or(any...)
	if op[0] == '!' {
		f = segment.Not(f)
	}
	return f, nil
}

func (p *parser) stage(l *pipeline) error {
	t := p.next()
	switch t.text {
	case "json", "logfmt":
		p.i++
		l.parsed = true
		if p.next().kind == word || p.next().text == "-" {
			return unsupported(t.text + " with expressions or flags")
		}
		return nil
	case "drop", "keep":
		p.i++
		return p.names(l, t.text)
	case "unpack", "pattern", "regexp", "line_format", "label_format", "unwrap", "decolorize", "distinct":
		return unsupported(t.text)
	}
	f, err := p.either()
	l.filter = segment.And(l.filter, f)
	return err
}

func (p *parser) names(l *pipeline, what string) error {
	for {
		if p.next().kind != word {
			return p.unexpected()
		}
		if what == "drop" {
			l.drop = append(l.drop, p.next().text)
		} else {
			l.keep = append(l.keep, p.next().text)
		}
		p.i++
		if p.next().text == "=" {
			return unsupported(what + " by value")
		}
		if !p.take(",") {
			return nil
		}
	}
}

// either reads label filters joined by or.
func (p *parser) either() (segment.Filter, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var all []segment.Filter
	for {
		f, err := p.both()
		if err != nil {
			return nil, err
		}
		if all = append(all, f); !p.take("or") {
			return segment.Or(all...), nil
		}
	}
}

// both reads label filters joined by and or a comma.
func (p *parser) both() (segment.Filter, error) {
	var all []segment.Filter
	for {
		var f segment.Filter
		var err error
		if p.take("(") {
			if f, err = p.either(); err == nil {
				err = p.expect(")")
			}
		} else {
			f, err = p.labelFilter()
		}
		if err != nil {
			return nil, err
		}
		all = append(all, f)
		if !p.take("and") && !p.take(",") {
			return segment.And(all...), nil
		}
	}
}

func (p *parser) labelFilter() (segment.Filter, error) {
	name := p.next()
	if name.kind != word {
		return nil, p.unexpected()
	}
	p.i++
	op := p.next()
	if op.kind != operator || !slices.Contains([]string{"=", "==", "!=", "=~", "!~", ">", ">=", "<", "<="}, op.text) {
		return nil, p.unexpected()
	}
	p.i++
	value := p.next()
	p.i++
	switch value.kind {
	case text:
		if strings.ContainsAny(op.text, "<>") {
			p.i--
			return nil, p.unexpected()
		}
		match, err := matcher(op.text, value.text)
		if err != nil {
			return nil, err
		}
		if op.text == "=" && value.text != "" && !strings.Contains(name.text, "_") {
			return segment.Equals(name.text, value.text), nil // the index knows of it
		}
		return segment.RowFunc(func(r segment.Row) bool { v, _ := valueOf(r, name.text); return match(v) }), nil
	case number:
		return sizeFilter(name.text, op.text, value.text)
	}
	p.i--
	if p.next().text == "ip" {
		return nil, unsupported("ip()")
	}
	return nil, p.unexpected()
}

// sizeFilter compares numbers and durations.
func sizeFilter(name, op, bound string) (segment.Filter, error) {
	limit, ok := size(bound)
	if !ok {
		return nil, unsupported("the number " + bound)
	}
	return segment.RowFunc(func(r segment.Row) bool {
		v, _ := valueOf(r, name)
		n, ok := size(v)
		if !ok {
			return false
		}
		switch op {
		case ">":
			return n > limit
		case ">=":
			return n >= limit
		case "<":
			return n < limit
		case "<=":
			return n <= limit
		case "!=":
			return n != limit
		}
		return n == limit
	}), nil
}

func size(s string) (float64, bool) {
	if n, ok := logs.Number(s); ok {
		return n, true
	}
	if d, err := duration(s); err == nil {
		return d.Seconds(), true
	}
	return 0, false
}

// valueOf is a label or a field, whose name may have dots where name has underscores.
func valueOf(r segment.Row, name string) (value string, ok bool) {
	if value, ok = r.Field(name); ok {
		return value, true
	}
	if name == "detected_level" {
		return r.Field(logs.FieldLevel)
	}
	if !strings.Contains(name, "_") {
		return "", false
	}
	r.Fields(func(n, v string) bool {
		if n != name && safeName(n) == name {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// safeName is the name of a label that a field becomes.
func safeName(name string) string {
	clean := true
	for i := range len(name) {
		c := name[i]
		clean = clean && (c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9')
	}
	if clean {
		return name
	}
	b := []byte(name)
	for i, c := range b {
		if c != '_' && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') {
			b[i] = '_'
		}
	}
	if b[0] >= '0' && b[0] <= '9' {
		return "_" + string(b)
	}
	return string(b)
}

// labels are those of the answer for a row.
func (l *pipeline) labels(r segment.Row) map[string]string {
	labels := r.Stream().Map()
	if l.parsed {
		r.Fields(func(name, value string) bool {
			n := safeName(name)
			if _, taken := labels[n]; taken {
				if _, isLabel := r.Stream().Get(n); isLabel && labels[n] != value {
					n += "_extracted"
				}
			}
			if _, taken := labels[n]; !taken && n != "" {
				labels[n] = value
			}
			return len(labels) < 100
		})
	}
	for _, n := range l.drop {
		delete(labels, n)
	}
	if len(l.keep) > 0 {
		for n := range labels {
			if !slices.Contains(l.keep, n) {
				delete(labels, n)
			}
		}
	}
	return labels
}
